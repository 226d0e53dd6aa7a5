package smtp

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// The longest parts of an address in octets, RFC 5321 §4.5.3.1.1 to §4.5.3.1.3. A path counts its
// angle brackets.
const (
	MaxLocal  = 64
	MaxDomain = 255
	MaxPath   = 256
)

// Errors of ParseAddress and ParsePath; they are wrapped with the place.
var (
	ErrAddress     = errors.New("malformed address")
	ErrSourceRoute = errors.New("source routes are not accepted")
	ErrTooLong     = errors.New("address too long")
)

// Address is a mailbox: local part and domain. The zero Address is the null reverse-path <>.
type Address struct {
	// Local is the local part's meaning: without quotes and backslashes, in NFC. It is never
	// interpreted here; case is kept.
	Local string
	// Domain is in lower case with A-labels, or an address literal "[192.0.2.1]" or
	// "[IPv6:2001:db8::1]". It is empty for the null path, and for <Postmaster>, which needs none
	// (RFC 5321 §4.1.1.3).
	Domain string
}

// ParseAddress reads "local@domain" without angle brackets. Both parts may be in UTF-8 (RFC 6531
// §3.3). Errors wrap ErrAddress or ErrTooLong.
func ParseAddress(s string) (Address, error) {
	local, rest, err := takeLocal(s)
	if err != nil {
		return Address{}, err
	}
	domain, ok := strings.CutPrefix(rest, "@")
	if !ok {
		return Address{}, fmt.Errorf("%w: no @ after the local part", ErrAddress)
	}
	d, err := ParseDomain(domain)
	if err != nil {
		return Address{}, err
	}
	return newAddress(local, d)
}

// newAddress normalises the local part and checks the lengths of the result.
func newAddress(local, domain string) (Address, error) {
	if !isASCII(local) {
		local = norm.NFC.String(local)
	}
	a := Address{Local: local, Domain: domain}
	n := len(quoteLocal(local))
	// A return address holds another's domain and local part: no way to keep that within 64.
	if n > MaxLocal && !IsReturnAddress(local) || len(domain) > MaxDomain || n+len("<@>")+len(domain) > MaxPath {
		return Address{}, ErrTooLong
	}
	return a, nil
}

// takeLocal reads a Dot-string or Quoted-string from the start of s and returns its meaning and
// what follows.
func takeLocal(s string) (local, rest string, err error) {
	if strings.HasPrefix(s, `"`) {
		return takeQuoted(s)
	}
	n, dot := 0, true // dot: an atom must follow
	for n < len(s) {
		c := s[n]
		switch {
		case c == '.':
			if dot {
				return "", "", fmt.Errorf("%w: empty atom in the local part", ErrAddress)
			}
			dot = true
			n++
		case isAtext(c):
			dot = false
			n++
		case c >= utf8.RuneSelf:
			r, size := utf8.DecodeRuneInString(s[n:])
			if !allowedRune(r, size) {
				return "", "", fmt.Errorf("%w: character %U in the local part", ErrAddress, r)
			}
			dot = false
			n += size
		default:
			if dot {
				return "", "", fmt.Errorf("%w: local part", ErrAddress)
			}
			return s[:n], s[n:], nil
		}
	}
	if dot {
		return "", "", fmt.Errorf("%w: local part", ErrAddress)
	}
	return s, "", nil
}

// takeQuoted reads a Quoted-string, RFC 5321 §4.1.2: printable ASCII and UTF-8, with backslash
// before anything printable. An empty one is legal there and names nobody: it is refused.
func takeQuoted(s string) (local, rest string, err error) {
	var b strings.Builder
	for i := 1; i < len(s); {
		c := s[i]
		switch {
		case c == '"':
			if b.Len() == 0 {
				return "", "", fmt.Errorf("%w: empty local part", ErrAddress)
			}
			return b.String(), s[i+1:], nil
		case c == '\\':
			if i++; i == len(s) || s[i] < ' ' || s[i] > '~' {
				return "", "", fmt.Errorf("%w: backslash before nothing printable", ErrAddress)
			}
			b.WriteByte(s[i])
			i++
		case c >= ' ' && c <= '~':
			b.WriteByte(c)
			i++
		case c >= utf8.RuneSelf:
			r, size := utf8.DecodeRuneInString(s[i:])
			if !allowedRune(r, size) {
				return "", "", fmt.Errorf("%w: character %U in the local part", ErrAddress, r)
			}
			b.WriteString(s[i : i+size])
			i += size
		default:
			return "", "", fmt.Errorf("%w: control character in the local part", ErrAddress)
		}
	}
	return "", "", fmt.Errorf("%w: quoted local part does not end", ErrAddress)
}

// isAtext reports whether c is ASCII atext of RFC 5322 §3.2.3.
func isAtext(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' ||
		strings.IndexByte("!#$%&'*+-/=?^_`{|}~", c) >= 0
}

// allowedRune reports whether a local part may hold r, which was read from size bytes. RFC 6531
// §3.3 allows all of Unicode outside ASCII; controls, line and paragraph separators, spaces and
// direction overrides are refused, because they forge log lines and what people see.
func allowedRune(r rune, size int) bool {
	switch {
	case r == utf8.RuneError && size <= 1:
		return false
	case unicode.IsControl(r), unicode.IsSpace(r), r == '\u2028', r == '\u2029', r == '\uFEFF':
		return false
	case r >= '\u202A' && r <= '\u202E', r >= '\u2066' && r <= '\u2069':
		return false
	}
	return true
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// quoteLocal returns the local part as it is written: as a Dot-string when it is one.
func quoteLocal(local string) string {
	if _, rest, err := takeLocal(local); err == nil && rest == "" && local[0] != '"' {
		return local
	}
	var b strings.Builder
	b.WriteByte('"')
	for i := range len(local) {
		if local[i] == '"' || local[i] == '\\' {
			b.WriteByte('\\')
		}
		b.WriteByte(local[i])
	}
	b.WriteByte('"')
	return b.String()
}

// String returns the address as it goes on the wire, without angle brackets: the local part quoted
// where it must be, the domain in A-labels. The null path gives "".
func (a Address) String() string {
	switch {
	case a.IsNull():
		return ""
	case a.Domain == "":
		return quoteLocal(a.Local)
	}
	return quoteLocal(a.Local) + "@" + a.Domain
}

// Path returns the address in angle brackets, "<>" for the null path.
func (a Address) Path() string { return "<" + a.String() + ">" }

// Unicode returns the address for people: like String, with the domain in Unicode.
func (a Address) Unicode() string {
	if a.Domain == "" {
		return a.String()
	}
	return quoteLocal(a.Local) + "@" + UnicodeDomain(a.Domain)
}

// IsNull reports whether a is the null reverse-path <>.
func (a Address) IsNull() bool { return a == Address{} }

// NeedsUTF8 reports whether a can only be spoken of with SMTPUTF8: its local part is not ASCII. The
// domain never needs it, as it has A-labels.
func (a Address) NeedsUTF8() bool { return !isASCII(a.Local) }

// Literal returns the network address of an address-literal domain.
func (a Address) Literal() (netip.Addr, bool) { return LiteralDomain(a.Domain) }

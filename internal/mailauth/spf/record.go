package spf

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"tram/internal/mailauth"
)

// record is a policy, RFC 7208 §4.6.1, parsed as a whole before any of it is evaluated: a mistake
// anywhere makes all of it worth nothing (§4.6).
type record struct {
	mechanisms []mechanism
	redirect   string // domain-spec; "" when there is none, or a mechanism "all" makes it void (§6.1)
	exp        string // domain-spec; "" when there is none
}

// mechanism is one directive.
type mechanism struct {
	text      string // as written, without its qualifier
	qualifier mailauth.Status
	name      string // lower case
	spec      string // domain-spec, with macros; "" for the domain itself
	network   netip.Prefix
	cidr4     int // prefix lengths of a and mx
	cidr6     int
}

const version = "v=spf1"

// selectRecord returns the policy record among the TXT records of a domain, RFC 7208 §4.5, and how
// many there are.
func selectRecord(texts []string) (record string, n int) {
	for _, t := range texts {
		if len(t) < len(version) || !strings.EqualFold(t[:len(version)], version) {
			continue
		}
		if len(t) == len(version) || t[len(version)] == ' ' {
			record = t
			n++
		}
	}
	return record, n
}

// parse reads a record that begins with its version.
func parse(text string) (*record, error) {
	for i := range len(text) {
		if text[i] < ' ' || text[i] > '~' {
			return nil, errors.New("record holds a byte that is not printable ASCII")
		}
	}
	rec := &record{}
	seenRedirect, seenExp, all := false, false, false
	for term := range strings.SplitSeq(text[len(version):], " ") {
		if term == "" {
			continue
		}
		name, value, isModifier := modifier(term)
		if !isModifier {
			m, err := parseMechanism(term)
			if err != nil {
				return nil, fmt.Errorf("%q: %w", clip(term), err)
			}
			all = all || m.name == "all"
			rec.mechanisms = append(rec.mechanisms, m)
			continue
		}
		var err error
		switch name {
		case "redirect":
			err = once(&seenRedirect, checkSpec(value))
			rec.redirect = value
		case "exp":
			err = once(&seenExp, checkSpec(value))
			rec.exp = value
		default: // RFC 7208 §6: unknown modifiers are ignored, whatever they say, if they can be read
			_, err = expandMacros(value, nil, false)
		}
		if err != nil {
			return nil, fmt.Errorf("%q: %w", clip(term), err)
		}
	}
	if all {
		rec.redirect = ""
	}
	return rec, nil
}

// clip shortens what a stranger wrote, for a reason in a log line.
func clip(s string) string { return s[:min(len(s), 80)] }

// once lets a modifier stand one time, RFC 7208 §6.
func once(seen *bool, err error) error {
	if *seen {
		return errors.New("modifier stands twice")
	}
	*seen = true
	return err
}

// modifier splits name "=" value, RFC 7208 §4.6.1.
func modifier(term string) (name, value string, ok bool) {
	name, value, ok = strings.Cut(term, "=")
	if !ok || name == "" || !letter(name[0]) {
		return "", "", false
	}
	for i := range len(name) {
		c := name[i]
		if !letter(c) && !digit(c) && c != '-' && c != '_' && c != '.' {
			return "", "", false
		}
	}
	return strings.ToLower(name), value, true
}

func letter(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' }
func digit(c byte) bool  { return c >= '0' && c <= '9' }

// qualifiers are those of RFC 7208 §4.6.2.
var qualifiers = map[byte]mailauth.Status{
	'+': mailauth.Pass, '-': mailauth.Fail, '~': mailauth.SoftFail, '?': mailauth.Neutral,
}

var (
	errSyntax  = errors.New("cannot be read")
	errNoValue = errors.New("has no value")
	errUnknown = errors.New("is no mechanism")
)

func parseMechanism(term string) (mechanism, error) {
	m := mechanism{qualifier: mailauth.Pass, cidr4: 32, cidr6: 128}
	if q, ok := qualifiers[term[0]]; ok {
		m.qualifier = q
		term = term[1:]
	}
	m.text = term
	at := strings.IndexAny(term, ":/")
	if at < 0 {
		at = len(term)
	}
	m.name = strings.ToLower(term[:at])
	value, hasValue := strings.CutPrefix(term[at:], ":")
	rest := term[at:] // "" or a prefix length, when there is no colon
	switch m.name {
	case "all":
		if rest != "" {
			return m, errSyntax
		}
		return m, nil
	case "ip4", "ip6":
		if !hasValue {
			return m, errNoValue
		}
		return m, m.parseNetwork(value)
	case "include", "exists":
		if !hasValue {
			return m, errNoValue
		}
		m.spec = value
		return m, checkSpec(value)
	case "ptr":
		if rest != "" && !hasValue {
			return m, errSyntax
		}
	case "a", "mx":
		if !hasValue {
			value = rest
		}
		var err error
		if value, err = m.takeLengths(value); err != nil {
			return m, err
		}
		if !hasValue && value != "" {
			return m, errSyntax
		}
	default:
		return m, errUnknown
	}
	if !hasValue {
		return m, nil
	}
	m.spec = value
	return m, checkSpec(value)
}

// parseNetwork reads what ip4 and ip6 name, RFC 7208 §5.6.
func (m *mechanism) parseNetwork(value string) error {
	text, length, has := strings.Cut(value, "/")
	addr, err := netip.ParseAddr(text)
	if err != nil || addr.Is4() != (m.name == "ip4") || addr.Zone() != "" {
		return errSyntax
	}
	bits := addr.BitLen()
	if has {
		if bits, err = prefixLength(length, bits); err != nil {
			return err
		}
	}
	if addr.Is4In6() { // the client's address has been unmapped as well
		addr, bits = addr.Unmap(), max(bits-96, 0)
	}
	m.network = netip.PrefixFrom(addr, bits).Masked()
	return nil
}

// prefixLength reads a number without leading zeros.
func prefixLength(s string, most int) (int, error) {
	n, err := strconv.Atoi(s)
	if err != nil || n < 0 || n > most || !digit(s[0]) || len(s) > 1 && s[0] == '0' {
		return 0, errSyntax
	}
	return n, nil
}

// takeLengths takes a dual-cidr-length from the end of the value of a or mx, "/24", "//64" or
// "/24//64", RFC 7208 §5.3. A slash may also stand in the domain-spec: only digits after it, to the
// end, make it a length.
func (m *mechanism) takeLengths(value string) (rest string, err error) {
	if at := strings.LastIndex(value, "//"); at >= 0 && digits(value[at+2:]) {
		if m.cidr6, err = prefixLength(value[at+2:], 128); err != nil {
			return "", err
		}
		value = value[:at]
	}
	if at := strings.LastIndexByte(value, '/'); at >= 0 && digits(value[at+1:]) {
		if m.cidr4, err = prefixLength(value[at+1:], 32); err != nil {
			return "", err
		}
		value = value[:at]
	}
	return value, nil
}

func digits(s string) bool {
	for i := range len(s) {
		if !digit(s[i]) {
			return false
		}
	}
	return s != ""
}

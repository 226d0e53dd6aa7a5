package spf

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"tram/internal/smtp"
)

// errMacro is a mistake in a macro-string.
var errMacro = errors.New("macro cannot be read")

// maxExpanded bounds what a macro-string may grow to before a name is cut to 253 octets, and what an
// explanation may be.
const maxExpanded = 2048

// expandMacros expands a macro-string, RFC 7208 §7. value returns what a letter, in lower case, stands
// for; nil checks the syntax only. In an explanation there may be spaces, and the letters c, r and t.
func expandMacros(s string, value func(letter byte) string, explanation bool) (string, error) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c == ' ' && explanation:
			b.WriteByte(c)
		case c <= ' ' || c > '~':
			return "", errMacro
		case c != '%':
			b.WriteByte(c)
		case i+1 == len(s):
			return "", errMacro
		case s[i+1] == '{':
			end := strings.IndexByte(s[i:], '}')
			if end < 0 {
				return "", errMacro
			}
			m, err := parseMacro(s[i+2:i+end], explanation)
			if err != nil {
				return "", err
			}
			if value != nil {
				b.WriteString(m.expand(value(m.letter | 0x20)))
			}
			i += end
		default:
			i++
			switch s[i] {
			case '%':
				b.WriteByte('%')
			case '_':
				b.WriteByte(' ')
			case '-':
				b.WriteString("%20")
			default:
				return "", errMacro
			}
		}
		if b.Len() > maxExpanded {
			return "", errMacro
		}
	}
	return b.String(), nil
}

// macro is what stands between the braces.
type macro struct {
	letter     byte
	keep       int // parts from the right, 0: all
	reverse    bool
	delimiters string
}

func parseMacro(s string, explanation bool) (macro, error) {
	letters := "slodiphv"
	if explanation {
		letters += "crt"
	}
	if s == "" || !letter(s[0]) || strings.IndexByte(letters, s[0]|0x20) < 0 {
		return macro{}, errMacro
	}
	m := macro{letter: s[0], delimiters: "."}
	s = s[1:]
	n := 0
	for n < len(s) && digit(s[n]) {
		n++
	}
	if n > 0 {
		keep, err := strconv.Atoi(s[:min(n, 9)])
		if err != nil || keep == 0 { // RFC 7208 §7.3: it must not be zero
			return macro{}, errMacro
		}
		m.keep = keep
		s = s[n:]
	}
	if s != "" && s[0]|0x20 == 'r' {
		m.reverse = true
		s = s[1:]
	}
	for i := range len(s) {
		if strings.IndexByte(".-+,/_=", s[i]) < 0 {
			return macro{}, errMacro
		}
	}
	if s != "" {
		m.delimiters = s
	}
	return m, nil
}

// expand applies the transformers to what the letter stands for.
func (m macro) expand(s string) string {
	if m.keep > 0 || m.reverse || m.delimiters != "." {
		var parts []string
		start := 0
		for i := range len(s) {
			if strings.IndexByte(m.delimiters, s[i]) >= 0 {
				parts = append(parts, s[start:i])
				start = i + 1
			}
		}
		parts = append(parts, s[start:])
		if m.reverse {
			slices.Reverse(parts)
		}
		if m.keep > 0 && len(parts) > m.keep {
			parts = parts[len(parts)-m.keep:]
		}
		s = strings.Join(parts, ".")
	}
	if m.letter >= 'A' && m.letter <= 'Z' {
		return escape(s)
	}
	return s
}

// escape is the URL encoding of an upper-case letter, RFC 7208 §7.3 and RFC 3986 §2.3.
func escape(s string) string {
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; letter(c) || digit(c) || strings.IndexByte("-._~", c) >= 0 {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}

// checkSpec checks a domain-spec, RFC 7208 §7.1: a macro-string that ends in a macro or in a label of
// letters, digits and hyphens that is not all digits.
func checkSpec(s string) error {
	if s == "" {
		return errNoValue
	}
	if _, err := expandMacros(s, nil, false); err != nil {
		return err
	}
	if endsInMacro(s) {
		return nil
	}
	s = strings.TrimSuffix(s, ".")
	dot := strings.LastIndexByte(s, '.')
	if dot < 0 {
		return errors.New("domain has no top label")
	}
	top := s[dot+1:]
	if top == "" || digits(top) || top[0] == '-' || top[len(top)-1] == '-' {
		return errors.New("domain does not end in a name")
	}
	for i := range len(top) {
		if c := top[i]; !letter(c) && !digit(c) && c != '-' {
			return errors.New("domain does not end in a name")
		}
	}
	return nil
}

// endsInMacro reports whether the last thing in a macro-string that can be read is a macro.
func endsInMacro(s string) bool {
	end := false
	for i := 0; i < len(s); i++ {
		end = s[i] == '%'
		if !end {
			continue
		}
		if s[i+1] != '{' {
			i++
			continue
		}
		i += strings.IndexByte(s[i:], '}')
	}
	return end
}

// expand expands a domain-spec to a name, RFC 7208 §7.3: one that is too long loses labels from the
// left.
func (e *evaluation) expand(ctx context.Context, spec, domain string, explanation bool) (string, error) {
	var asked error
	name, err := expandMacros(spec, func(c byte) string {
		v, err := e.value(ctx, c, domain, explanation)
		asked = errors.Join(asked, err)
		return v
	}, explanation)
	if err != nil {
		return "", errLimit(err.Error()) // it is longer than any name: the record was read already
	}
	if asked != nil {
		return "", asked
	}
	if explanation {
		return name, nil
	}
	name = strings.TrimSuffix(name, ".")
	for len(name) > 253 {
		_, rest, ok := strings.Cut(name, ".")
		if !ok {
			return "", nil
		}
		name = rest
	}
	return strings.ToLower(name), nil
}

// value is what a macro letter stands for, RFC 7208 §7.2.
func (e *evaluation) value(ctx context.Context, c byte, domain string, explanation bool) (string, error) {
	switch c {
	case 's':
		return e.q.Local + "@" + e.q.Domain, nil
	case 'l':
		return e.q.Local, nil
	case 'o':
		return e.q.Domain, nil
	case 'd':
		return domain, nil
	case 'i':
		return dotted(e.q.Addr), nil
	case 'p':
		return e.clientName(ctx, domain, explanation)
	case 'v':
		if e.q.Addr.Is4() {
			return "in-addr", nil
		}
		return "ip6", nil
	case 'h':
		return e.q.HELO, nil
	case 'c':
		return e.q.Addr.String(), nil
	case 'r':
		if _, err := smtp.ParseDomain(e.o.Hostname); err != nil {
			return "unknown", nil
		}
		return e.o.Hostname, nil
	default: // 't'
		return strconv.FormatInt(e.o.Now.Unix(), 10), nil
	}
}

// clientName is the macro p: a confirmed name of the client, best the domain itself or one below it.
// Asking for it counts as one more term, for it asks as many questions as the mechanism ptr.
func (e *evaluation) clientName(ctx context.Context, domain string, explanation bool) (string, error) {
	if !e.named {
		if err := e.count(); err != nil {
			if explanation {
				return "unknown", nil
			}
			return "", err
		}
	}
	e.confirmNames(ctx)
	best := "unknown"
	for _, name := range e.names {
		switch {
		case strings.EqualFold(name, domain):
			return name, nil
		case best == "unknown", atOrBelow(name, domain) && !atOrBelow(best, domain):
			best = name
		}
	}
	return best, nil
}

// dotted is the macro i: the address in labels, an IPv6 one nibble by nibble.
func dotted(a netip.Addr) string {
	if a.Is4() {
		return a.String()
	}
	const hex = "0123456789abcdef"
	b := make([]byte, 0, 63)
	for i, octet := range a.As16() {
		if i > 0 {
			b = append(b, '.')
		}
		b = append(b, hex[octet>>4], '.', hex[octet&15])
	}
	return string(b)
}

// explain fetches and expands the explanation of a fail, RFC 7208 §6.2. Whatever goes wrong on the
// way, there is none then.
func (e *evaluation) explain(ctx context.Context, rec *record, domain string) string {
	if rec.exp == "" {
		return ""
	}
	name, err := e.expand(ctx, rec.exp, domain, false)
	if err != nil || !wellFormed(name) {
		return ""
	}
	texts, _, err := e.r.TXT(ctx, name)
	if err != nil || len(texts) != 1 || len(texts[0]) > maxExpanded {
		return ""
	}
	text, err := e.expand(ctx, texts[0], domain, true)
	if err != nil {
		return ""
	}
	for i := range len(text) {
		if text[i] < ' ' || text[i] > '~' { // of a local part in UTF-8
			return ""
		}
	}
	return text
}

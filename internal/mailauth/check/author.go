package check

import (
	"errors"
	"slices"
	"strings"
	"unicode/utf8"

	"tram/internal/message"
	"tram/internal/smtp"
)

// What is wrong with a message that has no author. The texts are for the sender's postmaster.
var (
	ErrNoFrom      = errors.New("the message has no From field")
	ErrManyFrom    = errors.New("the message has more than one From field")
	ErrHiddenFrom  = errors.New("a line of the header looks like a second or malformed From field")
	ErrNoAddress   = errors.New("the From field holds no address")
	ErrManyAddress = errors.New("the From field holds more than one address")
	ErrAddress     = errors.New("the From field cannot be read without doubt")
)

// Author returns the one author of a message: one From field with one address, RFC 5322 §3.6.2 in the
// strict form that RFC 9989 §5.3.1 can be applied to. Whatever another program could read in another
// way is an error: a second field, a line that is nearly one, groups, source routes, text after the
// address, an address in the display name that is not quoted and of another domain. The domain comes in
// A-labels where it is a name.
func Author(header []byte) (smtp.Address, error) {
	var from message.Field
	n := 0
	for f := range message.Header(header) {
		name, _, _ := strings.Cut(string(f.Raw[:min(len(f.Raw), 200)]), ":")
		switch {
		case !looksLikeFrom(name):
		case f.Name == nil || len(name) != len("From"):
			return smtp.Address{}, ErrHiddenFrom
		default:
			from = f
			n++
		}
	}
	switch {
	case n == 0:
		return smtp.Address{}, ErrNoFrom
	case n > 1:
		return smtp.Address{}, ErrManyFrom
	}
	r := &reader{s: unfold.Replace(string(from.Body))}
	return r.author()
}

// looksLikeFrom reports whether a name is From to somebody who passes over what cannot be seen.
func looksLikeFrom(name string) bool {
	if len(name) < len("from") {
		return false
	}
	at := 0
	for i := range len(name) {
		c := name[i]
		if c <= ' ' || c >= 0x7f {
			continue
		}
		if at == 4 || c|0x20 != "from"[at] {
			return false
		}
		at++
	}
	return at == 4
}

// reader reads one mailbox.
type reader struct {
	s  string
	at int
}

// author reads [display-name] "<" addr-spec ">" or addr-spec, RFC 5322 §3.4, with comments.
func (r *reader) author() (smtp.Address, error) {
	var phrase []string // words outside quotes
	var found, bare string
	angle, quoted := false, false
	for {
		if err := r.skip(); err != nil {
			return smtp.Address{}, err
		}
		if r.at == len(r.s) {
			break
		}
		if angle && strings.Trim(r.s[r.at:], ", \t") == "" {
			break // an empty place in the list, RFC 5322 §4.4
		}
		if angle { // text after the address
			return smtp.Address{}, r.moreThanOne()
		}
		switch c := r.s[r.at]; c {
		case '<':
			end := strings.IndexByte(r.s[r.at:], '>')
			if end < 0 {
				return smtp.Address{}, ErrAddress
			}
			angle, found = true, strings.TrimSpace(r.s[r.at+1:r.at+end])
			r.at += end + 1
		case '"':
			start := r.at
			if !r.quoted() {
				return smtp.Address{}, ErrAddress
			}
			quoted = true
			if r.at < len(r.s) && r.s[r.at] == '@' { // an address with a quoted local part
				bare = r.s[start:r.at] + r.word()
				phrase = append(phrase, bare)
			}
		case '>', ')', '\\', ';', ':': // the last two: a group, RFC 5322 §3.4
			return smtp.Address{}, ErrAddress
		case ',', '[', ']': // not right in a name, and common
			r.at++
			phrase = append(phrase, string(c))
		default:
			bare = r.word()
			phrase = append(phrase, bare)
		}
	}
	if !angle {
		switch {
		case len(phrase) == 1 && (!quoted || strings.HasPrefix(bare, `"`)):
			found = bare
		case strings.Count(strings.Join(phrase, ""), "@") > 1:
			return smtp.Address{}, ErrManyAddress
		case strings.Contains(strings.Join(phrase, ""), "@"):
			return smtp.Address{}, ErrAddress
		}
	}
	if found == "" || !strings.Contains(found, "@") {
		return smtp.Address{}, ErrNoAddress
	}
	a, err := address(found)
	if err != nil {
		return smtp.Address{}, err
	}
	if angle && (strayAddress(phrase, a.Domain) || slices.Contains(phrase, ",") && listed(phrase)) {
		return smtp.Address{}, ErrManyAddress
	}
	return a, nil
}

// moreThanOne tells a second address from other text.
func (r *reader) moreThanOne() error {
	if strings.IndexByte(r.s[r.at:], '@') >= 0 {
		return ErrManyAddress
	}
	return ErrAddress
}

// strayAddress reports whether words before the address hold another one. Its own, or another of the
// same domain, is common there and misleads nobody about the domain.
func strayAddress(phrase []string, domain string) bool {
	for _, w := range phrase {
		if !strings.Contains(w, "@") {
			continue
		}
		a, err := address(strings.Trim(w, ".'"))
		if err != nil || a.Domain != domain {
			return true
		}
	}
	return false
}

// listed reports whether a word is an address, or an encoded one: beside a comma it is one of several
// authors, and an encoded word can be a whole address to who decodes first and reads then.
func listed(phrase []string) bool {
	return slices.ContainsFunc(phrase, func(w string) bool {
		return strings.Contains(w, "@") || strings.Contains(w, "=?")
	})
}

// skip passes white space and comments. One that holds an address in angle brackets is not passed over:
// programs that know no comments show that one.
func (r *reader) skip() error {
	depth, start := 0, r.at
	for r.at < len(r.s) {
		switch c := r.s[r.at]; {
		case c == '(':
			depth++
		case c == ')' && depth > 0:
			depth--
		case c == '\\' && depth > 0:
			r.at++
		case c == ' ', c == '\t', depth > 0 && c > ' ' && c != 0x7f:
		case c < ' ', c == 0x7f:
			return ErrAddress
		default:
			return hidesAddress(r.s[start:r.at])
		}
		r.at++
	}
	if depth > 0 {
		return ErrAddress
	}
	r.at = len(r.s)
	return hidesAddress(r.s[start:])
}

func hidesAddress(comments string) error {
	if strings.Contains(comments, "<") && strings.Contains(comments, "@") {
		return ErrManyAddress
	}
	return nil
}

// quoted passes a quoted string.
func (r *reader) quoted() bool {
	for r.at++; r.at < len(r.s); r.at++ {
		switch c := r.s[r.at]; {
		case c == '"':
			r.at++
			return true
		case c == '\\':
			r.at++
		case c < ' ' && c != '\t', c == 0x7f:
			return false
		}
	}
	r.at = len(r.s)
	return false
}

// word reads what stands up to white space or a mark that ends it; a domain literal is a part of it.
func (r *reader) word() string {
	start := r.at
	for r.at < len(r.s) {
		c := r.s[r.at]
		if c == '[' && r.at > start && r.s[r.at-1] == '@' {
			if end := strings.IndexByte(r.s[r.at:], ']'); end > 0 {
				r.at += end + 1
				continue
			}
		}
		if c <= ' ' || c == 0x7f || strings.IndexByte(`()<>,;:"\[]`, c) >= 0 {
			break
		}
		r.at++
	}
	return r.s[start:r.at]
}

// address reads an addr-spec. The local part may be in UTF-8, longer than SMTP allows, or have its dots
// where they must not be: such addresses are in use. It may hold no second @, not even quoted, and be
// no encoded word.
func address(s string) (smtp.Address, error) {
	at := strings.LastIndexByte(s, '@')
	if at < 1 || strings.Count(s, "@") > 1 {
		if strings.Count(s, "@") > 1 {
			return smtp.Address{}, ErrManyAddress
		}
		return smtp.Address{}, ErrNoAddress
	}
	local, domain := s[:at], s[at+1:]
	if inner, ok := strings.CutPrefix(local, `"`); ok {
		inner, ok = strings.CutSuffix(inner, `"`)
		if !ok || inner == "" || strings.ContainsAny(inner, `"\<>`) {
			return smtp.Address{}, ErrAddress
		}
		local = inner
	} else if strings.ContainsAny(local, " \t\"(),:;<>[\\]") || strings.Contains(local, "=?") {
		return smtp.Address{}, ErrAddress
	}
	if !utf8.ValidString(s) || strings.IndexFunc(s, func(c rune) bool { return c < ' ' || c == 0x7f }) >= 0 {
		return smtp.Address{}, ErrAddress
	}
	d, err := smtp.ParseDomain(domain)
	if err != nil {
		// Names with underscores are no host names, and in use.
		if d, err = smtp.ParseDomain(strings.ReplaceAll(domain, "_", "x")); err != nil || len(d) != len(domain) {
			return smtp.Address{}, ErrAddress
		}
		d = strings.ToLower(domain)
	}
	return smtp.Address{Local: local, Domain: d}, nil
}

// Agrees reports whether the parser, which the mailbox shows the author with, sees the same one.
func Agrees(m *message.Message, a smtp.Address) bool {
	if m.FromCount != 1 {
		return false
	}
	for _, one := range m.Envelope.From {
		if one.Is() {
			domain, err := smtp.ParseDomain(one.Host)
			if err != nil {
				domain = strings.ToLower(one.Host)
			}
			return domain == a.Domain && one.Route == ""
		}
	}
	return false
}

// unfold takes the line ends out of a field's body.
var unfold = strings.NewReplacer("\r\n", "", "\n", "")

package authres

import (
	"strings"

	"tram/internal/message"
	"tram/internal/smtp"
)

// Claims reports whether a field's value says, or could to any reader seem to say, that id wrote it: RFC
// 8601 §5 wants such fields removed at the border. It errs on the side of yes: what cannot be read and
// has our name in it is no loss.
func Claims(value []byte, id string) bool {
	text := string(value)
	if strings.Contains(text, "=?") { // some decode first and read then
		if decoded := message.DecodeHeader(text); decoded != text && claims(decoded, id) {
			return true
		}
	}
	return claims(text, id)
}

func claims(text, id string) bool {
	f, err := Parse(text)
	if same(f.ID, id) {
		return true
	}
	// Other readers drop comments, quotes, backslashes and white space before they compare, or take the
	// version for a part of the name.
	name, _, _ := strings.Cut(text, ";")
	for _, s := range []string{bare(name, true), bare(name, false)} {
		rest, ok := cutPrefixFold(s, bare(id, false))
		if ok && strings.Trim(rest, "0123456789/.") == "" {
			return true
		}
	}
	return err != nil && f.ID == "" && strings.Contains(bare(text, false), bare(id, false))
}

// same compares two names as a reader would: without regard to case, a final dot, or whether a name in
// other letters is written in its ASCII form.
func same(a, b string) bool { return canonical(a) == canonical(b) }

func canonical(s string) string {
	s = strings.ToLower(strings.TrimSuffix(s, "."))
	if d, err := smtp.ParseDomain(s); err == nil {
		return d
	}
	return s
}

// bare keeps the letters, digits and marks of a name, in lower case; what is in comments only if not
// told to drop it.
func bare(s string, drop bool) string {
	var b strings.Builder
	depth := 0
	for i := range len(s) {
		c := s[i]
		switch {
		case c == '(':
			depth++
		case c == ')':
			depth = max(depth-1, 0)
		case drop && depth > 0, c <= ' ', c == '"', c == '\\', c == 0x7f:
		case c >= 'A' && c <= 'Z':
			b.WriteByte(c | 0x20)
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}

func cutPrefixFold(s, prefix string) (rest string, ok bool) {
	if prefix == "" || len(s) < len(prefix) || !strings.EqualFold(s[:len(prefix)], prefix) {
		return "", false
	}
	return s[len(prefix):], true
}

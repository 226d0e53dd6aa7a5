package message

import (
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"
)

// ErrUnwritable is returned when a value cannot stand in a header field at all: a field name that
// is none, an address that needs UTF-8 in a message that must not have it, a word of a thousand
// bytes.
var ErrUnwritable = errors.New("cannot be written into a header")

// lineLimit is where fields are folded, RFC 5322 §2.1.1; wordLimit is the longest encoded word,
// RFC 2047 §2.
const (
	lineLimit = 78
	wordLimit = 75
)

// FieldWriter writes header fields: folded at 78 columns where there is a space, encoded words
// (RFC 2047) for what is not ASCII unless UTF8 is set (RFC 6532). No value can end a field or begin
// another one: line ends and other controls in it become spaces. The first error sticks.
type FieldWriter struct {
	UTF8 bool
	b    []byte
	col  int
	bare bool // the line holds the field's name only
	err  error
}

// Bytes returns the fields written so far, each with its CRLF.
func (w *FieldWriter) Bytes() ([]byte, error) { return w.b, w.err }

// name begins a field.
func (w *FieldWriter) name(name string) {
	for i := 0; i < len(name); i++ {
		if name[i] <= ' ' || name[i] >= 0x7f || name[i] == ':' {
			w.fail(name)
			return
		}
	}
	if name == "" || len(name) > lineLimit {
		w.fail(name)
		return
	}
	w.b = append(append(w.b, name...), ':')
	w.col, w.bare = len(name)+1, true
}

// fail keeps the first error.
func (w *FieldWriter) fail(value string) {
	if w.err == nil {
		w.err = fmt.Errorf("write field: %.100q: %w", value, ErrUnwritable)
	}
}

// word appends a word with a space before it, on a new line when this one is full.
func (w *FieldWriter) word(s string) { w.spaced(" ", s) }

// spaced appends white space and a word, which are never parted; the line may end before them. It
// does not end right after the name: some readers take that for the end of the field.
func (w *FieldWriter) spaced(space, s string) {
	if len(space)+len(s) > maxLine {
		w.fail(s)
		return
	}
	if w.col+len(space)+len(s) > lineLimit && !w.bare {
		w.b = append(w.b, '\r', '\n')
		w.col = 0
	}
	w.b = append(append(w.b, space...), s...)
	w.col, w.bare = w.col+len(space)+len(s), false
}

func (w *FieldWriter) end() { w.b = append(w.b, '\r', '\n') }

// Text writes an unstructured field, such as Subject.
func (w *FieldWriter) Text(name, value string) {
	w.name(name)
	w.text(value)
	w.end()
}

// text writes unstructured words; from the first to the last that cannot stand as they are,
// everything becomes encoded words.
func (w *FieldWriter) text(value string) {
	value = strings.TrimRight(cleanText(value), " ")
	chunks := splitChunks(value)
	first, last := -1, -1
	for i, c := range chunks {
		if w.mustEncode(c) {
			if first < 0 {
				first = i
			}
			last = i
		}
	}
	for i := 0; i < len(chunks); i++ {
		if i != first {
			space, word := cutSpace(chunks[i])
			if i == 0 {
				space = " " + space
			}
			w.spaced(space, word)
			continue
		}
		run := strings.Join(chunks[first:last+1], "")
		if i > 0 && run[0] == ' ' {
			run = run[1:] // this space parts the encoded words from the plain one
		}
		w.encoded(run)
		i = last
	}
}

// cleanText makes a value valid UTF-8 on one line.
func cleanText(s string) string { return cleanControls(strings.ToValidUTF8(s, "\ufffd")) }

// splitChunks cuts s before each run of spaces, so that joining gives s again.
func splitChunks(s string) []string {
	var out []string
	for start := 0; start < len(s); {
		end := start
		for end < len(s) && s[end] == ' ' {
			end++
		}
		for end < len(s) && s[end] != ' ' {
			end++
		}
		out = append(out, s[start:end])
		start = end
	}
	return out
}

// cutSpace parts a chunk from its leading spaces.
func cutSpace(chunk string) (space, word string) {
	word = strings.TrimLeft(chunk, " ")
	return chunk[:len(chunk)-len(word)], word
}

// mustEncode reports whether a chunk cannot stand as it is.
func (w *FieldWriter) mustEncode(chunk string) bool {
	if len(chunk) > maxLine-lineLimit || strings.Contains(chunk, "=?") {
		return true
	}
	for i := 0; i < len(chunk); i++ {
		if chunk[i] >= 0x80 && !w.UTF8 {
			return true
		}
	}
	return false
}

// encoded writes s as encoded words.
func (w *FieldWriter) encoded(s string) {
	for _, word := range encodedWords(s) {
		w.word(word)
	}
}

// encodeWords makes s encoded words with spaces between them.
func encodeWords(s string) string { return strings.Join(encodedWords(s), " ") }

// encodedWords cuts s into encoded words of at most 75 characters, in whichever encoding is
// shorter, and never inside a character (RFC 2047 §5). The result may stand in a phrase.
func encodedWords(s string) []string {
	q := 0
	for i := 0; i < len(s); i++ {
		if !plainInWord(s[i]) && s[i] != ' ' {
			q += 2
		}
		q++
	}
	base64 := q > (len(s)+2)/3*4
	const frame = len("=?utf-8?q?") + len("?=")
	room := wordLimit - frame
	var out []string
	for start := 0; start < len(s); {
		end, used := start, 0
		for end < len(s) {
			_, size := utf8.DecodeRuneInString(s[end:])
			cost := qCost(s[end : end+size])
			if base64 {
				cost = (end+size-start+2)/3*4 - used
			}
			if used+cost > room && end > start {
				break
			}
			used += cost
			end += size
		}
		out = append(out, encodedWord(s[start:end], base64))
		start = end
	}
	return out
}

// qCost is the length of s in the Q encoding.
func qCost(s string) (n int) {
	for i := 0; i < len(s); i++ {
		if n++; !plainInWord(s[i]) && s[i] != ' ' {
			n += 2
		}
	}
	return n
}

// plainInWord reports whether c stands for itself in the Q encoding, wherever the word is used
// (RFC 2047 §5, rule 3).
func plainInWord(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || isDigit(c) ||
		c == '!' || c == '*' || c == '+' || c == '-' || c == '/'
}

// encodedWord writes one word, RFC 2047 §4.
func encodedWord(s string, base64 bool) string {
	if base64 {
		return "=?utf-8?b?" + base64Std.EncodeToString([]byte(s)) + "?="
	}
	const hex = "0123456789ABCDEF"
	b := make([]byte, 0, wordLimit)
	b = append(b, "=?utf-8?q?"...)
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case plainInWord(c):
			b = append(b, c)
		case c == ' ':
			b = append(b, '_')
		default:
			b = append(b, '=', hex[c>>4], hex[c&15])
		}
	}
	return string(append(b, "?="...))
}

// Words writes a structured field whose value is words that may be parted at spaces. Controls
// become spaces; other than ASCII is refused unless UTF8 is set.
func (w *FieldWriter) Words(name, value string) {
	w.name(name)
	if !w.UTF8 && !isASCII(value) {
		w.fail(value)
	}
	for word := range strings.FieldsSeq(cleanText(value)) {
		w.word(word)
	}
	w.end()
}

// Date writes a date field.
func (w *FieldWriter) Date(name string, t time.Time) { w.Words(name, FormatDate(t)) }

// IDs writes message identifiers; those that are none are left out.
func (w *FieldWriter) IDs(name string, ids ...string) {
	w.name(name)
	for _, id := range ids {
		if strings.ContainsAny(id, " \t\r\n\x00") || len(id) < 3 || id[0] != '<' {
			continue
		}
		if !w.UTF8 && !isASCII(id) {
			continue
		}
		w.word(id)
	}
	w.end()
}

// Addresses writes an address list; groups are written as such.
func (w *FieldWriter) Addresses(name string, list ...Address) {
	w.name(name)
	open := false // a group that has no member yet
	for i, a := range list {
		comma := ""
		if i+1 < len(list) && list[i+1].Group != GroupEnd {
			comma = ","
		}
		switch a.Group {
		case GroupStart:
			w.phrase(a.Mailbox)
			w.b, w.col, open = append(w.b, ':'), w.col+1, true
			continue
		case GroupEnd:
			if open {
				w.word(";" + comma)
			} else {
				w.b, w.col = append(append(w.b, ';'), comma...), w.col+1+len(comma)
			}
		default:
			w.address(a, comma)
		}
		open = false
	}
	w.end()
}

// address writes one mailbox. An address that would change its meaning is refused, not repaired.
func (w *FieldWriter) address(a Address, comma string) {
	host := a.Host
	if !w.UTF8 {
		host = asciiHost(host)
	}
	addr := quoteLocal(a.Mailbox)
	if host != "" {
		addr += "@" + host
	}
	if !w.UTF8 && !isASCII(addr) || strings.ContainsAny(host, " \t\r\n\x00<>,;:()\\\"") &&
		!strings.HasPrefix(host, "[") || cleanControls(addr) != addr {
		w.fail(a.String())
		return
	}
	if trim(cleanControls(a.Name)) == "" {
		w.word(addr + comma)
		return
	}
	w.phrase(a.Name)
	w.word("<" + addr + ">" + comma)
}

// phrase writes a display name: atoms, a quoted string or encoded words.
func (w *FieldWriter) phrase(s string) {
	s = cleanText(s)
	atoms := true
	for i := 0; i < len(s) && atoms; i++ {
		atoms = isAtom(s[i]) || s[i] == ' '
	}
	switch {
	case w.mustEncode(s):
		w.encoded(s)
	case atoms && trim(s) == s && !strings.Contains(s, "  "):
		for word := range strings.FieldsSeq(s) {
			w.word(word)
		}
	default:
		w.word(quote(s))
	}
}

// quote makes a quoted string, RFC 5322 §3.2.4.
func quote(s string) string {
	b := make([]byte, 0, len(s)+2)
	b = append(b, '"')
	for i := 0; i < len(s); i++ {
		if s[i] == '"' || s[i] == '\\' {
			b = append(b, '\\')
		}
		b = append(b, s[i])
	}
	return string(append(b, '"'))
}

// quoteLocal quotes a local part that is no dot-atom.
func quoteLocal(s string) string {
	dot := true // at the beginning, or after a dot
	for i := 0; i < len(s); i++ {
		if s[i] == '.' && dot || s[i] != '.' && !isAtom(s[i]) {
			return quote(s)
		}
		dot = s[i] == '.'
	}
	if dot {
		return quote(s)
	}
	return s
}

// Params writes a field of the form `value; name=value`, such as Content-Type. What cannot stand in
// a quoted string is written as RFC 2231 wants it.
func (w *FieldWriter) Params(name, value string, params ...Param) {
	w.name(name)
	w.word(cleanText(value))
	for _, p := range params {
		if p.Name == "" || len(p.Name) > 40 || strings.IndexFunc(p.Name, notToken) >= 0 {
			w.fail(p.Name)
			continue
		}
		w.param(p)
	}
	w.end()
}

// notToken reports whether r cannot stand in a parameter that has no marks of RFC 2231.
func notToken(r rune) bool { return r >= 0x80 || !isToken(byte(r)) || r == '*' }

// param writes one parameter: a token, a quoted string, or the pieces of RFC 2231.
func (w *FieldWriter) param(p Param) {
	value := cleanText(p.Value)
	semicolon := func(s string) {
		w.b, w.col = append(w.b, ';'), w.col+1
		w.word(s)
	}
	switch {
	case value != "" && strings.IndexFunc(value, notToken) < 0 && len(value) < 60:
		semicolon(p.Name + "=" + value)
		return
	case (w.UTF8 || isASCII(value)) && len(value) < 60 && trim(value) == value &&
		!strings.Contains(value, "=?"):
		semicolon(p.Name + "=" + quote(value))
		return
	}
	pieces := cutEncoded(encodeExtended(value), lineLimit-len(p.Name)-12)
	if len(pieces) == 1 {
		semicolon(p.Name + "*=" + pieces[0])
		return
	}
	for i, piece := range pieces {
		semicolon(fmt.Sprintf("%s*%d*=%s", p.Name, i, piece))
	}
}

// cutEncoded cuts percent-encoded text into pieces of at most n bytes, not inside an escape.
func cutEncoded(s string, n int) []string {
	var out []string
	for len(s) > n {
		end := n
		for back := 1; back <= 2; back++ {
			if s[end-back] == '%' {
				end -= back
				break
			}
		}
		out = append(out, s[:end])
		s = s[end:]
	}
	return append(out, s)
}

package imap

import (
	"strings"
	"unicode/utf8"
)

// Classes of bytes, RFC 9051 §9.
const (
	isAtom    = 1 << iota // ATOM-CHAR
	isAString             // ASTRING-CHAR: ATOM-CHAR and "]"
	isPattern             // list-char: ASTRING-CHAR, "%" and "*"
	isTag                 // ASTRING-CHAR without "+"
	isLabel               // the letters of item, key and option names
)

var classes = classTable()

// classTable says for each byte which classes it is in.
func classTable() (t [256]uint8) {
	for c := 0x21; c < 0x7f; c++ {
		switch {
		case c == ']':
			t[c] = isAString | isPattern | isTag
		case c == '%' || c == '*':
			t[c] = isPattern
		case strings.IndexByte("(){\"\\", byte(c)) >= 0:
		case c == '+':
			t[c] = isAtom | isAString | isPattern
		default:
			t[c] = isAtom | isAString | isPattern | isTag
		}
		letter := 'A' <= c && c <= 'Z' || 'a' <= c && c <= 'z'
		if letter || '0' <= c && c <= '9' || c == '.' || c == '-' || c == '_' {
			t[c] |= isLabel
		}
	}
	return t
}

// run consumes the bytes of a class.
func (d *Decoder) run(class uint8) []byte {
	if d.err != nil {
		return nil
	}
	start := d.pos
	for d.pos < len(d.line) && classes[d.line[d.pos]]&class != 0 {
		d.pos++
	}
	return d.line[start:d.pos]
}

// word is run for a token that must not be empty.
func (d *Decoder) word(class uint8, what string) string {
	b := d.run(class)
	if len(b) == 0 && d.err == nil {
		d.Bad("Expected %s%s", what, d.found())
	}
	return string(b)
}

// Tag reads a command's tag.
func (d *Decoder) Tag() string { return d.word(isTag, "a tag") }

// Atom reads an atom.
func (d *Decoder) Atom() string { return d.word(isAtom, "an atom") }

// Label reads the name of a command, item, key or option, and returns it in upper case.
func (d *Decoder) Label() string { return upper(d.word(isLabel, "a name")) }

// upper is strings.ToUpper for ASCII; it does not allocate when s is in upper case already.
func upper(s string) string {
	for i := 0; i < len(s); i++ {
		if 'a' <= s[i] && s[i] <= 'z' {
			return strings.ToUpper(s)
		}
	}
	return s
}

// Str reads a quoted string or a literal.
func (d *Decoder) Str() string {
	switch {
	case d.peek() == '"':
		return d.quoted()
	case d.AtLiteral():
		return d.literal()
	}
	d.Bad("Expected a string%s", d.found())
	return ""
}

// AString reads an atom, a quoted string or a literal.
func (d *Decoder) AString() string {
	if d.peek() == '"' || d.AtLiteral() {
		return d.Str()
	}
	return d.word(isAString, "a string")
}

// NString reads NIL (ok is false) or a string.
func (d *Decoder) NString() (s string, ok bool) {
	if d.peek() == 'N' || d.peek() == 'n' {
		if !strings.EqualFold(d.Atom(), "NIL") {
			d.Bad("Expected NIL or a string%s", d.found())
		}
		return "", false
	}
	return d.Str(), d.err == nil
}

// quoted reads a quoted string. UTF-8 is allowed in it in every state: RFC 9051 §9 has it in
// QUOTED-CHAR, and for IMAP4rev1 clients it is what they mean.
func (d *Decoder) quoted() string {
	d.Expect('"')
	if d.err != nil {
		return ""
	}
	rest := d.line[d.pos:]
	end, escaped, high := 0, false, false
	for ; end < len(rest) && rest[end] != '"'; end++ {
		switch c := rest[end]; {
		case c == '\\':
			escaped = true
			end++
		case c == 0 || c == '\r':
			d.Bad("Control character in a quoted string%s", d.found())
			return ""
		case c >= 0x80:
			high = true
		}
	}
	switch {
	case end >= len(rest):
		d.Bad("Unterminated quoted string")
		return ""
	case end > d.limits.Quoted:
		d.Fail(errQuoted)
		return ""
	}
	d.pos += end + 1
	s := rest[:end]
	if high && !utf8.Valid(s) {
		d.Fail(errBadUTF8)
		return ""
	}
	if escaped {
		return d.unescape(s)
	}
	return string(s)
}

// unescape undoes the two escapes that exist: of the quote and of the backslash.
func (d *Decoder) unescape(s []byte) string {
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' {
			i++
			if s[i] != '"' && s[i] != '\\' {
				d.Bad("Unknown escape in a quoted string")
				return ""
			}
		}
		b = append(b, s[i])
	}
	return string(b)
}

// parseUint reads decimal digits from the start of b; used is 0 when there are none or the number
// is beyond 64 bits.
func parseUint(b []byte) (n uint64, used int) {
	for used < len(b) && '0' <= b[used] && b[used] <= '9' {
		c := uint64(b[used] - '0')
		if n > (1<<64-1-c)/10 {
			return 0, 0
		}
		n = n*10 + c
		used++
	}
	return n, used
}

// Number64 reads a number of at most 63 bits.
func (d *Decoder) Number64() uint64 { return d.number(1<<63 - 1) }

// Number reads a number of at most 32 bits.
func (d *Decoder) Number() uint32 { return uint32(d.number(1<<32 - 1)) }

// NonZero reads a number from 1 to 2^32-1.
func (d *Decoder) NonZero() uint32 {
	n := d.Number()
	if n == 0 {
		d.Bad("Expected a number above 0%s", d.found())
	}
	return n
}

// number reads decimal digits up to limit.
func (d *Decoder) number(limit uint64) uint64 {
	if d.err != nil {
		return 0
	}
	n, used := parseUint(d.line[d.pos:])
	if used == 0 || n > limit {
		d.Bad("Expected a number%s", d.found())
		return 0
	}
	d.pos += used
	return n
}

// Mailbox reads a mailbox name and returns it as UTF-8, with "INBOX" in upper case.
func (d *Decoder) Mailbox() string {
	name := d.AString()
	if d.err != nil {
		return ""
	}
	if strings.EqualFold(name, "INBOX") {
		return "INBOX"
	}
	if !utf8.ValidString(name) {
		d.Fail(errNameUTF8)
		return ""
	}
	if d.UTF8 {
		return name
	}
	decoded, ok := DecodeName(name)
	if !ok {
		d.Fail(errName)
		return ""
	}
	return decoded
}

// Pattern reads the list-mailbox of LIST and LSUB. A pattern that is not valid modified UTF-7 is
// returned as it is: it names no mailbox.
func (d *Decoder) Pattern() string {
	var name string
	if d.peek() == '"' || d.AtLiteral() {
		name = d.Str()
	} else {
		name = d.word(isPattern, "a pattern")
	}
	if d.UTF8 || d.err != nil {
		return name
	}
	if decoded, ok := DecodeName(name); ok {
		return decoded
	}
	return name
}

// Flag reads a flag or keyword. System flags come in their canonical case.
func (d *Decoder) Flag() string {
	system := d.Try('\\')
	if system && d.Try('*') {
		return FlagAny
	}
	name := d.word(isAtom, "a flag")
	if len(name) > d.limits.Keyword && d.err == nil {
		d.err = &Error{No: true, Code: "LIMIT", Text: "Flag name too long"}
	}
	if system {
		return canonicalFlag(`\` + name)
	}
	return name
}

// Flags reads a parenthesised list of flags.
func (d *Decoder) Flags() []string {
	flags := []string{}
	d.List(func() { flags = append(flags, d.Flag()) })
	return flags
}

// StoreFlags reads the flags of STORE, which may lack their parentheses.
func (d *Decoder) StoreFlags() []string {
	if d.peek() == '(' {
		return d.Flags()
	}
	flags := []string{d.Flag()}
	for d.TrySP() {
		flags = append(flags, d.Flag())
	}
	return flags
}

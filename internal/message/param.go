package message

import (
	"slices"
	"strings"
)

// rawParam is one parameter as it stands in the field, before RFC 2231 joins the pieces.
type rawParam struct {
	name     string // lower case, without the RFC 2231 marks
	section  int    // name*2: 2; -1 when the parameter is whole
	extended bool   // name*, name*0*: percent-encoded
	value    string // without quotes
}

// paramScanner reads what follows the first token of Content-Type or Content-Disposition.
type paramScanner struct {
	s     string
	pos   int
	flaws Flaws
}

// DecodeParams reads a value of the form `token; name=value; …`, as Content-Type and
// Content-Disposition have: the token in lower case, and the parameters decoded (RFC 2231, and the
// encoded words that RFC 2047 §5 forbids there and everybody sends). A parameter given twice counts
// once: the extended form before the plain one, else the first.
func DecodeParams(s string) (token string, params []Param) {
	sc := paramScanner{s: unfold(s)}
	sc.skipSpace()
	token = lower(sc.token())
	raw, _ := sc.params(nil, maxParams)
	params, _ = joinParams(raw, "")
	return token, params
}

// maxParams is limits.Default().Message.Params, for callers that bring no limits.
const maxParams = 50

// contentType is a parsed Content-Type.
type contentType struct {
	typ, subtype string
	params       []Param
	boundary     string // as bytes on the wire, undecoded
	flaws        Flaws
}

// parseContentType reads the field's value. What cannot be read gives text/plain, as RFC 2045 §5.2
// recommends, without parameters.
func parseContentType(s string, max int, hint string) contentType {
	sc := paramScanner{s: unfold(s)}
	sc.skipSpace()
	typ := sc.token()
	sc.skipSpace()
	slash := sc.accept('/')
	sc.skipSpace()
	sub := sc.token()
	if typ == "" || !slash || sub == "" {
		return contentType{typ: "text", subtype: "plain", flaws: FlawContentType}
	}
	ct := contentType{typ: lower(typ), subtype: lower(sub)}
	var room [usualParams]rawParam
	raw, flaws := sc.params(room[:0], max)
	ct.params, ct.flaws = joinParams(raw, hint)
	ct.flaws |= flaws
	for _, p := range raw {
		if p.name == "boundary" && p.section < 0 && !p.extended {
			ct.boundary = strings.TrimRight(p.value, " \t")
			return ct
		}
	}
	for _, p := range ct.params {
		if p.Name == "boundary" { // in RFC 2231 pieces: legal, if odd
			ct.boundary = strings.TrimRight(p.Value, " \t")
		}
	}
	return ct
}

// accept passes over c if it comes next.
func (sc *paramScanner) accept(c byte) bool {
	if sc.pos < len(sc.s) && sc.s[sc.pos] == c {
		sc.pos++
		return true
	}
	return false
}

// skipSpace passes white space and comments.
func (sc *paramScanner) skipSpace() {
	for sc.pos < len(sc.s) {
		switch c := sc.s[sc.pos]; {
		case isBlank(c):
			sc.pos++
		case c == '(':
			sc.pos = skipComment(sc.s, sc.pos)
		default:
			return
		}
	}
}

// skipComment returns the position after the comment that begins at s[pos], nested comments and
// all. One that is not closed reaches to the end.
func skipComment(s string, pos int) int {
	depth := 0
	for ; pos < len(s); pos++ {
		switch s[pos] {
		case '\\':
			pos++
		case '(':
			depth++
		case ')':
			depth--
			if depth == 0 {
				return pos + 1
			}
		}
	}
	return len(s)
}

// token reads a token, RFC 2045 §5.1; it may be empty.
func (sc *paramScanner) token() string {
	start := sc.pos
	for sc.pos < len(sc.s) && isToken(sc.s[sc.pos]) {
		sc.pos++
	}
	return sc.s[start:sc.pos]
}

// usualParams is how many parameters there is room for before anything is allocated.
const usualParams = 8

// params appends all parameters to out, at most max.
func (sc *paramScanner) params(out []rawParam, max int) ([]rawParam, Flaws) {
	for {
		for sc.skipSpace(); sc.accept(';'); sc.skipSpace() {
		}
		if sc.pos >= len(sc.s) {
			return out, sc.flaws
		}
		if len(out) >= max {
			return out, sc.flaws | FlawHeaderLimit
		}
		if p, ok := sc.param(); ok {
			out = append(out, p)
		}
	}
}

// param reads `name=value`; without an equals sign it passes the junk up to the next semicolon.
func (sc *paramScanner) param() (p rawParam, ok bool) {
	start := sc.pos
	for sc.pos < len(sc.s) && isToken(sc.s[sc.pos]) {
		sc.pos++
	}
	name := sc.s[start:sc.pos]
	sc.skipSpace()
	if name == "" || !sc.accept('=') {
		sc.flaws |= FlawContentType
		if sc.pos == start {
			sc.pos++
		}
		for sc.pos < len(sc.s) && sc.s[sc.pos] != ';' && !isBlank(sc.s[sc.pos]) {
			sc.pos++
		}
		return p, false
	}
	p = splitParamName(name)
	file := p.name == "filename" || p.name == "name"
	sc.skipSpace()
	switch {
	case sc.accept('"'):
		p.value = sc.quoted(file)
		if sc.pos < len(sc.s) && sc.s[sc.pos] != ';' && !isBlank(sc.s[sc.pos]) &&
			sc.s[sc.pos] != '(' {
			sc.flaws |= FlawContentType // "abc"def
		}
	case file && !p.extended:
		p.value = sc.until(";")
	default:
		p.value = sc.until("; \t\r\n(")
	}
	return p, p.name != ""
}

// until takes an unquoted value: real ones hold more than RFC 2045 allows in a token.
func (sc *paramScanner) until(stops string) string {
	start := sc.pos
	for sc.pos < len(sc.s) && strings.IndexByte(stops, sc.s[sc.pos]) < 0 {
		sc.pos++
	}
	return trim(sc.s[start:sc.pos])
}

// quoted reads the rest of a quoted string; one that is not closed reaches to the end. File names
// keep their backslashes unless they quote a quote: Windows paths are sent raw.
func (sc *paramScanner) quoted(file bool) string {
	start := sc.pos
	for sc.pos < len(sc.s) && sc.s[sc.pos] != '"' && sc.s[sc.pos] != '\\' {
		sc.pos++
	}
	if sc.accept('"') {
		return sc.s[start : sc.pos-1]
	}
	b := []byte(sc.s[start:sc.pos])
	for sc.pos < len(sc.s) {
		c := sc.s[sc.pos]
		sc.pos++
		switch {
		case c == '"':
			return string(b)
		case c == '\\' && sc.pos < len(sc.s):
			if next := sc.s[sc.pos]; !file || next == '"' || next == '\\' {
				b = append(b, next)
				sc.pos++
				continue
			}
		}
		b = append(b, c)
	}
	sc.flaws |= FlawContentType
	return string(b)
}

// splitParamName takes the marks of RFC 2231 off: name*, name*3, name*3*.
func splitParamName(name string) rawParam {
	p := rawParam{name: lower(name), section: -1}
	star := strings.IndexByte(p.name, '*')
	if star < 0 {
		return p
	}
	marks := p.name[star+1:]
	p.name = p.name[:star]
	if strings.HasSuffix(marks, "*") || marks == "" {
		p.extended = true
		marks = strings.TrimSuffix(marks, "*")
	}
	if marks == "" {
		return p
	}
	n := 0
	for i := 0; i < len(marks); i++ {
		if !isDigit(marks[i]) || n > 9999 {
			return p
		}
		n = n*10 + int(marks[i]-'0')
	}
	p.section = n
	return p
}

// joinParams puts pieces together and decodes them, in the order in which names first appear.
func joinParams(raw []rawParam, hint string) ([]Param, Flaws) {
	if len(raw) == 0 {
		return nil, 0
	}
	var flaws Flaws
	out := make([]Param, 0, len(raw))
	for i, p := range raw {
		first := slices.IndexFunc(raw, func(q rawParam) bool { return q.name == p.name })
		if first < i {
			if p.section < 0 && raw[first].section < 0 && p.extended == raw[first].extended {
				flaws |= FlawDoubleParam
			}
			continue
		}
		param, f := joinParam(raw[i:], p.name, hint)
		out, flaws = append(out, param), flaws|f
	}
	return out, flaws
}

// joinParam decodes the parameter called name: from its extended form if there is one, else from
// its pieces, else from the plain form.
func joinParam(raw []rawParam, name, hint string) (Param, Flaws) {
	var pieces []rawParam
	var plain *rawParam
	for i := range raw {
		p := &raw[i]
		switch {
		case p.name != name:
		case p.section < 0 && p.extended:
			return extendedParam(name, []rawParam{*p}), 0
		case p.section >= 0:
			pieces = append(pieces, *p)
		case plain == nil:
			plain = p
		}
	}
	if pieces == nil {
		return plainParam(name, plain.value, hint)
	}
	slices.SortStableFunc(pieces, func(a, b rawParam) int { return a.section - b.section })
	if pieces[0].extended || looksExtended(pieces[0].value) {
		pieces[0].extended = true
		return extendedParam(name, pieces), 0
	}
	var b []byte
	for _, p := range pieces {
		if p.extended {
			b = appendPercent(b, p.value)
		} else {
			b = append(b, p.value...)
		}
	}
	return plainParam(name, string(b), hint)
}

// looksExtended reports whether the first piece has the form charset'language'text with a
// percent-encoded byte: some senders forget the star that says so.
func looksExtended(s string) bool {
	i := strings.IndexByte(s, '\'')
	if i <= 0 || strings.IndexByte(s[i+1:], '\'') < 0 {
		return false
	}
	_, _, known := lookupCharset(s[:i])
	return known && strings.IndexByte(s, '%') > i
}

// extendedParam decodes charset'language'percent-encoded, RFC 2231 §4, from one or more pieces.
func extendedParam(name string, pieces []rawParam) Param {
	first := pieces[0].value
	cs := ""
	if i := strings.IndexByte(first, '\''); i >= 0 {
		if j := strings.IndexByte(first[i+1:], '\''); j >= 0 {
			cs, first = first[:i], first[i+1+j+1:]
		}
	}
	if len(first) >= 2 && first[0] == '"' && first[len(first)-1] == '"' {
		first = first[1 : len(first)-1] // utf-8''"name"
	}
	b := appendPercent(nil, first)
	for _, p := range pieces[1:] {
		v := p.value
		if n := len(cs); n > 0 && len(v) > n && equalFold(v[:n], cs) && v[n] == '\'' {
			v = strings.TrimPrefix(v[n+1:], "'") // the charset said again
		}
		if p.extended {
			b = appendPercent(b, v)
		} else {
			b = append(b, v...)
		}
	}
	return Param{Name: name, Value: cleanControls(decodeCharset(cs, b)), Extended: true}
}

// appendPercent undoes percent-encoding; what is no escape stays.
func appendPercent(dst []byte, s string) []byte {
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) && unhex(s[i+1]) >= 0 && unhex(s[i+2]) >= 0 {
			dst = append(dst, byte(unhex(s[i+1])<<4|unhex(s[i+2])))
			i += 2
			continue
		}
		dst = append(dst, s[i])
	}
	return dst
}

// plainParam decodes a value without marks: encoded words where people read it, guessed 8-bit.
func plainParam(name, value, hint string) (Param, Flaws) {
	p := Param{Name: name, Value: value}
	var flaws Flaws
	if strings.Contains(value, "=?") {
		if name == "boundary" || name == "charset" {
			if decodeWords(value, hint) != value {
				flaws = FlawEncodedParam
			}
		} else if v := decodeWords(value, hint); v != value {
			p.Value, p.Raw = v, value
			if !isASCII(value) {
				p.Raw = ""
			}
		}
		return p, flaws
	}
	if !isASCII(value) {
		p.Value = legacyText(value, hint)
	}
	p.Value = cleanControls(p.Value)
	return p, flaws
}

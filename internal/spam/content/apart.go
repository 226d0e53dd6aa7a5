package content

import (
	"bytes"
	"fmt"
	"strings"

	"tram/internal/message"
)

// takeApart yields the readings of an ambiguous message, or of what was decoded from one, without belief
// in what its header says. Programs differ in what ends a line, which they keep or drop, in which line is
// a boundary, in where a header ends and in how a body is decoded: each difference is tried.
func (s *readings) takeApart(name string, b []byte, depth int) error {
	forms := []struct {
		how string
		b   []byte
	}{{"", b}}
	if bytes.IndexByte(b, 0) >= 0 {
		forms = append(forms, struct {
			how string
			b   []byte
		}{", NUL dropped", bytes.ReplaceAll(b, []byte{0}, nil)})
	}
	if bytes.Count(b, []byte("\r")) != bytes.Count(b, []byte("\r\n")) {
		lf := bytes.ReplaceAll(bytes.ReplaceAll(b, []byte("\r\n"), []byte("\n")), []byte("\r"), []byte("\n"))
		forms = append(forms, struct {
			how string
			b   []byte
		}{", CR as line end", lf}, struct {
			how string
			b   []byte
		}{", CR dropped", bytes.ReplaceAll(b, []byte("\r"), nil)})
	}
	for _, f := range forms {
		s.named(f.b)
		if err := s.segments(name+f.how, f.b, depth); err != nil {
			return err
		}
	}
	return nil
}

// segments cuts b at the lines that some program may take for a delimiter, and yields what lies between.
func (s *readings) segments(name string, b []byte, depth int) error {
	bodies := map[bodySpan]bool{}
	if err := s.entity(name, b, depth, 0, bodies); err != nil {
		return err
	}
	lines := dashLines(b)
	if len(lines) == 0 {
		return nil
	}
	tokens, cut := s.tokens(b, lines)
	done := map[message.Span]bool{{Start: 0, End: int64(len(b))}: true}
	c := cutter{s: s, name: name, b: b, lines: lines, done: done, bodies: bodies, depth: depth}
	for _, t := range tokens {
		for _, exact := range []bool{true, false} {
			if err := c.cutAt(t, exact); err != nil {
				return err
			}
		}
	}
	if cut {
		return ErrTooManyReadings
	}
	return nil
}

// dashLine is a line that begins with two dashes.
type dashLine struct {
	start, end int    // end includes the line end
	text       string // after the dashes, without white space at its end
	entity     bool   // what follows looks like a part
}

// dashLines finds the lines that could be delimiters.
func dashLines(b []byte) []dashLine {
	var all []dashLine
	for at := 0; at < len(b); {
		end := bytes.IndexByte(b[at:], '\n') + at + 1
		if end == at {
			end = len(b)
		}
		line := bytes.TrimLeft(b[at:min(end, at+2000)], " \t")
		if bytes.HasPrefix(line, []byte("--")) {
			all = append(all, dashLine{at, end, string(bytes.TrimRight(line[2:], " \t\r\n")), looksLikePart(b[end:])})
		}
		at = end
	}
	return all
}

// looksLikePart reports whether b begins with a header field, or a blank line.
func looksLikePart(b []byte) bool {
	line := b[:min(len(b), 200)]
	if i := bytes.IndexByte(line, '\n'); i >= 0 {
		line = line[:i]
	}
	line = bytes.TrimSpace(line)
	if len(line) == 0 {
		return true
	}
	colon := bytes.IndexByte(line, ':')
	return colon > 0 && bytes.IndexByte(bytes.TrimSpace(line[:colon]), ' ') < 0
}

// tokens lists what may be a boundary: what the header gives as one, in every way of reading it, and what
// lines in front of parts begin with. "" cuts at every line of dashes. cut says that there were too many.
func (s *readings) tokens(b []byte, lines []dashLine) (all []string, cut bool) {
	seen := map[string]bool{}
	add := func(t string) {
		t = strings.TrimRight(t, " \t\r\n")
		if seen[t] {
			return
		}
		if len(all) >= s.lim.Delimiters {
			cut = true
			return
		}
		seen[t] = true
		all = append(all, t)
	}
	add("")
	for _, t := range declared(b, s.lim.Delimiters) {
		for i := range lines { // a boundary without lines cuts nothing
			if foldPrefix(lines[i].text, t) {
				add(t)
				break
			}
		}
	}
	for i := range lines {
		t := strings.TrimSuffix(lines[i].text, "--")
		if lines[i].entity && t != "" {
			add(t)
			if len(t) > 70 {
				add(t[:70]) // RFC 2046 §5.1.1 allows no more, and some read no more
			}
		}
	}
	return all, cut
}

// foldPrefix reports whether s begins with p in any case.
func foldPrefix(s, p string) bool { return len(s) >= len(p) && strings.EqualFold(s[:len(p)], p) }

// declared lists the boundaries that the text names, in the ways in which programs read a parameter.
func declared(b []byte, most int) []string {
	var all []string
	low := lower(b)
	pieces := map[bool]string{}
	for at := 0; len(all) < 8*most; {
		i := bytes.Index(low[at:], []byte("boundary"))
		if i < 0 {
			break
		}
		at += i + len("boundary")
		v := string(b[at:min(len(b), at+300)])
		if v = unfoldFirst(v); v == "" {
			continue
		}
		star := strings.HasPrefix(v, "*")
		eq := strings.IndexByte(v, '=')
		if eq < 0 || eq > 20 {
			continue
		}
		v = strings.TrimLeft(v[eq+1:], " \t")
		v = stripComments(v)
		forms := valueForms(v)
		all = append(all, forms...)
		if star { // pieces of RFC 2231, in the order they stand
			pieces[true] += forms[0]
			all = append(all, pieces[true], percent(forms[0]), percent(pieces[true]))
			if i := strings.LastIndexByte(forms[0], '\''); i >= 0 {
				all = append(all, percent(forms[0][i+1:]))
			}
		}
	}
	return all
}

// unfoldFirst joins the lines of a folded field and cuts what follows it.
func unfoldFirst(s string) string {
	var out strings.Builder
	for line := range strings.Lines(s) {
		if out.Len() > 0 && line[0] != ' ' && line[0] != '\t' {
			break
		}
		out.WriteString(strings.TrimRight(line, "\r\n"))
	}
	return out.String()
}

// stripComments drops comments before a value.
func stripComments(s string) string {
	for strings.HasPrefix(s, "(") {
		depth, i := 0, 0
		for ; i < len(s); i++ {
			if s[i] == '(' {
				depth++
			} else if s[i] == ')' {
				if depth--; depth == 0 {
					break
				}
			}
		}
		s = strings.TrimLeft(s[min(i+1, len(s)):], " \t")
	}
	return s
}

// valueForms reads a parameter's value in the ways that programs do.
func valueForms(v string) []string {
	cut := func(s, at string) string {
		if i := strings.IndexAny(s, at); i >= 0 {
			return s[:i]
		}
		return s
	}
	forms := make([]string, 0, 12)
	if strings.HasPrefix(v, `"`) {
		quoted, plain := quotedForms(v[1:])
		forms = append(forms, plain, quoted, cut(v[1:], `"`), `"`+quoted+`"`)
	} else if strings.HasPrefix(v, "'") {
		forms = append(forms, cut(v[1:], "'"))
	}
	for _, ends := range []string{"; \t", ";", "; \t(", " \t(;\"", ";\"", ",; \t"} {
		forms = append(forms, cut(v, ends))
	}
	for _, f := range forms {
		if strings.Contains(f, "=?") {
			forms = append(forms, message.DecodeHeader(f))
		}
		if strings.ContainsAny(f, "()\\\"'") {
			forms = append(forms, strings.NewReplacer("(", "", ")", "", "\\", "", `"`, "", "'", "").Replace(f),
				strings.ReplaceAll(f, `"`, ""), cut(f, "("), dropComments(f))
		}
		if strings.Contains(f, "%") {
			forms = append(forms, percent(f))
		}
	}
	return forms
}

// dropComments removes comments from the middle of a value.
func dropComments(s string) string {
	var out strings.Builder
	depth := 0
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '(':
			depth++
		case s[i] == ')' && depth > 0:
			depth--
		case depth == 0:
			out.WriteByte(s[i])
		}
	}
	return out.String()
}

// quotedForms reads a quoted string after its first quote: as written, and with its escapes undone.
func quotedForms(s string) (written, plain string) {
	var out strings.Builder
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '"':
			return s[:i], out.String()
		case s[i] == '\\' && i+1 < len(s):
			i++
		}
		out.WriteByte(s[i])
	}
	return s, out.String()
}

// percent undoes percent-encoding.
func percent(s string) string {
	var out strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) && isHex(s[i+1]) && isHex(s[i+2]) {
			out.WriteByte(unhex(s[i+1])<<4 | unhex(s[i+2]))
			i += 2
		} else {
			out.WriteByte(s[i])
		}
	}
	return out.String()
}

// cutter cuts b into pieces, each once.
type cutter struct {
	s      *readings
	name   string
	b      []byte
	lines  []dashLine
	done   map[message.Span]bool
	bodies map[bodySpan]bool
	depth  int
}

// bodySpan is what was once taken for a body. Pieces that begin at different boundaries share many.
type bodySpan struct {
	start, end     int
	all            bool // any decoder was asked
	base64, quoted bool // that the message had named until then
}

// cutAt cuts b at the delimiters of the boundary t. With exact a line is one when nothing follows the
// boundary but the two dashes of the last, else when it begins with it (RFC 2046 §5.1.1). The closing one is
// treated like the others: some read on after it.
func (c *cutter) cutAt(t string, exact bool) error {
	from, n := 0, 0
	segment := func(to int) error {
		n++
		span := message.Span{Start: int64(from), End: int64(to)}
		if from >= to || c.done[span] {
			return nil
		}
		c.done[span] = true
		name := fmt.Sprintf("%s, piece %d at %q", c.name, n, clean(t, 40))
		return c.s.entity(name, c.b[from:to], c.depth, from, c.bodies)
	}
	for i := range c.lines {
		l := &c.lines[i]
		if !foldPrefix(l.text, t) {
			continue
		}
		if rest := l.text[len(t):]; exact && strings.TrimSpace(rest) != "" && strings.TrimSpace(rest) != "--" {
			continue
		}
		if err := segment(l.start); err != nil {
			return err
		}
		from = l.end
	}
	if n == 0 {
		return nil
	}
	return segment(len(c.b))
}

// entity yields a piece as a part: its body from every place where it may begin. The piece begins at from,
// and bodies are those that were yielded already; nil knows none.
func (s *readings) entity(name string, b []byte, depth, from int, bodies map[bodySpan]bool) error {
	looked := 0
	for i, at := range bodyStarts(b) {
		span := bodySpan{from + at, from + len(b), at > 0, s.base64, s.quoted}
		if bodies[span] {
			continue
		}
		if bodies != nil {
			bodies[span] = true
		}
		// A header holds no files: what finds them amid other lines has found those of the body with it.
		amid := i == 0 || at < looked || holdsLines(b[looked:at])
		if amid {
			looked = at
		}
		if err := s.variants(name, b[at:], depth, ways{all: at > 0, amid: amid}); err != nil {
			return err
		}
	}
	return nil
}

// holdsLines reports whether b has a line that decoders would pick out of a text.
func holdsLines(b []byte) bool {
	for line := range bytes.Lines(b) {
		if line = bytes.TrimSpace(line); isBase64Word(line) || isUUBegin(line) {
			return true
		}
	}
	return false
}

// bodyStarts lists where the body of a part may begin: with the part itself, after its first empty line,
// after the first with nothing but white space, at and after the first line that is no field, and after the
// empty line that follows a late Content field.
func bodyStarts(b []byte) []int {
	starts := []int{0}
	add := func(at int) {
		for _, s := range starts {
			if s == at {
				return
			}
		}
		if at < len(b) {
			starts = append(starts, at)
		}
	}
	var empty, blank, odd, late bool
	at := 0
	for line := range bytes.Lines(b[:min(len(b), 64<<10)]) {
		next := at + len(line)
		bare := bytes.TrimRight(line, "\r\n")
		switch {
		case len(bare) == 0 && (!empty || late):
			add(next)
			empty, late = true, false
		case len(bytes.TrimSpace(bare)) == 0 && !blank:
			add(next)
			blank = true
		case !odd && !empty && bare[0] != ' ' && bare[0] != '\t' && bytes.IndexByte(bare, ':') <= 0:
			add(at)
			add(next)
			odd = true
		case empty && len(bare) > 8 && strings.EqualFold(string(bare[:8]), "content-"):
			late = len(starts) < 12
		}
		at = next
	}
	return starts
}

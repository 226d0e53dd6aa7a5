package message

import (
	"bytes"
	"unicode"
	"unicode/utf8"
)

// How much of a text is kept, encoded, to make the preview of: HTML begins with much style.
const (
	previewPlain = 8 << 10
	previewHTML  = 32 << 10
)

// sample is the beginning of one text part.
type sample struct {
	part *Part
	alt  *Part // the outermost multipart/alternative around it
	buf  []byte
	cut  bool // the part went on after buf
}

// preview collects the beginning of the first plain and the first HTML text of a message while
// they pass by.
type preview struct {
	plain, html sample
	htmlFirst   bool
	cur         *sample // being collected, nil when none
	room        int     // how much more of it

	decoded, out []byte // scratch
}

// reset returns an empty preview that keeps the buffers.
func (v *preview) reset() preview {
	return preview{
		plain: sample{buf: v.plain.buf[:0]}, html: sample{buf: v.html.buf[:0]},
		decoded: v.decoded, out: v.out,
	}
}

// begin is called when a leaf's body begins; it is the last of stack. Texts in embedded messages
// and attachments are no preview of this message.
func (v *preview) begin(stack []node) {
	part := stack[len(stack)-1].part
	if part.Type != "text" || part.Disposition == "attachment" {
		return
	}
	var alt *Part
	for _, n := range stack[:len(stack)-1] {
		if n.embedded || n.part.Embedded != nil {
			return
		}
		if alt == nil && n.part.Subtype == "alternative" {
			alt = n.part
		}
	}
	s, room := &v.plain, previewPlain
	switch {
	case part.Subtype == "html":
		s, room = &v.html, previewHTML
		v.htmlFirst = v.plain.part == nil
	case part.Subtype != "plain" && part.Subtype != "enriched" && len(stack) > 1:
		return // calendars, v-cards and the like
	}
	if s.part != nil {
		return
	}
	s.part, s.alt = part, alt
	v.cur, v.room = s, room
}

// take keeps body bytes while a sample is being collected.
func (v *preview) take(b []byte) {
	if v.cur == nil {
		return
	}
	n := min(len(b), v.room)
	v.cur.buf = append(v.cur.buf, b[:n]...)
	v.room -= n
	if n < len(b) {
		v.cur.cut = true
		v.cur = nil
	}
}

// end is called when the part being collected ends.
func (v *preview) end() { v.cur = nil }

// text makes the preview, at most max characters: of the plain text where both are versions of the
// same, else of what came first; of the other one when that has nothing to show.
func (v *preview) text(max int) string {
	first, second := &v.plain, &v.html
	same := v.plain.alt != nil && v.plain.alt == v.html.alt
	if v.htmlFirst && v.html.part != nil && !same {
		first, second = second, first
	}
	if s := v.sample(first, max); s != "" {
		return s
	}
	return v.sample(second, max)
}

// sample makes the preview of one text: of its first bytes, and of all that was kept if they do not
// suffice.
func (v *preview) sample(s *sample, max int) string {
	if s.part == nil || max <= 0 {
		return ""
	}
	if few := 3 * max; len(s.buf) > few { // enough for most plain texts
		if out, full := v.render(s.part, s.buf[:few], max, true); full {
			return out
		}
	}
	out, _ := v.render(s.part, s.buf, max, s.cut)
	return out
}

// render decodes b, part's body or if cut is set its beginning. full says that max characters came
// together. A text that is nothing but quotation is shown when there is no more of it.
func (v *preview) render(part *Part, b []byte, max int, cut bool) (out string, full bool) {
	v.decoded = appendDecoded(v.decoded[:0], part, b)
	if cut {
		v.decoded = trimPartial(v.decoded)
	}
	text := textBytes(part, v.decoded)
	if part.Subtype == "html" {
		var h htmlStripper
		text = h.finish(h.decode(nil, text))
	}
	c := condenser{max: max, out: v.out[:0]}
	if c.condense(text, true); c.n == 0 && !cut {
		c.condense(text, false)
	}
	v.out = c.out
	return string(bytes.TrimRight(c.out, " ")), c.full
}

// condenser writes words with one space between them, up to max characters.
type condenser struct {
	out   []byte
	n     int
	max   int
	space bool
	full  bool
}

// condense takes a text; with unquote set without quoted lines, the line that introduces them, and
// the signature.
func (c *condenser) condense(text []byte, unquote bool) {
	var lead []byte // a line that may introduce a quotation
	for line := range bytes.SplitSeq(text, []byte{'\n'}) {
		line = bytes.TrimRight(line, "\r")
		switch {
		case unquote && len(line) > 0 && line[0] == '>':
			lead = nil
			continue
		case unquote && len(bytes.TrimLeft(line, " \t")) == 0:
			continue
		}
		c.add(lead)
		if lead = nil; c.full || unquote && c.n > 0 && isSignature(line) {
			return
		}
		if end := bytes.TrimRight(line, " \t"); unquote && end[len(end)-1] == ':' {
			lead = line
			continue
		}
		c.add(line)
	}
	c.add(lead)
}

// isSignature reports whether a line parts the signature from the text.
func isSignature(line []byte) bool { return string(line) == "-- " || string(line) == "--" }

// add takes a line.
func (c *condenser) add(line []byte) {
	for len(line) > 0 && !c.full {
		if n, size := c.run(line); n > 0 {
			c.put(line[:size], n)
			line = line[size:]
			continue
		}
		r, size := utf8.DecodeRune(line)
		switch {
		case r <= ' ', unicode.IsSpace(r), unicode.IsControl(r), r == '\u200c':
			c.space = c.n > 0
		case !invisible(r):
			c.put(line[:size], 1)
		}
		line = line[size:]
	}
	c.space = c.n > 0
}

// run measures the letters that line begins with, in characters and bytes, as far as there is room
// for them. It leaves what needs a closer look: characters of General Punctuation and above, and a
// few before it that show nothing.
func (c *condenser) run(line []byte) (n, size int) {
	room := c.max - c.n - 1
	for size < len(line) && n < room {
		b := line[size]
		if b > ' ' && b < 0x7f {
			size, n = size+1, n+1
			continue
		}
		r, width := utf8.DecodeRune(line[size:])
		if r < 0xc0 || r >= 0x2000 || r == 0x1680 || invisible(r) {
			break
		}
		size, n = size+width, n+1
	}
	return n, size
}

// put takes n visible characters.
func (c *condenser) put(s []byte, n int) {
	if c.space && c.n < c.max {
		c.out = append(c.out, ' ')
		c.n++
	}
	c.space = false
	if c.n+n > c.max { // n is 1 then: run leaves room for the space
		c.full = true
		return
	}
	c.out = append(c.out, s...)
	c.n += n
}

// invisible reports whether r shows nothing, or turns the direction of what follows: padding that
// senders put into previews, and tricks.
func invisible(r rune) bool {
	switch {
	case r < 0xa0:
		return false
	case r == utf8.RuneError, r == 0xad, r == 0x34f, r == 0x61c, r == 0x180e:
		return true
	case r >= 0x200b && r <= 0x200f, r >= 0x202a && r <= 0x202e, r >= 0x2060 && r <= 0x206f:
		return r != 0x200d && r != 0x200c // these join and part letters
	}
	return r == 0xfeff || r >= 0xe0000 && r <= 0xe0fff
}

// appendDecoded undoes the transfer encoding of b, a beginning of part's body.
func appendDecoded(dst []byte, part *Part, b []byte) []byte {
	switch part.Encoding {
	case "quoted-printable":
		var q qpState
		return q.decode(dst, b)
	case "base64":
		return appendBase64(dst, b)
	}
	return append(dst, b...)
}

// textBytes makes UTF-8 of b, part's decoded body.
func textBytes(part *Part, b []byte) []byte {
	c, enc := textCharset(part, b)
	if c != charsetUTF8 && c != charsetGuess {
		return []byte(decodeAs(c, enc, b))
	}
	b = bytes.TrimPrefix(b, []byte("\ufeff"))
	if utf8.Valid(b) {
		return b
	}
	return []byte(decodeAs(c, enc, b))
}

// trimPartial cuts a character that the end of the sample cut in two.
func trimPartial(b []byte) []byte {
	for i := 1; i <= min(len(b), utf8.UTFMax-1); i++ {
		c := b[len(b)-i]
		if utf8.RuneStart(c) {
			if c >= utf8.RuneSelf && !utf8.FullRune(b[len(b)-i:]) {
				return b[:len(b)-i]
			}
			break
		}
	}
	return b
}

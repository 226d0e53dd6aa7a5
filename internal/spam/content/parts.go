package content

import (
	"io"
	"strings"

	"tram/internal/message"
)

// alternative is what is known of the forms of one text.
type alternative struct {
	html  bool            // one of the forms is HTML
	plain map[string]bool // words of the plain form
	rich  map[string]bool // words of the HTML form
}

// parts looks at the bodies.
func (x *examination) parts() {
	x.part(x.m.Root)
	x.signsOfText()
	x.signsOfFiles()
	x.rep.Signs = append(x.rep.Signs, Compare(x.rep, x.o.Own, x.o.Known)...)
	x.rep.Text = string(x.text)
}

// part looks at a part and those in it.
func (x *examination) part(p *message.Part) {
	switch {
	case p.Embedded != nil:
		alt := x.alt
		x.alt = nil
		x.part(p.Embedded.Root)
		x.alt = alt
	case p.Type == "multipart" && p.Subtype == "alternative":
		alt := x.alt
		x.alt = &alternative{html: hasHTML(p)}
		for _, c := range p.Parts {
			x.part(c)
		}
		x.compareForms()
		x.alt = alt
	case p.Parts != nil:
		for _, c := range p.Parts {
			x.part(c)
		}
	case p.Type == "text" && (p.Subtype == "plain" || p.Subtype == "html") &&
		(p.Disposition != "attachment" || p == x.m.Root):
		x.body(p)
		if p.FileName() != "" { // shown as a text, offered as a file
			x.file(p)
		}
	case p.Type == "message" && p.Subtype == "partial":
		x.rep.Partial = true
		x.add("PARTIAL_MESSAGE", "")
		x.file(p)
	default:
		if p.Type == "image" {
			x.images++
		}
		x.file(p)
	}
}

// hasHTML reports whether p or a part in it is HTML.
func hasHTML(p *message.Part) bool {
	if p.Type == "text" && p.Subtype == "html" {
		return true
	}
	for _, c := range p.Parts {
		if hasHTML(c) {
			return true
		}
	}
	return false
}

// body reads a text of the message.
func (x *examination) body(p *message.Part) {
	x.charset(p)
	room := x.o.Limits.Text - len(x.text)
	if p.Subtype == "html" {
		pg := x.readPage(message.Source(x.r, p))
		if x.alt != nil {
			x.alt.rich = words(pg.out)
		}
		x.say(pg.out, room)
		return
	}
	b, err := io.ReadAll(io.LimitReader(message.Source(x.r, p), int64(x.o.Limits.Text)))
	if err != nil && len(b) == 0 {
		return
	}
	x.encoded(p, b)
	x.linksIn(string(b))
	x.uuencoded(p, b)
	if x.alt != nil && x.alt.html {
		x.alt.plain = words(b) // the reader sees the other form
		return
	}
	x.letters += countLetters(b)
	x.say(b, room)
}

// say adds to the text of the report.
func (x *examination) say(b []byte, room int) {
	if room <= 0 || len(b) == 0 {
		return
	}
	if len(x.text) > 0 {
		x.text = append(x.text, '\n')
	}
	x.text = append(x.text, strings.ToValidUTF8(string(b[:min(len(b), room)]), "")...)
}

// charset notes character sets that only serve to get past filters.
func (x *examination) charset(p *message.Part) {
	c := strings.ToLower(p.Param("charset"))
	for _, odd := range []string{
		"utf-7", "utf7", "unicode-1-1", "utf-16", "utf16", "utf-32", "utf32", "ibm037", "cp037", "ebcdic",
		"x-user-defined",
	} {
		if strings.HasPrefix(c, odd) {
			x.add("CHARSET_ODD", c)
		}
	}
}

// encoded notes plain letters in base64.
func (x *examination) encoded(p *message.Part, b []byte) {
	if p.Encoding == "base64" && len(b) > 200 && isASCII(string(b)) {
		x.add("TEXT_ENCODED", "base64")
	}
}

// mostWords bounds the words that are compared, of each form.
const mostWords = 300

// words is the set of the first longer words of a text, in lower case.
func words(b []byte) map[string]bool {
	set := make(map[string]bool, 64)
	apart := func(r rune) bool { return r < 0x80 && !isWordByte(byte(r)) }
	for w := range strings.FieldsFuncSeq(string(b[:min(len(b), 16<<10)]), apart) {
		if len(w) < 4 || len(w) > 40 {
			continue
		}
		if set[strings.ToLower(w)] = true; len(set) >= mostWords {
			break
		}
	}
	return set
}

// compareForms notes a text whose forms have hardly a word in common. Short ones say "your program cannot
// show this".
func (x *examination) compareForms() {
	const enough = 10
	a, b := x.alt.plain, x.alt.rich
	if len(a) < enough || len(b) < enough {
		return
	}
	if len(a) > len(b) {
		a, b = b, a
	}
	common := 0
	for w := range a {
		if b[w] {
			common++
		}
	}
	if common*5 < len(a) {
		x.add("ALTERNATIVES_DIFFER", "")
	}
}

// signsOfText notes what the texts as a whole say.
func (x *examination) signsOfText() {
	const few = 40
	switch {
	case x.letters < few && x.images > 0:
		x.add("PICTURE_ONLY", "")
	case x.letters == 0 && x.rep.names > 0:
		x.add("EMPTY_WITH_FILE", "")
	}
	text := string(x.text)
	if n := brokenWords(text); n >= 4 {
		x.add("ZERO_WIDTH", "")
	}
	if hasOtherAlphabet(text) {
		n := 0
		for line := range strings.Lines(text) {
			if w := mixedWord(line); w != "" {
				if n++; n == 2 {
					x.add("MIXED_SCRIPTS", w)
					break
				}
			}
		}
	}
}

// hasOtherAlphabet reports whether there are Greek, Cyrillic or Armenian letters: their first bytes in UTF-8.
func hasOtherAlphabet(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] >= 0xcd && s[i] <= 0xd6 {
			return true
		}
	}
	return false
}

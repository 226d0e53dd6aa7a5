package message

import (
	"strings"
	"unicode/utf8"

	"golang.org/x/text/encoding"
)

// DecodeHeader turns the value of a header field into the UTF-8 text a person should see: encoded
// words decoded (RFC 2047), folding undone, raw UTF-8 kept (RFC 6532), other 8-bit text guessed at,
// control characters made spaces so that no line can be forged.
//
// It takes what real mail has: words without white space between them, characters split over
// adjacent words, spaces and question marks inside a word, missing padding, unknown charsets. What
// cannot be read stays as it was written.
func DecodeHeader(s string) string { return decodeWords(s, "") }

// decodeWords is DecodeHeader with the charset to try on raw 8-bit text.
func decodeWords(s, hint string) string {
	s = trim(unfold(s))
	if !strings.Contains(s, "=?") {
		if isASCII(s) {
			return cleanControls(s)
		}
		return cleanControls(legacyText(s, hint))
	}
	var room [256]byte
	d := wordDecoder{s: s, hint: hint, term: -1, out: room[:0]}
	d.run()
	return cleanControls(string(d.out))
}

// wordDecoder goes once through a header value.
type wordDecoder struct {
	s    string
	hint string
	out  []byte

	term int // where the next "?=" at or after the last search is, len(s) when there is none

	// The run of adjacent words of one charset that is being collected.
	name string
	c    charset
	enc  encoding.Encoding
	run8 []byte
	open bool
}

// run alternates between text and words. White space between two words is no text (RFC 2047 §6.2).
func (d *wordDecoder) run() {
	text := 0 // start of the text that has not been written
	for pos := 0; pos < len(d.s); {
		i := strings.Index(d.s[pos:], "=?")
		if i < 0 {
			break
		}
		i += pos
		w, ok := d.word(i)
		if !ok {
			pos = i + 1
			continue
		}
		if between := d.s[text:i]; !d.open || trim(between) != "" {
			d.flush()
			d.text(between)
		}
		d.add(w)
		pos, text = w.end, w.end
	}
	d.flush()
	d.text(d.s[text:])
}

// word is one encoded word.
type word struct {
	charset  string
	encoding byte // 'q' or 'b'
	text     string
	end      int
}

// word reads the encoded word at d.s[i:], which begins with "=?".
func (d *wordDecoder) word(i int) (w word, ok bool) {
	const longestCharset = 75 // RFC 2047 §2: of the whole word, by rights
	rest := d.s[i+2:]
	q := strings.IndexByte(rest[:min(len(rest), longestCharset)], '?')
	if q < 0 || len(rest) < q+3 || rest[q+2] != '?' {
		return word{}, false
	}
	w.charset = rest[:q]
	if strings.ContainsAny(w.charset, " \t\"<>()=") {
		return word{}, false
	}
	w.encoding = lowerByte(rest[q+1])
	if w.encoding != 'q' && w.encoding != 'b' {
		return word{}, false
	}
	start := i + 2 + q + 3
	stop := d.terminator(start)
	if stop < 0 {
		return word{}, false
	}
	if w.encoding == 'q' {
		stop = d.lateTerminator(stop)
	}
	w.text, w.end = d.s[start:stop], stop+2
	return w, true
}

// terminator finds "?=" at or after start. It remembers where it found it, so that a value full of
// beginnings of words costs one search in all.
func (d *wordDecoder) terminator(start int) int {
	if d.term < start {
		i := strings.Index(d.s[start:], "?=")
		if i < 0 {
			d.term = len(d.s)
		} else {
			d.term = start + i
		}
	}
	if d.term == len(d.s) {
		return -1
	}
	return d.term
}

// lateTerminator steps over a bare question mark that is followed by an encoded byte ("?=20"), an
// error of several encoders, when the same word has another end within the bounds of a line.
func (d *wordDecoder) lateTerminator(stop int) int {
	for {
		rest := d.s[stop+2:]
		rest = rest[:min(len(rest), 2*wordLimit)]
		if len(rest) < 2 || unhex(rest[0]) < 0 || unhex(rest[1]) < 0 {
			return stop
		}
		end := strings.Index(rest, "?=")
		if end < 0 || strings.ContainsAny(rest[:end], " \t") {
			return stop
		}
		stop += 2 + end
	}
}

// add decodes a word's bytes and collects them with those of the words before it.
func (d *wordDecoder) add(w word) {
	name := w.charset
	if !isASCII(w.text) && utf8.ValidString(w.text) {
		name = "utf-8" // raw, whatever it says: a gateway has been there
	}
	if !d.open || !equalFold(d.name, name) {
		d.flush()
		d.name, d.open = name, true
		d.c, d.enc, _ = lookupCharset(name)
	}
	if d.run8 == nil {
		d.run8 = make([]byte, 0, len(w.text))
	}
	if w.encoding == 'b' {
		d.run8 = appendBase64(d.run8, w.text)
	} else {
		d.run8 = appendQ(d.run8, w.text)
	}
}

// flush writes the collected run. Bytes are decoded together: senders cut multi-byte characters
// between words, against RFC 2047 §5.
func (d *wordDecoder) flush() {
	if !d.open {
		return
	}
	if (d.c == charsetUTF8 || d.c == charsetGuess) && utf8.Valid(d.run8) {
		d.out = append(d.out, d.run8...)
	} else {
		d.out = append(d.out, decodeAs(d.c, d.enc, d.run8)...)
	}
	d.run8, d.open = d.run8[:0], false
}

// text takes what stands outside of words.
func (d *wordDecoder) text(s string) {
	if !isASCII(s) {
		s = legacyText(s, d.hint)
	}
	d.out = append(d.out, s...)
}

// appendQ decodes the "Q" encoding, RFC 2047 §4.2; what is not valid stays.
func appendQ(dst []byte, s string) []byte {
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '_':
			dst = append(dst, ' ')
		case c == '=' && i+2 < len(s) && unhex(s[i+1]) >= 0 && unhex(s[i+2]) >= 0:
			dst = append(dst, byte(unhex(s[i+1])<<4|unhex(s[i+2])))
			i += 2
		default:
			dst = append(dst, c)
		}
	}
	return dst
}

// cleanControls makes control characters spaces; a decoded word may hold any.
func cleanControls(s string) string {
	i := 0
	for i < len(s) && s[i] >= ' ' && s[i] != 0x7f {
		i++
	}
	if i == len(s) {
		return s
	}
	b := []byte(s)
	for ; i < len(b); i++ {
		if b[i] < ' ' || b[i] == 0x7f {
			b[i] = ' '
		}
	}
	return string(b)
}

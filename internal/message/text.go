package message

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/japanese"
	"golang.org/x/text/encoding/simplifiedchinese"
	"golang.org/x/text/runes"
	"golang.org/x/text/transform"
)

// Text returns the text of a text part as valid UTF-8: transfer encoding and charset undone, HTML
// made plain (see [HTMLText]). A part that is no text gives its body as text for what it is worth.
// r holds the whole message. Memory is bounded, whatever the part holds.
func Text(r io.ReaderAt, p *Part) io.Reader {
	text := Source(r, p)
	if p.Subtype == "html" {
		text = HTMLText(text)
	}
	return text
}

// Source is Text with the tags of HTML left in.
func Source(r io.ReaderAt, p *Part) io.Reader {
	head := make([]byte, min(p.Body.Len(), sniffBytes))
	body := Body(r, p)
	n, err := io.ReadFull(body, head)
	head = head[:n]
	rest := io.MultiReader(bytes.NewReader(head), body)
	if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
		rest = io.MultiReader(bytes.NewReader(head), failed{err})
	}
	c, enc := textCharset(p, head)
	return wholeReader{transform.NewReader(rest, textDecoder(c, enc))}
}

// sniffBytes is how much of a text is looked at to find its charset where the header says none:
// what the HTML standard asks browsers to look at.
const sniffBytes = 1024

// failed is a reader that fails.
type failed struct{ err error }

func (f failed) Read([]byte) (int, error) { return 0, f.err }

// wholeReader takes a character that the end of the text cut in two for the end.
type wholeReader struct{ r io.Reader }

// Read implements io.Reader.
func (w wholeReader) Read(p []byte) (int, error) {
	n, err := w.r.Read(p)
	if errors.Is(err, transform.ErrShortSrc) {
		err = io.EOF
	}
	return n, err
}

// textCharset decides the charset of a text part that begins with head: what the header says, else
// a byte order mark, else what HTML says of itself, else a guess.
func textCharset(p *Part, head []byte) (charset, encoding.Encoding) {
	name := paramValue(p.Params, "charset")
	if c, enc, known := lookupCharset(name); known && c != charsetGuess {
		return c, enc
	}
	if p.Subtype == "html" {
		return htmlCharset(head)
	}
	return charsetGuess, nil
}

// htmlCharset looks for a meta element that names the charset, as browsers do before they parse. A
// meta element that is readable as ASCII cannot mean UTF-16. What it says is second to UTF-8 that
// is valid: gateways turn texts into UTF-8 and leave the element as it was.
func htmlCharset(head []byte) (charset, encoding.Encoding) {
	s := lower(string(head[:min(len(head), sniffBytes)]))
	for {
		i := strings.Index(s, "<meta")
		if i < 0 {
			return charsetGuess, nil
		}
		tag, rest, _ := strings.Cut(s[i:], ">")
		s = rest
		name := metaCharset(tag)
		if name == "" {
			continue
		}
		if strings.HasPrefix(name, "utf-16") || strings.HasPrefix(name, "utf-32") {
			name = "utf-8"
		}
		c, enc, _ := lookupCharset(name)
		if c == charsetCoded && enc != japanese.ISO2022JP && enc != simplifiedchinese.HZGB2312 {
			c = charsetGuess
		}
		return c, enc
	}
}

// metaCharset is the value of charset=... in a tag, an attribute or a part of one.
func metaCharset(tag string) string {
	_, v, found := strings.Cut(tag, "charset")
	v = strings.TrimLeft(v, " \t\r\n")
	if !found || !strings.HasPrefix(v, "=") {
		return ""
	}
	v = strings.TrimLeft(v[1:], " \t\r\n\"'")
	if end := strings.IndexAny(v, " \t\r\n\"';/"); end >= 0 {
		v = v[:end]
	}
	return v
}

// textDecoder returns a transformer that gives valid UTF-8 without a byte order mark.
func textDecoder(c charset, enc encoding.Encoding) transform.Transformer {
	switch c {
	case charsetUTF8:
		return &utf8Text{}
	case charsetGuess:
		return transform.Chain(&bomStripper{}, &guesser{other: enc})
	}
	return c.decoder(enc)
}

// utf8Text passes UTF-8, without a byte order mark at the beginning, and replaces what is none.
type utf8Text struct{ started bool }

func (u *utf8Text) Reset() { u.started = false }

// Transform implements transform.Transformer. Text that is valid as a whole, as nearly all is, is
// copied; the rest goes through the slow way.
func (u *utf8Text) Transform(dst, src []byte, atEOF bool) (nDst, nSrc int, err error) {
	if !u.started {
		const bom = "\ufeff"
		if !atEOF && len(src) < len(bom) && string(src) == bom[:len(src)] {
			return 0, 0, transform.ErrShortSrc
		}
		u.started = true
		if len(src) >= len(bom) && string(src[:len(bom)]) == bom {
			nSrc = len(bom)
		}
	}
	whole := trimPartial(src[nSrc:min(len(src), nSrc+len(dst))])
	if utf8.Valid(whole) {
		nDst = copy(dst, whole)
		nSrc += nDst
		if nSrc == len(src) {
			return nDst, nSrc, nil
		}
	}
	d, n, err := runes.ReplaceIllFormed().Transform(dst[nDst:], src[nSrc:], atEOF)
	return nDst + d, nSrc + n, err
}

// bomStripper drops a byte order mark at the beginning.
type bomStripper struct{ started bool }

func (b *bomStripper) Reset() { b.started = false }

// Transform implements transform.Transformer.
func (b *bomStripper) Transform(dst, src []byte, atEOF bool) (nDst, nSrc int, err error) {
	const bom = "\ufeff"
	if !b.started {
		if !atEOF && len(src) < len(bom) && string(src) == bom[:len(src)] {
			return 0, 0, transform.ErrShortSrc
		}
		b.started = true
		if len(src) >= len(bom) && string(src[:len(bom)]) == bom {
			nSrc = len(bom)
		}
	}
	n := copy(dst, src[nSrc:])
	if nSrc+n < len(src) {
		err = transform.ErrShortDst
	}
	return n, nSrc + n, err
}

// guesser passes ASCII until the first other byte, and then decides by what stands there: UTF-8
// where that is valid, else the other encoding, windows-1252 if none is named.
type guesser struct {
	other  encoding.Encoding
	chosen transform.Transformer
}

func (g *guesser) Reset() { g.chosen = nil }

// Transform implements transform.Transformer. What the guess rests on is what has come so far, at
// least one character.
func (g *guesser) Transform(dst, src []byte, atEOF bool) (nDst, nSrc int, err error) {
	if g.chosen != nil {
		return g.chosen.Transform(dst, src, atEOF)
	}
	i := 0
	for i < len(src) && src[i] < utf8.RuneSelf {
		i++
	}
	n := copy(dst, src[:i])
	switch {
	case n < i:
		return n, n, transform.ErrShortDst
	case i == len(src):
		return n, n, nil
	case !atEOF && len(src)-i < utf8.UTFMax:
		return n, n, transform.ErrShortSrc
	}
	if tail := trimPartial(src[i:]); len(tail) > 0 && utf8.Valid(tail) {
		g.chosen = &utf8Text{started: true}
	} else {
		g.chosen = orWindows(g.other).NewDecoder()
	}
	nDst, nSrc, err = g.chosen.Transform(dst[n:], src[n:], atEOF)
	return n + nDst, n + nSrc, err
}

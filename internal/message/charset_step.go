package message

import (
	"unicode/utf16"
	"unicode/utf8"

	"golang.org/x/text/encoding/korean"
	"golang.org/x/text/encoding/simplifiedchinese"
	"golang.org/x/text/encoding/traditionalchinese"
	"golang.org/x/text/transform"
)

// stepper decodes one character: it returns the runes (up to two; 0 means none) and the number of
// bytes they took, or 0 bytes when src is too short and more may come.
type stepper interface {
	next(src []byte, atEOF bool) (r rune, size int)
	reset()
}

// noRune says that the bytes were a control sequence and stand for no character.
const noRune rune = -1

// runeDecoder is a transform.Transformer made of a stepper.
type runeDecoder struct{ step stepper }

func (d *runeDecoder) Reset() { d.step.reset() }

// Transform implements transform.Transformer.
func (d *runeDecoder) Transform(dst, src []byte, atEOF bool) (nDst, nSrc int, err error) {
	for nSrc < len(src) {
		if len(dst)-nDst < utf8.UTFMax {
			return nDst, nSrc, transform.ErrShortDst
		}
		r, size := d.step.next(src[nSrc:], atEOF)
		if size == 0 {
			return nDst, nSrc, transform.ErrShortSrc
		}
		nSrc += size
		if r != noRune {
			nDst += utf8.EncodeRune(dst[nDst:], r)
		}
	}
	return nDst, nSrc, nil
}

// tableStep is a charset of one byte per character. high holds the upper half; low the characters
// that replace control codes.
type tableStep struct {
	high [128]rune
	low  map[byte]rune
}

func (t tableStep) reset() {}

// next looks the byte up. Half a table is enough: the lower half is ASCII but for a few bytes.
func (t tableStep) next(src []byte, _ bool) (rune, int) {
	c := src[0]
	if c >= utf8.RuneSelf {
		return t.high[c-utf8.RuneSelf], 1
	}
	if r, ok := t.low[c]; ok {
		return r, 1
	}
	return rune(c), 1
}

// utf7 is RFC 2152. Broken sequences give U+FFFD and the text goes on.
type utf7 struct {
	shifted bool   // inside +...-
	fresh   bool   // just after the +
	bits    uint32 // collected bits, the newest lowest
	n       int    // how many
	high    rune   // a high surrogate that waits for its other half, or 0
}

func (u *utf7) reset() { *u = utf7{} }

// next takes one byte: most of them add bits and give no character.
func (u *utf7) next(src []byte, _ bool) (rune, int) {
	c := src[0]
	if !u.shifted {
		if c == '+' {
			*u = utf7{shifted: true, fresh: true}
			return noRune, 1
		}
		if c >= utf8.RuneSelf {
			return utf8.RuneError, 1
		}
		return rune(c), 1
	}
	v := base64Values[c]
	if v == base64Bad {
		return u.leave(c)
	}
	u.fresh = false
	u.bits, u.n = u.bits<<6|uint32(v), u.n+6
	if u.n < 16 {
		return noRune, 1
	}
	u.n -= 16
	return u.unit(rune(u.bits >> u.n & 0xffff)), 1
}

// leave ends a shifted sequence at c, which is the character itself unless it is the hyphen.
func (u *utf7) leave(c byte) (rune, int) {
	fresh, lone := u.fresh, u.high != 0
	*u = utf7{}
	switch {
	case c == '-' && lone:
		return utf8.RuneError, 1
	case c == '-' && fresh:
		return '+', 1 // "+-" is a plus sign
	case c == '-':
		return noRune, 1
	case c >= utf8.RuneSelf:
		return utf8.RuneError, 1
	}
	return rune(c), 1
}

// unit takes one UTF-16 code unit.
func (u *utf7) unit(r rune) rune {
	high := u.high
	u.high = 0
	switch {
	case high != 0:
		return utf16.DecodeRune(high, r)
	case r >= 0xd800 && r < 0xdc00:
		u.high = r
		return noRune
	case utf16.IsSurrogate(r):
		return utf8.RuneError
	}
	return r
}

// iso2022 is iso-2022-kr (RFC 1557) and iso-2022-cn (RFC 1922): 7-bit codes that switch between
// ASCII and two-byte sets with shifts and escape sequences. The two-byte sets are decoded through
// their 8-bit cousins, EUC-KR and GBK, and Big5 for the planes of CNS 11643.
type iso2022 struct {
	set, big5 transform.Transformer // stateless; big5 is nil in iso-2022-kr
	shifted   bool                  // after SO
	g1, g2    byte                  // designated: 'A' GB 2312, 'G' CNS plane 1, 'H' CNS plane 2
	ss2       bool                  // the next character comes from g2
}

func newISO2022KR() *iso2022 { return &iso2022{set: korean.EUCKR.NewDecoder()} }

// newISO2022CN returns a decoder for RFC 1922.
func newISO2022CN() *iso2022 {
	return &iso2022{
		set:  simplifiedchinese.GBK.NewDecoder(),
		big5: traditionalchinese.Big5.NewDecoder(),
	}
}

func (d *iso2022) reset() { *d = iso2022{set: d.set, big5: d.big5} }

// next takes a control sequence, an ASCII character or a pair of bytes.
func (d *iso2022) next(src []byte, atEOF bool) (rune, int) {
	switch c := src[0]; {
	case c == 0x1b:
		return d.escape(src, atEOF)
	case c == 0x0e:
		d.shifted = true
		return noRune, 1
	case c == 0x0f:
		d.shifted = false
		return noRune, 1
	case c == '\n' && d.big5 != nil: // RFC 1922 §3.1: designations end with the line
		d.reset()
		return '\n', 1
	case c == '\n': // RFC 1557: a line begins in ASCII
		d.shifted = false
		return '\n', 1
	case c < 0x21 || c == 0x7f || !d.shifted && !d.ss2 && c < utf8.RuneSelf:
		return rune(c), 1
	}
	if len(src) < 2 {
		if !atEOF {
			return noRune, 0
		}
		return utf8.RuneError, 1
	}
	if b := src[1] & 0x7f; b < 0x21 || b == 0x7f {
		return utf8.RuneError, 1
	}
	return d.pair(src[0]&0x7f, src[1]&0x7f), 2
}

// escape reads a designation: ESC $ ) x, ESC $ * x, or the single shift ESC N.
func (d *iso2022) escape(src []byte, atEOF bool) (rune, int) {
	if len(src) < 4 && !atEOF && (len(src) < 2 || src[1] != 'N') {
		return noRune, 0
	}
	switch {
	case len(src) >= 2 && src[1] == 'N':
		d.ss2 = true
		return noRune, 2
	case len(src) >= 4 && src[1] == '$' && src[2] == ')':
		d.g1 = src[3]
		return noRune, 4
	case len(src) >= 4 && src[1] == '$' && src[2] == '*':
		d.g2 = src[3]
		return noRune, 4
	}
	return utf8.RuneError, 1
}

// pair decodes one character of the set in force.
func (d *iso2022) pair(hi, lo byte) rune {
	set := d.g1
	if d.ss2 {
		set, d.ss2 = d.g2, false
	}
	if d.big5 != nil && (set == 'G' || set == 'H') {
		code, ok := cnsToBig5(set-'F', hi, lo)
		if !ok {
			return utf8.RuneError
		}
		return decodePair(d.big5, byte(code>>8), byte(code))
	}
	return decodePair(d.set, hi|0x80, lo|0x80)
}

// decodePair decodes the one character that two bytes make in a stateless encoding.
func decodePair(t transform.Transformer, hi, lo byte) rune {
	var dst [16]byte
	n, _, _ := t.Transform(dst[:], []byte{hi, lo}, true)
	r, _ := utf8.DecodeRune(dst[:n])
	return r
}

package message

import (
	"sync"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// Fold appends s to dst in the form in which texts are compared: case folded, compatibility forms
// unified (NFKC: full-width letters, ligatures, no-break spaces), composed; with stripMarks also
// without accents and tone marks, so that "Tiếng Việt" becomes "tieng viet" and đ becomes d.
//
// A search word that has marks is compared with stripMarks false on both sides and matches marked
// text only; a bare word with stripMarks true matches all. HasMarks tells which it is. Invalid
// UTF-8 becomes U+FFFD. A text may be folded in pieces if they are cut where FoldBoundary says.
func Fold(dst, s []byte, stripMarks bool) []byte {
	i := 0
	for i < len(s) {
		if c := s[i]; c < utf8.RuneSelf {
			if i+1 < len(s) && s[i+1] >= utf8.RuneSelf {
				break // a combining mark may follow
			}
			dst = append(dst, lowerByte(c))
			i++
			continue
		}
		break
	}
	if i == len(s) {
		return dst
	}
	return foldSlow(dst, s[i:], stripMarks)
}

// foldSlow folds text that has more than ASCII in it, one normalisation segment at a time.
func foldSlow(dst, s []byte, stripMarks bool) []byte {
	form := norm.NFKC
	if stripMarks {
		form = norm.NFKD
	}
	simple := simpleFolds(stripMarks)
	for len(s) > 0 {
		if c := s[0]; c < utf8.RuneSelf && (len(s) == 1 || s[1] < utf8.RuneSelf) {
			dst = append(dst, lowerByte(c))
			s = s[1:]
			continue
		}
		r, size := utf8.DecodeRune(s)
		if r < simpleEnd && simple[r] != 0 && !marksFollow(s[size:]) {
			dst = utf8.AppendRune(dst, simple[r])
			s = s[size:]
			continue
		}
		if r == utf8.RuneError || r == sentence {
			dst = utf8.AppendRune(dst, r)
			s = s[size:]
			continue
		}
		n := form.NextBoundary(s, true)
		if n <= 0 {
			n = len(s)
		}
		dst = normSegment(dst, s[:n], form, stripMarks, simple)
		s = s[n:]
	}
	return dst
}

// normSegment folds a segment that has to be normalised first. The buffer that this takes is not
// foldSlow's own, whose usual text needs none.
func normSegment(dst, s []byte, form norm.Form, stripMarks bool, simple *foldTable) []byte {
	var buf [norm.MaxSegmentSize]byte
	return foldSegment(dst, form.Append(buf[:0], s...), stripMarks, simple)
}

// simpleEnd is where the table of simple folds ends: after the Latin, Greek, Cyrillic and other
// alphabets, and before symbols and ideographs.
const simpleEnd = 0x1f00

// sentence is the one character that stands for a whole sentence, of 18 letters: it is left as it
// is, as a text of it would otherwise grow elevenfold.
const sentence = '\ufdfa'

// foldTable maps characters that fold to a single one to it, others to 0.
type foldTable [simpleEnd]rune

// keepTable and stripTable are made when they are first needed.
var (
	keepTable  = sync.OnceValue(func() *foldTable { return newFoldTable(norm.NFKC, false) })
	stripTable = sync.OnceValue(func() *foldTable { return newFoldTable(norm.NFKD, true) })
)

// simpleFolds returns the table for a mode.
func simpleFolds(stripMarks bool) *foldTable {
	if stripMarks {
		return stripTable()
	}
	return keepTable()
}

// newFoldTable asks the slow way for every character.
func newFoldTable(form norm.Form, stripMarks bool) *foldTable {
	t := new(foldTable)
	for r := rune(1); r < simpleEnd; r++ {
		folded := foldSegment(nil, form.AppendString(nil, string(r)), stripMarks, &foldTable{})
		if one, size := utf8.DecodeRune(folded); size == len(folded) && one != utf8.RuneError {
			t[r] = one
		}
	}
	return t
}

// marksFollow reports whether s may begin with a mark that composes with what is before it.
func marksFollow(s []byte) bool {
	if len(s) == 0 || s[0] < utf8.RuneSelf {
		return false
	}
	switch {
	case s[0] < firstMark:
		return false
	case s[0] == 0xe1 && len(s) > 1 && s[1] >= 0xb8 && s[1] <= 0xbb:
		return false // U+1E00 to U+1EFF, where the Vietnamese letters are
	}
	return !norm.NFKC.Properties(s).BoundaryBefore()
}

// firstMark is the first byte of U+0300, the first character that composes with one before it.
const firstMark = 0xcc

// foldSegment folds one normalised segment; simple has the answers for most of its characters.
func foldSegment(dst, seg []byte, stripMarks bool, simple *foldTable) []byte {
	start := len(dst)
	for len(seg) > 0 {
		r, size := utf8.DecodeRune(seg)
		seg = seg[size:]
		if r < simpleEnd && simple[r] != 0 {
			dst = utf8.AppendRune(dst, simple[r])
			continue
		}
		if stripMarks && unicode.Is(unicode.Mn, r) {
			continue
		}
		if r = foldRune(r); stripMarks {
			r = bareRune(r)
		}
		if r == 'ß' {
			dst, r = append(dst, 's'), 's'
		}
		dst = utf8.AppendRune(dst, r)
	}
	if !norm.NFC.IsNormal(dst[start:]) {
		return append(dst[:start], norm.NFC.Bytes(dst[start:])...)
	}
	return dst
}

// foldRune folds case, rune by rune: all letters that are equal without case give the same one.
func foldRune(r rune) rune {
	if r < utf8.RuneSelf {
		return rune(lowerByte(byte(r)))
	}
	return unicode.ToLower(unicode.ToUpper(r))
}

// bareRune knows the letters whose stroke or hook is no separate mark to Unicode.
func bareRune(r rune) rune {
	switch r {
	case 'đ', 'ð', 'ɖ':
		return 'd'
	case 'ø':
		return 'o'
	case 'ł':
		return 'l'
	case 'ħ':
		return 'h'
	case 'ŧ':
		return 't'
	case 'ı':
		return 'i'
	case 'ƀ':
		return 'b'
	}
	return r
}

// HasMarks reports whether s has anything that Fold would strip: whether a search for it should
// look at marks.
func HasMarks(s string) bool {
	if isASCII(s) {
		return false
	}
	kept := Fold(nil, []byte(s), false)
	return string(kept) != string(Fold(nil, []byte(s), true))
}

// FoldBoundary returns the length of the longest beginning of b that can be folded by itself, when
// more text follows: it ends before a character that nothing can combine with. It is 0 when there
// is none.
func FoldBoundary(b []byte) int {
	for i := len(b) - 1; i > 0; i-- {
		if b[i] < utf8.RuneSelf {
			return i
		}
		if !utf8.RuneStart(b[i]) || !utf8.FullRune(b[i:]) {
			continue
		}
		if p := norm.NFKC.Properties(b[i:]); p.Size() > 0 && p.BoundaryBefore() {
			return i
		}
	}
	return 0
}

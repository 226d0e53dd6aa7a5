package words

import (
	"sync"
	"unicode"
	"unicode/utf8"

	"tram/internal/message"
)

// class is what a character is in a text.
type class uint8

const (
	separator class = iota
	latin
	lookalike // Cyrillic and Greek: many of their letters look Latin
	other     // letters of other alphabets
	digit
	alone   // of a script that has no spaces between words: a word by itself
	compat  // another form of a letter, such as a full-width one: it takes NFKC to tell
	mark    // composes with the letter before it
	nothing // is not seen: zero-width characters, soft hyphens
)

// letter is what is known of a character.
type letter struct {
	low, bare rune // in lower case, with and without marks
	class     class
}

// lettersEnd is where the table of letters ends: after Latin with the Vietnamese letters.
const lettersEnd = 0x2000

// letters knows the characters of most alphabets.
var letters = sync.OnceValue(func() *[lettersEnd]letter {
	t := new([lettersEnd]letter)
	for r := range rune(lettersEnd) {
		t[r] = learnLetter(r)
	}
	return t
})

// letterOf says what a character is. known is letters().
func letterOf(known *[lettersEnd]letter, r rune) letter {
	if r < lettersEnd {
		return known[r]
	}
	return learnLetter(r)
}

// learnLetter asks the tables of Unicode about a character.
func learnLetter(r rune) letter {
	l := letter{low: r, bare: r, class: classOf(r)}
	switch l.class {
	case latin, lookalike, other:
		l.low = unicode.ToLower(r)
		l.bare = l.low
		var in [utf8.UTFMax]byte
		var out [4 * utf8.UTFMax]byte
		bare := message.Fold(out[:0], in[:utf8.EncodeRune(in[:], l.low)], true)
		if b, size := utf8.DecodeRune(bare); size == len(bare) && b != utf8.RuneError {
			l.bare = b
		}
	}
	return l
}

func classOf(r rune) class {
	switch {
	case r < utf8.RuneSelf:
		return classOfASCII(r)
	case r >= 0x3400 && r <= 0x9fff:
		return alone
	case r == utf8.RuneError:
		return separator
	case unseen(r):
		return nothing
	case r >= 0xff01 && r <= 0xff5e, r >= 0x1d400 && r <= 0x1d7ff, r >= 0x2460 && r <= 0x24ff,
		r >= 0x1f130 && r <= 0x1f189, r >= 0x2100 && r <= 0x214f, r >= 0xfb00 && r <= 0xfb06, r == 0x17f:
		return compat // full-width, mathematical, encircled, letter-like, ligatures
	case unicode.Is(unicode.Mn, r) && !unspaced(r):
		return mark
	case !unicode.In(r, unicode.Letter, unicode.Number, unicode.Mark):
		return separator
	case unspaced(r):
		return alone
	case unicode.Is(unicode.Latin, r):
		return latin
	case unicode.In(r, unicode.Cyrillic, unicode.Greek):
		return lookalike
	case unicode.Is(unicode.Nd, r):
		return digit
	}
	return other
}

func classOfASCII(r rune) class {
	switch {
	case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z':
		return latin
	case r >= '0' && r <= '9':
		return digit
	}
	return separator
}

// unseen are characters that take no room on the screen and are put into words to hide them.
func unseen(r rune) bool {
	switch {
	case r == 0xad, r == 0x34f, r == 0x61c, r == 0x180e, r == 0xfeff:
		return true
	case r >= 0x200b && r <= 0x200f, r >= 0x202a && r <= 0x202e, r >= 0x2060 && r <= 0x206f:
		return true
	case r >= 0xfe00 && r <= 0xfe0f, r >= 0xe0000 && r <= 0xe0fff:
		return true
	}
	return false
}

// unspaced are the letters of scripts that put no spaces between words: a single one is taken for a word,
// and pairs of them are what words are elsewhere.
func unspaced(r rune) bool {
	switch {
	case r < 0xe00:
		return false
	case r <= 0xeff, r >= 0x1000 && r <= 0x109f, r >= 0x1780 && r <= 0x17ff:
		return true // Thai and Lao, Burmese, Khmer
	case r >= 0x3040 && r <= 0x30ff, r >= 0x3400 && r <= 0x9fff, r >= 0xf900 && r <= 0xfaff:
		return true // Japanese syllables, ideographs
	}
	return r >= 0x20000 && r <= 0x3ffff
}

// looks is the Latin letter that a Cyrillic or Greek one looks like, in lower case; 0 for others.
func looks(r rune) rune {
	switch r {
	case 'а', 'α':
		return 'a'
	case 'в', 'β':
		return 'b'
	case 'с', 'ϲ':
		return 'c'
	case 'ԁ':
		return 'd'
	case 'е', 'ё', 'ε', 'є':
		return 'e'
	case 'һ', 'н', 'η':
		return 'h'
	case 'і', 'ї', 'ι':
		return 'i'
	case 'ј':
		return 'j'
	case 'к', 'κ':
		return 'k'
	case 'м', 'μ':
		return 'm'
	case 'ν':
		return 'v'
	case 'о', 'ο', 'σ':
		return 'o'
	case 'р', 'ρ':
		return 'p'
	case 'ԛ':
		return 'q'
	case 'ѕ':
		return 's'
	case 'т', 'τ':
		return 't'
	case 'υ':
		return 'u'
	case 'ѵ':
		return 'v'
	case 'ԝ', 'ω':
		return 'w'
	case 'х', 'χ':
		return 'x'
	case 'у', 'γ':
		return 'y'
	case 'ζ':
		return 'z'
	}
	return 0
}

// stands is the letter that a digit or sign between letters stands for, as in "v1agra"; 0 for others.
func stands(c byte) byte {
	switch c {
	case '0':
		return 'o'
	case '1', '!', '|':
		return 'i'
	case '3':
		return 'e'
	case '4', '@':
		return 'a'
	case '5', '$':
		return 's'
	case '7':
		return 't'
	}
	return 0
}

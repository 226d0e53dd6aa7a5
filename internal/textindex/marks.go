package textindex

import (
	"sync"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"tram/internal/message"
)

// Words that are written with marks are in the index twice: without them, as all words are, and as
// they stand. A search for a word with marks is answered from the second terms alone: what has the
// marks that are looked for can only stand in a word that has marks itself.

// marked is the first byte of a term that is a word with its marks, folded but for them. No other
// term begins with it. All of them stand together, before those of the folded words.
const marked = '\x01'

// afterMarked is behind the last of them in the order of terms.
const afterMarked = "\x02"

// lettersEnd is where the table of letters ends: after the Latin, Greek, Cyrillic and other
// alphabets. Marks of later characters do not make a word a marked one: a search for them alone is
// narrowed by the folded words, and the emails are looked into.
const lettersEnd = 0x1f00

// letter is what is known of a character.
type letter struct {
	// kept and bare are what it is folded to, with and without marks, when nothing follows that
	// composes with it. With 0 it takes message.Fold to tell.
	kept, bare         rune
	keptWord, bareWord bool // they are part of a word
	keptMark           bool // kept has marks
	mark               bool // it has marks itself
	starts             bool // nothing before it composes with it
}

// letters asks message.Fold about every character once.
var letters = sync.OnceValue(func() *[lettersEnd]letter {
	t := new([lettersEnd]letter)
	one := func(r rune, bare bool) rune {
		folded := message.Fold(nil, []byte(string(r)), bare)
		if f, size := utf8.DecodeRune(folded); size == len(folded) && f != utf8.RuneError {
			return f
		}
		return 0
	}
	for r := range rune(lettersEnd) {
		kept, bare := one(r, false), one(r, true)
		t[r] = letter{
			kept: kept, bare: bare, keptWord: isWord(kept), bareWord: isWord(bare),
			keptMark: message.HasMarks(string(kept)), mark: message.HasMarks(string(r)),
			starts: norm.NFKC.PropertiesString(string(r)).BoundaryBefore(),
		}
	}
	return t
})

// hasMark reports whether a folded word has a letter with marks.
func hasMark(word []byte) bool {
	known := letters()
	for len(word) > 0 {
		if word[0] < utf8.RuneSelf {
			word = word[1:]
			continue
		}
		r, size := utf8.DecodeRune(word)
		if r < lettersEnd && known[r].mark {
			return true
		}
		word = word[size:]
	}
	return false
}

// firstMark is the first byte of U+0300, the first character that composes with one before it.
const firstMark = 0xcc

// stands reports whether text, which follows a letter, begins with something that certainly does
// not compose with it.
func stands(text []byte, known *[lettersEnd]letter) bool {
	if len(text) < 2 || text[0] < firstMark {
		return len(text) == 0 || text[0] < firstMark
	}
	switch {
	case text[0] == 0xe1 && text[1] >= 0xb8 && text[1] <= 0xbb:
		return true // U+1E00 to U+1EFF, where the Vietnamese letters are
	case text[0] == 0xe2 && (text[1] == 0x80 || text[1] == 0x94 || text[1] == 0x95):
		return true // U+2000 to U+203F, U+2500 to U+257F: dashes, quotation marks, lines
	}
	r, _ := utf8.DecodeRune(text)
	return r < lettersEnd && known[r].starts
}

// separates knows the dashes, quotation marks and lines of tables that texts are full of: whatever
// they are folded to is no part of a word.
func separates(r rune) bool {
	return r >= 0x2010 && r <= 0x2027 && r != 0x2017 || r >= 0x2500 && r <= 0x257f
}

// plain reports whether text has nothing but ideographs, Hangul syllables and their full stops and
// commas, behind one character at most that is ASCII: they are the same with and without marks.
func plain(text []byte) bool {
	for len(text) > 0 {
		r, size := utf8.DecodeRune(text)
		switch {
		case r < utf8.RuneSelf, r == '、', r == '。':
		case r >= 0x3400 && r <= 0x9fff, r >= 0xac00 && r <= 0xd7a3:
		default:
			return false
		}
		text = text[size:]
	}
	return true
}

// letters takes text that begins with a character that is not ASCII, or that such a one follows, up
// to the next that is ASCII, and returns its length.
func (s *splitter) letters(text []byte) int {
	known := letters()
	n := 0
	for n < len(text) {
		r, size := rune(text[n]), 1
		if r >= utf8.RuneSelf {
			r, size = utf8.DecodeRune(text[n:])
		} else if n > 0 {
			break
		}
		if separates(r) && stands(text[n+size:], known) {
			s.flush()
			n += size
			continue
		}
		if r >= lettersEnd {
			return n + s.other(text[n:])
		}
		l := &known[r]
		if l.kept == 0 || l.bare == 0 || !stands(text[n+size:], known) {
			return n + s.other(text[n:])
		}
		n += size
		if l.kept != l.bare {
			s.part()
		}
		if l.bareWord {
			s.word = utf8.AppendRune(s.word, l.bare)
		} else {
			s.flushWord()
		}
		switch {
		case !s.apart:
		case l.keptWord:
			s.kept = utf8.AppendRune(s.kept, l.kept)
			s.marks = s.marks || l.keptMark
		default:
			s.flushKept()
		}
	}
	return n
}

// other takes text as letters does, whatever it is.
func (s *splitter) other(text []byte) int {
	end := 1
	for end < len(text) && text[end] >= utf8.RuneSelf {
		end++
	}
	text = text[:end]
	s.fold = message.Fold(s.fold[:0], text, true)
	kept := s.fold
	if s.both && !plain(text) {
		s.keep = message.Fold(s.keep[:0], text, false)
		if kept = s.keep; string(kept) != string(s.fold) {
			s.part()
		}
	}
	for bare := s.fold; len(bare) > 0; {
		n := wordPrefix(bare)
		s.word = append(s.word, bare[:n]...)
		if n == len(bare) {
			break
		}
		s.flushWord()
		bare = bare[n:]
		bare = bare[separatorPrefix(bare):]
	}
	for s.apart && len(kept) > 0 {
		n := wordPrefix(kept)
		s.kept = append(s.kept, kept[:n]...)
		s.marks = s.marks || hasMark(kept[:n])
		if n == len(kept) {
			break
		}
		s.flushKept()
		kept = kept[n:]
		kept = kept[separatorPrefix(kept):]
	}
	return end
}

// part begins to keep the word with its marks apart from the one without.
func (s *splitter) part() {
	if s.both && !s.apart {
		s.apart, s.marks = true, false
		s.kept = append(append(s.kept[:0], marked), s.word...)
	}
}

// flushKept ends the current word with its marks.
func (s *splitter) flushKept() {
	if s.marks {
		at, emit := 1, s.emit
		for len(s.kept)-at > maxWord { // bytes: a first, cheap test
			if at+runes(s.kept[at:], maxWord) == len(s.kept) {
				break
			}
			emit = s.long
			at = s.keptWindow(at)
		}
		if at == 1 {
			emit(s.kept)
		} else {
			s.emitKept(at, len(s.kept), emit)
		}
	}
	s.kept, s.marks = s.kept[:1], false
}

// keptWindow emits a window of a long word, and returns where the next begins.
func (s *splitter) keptWindow(at int) int {
	s.emitKept(at, at+runes(s.kept[at:], maxWord), s.long)
	return at + runes(s.kept[at:], windowStep)
}

// emitKept emits a part of kept as a term, if it has marks. The byte before it, which no later window
// has in it, is overwritten.
func (s *splitter) emitKept(at, end int, emit func([]byte)) {
	if hasMark(s.kept[at:end]) {
		s.kept[at-1] = marked
		emit(s.kept[at-1 : end])
	}
}

// drainKept is drain for the word with its marks.
func (s *splitter) drainKept() {
	if len(s.kept) <= fullWord {
		return
	}
	at := 1
	for len(s.kept)-at > fullWord/2 {
		at = s.keptWindow(at)
	}
	s.kept = append(append(s.kept[:0], marked), s.kept[at:]...)
}

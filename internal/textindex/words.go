package textindex

import (
	"unicode"
	"unicode/utf8"

	"tram/internal/message"
)

const (
	// maxWord is the longest term in runes. A longer run of letters is indexed as overlapping
	// windows of this length, windowStep apart, so that every part of up to windowStep runes
	// stands whole in one window.
	maxWord    = 40
	windowStep = 20
	// fullWord is how many bytes a word may have before its first windows leave.
	fullWord = 4 * maxWord * utf8.UTFMax
	// maxHeld is how many bytes a letter with all its marks may have.
	maxHeld = 256
)

// splitter cuts text that arrives in chunks into folded words, and with both set also into those of
// its words that have marks, as they stand.
type splitter struct {
	both bool
	word []byte // the word so far, folded
	// kept is the same with its marks, behind the byte that marks such terms. As long as there was
	// nothing in the word that has marks it is not apart, and word is all there is to know.
	kept  []byte
	apart bool
	marks bool   // kept has some
	held  []byte // the end of the last chunk: what comes next may compose with it
	fold  []byte // scratch
	keep  []byte // scratch
	emit  func(word []byte)
	long  func(window []byte) // a piece of a word longer than maxWord
}

// small is what an ASCII letter or digit is folded to, and 0 for every other byte.
var small = func() (t [256]byte) {
	for c := range 256 {
		switch {
		case c >= 'A' && c <= 'Z':
			t[c] = byte(c) + 'a' - 'A'
		case c < utf8.RuneSelf && isWord(rune(c)):
			t[c] = byte(c)
		}
	}
	return t
}()

// write takes a chunk of UTF-8 text; a word, a letter with its marks and even a rune may go on in
// the next chunk.
func (s *splitter) write(chunk []byte) {
	if len(s.held) > 0 {
		n := 0
		for n < len(chunk) && chunk[n] >= utf8.RuneSelf {
			n++
		}
		s.held = append(s.held, chunk[:n]...)
		if n < len(chunk) { // nothing composes with ASCII
			s.whole(s.held)
			s.held, chunk = s.held[:0], chunk[n:]
		} else {
			chunk = s.held
		}
	}
	cut := message.FoldBoundary(chunk)
	if len(chunk)-cut > maxHeld { // marks and no end: they cannot be told by what is looked for
		cut = len(chunk) - incomplete(chunk)
		if s.both {
			s.emit([]byte(unsure))
		}
	}
	s.whole(chunk[:cut])
	s.held = append(s.held[:0], chunk[cut:]...)
}

// whole takes text that nothing after it composes with.
func (s *splitter) whole(text []byte) {
	// ASCII is folded byte by byte, letters that stand alone by a table. Around other characters a
	// stretch is cut out for Fold: from the character before them, which marks may belong to, to
	// the next one that is ASCII.
	for len(text) > 0 {
		text = text[s.ascii(text):]
		if len(text) > 0 {
			text = text[s.letters(text):]
		}
	}
	s.drain()
}

// drain keeps a run without any separator from growing without bound: what is full leaves by
// windows.
func (s *splitter) drain() {
	if s.apart {
		s.drainKept()
	}
	if len(s.word) <= fullWord {
		return
	}
	w := s.word
	for len(w) > fullWord/2 {
		s.long(w[:runes(w, maxWord)])
		w = w[runes(w, windowStep):]
	}
	s.word = append(s.word[:0], w...)
}

// ascii takes the ASCII at the beginning of text, but for a last character that a mark may follow,
// and returns its length.
func (s *splitter) ascii(text []byte) int {
	start := 0
	if s.apart {
		if start = s.asciiApart(text); s.apart {
			return start
		}
		text = text[start:]
	}
	word := s.word
	for i, c := range text {
		if c >= utf8.RuneSelf {
			s.word = word
			return start + i
		}
		if i+1 < len(text) && text[i+1] >= firstMark {
			s.word = word
			return start + i
		}
		if l := small[c]; l != 0 {
			word = append(word, l)
			continue
		}
		if len(word) > 0 {
			s.word = word
			s.flushWord()
			word = s.word
		}
	}
	s.word = word
	return start + len(text)
}

// asciiApart is ascii up to the end of a word whose marks are kept apart.
func (s *splitter) asciiApart(text []byte) int {
	for i, c := range text {
		if c >= utf8.RuneSelf || i+1 < len(text) && text[i+1] >= firstMark {
			return i
		}
		l := small[c]
		if l == 0 {
			s.flush()
			return i + 1
		}
		s.word, s.kept = append(s.word, l), append(s.kept, l)
	}
	return len(text)
}

// incomplete is the length of a rune's beginning at the end of b.
func incomplete(b []byte) int {
	for n := 1; n < utf8.UTFMax && n <= len(b); n++ {
		if c := b[len(b)-n]; utf8.RuneStart(c) {
			if c >= utf8.RuneSelf && !utf8.FullRune(b[len(b)-n:]) {
				return n
			}
			return 0
		}
	}
	return 0
}

// end ends the text: what follows is another.
func (s *splitter) end() {
	if len(s.held) > 0 {
		s.whole(s.held)
		s.held = s.held[:0]
	}
	s.flush()
}

// flush ends the current word.
func (s *splitter) flush() {
	s.flushWord()
	if s.apart {
		s.flushKept()
		s.apart = false
	}
}

// flushWord ends the current word without its marks.
func (s *splitter) flushWord() {
	w := s.word
	s.word = s.word[:0]
	emit := s.emit
	for len(w) > maxWord { // bytes: a first, cheap test
		end := runes(w, maxWord)
		if end == len(w) {
			break
		}
		emit = s.long
		emit(w[:end])
		w = w[runes(w, windowStep):]
	}
	if len(w) > 0 {
		emit(w)
	}
}

// runes is the length in bytes of the first n runes of b.
func runes(b []byte, n int) int {
	i := 0
	for ; n > 0 && i < len(b); n-- {
		_, size := utf8.DecodeRune(b[i:])
		i += size
	}
	return i
}

func wordPrefix(b []byte) int {
	i := 0
	for i < len(b) {
		r, size := rune(b[i]), 1
		if r >= utf8.RuneSelf {
			r, size = utf8.DecodeRune(b[i:])
		}
		if !isWord(r) {
			break
		}
		i += size
	}
	return i
}

func separatorPrefix(b []byte) int {
	i := 0
	for i < len(b) {
		r, size := rune(b[i]), 1
		if r >= utf8.RuneSelf {
			r, size = utf8.DecodeRune(b[i:])
		}
		if isWord(r) {
			break
		}
		i += size
	}
	return i
}

func isWord(r rune) bool {
	switch {
	case r < utf8.RuneSelf:
		return r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r >= 'A' && r <= 'Z'
	case r == utf8.RuneError:
		return false
	default:
		return unicode.In(r, unicode.Letter, unicode.Number, unicode.Mark)
	}
}

// term is one word of a query.
type term struct {
	word []byte
	// left and right are set when the query does not say what stands before and after the word:
	// at the ends of a phrase. The word then matches the end or the beginning of a term as well.
	left, right bool
}

// marked says that the word is looked for with its marks.
func (t *term) marked() bool { return t.word[0] == marked }

// parse cuts a query into terms. exact is false when a term's presence does not prove that the
// text is there.
func parse(query string) (terms []term, exact bool) {
	bare := message.Fold(nil, []byte(query), true)
	kept := message.Fold(nil, []byte(query), false)
	terms, exact = cutTerms(bare)
	if string(kept) == string(bare) {
		return terms, exact
	}
	// A word of the text that has the marks has them wherever it is looked at, so that one which
	// the query has with marks replaces the same one without.
	withMarks, exact := cutTerms(kept)
	same := len(withMarks) == len(terms)
	if !same {
		exact = false
	}
	for i, t := range withMarks {
		switch {
		case !hasMark(t.word):
			exact = false
		case same:
			t.word = append([]byte{marked}, t.word...)
			terms[i] = t
		default:
			t.word = append([]byte{marked}, t.word...)
			terms = append(terms, t)
		}
	}
	return terms, exact
}

// cutTerms cuts a folded query into terms.
func cutTerms(text []byte) (terms []term, exact bool) {
	exact = true
	start := separatorPrefix(text)
	if start > 0 {
		exact = false
	}
	for rest := text[start:]; len(rest) > 0; {
		n := wordPrefix(rest)
		gap := separatorPrefix(rest[n:])
		t := term{
			word: rest[:n], left: start == 0 && len(terms) == 0, right: n+gap == len(rest) && gap == 0,
		}
		if gap > 0 || len(terms) > 0 {
			exact = false
		}
		if end := runes(t.word, windowStep); end < len(t.word) {
			t.word, t.left, t.right = t.word[:end], true, true
			exact = false
		}
		terms = append(terms, t)
		rest = rest[n+gap:]
	}
	return terms, exact
}

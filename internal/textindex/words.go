package textindex

import (
	"bytes"
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
)

// splitter cuts text that arrives in chunks into folded words.
type splitter struct {
	word []byte // the word so far, folded
	cut  []byte // the beginning of a rune whose rest is in the next chunk
	fold []byte // scratch
	emit func(word []byte)
	long func(window []byte) // a piece of a word longer than maxWord
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

// write takes a chunk of UTF-8 text; a word, and even a rune, may go on in the next chunk.
func (s *splitter) write(chunk []byte) {
	if len(s.cut) > 0 {
		chunk = append(s.cut, chunk...)
		s.cut = nil
	}
	if n := incomplete(chunk); n > 0 {
		s.cut = bytes.Clone(chunk[len(chunk)-n:])
		chunk = chunk[:len(chunk)-n]
	}
	// ASCII is folded byte by byte. Around other characters a stretch is cut out for Fold: from the
	// character before them, which marks may belong to, to the next one that is ASCII.
	for len(chunk) > 0 {
		n := s.ascii(chunk)
		chunk = chunk[n:]
		if len(chunk) == 0 {
			break
		}
		end := 1
		for end < len(chunk) && chunk[end] >= utf8.RuneSelf {
			end++
		}
		s.other(chunk[:end])
		chunk = chunk[end:]
	}
	// A run without any separator must not grow without bound: what is full leaves by windows.
	if len(s.word) > 4*maxWord*utf8.UTFMax {
		w := s.word
		for len(w) > 2*maxWord*utf8.UTFMax {
			s.long(w[:runes(w, maxWord)])
			w = w[runes(w, windowStep):]
		}
		s.word = append(s.word[:0], w...)
	}
}

// ascii takes the ASCII at the beginning of text, but for a last character that another follows,
// and returns its length.
func (s *splitter) ascii(text []byte) int {
	word := s.word
	for i, c := range text {
		if c >= utf8.RuneSelf {
			s.word = word
			return i
		}
		if i+1 < len(text) && text[i+1] >= utf8.RuneSelf {
			s.word = word
			return i
		}
		if l := small[c]; l != 0 {
			word = append(word, l)
			continue
		}
		if len(word) > 0 {
			s.word = word
			s.flush()
			word = s.word
		}
	}
	s.word = word
	return len(text)
}

// other takes text that has more than ASCII in it.
func (s *splitter) other(text []byte) {
	s.fold = message.Fold(s.fold[:0], text, true)
	text = s.fold
	for len(text) > 0 {
		n := wordPrefix(text)
		s.word = append(s.word, text[:n]...)
		if n == len(text) {
			break
		}
		s.flush()
		text = text[n:]
		text = text[separatorPrefix(text):]
	}
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
	s.flush()
	s.cut = nil
}

// flush ends the current word.
func (s *splitter) flush() {
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

// parse cuts a query into terms. exact is false when a term's presence does not prove that the
// text is there.
func parse(query string) (terms []term, exact bool) {
	text := message.Fold(nil, []byte(query), true)
	exact = string(text) == string(message.Fold(nil, []byte(query), false))
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

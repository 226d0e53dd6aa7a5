package textindex

import (
	"bytes"
	"hash/maphash"
	"slices"
)

// wordTable maps words to the emails that they occur in. It is an open hash table whose words lie
// behind one another in one piece of memory and their postings in another, so that a word costs no
// allocation of its own, and a batch none at all once its memory has grown.
type wordTable struct {
	seed  maphash.Seed
	slots []int32 // index into words, plus 1; 0 is free; as many as a power of two
	words []tableWord
	text  []byte
	list  []tablePosting
	// recent are short words that came last, by their bytes: most words of a text are one of them,
	// and found here without hashing and comparing.
	recent [recentWords]recentWord
}

// recentWord is a word of up to eight bytes, none of them 0; at is its index in words, plus 1.
type recentWord struct {
	key uint64
	at  int32
}

const (
	recentBits  = 10
	recentWords = 1 << recentBits
)

// tableWord is a word: text[start:end].
type tableWord struct {
	hash       uint32
	start, end uint32
	last       int32 // its newest posting
	count      int32
}

// tablePosting is one email of a word, linked to the one before, -1 for none.
type tablePosting struct {
	posting
	before int32
}

const minSlots = 1 << 12

func (t *wordTable) init() {
	t.seed = maphash.MakeSeed()
	t.slots = make([]int32, minSlots)
}

func (t *wordTable) reset() {
	clear(t.slots)
	clear(t.recent[:])
	t.words, t.text, t.list = t.words[:0], t.text[:0], t.list[:0]
}

func (t *wordTable) len() int { return len(t.words) }

// add notes that word occurs in an email, the newest so far, and reports whether that is new.
func (t *wordTable) add(word []byte, email uint64, fields Field) bool {
	w := t.lookUp(word)
	if w.count > 0 && t.list[w.last].email == email {
		t.list[w.last].fields |= fields
		return false
	}
	t.list = append(t.list, tablePosting{posting{email: email, fields: fields}, w.last})
	w.last = int32(len(t.list) - 1)
	w.count++
	return true
}

// lookUp is find with a glance at the recent words first.
func (t *wordTable) lookUp(word []byte) *tableWord {
	if len(word) > 8 {
		return &t.words[t.find(word)]
	}
	var key uint64
	for i := len(word) - 1; i >= 0; i-- {
		key = key<<8 | uint64(word[i])
	}
	r := &t.recent[key*0x9e3779b97f4a7c15>>(64-recentBits)]
	if r.key != key || r.at == 0 {
		r.key, r.at = key, int32(t.find(word))+1
	}
	return &t.words[r.at-1]
}

// find returns the word's index, a new one for a new word.
func (t *wordTable) find(word []byte) int {
	hash := uint32(maphash.Bytes(t.seed, word))
	mask := uint32(len(t.slots) - 1)
	at := hash & mask
	for ; t.slots[at] != 0; at = (at + 1) & mask {
		i := int(t.slots[at]) - 1
		if w := &t.words[i]; w.hash == hash && bytes.Equal(t.word(w), word) {
			return i
		}
	}
	start := uint32(len(t.text))
	t.text = append(t.text, word...)
	t.words = append(t.words, tableWord{hash: hash, start: start, end: uint32(len(t.text)), last: -1})
	t.slots[at] = int32(len(t.words))
	if len(t.words) > len(t.slots)/2 {
		t.grow()
	}
	return len(t.words) - 1
}

func (t *wordTable) grow() {
	t.slots = make([]int32, 2*len(t.slots))
	mask := uint32(len(t.slots) - 1)
	for i := range t.words {
		at := t.words[i].hash & mask
		for t.slots[at] != 0 {
			at = (at + 1) & mask
		}
		t.slots[at] = int32(i) + 1
	}
}

func (t *wordTable) word(w *tableWord) []byte { return t.text[w.start:w.end] }

// sorted brings the words into order and returns them. Nothing may be added afterwards.
func (t *wordTable) sorted() []tableWord {
	slices.SortFunc(t.words, func(a, b tableWord) int { return bytes.Compare(t.word(&a), t.word(&b)) })
	return t.words
}

// postings returns the emails of a word in ascending order, in list's memory.
func (t *wordTable) postings(list []posting, w *tableWord) []posting {
	list = slices.Grow(list[:0], int(w.count))[:w.count]
	at := w.last
	for i := len(list) - 1; i >= 0; i-- {
		list[i], at = t.list[at].posting, t.list[at].before
	}
	return list
}

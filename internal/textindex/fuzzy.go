package textindex

import (
	"bytes"
	"context"
	"fmt"
	"math/bits"
	"unicode"
	"unicode/utf8"

	"github.com/RoaringBitmap/roaring/v2/roaring64"

	"tram/internal/kv"
	"tram/internal/message"
)

// Searching as people do: words in any order, with or without marks, their beginnings, and words that
// are a letter or two away. A text is graded word by word, and the index and a reading of the text
// come to the same grades, so that what is found does not depend on how far the index has come.

// Grade says how well a word of a text answers a word that was asked for.
type Grade uint8

// The grades, from the worst to the best.
const (
	None   Grade = iota
	Far          // two letters are different, missing, too many or exchanged
	Inside       // the word holds it
	Near         // one letter is different
	Start        // the word begins with it
	Equal        // but for case and marks
	grades = int(Equal) + 1
)

const (
	// maxApprox is how many words are looked for; what follows them is not asked for.
	maxApprox = 16
	// nearFrom and farFrom are from how many letters on one or two of them may be wrong: with fewer,
	// a word that differs is another word.
	nearFrom, farFrom = 4, 8
	// insideFrom is from how many letters on a word is looked for inside of others.
	insideFrom = 3
	// unspaced is the first of the scripts that are written without blanks between the words: a
	// word of them is looked for inside of others however short it is.
	unspaced = 0x0e00
)

// Approx is a text made ready to be looked for. It is not safe for concurrent use.
type Approx struct {
	words []approxWord
	runes []rune // scratch
}

type approxWord struct {
	text   []byte
	runes  []rune
	mask   uint64
	wrong  int // letters that may be
	inside bool
}

// NewApprox makes a text ready. It has no Words when there are no letters or digits in it.
func NewApprox(text string) *Approx {
	a := &Approx{}
	folded := message.Fold(nil, []byte(text), true)
	known := map[string]bool{}
	for len(a.words) < maxApprox {
		folded = folded[separatorPrefix(folded):]
		if len(folded) == 0 {
			break
		}
		n := wordPrefix(folded)
		word := folded[:n]
		folded = folded[n:]
		// What is longer than this need not stand whole in a term of the index.
		word = word[:runes(word, windowStep)]
		if !known[string(word)] {
			known[string(word)] = true
			a.words = append(a.words, newApproxWord(word))
		}
	}
	return a
}

func newApproxWord(text []byte) approxWord {
	w := approxWord{text: text, runes: bytes.Runes(text), mask: letterMask(text)}
	digits := false
	for _, r := range w.runes {
		digits = digits || unicode.IsDigit(r)
		w.inside = w.inside || r >= unspaced
	}
	w.inside = w.inside || len(w.runes) >= insideFrom
	switch n := len(w.runes); {
	case digits: // another number is another number
	case n >= farFrom:
		w.wrong = 2
	case n >= nearFrom:
		w.wrong = 1
	}
	return w
}

// Words is the number of words that are looked for.
func (a *Approx) Words() int { return len(a.words) }

// grade compares the i-th word with one of a text, folded without marks.
func (a *Approx) grade(i int, word []byte) Grade {
	w := &a.words[i]
	wrong := w.wrong + 1
	switch {
	case bytes.HasPrefix(word, w.text):
		if len(word) == len(w.text) {
			return Equal
		}
		return Start
	case w.wrong > 0 && w.like(word):
		a.runes = appendRunes(a.runes[:0], word)
		wrong = distance(w.runes, a.runes, w.wrong)
	}
	switch {
	case wrong == 1 && w.wrong >= 1:
		return Near
	case w.inside && bytes.Contains(word, w.text):
		return Inside
	case wrong <= w.wrong:
		return Far
	}
	return None
}

// like is a quick test that leaves out nearly all words that are too different.
func (w *approxWord) like(word []byte) bool {
	slack := w.wrong * utf8.UTFMax
	if len(word) > len(w.text)+slack || len(w.text) > len(word)+slack {
		return false
	}
	mask := letterMask(word)
	return bits.OnesCount64(mask&^w.mask) <= w.wrong && bits.OnesCount64(w.mask&^mask) <= w.wrong
}

// letterMask is the set of letters of a word: of ASCII each its own, while others share one.
func letterMask(word []byte) uint64 {
	m := uint64(0)
	for len(word) > 0 {
		r, size := rune(word[0]), 1
		if r >= utf8.RuneSelf {
			r, size = utf8.DecodeRune(word)
		}
		word = word[size:]
		if r >= 'a' && r <= 'z' {
			m |= 1 << (r - 'a')
		} else {
			m |= 1 << (26 + r%38)
		}
	}
	return m
}

func appendRunes(dst []rune, b []byte) []rune {
	for len(b) > 0 {
		r, size := utf8.DecodeRune(b)
		dst, b = append(dst, r), b[size:]
	}
	return dst
}

// distance is the number of letters to change, insert, leave out or exchange with their neighbour to
// make b of a; most+1 stands for all that is more than most. a has at most windowStep letters.
func distance(a, b []rune, most int) int {
	if len(b) > len(a)+most || len(a) > len(b)+most {
		return most + 1
	}
	const width = windowStep + 1
	var rows [3][width]int
	before, last, now := &rows[0], &rows[1], &rows[2]
	for i := range len(a) + 1 {
		last[i] = i
	}
	for k := range b {
		now[0] = k + 1
		least := now[0]
		for i := range a {
			d := last[i]
			if a[i] != b[k] {
				d = 1 + min(d, last[i+1], now[i])
				if i > 0 && k > 0 && a[i] == b[k-1] && a[i-1] == b[k] {
					d = min(d, 1+before[i-1])
				}
			}
			now[i+1] = d
			least = min(least, d)
		}
		if least > most {
			return most + 1
		}
		before, last, now = last, now, before
	}
	return min(last[len(a)], most+1)
}

// Relatives are the emails that have words like those of an Approx, as the index knows them.
type Relatives struct {
	// Newest and Unsure are as those of Candidates.
	Newest uint64
	Unsure *roaring64.Bitmap
	words  []relatives
}

// relatives are the emails with a word of each grade in each field.
type relatives [grades][2]*roaring64.Bitmap

// place is the index of one field.
func place(f Field) int {
	if f == Body {
		return 1
	}
	return 0
}

// Find looks the words up. It reads the dictionaries of all segments once, whatever the number of
// words.
func (a *Approx) Find(ctx context.Context, r kv.Reader, account uint64) (*Relatives, error) {
	c, err := readCursor(r, account)
	if err != nil {
		return nil, err
	}
	segments, err := headers(r, account)
	if err != nil {
		return nil, err
	}
	n := &Relatives{Newest: c.newest, Unsure: roaring64.New(), words: make([]relatives, len(a.words))}
	for _, h := range segments {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if err := a.findIn(ctx, r, account, h, n); err != nil {
			return nil, fmt.Errorf("search text index: %w", err)
		}
	}
	return n, nil
}

// approxHit is a term of a segment that is like one of the words.
type approxHit struct {
	word  int // -1: the term of the emails that are not known whole
	grade Grade
	entry entry
}

func (a *Approx) findIn(
	ctx context.Context, r kv.Reader, account uint64, h header, n *Relatives,
) error {
	// Entries are gathered first: reading postings inside the scan would nest two reads.
	var hits []approxHit
	open, err := h.matching(r, account, term{word: []byte(unsure)})
	if err != nil {
		return err
	}
	for _, e := range open {
		hits = append(hits, approxHit{word: -1, entry: e})
	}
	// Words with their marks are there without them as well.
	err = h.scanTerms(r, account, []byte(afterMarked), func(e *entry) (bool, error) {
		if e.word[0] <= marked {
			return true, nil
		}
		held := *e
		held.word = nil
		for i := range a.words {
			if g := a.grade(i, e.word); g != None {
				hits = append(hits, approxHit{i, g, held})
			}
		}
		return true, ctx.Err()
	})
	if err != nil {
		return err
	}
	from := h.blocks(r, account)
	for i := range hits {
		hit := &hits[i]
		err := h.eachPosting(from, &hit.entry, func(p posting) {
			if hit.word < 0 {
				n.Unsure.Add(p.email)
				return
			}
			n.words[hit.word].add(hit.grade, p)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (w *relatives) add(g Grade, p posting) {
	for _, f := range [...]Field{Header, Body} {
		if p.fields&f == 0 {
			continue
		}
		b := &w[g][place(f)]
		if *b == nil {
			*b = roaring64.New()
		}
		(*b).Add(p.email)
	}
}

// Covers reports whether the index knows all words of an email: others have to be read.
func (n *Relatives) Covers(email uint64) bool {
	return email <= n.Newest && !n.Unsure.Contains(email)
}

// Emails returns those that have each of the words, at any grade, in one of the fields.
func (n *Relatives) Emails(fields Field) *roaring64.Bitmap {
	var all *roaring64.Bitmap
	for i := range n.words {
		one := roaring64.New()
		for g := range n.words[i] {
			for _, f := range [...]Field{Header, Body} {
				if b := n.words[i][g][place(f)]; b != nil && fields&f != 0 {
					one.Or(b)
				}
			}
		}
		if all == nil {
			all = one
		} else {
			all.And(one)
		}
	}
	return all
}

// Grade returns the best grade of the i-th word in a field of an email.
func (n *Relatives) Grade(i int, f Field, email uint64) Grade {
	for g := Equal; g > None; g-- {
		if b := n.words[i][g][place(f)]; b != nil && b.Contains(email) {
			return g
		}
	}
	return None
}

// Gauge grades a text that is read.
type Gauge struct {
	a     *Approx
	split splitter
	field int
	best  [][2]Grade
}

// Gauge returns a new Gauge for the words of a.
func (a *Approx) Gauge() *Gauge {
	g := &Gauge{a: a, best: make([][2]Grade, len(a.words))}
	g.split.emit, g.split.long = g.word, g.word
	return g
}

// Reset begins a new text.
func (g *Gauge) Reset() {
	g.split.end()
	clear(g.best)
}

// Write takes text, UTF-8 as it is. A word may go on in the next Write of the same field.
func (g *Gauge) Write(f Field, chunk []byte) {
	if p := place(f); p != g.field {
		g.split.end()
		g.field = p
	}
	g.split.write(chunk)
}

// End ends the text.
func (g *Gauge) End() { g.split.end() }

// Grade returns the best grade of the i-th word in a field.
func (g *Gauge) Grade(i int, f Field) Grade { return g.best[i][place(f)] }

func (g *Gauge) word(w []byte) {
	for i := range g.best {
		best := &g.best[i][g.field]
		if *best < Equal {
			*best = max(*best, g.a.grade(i, w))
		}
	}
}

package store

import (
	"errors"
	"fmt"
	"runtime"
	"time"

	"tram/internal/textindex"
)

// Fuzzy matches about what its filter says, and says how well (Hit.Score). Of a text every word has
// to be there, in any order, with or without its marks, or the beginning of a longer word, or a word
// that differs in a letter or two (package textindex). Dates and sizes may be somewhat off. All else,
// and what stands inside of a Not, matches exactly.
type Fuzzy struct{ Filter Filter }

// maxScore is the Score of a hit that is all that was asked for.
const maxScore = 100

const (
	// fuzzyTime is how far off a date may be: who says "a week ago" can be wrong by as much.
	fuzzyTime = 7 * 24 * time.Hour
	// maxFuzzyWords bounds the words of all texts of a query: the index answers with some sets of
	// emails for each.
	maxFuzzyWords = 32
	// fuzzySize is the part of a size by which it may be off: a tenth.
	fuzzySize = 10
)

// leaf is one approximate condition of a query.
type leaf struct {
	score int  // of the candidate: 0 to maxScore
	muted bool // inside of a Not
}

// points are what a grade is worth.
var points = [...]int{
	textindex.None: 0, textindex.Far: 30, textindex.Inside: 45, textindex.Near: 60,
	textindex.Start: 80, textindex.Equal: 95,
}

// What a place in a message is worth, of a hundred: a word of the subject says more of a message than
// one that stands somewhere.
const (
	worthSubject = 100
	worthAddress = 90
	worthBody    = 75
	worthHeader  = 40
)

func (f Fuzzy) compile(q *querier) (node, error) {
	switch in := f.Filter.(type) {
	case And:
		return q.compileList(fuzzyAll(in), no)
	case Or:
		return q.compileList(fuzzyAll(in), yes)
	case SubjectText:
		return q.fuzzyField(in, string(in), textindex.Header, fuzzySubject)
	case AddressText:
		return q.fuzzyField(in, in.Text, textindex.Header, func(c *candidate, t *fuzzyText) error {
			c.q.fold.text = appendAddressText(c.q.fold.text[:0], c.email, in.Field)
			t.see(c.q.fold.text)
			return nil
		})
	case HeaderText:
		return q.fuzzyField(in, in.Text, textindex.Header, func(c *candidate, t *fuzzyText) error {
			return c.eachField(in.Name, func(value []byte) bool {
				t.see(value)
				return true
			})
		})
	case BodyText:
		return q.fuzzyMessage(in, string(in), textindex.Body)
	case AnyText:
		return q.fuzzyMessage(in, string(in), textindex.Any)
	case ReceivedIn:
		return q.fuzzySpan(costEntry, span(in), func(c *candidate) (int64, error) {
			return c.entry.Received, nil
		})
	case SentOn:
		in = SentOn{Since: dateOnly(in.Since), Before: dateOnly(in.Before)}
		return q.fuzzySpan(costRow, span(in), func(c *candidate) (int64, error) {
			return c.email.sentDate(), nil
		})
	case SentAt:
		return q.fuzzySpan(costRow, span(in), func(c *candidate) (int64, error) {
			return c.email.sentUnix(), nil
		})
	case SavedIn:
		return q.fuzzySpan(costState, span(in), (*candidate).saved)
	case Larger:
		return q.fuzzySize(int64(in), func(size int64) int64 { return int64(in) + 1 - size })
	case Smaller:
		return q.fuzzySize(int64(in), func(size int64) int64 { return size - int64(in) + 1 })
	case nil:
		return node{}, errFilter("about nothing")
	default:
		return in.compile(q)
	}
}

func fuzzyAll(filters []Filter) []Filter {
	out := make([]Filter, len(filters))
	for i, f := range filters {
		out[i] = Fuzzy{f}
	}
	return out
}

// newLeaf makes the node of an approximate condition. quick may say no or unknown. score returns 0 for
// a candidate that does not match.
func (q *querier) newLeaf(n node, score func(c *candidate) (int, error)) node {
	l := &leaf{}
	q.leaves = append(q.leaves, l)
	n.scored = true
	n.full = func(c *candidate) (bool, error) {
		var err error
		l.score, err = score(c)
		return l.score > 0, err
	}
	return n
}

// relevancy is the score of a candidate that matches: the mean of its conditions.
func (q *querier) relevancy() uint8 {
	sum, n := 0, 0
	for _, l := range q.leaves {
		if !l.muted {
			sum, n = sum+l.score, n+1
		}
	}
	if n == 0 {
		return maxScore
	}
	return uint8(min(max(sum/n, 1), maxScore))
}

// leastScore is that of a hit for which nothing that is Fuzzy speaks.
func (q *querier) leastScore() uint8 {
	for _, l := range q.leaves {
		l.score = 0
	}
	return q.relevancy()
}

// fuzzySpan is the node of a time that may lie outside of in by fuzzyTime.
func (q *querier) fuzzySpan(
	cost int, in span, value func(c *candidate) (int64, error),
) (node, error) {
	return q.newLeaf(node{quick: doubt, cost: cost}, func(c *candidate) (int, error) {
		at, err := value(c)
		if err != nil {
			return 0, err
		}
		off := int64(0)
		if !in.Since.IsZero() {
			off = max(off, ceilUnix(in.Since)-at)
		}
		if !in.Before.IsZero() {
			off = max(off, at-ceilUnix(in.Before)+1)
		}
		return fading(off, int64(fuzzyTime/time.Second)), nil
	}), nil
}

// fuzzySize is the node of a size that may be off from size by one fuzzySize-th of it; off tells by how
// much one is.
func (q *querier) fuzzySize(size int64, off func(size int64) int64) (node, error) {
	slack := size / fuzzySize
	quick := func(_ MailboxID, e *Entry) verdict {
		if fading(off(int64(e.Size)), slack) == 0 {
			return no
		}
		return unknown
	}
	return q.newLeaf(node{quick: quick}, func(c *candidate) (int, error) {
		return fading(off(int64(c.entry.Size)), slack), nil
	}), nil
}

// fading is the score of something that is off by so much, when slack is the most that it may be.
func fading(off, slack int64) int {
	switch {
	case off <= 0:
		return maxScore
	case off >= slack:
		return 0
	}
	return max(1, int(float64(maxScore)*(1-float64(off)/float64(slack))))
}

// fuzzyText looks for the words of a text.
type fuzzyText struct {
	approx *textindex.Approx
	gauge  *textindex.Gauge
	needle *needle
	near   *textindex.Relatives // nil without an index
	grades []int                // by word: the best so far
	whole  bool                 // the text stands somewhere as it was written
}

// newFuzzyText returns nil for a text without words, which has nothing that could be like another.
func (q *querier) newFuzzyText(text string) (*fuzzyText, error) {
	t := &fuzzyText{approx: textindex.NewApprox(text), needle: newNeedle(text)}
	if t.approx.Words() == 0 {
		return nil, nil
	}
	if q.words += t.approx.Words(); q.words > maxFuzzyWords {
		return nil, fmt.Errorf("query for more than %d words: %w", maxFuzzyWords, ErrTooMany)
	}
	t.gauge, t.grades = t.approx.Gauge(), make([]int, t.approx.Words())
	if !q.tx.s.indexed {
		return t, nil
	}
	near, err := t.approx.Find(q.tx.ctx, q.tx.r, uint64(q.tx.id))
	if err != nil {
		return t, q.withoutIndex(err)
	}
	t.near = near
	return t, nil
}

// narrow returns the quick half of a node: it leaves out what by the index cannot match.
func (t *fuzzyText) narrow(fields textindex.Field) func(MailboxID, *Entry) verdict {
	if t.near == nil {
		return doubt
	}
	may := t.near.Emails(fields)
	return func(_ MailboxID, e *Entry) verdict {
		if id := uint64(e.Email); t.near.Covers(id) && !may.Contains(id) {
			return no
		}
		return unknown
	}
}

// begin forgets the candidate before.
func (t *fuzzyText) begin() {
	clear(t.grades)
	t.whole = false
}

// see grades a text that is all there.
func (t *fuzzyText) see(text []byte) {
	t.gauge.Reset()
	t.gauge.Write(textindex.Header, text)
	t.gauge.End()
	t.take(worthSubject, func(i int) textindex.Grade { return t.gauge.Grade(i, textindex.Header) })
}

// take notes the grades of the words in a place that is worth so much.
func (t *fuzzyText) take(worth int, grade func(i int) textindex.Grade) {
	for i := range t.grades {
		t.grades[i] = max(t.grades[i], points[grade(i)]*worth/100)
	}
}

// score is 0 unless every word was found somewhere.
func (t *fuzzyText) score() int {
	sum := 0
	for _, g := range t.grades {
		if g == 0 {
			return 0
		}
		sum += g
	}
	if t.whole {
		return maxScore
	}
	return sum / len(t.grades)
}

// fuzzyField is the node of a text in one field of the header. f is the exact filter, for texts
// without words.
func (q *querier) fuzzyField(
	f Filter, text string, fields textindex.Field, see func(c *candidate, t *fuzzyText) error,
) (node, error) {
	t, err := q.newFuzzyText(text)
	if err != nil {
		return node{}, err
	}
	if t == nil {
		return f.compile(q)
	}
	cost := costRow
	if _, header := f.(HeaderText); header {
		cost = costHeader
	}
	n := node{quick: t.narrow(fields), cost: cost}
	return q.newLeaf(n, func(c *candidate) (int, error) {
		t.begin()
		c.q.fold.text = c.q.fold.text[:0]
		if err := see(c, t); err != nil {
			return 0, err
		}
		if t.score() > 0 && cost == costRow {
			t.whole = c.q.fold.in(t.needle, c.q.fold.text)
		}
		return t.score(), nil
	}), nil
}

func fuzzySubject(c *candidate, t *fuzzyText) error {
	c.q.fold.text = append(c.q.fold.text[:0], c.email.subject...)
	t.see(c.q.fold.text)
	return nil
}

// fuzzyMessage is the node of a text anywhere in a message, or in its body alone.
func (q *querier) fuzzyMessage(f Filter, text string, fields textindex.Field) (node, error) {
	t, err := q.newFuzzyText(text)
	if err != nil {
		return node{}, err
	}
	if t == nil {
		return f.compile(q)
	}
	n := node{quick: t.narrow(fields), cost: costBody}
	return q.newLeaf(n, func(c *candidate) (int, error) {
		t.begin()
		if err := t.message(c, fields); err != nil {
			return 0, err
		}
		return t.score(), nil
	}), nil
}

// message grades a message: by the index where it knows the message, else by reading it.
func (t *fuzzyText) message(c *candidate, fields textindex.Field) error {
	grade := t.gauge.Grade
	if id := uint64(c.email.ID); t.near != nil && t.near.Covers(id) {
		grade = func(i int, f textindex.Field) textindex.Grade { return t.near.Grade(i, f, id) }
	} else if err := t.read(c); err != nil {
		return err
	}
	if fields == textindex.Body {
		t.take(worthSubject, func(i int) textindex.Grade { return grade(i, textindex.Body) })
		return nil
	}
	t.take(worthBody, func(i int) textindex.Grade { return grade(i, textindex.Body) })
	t.take(worthHeader, func(i int) textindex.Grade { return grade(i, textindex.Header) })
	// Where in the header a word stands, the row tells.
	fold := &c.q.fold
	t.see(c.email.subject)
	t.whole = fold.in(t.needle, c.email.subject)
	fold.text = fold.text[:0]
	for a := From; a <= ReplyTo; a++ {
		fold.text = append(appendAddressText(fold.text, c.email, a), '\n')
	}
	t.gauge.Reset()
	t.gauge.Write(textindex.Header, fold.text)
	t.gauge.End()
	t.take(worthAddress, func(i int) textindex.Grade { return t.gauge.Grade(i, textindex.Header) })
	return nil
}

// read gives the gauge all text of a message, as the index gets it.
func (t *fuzzyText) read(c *candidate) error {
	m, err := c.email.Structure()
	if err != nil {
		return err
	}
	t.gauge.Reset()
	t.gauge.Write(textindex.Header, c.email.appendRowText(nil))
	err = c.q.tx.eachText(c.email, m, func(f textindex.Field, chunk []byte) {
		runtime.Gosched() // a chunk takes up to some milliseconds
		t.gauge.Write(f, chunk)
	})
	t.gauge.End()
	if err != nil && c.q.tx.ctx.Err() == nil && !errors.Is(err, ErrDamaged) {
		return c.damaged(err)
	}
	return err
}

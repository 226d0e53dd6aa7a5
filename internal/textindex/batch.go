package textindex

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"tram/internal/kv"
)

// ErrOrder says that an email was added that the index already covers.
var ErrOrder = errors.New("email is older than what is indexed")

// Batch gathers the words of emails, to become one segment.
type Batch struct {
	words       wordTable
	split       splitter
	fields      Field
	email       uint64
	first, last uint64
	emails      uint64
	bytes       int64
	windows     [2]int // of long words in the current email, and of those with marks
	distinct    int    // words of the current email
}

// maxWindows is how many pieces of long words of one email are indexed: the links of a newsletter,
// not an attachment that pretends to be text. An email with more is always looked into.
const maxWindows = 2000

// maxDistinct is how many different words of one email are indexed: more than a thick book has, and
// fewer than a megabyte of encoded data that passes for text. An email with more is always looked
// into.
const maxDistinct = 30_000

// unsure is the term of the emails whose words are not all in the index.
const unsure = "\x00"

// NewBatch returns an empty batch.
func NewBatch() *Batch {
	b := &Batch{}
	b.words.init()
	b.split.both, b.split.emit, b.split.long = true, b.word, b.longWord
	return b
}

// Reset empties the batch for another account's or range's emails, and keeps its memory.
func (b *Batch) Reset() {
	b.End()
	b.words.reset()
	b.first, b.last, b.email, b.emails, b.bytes = 0, 0, 0, 0, 0
}

// Begin starts an email. Emails come in ascending order.
func (b *Batch) Begin(email uint64) {
	b.End()
	if b.emails == 0 {
		b.first = email
	}
	b.email, b.last, b.windows, b.distinct = email, email, [2]int{}, 0
	b.emails++
}

// Write adds text of the current email, UTF-8 as it is. A word may go on in the next Write of the
// same field.
func (b *Batch) Write(f Field, chunk []byte) {
	if f != b.fields {
		b.split.end()
		b.fields = f
	}
	b.bytes += int64(len(chunk))
	b.split.write(chunk)
}

// End ends the current email's text.
func (b *Batch) End() {
	b.split.end()
	b.fields = 0
}

// Emails is the number of emails begun, Bytes the text written: what bounds a batch.
func (b *Batch) Emails() int { return int(b.emails) }

// Bytes is the amount of text in the batch.
func (b *Batch) Bytes() int64 { return b.bytes }

func (b *Batch) longWord(window []byte) {
	kind := 0
	if window[0] == marked {
		kind = 1
	}
	if b.windows[kind]++; b.windows[kind] > maxWindows {
		window = []byte(unsure)
	}
	b.word(window)
}

func (b *Batch) word(w []byte) {
	if b.distinct >= maxDistinct {
		w = []byte(unsure)
	}
	if b.words.add(w, b.email, b.fields) {
		b.distinct++
	}
}

// Commit writes the batch as a segment of the account, and merges segments that have grown alike.
// upTo is the newest email that is now covered: at least the last one begun (emails without text
// may follow it). living, when not nil, tells which emails still exist; a merge leaves out the rest.
//
// Errors: ErrOrder when another indexer was faster; the batch may be thrown away then.
func (b *Batch) Commit(txn kv.Txn, account, upTo uint64, living Living) error {
	b.End()
	c, err := readCursor(txn, account)
	if err != nil {
		return err
	}
	if b.emails > 0 && b.first <= c.newest {
		return fmt.Errorf("index email %d after %d: %w", b.first, c.newest, ErrOrder)
	}
	c.newest = max(c.newest, upTo, b.last)
	if b.words.len() > 0 {
		if err := b.write(txn, account, c.segment); err != nil {
			return fmt.Errorf("write text index: %w", err)
		}
		c.segment++
	}
	if err := merge(txn, account, &c, living); err != nil {
		return fmt.Errorf("merge text index: %w", err)
	}
	return c.write(txn, account)
}

func (b *Batch) write(txn kv.Txn, account uint64, id uint32) error {
	w := newWriter(txn, account, header{id: id, first: b.first, last: b.last, emails: b.emails})
	var list []posting
	words := b.words.sorted()
	for i := range words {
		list = b.words.postings(list, &words[i])
		if err := w.add(b.words.word(&words[i]), list); err != nil {
			return err
		}
	}
	return w.close()
}

func sortHeaders(all []header) {
	slices.SortFunc(all, func(a, b header) int { return cmp.Compare(a.first, b.first) })
}

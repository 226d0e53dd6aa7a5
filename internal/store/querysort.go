package store

import (
	"bytes"
	"cmp"
	"runtime"
	"slices"

	"tram/internal/message"
)

// SortKey is what a Comparator compares, RFC 5256 §3 and RFC 5957 §3.
type SortKey uint8

// The sort keys. Texts are compared without case, first without marks and then with them;
// see Comparator.Casemap for the other way.
const (
	ByUID SortKey = iota // within a mailbox; then mailboxes in the order of the query
	ByReceived
	BySent
	BySize
	ByFrom // local part of the first address
	ByTo
	ByCc
	BySubject     // base subject
	ByDisplayFrom // display name, or the address without one
	ByDisplayTo
	ByKeyword   // emails without Comparator.Keyword before those with it
	ByRelevance // Hit.Score, the highest first (RFC 6203 §6)
)

// Comparator is one level of an order.
type Comparator struct {
	Key     SortKey
	Reverse bool
	Keyword string // of ByKeyword
	// Casemap compares texts by the collation i;unicode-casemap instead (RFC 5051).
	Casemap bool
}

// maxSortText is how many bytes of a text count for its place: texts that agree so far are equal.
const maxSortText = 1 << 10

// sorter puts hits in order. It takes 4 bytes for a hit and 8 for each level, and the texts.
type sorter struct {
	q      *querier
	levels []Comparator
	// keys has for each hit and level what to compare: a number, or the place of a text, which is
	// its offset and, in the low 16 bits, its length.
	keys  []int64
	texts []byte
	steps int  // comparisons made
	ended bool // nobody waits for the result any more
}

// sort puts the hits in order. Those that are equal at all levels keep the order of their UIDs
// (RFC 5256 §3).
func (q *querier) sort() error {
	levels := q.q.Sort
	if len(levels) == 0 || len(q.hits) < 2 {
		return nil
	}
	s := &sorter{q: q, levels: levels, keys: make([]int64, len(levels)*len(q.hits))}
	rows := false
	for l, c := range levels {
		fill, err := q.entryKey(c)
		if err != nil {
			return err
		}
		rows = rows || fill == nil
		for i := range q.hits {
			if fill != nil {
				s.keys[i*len(levels)+l] = fill(i)
			}
		}
	}
	if rows {
		if err := s.rowKeys(); err != nil {
			return err
		}
	}
	order := make([]int32, len(q.hits))
	for i := range order {
		order[i] = int32(i)
	}
	slices.SortFunc(order, s.compare)
	if err := q.tx.ctx.Err(); err != nil {
		return err // and the order is none
	}
	permute(q.hits, order)
	return nil
}

// permute puts hits into an order of their indexes, in place; it uses order up.
func permute(hits []Hit, order []int32) {
	for i := range order {
		if order[i] < 0 {
			continue // it is where it belongs
		}
		first := hits[i]
		for at := i; ; {
			from := int(order[at])
			order[at] = -1
			if from == i {
				hits[at] = first
				break
			}
			hits[at] = hits[from]
			at = from
		}
	}
}

// compare orders two hits by all levels, then by where they were found. Others get the processor every
// now and then, and once the query is not wanted any more it comes to an end quickly.
func (s *sorter) compare(a, b int32) int {
	if s.steps++; s.steps%queryStep == 0 {
		runtime.Gosched()
		s.ended = s.ended || s.q.tx.ctx.Err() != nil
	}
	if s.ended {
		return cmp.Compare(a, b)
	}
	n := len(s.levels)
	for l := range s.levels {
		x, y := s.keys[int(a)*n+l], s.keys[int(b)*n+l]
		if x == y {
			continue // the same number or the same text, which is empty
		}
		d := 0
		if s.levels[l].Key.isText() {
			d = bytes.Compare(s.text(x), s.text(y))
		} else {
			d = cmp.Compare(x, y)
		}
		if s.levels[l].Reverse {
			d = -d
		}
		if d != 0 {
			return d
		}
	}
	return cmp.Compare(a, b)
}

func (s *sorter) text(place int64) []byte {
	return s.texts[place>>16:][:place&0xffff]
}

// keepText takes over what was appended to texts from start on, as the text of a key.
func (s *sorter) keepText(start int) int64 {
	if len(s.texts)-start > maxSortText {
		s.texts = s.texts[:start+maxSortText]
	}
	if len(s.texts) == start {
		return 0 // all empty texts have one place: they are compared without a look
	}
	return int64(start)<<16 | int64(len(s.texts)-start)
}

// isText reports whether the key is a text, which the row has.
func (k SortKey) isText() bool { return k >= ByFrom && k <= ByDisplayTo }

// entryKey returns the key of a hit at a level that needs its entry only, nil for other levels.
func (q *querier) entryKey(c Comparator) (func(i int) int64, error) {
	switch c.Key {
	case ByUID:
		return func(i int) int64 { return int64(i) }, nil
	case ByReceived:
		return func(i int) int64 { return q.hits[i].Entry.Received }, nil
	case BySize:
		return func(i int) int64 { return int64(q.hits[i].Entry.Size) }, nil
	case ByRelevance:
		return func(i int) int64 { return -int64(q.hits[i].Score) }, nil
	case ByKeyword:
		n, err := Keyword(c.Keyword).compile(q)
		if err != nil {
			return nil, err
		}
		return func(i int) int64 {
			h := &q.hits[i]
			cand := candidate{q: q, mailbox: h.Mailbox, entry: &h.Entry, email: &Email{}}
			if ok, err := cand.holds(&n); err == nil && ok {
				return 1
			}
			return 0
		}, nil
	case BySent, ByFrom, ByTo, ByCc, BySubject, ByDisplayFrom, ByDisplayTo:
		return nil, nil
	}
	return nil, errFilter("unknown sort key")
}

// rowKeys fills in the keys of levels that need email rows, in one pass over the hits in the order
// in which they were found.
func (s *sorter) rowKeys() error {
	const batch = 1024
	hits, n := s.q.hits, len(s.levels)
	entries := make([]Entry, 0, min(batch, len(hits)))
	for begin := 0; begin < len(hits); begin += batch {
		entries = entries[:0]
		for _, h := range hits[begin:min(begin+batch, len(hits))] {
			entries = append(entries, h.Entry)
		}
		err := s.q.tx.eachRow(entries, len(hits) <= keepRows, func(i int, e *Email) error {
			if i%yieldEvery == yieldEvery-1 {
				runtime.Gosched()
			}
			keys := s.keys[(begin+i)*n:][:n]
			for l, c := range s.levels {
				switch {
				case c.Key == BySent && e == nil:
					keys[l] = entries[i].Received
				case c.Key == BySent: // RFC 5256 §2.2: without a usable date, the time of arrival
					keys[l] = e.sentUnix()
				case c.Key.isText() && e != nil:
					keys[l] = s.rowText(c, e)
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// rowText returns the place of the text that an email has at a level.
func (s *sorter) rowText(c Comparator, e *Email) int64 {
	var text []byte
	switch c.Key {
	case ByFrom:
		text = firstLocal(e, From)
	case ByTo:
		text = firstLocal(e, To)
	case ByCc:
		text = firstLocal(e, Cc)
	case BySubject:
		text = e.baseSubject
	case ByDisplayFrom:
		text = firstDisplay(e, From)
	case ByDisplayTo:
		text = firstDisplay(e, To)
	}
	start := len(s.texts)
	if c.Casemap {
		s.texts = message.Casemap(s.texts, text)
	} else {
		s.texts = s.q.appendFolded(s.texts, text)
	}
	return s.keepText(start)
}

// appendFolded makes the text by which people order texts: without marks, and after it with them.
func (q *querier) appendFolded(dst, text []byte) []byte {
	f := &q.fold
	f.bare = foldText(f.bare[:0], text, true)
	f.keep = foldText(f.keep[:0], text, false)
	dst = append(dst, f.bare...)
	if bytes.Equal(f.bare, f.keep) {
		return dst
	}
	return append(append(dst, 0), f.keep...)
}

func firstLocal(e *Email, f AddressField) []byte {
	for a := range e.eachAddress(f) {
		return a.mailbox
	}
	return nil
}

// firstDisplay is the display name of the first address, or the address itself (RFC 5957 §3).
func firstDisplay(e *Email, f AddressField) []byte {
	for a := range e.eachAddress(f) {
		if len(a.name) > 0 || len(a.host) == 0 {
			return cmpBytes(a.name, a.mailbox)
		}
		return slices.Concat(a.mailbox, []byte{'@'}, a.host)
	}
	return nil
}

// cmpBytes returns a, or b when a is empty.
func cmpBytes(a, b []byte) []byte {
	if len(a) > 0 {
		return a
	}
	return b
}

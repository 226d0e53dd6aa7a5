package store

import (
	"bytes"
	"cmp"
	"slices"
)

// SortKey is what a Comparator compares, RFC 5256 §3 and RFC 5957 §3.
type SortKey uint8

// The sort keys. Texts are compared without case, first without marks and then with them.
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
	ByKeyword // emails without Comparator.Keyword before those with it
)

// Comparator is one level of an order.
type Comparator struct {
	Key     SortKey
	Reverse bool
	Keyword string // of ByKeyword
}

// sortKey is what a hit has to be compared by at one level.
type sortKey struct {
	number int64
	text   []byte
}

// sort puts the hits in order. Those that are equal at all levels keep the order of their UIDs
// (RFC 5256 §3).
func (q *querier) sort() error {
	levels := q.q.Sort
	if len(levels) == 0 || len(q.hits) < 2 {
		return nil
	}
	n := len(levels)
	keys := make([]sortKey, n*len(q.hits))
	rows := false
	for l, c := range levels {
		fill, err := q.entryKey(c)
		if err != nil {
			return err
		}
		rows = rows || fill == nil
		for i := range q.hits {
			if fill != nil {
				keys[i*n+l].number = fill(i)
			}
		}
	}
	if rows {
		if err := q.rowKeys(levels, keys); err != nil {
			return err
		}
	}
	order := make([]int, len(q.hits))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int {
		for l, c := range levels {
			d := compareKeys(&keys[a*n+l], &keys[b*n+l])
			if d != 0 && c.Reverse {
				d = -d
			}
			if d != 0 {
				return d
			}
		}
		return 0
	})
	sorted := make([]Hit, len(q.hits))
	for i, o := range order {
		sorted[i] = q.hits[o]
	}
	q.hits = sorted
	return q.tx.ctx.Err()
}

func compareKeys(a, b *sortKey) int {
	return cmp.Or(cmp.Compare(a.number, b.number), bytes.Compare(a.text, b.text))
}

// entryKey returns the key of a hit at a level that needs its entry only, nil for other levels.
func (q *querier) entryKey(c Comparator) (func(i int) int64, error) {
	switch c.Key {
	case ByUID:
		return func(i int) int64 { return int64(i) }, nil
	case ByReceived:
		return func(i int) int64 { return q.hits[i].Entry.Received }, nil
	case BySize:
		return func(i int) int64 { return int64(q.hits[i].Entry.Size) }, nil
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
func (q *querier) rowKeys(levels []Comparator, keys []sortKey) error {
	const batch = 1024
	entries := make([]Entry, 0, min(batch, len(q.hits)))
	for begin := 0; begin < len(q.hits); begin += batch {
		entries = entries[:0]
		for _, h := range q.hits[begin:min(begin+batch, len(q.hits))] {
			entries = append(entries, h.Entry)
		}
		err := q.tx.eachRow(entries, len(q.hits) <= keepRows, func(i int, e *Email) error {
			for l, c := range levels {
				key := &keys[(begin+i)*len(levels)+l]
				if e != nil {
					q.rowKey(c.Key, e, key)
				} else if c.Key == BySent {
					key.number = entries[i].Received
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

func (q *querier) rowKey(key SortKey, e *Email, out *sortKey) {
	switch key {
	case BySent: // RFC 5256 §2.2: without a usable date, the time of arrival
		out.number = e.sentUnix()
	case ByFrom:
		out.text = q.foldKey(firstLocal(e, From))
	case ByTo:
		out.text = q.foldKey(firstLocal(e, To))
	case ByCc:
		out.text = q.foldKey(firstLocal(e, Cc))
	case BySubject:
		out.text = q.foldKey(e.baseSubject)
	case ByDisplayFrom:
		out.text = q.foldKey(firstDisplay(e, From))
	case ByDisplayTo:
		out.text = q.foldKey(firstDisplay(e, To))
	}
}

// foldKey makes the text by which texts are ordered: without marks, and after it with them.
func (q *querier) foldKey(text []byte) []byte {
	f := &q.fold
	f.bare = foldText(f.bare[:0], text, true)
	f.keep = foldText(f.keep[:0], text, false)
	if bytes.Equal(f.bare, f.keep) {
		return slices.Clone(f.bare)
	}
	return slices.Concat(f.bare, []byte{0}, f.keep)
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

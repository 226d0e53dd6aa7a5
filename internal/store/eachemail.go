package store

import (
	"cmp"

	"tram/internal/kv"
)

// maxSkip is how many rows a scan passes over before it is cheaper to seek.
const maxSkip = 16

// EachEmail calls fn for the entries of list with index from up to and without to, in order, with
// their emails. The Email is valid in the callback only, and its State is nil. Rows are read in
// one pass as far as their order allows. For an entry whose row is damaged or missing fn is called
// with a nil Email; the others are served. Stop from fn ends it early.
func (tx *Tx) EachEmail(list *List, from, to int, fn func(Entry, *Email) error) error {
	from, to = max(from, 0), min(to, list.n)
	for from < to {
		c := list.chunkAt(from)
		skip := from - list.starts[c]
		entries := list.chunks[c].entries[skip:]
		entries = entries[:min(len(entries), to-from)]
		err := tx.eachRow(entries, func(i int, e *Email) error { return fn(entries[i], e) })
		if err != nil {
			return stopped(err)
		}
		from += len(entries)
	}
	return nil
}

// eachRow calls fn with the index of each entry and its email row, nil when it cannot be read.
func (tx *Tx) eachRow(entries []Entry, fn func(i int, e *Email) error) error {
	r := rowReader{tx: tx, fn: fn}
	for len(entries) > 0 {
		n := ascending(entries)
		var err error
		if n < 4 {
			n = 1
			err = r.one(&entries[0])
		} else {
			n, err = r.scan(entries[:n])
		}
		if err != nil {
			return err
		}
		entries = entries[n:]
		if err := tx.ctx.Err(); err != nil {
			return err
		}
	}
	return nil
}

// ascending returns how many entries from the first on have growing email identifiers that are
// close enough for a scan.
func ascending(entries []Entry) int {
	for i := 1; i < len(entries); i++ {
		prev, next := entries[i-1].Email, entries[i].Email
		if next <= prev || next-prev > 4*maxSkip {
			return i
		}
	}
	return len(entries)
}

type rowReader struct {
	tx   *Tx
	fn   func(i int, e *Email) error
	at   int // index of the next entry
	e    Email
	fail error // of fn
}

func (r *rowReader) serve(e *Email) bool {
	r.fail = r.fn(r.at, e)
	r.at++
	return r.fail == nil
}

func (r *rowReader) one(entry *Entry) error {
	err := r.tx.email(entry.Email, &r.e)
	switch {
	case err == nil:
		r.serve(&r.e)
	case lost(err):
		r.tx.s.log.Error("email cannot be read", "account", uint64(r.tx.id), "err", err)
		r.serve(nil)
	default:
		return err
	}
	return r.fail
}

// scan serves entries, whose identifiers grow, from one scan, and returns how many; it stops where
// the rows between two entries are too many.
func (r *rowReader) scan(entries []Entry) (int, error) {
	first, done, skipped := r.at, 0, 0
	id := r.tx.id
	last := entries[len(entries)-1].Email
	err := r.tx.r.Scan(kv.Range{
		Start: key64(nil, id, kindEmail, uint64(entries[0].Email)),
		End:   key64(nil, id, kindEmail, uint64(last)+1),
	}, func(key, value []byte) error {
		found := emailOfKey(key)
		for entries[done].Email < found { // its row is missing
			if !r.serve(nil) {
				return kv.Stop
			}
			done, skipped = r.at-first, 0
		}
		if entries[done].Email > found {
			if skipped++; skipped > maxSkip {
				return kv.Stop
			}
			return nil
		}
		e := &r.e
		if err := e.decode(key, value); err != nil {
			r.tx.s.log.Error("email cannot be read", "err", err)
			e = nil
		}
		if !r.serve(e) {
			return kv.Stop
		}
		done, skipped = r.at-first, 0
		if done == len(entries) {
			return kv.Stop
		}
		return nil
	})
	if r.fail != nil || err != nil {
		return done, cmp.Or(r.fail, wrap(err, "read emails"))
	}
	if skipped <= maxSkip {
		for done < len(entries) && r.serve(nil) { // the last rows are missing
			done = r.at - first
		}
	}
	return done, r.fail
}

package store

import (
	"bytes"
	"cmp"
	"errors"

	"tram/internal/kv"
)

const (
	// maxSkip is how many rows a scan passes over before it is cheaper to seek.
	maxSkip = 16
	// keepRows is up to how many entries, asked for in one call, have their rows kept in memory
	// for who asks next. Who asks for more is looking through a mailbox, once.
	keepRows = 1000
	// keptBytes bounds the rows that are kept, of all accounts together.
	keptBytes = 32 << 20
	// keptAhead is how many entries are looked up before a scan.
	keptAhead = 64
	// keptSize is about what a kept row takes beside its bytes.
	keptSize = 640
)

// rowID names an email's row, which never changes: it can be kept, and nobody who sees the email in
// a list can be told anything wrong from it.
type rowID struct {
	account AccountID
	email   EmailID
}

// EachEmail calls fn for the entries of list with index from up to and without to, in order, with
// their emails. The Email is valid in the callback only and must not be changed; its State is nil.
// Rows are read in one pass as far as their order allows. For an entry whose row is damaged or
// missing fn is called with a nil Email; the others are served. Stop from fn ends it early.
func (tx *Tx) EachEmail(list *List, from, to int, fn func(Entry, *Email) error) error {
	if err := tx.need(list.mailbox, RightRead); err != nil {
		return err
	}
	from, to = max(from, 0), min(to, list.n)
	few := to-from <= keepRows
	for from < to {
		c := list.chunkAt(from)
		skip := from - list.starts[c]
		entries := list.chunks[c].entries[skip:]
		entries = entries[:min(len(entries), to-from)]
		err := tx.eachRow(entries, few, func(i int, e *Email) error {
			entry := entries[i]
			list.own.show(&entry)
			return fn(entry, e)
		})
		if err != nil {
			return stopped(err)
		}
		from += len(entries)
	}
	return nil
}

// EachHit is EachEmail for some entries of any lists; fn has the index of the entry.
func (tx *Tx) EachHit(entries []Entry, fn func(i int, e *Email) error) error {
	if tx.as != nil {
		for i := range entries {
			if err := tx.needEmail(entries[i].Email); err != nil {
				return err
			}
		}
	}
	return stopped(tx.eachRow(entries, len(entries) <= keepRows, fn))
}

// eachRow calls fn with the index of each entry and its email row, nil when it cannot be read. few
// says that the entries are all that is asked for, and not many.
func (tx *Tx) eachRow(entries []Entry, few bool, fn func(i int, e *Email) error) error {
	// What an Update reads may be its own writes, which can still be taken back.
	r := rowReader{tx: tx, fn: fn, keep: few && tx.w == nil}
	for len(entries) > 0 {
		if e := r.kept(&entries[0]); e != nil {
			if !r.serve(e) {
				return r.fail
			}
			entries = entries[1:]
			continue
		}
		n := r.until(entries[:ascending(entries)])
		var err error
		if n < 4 {
			n = 1
			err = r.one(&entries[0])
		} else {
			n, err = r.scan(entries[:n])
			if r.fail == nil && errors.Is(err, kv.ErrCorrupt) {
				// A bad place on the disk, which ends a scan: its neighbours are read one by one.
				if err = nil; n == 0 {
					n, err = 1, r.one(&entries[0])
				}
			}
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
	keep bool  // rows are kept, and looked for where they are
	fail error // of fn
}

// kept returns an entry's row from memory, or nil.
func (r *rowReader) kept(entry *Entry) *Email {
	if !r.keep {
		return nil
	}
	e, _ := r.tx.s.rows.Get(rowID{r.tx.id, entry.Email})
	return e
}

// until returns how many of the entries come before one that is kept, which the first is not.
func (r *rowReader) until(entries []Entry) int {
	if !r.keep {
		return len(entries)
	}
	entries = entries[:min(len(entries), keptAhead)]
	for i := 1; i < len(entries); i++ {
		if r.kept(&entries[i]) != nil {
			return i
		}
	}
	return len(entries)
}

// decode reads a row, into new memory if it is to be kept.
func (r *rowReader) decode(key, value []byte) (*Email, error) {
	e := &r.e
	if r.keep {
		e, value = new(Email), bytes.Clone(value)
	}
	if err := e.decode(key, value); err != nil {
		return nil, err
	}
	if r.keep {
		r.tx.s.rows.Put(rowID{r.tx.id, e.ID}, e, int64(len(value))+keptSize)
	}
	return e, nil
}

func (r *rowReader) serve(e *Email) bool {
	r.fail = r.fn(r.at, e)
	r.at++
	return r.fail == nil
}

func (r *rowReader) one(entry *Entry) error {
	tx := r.tx
	tx.key = key64(tx.key[:0], tx.id, kindEmail, uint64(entry.Email))
	value, err := tx.r.Get(tx.key)
	var e *Email
	if err == nil {
		e, err = r.decode(tx.key, value)
	} else {
		err = wrap(err, "read email")
	}
	switch {
	case err == nil:
		r.serve(e)
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
		e, err := r.decode(key, value)
		if err != nil {
			r.tx.s.log.Error("email cannot be read", "err", err)
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

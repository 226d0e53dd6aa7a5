package queue

import (
	"context"
	"errors"
	"fmt"

	"tram/internal/kv"
)

// destRow is what a shard knows of a destination that items of it wait for. Its row:
//
//	version:1, count, wake (zigzag queue time), failures, since (wall seconds), last error (string)
//
// While failures is 0, wake is no later than the earliest due item; a destination that fails is
// looked at when wake comes and no earlier, whatever is due.
type destRow struct {
	count int    // items that wait for it
	wake  qtime  // when to look at it; its key in the index of wakes
	fails int    // failed probes in a row
	since int64  // wall seconds of the first of them
	last  string // why the last one failed
}

func (d *destRow) appendBinary(dst []byte) []byte {
	e := encoder{dst}
	e.byte(version)
	e.uint(uint64(d.count))
	e.int(int64(d.wake))
	e.uint(uint64(d.fails))
	e.int(d.since)
	e.string(d.last)
	return e.b
}

func decodeDest(b []byte) (destRow, error) {
	d := decoder{b: b}
	d.version()
	row := destRow{count: d.small(), wake: qtime(d.int()), fails: d.small(), since: d.int(),
		last: d.string()}
	return row, d.done()
}

// tx is a transaction on one shard. It keeps the rows that several steps change, and writes them
// at the end.
type tx struct {
	kv.Txn
	s     shard
	now   qtime
	count *counts
	dests map[string]*destChange
}

// counts is how many items of a shard wait and are held: two varints.
type counts struct{ waiting, held int }

// destChange is a destination's row in a transaction: as it was and as it will be.
type destChange struct {
	was destRow // zero count: there was none
	row destRow
}

// update runs fn in a transaction on shard s. Like fn, it may run more than once.
func (q *Queue) update(ctx context.Context, s shard, fn func(*tx) error) error {
	return q.o.DB.Update(ctx, s.scope(), func(txn kv.Txn) error {
		t := &tx{Txn: txn, s: s, now: q.time.Now(), dests: map[string]*destChange{}}
		if err := fn(t); err != nil {
			return err
		}
		return t.flush()
	})
}

// item reads an item; ErrNotFound if it is not in this shard.
func (t *tx) item(id ID) (*record, error) { return readItem(t, t.s, id) }

func readItem(r kv.Reader, s shard, id ID) (*record, error) {
	var rec *record
	// A listing reads a million of them in one View: none of their memory is kept.
	err := kv.Peek(r, s.itemKey(id), func(b []byte) (err error) {
		rec, err = decodeRecord(id, b)
		return err
	})
	switch {
	case errors.Is(err, kv.ErrNotFound):
		return nil, ErrNotFound
	case err != nil:
		return nil, fmt.Errorf("queue item %s: %w", id, err)
	}
	return rec, nil
}

// put writes an item's row.
func (t *tx) put(r *record) error { return t.Set(t.s.itemKey(r.id), r.appendBinary(nil)) }

// counts returns the shard's counts, to be changed.
func (t *tx) counts() (*counts, error) {
	if t.count != nil {
		return t.count, nil
	}
	c, err := readCounts(t, t.s)
	t.count = &c
	return t.count, err
}

func readCounts(r kv.Reader, s shard) (counts, error) {
	b, err := r.Get(s.prefix(countSub))
	if err != nil && !errors.Is(err, kv.ErrNotFound) {
		return counts{}, err
	}
	return decodeCounts(b)
}

func decodeCounts(b []byte) (counts, error) {
	if len(b) == 0 {
		return counts{}, nil
	}
	d := decoder{b: b}
	c := counts{waiting: d.small(), held: d.small()}
	return c, d.done()
}

// tally adds to the shard's counts.
func (t *tx) tally(waiting, held int) error {
	c, err := t.counts()
	if err != nil {
		return err
	}
	c.waiting, c.held = max(c.waiting+waiting, 0), max(c.held+held, 0)
	return nil
}

// dest returns a destination's row, to be changed.
func (t *tx) dest(name string) (*destRow, error) {
	if c, ok := t.dests[name]; ok {
		return &c.row, nil
	}
	c := &destChange{row: destRow{wake: never}, was: destRow{wake: never}}
	b, err := t.Get(t.s.destKey(name))
	switch {
	case errors.Is(err, kv.ErrNotFound):
	case err != nil:
		return nil, err
	default:
		if c.row, err = decodeDest(b); err != nil {
			return nil, fmt.Errorf("destination %q: %w", name, err)
		}
		c.was = c.row
	}
	t.dests[name] = c
	return &c.row, nil
}

// park puts an item into the index of a destination.
func (t *tx) park(r *record, l *leg) error {
	d, err := t.dest(l.dest)
	if err != nil {
		return err
	}
	d.count++
	if d.fails == 0 {
		d.wake = min(d.wake, l.due)
	}
	return t.Set(t.s.legKey(l.dest, r.prio, l.due, r.id), nil)
}

// unpark takes an item out of the index of a destination.
func (t *tx) unpark(r *record, l *leg) error {
	d, err := t.dest(l.dest)
	if err != nil {
		return err
	}
	d.count = max(d.count-1, 0)
	return t.Delete(t.s.legKey(l.dest, r.prio, l.due, r.id))
}

// parkAll puts an item into every index it belongs to, or with on false takes it out.
func (t *tx) parkAll(q *Queue, r *record, on bool) error {
	for i := range r.legs {
		l := &r.legs[i]
		if l.done {
			continue
		}
		var err error
		if on {
			err = t.park(r, l)
		} else {
			err = t.unpark(r, l)
		}
		if err != nil {
			return err
		}
	}
	return t.timers(q, r, on)
}

// timers sets or clears the item's entry among those whose delay is to be told or that expire.
func (t *tx) timers(q *Queue, r *record, on bool) error {
	key := q.ageKey(t.s, r)
	if on {
		return t.Set(key, nil)
	}
	return t.Delete(key)
}

// ageKey is where an item stands in the index of the next thing its age brings.
func (q *Queue) ageKey(s shard, r *record) []byte {
	if !r.warned {
		return s.timedKey(warnSub, int64(r.started.add(q.o.Limits.Warn)), r.id)
	}
	return s.timedKey(endSub, int64(q.expires(r)), r.id)
}

// expires returns when the item is given up.
func (q *Queue) expires(r *record) qtime {
	if r.from.IsNull() {
		return r.started.add(q.o.Limits.ExpireNotice)
	}
	return r.started.add(q.o.Limits.Expire)
}

// wallEvent is when the wall clock next matters to the item: the end of a hold or a deadline; zero
// for never. What is to be removed is overdue.
func (r *record) wallEvent() int64 {
	switch {
	case r.drop:
		return 1
	case !r.holdUntil.IsZero():
		return unixSeconds(r.holdUntil)
	case r.bySet && !r.byDone && !r.held:
		return unixSeconds(r.by.Deadline)
	}
	return 0
}

// wallTimer sets or clears the item's entry in the index of wall times.
func (t *tx) wallTimer(r *record, on bool) error {
	at := r.wallEvent()
	if at == 0 {
		return nil
	}
	key := t.s.timedKey(wallSub, at, r.id)
	if on {
		return t.Set(key, nil)
	}
	return t.Delete(key)
}

// settle sets a destination's wake to the earliest due item, unless it is failing.
func (t *tx) settle(name string) error {
	d, err := t.dest(name)
	if err != nil || d.fails > 0 || d.count == 0 {
		return err
	}
	d.wake, err = earliest(t, t.s, name)
	return err
}

// earliest returns when the first item that waits for a destination is due. It looks at one item
// of each priority.
func earliest(r kv.Reader, s shard, dest string) (qtime, error) {
	first := never
	err := eachLeg(r, s, dest, legRef{}, func(l legRef) (more bool, err error) {
		first = min(first, l.due)
		return false, nil
	})
	return first, err
}

// eachLeg calls fn for the items that wait for a destination and come behind after, urgent ones
// first and among equals in the order they are due. When fn wants no more it goes on with the next
// priority.
func eachLeg(r kv.Reader, s shard, dest string, after legRef,
	fn func(legRef) (more bool, err error)) error {
	prefix := s.legPrefix(dest)
	end := kv.PrefixEnd(prefix)
	start := prefix
	if after.id != "" {
		start = append(s.legKey(dest, 9-int(after.prio), after.due, after.id), 0)
	}
	for start != nil {
		var next []byte
		rng := kv.Range{Start: start, End: end, KeysOnly: true}
		err := r.Scan(rng, func(key, _ []byte) error {
			l, err := parseLeg(s, key[len(prefix):])
			if err != nil {
				return err
			}
			more, err := fn(l)
			if err != nil || more {
				return err
			}
			next = append(append([]byte(nil), prefix...), l.prio+1)
			return kv.Stop
		})
		if err != nil {
			return err
		}
		start = next
	}
	return nil
}

// flush writes the rows that were changed.
func (t *tx) flush() error {
	for name, c := range t.dests {
		if err := t.flushDest(name, c); err != nil {
			return err
		}
	}
	if t.count == nil {
		return nil
	}
	var e encoder
	e.uint(uint64(t.count.waiting))
	e.uint(uint64(t.count.held))
	return t.Set(t.s.prefix(countSub), e.b)
}

func (t *tx) flushDest(name string, c *destChange) error {
	if c.row == c.was {
		return nil
	}
	gone := c.row.count == 0
	if c.was.count > 0 && (gone || c.row.wake != c.was.wake) {
		if err := t.Delete(t.s.wakeKey(c.was.wake, name)); err != nil {
			return err
		}
	}
	if gone {
		return t.Delete(t.s.destKey(name))
	}
	if c.was.count == 0 || c.row.wake != c.was.wake {
		if err := t.Set(t.s.wakeKey(c.row.wake, name), nil); err != nil {
			return err
		}
	}
	return t.Set(t.s.destKey(name), c.row.appendBinary(nil))
}

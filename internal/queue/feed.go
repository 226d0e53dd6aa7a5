package queue

import (
	"context"
	"errors"
	"maps"
	"slices"

	"tram/internal/kv"
)

// feedSize is how many due items of a destination are read from the index at a time, and batchSize
// how many a session takes of them at a time.
const (
	feedSize  = 256
	batchSize = 8
)

// take hands a session the next due items of its destination, or none when there are no more for
// now. They are the session's until released.
func (q *Queue) take(ctx context.Context, s *session) []legRef {
	d := s.d
	q.mu.Lock()
	defer q.mu.Unlock()
	for {
		if wait := d.reading; wait != nil && len(d.feed) == 0 {
			q.mu.Unlock()
			<-wait
			q.mu.Lock()
			continue
		}
		if d.fails > 0 && d.probe > q.time.Now() {
			d.feed = nil
			return nil
		}
		if legs := q.draw(d); len(legs) > 0 {
			s.fed()
			q.want(d)
			q.dispatch()
			return legs
		}
		if !d.more {
			return nil
		}
		q.fill(ctx, d)
	}
}

// draw takes a session's share out of the feed, without the items that are claimed.
func (q *Queue) draw(d *destination) (legs []legRef) {
	share := (len(d.feed) + d.sessions - 1) / max(d.sessions, 1)
	n := min(max(share, 1), batchSize)
	if d.fails > 0 {
		n = 1 // a probe
	}
	for len(d.feed) > 0 && len(legs) < n {
		l := d.feed[0]
		d.feed = d.feed[1:]
		if passed, ok := q.claimed[l.id]; ok {
			d.passed = true
			if !slices.Contains(passed, d.name) {
				q.claimed[l.id] = append(passed, d.name)
			}
			continue
		}
		q.running[l.id]++
		d.running[l.id] = true
		legs = append(legs, l)
	}
	return legs
}

// claim keeps sessions from taking an item: nothing must be sent while it is given up, or its sender
// told that it waits. It reports false if a session has it in hand, or it is claimed already.
func (q *Queue) claim(id ID) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if _, ok := q.claimed[id]; ok || q.running[id] > 0 {
		return false
	}
	q.claimed[id] = nil
	return true
}

// unclaim lets sessions have an item again.
func (q *Queue) unclaim(id ID) {
	q.mu.Lock()
	passed := q.claimed[id]
	delete(q.claimed, id)
	q.mu.Unlock()
	for _, dest := range passed {
		q.again(dest)
	}
}

// again makes a destination's sessions read from the beginning what is due there.
func (q *Queue) again(dest string) {
	q.mu.Lock()
	if d := q.dests[dest]; d != nil {
		d.passed = false
		d.rewind()
	}
	q.mu.Unlock()
	q.hint(dest, 0)
}

// await rings for the keeper as soon as no session has an item in hand.
func (q *Queue) await(id ID) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.running[id] > 0 {
		q.awaited[id] = true
	}
}

// fill reads the next due items into the feed. It gives up the lock while it reads.
func (q *Queue) fill(ctx context.Context, d *destination) {
	done := make(chan struct{})
	d.reading, d.more, d.rewound = done, false, false
	cursor := append([]legRef(nil), d.cursor...)
	busy := maps.Clone(d.running)
	q.mu.Unlock()
	legs, full, err := q.readDue(ctx, d.name, cursor, busy)
	q.mu.Lock()
	if !d.rewound {
		copy(d.cursor, cursor)
	}
	d.reading = nil
	close(done)
	if err != nil {
		if ctx.Err() == nil {
			q.log.Error("queue index not read", "destination", d.name, "error", err)
		}
		return
	}
	d.more = d.more || full
	for _, l := range legs {
		if !d.running[l.id] {
			d.feed = append(d.feed, l)
		}
	}
}

// errEnough ends a scan that has found what it may.
var errEnough = errors.New("enough")

// readDue reads due items of a destination from every shard, each from where its cursor stands and,
// at the end, once more from the beginning: the way there may be over a million items that are gone
// already. full reports that a shard had more. Those that are busy do not count: else a destination
// whose sessions have all there is in hand would be read over and over.
func (q *Queue) readDue(ctx context.Context, dest string, cursor []legRef, busy map[ID]bool) (
	legs []legRef, full bool, err error) {
	each := max(feedSize/q.shards, 1)
	for s := range q.eachShard() {
		read := func() (n int, err error) {
			was := len(legs)
			err = q.readShard(ctx, s, dest, cursor, each, busy, &legs)
			return len(legs) - was, err
		}
		n, err := read()
		if err == nil && n == 0 && cursor[s] != (legRef{}) {
			cursor[s] = legRef{}
			n, err = read()
		}
		if err != nil {
			return nil, false, err
		}
		full = full || n == each
	}
	return legs, full, nil
}

// readShard reads up to max due items of one shard after its cursor, and moves that.
func (q *Queue) readShard(ctx context.Context, s shard, dest string, cursor []legRef, max int,
	busy map[ID]bool, legs *[]legRef) error {
	now := q.time.Now()
	after := cursor[s]
	most := len(*legs) + max
	err := q.o.DB.View(ctx, s.scope(), func(r kv.Reader) error {
		return eachLeg(r, s, dest, after, func(l legRef) (bool, error) {
			if l.due > now {
				return false, nil
			}
			if len(*legs) == most {
				return false, errEnough
			}
			if !busy[l.id] {
				*legs = append(*legs, l)
			}
			cursor[s] = l
			return true, nil
		})
	})
	if errors.Is(err, errEnough) {
		err = nil
	}
	return err
}

// release gives items back that a session is done with, in whatever way.
func (q *Queue) release(d *destination, legs ...legRef) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, l := range legs {
		delete(d.running, l.id)
		if q.running[l.id]--; q.running[l.id] > 0 {
			continue
		}
		delete(q.running, l.id)
		if q.awaited[l.id] {
			delete(q.awaited, l.id)
			q.keepAlarm.ring()
		}
	}
}

// putBack gives items back that a session has not got to.
func (q *Queue) putBack(d *destination, legs []legRef) {
	if len(legs) == 0 {
		return
	}
	q.release(d, legs...)
	q.mu.Lock()
	defer q.mu.Unlock()
	d.more = true
	d.rewind()
	q.want(d)
	q.dispatch()
}

// isRunning reports whether a session has the item in hand.
func (q *Queue) isRunning(id ID) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.running[id] > 0
}

// leave ends a session's work for want of more: it settles when the destination is to be looked at
// again, and reports false if something has come up meanwhile.
func (q *Queue) leave(ctx context.Context, s *session) bool {
	d := s.d
	q.mu.Lock()
	// What is claimed is due, and yet not to be had: unclaim will come back to it.
	last := d.sessions == 1 && !d.passed
	q.mu.Unlock()
	due := last && q.settle(ctx, d.name) <= q.time.Now()
	q.mu.Lock()
	defer q.mu.Unlock()
	waits := d.fails > 0 && d.probe > q.time.Now()
	d.more = !waits && (d.more || due)
	if q.open && (d.more || len(d.feed) > 0) {
		return false
	}
	q.end(s)
	return true
}

// settle sets the time to look at a destination next in each shard that has items for it, and
// returns the earliest.
func (q *Queue) settle(ctx context.Context, dest string) qtime {
	next := never
	for s := range q.eachShard() {
		stale := false
		err := q.o.DB.View(ctx, s.scope(), func(r kv.Reader) error {
			b, err := r.Get(s.destKey(dest))
			if errors.Is(err, kv.ErrNotFound) {
				return nil
			}
			if err != nil {
				return err
			}
			row, err := decodeDest(b)
			if err != nil || row.wake > q.time.Now() {
				return err
			}
			first, err := earliest(r, s, dest)
			stale = row.fails == 0 && first != row.wake
			next = min(next, first)
			return err
		})
		if err == nil && stale {
			err = q.update(kv.Freeing(ctx), s, func(t *tx) error { return t.settle(dest) })
		}
		if err != nil && ctx.Err() == nil {
			q.log.Error("destination not settled", "destination", dest, "error", err)
		}
	}
	return next
}

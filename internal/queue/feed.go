package queue

import (
	"context"
	"errors"

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
	for len(d.feed) == 0 {
		if wait := d.reading; wait != nil {
			q.mu.Unlock()
			<-wait
			q.mu.Lock()
			continue
		}
		if !d.more || d.fails > 0 && d.probe > q.time.Now() {
			return nil
		}
		q.fill(ctx, d)
	}
	share := (len(d.feed) + d.sessions - 1) / max(d.sessions, 1)
	n := min(max(share, 1), batchSize, len(d.feed))
	if d.fails > 0 {
		n = 1 // a probe
	}
	legs := append([]legRef(nil), d.feed[:n]...)
	d.feed = d.feed[n:]
	for _, l := range legs {
		q.running[l.id]++
		d.running[l.id] = true
	}
	s.fed()
	q.want(d)
	q.dispatch()
	return legs
}

// fill reads the next due items into the feed. It gives up the lock while it reads.
func (q *Queue) fill(ctx context.Context, d *destination) {
	done := make(chan struct{})
	d.reading, d.more = done, false
	cursor := append([]legRef(nil), d.cursor...)
	q.mu.Unlock()
	legs, full, err := q.readDue(ctx, d.name, cursor)
	q.mu.Lock()
	copy(d.cursor, cursor)
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
// already. full reports that a shard had more.
func (q *Queue) readDue(ctx context.Context, dest string, cursor []legRef) (
	legs []legRef, full bool, err error) {
	each := max(feedSize/q.shards, 1)
	for s := range q.eachShard() {
		n, err := q.readShard(ctx, s, dest, cursor, each, &legs)
		if err == nil && n == 0 && cursor[s] != (legRef{}) {
			cursor[s] = legRef{}
			n, err = q.readShard(ctx, s, dest, cursor, each, &legs)
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
	legs *[]legRef) (n int, err error) {
	now := q.time.Now()
	after := cursor[s]
	err = q.o.DB.View(ctx, s.scope(), func(r kv.Reader) error {
		return eachLeg(r, s, dest, after, func(l legRef) (bool, error) {
			if l.due > now {
				return false, nil
			}
			if n == max {
				return false, errEnough
			}
			*legs = append(*legs, l)
			cursor[s] = l
			n++
			return true, nil
		})
	})
	if errors.Is(err, errEnough) {
		err = nil
	}
	return n, err
}

// release gives items back that a session is done with, in whatever way.
func (q *Queue) release(d *destination, legs ...legRef) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, l := range legs {
		delete(d.running, l.id)
		if q.running[l.id]--; q.running[l.id] <= 0 {
			delete(q.running, l.id)
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
	clear(d.cursor)
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
	last := d.sessions == 1
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

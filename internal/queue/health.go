package queue

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"time"

	"tram/internal/kv"
)

// backoff returns how long to wait after the n-th failure in a row, RFC 5321 §4.5.4.1.
func (q *Queue) backoff(n int) time.Duration {
	l := &q.o.Limits
	d := float64(l.FirstRetry) * math.Pow(max(l.Factor, 1), float64(min(n, 100)-1))
	d = min(d, float64(l.MaxRetry))
	// Jitter needs no secrecy.
	d *= 1 + l.Jitter*(2*rand.Float64()-1)
	return max(time.Duration(d), time.Millisecond)
}

// mayTry reports whether a session may go to its destination now. A destination that is known to
// fail, here or in any shard, is left alone until its time, and what has come in for it is parked.
func (q *Queue) mayTry(ctx context.Context, s *session) bool {
	d := s.d
	if err := q.load(ctx, d); err != nil && ctx.Err() == nil {
		q.log.Error("destination not read", "destination", d.name, "error", err)
	}
	q.mu.Lock()
	wait := d.fails > 0 && d.probe > q.time.Now()
	row := destRow{fails: d.fails, wake: d.probe, since: unixSeconds(d.since), last: d.last}
	q.mu.Unlock()
	if !wait {
		return true
	}
	q.parkDest(ctx, d.name, row)
	q.mu.Lock()
	defer q.mu.Unlock()
	d.more, d.feed = false, nil
	q.end(s)
	return false
}

// load reads what the shards remember of a destination's failures, once.
func (q *Queue) load(ctx context.Context, d *destination) error {
	q.mu.Lock()
	loaded := d.loaded
	q.mu.Unlock()
	if loaded {
		return nil
	}
	// The shards differ if an operator wants one of them tried now, or a crash came while they were
	// written: the earliest time is the one to keep.
	row := destRow{wake: never}
	for s := range q.eachShard() {
		err := q.o.DB.View(ctx, s.scope(), func(r kv.Reader) error {
			b, err := r.Get(s.destKey(d.name))
			if err != nil {
				return err
			}
			known, err := decodeDest(b)
			if err == nil && known.fails > 0 && known.wake < row.wake {
				row = known
			}
			return err
		})
		if err != nil && !errors.Is(err, kv.ErrNotFound) {
			return err
		}
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if !d.loaded && row.fails > 0 {
		d.fails, d.probe, d.last = row.fails, row.wake, row.last
		d.since = fromUnix(row.since)
	}
	d.loaded = true
	return nil
}

// parkDest writes a destination's failure into each shard that has items for it: none of them is
// looked at before row.wake, whatever comes in.
func (q *Queue) parkDest(ctx context.Context, dest string, row destRow) {
	for s := range q.eachShard() {
		err := q.update(kv.Freeing(ctx), s, func(t *tx) error {
			d, err := t.dest(dest)
			if err != nil || d.count == 0 {
				return err
			}
			row.count = d.count
			*d = row
			return nil
		})
		if err != nil && ctx.Err() == nil {
			q.log.Error("destination not parked", "destination", dest, "error", err)
		}
	}
}

// failed notes that a destination could not be reached. If we have other connections there, it has
// only had enough of us: it gets one session less, which is this one. Else nothing is sent to it
// until its next probe.
func (q *Queue) failed(ctx context.Context, s *session, why *destFailure) {
	d := s.d
	q.mu.Lock()
	d.soft = 0
	others := d.conns
	if s.c != nil {
		others--
	}
	// One that was there when this session knocked may be gone by now.
	if !d.proven || d.sessions <= 1 && max(others, s.beside) == 0 {
		q.mu.Unlock()
		q.rest(ctx, d, why)
		return
	}
	d.limit = max(1, min(d.limit, d.sessions)-1)
	d.enough, d.grown = d.limit, 0
	s.surplus = true
	wait := d.parted
	if d.sessions > 1 || others > d.parting {
		wait = nil
	}
	q.mu.Unlock()
	if wait == nil {
		return
	}
	// What stands in the way are connections of ours that say goodbye: a new one before they are
	// gone would be refused again.
	select {
	case <-wait:
	case <-q.leaving:
	case <-ctx.Done():
	}
}

// partFrom notes that a connection to a destination begins to say goodbye, and partedFrom that it
// has done so.
func (q *Queue) partFrom(d *destination) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if d.parting++; d.parting == 1 {
		d.parted = make(chan struct{})
	}
}

func (q *Queue) partedFrom(d *destination) {
	q.mu.Lock()
	defer q.mu.Unlock()
	d.conns--
	if d.parting--; d.parting == 0 {
		close(d.parted)
		d.parted = nil
	}
}

// rest leaves a destination alone until the next probe.
func (q *Queue) rest(ctx context.Context, d *destination, why *destFailure) {
	q.mu.Lock()
	d.soft = 0
	now := q.time.Now()
	if d.fails > 0 && d.probe > now {
		q.mu.Unlock() // another session has found out already
		return
	}
	d.fails++
	if d.fails == 1 {
		d.since = q.o.Clock.Now()
	}
	d.proven, d.limit, d.feed = false, 1, nil
	d.enough, d.grown = 0, 0
	d.last = clip(why.Error(), maxReplyText)
	d.probe = now.add(q.backoff(d.fails))
	row := destRow{fails: d.fails, wake: d.probe, since: unixSeconds(d.since), last: d.last}
	q.mu.Unlock()
	q.parkDest(ctx, d.name, row)
	metricDestinations.WithLabelValues("failed").Inc()
	q.log.Warn("destination failed", "destination", d.name, "failures", row.fails,
		"retry_in", row.wake.sub(now).Round(time.Second), "error", d.last)
}

// greeted notes that a destination talks to us. If it had failed, everything that waits for it
// flows again.
func (q *Queue) greeted(s *session) {
	d := s.d
	q.mu.Lock()
	q.slots.greeted(s)
	was := d.fails
	d.fails, d.last, d.since = 0, "", time.Time{}
	if !d.proven {
		d.proven = true
		d.limit = max(d.limit, q.o.Limits.DestMin, 1)
	}
	d.more = d.more || was > 0
	q.want(d)
	q.dispatch()
	ctx := q.ctx
	q.mu.Unlock()
	if was == 0 {
		return
	}
	metricDestinations.WithLabelValues("recovered").Inc()
	q.log.Info("destination is back", "destination", d.name, "failures", was)
	q.parkDest(ctx, d.name, destRow{wake: q.time.Now()})
}

// cautious is how many messages a destination must take before it gets another session, once it
// has had enough of us.
const cautious = 20

// succeeded lets a destination that takes mail have another session: quickly at first, slowly once
// it has shown how many are too many.
func (q *Queue) succeeded(d *destination) {
	q.mu.Lock()
	defer q.mu.Unlock()
	d.soft = 0
	if d.sessions < d.limit || d.limit >= q.o.Limits.DestMax {
		return
	}
	if d.grown++; d.enough > 0 && d.limit >= d.enough && d.grown < cautious {
		return
	}
	d.grown = 0
	d.limit++
	q.want(d)
	q.dispatch()
}

// softLimit is how many transactions in a row may end at MAIL with "not now" before the destination
// as a whole is taken to mean it.
const softLimit = 5

// refusedAtMail counts such a transaction, and reports whether it was one too many.
func (q *Queue) refusedAtMail(d *destination) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	d.soft++
	return d.soft >= softLimit
}

// putBackAll gives back what a session leaves, unless its destination is parked: then they are found
// again when its time comes.
func (q *Queue) putBackAll(d *destination, legs []legRef) {
	q.mu.Lock()
	parked := d.fails > 0
	q.mu.Unlock()
	if parked {
		q.release(d, legs...)
		return
	}
	q.putBack(d, legs)
}

package queue

import (
	"context"
	"encoding/binary"
	"errors"
	"sync"
	"time"

	"tram/internal/clock"
	"tram/internal/kv"
	"tram/internal/limits"
)

// qtime is the queue's own time in milliseconds. It follows the wall clock, but never runs
// backwards, and no step of the wall clock moves it by more than one longest retry interval. So a
// clock that jumps by an hour or ten years makes each message due once, at most, and makes none old
// enough to be returned; and after days without power a message is tried before it expires.
//
// All schedules are in queue time. It starts at the Unix time of the queue's creation; only what
// people are shown and what they asked for by the clock on the wall is converted.
type qtime int64

// never is after everything.
const never = qtime(1<<63 - 1)

func (t qtime) add(d time.Duration) qtime { return t + qtime(d.Milliseconds()) }

// sub is the time from u to t, at most what a Duration holds: never is far away.
func (t qtime) sub(u qtime) time.Duration {
	const most = qtime(1<<63-1) / qtime(time.Millisecond)
	return time.Duration(min(max(t-u, -most), most)) * time.Millisecond
}

// minStep is the least bound on a step: the queue looks at the clock more often than that.
const minStep = 10 * time.Minute

// timeline turns the wall clock into queue time.
type timeline struct {
	clock clock.Clock
	step  time.Duration // the longest step

	mu   sync.Mutex
	now  qtime
	wall time.Time // when now was right
}

// newTimeline continues from what was stored, if anything was.
func newTimeline(c clock.Clock, l limits.Queue, stored []byte) *timeline {
	t := &timeline{clock: c, wall: c.Now()}
	t.step = max(time.Duration(float64(l.MaxRetry)*(1+l.Jitter)), minStep)
	t.now = qtime(t.wall.UnixMilli())
	if len(stored) == 16 {
		t.now = qtime(binary.BigEndian.Uint64(stored))
		t.wall = time.UnixMilli(int64(binary.BigEndian.Uint64(stored[8:])))
	}
	return t
}

// Now returns the queue time.
func (t *timeline) Now() qtime {
	t.mu.Lock()
	defer t.mu.Unlock()
	wall := t.clock.Now()
	step := min(max(wall.Sub(t.wall), 0), t.step)
	t.now = t.now.add(step)
	// What is below a millisecond stays for the next time.
	t.wall = wall.Add(-(step % time.Millisecond))
	return t.now
}

// wallTime returns when q is by the wall clock as it stands now; the zero time for never and 0.
func (t *timeline) wallTime(q qtime) time.Time {
	if q == 0 || q == never {
		return time.Time{}
	}
	return t.clock.Now().Add(q.sub(t.Now())).UTC()
}

// appendBinary appends the stored form: queue time, and the wall clock's, in milliseconds.
func (t *timeline) appendBinary(dst []byte) []byte {
	now := t.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	dst = binary.BigEndian.AppendUint64(dst, uint64(now))
	return binary.BigEndian.AppendUint64(dst, uint64(t.wall.UnixMilli()))
}

// loadTimeline reads the stored queue time.
func loadTimeline(ctx context.Context, o *Options) (*timeline, error) {
	var stored []byte
	err := o.DB.View(ctx, metaScope, func(r kv.Reader) error {
		v, err := r.Get(timeKey)
		stored = append(stored, v...)
		return err
	})
	if err != nil && !errors.Is(err, kv.ErrNotFound) {
		return nil, err
	}
	return newTimeline(o.Clock, o.Limits, stored), nil
}

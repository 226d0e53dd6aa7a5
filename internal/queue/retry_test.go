package queue

import (
	"fmt"
	"testing"
	"time"

	"tram/internal/clock"
	"tram/internal/limits"
)

// RFC 5321 §4.5.4.1: waits grow, up to a bound, and spread.
func TestBackoff(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	l := w.o.Limits
	want := float64(l.FirstRetry)
	for n := 1; n <= 200; n++ {
		lo, hi := time.Duration(want*(1-l.Jitter)), time.Duration(want*(1+l.Jitter))
		spread := map[time.Duration]bool{}
		for range 20 {
			d := w.q.backoff(n)
			if d < lo || d > hi {
				t.Fatalf("wait %d is %v, not within %v and %v", n, d, lo, hi)
			}
			spread[d] = true
		}
		if len(spread) < 10 {
			t.Errorf("wait %d does not spread", n)
		}
		want = min(want*l.Factor, float64(l.MaxRetry))
	}
}

// A message that is put off is tried again at its time, not before, and by itself.
func TestRetryOfOneMessage(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(o *Options) { o.Limits.Jitter = 0 }).run()
	s := w.net.listen(t, "192.0.2.1")
	s.on(at("RCPT", "450 4.2.0 greylisted"))
	id := w.send("bob@alive.test")
	w.await("deferred", 1)
	for n, wait := range []time.Duration{5 * time.Minute, 510 * time.Second} {
		if next := w.show(id).Next; !next.Equal(w.clock.Now().Add(wait)) {
			t.Errorf("attempt %d: next at %v", n, next)
		}
		w.later(wait - time.Second)
		if w.log.times("deferred") != n+1 {
			t.Error("tried too early")
		}
		// Others to the same place are not delayed by it.
		s.on(nil)
		w.send("eve@alive.test")
		w.await("done", n+1)
		s.on(at("RCPT", "450 4.2.0 greylisted"))
		w.later(time.Second)
		w.await("deferred", n+2)
	}
	if r := w.show(id).Recipients[0]; r.Attempts != 3 {
		t.Errorf("%+v", r)
	}
}

// A destination that is down: one probe per wait, whatever waits and comes in; then all flows.
func TestDeadDestination(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(o *Options) { o.Limits.Jitter = 0 }).run()
	const messages = 50
	for range messages {
		w.send("bob@dead.test")
	}
	w.await("destination failed", 1)
	wait := 5 * time.Minute
	for n := 1; n < 12; n++ {
		if d := w.net.dialled("192.0.2.9:25"); d != n {
			t.Fatalf("%d probes after %d waits", d, n-1)
		}
		w.send("bob@dead.test")
		w.later(wait - time.Minute)
		w.send("bob@dead.test")
		if d := w.net.dialled("192.0.2.9:25"); d != n {
			t.Fatalf("%d probes before the wait %d was over", d, n)
		}
		w.later(time.Minute)
		w.await("destination failed", n+1)
		wait = min(time.Duration(float64(wait)*1.7), 4*time.Hour)
	}
	s := w.net.listen(t, "192.0.2.9", "PIPELINING")
	w.later(4 * time.Hour)
	w.await("relayed", messages+22)
	w.quiet()
	if n := len(s.taken()); n != messages+22 {
		t.Errorf("%d arrived", n)
	}
	w.empty()
}

// quiet waits until no session works.
func (w *world) quiet() {
	w.t.Helper()
	ok := until(func() bool {
		w.q.mu.Lock()
		defer w.q.mu.Unlock()
		return w.q.slots.inUse()+w.q.active == 0
	})
	if !ok {
		w.t.Fatalf("it does not come to rest; the queue said:\n%s", w.log)
	}
}

// After a restart a destination that is down stays down until its time.
func TestDeadDestinationSurvivesRestart(t *testing.T) {
	t.Parallel()
	w := newWorld(t).run()
	for range 20 {
		w.send("bob@dead.test")
	}
	w.await("destination failed", 1)
	w.crash()
	w.run()
	w.send("bob@dead.test") // perhaps in a shard that knows nothing
	w.later(time.Minute)
	if d := w.net.dialled("192.0.2.9:25"); d != 1 {
		t.Errorf("%d probes", d)
	}
	w.later(10 * time.Minute)
	w.await("destination failed", 1)
	if d := w.net.dialled("192.0.2.9:25"); d != 2 {
		t.Errorf("%d probes", d)
	}
}

// D17: whatever the clock does, each message is tried at most once more for it, and none is given
// up or told of as late.
func TestClockJumps(t *testing.T) {
	t.Parallel()
	for _, jump := range []time.Duration{time.Hour, -time.Hour, 24 * time.Hour, -24 * time.Hour,
		10 * 365 * 24 * time.Hour, -10 * 365 * 24 * time.Hour} {
		for _, restart := range []bool{false, true} {
			t.Run(fmt.Sprint(jump, restart), func(t *testing.T) {
				t.Parallel()
				clockJump(t, jump, restart)
			})
		}
	}
}

func clockJump(t *testing.T, jump time.Duration, restart bool) {
	// Jitter would let the odd message come due by itself within the minutes that are watched.
	w := newWorld(t, func(o *Options) { o.Limits.Jitter = 0 }).run()
	const busy, dead = 40, 40
	s := w.net.listen(t, "192.0.2.1", "PIPELINING")
	s.on(at("RCPT", "450 4.2.0 not now"))
	ids := map[ID]bool{}
	for range busy {
		ids[w.send("bob@alive.test")] = true
	}
	for range dead {
		ids[w.send("bob@dead.test")] = true
	}
	w.await("deferred", busy)
	w.await("destination failed", 1)
	if restart {
		w.stop()
	}
	w.clock.Set(w.clock.Now().Add(jump))
	if restart {
		w.reopen()
		w.log.count["deferred"], w.log.count["destination failed"] = busy, 1
		w.run()
	}
	w.look()
	for range 4 { // four minutes: no retry is due by itself
		w.later(time.Minute)
	}
	if jump > 0 {
		w.await("deferred", 2*busy)
		w.await("destination failed", 2)
	}
	w.quiet()
	if n := w.log.times("deferred"); n > 2*busy {
		t.Errorf("%d attempts for %d messages", n, busy)
	}
	if n := w.net.dialled("192.0.2.9:25"); n > 2 {
		t.Errorf("%d probes", n)
	}
	if w.log.times("failed")+w.log.times("delayed") > 0 && jump < 4*time.Hour {
		t.Errorf("given up or told of: %s", w.log)
	}
	if w.log.times("failed") > 0 {
		t.Errorf("given up: %s", w.log)
	}
	// New mail gets through, and the old at its time, never later than the longest wait.
	s.on(nil)
	if id := w.send("eve@alive.test"); ids[id] {
		t.Error("an ID came again")
	}
	for range 5 {
		w.later(time.Hour)
	}
	w.await("relayed", busy+1)
}

func TestQueueTime(t *testing.T) {
	t.Parallel()
	c := clock.NewFake(start)
	l := limits.Default().Queue
	q := newTimeline(c, l, nil)
	first := q.Now()
	at := func(d, want time.Duration) {
		t.Helper()
		c.Set(start.Add(d))
		if got := q.Now().sub(first); got != want {
			t.Errorf("at %v: %v, want %v", d, got, want)
		}
	}
	step := time.Duration(float64(l.MaxRetry) * 1.2)
	at(time.Hour, time.Hour)
	at(time.Hour+500*time.Microsecond, time.Hour)
	at(time.Hour+time.Millisecond, time.Hour+time.Millisecond)
	at(0, time.Hour+time.Millisecond) // back: it stands
	at(time.Minute, time.Hour+time.Minute+time.Millisecond)
	at(10*365*24*time.Hour, time.Hour+time.Minute+time.Millisecond+step)
	was := q.Now()
	// It goes on after a restart, however long that took.
	stored := q.appendBinary(nil)
	c.Advance(30 * 24 * time.Hour)
	if got := newTimeline(c, l, stored).Now().sub(was); got != step {
		t.Errorf("a month later: %v", got)
	}
	c.Set(start)
	if got := newTimeline(c, l, stored).Now().sub(was); got != 0 {
		t.Errorf("before it was stored: %v", got)
	}
}

package queue

import (
	"strings"
	"testing"
	"time"
)

// A server that takes one connection at a time: the second one is refused and not tried again and
// again while the first one works.
func TestServerWithOneConnection(t *testing.T) {
	t.Parallel()
	const messages = 60
	w := newWorld(t)
	s := w.oneConnection()
	open := w.block(s, "DOT")
	for range messages {
		w.send("bob@alive.test")
	}
	w.run()
	ok := until(func() bool {
		w.q.mu.Lock()
		defer w.q.mu.Unlock()
		d := w.q.dests["alive.test"]
		return d != nil && d.enough == 1 && d.sessions == 1
	})
	if !ok {
		t.Fatalf("the refused session does not end; the queue said:\n%s", w.log)
	}
	for range 10 {
		w.look()
	}
	if n := w.net.dialled("192.0.2.1:25"); n != 2 {
		t.Errorf("dialled %d times", n)
	}
	open()
	w.await("done", messages)
	// Now and then it is tried whether it takes more.
	if n := w.net.dialled("192.0.2.1:25"); n > 2+messages/cautious+1 {
		t.Errorf("dialled %d times for %d messages", n, messages)
	}
	if n := len(s.taken()); n != messages || w.log.times("destination failed") > 0 {
		t.Errorf("%d arrived; the queue said:\n%s", n, w.log)
	}
	w.empty()
}

// A connection that has carried as much as it should is closed, and the next one opened: a server that
// allows one at a time refuses it as long as the first says goodbye, which is no failure of its.
func TestNextConnectionWaitsForTheLast(t *testing.T) {
	t.Parallel()
	const messages = 12
	w := newWorld(t, func(o *Options) {
		o.Limits.PerSession, o.Limits.DestMin, o.Limits.DestMax = messages/3, 1, 1
	})
	s := w.oneConnection()
	open := w.block(s, "QUIT")
	for range messages {
		w.send("bob@alive.test")
	}
	w.run()
	refused := until(func() bool {
		w.q.mu.Lock()
		defer w.q.mu.Unlock()
		d := w.q.dests["alive.test"]
		return d != nil && d.enough == 1
	})
	if !refused {
		t.Fatalf("the second connection was not refused; the queue said:\n%s", w.log)
	}
	for range 10 {
		w.look()
	}
	if n := w.net.dialled("192.0.2.1:25"); n != 2 {
		t.Errorf("dialled %d times while the first said goodbye", n)
	}
	open()
	w.await("done", messages)
	if n := len(s.taken()); n != messages || w.log.times("destination failed") > 0 {
		t.Errorf("%d arrived; the queue said:\n%s", n, w.log)
	}
	w.empty()
	w.q.mu.Lock()
	defer w.q.mu.Unlock()
	if d := w.q.dests["alive.test"]; d.parting < 0 || d.conns < d.parting {
		t.Errorf("%d connections, %d of them parting", d.conns, d.parting)
	}
}

// oneConnection is alive.test's server, which takes one connection at a time.
func (w *world) oneConnection() *sink {
	s := w.net.listen(w.t, "192.0.2.1", "PIPELINING")
	s.on(func(stage, _ string) string {
		s.mu.Lock()
		defer s.mu.Unlock()
		if stage == "greeting" && s.now > 1 {
			return "421 4.7.0 Too many connections"
		}
		return ""
	})
	return s
}

// Sessions to a destination grow one by one with what it takes, and slowly once it had enough.
func TestConcurrencyGrowsAndShrinks(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	l := w.o.Limits
	d := &destination{name: "alive.test", limit: l.DestMin, proven: true}
	took := func(n int) {
		for range n {
			d.sessions = d.limit
			w.q.succeeded(d)
		}
	}
	took(l.DestMax - l.DestMin)
	if d.limit != l.DestMax {
		t.Errorf("%d sessions after as many messages", d.limit)
	}
	took(100)
	if d.limit != l.DestMax {
		t.Errorf("%d sessions, more than %d", d.limit, l.DestMax)
	}
	s := &session{q: w.q, d: d}
	w.q.failed(t.Context(), s, &destFailure{err: errSelf})
	if d.limit != l.DestMax-1 || !s.surplus || d.fails > 0 {
		t.Errorf("limit %d after a refusal, %+v", d.limit, s)
	}
	took(cautious - 1)
	if d.limit != l.DestMax-1 {
		t.Errorf("limit %d at once again", d.limit)
	}
	took(1)
	if d.limit != l.DestMax {
		t.Errorf("limit %d after %d messages", d.limit, cautious)
	}
	// One that has less to do than it may needs no more.
	d.sessions, d.limit = 1, 5
	w.q.succeeded(d)
	if d.limit != 5 {
		t.Errorf("limit %d without need", d.limit)
	}
	// The last session's failure is the destination's.
	w.q.failed(t.Context(), &session{q: w.q, d: d}, &destFailure{err: errSelf})
	if d.limit != 1 || d.fails != 1 || d.enough != 0 || d.proven {
		t.Errorf("%+v", d)
	}
}

// After a restart an operator's retry reaches a destination that is down, whatever other shards know.
func TestRetryAfterRestart(t *testing.T) {
	t.Parallel()
	w := newWorld(t).run()
	var last ID
	for i := range 20 {
		last = w.submit(Submission{Account: uint64(i + 1), From: addr("alice@us.test")}, "bob@dead.test")
	}
	w.await("destination failed", 1)
	w.crash()
	w.run()
	s := w.net.listen(t, "192.0.2.9", "PIPELINING")
	if err := w.q.Retry(t.Context(), last); err != nil {
		t.Fatal(err)
	}
	w.get(s)
	w.await("done", 20) // it is back: everything flows
	w.empty()
}

// A failure to record what became of local mail does not slow the house down for ever.
func TestLocalRecovers(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	db := w.useFaulty()
	db.fail(markless)
	w.run()
	w.send("bob@us.test")
	w.await("delivery not recorded", 1)
	w.await("destination failed", 1) // it rests from then on: the clock must not move before
	db.fail(nil)
	w.later(10 * time.Minute)
	w.await("done", 1)
	for range 3 {
		w.send("bob@us.test")
	}
	w.await("done", 4)
	w.quiet()
	w.q.mu.Lock()
	if d := w.q.dests[destLocal]; d.fails != 0 || !d.proven {
		t.Errorf("%+v", d)
	}
	w.q.mu.Unlock()
	w.local.mu.Lock()
	if len(w.local.got) != 4 || w.local.confirm != 4 {
		t.Errorf("filed %d times, confirmed %d", len(w.local.got), w.local.confirm)
	}
	w.local.mu.Unlock()
	if strings.Contains(w.log.String(), "panic") {
		t.Error(w.log)
	}
	w.empty()
}

package queue

import (
	"sync"
	"testing"
)

// A session that finds everything due in the hands of others goes, instead of reading it over and over.
func TestBusyItemsAreNotReadAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(o *Options) { o.Limits.DestMin, o.Shards = 20, maxShards })
	s := w.net.listen(t, "192.0.2.1")
	open := w.block(s, "DOT")
	const each = feedSize / maxShards // read at a time; all items of an account are in one shard
	for range 2 * each {
		w.send("bob@alive.test")
	}
	w.run()
	ok := until(func() bool {
		w.q.mu.Lock()
		defer w.q.mu.Unlock()
		d := w.q.dests["alive.test"]
		return d != nil && len(d.running) == 2*each && d.hungry == 0 && !d.more
	})
	if !ok {
		w.q.mu.Lock()
		t.Errorf("%+v", w.q.dests["alive.test"])
		w.q.mu.Unlock()
	}
	open()
	w.await("done", 2*each)
	w.empty()
}

// What is put before the place where reading goes on is found, even if it comes while a read goes on.
func TestRewindDuringRead(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(o *Options) { o.Shards = 1 })
	db := w.useFaulty()
	w.send("a@alive.test")
	w.send("b@alive.test")
	w.q.mu.Lock()
	defer w.q.mu.Unlock()
	d := w.q.destination("alive.test")
	read := func(want int) {
		t.Helper()
		d.feed = nil
		w.q.fill(t.Context(), d)
		if len(d.feed) != want {
			t.Errorf("%d items were read, not %d", len(d.feed), want)
		}
	}
	read(2)
	if d.cursor[0] == (legRef{}) {
		t.Error("reading does not go on where it ended")
	}
	d.rewind()
	db.during(func() {
		w.q.mu.Lock()
		defer w.q.mu.Unlock()
		d.rewind()
	})
	read(2)
	db.during(nil)
	if d.cursor[0] != (legRef{}) {
		t.Error("the read has undone what came during it")
	}
}

// A claimed item is left alone, others to the same place are not, and then it has its turn.
func TestClaimedItemWaits(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.net.listen(t, "192.0.2.1", "PIPELINING")
	id := w.send("claimed@alive.test")
	if !w.q.claim(id) || w.q.claim(id) {
		t.Fatal("an item can be claimed once")
	}
	w.run()
	w.send("bob@alive.test")
	if m := w.get(s); m.rcpts[0] != "<bob@alive.test>" {
		t.Errorf("%+v", m)
	}
	w.await("done", 1)
	w.quiet() // and nobody looks for it all the time
	if n := len(s.taken()); n != 1 {
		t.Errorf("%d arrived", n)
	}
	w.q.unclaim(id)
	if m := w.get(s); m.rcpts[0] != "<claimed@alive.test>" {
		t.Errorf("%+v", m)
	}
	w.await("done", 2)
	w.empty()
}

// What a session has in hand cannot be claimed.
func TestRunningItemIsNotClaimed(t *testing.T) {
	t.Parallel()
	w := newWorld(t).run()
	s := w.net.listen(t, "192.0.2.1")
	open := w.block(s, "DOT")
	id := w.send("bob@alive.test")
	w.reached(s, "DATA")
	if w.q.claim(id) {
		t.Error("claimed")
	}
	open()
	w.await("done", 1)
}

// block makes a sink wait at a stage until the function it returns is called, or the test ends.
func (w *world) block(s *sink, stage string) (open func()) {
	gate := make(chan struct{})
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gate, s.stall = gate, stage
	open = sync.OnceFunc(func() {
		s.mu.Lock()
		s.gate = nil
		s.mu.Unlock()
		close(gate)
	})
	w.t.Cleanup(open)
	return open
}

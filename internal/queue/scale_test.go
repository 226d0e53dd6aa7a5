package queue

import (
	"context"
	"flag"
	"fmt"
	"runtime"
	"sync"
	"testing"
	"time"

	"tram/internal/kv/pebblekv"
)

// long runs the tests of this file at full size: go test -run Backlog -queue.long
var long = flag.Bool("queue.long", false, "a million waiting messages")

// O9: many messages wait for a dead domain; one for a live one goes at once, the dead one is probed
// once per wait, memory stays flat, and a restart is quick. What each of these costs the store is
// counted, and must be what it costs beside a hundred: a busy machine changes nothing about that.
func TestBacklog(t *testing.T) {
	t.Parallel()
	n := 5000
	if *long {
		n = 1000000
	}
	few, many := newBacklog(t, 100), newBacklog(t, n)
	steps := []struct {
		name string
		run  func(b *backlog)
	}{
		{"first look, with a probe", (*backlog).begin},
		{"new message", (*backlog).message},
		{"page of a listing", (*backlog).page},
		{"figures", (*backlog).figures},
		{"restart", (*backlog).restart},
	}
	for _, step := range steps {
		a, _ := few.cost(step.run)
		b, took := many.cost(step.run)
		t.Logf("%s: %d operations beside %d, %d beside %d, %v", step.name, a, few.n, b, many.n, took)
		if b > 2*a+500 {
			t.Errorf("%s costs %d operations beside %d messages, %d beside %d", step.name, b, many.n, a, few.n)
		}
	}
	begin := time.Now()
	f, found, longest := Filter{Recipient: fmt.Sprintf("r%d@", n-1)}, 0, time.Duration(0)
	for more := true; more; {
		page := time.Now()
		items, next, err := many.w.q.List(t.Context(), f)
		if err != nil {
			t.Fatal(err)
		}
		found, longest = found+len(items), max(longest, time.Since(page))
		f.After, more = next, next != ""
	}
	if found != 1 {
		t.Errorf("%d items were found", found)
	}
	t.Logf("search through all %v, the longest page %v", time.Since(begin), longest)
	many.drain()
}

// backlog is a world with messages that wait for a dead domain.
type backlog struct {
	w    *world
	n    int
	db   *faulty
	live *sink
}

func newBacklog(t *testing.T, n int) *backlog {
	t.Helper()
	b := &backlog{w: newWorld(t), n: n}
	if *long {
		b.w.usePebble()
	}
	b.db = b.w.useFaulty()
	b.w.backlog(n, 1)
	b.live = b.w.net.listen(t, "192.0.2.1", "PIPELINING", "CHUNKING")
	return b
}

// cost counts the rows that are read and written until the queue rests again.
func (b *backlog) cost(step func(*backlog)) (int64, time.Duration) {
	before, begin := b.db.ops.Load(), time.Now()
	step(b)
	took := time.Since(begin)
	b.w.quiet()
	return b.db.ops.Load() - before, took
}

func (b *backlog) begin() {
	before := heap()
	b.w.run()
	b.w.await("destination failed", 1)
	if d := b.w.net.dialled("192.0.2.9:25"); d != 1 {
		b.w.t.Errorf("%d probes", d)
	}
	b.w.quiet()
	b.flat(before)
}

func (b *backlog) message() {
	before := heap()
	b.w.send("bob@alive.test")
	b.w.get(b.live)
	b.w.await("done", 1)
	b.flat(before)
}

// flat checks that memory does not follow what waits.
func (b *backlog) flat(before uint64) {
	q := b.w.q
	q.mu.Lock()
	held := len(q.running) + len(q.claimed) + len(q.awaited) + len(q.owed)
	for _, d := range q.dests {
		held += len(d.feed) + len(d.running)
	}
	q.mu.Unlock()
	if held > feedSize {
		b.w.t.Errorf("%d items in memory of %d", held, b.n)
	}
	grown := int64(heap()) - int64(before)
	b.w.t.Logf("%d wait: the heap grew by %d KiB", b.n, grown>>10)
	if grown > 16<<20 {
		b.w.t.Errorf("the heap grew by %d KiB", grown>>10)
	}
}

func (b *backlog) page() {
	items, next, err := b.w.q.List(b.w.t.Context(), Filter{Limit: 50})
	if err != nil || len(items) != 50 || next == "" {
		b.w.t.Errorf("%d items, next %q, %v", len(items), next, err)
	}
}

func (b *backlog) figures() {
	st, err := b.w.q.Stats(b.w.t.Context())
	if err != nil || st.Waiting != int64(b.n) {
		b.w.t.Errorf("%+v, %v", st, err)
	}
}

func (b *backlog) restart() {
	b.w.stop()
	b.w.reopen()
}

// drain lets the domain come back: everything flows, over few connections.
func (b *backlog) drain() {
	w := b.w
	back := w.net.listen(w.t, "192.0.2.9", "PIPELINING", "CHUNKING")
	w.run()
	begin := time.Now()
	w.later(10 * time.Minute)
	drained := min(b.n, 2000)
	if *long {
		drained = b.n
	}
	for range drained {
		w.get(back)
	}
	if *long {
		w.quiet()
		w.empty()
	}
	back.mu.Lock()
	defer back.mu.Unlock()
	if most := b.n/w.o.Limits.PerSession + 4*w.o.Limits.DestMax; back.conns > most {
		w.t.Errorf("%d connections, not more than %d", back.conns, most)
	}
	w.t.Logf("%d drained in %v over %d connections", drained, time.Since(begin), back.conns)
}

// Many domains with work at once: only so many are in memory.
func TestManyDestinations(t *testing.T) {
	t.Parallel()
	n := 600
	w := newWorld(t, func(o *Options) { o.Limits.Active, o.Limits.Remembered, o.Limits.Workers = 50, 60, 20 })
	var zone string
	for i := range n {
		zone += fmt.Sprintf("d%d.test. IN MX 10 mx.alive.test.\n", i)
	}
	w.dns.Add(zone)
	s := w.net.listen(t, "192.0.2.1", "PIPELINING", "CHUNKING")
	w.backlog(n, n)
	w.run()
	for range n {
		w.get(s)
		w.q.mu.Lock()
		if w.q.active > 50 || len(w.q.dests) > 50+60+1 {
			t.Errorf("%d active, %d known", w.q.active, len(w.q.dests))
		}
		w.q.mu.Unlock()
	}
	w.await("done", n)
	w.quiet()
	if s.peak > 2*20+20 { // twenty at work, and some that wait for more or say goodbye
		t.Errorf("%d connections at once", s.peak)
	}
	w.empty()
}

// backlog submits n messages to one dead domain, or to as many domains as said.
func (w *world) backlog(n, domains int) {
	w.t.Helper()
	var wg sync.WaitGroup
	begin := time.Now()
	const workers = 16
	for k := range workers {
		wg.Go(func() {
			for i := k; i < n; i += workers {
				to := fmt.Sprintf("r%d@dead.test", i)
				if domains > 1 {
					to = fmt.Sprintf("r@d%d.test", i%domains)
				}
				_, err := w.q.Submit(context.Background(), Submission{Body: w.pending(note), Account: uint64(i%100 + 1),
					From: addr("alice@us.test"), Recipients: []Recipient{{Address: addr(to)}}})
				if err != nil {
					w.t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	w.t.Logf("%d submitted in %v", n, time.Since(begin))
}

// heap returns what is in use; 0 unless the test runs at full size, and nothing else beside it.
func heap() uint64 {
	if !*long {
		return 0
	}
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// usePebble puts the queue onto the engine it has in production.
func (w *world) usePebble() {
	w.t.Helper()
	db, err := pebblekv.Open(w.t.TempDir(), pebblekv.Options{Clock: w.clock})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { db.Close() })
	w.engine = db
	w.open()
}

// O10: hosts that accept and then say nothing do not hold up the others.
func TestStallingHosts(t *testing.T) {
	t.Parallel()
	const stalling, healthy, each = 120, 10, 30
	w := newWorld(t, func(o *Options) {
		o.Limits.Workers, o.Limits.SlowSessions = 40, 200
		o.Client.Greeting = 10 * time.Minute
	})
	gate := make(chan struct{})
	var zone string
	for i := range stalling {
		zone += fmt.Sprintf("s%d.test. IN A 198.51.100.%d\n", i, i+1)
		s := w.net.listen(t, fmt.Sprintf("198.51.100.%d", i+1))
		s.gate, s.stall = gate, "greeting"
	}
	var sinks []*sink
	for i := range healthy {
		zone += fmt.Sprintf("h%d.test. IN A 203.0.113.%d\n", i, i+1)
		sinks = append(sinks, w.net.listen(t, fmt.Sprintf("203.0.113.%d", i+1), "PIPELINING", "CHUNKING"))
	}
	w.dns.Add(zone)
	w.run()
	for i := range stalling {
		w.send(fmt.Sprintf("x@s%d.test", i), fmt.Sprintf("y@s%d.test", i))
	}
	w.stuck(40 / 2) // half of the slots are all they get
	// The healthy ones get through while all those hang, though they come last and are unknown:
	// as soon as the silent ones have been silent for long enough to lose their slots.
	for i := range healthy {
		for range each {
			w.send(fmt.Sprintf("bob@h%d.test", i))
		}
	}
	got := 0
	ok := until(func() bool {
		w.later(w.o.Limits.Slow)
		got = 0
		for _, s := range sinks {
			got += len(s.taken())
		}
		return got == healthy*each
	})
	if !ok {
		t.Fatalf("%d of %d came", got, healthy*each)
	}
	// And now that they are known, they are not even delayed.
	for i := range healthy {
		w.send(fmt.Sprintf("again@h%d.test", i))
	}
	for _, s := range sinks {
		for range each + 1 {
			w.get(s)
		}
	}
	w.q.mu.Lock()
	if w.q.slots.busy > 40 || w.q.slots.unknown > 20 {
		t.Errorf("%d slots busy, %d by unknown hosts", w.q.slots.busy, w.q.slots.unknown)
	}
	w.q.mu.Unlock()
	close(gate)
}

// stuck waits until n sessions hold slots.
func (w *world) stuck(n int) {
	w.t.Helper()
	busy := 0
	until(func() bool {
		w.q.mu.Lock()
		defer w.q.mu.Unlock()
		busy = w.q.slots.busy
		return busy >= n
	})
	if busy != n {
		w.t.Fatalf("%d slots busy, not %d", busy, n)
	}
}

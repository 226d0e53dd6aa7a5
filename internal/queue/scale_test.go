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
// once per wait, memory stays flat, and a restart is quick.
func TestBacklog(t *testing.T) {
	t.Parallel()
	n := 20000
	w := newWorld(t)
	if *long {
		n = 1000000
		w.usePebble()
	}
	w.backlog(n, 1)
	s := w.net.listen(t, "192.0.2.1", "PIPELINING", "CHUNKING")
	before := heap()
	w.run()
	w.await("destination failed", 1)
	begin := time.Now()
	w.send("bob@alive.test")
	w.get(s)
	took := time.Since(begin)
	if took > 5*time.Second {
		t.Errorf("a new message took %v", took)
	}
	w.await("done", 1)
	w.quiet()
	grown := int64(heap()) - int64(before)
	if grown > 16<<20 {
		t.Errorf("the heap grew by %d KiB", grown>>10)
	}
	if d := w.net.dialled("192.0.2.9:25"); d != 1 {
		t.Errorf("%d probes", d)
	}
	w.stop()
	begin = time.Now()
	w.reopen()
	restart := time.Since(begin)
	if restart > 10*time.Second {
		t.Errorf("a restart took %v", restart)
	}
	begin = time.Now()
	st, err := w.q.Stats(t.Context())
	if err != nil || st.Waiting != int64(n) {
		t.Errorf("%+v, %v", st, err)
	}
	stats := time.Since(begin)
	begin = time.Now()
	if items, _, err := w.q.List(t.Context(), Filter{Recipient: fmt.Sprintf("r%d@", n-1)}); err != nil || len(items) != 1 {
		t.Errorf("%d items, %v", len(items), err)
	}
	t.Logf("%d wait: new message %v, heap +%d KiB, restart %v, figures %v, search through all %v", n, took,
		grown>>10, restart, stats, time.Since(begin))
	// It comes back: everything flows.
	back := w.net.listen(t, "192.0.2.9", "PIPELINING", "CHUNKING")
	w.run()
	begin = time.Now()
	w.later(10 * time.Minute)
	drained := 2000
	if *long {
		drained = n
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
	if most := n/w.o.Limits.PerSession + 4*w.o.Limits.DestMax; back.conns > most {
		t.Errorf("%d connections, not more than %d", back.conns, most)
	}
	t.Logf("%d drained in %v over %d connections", drained, time.Since(begin), back.conns)
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

func heap() uint64 {
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

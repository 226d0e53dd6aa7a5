package queue

import (
	"strings"
	"testing"
	"time"

	"tram/internal/metrics"
)

// Whatever Submit has returned survives, whenever the plug is pulled.
func TestNothingIsLost(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ids := map[ID]bool{}
	for i := range 30 {
		if i%10 == 0 {
			w.q.settle(t.Context(), "alive.test")
		}
		ids[w.send("bob@alive.test", "dan@us.test")] = true
		w.db = w.db.Crash()
		w.open()
	}
	items, next, err := w.q.List(t.Context(), Filter{})
	if err != nil || next != "" || len(items) != len(ids) {
		t.Fatalf("%d of %d items, %v", len(items), len(ids), err)
	}
	s := w.net.listen(t, "192.0.2.1", "PIPELINING")
	w.run()
	w.await("done", len(ids))
	if len(s.taken()) != len(ids) || len(w.local.got) != len(ids) {
		t.Errorf("%d relayed, %d filed", len(s.taken()), len(w.local.got))
	}
	w.empty()
}

// D14: the process ends between the remote 250 and our record. The message is sent again, the same
// one, and that is counted; it is not one of those after it.
func TestCrashAfterRemoteAccepted(t *testing.T) {
	// Not parallel: it reads a counter that others raise.
	before := duplicates(t)
	for range 10 {
		crashOnce(t)
	}
	if n := duplicates(t) - before; n != 10 {
		t.Errorf("%v possible duplicates counted", n)
	}
}

// duplicates reads the counter of attempts that a crash has cut short.
func duplicates(t *testing.T) float64 {
	t.Helper()
	metricDuplicates.WithLabelValues("crash")
	families, err := metrics.Registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != "tram_queue_possible_duplicates_total" {
			continue
		}
		for _, m := range f.GetMetric() {
			if m.GetLabel()[0].GetValue() == "crash" {
				return m.GetCounter().GetValue()
			}
		}
	}
	t.Fatal("no such counter")
	return 0
}

func crashOnce(t *testing.T) {
	t.Helper()
	w := newWorld(t, func(o *Options) { o.Limits.DestMin, o.Limits.DestMax = 1, 1 })
	s := w.net.listen(t, "192.0.2.1", "PIPELINING")
	for range 20 {
		w.send("bob@alive.test")
	}
	// The sixth message is taken, and then the plug is pulled before we hear of it.
	taken, pulled := make(chan struct{}), make(chan struct{})
	n := 0
	s.on(func(stage, _ string) string {
		if stage == "DOT" {
			if n++; n == 6 {
				close(taken)
				<-pulled
				return "TAKE-CUT"
			}
		}
		return ""
	})
	w.run()
	<-taken
	db := w.db.Crash()
	w.q.mu.Lock()
	w.q.open = false // the old process does nothing more
	w.q.mu.Unlock()
	close(pulled)
	w.stop()
	sent := len(s.taken())
	w.db = db
	w.reopen()
	s.on(nil)
	w.run()
	w.later(10 * time.Minute)
	w.await("done", 15)
	if again := len(s.taken()); again-sent != 15 {
		t.Errorf("%d before, %d in all: %d duplicates", sent, again, again-20)
	}
	for _, m := range s.taken() {
		if !strings.Contains(m.body, "Message-ID: <1@us.test>") {
			t.Error("another message")
		}
	}
	w.empty()
}

// An engine that runs every transaction twice, as one does that lost a race, changes nothing.
func TestTransactionsMayRunTwice(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.db.SetTwice(true)
	s := w.net.listen(t, "192.0.2.1", "PIPELINING")
	s.on(func(stage, arg string) string {
		if stage == "RCPT" && strings.Contains(arg, "nobody") {
			return "550 5.1.1 no"
		}
		return ""
	})
	w.run()
	for range 20 {
		w.send("bob@alive.test", "nobody@alive.test", "dan@us.test", "eve@dead.test")
	}
	w.await("destination failed", 1)
	w.await("delivered", 40)
	w.await("relayed", 20)
	w.net.listen(t, "192.0.2.9")
	w.later(10 * time.Minute)
	w.await("done", 40)
	if _, whole := w.notices(); len(whole) != 20 {
		t.Errorf("%d notices", len(whole))
	}
	w.empty()
}

// Shutting down in the middle loses nothing, doubles nothing, and ends in time.
func TestStopInTheMiddle(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(o *Options) { o.Limits.DestMax = 4 })
	s := w.net.listen(t, "192.0.2.1", "PIPELINING", "CHUNKING")
	for range 200 {
		w.send("bob@alive.test")
	}
	for n := 0; n < 200; {
		w.run()
		w.await("done", min(20, 200-n))
		w.stop()
		n = len(s.taken())
		w.reopen()
	}
	if n := len(s.taken()); n != 200 {
		t.Errorf("%d arrived", n)
	}
	w.empty()
}

// A transaction that hangs is broken off when the drain time is over, and made again later.
func TestStopWhileRemoteHangs(t *testing.T) {
	t.Parallel()
	w := newWorld(t).run()
	s := w.net.listen(t, "192.0.2.1")
	gate := make(chan struct{})
	s.mu.Lock()
	s.gate, s.stall = gate, "RCPT"
	s.mu.Unlock()
	id := w.send("bob@alive.test")
	w.reached(s, "RCPT")
	w.stop()
	close(gate)
	w.reopen()
	if item := w.show(id); item.Recipients[0].Attempts != 0 {
		t.Errorf("%+v", item)
	}
	w.run()
	w.get(s)
	w.await("done", 1)
	w.empty()
}

// reached waits until a sink has seen a command.
func (w *world) reached(s *sink, verb string) {
	w.t.Helper()
	if !until(func() bool { return strings.Contains(s.log(), verb) }) {
		w.t.Fatalf("no %s in %s", verb, s.log())
	}
}

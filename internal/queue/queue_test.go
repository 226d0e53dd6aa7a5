package queue

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tram/internal/kv"
)

// keys returns every key of the queue's space.
func (w *world) keys() []string {
	w.t.Helper()
	var keys []string
	err := w.o.DB.View(w.t.Context(), "", func(r kv.Reader) error {
		return r.Scan(kv.Prefix([]byte{space}), func(key, _ []byte) error {
			if len(key) > 2 {
				keys = append(keys, string(key))
			}
			return nil
		})
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return keys
}

func TestDelivery(t *testing.T) {
	t.Parallel()
	for _, ehlo := range [][]string{nil, {"PIPELINING", "SIZE"}, {"PIPELINING", "CHUNKING", "DSN"}} {
		w := newWorld(t).run()
		s := w.net.listen(t, "192.0.2.1", ehlo...)
		w.send("bob@alive.test", "carol@alive.test", "dan@us.test")
		m := w.get(s)
		if diff := cmp.Diff([]string{"<bob@alive.test>", "<carol@alive.test>"}, m.rcpts); diff != "" ||
			m.from != "<alice@us.test>" || m.body != note {
			t.Errorf("%v: %+v %s", ehlo, m, diff)
		}
		w.await("done", 1)
		w.local.mu.Lock()
		if len(w.local.got) != 1 || w.local.confirm != 1 || w.local.got[0].Message.MessageID != "<1@us.test>" {
			t.Errorf("local: %+v", w.local.got)
		}
		w.local.mu.Unlock()
		w.empty()
		w.stop()
	}
}

func TestManyMessagesShareASession(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(o *Options) { o.Limits.DestMin, o.Limits.DestMax = 1, 1 })
	s := w.net.listen(t, "192.0.2.1", "PIPELINING", "CHUNKING")
	for range 250 {
		w.send("bob@alive.test")
	}
	w.run()
	w.await("done", 250)
	if s.mu.Lock(); s.conns != 3 { // PerSession is 100
		t.Errorf("%d connections for 250 messages", s.conns)
	}
	s.mu.Unlock()
	w.empty()
}

func TestAnOpenSessionIsReused(t *testing.T) {
	t.Parallel()
	w := newWorld(t).run()
	s := w.net.listen(t, "192.0.2.1")
	w.send("bob@alive.test")
	w.await("done", 1)
	w.idle("alive.test", 1)
	w.send("bob@alive.test")
	w.await("done", 2)
	w.idle("alive.test", 1)
	s.mu.Lock()
	if s.conns != 1 {
		t.Errorf("%d connections", s.conns)
	}
	s.mu.Unlock()
	// It goes when nothing comes.
	w.clock.Advance(w.o.Limits.Reuse)
	w.idle("alive.test", 0)
	// One that died meanwhile costs nothing.
	w.send("bob@alive.test")
	w.await("done", 3)
	w.reached(s, "QUIT")
	w.empty()
}

// idle waits until a destination has n sessions that wait for work.
func (w *world) idle(dest string, n int) {
	w.t.Helper()
	ok := until(func() bool {
		w.q.mu.Lock()
		defer w.q.mu.Unlock()
		d := w.q.dests[dest]
		return d != nil && len(d.idle) == n && d.sessions == 0
	})
	if !ok {
		w.t.Fatalf("%s has no %d idle sessions; the queue said:\n%s", dest, n, w.log)
	}
}

// A connection that died while it waited is not held against the destination.
func TestStaleSession(t *testing.T) {
	t.Parallel()
	w := newWorld(t).run()
	s := w.net.listen(t, "192.0.2.1")
	s.on(at("DOT", ""))
	w.send("bob@alive.test")
	w.await("done", 1)
	w.idle("alive.test", 1)
	s.on(func(stage, arg string) string {
		if stage == "MAIL" && len(s.taken()) == 1 && strings.Count(s.log(), "EHLO") == 1 {
			return "CUT"
		}
		return ""
	})
	w.send("bob@alive.test")
	w.await("done", 2)
	if w.log.times("deferred")+w.log.times("destination failed") != 0 {
		t.Errorf("%s", w.log)
	}
	w.empty()
}

// Every kind of answer to an attempt, and what becomes of the two recipients.
func TestOutcomes(t *testing.T) {
	t.Parallel()
	second := func(reply string) func(string, string) string {
		return func(stage, arg string) string {
			if stage == "RCPT" && strings.Contains(arg, "carol") {
				return reply
			}
			return ""
		}
	}
	tests := []struct {
		name       string
		reply      func(stage, arg string) string
		bob, carol State
		down       bool // nothing is held against the message
		dsn        int
	}{
		{name: "all well", bob: StateDelivered, carol: StateDelivered},
		{name: "one unknown", reply: second("550 5.1.1 no"), bob: StateDelivered, carol: StateFailed, dsn: 1},
		{name: "one busy", reply: second("450 4.2.1 busy"), bob: StateDelivered, carol: StateWaiting},
		{name: "sender refused", reply: at("MAIL", "550 5.7.1 no"), bob: StateFailed, carol: StateFailed, dsn: 1},
		{name: "later at MAIL", reply: at("MAIL", "451 4.7.1 greylisted"), bob: StateWaiting, carol: StateWaiting},
		{name: "closing at MAIL", reply: at("MAIL", "421 4.3.2 bye"), down: true},
		{name: "message refused", reply: at("DOT", "554 5.6.0 no"), bob: StateFailed, carol: StateFailed, dsn: 1},
		{name: "message later", reply: at("DOT", "452 4.3.1 full"), bob: StateWaiting, carol: StateWaiting},
		{name: "cut after the message", reply: at("DOT", "CUT"), bob: StateWaiting, carol: StateWaiting},
		{name: "cut at MAIL", reply: at("MAIL", "CUT"), down: true},
		{name: "cut at RCPT", reply: second("CUT"), bob: StateWaiting, carol: StateWaiting},
		{name: "greeting later", reply: at("greeting", "421 4.3.2 busy"), down: true},
		{name: "greeting never", reply: at("greeting", "554 5.7.1 go away"), down: true},
		{name: "no SMTP", reply: at("greeting", "HTTP/1.1 400 Bad"), down: true},
		{name: "hello refused", reply: at("EHLO", "421 4.3.2 no"), down: true},
		{name: "DATA refused", reply: at("DATA", "451 4.3.0 no"), bob: StateWaiting, carol: StateWaiting},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t).run()
			s := w.net.listen(t, "192.0.2.1", "PIPELINING")
			s.on(tt.reply)
			id := w.send("bob@alive.test", "carol@alive.test")
			if tt.down {
				w.await("destination failed", 1)
				item := w.show(id)
				for _, r := range item.Recipients {
					if r.Attempts != 0 || r.State != StateWaiting || r.LastReply == "" || !r.Next.After(start) {
						t.Errorf("%+v", r)
					}
				}
			} else {
				w.checkOutcome(id, tt.bob, tt.carol)
			}
			if tt.dsn > 0 {
				w.await("delivered", 1)
			}
			// It comes round: everybody is served in the end, nobody twice.
			s.on(nil)
			w.later(10 * time.Minute)
			w.later(10 * time.Minute)
			w.await("done", 1+tt.dsn)
			if _, whole := w.notices(); len(whole) != tt.dsn {
				t.Errorf("%d notices", len(whole))
			}
			w.empty()
		})
	}
}

// checkOutcome waits for an item's first attempt and checks its recipients.
func (w *world) checkOutcome(id ID, states ...State) {
	w.t.Helper()
	byState := map[State]int{}
	for _, s := range states {
		byState[s]++
	}
	w.await("relayed", byState[StateDelivered])
	w.await("deferred", byState[StateWaiting])
	w.await("failed", byState[StateFailed])
	if byState[StateWaiting] == 0 {
		return // it is gone
	}
	item := w.show(id)
	for i, r := range item.Recipients {
		if r.State != states[i] || r.Attempts != 1 || r.LastTried != start || r.LastReply == "" {
			w.t.Errorf("recipient %d: %+v, want %s", i, r, states[i])
		}
	}
}

// RFC 5321 §4.5.3.1.10: more recipients than the server takes go in more transactions.
func TestTooManyRecipients(t *testing.T) {
	t.Parallel()
	for _, ehlo := range [][]string{{"PIPELINING"}, {"PIPELINING", "LIMITS RCPTMAX=30"}, nil} {
		w := newWorld(t).run()
		s := w.net.listen(t, "192.0.2.1", ehlo...)
		n := 0
		s.on(func(stage, arg string) string {
			switch stage {
			case "MAIL":
				n = 0
			case "RCPT":
				if n++; n > 40 {
					return "452 4.5.3 too many"
				}
			}
			return ""
		})
		var to []string
		for i := range 250 {
			to = append(to, "r"+strings.Repeat("x", i%7)+string(rune('a'+i%26))+strings.Repeat("y", i/26)+"@alive.test")
		}
		w.send(to...)
		w.await("done", 1)
		seen := map[string]int{}
		for _, m := range s.taken() {
			for _, r := range m.rcpts {
				seen[r]++
			}
		}
		for _, a := range to {
			if seen["<"+a+">"] != 1 {
				t.Errorf("%v: %s got %d", ehlo, a, seen["<"+a+">"])
			}
		}
		w.empty()
		w.stop()
	}
}

func TestPriorityGoesFirst(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(o *Options) { o.Limits.DestMin, o.Limits.DestMax, o.Shards = 1, 1, 1 })
	s := w.net.listen(t, "192.0.2.1", "PIPELINING", "MT-PRIORITY")
	for _, p := range []int{-4, 0, 9, 3, -9} {
		w.submit(Submission{Account: 7, From: addr("alice@us.test"), MTPriority: p}, "bob@alive.test")
	}
	w.run()
	w.await("done", 5)
	var order []string
	for _, m := range s.taken() {
		order = append(order, m.params)
	}
	want := []string{"MT-PRIORITY=9", "MT-PRIORITY=3", "", "MT-PRIORITY=-4", "MT-PRIORITY=-9"}
	if diff := cmp.Diff(want, order); diff != "" { // RFC 6710 §5
		t.Error(diff)
	}
}

func TestFullDiskDrains(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.net.listen(t, "192.0.2.1")
	w.send("bob@alive.test")
	body := w.pending(note)
	w.db.SetFull(true)
	_, err := w.q.Submit(t.Context(), Submission{From: addr("alice@us.test"), Account: 7, Body: body,
		Recipients: []Recipient{{Address: addr("bob@alive.test")}}})
	if err == nil {
		t.Error("a full disk took a message")
	}
	w.run()
	w.get(s)
	w.await("done", 1)
	w.empty()
}

func TestSubmitErrors(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	if _, err := w.q.Submit(t.Context(), Submission{Body: w.pending(note)}); err == nil {
		t.Error("no recipients")
	}
	to := []Recipient{{Address: addr("bob@alive.test")}}
	if _, err := w.q.Submit(t.Context(), Submission{ID: "a b", Body: w.pending(note), Recipients: to}); err == nil {
		t.Error("an ID with a space")
	}
	// A trail that comes twice gets a suffix.
	for _, want := range []ID{"trail", "trail-2", "trail-3"} {
		if id := w.submit(Submission{ID: "trail"}, "bob@alive.test"); id != want {
			t.Errorf("%s, want %s", id, want)
		}
	}
	if _, err := w.q.Show(t.Context(), "none"); err == nil {
		t.Error("an item that is not there")
	}
}

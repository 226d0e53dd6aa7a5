package queue

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tram/internal/envelope"
	"tram/internal/message"
	"tram/internal/smtp"
)

// A message that was taken and could not be recorded as such is not sent again while this process
// knows of it: it is recorded later.
func TestDeedIsNotRepeated(t *testing.T) {
	t.Parallel()
	for _, others := range []int{0, 30} { // with others, the destination has more sessions
		w := newWorld(t)
		db := w.useFaulty()
		s := w.net.listen(t, "192.0.2.1", "PIPELINING")
		s.on(func(stage, arg string) string {
			if stage == "RCPT" && strings.Contains(arg, "nobody") {
				return "550 5.1.1 no"
			}
			return ""
		})
		for range others {
			w.send("bob@alive.test")
		}
		id := w.send("bob@alive.test", "nobody@alive.test")
		db.fail(func(op byte, key []byte) bool {
			return markless(op, key) && strings.Contains(string(key), string(id)+"\x00")
		})
		w.run()
		w.await("delivery not recorded", 1)
		if n := w.log.times("failed"); n > 0 {
			t.Error("told of what is not recorded")
		}
		// The destination rests from when that is said: the clock must not move before.
		w.await("destination failed", 1)
		w.later(10 * time.Minute)
		w.await("delivery not recorded", 2)
		w.await("destination failed", 2)
		db.fail(nil)
		w.later(time.Hour)
		w.await("done", others+2)
		mine := 0
		for _, m := range s.taken() {
			if len(m.rcpts) == 1 && m.from == "<alice@us.test>" {
				mine++
			}
		}
		if _, whole := w.notices(); mine != others+1 || len(whole) != 1 {
			t.Errorf("%d messages arrived for %d, and %d notices", mine, others+1, len(whole))
		}
		w.empty()
		w.stop()
	}
}

// Nor is its sender told that it has failed: what it came to counts before it is given up or dropped.
func TestDeedCountsBeforeTheEnd(t *testing.T) {
	t.Parallel()
	for _, drop := range []bool{true, false} {
		w := newWorld(t)
		db := w.useFaulty()
		s := w.net.listen(t, "192.0.2.1", "PIPELINING")
		id := w.send("bob@alive.test", "eve@dead.test")
		db.fail(func(op byte, key []byte) bool {
			return markless(op, key) && strings.HasSuffix(string(key), "alive.test")
		})
		w.run()
		w.await("delivery not recorded", 1)
		w.await("destination failed", 2) // the other one, and this one rests
		db.fail(nil)
		if drop {
			if err := w.q.Drop(t.Context(), id, true); err != nil {
				t.Error(err)
			}
		} else {
			w.clock.Advance(time.Second)
			w.q.mu.Lock()
			w.q.dests["alive.test"].probe = never // it never comes to another attempt
			w.q.mu.Unlock()
			for range 121 {
				w.later(time.Hour)
			}
		}
		w.await("failed", 1)
		if got := w.await("relayed", 1); !strings.Contains(got, "to=<bob@") || w.log.times("failed") > 1 {
			t.Errorf("%s", w.log)
		}
		if n := len(s.taken()); n != 1 {
			t.Errorf("%d arrived", n)
		}
		w.stop()
	}
}

// A row that cannot be read keeps nobody else's mail, and is shown.
func TestDamagedItem(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(o *Options) { o.Shards = 1 })
	s := w.net.listen(t, "192.0.2.1", "PIPELINING")
	bad := w.send("bad@alive.test")
	w.clock.Advance(time.Second)
	w.send("bob@alive.test")
	w.spoil(bad)
	w.run()
	if m := w.get(s); m.rcpts[0] != "<bob@alive.test>" {
		t.Errorf("%+v", m)
	}
	w.await("done", 1)
	w.quiet()
	if n := w.log.times("queue item is damaged"); n != 1 || w.log.times("destination failed") > 0 {
		t.Errorf("said %d times; the queue said:\n%s", n, w.log)
	}
	items, _, err := w.q.List(t.Context(), Filter{})
	if err != nil || len(items) != 1 || items[0].ID != bad || !strings.Contains(items[0].HeldReason, "damaged") {
		t.Errorf("%+v, %v", items, err)
	}
	if items, _, err := w.q.List(t.Context(), Filter{State: StateWaiting}); err != nil || len(items) != 0 {
		t.Errorf("%+v, %v", items, err)
	}
	// Nor does it keep the others from what time brings.
	w.send("carol@dead.test")
	w.await("destination failed", 1)
	w.later(w.o.Limits.Warn)
	w.await("delayed", 1)
}

// An item is not given up while a session has it in hand, however old it is.
func TestNoExpiryDuringAttempt(t *testing.T) {
	t.Parallel()
	for _, reply := range []string{"250 2.0.0 ok", "451 4.3.0 later"} {
		w := newWorld(t).run()
		s := w.net.listen(t, "192.0.2.1")
		s.on(at("DOT", reply))
		open := w.block(s, "DOT")
		w.send("bob@alive.test")
		w.reached(s, "DATA")
		w.later(time.Second)
		w.send("eve@dead.test") // in the same shard; what befalls it befell the other before
		for range 130 {
			w.later(time.Hour)
		}
		w.await("delayed", 1)
		w.await("failed", 1)
		if w.log.times("failed")+w.log.times("delayed") > 2 {
			t.Errorf("told of while it is being delivered:\n%s", w.log)
		}
		open()
		if reply[0] == '2' {
			w.await("done", 4) // it, the other one, and what was told of that
		} else {
			w.await("failed", 2) // now it is too old
		}
		w.stop()
	}
}

// Drop during an attempt: what was delivered is not said to be removed.
func TestDropDuringAttempt(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, reply      string
		notify, released bool
		crash            bool
		arrive, notices  int
	}{
		{name: "delivered", reply: "250 2.0.0 ok", notify: true, arrive: 1},
		{name: "put off", reply: "451 4.3.0 later", notify: true, notices: 1},
		{name: "put off, silently", reply: "451 4.3.0 later"},
		{name: "refused", reply: "554 5.6.0 no", notify: true, notices: 1},
		{name: "taken back", reply: "451 4.3.0 later", notify: true, released: true, arrive: 1},
		{name: "crash", reply: "CUT", notify: true, crash: true, notices: 1},
	}
	for _, tt := range tests {
		w := newWorld(t).run()
		s := w.net.listen(t, "192.0.2.1")
		s.on(at("DOT", tt.reply))
		open := w.block(s, "DOT")
		id := w.send("bob@alive.test")
		w.reached(s, "DATA")
		if err := w.q.Drop(t.Context(), id, tt.notify); err != nil {
			t.Fatal(err)
		}
		if it := w.show(id); it.State != StateHeld || !strings.Contains(it.HeldReason, "attempt under way") {
			t.Errorf("%s: %+v", tt.name, it)
		}
		if tt.released {
			if err := w.q.Release(t.Context(), id); err != nil {
				t.Fatal(err)
			}
		}
		if tt.crash {
			w.crash()
			w.run()
			w.await("failed", 1)
		}
		open()
		if tt.released {
			w.await("deferred", 1)
			s.on(nil)
			w.later(10 * time.Minute)
		}
		w.await("done", 1+tt.notices)
		if _, whole := w.notices(); len(whole) != tt.notices || len(s.taken()) != tt.arrive {
			t.Errorf("%s: %d notices, %d arrived", tt.name, len(whole), len(s.taken()))
		}
		w.empty()
		w.stop()
	}
}

// What was composed about an item is not sent if the item has become another meanwhile.
func TestNoticeOfAnItemThatChanged(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	id := w.send("bob@dead.test")
	s, rec, err := w.q.find(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.q.Hold(t.Context(), id, "look at it"); err != nil {
		t.Fatal(err)
	}
	for name, op := range map[string]func() error{
		"giveUp":  func() error { return w.q.giveUp(t.Context(), s, rec, dropped, true) },
		"delayed": func() error { return w.q.delayed(t.Context(), s, rec, true) },
	} {
		if err := op(); !errors.Is(err, errChanged) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if n := w.log.times("queued"); n != 1 || w.show(id).HeldReason != "look at it" {
		t.Errorf("%d items, %+v", n, w.show(id))
	}
	if err := w.q.Drop(t.Context(), id, false); err != nil {
		t.Error(err)
	}
	w.empty()
}

// A retry that is asked for during an attempt does not make a second one beside it.
func TestRetryDuringAttempt(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(o *Options) { o.Limits.DestMin = 5 }).run()
	s := w.net.listen(t, "192.0.2.1", "PIPELINING")
	open := w.block(s, "DOT")
	id := w.send("bob@alive.test")
	w.reached(s, "DATA")
	for n := range 5 {
		if err := w.q.Retry(t.Context(), id); err != nil {
			t.Fatal(err)
		}
		if n == 2 {
			if err := w.q.Hold(t.Context(), id, "x"); err != nil {
				t.Fatal(err)
			}
			if err := w.q.Release(t.Context(), id); err != nil {
				t.Fatal(err)
			}
		}
		w.look()
	}
	w.submit(Submission{Account: 7, From: addr("alice@us.test"), MTPriority: 5}, "eve@alive.test")
	if !until(func() bool { return strings.Count(s.log(), "DATA") == 2 }) {
		t.Error("the other one does not start")
	}
	open()
	w.await("done", 2)
	w.quiet()
	if n := len(s.taken()); n != 2 {
		t.Errorf("%d arrived", n)
	}
	w.empty()
}

// Several fates at one server: each recipient of one message gets its own, in one notice for each
// kind, for those who asked.
func TestPartialSuccess(t *testing.T) {
	t.Parallel()
	w := newWorld(t).run()
	s := w.net.listen(t, "192.0.2.1", "PIPELINING")
	s.on(func(stage, arg string) string {
		switch {
		case stage == "RCPT" && strings.Contains(arg, "<no"):
			return "550 5.1.1 no"
		case stage == "RCPT" && strings.Contains(arg, "<later"):
			return "450 4.2.1 later"
		}
		return ""
	})
	rcpts := []Recipient{}
	for _, name := range []string{"yes", "no", "later"} {
		for _, n := range []envelope.Notify{0, envelope.NotifyNever, envelope.NotifySuccess, envelope.NotifyFailure,
			envelope.NotifyDelay, envelope.NotifySuccess | envelope.NotifyFailure | envelope.NotifyDelay} {
			rcpts = append(rcpts, Recipient{Notify: n,
				Address: smtp.Address{Local: name + string(rune('a'+n)), Domain: "alive.test"}})
		}
	}
	w.submit(Submission{Account: 7, From: addr("alice@us.test"), Recipients: rcpts})
	w.await("delivered", 2)
	named := func(n int) string {
		parsed, whole := w.notices()
		var b strings.Builder
		for f := range message.Header([]byte(strings.ReplaceAll(part(t, whole[n], parsed[n], 1), "\r\n\r\n", "\r\n"))) {
			if f.Is("Final-Recipient") || f.Is("Action") {
				b.WriteString(strings.TrimSpace(string(f.Body)) + " ")
			}
		}
		return strings.NewReplacer("rfc822;", "", "@alive.test", "").Replace(b.String())
	}
	got := []string{named(0), named(1)} // each is in some shard
	slices.Sort(got)
	want := []string{"noa failed noe failed noo failed ", "yesc relayed yeso relayed "}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	w.later(w.o.Limits.Warn)
	w.await("delayed", 1)
	w.await("delivered", 3)
	if got := named(2); got != "latera delayed lateri delayed latero delayed " {
		t.Errorf("delays: %s", got)
	}
	// Once is enough, also after a restart.
	w.stop()
	w.reopen()
	w.run()
	for range 30 {
		w.later(time.Hour)
	}
	if n := w.log.times("delayed"); n > 0 {
		t.Errorf("told of %d more times", n)
	}
}

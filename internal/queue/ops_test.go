package queue

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tram/internal/envelope"
)

func TestListAndFilters(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for i := range 25 {
		id := ID(fmt.Sprintf("m%02d", i))
		w.submit(Submission{ID: id, Account: uint64(i%3 + 1), From: addr(fmt.Sprintf("u%d@us.test", i%5))},
			fmt.Sprintf("r%d@alive.test", i), "Shared@dead.test")
	}
	w.submit(Submission{ID: "notice", Origin: envelope.Notice}, "x@xn--vit-5kz.test")
	if err := w.q.Hold(t.Context(), "m07", "look at it"); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		f    Filter
		want int
	}{
		{Filter{}, 26}, {Filter{Sender: "U3@"}, 5}, {Filter{Sender: "<>"}, 1},
		{Filter{Recipient: "r1"}, 11}, {Filter{Recipient: "shared"}, 25},
		{Filter{Domain: "dead.test"}, 25}, {Filter{Domain: "việt.test"}, 1},
		{Filter{Domain: "dead.test", Recipient: "r3"}, 0},
		{Filter{State: StateHeld}, 1}, {Filter{State: StateWaiting}, 25}, {Filter{Domain: "none.test"}, 0},
	}
	for _, tt := range tests {
		for _, page := range []int{1, 4, 100} {
			var ids []ID
			f := tt.f
			f.Limit = page
			for {
				items, next, err := w.q.List(t.Context(), f)
				if err != nil {
					t.Fatal(err)
				}
				for _, it := range items {
					ids = append(ids, it.ID)
				}
				if (next != "") != (len(items) == page && len(ids) < tt.want) {
					t.Errorf("%+v by %d: next %q after %d", tt.f, page, next, len(ids))
				}
				if next == "" {
					break
				}
				f.After = next
			}
			if len(ids) != tt.want || !slices.IsSorted(ids) {
				t.Errorf("%+v by %d: %v", tt.f, page, ids)
			}
		}
	}
	if it := w.show("m07"); it.State != StateHeld || it.HeldReason != "look at it" || !it.Next.IsZero() {
		t.Errorf("%+v", it)
	}
}

// Listings have what came first first, whatever it is called and wherever it is stored; and a page
// begins where the one before has ended, even if what stood there has gone.
func TestListIsByArrival(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var want []ID
	for i := range 30 {
		id := ID(fmt.Sprintf("%x.%d", sha256.Sum256([]byte{byte(i)}), i))[48:]
		w.submit(Submission{ID: id, Account: uint64(i%7 + 1), From: addr("alice@us.test")}, "bob@dead.test")
		want = append(want, id)
		w.clock.Advance(3 * time.Millisecond)
	}
	var got []ID
	f := Filter{Limit: 4}
	for {
		items, next, err := w.q.List(t.Context(), f)
		if err != nil {
			t.Fatal(err)
		}
		for _, it := range items {
			got = append(got, it.ID)
		}
		if next == "" {
			break
		}
		if err := w.q.Drop(t.Context(), items[len(items)-1].ID, false); err != nil {
			t.Fatal(err)
		}
		f.After = next
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	// The ID of an item that is there does as well.
	items, _, err := w.q.List(t.Context(), Filter{After: string(want[8]), Limit: 1})
	if err != nil || len(items) != 1 || items[0].ID != want[9] {
		t.Errorf("%+v, %v", items, err)
	}
	for _, after := range []string{"none", "@", "@zz", "@-.x", string(want[3])} { // the last one was dropped
		if _, _, err := w.q.List(t.Context(), Filter{After: after}); (err == nil) != (after == "@zz") {
			t.Errorf("after %q: %v", after, err)
		}
	}
}

// TestListLooksAtSoMany items and hands out what it has: a filter that matches next to nothing gives
// empty pages that lead on, in the order of arrival over all shards.
func TestListLooksAtSoMany(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(o *Options) { o.Shards, o.looked = 3, 12 })
	var want []ID
	for i := range 90 {
		id, to := ID(fmt.Sprintf("%02d", i)), "bob@dead.test"
		if i%20 == 7 {
			to, want = "rare@dead.test", append(want, id)
		}
		w.submit(Submission{ID: id, Account: uint64(i%7 + 1), From: addr("alice@us.test")}, to)
		w.clock.Advance(time.Second)
	}
	var got []ID
	pages, empty, f := 0, 0, Filter{Recipient: "rare"}
	for more := true; more; pages++ {
		items, next, err := w.q.List(t.Context(), f)
		if err != nil {
			t.Fatal(err)
		}
		for _, it := range items {
			got = append(got, it.ID)
		}
		if len(items) == 0 {
			empty++
		}
		f.After, more = next, next != ""
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if pages < 90/12 || empty == 0 {
		t.Errorf("%d pages, %d of them empty: more was looked at than allowed", pages, empty)
	}
	if items, next, err := w.q.List(t.Context(), Filter{Limit: 90}); len(items) != 90 || next != "" || err != nil {
		t.Errorf("without a filter %d items, next %q, %v", len(items), next, err)
	}
}

func TestHoldReleaseDropRetry(t *testing.T) {
	t.Parallel()
	w := newWorld(t).run()
	ctx := t.Context()
	a, b, c := w.send("a@dead.test"), w.send("b@dead.test"), w.send("c@dead.test", "c@us.test")
	w.await("destination failed", 1)
	w.await("delivered", 1)
	if err := w.q.Hold(ctx, a, "why"); err != nil {
		t.Fatal(err)
	}
	if err := w.q.Drop(ctx, c, true); err != nil {
		t.Fatal(err)
	}
	w.await("delivered", 2) // the notice
	if parsed, whole := w.notices(); len(whole) != 1 {
		t.Errorf("%d notices", len(whole))
	} else if got := part(t, whole[0], parsed[0], 1); !contains(got, "Status: 5.7.0", "rfc822;c@dead.test") ||
		contains(got, "c@us.test") {
		t.Errorf("%s", got)
	}
	if _, err := w.q.Show(ctx, c); !errors.Is(err, ErrNotFound) {
		t.Errorf("a dropped item: %v", err)
	}
	// Retry probes a destination that is down; what is held stays.
	s := w.net.listen(t, "192.0.2.9")
	if err := w.q.Retry(ctx, a); err != nil {
		t.Fatal(err)
	}
	if err := w.q.Retry(ctx, b); err != nil {
		t.Fatal(err)
	}
	if m := w.get(s); m.rcpts[0] != "<b@dead.test>" {
		t.Errorf("%+v", m)
	}
	w.later(300 * time.Hour) // held mail does not age
	if it := w.show(a); it.State != StateHeld {
		t.Errorf("%+v", it)
	}
	if err := w.q.Release(ctx, a); err != nil {
		t.Fatal(err)
	}
	if m := w.get(s); m.rcpts[0] != "<a@dead.test>" {
		t.Errorf("%+v", m)
	}
	w.await("done", 4)
	for _, op := range []func() error{
		func() error { return w.q.Hold(ctx, a, "") }, func() error { return w.q.Release(ctx, a) },
		func() error { return w.q.Drop(ctx, a, false) }, func() error { return w.q.Retry(ctx, a) },
	} {
		if err := op(); !errors.Is(err, ErrNotFound) {
			t.Errorf("of an item that is gone: %v", err)
		}
	}
	w.empty()
}

func contains(s string, all ...string) bool {
	for _, sub := range all {
		if !strings.Contains(s, sub) {
			return false
		}
	}
	return true
}

// Operations on an item that a session has in hand: what was sent counts, what was not obeys.
func TestOperationsWhileRunning(t *testing.T) {
	t.Parallel()
	for _, op := range []string{"hold", "drop", "retry"} {
		for _, reply := range []string{"250 2.0.0 ok", "451 4.3.0 later"} {
			w := newWorld(t).run()
			s := w.net.listen(t, "192.0.2.1")
			gate := make(chan struct{})
			s.mu.Lock()
			s.gate, s.stall, s.reply = gate, "DOT", at("DOT", reply)
			s.mu.Unlock()
			id := w.send("bob@alive.test")
			w.reached(s, "DATA")
			if it := w.show(id); it.State != StateRunning {
				t.Errorf("%s", it.State)
			}
			var err error
			switch op {
			case "hold":
				err = w.q.Hold(t.Context(), id, "x")
			case "drop":
				err = w.q.Drop(t.Context(), id, false)
			case "retry":
				err = w.q.Retry(t.Context(), id)
			}
			if err != nil {
				t.Fatal(err)
			}
			close(gate)
			s.mu.Lock()
			s.gate = nil
			s.mu.Unlock()
			switch {
			case op == "drop" || reply[0] == '2':
				w.await("done", 1)
			case op == "hold":
				w.await("deferred", 1)
				if it := w.show(id); it.State != StateHeld {
					t.Errorf("%s, %s: %s", op, reply, it.State)
				}
				s.on(nil)
				if err := w.q.Release(t.Context(), id); err != nil {
					t.Fatal(err)
				}
				w.await("done", 1)
			default:
				w.await("deferred", 1)
				s.on(nil)
				w.later(10 * time.Minute)
				w.await("done", 1)
			}
			w.stop()
			w.empty()
		}
	}
}

// RFC 4865: not before its time.
func TestHoldUntil(t *testing.T) {
	t.Parallel()
	w := newWorld(t).run()
	s := w.net.listen(t, "192.0.2.1")
	id := w.submit(Submission{Account: 7, From: addr("alice@us.test"), HoldUntil: start.Add(48 * time.Hour)},
		"bob@alive.test")
	if it := w.show(id); it.State != StateHeld || it.HeldReason != "until 2026-03-03T12:00:00Z" {
		t.Errorf("%+v", it)
	}
	w.later(48*time.Hour - time.Second)
	w.crash()
	w.run()
	w.look()
	if len(s.taken()) > 0 {
		t.Error("it left too early")
	}
	w.later(time.Second)
	w.get(s)
	w.await("done", 1)
	if w.log.times("delayed") > 0 {
		t.Error("its age began before its time")
	}
	w.empty()
}

func TestStats(t *testing.T) {
	t.Parallel()
	w := newWorld(t).run()
	for i := range 30 {
		w.submit(Submission{Account: uint64(i + 1), From: addr("alice@us.test")}, "bob@dead.test")
	}
	w.await("destination failed", 1)
	w.later(time.Minute)
	id := w.send("bob@dead.test")
	if err := w.q.Hold(t.Context(), id, "x"); err != nil {
		t.Fatal(err)
	}
	st, err := w.q.Stats(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if st.Waiting != 30 || st.Held != 1 || !st.Oldest.Equal(start) || len(st.Destinations) != 1 {
		t.Fatalf("%+v", st)
	}
	if d := st.Destinations[0]; d.Name != "dead.test" || d.Waiting != 30 || !d.Failing ||
		!d.NextProbe.After(start) || !contains(d.LastError, "connection refused") {
		t.Errorf("%+v", d)
	}
}

// What an account may send, limits.md: more is held, and released by its minute or by an operator.
func TestAccountLimits(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(o *Options) {
		o.Limits.Burst, o.Limits.PerDay, o.Limits.NewPerDay = 5, 20, 8
	}).run()
	s := w.net.listen(t, "192.0.2.1", "PIPELINING")
	for i := range 12 { // to the same one: only the burst counts
		w.send("bob@alive.test")
		if got := w.held(); got != max(0, i+1-5) {
			t.Errorf("%d held after %d in a minute", got, i+1)
		}
	}
	w.await("done", 5)
	w.later(time.Minute)
	w.await("done", 10)
	w.later(time.Minute)
	w.await("done", 12)
	for i := range 7 { // seven new ones beside bob are allowed
		w.later(time.Minute)
		w.send(fmt.Sprintf("new%d@alive.test", i))
	}
	w.await("done", 19)
	w.later(time.Minute)
	id := w.send("onemore@alive.test")
	if it := w.show(id); it.State != StateHeld || it.HeldReason != "account limit: more than 8 new recipients a day" {
		t.Errorf("%+v", it)
	}
	id = w.send("bob@alive.test")
	if it := w.show(id); it.HeldReason != "account limit: more than 20 messages a day" {
		t.Errorf("%+v", it)
	}
	w.send("local@us.test") // does not leave
	w.await("done", 20)
	if err := w.q.Release(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	w.await("done", 21)
	// Another account is another matter, and tomorrow another day.
	w.submit(Submission{Account: 8, From: addr("carol@us.test")}, "bob@alive.test")
	w.await("done", 22)
	for range 24 {
		w.later(time.Hour)
	}
	w.send("bob@alive.test")
	w.await("done", 23)
	if len(s.taken()) != 22 {
		t.Errorf("%d arrived", len(s.taken()))
	}
}

func (w *world) held() int {
	w.t.Helper()
	st, err := w.q.Stats(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	return int(st.Held)
}

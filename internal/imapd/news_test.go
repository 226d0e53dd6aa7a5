package imapd

import (
	"fmt"
	"testing"
	"time"

	"tram/internal/imap"
)

// TestIdlePush: what one client does, all others hear while they idle.
func TestIdlePush(t *testing.T) {
	t.Parallel()
	h := build(t, options{})
	h.fill("INBOX", 1, 3)
	type watcher struct {
		*imap.Client
		tag string
	}
	var watchers []watcher
	for range 5 {
		c := h.client()
		do(t, c, "SELECT INBOX")
		tag, err := c.Idle()
		if err != nil {
			t.Fatal(err)
		}
		watchers = append(watchers, watcher{c, tag})
	}
	actor := h.client()
	do(t, actor, "SELECT INBOX")
	expect := func(name string, num uint32) {
		t.Helper()
		began := time.Now()
		for i, w := range watchers {
			for {
				r, err := w.Next()
				if err != nil {
					t.Fatalf("watcher %d: %v", i, err)
				}
				if r.Name == "RECENT" || r.Name == "FLAGS" || r.Name == "OK" {
					continue
				}
				if r.Name != name || r.Num != num {
					t.Fatalf("watcher %d: %+v, want %s %d", i, r, name, num)
				}
				break
			}
		}
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("%s took %v to reach all", name, took)
		}
	}
	do(t, actor, "APPEND INBOX ", []byte(mail(4)))
	expect("EXISTS", 4)
	do(t, actor, "STORE 2 +FLAGS.SILENT (\\Flagged)")
	expect("FETCH", 2)
	do(t, actor, "MOVE 1 Archive")
	expect("EXPUNGE", 1)
	do(t, actor, "STORE 1 +FLAGS.SILENT (\\Deleted)")
	expect("FETCH", 1)
	do(t, actor, "CLOSE")
	expect("EXPUNGE", 1)
	for _, w := range watchers {
		if _, err := w.Done(w.tag); err != nil {
			t.Error(err)
		}
	}
}

// TestSeenByTheOther: flags, moves, appends and removals of one client show in the other's next
// command, and nothing is told twice.
func TestSeenByTheOther(t *testing.T) {
	t.Parallel()
	h := build(t, options{})
	h.fill("INBOX", 1, 4)
	a, b := h.client(), h.client()
	do(t, a, "SELECT INBOX")
	do(t, b, "SELECT INBOX")
	names := func(r *imap.Reply) string {
		s := ""
		for _, d := range r.Data {
			if d.Name != "RECENT" {
				s += fmt.Sprintf("%d %s;", d.Num, d.Name)
			}
		}
		return s
	}
	for _, step := range []struct{ command, own, other string }{
		{"STORE 1 +FLAGS (\\Seen)", "1 FETCH;", "1 FETCH;"},
		{"STORE 1 +FLAGS.SILENT (\\Flagged)", "", "1 FETCH;"},
		{"FETCH 2 BODY[]", "2 FETCH;", "2 FETCH;"},
		{"COPY 1 INBOX", "5 EXISTS;", "5 EXISTS;"},
		{"MOVE 2:3 Archive", "0 OK;3 EXPUNGE;2 EXPUNGE;", "3 EXPUNGE;2 EXPUNGE;"},
		{"STORE 1:2 FLAGS (\\Deleted)", "1 FETCH;2 FETCH;", "1 FETCH;2 FETCH;"},
		{"EXPUNGE", "2 EXPUNGE;1 EXPUNGE;", "2 EXPUNGE;1 EXPUNGE;"},
	} {
		if got := names(do(t, a, step.command)); got != step.own {
			t.Errorf("%s tells itself %q, want %q", step.command, got, step.own)
		}
		if got := names(do(t, b, "NOOP")); got != step.other {
			t.Errorf("%s tells the other %q, want %q", step.command, got, step.other)
		}
		if got := names(do(t, a, "NOOP")) + names(do(t, b, "NOOP")); got != "" {
			t.Errorf("%s is told again: %q", step.command, got)
		}
	}
}

// TestRecentIsToldOnce is RFC 3501 §2.3.2: one session only finds a message \Recent, also after the
// sessions that did are gone.
func TestRecentIsToldOnce(t *testing.T) {
	t.Parallel()
	h := build(t, options{measure: true})
	h.fill("INBOX", 1, 2)
	recent := func(c *imap.Client, command string) uint32 {
		for _, r := range do(t, c, command).Data {
			if r.Name == "RECENT" {
				return r.Num
			}
		}
		return 0
	}
	a := h.client()
	if n := recent(a, "EXAMINE INBOX"); n != 2 {
		t.Errorf("EXAMINE: %d recent", n)
	}
	if n := recent(a, "SELECT INBOX"); n != 2 {
		t.Errorf("SELECT after EXAMINE: %d recent", n)
	}
	b := h.client()
	if n := recent(b, "SELECT INBOX"); n != 0 {
		t.Errorf("a second session: %d recent", n)
	}
	for _, c := range []*imap.Client{a, b} {
		if err := c.Logout(); err != nil {
			t.Error(err)
		}
	}
	// The claims are written down when the last session is over.
	if err := h.conns.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	c, err := imap.Dial(t.Context(), h.clear, imap.ClientOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Login(testUser, testPassword); err != nil {
		t.Fatal(err)
	}
	if n := recent(c, "SELECT INBOX"); n != 0 {
		t.Errorf("after log-out: %d recent", n)
	}
}

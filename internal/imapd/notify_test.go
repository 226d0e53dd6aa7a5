package imapd

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"tram/internal/imap"
	"tram/internal/limits"
	"tram/internal/store"
)

// next reads the next untagged reply that is not RECENT.
func next(t testing.TB, c *imap.Client) imap.Response {
	t.Helper()
	for {
		r, err := c.Next()
		if err != nil {
			t.Fatal(err)
		}
		if r.Name != "RECENT" {
			return r
		}
	}
}

// TestNotifyOverflow is RFC 5465 §3.1 and §5.8: what would cost too much is refused, and a watch that
// comes to cost too much ends with a word.
func TestNotifyOverflow(t *testing.T) {
	t.Parallel()
	h := build(t, options{limits: func(l *limits.IMAP) { l.NotifyMailboxes = 8 }})
	a, b := h.client(), h.client()
	do(t, a, "NOTIFY SET (personal (MailboxName))")
	for i, name := range []string{"seven", "eight", "nine"} {
		do(t, b, "CREATE "+name)
		switch r := next(t, a); {
		case i < 2 && r.Name != "LIST", i == 2 && r.Code != "NOTIFICATIONOVERFLOW":
			t.Fatalf("%s: %+v", name, r)
		}
	}
	do(t, b, "DELETE seven")
	if r := do(t, a, "NOOP"); len(r.Data) > 0 {
		t.Errorf("told after the overflow: %+v", r.Data)
	}
	do(t, b, "CREATE seven")
	refused := func(command string) {
		t.Helper()
		var refusal *imap.StatusError
		_, err := a.Do(command)
		if !errors.As(err, &refusal) || refusal.Name != "NO" || refusal.Code != "NOTIFICATIONOVERFLOW" {
			t.Errorf("%.40s: %v", command, err)
		}
	}
	refused("NOTIFY SET (personal (MailboxName))")
	do(t, a, "NOTIFY SET (selected (MessageNew MessageExpunge))") // watches no other mailboxes
	refused("NOTIFY SET (mailboxes (" + strings.Repeat("x ", 501) + "x) (MailboxName))")
	refused("NOTIFY SET" + strings.Repeat(" (selected NONE)", 101))
	// A refusal leaves what was asked for before.
	do(t, a, "SELECT INBOX")
	do(t, b, "APPEND INBOX ", []byte(mail(1)))
	if r := next(t, a); r.Name != "EXISTS" || r.Num != 1 {
		t.Errorf("after a refusal: %+v", r)
	}
}

// TestNotifySharesItsLook: an event is looked up once for all sessions, and what did not change is
// the same in both states.
func TestNotifySharesItsLook(t *testing.T) {
	t.Parallel()
	h := build(t, options{})
	h.fill("INBOX", 1, 1)
	var shared sharedBoxes
	look := func(announced store.ModSeq) *boxes {
		t.Helper()
		b, err := shared.look(t.Context(), h.account(), announced, 100)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	first := look(latestState)
	if again := look(latestState); again != first {
		t.Error("nothing changed, and there is another state")
	}
	h.fill("INBOX", 2, 1)
	if old := look(first.at); old != first {
		t.Error("a state that is new enough was not taken")
	}
	second := look(first.at + 1)
	if pairs := differences(first, second); len(pairs) != 1 || pairs[0].now.Name != "INBOX" ||
		pairs[0].now.Messages != 2 || pairs[0].old.Messages != 1 {
		t.Errorf("a message came: %+v", pairs)
	}
	client := h.client()
	do(t, client, "CREATE Work/2026")
	do(t, client, "SUBSCRIBE Nowhere")
	third := look(latestState)
	if pairs := differences(second, third); len(pairs) != 2 || pairs[0].old != nil {
		t.Errorf("two mailboxes came: %+v", pairs)
	}
	if off, on := resubscribed(second, third); len(off) != 0 || len(on) != 1 || on[0] != "Nowhere" {
		t.Errorf("subscribed: %q, %q", off, on)
	}
	do(t, client, "DELETE Work/2026")
	do(t, client, "STATUS INBOX (MESSAGES)")
	fourth := look(latestState)
	if off, on := resubscribed(third, fourth); off != nil || on != nil {
		t.Errorf("subscribed: %q, %q", off, on)
	}
	// Its parent has no children any more.
	if pairs := differences(third, fourth); len(pairs) != 2 || pairs[1].now != nil ||
		pairs[0].now.HasChildren {
		t.Errorf("a mailbox went: %+v", pairs)
	}
	if _, err := shared.look(t.Context(), h.account(), 0, 3); !errors.Is(err, errManyBoxes) {
		t.Errorf("seven mailboxes of three: %v", err)
	}
}

// TestNotifyGone: whoever deletes the selected mailbox ends the session that watches it, as in IDLE.
func TestNotifyGone(t *testing.T) {
	t.Parallel()
	h := build(t, options{})
	a, b := h.client(), h.client()
	do(t, b, "CREATE work")
	do(t, a, "SELECT work")
	do(t, a, "NOTIFY SET (selected (MessageNew MessageExpunge)) (personal (MailboxName))")
	do(t, b, "DELETE work")
	if r := next(t, a); r.Name != "BYE" {
		t.Errorf("got %+v, want BYE", r)
	}
}

// TestNotifyManyAtOnce: what comes while the client says nothing is told once, in bounded pieces, and
// commands that were sent meanwhile are answered.
func TestNotifyManyAtOnce(t *testing.T) {
	t.Parallel()
	h := build(t, options{})
	a := h.client()
	do(t, a, "SELECT INBOX")
	do(t, a, "NOTIFY SET (selected (MessageNew (uid envelope) MessageExpunge FlagChange))")
	const n = 1200
	h.fill("INBOX", 1, n)
	seen := map[uint32]bool{}
	exists := uint32(0)
	for len(seen) < n {
		r := next(t, a)
		switch {
		case r.Name == "EXISTS" && r.Num > exists:
			exists = r.Num
		case r.Name == "FETCH" && r.Num <= exists && !seen[r.Fetch.UID] && r.Fetch.UID == r.Num &&
			len(r.Fetch.Values["ENVELOPE"].List) == 10:
			seen[r.Fetch.UID] = true
		default:
			t.Fatalf("%d EXISTS, %d fetched, then %+v", exists, len(seen), r)
		}
	}
	if r := do(t, a, "NOOP"); len(r.Data) > 0 {
		t.Errorf("told twice: %+v", r.Data[0])
	}
}

// TestWishes: groups that apply to the same mailbox add up (RFC 5465 §6), and a subtree is not every
// name that begins like it.
func TestWishes(t *testing.T) {
	t.Parallel()
	w := wishes{
		subscribed: mailboxName,
		names:      addNames(nil, []string{"a", "inbox/x", "Cafe\u0301"}, messageNew),
		trees:      addNames(nil, []string{"a", "b/c"}, flagChange),
	}
	for name, want := range map[string]events{
		"a": messageNew | flagChange, "a/b": flagChange, "a/b/c": flagChange, "ab": 0, "b": 0,
		"b/c": flagChange, "b/c/d": flagChange, "b/cd": 0, "INBOX/x": messageNew,
		"Caf\u00e9": messageNew,
	} {
		if got := w.of(name, false); got != want {
			t.Errorf("%s: %b, want %b", name, got, want)
		}
		if got := w.of(name, true); got != want|mailboxName {
			t.Errorf("%s, subscribed: %b, want %b", name, got, want|mailboxName)
		}
	}
	if got := fmt.Sprintf("%b", w.others()); got != "1101" {
		t.Errorf("wanted at all: %s", got)
	}
}

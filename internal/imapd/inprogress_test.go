package imapd

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"tram/internal/clock"
	"tram/internal/store"
)

// hold occupies the account, so that whatever wants to change it waits until release.
func (h *house) hold() (release func()) {
	h.t.Helper()
	held, release2, done := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	go func() {
		done <- h.account().Update(context.Background(), func(*store.Tx) error {
			close(held)
			<-release2
			return nil
		})
	}()
	<-held
	return func() {
		close(release2)
		if err := <-done; err != nil {
			h.t.Error(err)
		}
	}
}

// timers waits until so many timers run on the clock.
func timers(t *testing.T, c *clock.Fake, n int) {
	t.Helper()
	for {
		have, more := c.Armed()
		if have >= n {
			return
		}
		select {
		case <-more:
		case <-t.Context().Done():
			t.Fatal("no timer")
		}
	}
}

// TestInProgress is RFC 9585: commands that wait or work for long say so, every ten seconds and no
// more often, with their tag; those that are done before say nothing.
func TestInProgress(t *testing.T) {
	t.Parallel()
	c := clock.NewFake(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC))
	h := build(t, options{clock: c})
	h.fill("INBOX", 1, 3)
	w := h.loggedIn()
	w.say(t, "a SELECT INBOX")
	for !strings.HasPrefix(w.want(t, ""), "a OK") {
	}
	before, _ := c.Armed()
	for _, tc := range []struct{ command, line, last string }{
		{"b STORE 1:* +FLAGS (\\Deleted)", `* OK [INPROGRESS ("b" NIL NIL)] Still working`, "b OK"},
		{"c] COPY 1 Trash", `* OK [INPROGRESS (NIL NIL NIL)] Still working`, "c] OK"},
		{"d UID EXPUNGE 1", `* OK [INPROGRESS ("d" NIL NIL)] Still working`, "d OK"},
		{"e APPEND INBOX {5+}\r\na: b\r", `* OK [INPROGRESS ("e" NIL NIL)] Still working`, "e OK"},
		{"f LANGUAGE VI", "", "f OK"},
		{"g MOVE 1 Trash", `* OK [INPROGRESS ("g" NIL NIL)] Vẫn đang làm`, "g OK"},
	} {
		release := func() {}
		if tc.line != "" {
			release = h.hold()
		}
		w.say(t, "%s", tc.command)
		for range 2 {
			if tc.line == "" {
				break
			}
			timers(t, c, before+1)
			c.Advance(progressEvery - time.Millisecond)
			c.Advance(time.Millisecond)
			if got := w.want(t, "* OK"); got != tc.line {
				t.Errorf("%s: %q, want %q", tc.command, got, tc.line)
			}
		}
		release()
		for {
			line := w.want(t, "")
			if strings.Contains(line, "INPROGRESS") {
				t.Errorf("%s: more than once in ten seconds: %s", tc.command, line)
			}
			if strings.HasPrefix(line, tc.last) {
				break
			}
		}
	}
	if now, _ := c.Armed(); now != before {
		t.Errorf("%d timers are left, %d were there", now, before)
	}
}

// TestProgress counts the messages that a search reads, and those that a change has dealt with.
func TestProgress(t *testing.T) {
	t.Parallel()
	h := build(t, options{})
	h.fill("INBOX", 1, 200)
	var p store.Progress
	err := h.account().View(store.WithProgress(t.Context(), &p), func(tx *store.Tx) error {
		m, err := tx.MailboxByName("INBOX")
		if err != nil {
			return err
		}
		_, err = tx.Query(store.Query{Mailboxes: []store.MailboxID{m.ID}, Filter: store.SubjectText("message 7")})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if done, goal := p.Now(); done != 199 || goal != 200 {
		t.Errorf("%d of %d", done, goal)
	}
	uids := make([]store.UID, 150)
	for i := range uids {
		uids[i] = store.UID(i + 1)
	}
	for name, act := range map[string]func(tx *store.Tx, in, to store.MailboxID) error{
		"flags": func(tx *store.Tx, in, _ store.MailboxID) error {
			_, _, err := tx.SetFlags(in, uids, store.FlagChange{Mode: store.AddFlags, Flags: store.Seen})
			return err
		},
		"copy":    func(tx *store.Tx, in, to store.MailboxID) error { _, err := tx.Copy(in, uids, to); return err },
		"move":    func(tx *store.Tx, in, to store.MailboxID) error { _, err := tx.Move(in, uids, to); return err },
		"expunge": func(tx *store.Tx, in, _ store.MailboxID) error { _, err := tx.Expunge(in, uids); return err },
	} {
		var p store.Progress
		undo := errors.New("undo")
		err := h.account().Update(store.WithProgress(t.Context(), &p), func(tx *store.Tx) error {
			in, err := tx.MailboxByName("INBOX")
			if err != nil {
				return err
			}
			to, err := tx.MailboxByName("Trash")
			if err != nil {
				return err
			}
			if err := act(tx, in.ID, to.ID); err != nil {
				return err
			}
			return undo
		})
		if done, goal := p.Now(); !errors.Is(err, undo) || done != 149 || goal != 150 {
			t.Errorf("%s: %d of %d, %v", name, done, goal, err)
		}
	}
}

// TestTeller says numbers where there are some, and never that all is done (RFC 9585).
func TestTeller(t *testing.T) {
	t.Parallel()
	(*store.Progress)(nil).At(1, 2)
	for want, at := range map[string][2]int{
		`* OK [INPROGRESS ("a" 454 1000)] x`: {454, 1000},
		`* OK [INPROGRESS ("a" 999 1000)] x`: {1000, 1000},
		`* OK [INPROGRESS ("a" NIL NIL)] x`:  {0, 0},
	} {
		var tl teller
		tl.tag, tl.text = progressTag("a"), "x"
		tl.progress.At(at[0], at[1])
		if got := tl.line(); got != want+"\r\n" {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

package mailtest

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"tram/internal/config"
)

// TestClockJumps is D17 for whole houses: while mail waits because the mailbox elsewhere is full, the
// wall clock jumps. Each message is tried at most once more for it, none is given back before its
// time, people's sessions and log-ins go on, and in the end everything arrives, once.
func TestClockJumps(t *testing.T) {
	t.Parallel()
	for _, jump := range []time.Duration{
		time.Hour, -time.Hour, 24 * time.Hour, -24 * time.Hour, 10 * 365 * 24 * time.Hour,
	} {
		t.Run(fmt.Sprint(jump), func(t *testing.T) {
			t.Parallel()
			clockJump(t, jump)
		})
	}
}

func clockJump(t *testing.T, jump time.Duration) {
	w := New(t)
	// Without jitter no message comes due by itself in the minutes that are watched.
	a := w.House("a.test", Options{Edit: func(c *config.Config) { c.Limits.Queue.Jitter = 0 }})
	b := w.House("b.test", Options{})
	alice, bob := a.Person("alice", 0), b.Person("bob", 0)
	bob.Fill()
	const messages = 20
	sender := alice.Submitter()
	for i := range messages {
		if r := sender.Mail(alice.Address, Letter(alice.Address, bob.Address, fmt.Sprint(i)), bob.Address); !r[0].OK() {
			t.Fatal(r[0])
		}
	}
	sender.Close()
	w.Until("all were tried", func() bool { return attempts(a, 1) == messages })
	session := alice.IMAP()
	w.Clock.Jump(jump)
	w.Pass(4*time.Minute, time.Second) // no retry is due by itself so soon
	w.Until("no message is on its way", func() bool {
		for _, item := range a.Queued() {
			if item.State == "running" {
				return false
			}
		}
		return true
	})
	if n := attempts(a, 3); n > 0 {
		t.Errorf("%d messages were tried three times", n)
	}
	if n := attempts(a, 0); n != messages {
		t.Errorf("%d of %d messages wait", n, messages)
	}
	for _, n := range alice.Inbox() { // she may be told of a delay, not of a failure
		if !strings.Contains(n, "Action: delayed") {
			t.Errorf("alice was sent\n%s", n)
		}
	}
	if _, err := session.Do("NOOP"); err != nil {
		t.Errorf("a session did not live through the jump: %v", err)
	}
	bob.SetQuota(0)
	w.Pass(10*time.Hour, 5*time.Minute, a)
	a.Emptied()
	if n := len(bob.Inbox()); n != 1+messages {
		t.Errorf("bob has %d messages of %d", n, 1+messages)
	}
}

// attempts is the number of people's waiting messages that were tried n times or more.
func attempts(h *House, n int) int {
	all := 0
	for _, item := range h.Queued() {
		if item.From == "<>" {
			continue // a notice of delay on its way
		}
		for _, r := range item.Recipients {
			if r.Attempts >= n {
				all++
			}
		}
	}
	return all
}

package mailtest

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// two makes two houses with a person each.
func two(t *testing.T) (w *World, a, b *House, alice, bob *Person) {
	t.Helper()
	w = New(t)
	a, b = w.House("a.test", Options{}), w.House("b.test", Options{})
	return w, a, b, a.Person("alice", 0), b.Person("bob", 0)
}

// TestMessageAndAnswer goes from one house to the other and back.
func TestMessageAndAnswer(t *testing.T) {
	t.Parallel()
	_, a, b, alice, bob := two(t)
	alice.Submit(Letter(alice.Address, bob.Address, "question"), bob.Address)
	got := bob.WaitInbox(1)[0]
	for _, want := range []string{
		"Return-Path: <alice@a.test>\r\n", " by mx.b.test ", " by mx.a.test ",
		"\r\nMessage-ID: <question@mail.test>\r\n", "\r\n\r\nHello.\r\n",
	} {
		if !strings.Contains(strings.ReplaceAll(got, "\r\n\t", " "), want) {
			t.Errorf("bob's message lacks %q:\n%s", want, got)
		}
	}
	answer := "In-Reply-To: <question@mail.test>\r\n" + Letter(bob.Address, alice.Address, "answer")
	bob.Submit(answer, alice.Address)
	if got := alice.WaitInbox(1)[0]; !strings.Contains(got, "In-Reply-To: <question@mail.test>\r\n") {
		t.Errorf("alice's answer:\n%s", got)
	}
	a.Emptied()
	b.Emptied()
}

// notice checks that a message is a DSN (RFC 3464) about a recipient.
func notice(t *testing.T, text, recipient, action, status string) {
	t.Helper()
	for _, want := range []string{
		"Return-Path: <>\r\n", "report-type=delivery-status", "Final-Recipient: rfc822; " + recipient,
		"Action: " + action, "Status: " + status,
	} {
		folded := strings.ReplaceAll(strings.ReplaceAll(text, "rfc822;"+recipient, "rfc822; "+recipient),
			"report-type=\"delivery-status\"", "report-type=delivery-status")
		if !strings.Contains(strings.ToLower(folded), strings.ToLower(want)) {
			t.Errorf("the notice lacks %q:\n%s", want, text)
		}
	}
}

// TestUnknownRecipient: the other house refuses, ours tells the sender, once.
func TestUnknownRecipient(t *testing.T) {
	t.Parallel()
	_, a, b, alice, bob := two(t)
	alice.Submit(Letter(alice.Address, "nobody@b.test", "lost"), "nobody@b.test", bob.Address)
	notice(t, alice.WaitInbox(1)[0], "nobody@b.test", "failed", "5.1.1")
	bob.WaitInbox(1)
	a.Emptied()
	if n := len(b.Queued()); n > 0 || len(alice.Inbox()) != 1 {
		t.Errorf("%d wait in the other house, alice has %d", n, len(alice.Inbox()))
	}
}

// TestFullMailboxElsewhere: who is over quota is refused at RCPT with 452, so the message waits with
// us. The sender hears of the delay once; then there is room, and the message arrives once; another
// never finds room and is given back after five days.
func TestFullMailboxElsewhere(t *testing.T) {
	t.Parallel()
	w, a, b, alice, bob := two(t)
	carol := b.Person("carol", 0)
	for _, p := range []*Person{bob, carol} {
		p.Fill()
	}
	alice.Submit(Letter(alice.Address, bob.Address, "late"), bob.Address)
	alice.Submit(Letter(alice.Address, carol.Address, "never"), carol.Address)
	w.Pass(10*time.Hour, 5*time.Minute, a)
	told := alice.WaitInbox(2)
	for _, n := range told {
		if !strings.Contains(n, "Diagnostic-Code: smtp; 452 4.2.2 ") {
			t.Errorf("the notice does not say what the other house said:\n%s", n)
		}
		who := bob.Address
		if strings.Contains(n, carol.Address) {
			who = carol.Address
		}
		notice(t, n, who, "delayed", "4.4.7")
	}
	bob.SetQuota(0)
	w.Pass(10*time.Hour, 5*time.Minute, a)
	if n := len(bob.Inbox()); n != 2 {
		t.Errorf("bob has %d messages", n)
	}
	w.Pass(5*24*time.Hour, time.Hour, a)
	all := alice.WaitInbox(3)
	notice(t, all[2], carol.Address, "failed", "5.4.7")
	a.Emptied()
	if n := len(b.Queued()); n > 0 {
		t.Errorf("%d wait in the other house", n)
	}
}

// TestForwardLoop is P23: two houses that forward to each other, by aliases alone and by a longer
// way round, give up soon, whoever wrote and whatever the message claims, and nobody is flooded.
func TestForwardLoop(t *testing.T) {
	t.Parallel()
	w, a, b, alice, bob := two(t)
	a.Alias("ping@a.test", "pong@b.test")
	b.Alias("pong@b.test", "ping@a.test")
	a.Alias("one@a.test", "two@b.test")
	b.Alias("two@b.test", "three@a.test")
	a.Alias("three@a.test", "four@b.test")
	b.Alias("four@b.test", "one@a.test", bob.Address)
	s := a.Stranger()
	for i, from := range []string{"stranger@elsewhere.test", "", "ping@a.test", "pong@b.test", alice.Address} {
		for _, to := range []string{"ping@a.test", "one@a.test"} {
			r := s.Mail(from, Letter("stranger@elsewhere.test", to, fmt.Sprint("loop", i, to)), to)
			if !r[0].OK() {
				t.Errorf("from <%s> to %s: %v", from, to, r[0])
			}
		}
	}
	alice.Submit(Letter(alice.Address, "ping@a.test", "own"), "ping@a.test")
	w.Until("the loops have ended", func() bool { return len(a.Queued())+len(b.Queued()) == 0 })
	w.Pass(24*time.Hour, time.Hour, a, b)
	// Eleven messages, of which none passes a house more than three times.
	if n := w.Dialled(a.Address) + w.Dialled(b.Address); n > 60 {
		t.Errorf("%d connections between the houses", n)
	}
	if n := len(bob.Inbox()); n != 5 {
		t.Errorf("bob, who is a target on the way, has %d messages of 5", n)
	}
	// The house that gives up knows no sender: none is told, whose name was borrowed or not.
	if n := len(alice.Inbox()); n != 0 {
		t.Errorf("alice has %d messages", n)
	}
}

// TestTooManyHops: a message with more Received fields than any real way has is refused by each
// house, and not sent on.
func TestTooManyHops(t *testing.T) {
	t.Parallel()
	w, a, b, _, bob := two(t)
	a.Alias("away@a.test", bob.Address)
	trace := strings.Repeat("Received: from x by y; Mon, 2 Mar 2026 08:00:00 +0000\r\n", 51)
	r := a.Stranger().Mail("x@elsewhere.test", trace+Letter("x@elsewhere.test", "away@a.test", "far"), "away@a.test")
	if r[0].String() == "" || !strings.HasPrefix(r[0].String(), "554 5.4.6") {
		t.Errorf("%v", r[0])
	}
	if len(a.Queued()) > 0 || w.Dialled(b.Address) > 0 || len(bob.Inbox()) > 0 {
		t.Error("it was sent on")
	}
}

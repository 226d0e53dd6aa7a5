package store

import (
	"fmt"
	"strings"
	"testing"
)

// threadMail is a message with the given subject and identifiers.
func threadMail(subject, id string, refs ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "From: a@example.test\nSubject: %s\n", subject)
	if id != "" {
		fmt.Fprintf(&b, "Message-ID: <%s>\n", id)
	}
	if len(refs) > 0 {
		fmt.Fprintf(&b, "In-Reply-To: <%s>\nReferences: <%s>\n", refs[len(refs)-1],
			strings.Join(refs, "> <"))
	}
	return b.String() + "\nText.\n"
}

// TestThreads puts messages together as RFC 8621 §3 says: a common message identifier, and the same
// subject but for what replies add.
func TestThreads(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	steps := []struct {
		text string
		like int // the earlier step whose thread it joins; itself for a new one
	}{
		{threadMail("Plan", "1@x"), 0},
		{threadMail("Re: Plan", "2@x", "1@x"), 0},
		{threadMail("RE: [list] p l a n", "3@x", "1@x", "2@x"), 0}, // case, blanks, list tag
		{threadMail("Other", "4@x", "1@x"), 3},                     // a reply that changes the subject
		{threadMail("Re: Other", "5@x", "1@x", "4@x"), 3},
		{threadMail("Plan", "6@x"), 5},                      // the subject alone is not enough
		{threadMail("Re: Late", "8@x", "7@x"), 6},           // before its original
		{threadMail("Late", "7@x"), 6},                      // which comes now
		{threadMail("Re: Late", "9@x", "lost@x", "7@x"), 6}, // by the older reference
		{threadMail("Plan", ""), 9},                         // nothing to be found by
		{threadMail("Plan", ""), 10},
		{threadMail("Plan", "1@x"), 0}, // the same message again
		{threadMail("Fwd: Re: Plan", "10@x", "2@x"), 0},
	}
	var got []ThreadID
	for i, s := range steps {
		a := h.append(s.text, 1)
		got = append(got, a.Thread)
		if a.Thread != got[s.like] {
			t.Errorf("step %d is in thread %d, want that of step %d, %d", i, a.Thread, s.like,
				got[s.like])
		}
		if s.like == i && i > 0 && a.Thread <= got[i-1] && a.Thread != got[s.like] {
			t.Errorf("step %d is in an old thread", i)
		}
	}
	h.view(func(tx *Tx) error {
		ids, err := tx.Thread(got[0])
		if err == nil && fmt.Sprint(ids) != "[1 2 3 12 13]" {
			t.Errorf("thread has %v", ids)
		}
		return err
	})
}

// TestThreadIsBounded fills a thread: its row is rewritten with each message, so it must end.
func TestThreadIsBounded(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	threads := map[ThreadID]int{}
	first := h.append(threadMail("Long", "0@x"), 1)
	threads[first.Thread]++
	var texts []AppendOptions
	for n := 1; n <= maxThread+20; n++ {
		o := AppendOptions{Mailboxes: []MailboxID{1}}
		o.Body, o.Message = h.body(threadMail("Re: Long", fmt.Sprintf("%d@x", n), "0@x",
			fmt.Sprintf("%d@x", n-1)))
		texts = append(texts, o)
	}
	h.update(func(tx *Tx) error {
		clear(threads)
		for _, o := range texts {
			a, err := tx.Append(o)
			if err != nil {
				return err
			}
			threads[a.Thread]++
		}
		return nil
	})
	if len(threads) != 2 || threads[first.Thread] != maxThread-1 {
		t.Errorf("threads have %v", threads)
	}
}

// TestThreadsArePurged leaves nothing of a thread behind.
func TestThreadsArePurged(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	a := h.append(threadMail("Plan", "1@x"), 1)
	h.append(threadMail("Re: Plan", "2@x", "1@x"), 1)
	h.update(func(tx *Tx) error {
		if _, err := tx.Expunge(1, []UID{1, 2}); err != nil {
			return err
		}
		if err := tx.Purge(1); err != nil {
			return err
		}
		return tx.Purge(2)
	})
	h.view(func(tx *Tx) error {
		for _, kind := range []byte{kindThread, kindThreadOf, kindEmail, kindState, kindRecover} {
			if n := tx.rows(kind); n != 0 {
				t.Errorf("%d rows of kind %q are left", n, kind)
			}
		}
		return nil
	})
	if b := h.append(threadMail("Plan", "1@x"), 1); b.Thread == a.Thread {
		t.Error("a thread came back")
	}
}

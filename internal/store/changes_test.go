package store

import (
	"context"
	"errors"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func (h *house) changes(since ModSeq, max int) Changes {
	h.t.Helper()
	c, err := h.store.Account(1).Changes(context.Background(), since, max)
	if err != nil {
		h.t.Fatal(err)
	}
	return c
}

func TestChanges(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	a := h.append(mail(1), 1)
	since := h.changes(0, 0).To
	b := h.append(mail(2), 1)
	h.setFlags(1, FlagChange{Flags: Seen}, 1, 2)
	c := h.append(mail(3), 1)
	h.update(func(tx *Tx) error {
		_, err := tx.Expunge(1, []UID{1, 3})
		return err
	})
	box := h.create("new")
	gone := h.create("gone")
	h.update(func(tx *Tx) error { return tx.DeleteMailbox(gone) })
	h.update(func(tx *Tx) error { return tx.Subscribe("Sent", false) })

	want := Changes{
		Since: since, To: since + 8,
		Mailboxes: ChangeSet[MailboxID]{Created: []MailboxID{box}, Updated: []MailboxID{3}},
		Emails:    ChangeSet[EmailID]{Created: []EmailID{b.Email}, Destroyed: []EmailID{a.Email}},
		Threads:   ChangeSet[ThreadID]{Created: []ThreadID{b.Thread}, Destroyed: []ThreadID{a.Thread}},
		Lists:     []MailboxID{1},
	}
	if diff := gocmp.Diff(want, h.changes(since, 0), cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("changes (-want +got):\n%s", diff)
	}
	_ = c // came and went in between: in no list

	// In steps, each as if it were the end.
	at, steps := since, 0
	for {
		part := h.changes(at, 1)
		if part.Since != at || part.To <= at {
			t.Fatalf("step %d goes from %d to %d", steps, part.Since, part.To)
		}
		at = part.To
		if steps++; !part.More {
			break
		}
	}
	if at != want.To || steps < 5 {
		t.Errorf("in %d steps to %d, want %d", steps, at, want.To)
	}
	if c := h.changes(want.To, 0); c.To != want.To || c.More || len(c.Lists) > 0 {
		t.Errorf("nothing happened, and changes are %+v", c)
	}
	if _, err := h.store.Account(1).Changes(context.Background(), want.To+1, 0); !errors.Is(err, ErrTooOld) {
		t.Errorf("since the future: %v", err)
	}
}

// TestHistoryIsPruned shortens change log and expunge history: who asks for more is told, and
// QRESYNC still gets a right answer (RFC 7162 §3.2.5.1).
func TestHistoryIsPruned(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.limit.ChangeLog, h.limit.Expunged = 10, 5
	h.open()
	for n := range 30 {
		h.append(mail(n), 1)
	}
	var at []ModSeq
	for u := UID(1); u <= 20; u++ {
		at = append(at, h.mailbox(1).HighestModSeq)
		h.update(func(tx *Tx) error {
			_, err := tx.Expunge(1, []UID{u})
			return err
		})
	}
	vanished := func(since ModSeq, within ...UIDRange) (gone []UIDRange, complete bool) {
		h.view(func(tx *Tx) (err error) {
			gone, complete, err = tx.Vanished(1, since, within)
			return err
		})
		return gone, complete
	}
	if gone, complete := vanished(at[3]); !complete || !cmpEqual(gone, []UIDRange{{4, 20}}) {
		t.Errorf("before pruning: %v, %t", gone, complete)
	}
	h.must(h.store.Maintain(context.Background()))
	if _, err := h.store.Account(1).Changes(context.Background(), at[5], 0); !errors.Is(err, ErrTooOld) {
		t.Errorf("changes of pruned history: %v", err)
	}
	if c := h.changes(at[15], 0); len(c.Emails.Destroyed) != 5 {
		t.Errorf("changes that are left: %+v", c)
	}
	for name, tc := range map[string]struct {
		since    ModSeq
		within   []UIDRange
		want     []UIDRange
		complete bool
	}{
		"kept":             {at[15], nil, []UIDRange{{16, 20}}, true},
		"kept, in part":    {at[15], []UIDRange{{18, 40}, {1, 3}}, []UIDRange{{18, 20}}, true},
		"pruned":           {at[3], nil, []UIDRange{{1, 20}}, false},
		"pruned, in part":  {at[3], []UIDRange{{19, 1<<32 - 1}}, []UIDRange{{19, 20}}, false},
		"now":              {h.mailbox(1).HighestModSeq, nil, nil, true},
		"an empty mailbox": {0, []UIDRange{{5, 4}}, nil, false},
	} {
		gone, complete := vanished(tc.since, tc.within...)
		if !cmpEqual(gone, tc.want) || complete != tc.complete {
			t.Errorf("%s: %v, %t; want %v, %t", name, gone, complete, tc.want, tc.complete)
		}
	}
	h.view(func(tx *Tx) error {
		gone, _, err := tx.Vanished(1, at[15], []UIDRange{})
		if len(gone) != 0 {
			t.Errorf("within nothing: %v", gone)
		}
		return err
	})
}

func cmpEqual(a, b []UIDRange) bool { return gocmp.Equal(a, b, cmpopts.EquateEmpty()) }

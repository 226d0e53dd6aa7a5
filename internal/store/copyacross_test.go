package store

import (
	"context"
	"errors"
	"io"
	"testing"
)

// TestCopyAcross brings mail from one account to another with what the rights there let through, and
// counts it there.
func TestCopyAcross(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	ctx := context.Background()
	box := h.create("Team")
	h.share(box, bea.Account, rights(t, "lrsit"))
	h.appendWith(AppendOptions{Mailboxes: []MailboxID{box}, Flags: Seen | Flagged, Keywords: []string{"a", "b"}}, mail(1))
	h.appendWith(AppendOptions{Mailboxes: []MailboxID{box}, Flags: Deleted}, mail(2))
	h.markAs(bea, box, FlagChange{Flags: Seen}, 2)
	own, shared := h.store.Account(bea.Account), h.store.Account(1).As(bea)
	var inbox MailboxID
	h.must(own.Update(ctx, func(tx *Tx) error {
		inbox = tx.RoleMailbox(RoleInbox)
		return nil
	}))
	pairs, err := h.store.CopyAcross(ctx, shared, box, []UID{1, 2, 77}, own, inbox)
	h.must(err)
	if len(pairs) != 2 || pairs[1] != (UIDPair{2, 2}) {
		t.Fatalf("copied %v", pairs)
	}
	h.must(own.View(ctx, func(tx *Tx) error {
		l, err := tx.List(inbox)
		if err != nil {
			return err
		}
		if a, b := l.At(0).Flags&SystemFlags, l.At(1).Flags&SystemFlags; a != Flagged || b != Seen|Deleted {
			t.Errorf("flags are %b and %b", a, b)
		}
		e, err := tx.Email(l.At(0).Email)
		if err != nil {
			return err
		}
		if len(e.State.Keywords) != 2 || e.Subject() != "Letter 1" {
			t.Errorf("it is %q with %q", e.Subject(), e.State.Keywords)
		}
		r := tx.Open(e)
		defer r.Close()
		if b, err := io.ReadAll(r); err != nil || int64(len(b)) != e.Size() {
			t.Errorf("%d bytes of %d: %v", len(b), e.Size(), err)
		}
		if u, _ := tx.Usage(); u.Messages != 2 {
			t.Errorf("usage is %+v", u)
		}
		return nil
	}))
	// And back, to where she may neither flag nor delete.
	h.must(own.Update(ctx, func(tx *Tx) error {
		_, _, err := tx.SetFlags(inbox, []UID{1}, FlagChange{Flags: Seen | Answered})
		return err
	}))
	if _, err := h.store.CopyAcross(ctx, own, inbox, []UID{1}, shared, box); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		p    Person
		want Flags
	}{{bea, Seen}, {Person{Account: 1}, 0}} {
		if got := h.seenBy(c.p, box).At(2).Flags; got != c.want {
			t.Errorf("account %d sees %b, want %b", c.p.Account, got, c.want)
		}
	}
	h.refusals(own, shared, inbox, box)
}

// refusals are copies that may not be.
func (h *house) refusals(own, shared *Account, inbox, box MailboxID) {
	h.t.Helper()
	ctx := context.Background()
	h.share(box, bea.Account, RightLookup)
	if _, err := h.store.CopyAcross(ctx, shared, box, []UID{1}, own, inbox); !errors.Is(err, ErrNoPermission) {
		h.t.Errorf("without the right to read: %v", err)
	}
	for _, uids := range [][]UID{{1}, nil} {
		if _, err := h.store.CopyAcross(ctx, own, inbox, uids, shared, box); !errors.Is(err, ErrNoPermission) {
			h.t.Errorf("without the right to insert: %v", err)
		}
	}
	h.must(h.store.SetQuota(ctx, bea.Account, Quota{Messages: 3}))
	h.share(box, bea.Account, RightRead)
	if _, err := h.store.CopyAcross(ctx, shared, box, []UID{1, 2}, own, inbox); !errors.Is(err, ErrOverQuota) {
		h.t.Errorf("over quota: %v", err)
	}
	h.must(own.View(ctx, func(tx *Tx) error {
		if u, _ := tx.Usage(); u.Messages != 2 {
			h.t.Errorf("half of a copy is there: %+v", u)
		}
		return nil
	}))
}

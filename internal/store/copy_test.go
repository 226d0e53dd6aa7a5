package store

import (
	"context"
	"errors"
	"io"
	"slices"
	"testing"

	"tram/internal/kv"
)

func (h *house) copy(from MailboxID, to MailboxID, uids ...UID) (pairs []UIDPair) {
	h.t.Helper()
	h.update(func(tx *Tx) (err error) {
		pairs, err = tx.Copy(from, uids, to)
		return err
	})
	return pairs
}

// TestCopy: an email gets a further entry, or, where it is already, a twin on the same body.
func TestCopy(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	text := mail(1)
	a := h.append(text, 1)
	h.setFlags(1, FlagChange{Flags: Flagged | Deleted, Keywords: []string{"k"}}, 1)
	size := h.usage().Bytes

	if got := h.copy(1, 4, 1, 99); !slices.Equal(got, []UIDPair{{1, 1}}) {
		t.Errorf("copied as %v", got)
	}
	if e := h.list(4).At(0); e.Email != a.Email || e.Flags != h.list(1).At(0).Flags ||
		e.Received != epoch.Unix() {
		t.Errorf("copy is %+v", e)
	}
	if h.usage().Bytes != size {
		t.Error("an entry counts against the quota")
	}
	// In the same mailbox, and where it is: a new email, with the thread of the first.
	for _, to := range []MailboxID{1, 4} {
		if got := h.copy(1, to, 1); !slices.Equal(got, []UIDPair{{1, 2}}) {
			t.Errorf("copied to %d as %v", to, got)
		}
	}
	if u := h.usage(); u.Bytes != 3*size || u.Messages != 3 {
		t.Errorf("usage is %+v", u)
	}
	h.view(func(tx *Tx) error {
		twin, err := tx.Email(h.list(4).At(1).Email)
		if err != nil {
			return err
		}
		first, err := tx.Email(a.Email)
		if err != nil {
			return err
		}
		if twin.ID == a.Email || twin.Thread != a.Thread || twin.Blob != first.Blob ||
			twin.State.Flags != first.State.Flags {
			t.Errorf("twin is %+v of %+v", twin, first)
		}
		raw, err := io.ReadAll(tx.Open(twin))
		if len(raw) != int(size) {
			t.Errorf("%d bytes", len(raw))
		}
		return err
	})
	// The twins are independent.
	h.setFlags(1, FlagChange{Mode: RemoveFlags, Flags: Flagged}, 2)
	if h.list(1).At(0).Flags&Flagged == 0 || h.list(4).At(1).Flags&Flagged == 0 {
		t.Error("flags of one twin changed another")
	}
	h.must(h.store.SetQuota(context.Background(), 1, Quota{Messages: 3}))
	err := h.try(func(tx *Tx) error {
		_, err := tx.Copy(1, []UID{1}, 1)
		return err
	})
	if !errors.Is(err, ErrOverQuota) {
		t.Errorf("a twin over quota: %v", err)
	}
	h.copy(1, 5, 1) // an entry is not
}

// TestMove is RFC 6851 §3.3: the email stays the same, also into the mailbox it is in.
func TestMove(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	a := h.append(mail(1), 1)
	b := h.append(mail(2), 1, 4)
	var pairs []UIDPair
	move := func(from, to MailboxID, uids ...UID) {
		t.Helper()
		h.update(func(tx *Tx) (err error) {
			pairs, err = tx.Move(from, uids, to)
			return err
		})
	}
	move(1, 5, 1)
	if e := h.list(5).At(0); e.Email != a.Email || h.list(1).Len() != 1 {
		t.Errorf("moved as %+v", e)
	}
	move(5, 5, 1)
	if e := h.list(5).At(0); e.Email != a.Email || e.UID != 2 || h.list(5).Len() != 1 {
		t.Errorf("moved onto itself as %+v", e)
	}
	move(1, 4, 2) // where it is already: one message more there, one less here
	if h.list(1).Len() != 0 || h.list(4).Len() != 2 || h.list(4).At(0).Email != b.Email ||
		!slices.Equal(pairs, []UIDPair{{2, 2}}) {
		t.Errorf("moved where it is: %v, %d messages", pairs, h.list(4).Len())
	}
	h.view(func(tx *Tx) error {
		gone, complete, err := tx.Vanished(1, 0, nil)
		if !complete || !slices.Equal(gone, []UIDRange{{1, 2}}) {
			t.Errorf("vanished %v", gone)
		}
		return err
	})
	if err := h.try(func(tx *Tx) error {
		_, err := tx.Move(4, []UID{1}, 99)
		return err
	}); !errors.Is(err, ErrNotFound) {
		t.Errorf("move to nowhere: %v", err)
	}
}

// TestDamagedNeighbour: an email that cannot be read keeps nobody from the others.
func TestDamagedNeighbour(t *testing.T) {
	t.Parallel()
	h := furnished(t)
	p := &planter{h: h}
	in := h.list(1)
	p.do(func(kv.Txn) { p.rubbish(key64(nil, 1, kindState, uint64(in.At(1).Email))) })
	h.open()
	changed, _ := h.setFlags(1, FlagChange{Flags: Flagged}, uidsOf(in)...)
	if len(changed) != in.Len()-1 {
		t.Errorf("%d of %d flags were set", len(changed), in.Len())
	}
	err := h.try(func(tx *Tx) error {
		_, err := tx.Copy(1, uidsOf(in), 3)
		return err
	})
	if !errors.Is(err, ErrDamaged) {
		t.Errorf("copy of a damaged email: %v", err)
	}
	h.update(func(tx *Tx) error {
		pairs, err := tx.Move(1, uidsOf(in), 3)
		if len(pairs) != in.Len()-1 {
			t.Errorf("%d of %d were moved", len(pairs), in.Len())
		}
		return err
	})
	if l := h.list(1); l.Len() != 1 || l.At(0).UID != in.At(1).UID {
		t.Errorf("%v stayed", uidsOf(l))
	}
	h.expunge(1, in.At(1).UID)
	if h.list(1).Len() != 0 {
		t.Error("the damaged email could not be expunged")
	}
}

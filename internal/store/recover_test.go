package store

import (
	"context"
	"errors"
	"testing"
	"time"

	"tram/internal/blob"
	"tram/internal/kv"
	"tram/internal/kv/memkv"
)

// rows counts the rows of a kind.
func (tx *Tx) rows(kind byte) (n int) {
	_ = tx.r.Scan(kv.Prefix(appendKey(nil, tx.id, kind)), func(_, _ []byte) error {
		n++
		return nil
	})
	return n
}

func (h *house) expunge(box MailboxID, uids ...UID) {
	h.t.Helper()
	h.update(func(tx *Tx) error {
		_, err := tx.Expunge(box, uids)
		return err
	})
}

func (h *house) usage() (u Usage) {
	h.t.Helper()
	u, _, err := h.store.Account(1).Usage(context.Background())
	h.must(err)
	return u
}

func TestRecover(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	a := h.append(mail(1), 1, 4)
	h.setFlags(1, FlagChange{Flags: Seen, Keywords: []string{"k"}}, 1)
	size := h.usage().Bytes

	h.expunge(1, 1)
	if u := h.usage(); u.Bytes != size || u.RecoverableMessages != 0 {
		t.Errorf("out of one of two mailboxes: %+v", u)
	}
	h.expunge(4, 1)
	if u := h.usage(); u != (Usage{RecoverableBytes: size, RecoverableMessages: 1}) {
		t.Errorf("out of the last mailbox: %+v", u)
	}
	h.view(func(tx *Tx) error {
		if _, err := tx.Thread(a.Thread); !errors.Is(err, ErrNotFound) {
			t.Errorf("its thread is there: %v", err)
		}
		e, err := tx.Email(a.Email)
		if err == nil && (!e.State.Removed.Equal(epoch) || len(e.State.Mailboxes) != 0) {
			t.Errorf("state is %+v", e.State)
		}
		return err
	})
	if err := h.try(func(tx *Tx) error { return tx.SetMailboxes(a.Email, []MailboxID{1}) }); !errors.Is(
		err, ErrNotFound) {
		t.Errorf("set mailboxes of a removed email: %v", err)
	}
	// Not past the quota.
	h.must(h.store.SetQuota(context.Background(), 1, Quota{Bytes: size - 1}))
	take := func(tx *Tx) error {
		_, err := tx.Recover(a.Email, 3)
		return err
	}
	if err := h.try(take); !errors.Is(err, ErrOverQuota) {
		t.Errorf("recover over quota: %v", err)
	}
	h.must(h.store.SetQuota(context.Background(), 1, Quota{Bytes: size}))
	h.update(take)
	if e := h.list(3).At(0); e.Email != a.Email || e.Flags&Seen == 0 || h.usage().Bytes != size {
		t.Errorf("recovered as %+v", e)
	}
	if err := h.try(take); !errors.Is(err, ErrNotFound) {
		t.Errorf("recover what is there: %v", err)
	}
	if err := h.try(func(tx *Tx) error { return tx.Purge(a.Email) }); !errors.Is(err, ErrNotFound) {
		t.Errorf("purge what is there: %v", err)
	}
}

// TestRetention removes what was expunged when its time is over, and with it, after the grace
// period, the body; nothing is removed too early.
func TestRetention(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	for n := range purgeStep + 5 {
		h.append(mail(n), 1)
	}
	var all []UID
	for u := UID(1); u <= purgeStep+4; u++ {
		all = append(all, u)
	}
	h.expunge(1, all...)
	h.clock.Advance(time.Hour)
	h.expunge(1, purgeStep+5)
	at := h.changes(0, 0).To
	maintain := func() Usage {
		h.must(h.store.Maintain(context.Background()))
		_, err := h.blobs.Collect(context.Background())
		h.must(err)
		return h.usage()
	}
	h.clock.Advance(h.limit.Recoverable - time.Hour)
	if u := maintain(); u.RecoverableMessages != purgeStep+5 {
		t.Errorf("purged too early: %+v", u)
	}
	h.clock.Advance(time.Second)
	if u := maintain(); u.RecoverableMessages != 1 {
		t.Errorf("after the retention: %+v", u)
	}
	h.clock.Advance(time.Hour)
	if u := maintain(); u != (Usage{}) {
		t.Errorf("at the end: %+v", u)
	}
	if c := h.changes(0, 0).To; c != at {
		t.Errorf("maintenance raised the ModSeq from %d to %d", at, c)
	}
	h.clock.Advance(25 * time.Hour)
	maintain()
	left := 0
	h.must(h.blobs.EachLink(context.Background(), func(blob.ID, []byte) error {
		left++
		return nil
	}))
	h.must(h.db.View(context.Background(), "", func(r kv.Reader) error {
		return r.Scan(kv.Prefix([]byte("bc")), func(_, _ []byte) error {
			left++
			return nil
		})
	}))
	if left != 0 {
		t.Errorf("%d links and chunks of bodies are left", left)
	}
}

// TestRecoverableIsBounded: adding and removing mail over and over must not fill the disk.
func TestRecoverableIsBounded(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.limit.RecoverableBytes = 3 * h.letterSize()
	h.open()
	for n := range 20 {
		h.append(mail(10+n), 1)
		h.expunge(1, UID(n+1))
		if u := h.usage(); u.RecoverableBytes > h.limit.RecoverableBytes ||
			u.RecoverableMessages < min(int64(n)+1, 2) {
			t.Fatalf("after %d: %+v", n, u)
		}
	}
	h.view(func(tx *Tx) error {
		recs, err := tx.Recoverable()
		if len(recs) < 2 || recs[len(recs)-1].Email != 20 {
			t.Errorf("the latest are not kept: %+v", recs)
		}
		return err
	})
}

// TestFullDisk (reliability D7): with the reserve touched nothing comes in, and people can clear
// up.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	db := memkv.New()
	h := openHouse(t, db)
	h.append(mail(1), 1)
	h.append(mail(2), 1)
	body, m := h.body(mail(3))
	defer body.Discard()
	db.SetFull(true)
	in := func(tx *Tx) error {
		_, err := tx.Append(AppendOptions{Mailboxes: []MailboxID{1}, Body: body, Message: m})
		return err
	}
	if err := h.try(in); !errors.Is(err, ErrFull) {
		t.Errorf("append on a full disk: %v", err)
	}
	ctx := Freeing(context.Background())
	h.must(h.store.Account(1).Update(ctx, func(tx *Tx) error {
		if _, _, err := tx.SetFlags(1, []UID{1}, FlagChange{Flags: Deleted}); err != nil {
			return err
		}
		if _, err := tx.Move(1, []UID{2}, 6); err != nil {
			return err
		}
		_, err := tx.Expunge(1, []UID{1})
		return err
	}))
	if l := h.list(1); l.Len() != 0 {
		t.Errorf("%d messages are left", l.Len())
	}
	h.clock.Advance(h.limit.Recoverable + time.Second)
	h.must(h.store.Maintain(context.Background()))
	if u := h.usage(); u.RecoverableMessages != 0 {
		t.Errorf("nothing was purged: %+v", u)
	}
	h.must(h.store.AckDedupe(context.Background(), 1, []byte("k")))
	db.SetFull(false)
}

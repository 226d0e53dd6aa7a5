package store

import (
	"context"
	"errors"
	"slices"
	"testing"

	"tram/internal/blob"
	"tram/internal/kv"
)

func TestAccounts(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	ctx := context.Background()
	nothing := func(*Tx) error { return nil }
	for _, id := range []AccountID{7, 1, 1 << 40, 3} {
		h.must(h.store.Account(id).View(ctx, nothing))
	}
	if ids, err := h.store.Accounts(ctx); err != nil || !slices.Equal(ids, []AccountID{1, 3, 7, 1 << 40}) {
		t.Errorf("accounts are %v, %v", ids, err)
	}
	if err := h.store.Account(0).Update(ctx, nothing); !errors.Is(err, ErrNotFound) {
		t.Errorf("account 0: %v", err)
	}
}

// TestRemove leaves nothing of an account but the mark that it must not come back.
func TestRemove(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	ctx := context.Background()
	h.appendMany(removeStep+20, 1)
	h.expunge(1, 1, 2, 3)
	h.must(h.store.Account(2).View(ctx, func(*Tx) error { return nil }))
	h.must(h.store.Remove(ctx, 1))
	h.must(h.store.Remove(ctx, 1)) // as after an interruption

	if ids, err := h.store.Accounts(ctx); err != nil || !slices.Equal(ids, []AccountID{2}) {
		t.Errorf("accounts are %v, %v", ids, err)
	}
	for name, do := range map[string]func(context.Context, func(*Tx) error) error{
		"view": h.store.Account(1).View, "update": h.store.Account(1).Update,
	} {
		if err := do(ctx, func(*Tx) error { return nil }); !errors.Is(err, ErrNotFound) {
			t.Errorf("%s of a removed account: %v", name, err)
		}
	}
	if err := h.store.SetQuota(ctx, 1, Quota{Bytes: 1}); !errors.Is(err, ErrNotFound) {
		t.Errorf("quota of a removed account: %v", err)
	}
	rows := 0
	h.must(h.db.View(ctx, "", func(r kv.Reader) error {
		return r.Scan(kv.Prefix(appendKey(nil, 1, 0)[:9]), func(_, _ []byte) error {
			rows++
			return nil
		})
	}))
	if rows != 1 {
		t.Errorf("%d rows are left, want 1", rows)
	}
	h.must(h.blobs.EachLink(ctx, func(id blob.ID, _ []byte) error {
		t.Errorf("body %s is still referred to", id)
		return nil
	}))
	h.must(h.store.Maintain(ctx))
}

// TestUpdateRunsAgain: memkv runs every function twice here; what a caller sees is the second run.
func TestUpdateRunsAgain(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	runs := 0
	var m *Mailbox
	h.update(func(tx *Tx) (err error) {
		runs++
		m, err = tx.CreateMailbox("once", CreateOptions{})
		return err
	})
	if runs != 2 || h.mailbox(m.ID).Name != "once" || len(h.names()) != 7 {
		t.Errorf("%d runs, mailboxes %v", runs, h.names())
	}
}

func TestReadOnly(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.append(mail(1), 1)
	h.view(func(tx *Tx) error {
		for name, do := range map[string]func() error{
			"create":    func() error { _, err := tx.CreateMailbox("x", CreateOptions{}); return err },
			"rename":    func() error { return tx.RenameMailbox(3, "x") },
			"delete":    func() error { return tx.DeleteMailbox(3) },
			"role":      func() error { return tx.SetRole(3, NoRole) },
			"subscribe": func() error { return tx.Subscribe("x", true) },
			"claim":     func() error { _, err := tx.ClaimRecent(1); return err },
			"flags": func() error {
				_, _, err := tx.SetFlags(1, []UID{1}, FlagChange{Flags: Seen})
				return err
			},
			"copy":          func() error { _, err := tx.Copy(1, []UID{1}, 3); return err },
			"move":          func() error { _, err := tx.Move(1, []UID{1}, 3); return err },
			"expunge":       func() error { _, err := tx.Expunge(1, []UID{1}); return err },
			"set mailboxes": func() error { return tx.SetMailboxes(1, []MailboxID{3}) },
			"recover":       func() error { _, err := tx.Recover(1, 1); return err },
			"purge":         func() error { return tx.Purge(1) },
		} {
			if err := do(); !errors.Is(err, ErrReadOnly) {
				t.Errorf("%s in a view: %v", name, err)
			}
		}
		return nil
	})
}

package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

func (h *house) try(fn func(tx *Tx) error) error {
	return h.store.Account(1).Update(context.Background(), fn)
}

func (h *house) names() (names []string) {
	h.t.Helper()
	h.view(func(tx *Tx) error {
		all, err := tx.Mailboxes()
		for _, m := range all {
			names = append(names, m.Name)
		}
		return err
	})
	return names
}

func TestProvision(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	want := []string{"INBOX", "Archive", "Drafts", "Junk", "Sent", "Trash"}
	if got := h.names(); !slices.Equal(got, want) {
		t.Errorf("a new account has %v", got)
	}
	h.view(func(tx *Tx) error {
		subs, err := tx.Subscriptions()
		if !slices.Equal(subs, want) {
			t.Errorf("subscribed to %v", subs)
		}
		for role, name := range map[Role]string{
			RoleInbox: "INBOX", RoleDrafts: "Drafts", RoleSent: "Sent", RoleArchive: "Archive",
			RoleJunk: "Junk", RoleTrash: "Trash",
		} {
			if m, err := tx.MailboxByRole(role); err != nil || m.Name != name {
				t.Errorf("role %d is %+v, %v", role, m, err)
			}
		}
		if _, err := tx.MailboxByRole(RoleAll); !errors.Is(err, ErrNotFound) {
			t.Errorf("no mailbox has the role: %v", err)
		}
		return err
	})
}

// TestNames holds names to RFC 9051 §5.1: Net-Unicode, INBOX in any case, NFC.
func TestNames(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 1000)
	for in, want := range map[string]string{
		"inbox": "INBOX", "InBox/a": "INBOX/a", "a/inbox": "a/inbox", "a/": "a", "Inboxes": "Inboxes",
		"Tie\u0302\u0301ng": "Ti\u1ebfng", "a b": "a b", " a ": " a ", "%*&~#": "%*&~#",
		`"\`: `"\`, "日本語/台北": "日本語/台北", "😀": "😀", long: long, "&AOk-": "&AOk-",
		// refused
		"": "", "/": "", "/a": "", "a//b": "", "a\x00": "", "a\r\nb": "", "a\x7f": "", "\u0085": "",
		"a\u2028": "", "\ufeffa": "", "\xff": "", long + "x": "", strings.Repeat("a/", 32) + "a": "",
	} {
		levels, err := splitName(in, 1000, 32)
		got := strings.Join(levels, "/")
		if got != want || (want == "") != errors.Is(err, ErrInvalidName) {
			t.Errorf("%.40q: %.40q, %v; want %.40q", in, got, err, want)
		}
	}
}

func TestCreateMailbox(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.create("a/b/c")
	h.create("A")
	if got := h.names()[1:4]; !slices.Equal(got, []string{"A", "Archive", "Drafts"}) {
		t.Errorf("order is %v", h.names())
	}
	if !slices.Contains(h.names(), "a/b") {
		t.Error("the mailboxes above were not made")
	}
	for name, want := range map[string]error{
		"a/b": ErrExists, "INBOX": ErrExists, "inbox": ErrExists, "x\n": ErrInvalidName,
	} {
		err := h.try(func(tx *Tx) error {
			_, err := tx.CreateMailbox(name, CreateOptions{})
			return err
		})
		if !errors.Is(err, want) {
			t.Errorf("create %q: %v, want %v", name, err, want)
		}
	}
	err := h.try(func(tx *Tx) error {
		_, err := tx.CreateMailbox("second sent", CreateOptions{Role: RoleSent})
		return err
	})
	if !errors.Is(err, ErrExists) {
		t.Errorf("a second mailbox with the role: %v", err)
	}
	h.limit.Mailboxes = 10
	h.open()
	err = h.try(func(tx *Tx) error {
		_, err := tx.CreateMailbox("x/y/z", CreateOptions{})
		return err
	})
	if !errors.Is(err, ErrTooMany) || slices.Contains(h.names(), "x") {
		t.Errorf("past the limit: %v; mailboxes %v", err, h.names())
	}
}

// TestUIDValidityIsNeverReused creates and deletes one name over and over, with a clock that stands
// still or goes back (RFC 9051 §2.3.1.1).
func TestUIDValidityIsNeverReused(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	seen := map[uint32]bool{}
	for n := range 20 {
		id := h.create("again")
		h.append(mail(1), id)
		m := h.mailbox(id)
		if seen[m.UIDValidity] || m.UIDValidity == 0 {
			t.Errorf("UIDVALIDITY %d again", m.UIDValidity)
		}
		seen[m.UIDValidity] = true
		h.update(func(tx *Tx) error { return tx.DeleteMailbox(id) })
		h.clock.Advance(time.Duration(n%3-1) * time.Hour)
	}
}

// TestRenameTree renames a tree of many mailboxes with a handful of writes (RFC 9051 §6.3.6).
func TestRenameTree(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.update(func(tx *Tx) error {
		for n := range 300 {
			if _, err := tx.CreateMailbox(fmt.Sprintf("top/n%d/leaf", n), CreateOptions{}); err != nil {
				return err
			}
		}
		return tx.Subscribe("top/n7/leaf", true)
	})
	f := &faulty{Database: h.db}
	s, err := Open(context.Background(), Options{DB: f, Blobs: h.blobs, Clock: h.clock})
	h.must(err)
	var old, moved *Mailbox
	h.view(func(tx *Tx) (err error) {
		old, err = tx.MailboxByName("top/n7/leaf")
		return err
	})
	h.must(s.Account(1).Update(context.Background(), func(tx *Tx) error {
		m, err := tx.MailboxByName("top")
		if err != nil {
			return err
		}
		return tx.RenameMailbox(m.ID, "new/place/crown")
	}))
	if n := f.writes.Load(); n > 14 {
		t.Errorf("renaming 601 mailboxes wrote %d rows", n)
	}
	h.view(func(tx *Tx) (err error) {
		if moved, err = tx.MailboxByName("new/place/crown/n7/leaf"); err != nil {
			return err
		}
		subs, err := tx.Subscriptions()
		if !slices.Contains(subs, "top/n7/leaf") || moved.Subscribed {
			t.Errorf("subscriptions moved along: %v", subs)
		}
		return err
	})
	if moved.ID != old.ID || moved.UIDValidity != old.UIDValidity {
		t.Errorf("mailbox is %+v, was %+v", moved, old)
	}
}

func TestRenameRefuses(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.create("d" + strings.Repeat("/d", 29))
	a, b := h.create("a"), h.create("a/b")
	var top MailboxID
	h.view(func(tx *Tx) error {
		m, err := tx.MailboxByName("d")
		top = m.ID
		return err
	})
	for _, tc := range []struct {
		id   MailboxID
		to   string
		want error
	}{
		{a, "INBOX", ErrExists}, {a, "a", ErrExists}, {a, "a/b", ErrExists},
		{a, "a/c", ErrInvalidName}, {a, "x\x01", ErrInvalidName}, {99, "x", ErrNotFound},
		{top, "1/2/3/4", ErrInvalidName}, {b, "b", nil}, {top, "1/2/3", nil},
		{top, strings.Repeat("n", 960), ErrInvalidName}, {top, strings.Repeat("n", 940), nil},
	} {
		err := h.try(func(tx *Tx) error { return tx.RenameMailbox(tc.id, tc.to) })
		if !errors.Is(err, tc.want) || tc.want == nil && err != nil {
			t.Errorf("rename %d to %.30q: %v, want %v", tc.id, tc.to, err, tc.want)
		}
	}
}

// TestRenameInbox is RFC 9051 §6.3.6: the messages move, INBOX and what is below it stay.
func TestRenameInbox(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	in := h.inbox()
	h.create("INBOX/child")
	for n := range 3 {
		h.append(mail(n), in)
	}
	h.setFlags(in, FlagChange{Flags: Seen}, 2)
	before := h.mailbox(in)
	h.update(func(tx *Tx) error { return tx.RenameMailbox(in, "old mail") })
	after := h.mailbox(in)
	if after.Messages != 0 || after.Name != "INBOX" || after.UIDNext != before.UIDNext ||
		after.UIDValidity != before.UIDValidity || !slices.Contains(h.names(), "INBOX/child") {
		t.Errorf("INBOX is %+v; mailboxes %v", after, h.names())
	}
	h.view(func(tx *Tx) error {
		m, err := tx.MailboxByName("old mail")
		if err == nil && (m.Messages != 3 || m.Unseen != 2 || m.UIDValidity == before.UIDValidity) {
			t.Errorf("new mailbox is %+v", m)
		}
		return err
	})
}

func TestDeleteMailbox(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	parent, child := h.create("p"), h.create("p/c")
	only := h.append(mail(1), child)
	both := h.append(mail(2), child, 1)
	for id, want := range map[MailboxID]error{
		parent: ErrHasChildren, 1: ErrProtected, 3: ErrProtected, 99: ErrNotFound,
	} {
		if err := h.try(func(tx *Tx) error { return tx.DeleteMailbox(id) }); !errors.Is(err, want) {
			t.Errorf("delete %d: %v, want %v", id, err, want)
		}
	}
	h.update(func(tx *Tx) error {
		if err := tx.DeleteMailbox(child); err != nil {
			return err
		}
		return tx.DeleteMailbox(parent)
	})
	h.view(func(tx *Tx) error {
		if _, err := tx.Mailbox(child); !errors.Is(err, ErrNotFound) {
			t.Errorf("the mailbox is there: %v", err)
		}
		recs, err := tx.Recoverable()
		if len(recs) != 1 || recs[0].Email != only.Email || recs[0].Mailbox != child {
			t.Errorf("recoverable are %+v", recs)
		}
		st, err2 := tx.State(both.Email)
		if err2 == nil && len(st.Mailboxes) != 1 {
			t.Errorf("the email in two mailboxes is in %+v", st.Mailboxes)
		}
		return errors.Join(err, err2)
	})
	// A mailbox whose role was taken away goes like any other.
	h.update(func(tx *Tx) error {
		if err := tx.SetRole(3, NoRole); err != nil {
			return err
		}
		return tx.DeleteMailbox(3)
	})
}

// TestSubscriptions: names are subscribed to, not mailboxes (RFC 9051 §6.3.7).
func TestSubscriptions(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	id := h.create("list")
	h.update(func(tx *Tx) error {
		return errors.Join(tx.Subscribe("not there", true), tx.Subscribe("list", true),
			tx.Subscribe("inbox", false), tx.Subscribe("Sent", false), tx.Subscribe("never", false))
	})
	h.update(func(tx *Tx) error { return tx.DeleteMailbox(id) })
	h.view(func(tx *Tx) error {
		subs, err := tx.Subscriptions()
		want := []string{"Archive", "Drafts", "Junk", "Trash", "list", "not there"}
		if !slices.Equal(subs, want) {
			t.Errorf("subscriptions are %v", subs)
		}
		return err
	})
	h.create("list")
	h.view(func(tx *Tx) error {
		m, err := tx.MailboxByName("list")
		if err == nil && !m.Subscribed {
			t.Error("the name was made again and is not subscribed to")
		}
		return err
	})
}

func TestEachMailboxStops(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.update(func(tx *Tx) error {
		for n := range eachPage + 20 { // more than a page
			if _, err := tx.CreateMailbox(fmt.Sprintf("m/%03d", n), CreateOptions{}); err != nil {
				return err
			}
		}
		return nil
	})
	var got []string
	h.view(func(tx *Tx) error {
		return tx.EachMailbox(func(m *Mailbox) error {
			got = append(got, m.Name)
			if m.Name == "m/270" {
				return Stop
			}
			return nil
		})
	})
	if want := h.names(); !slices.Equal(got, want[:len(got)]) || got[len(got)-1] != "m/270" {
		t.Errorf("%d names, the last %q", len(got), got[len(got)-1])
	}
	failed := errors.New("failed")
	h.view(func(tx *Tx) error {
		if err := tx.EachMailbox(func(*Mailbox) error { return failed }); err != failed {
			t.Errorf("error of the callback became %v", err)
		}
		return nil
	})
}

// TestRecent is RFC 3501 §2.3.2: the first read-write session to select is told of new messages.
func TestRecent(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	for n := range 3 {
		h.append(mail(n), 1)
	}
	claim := func() (from UID) {
		h.update(func(tx *Tx) (err error) {
			from, err = tx.ClaimRecent(1)
			return err
		})
		return from
	}
	if m := h.mailbox(1); m.Recent != 3 {
		t.Errorf("%d recent, want 3", m.Recent)
	}
	at := h.mailbox(1).HighestModSeq
	if from := claim(); from != 1 || h.mailbox(1).Recent != 0 {
		t.Errorf("recent from %d, then %d", from, h.mailbox(1).Recent)
	}
	if h.mailbox(1).HighestModSeq != at {
		t.Error("claiming raised the mailbox's ModSeq")
	}
	h.append(mail(4), 1)
	h.append(mail(5), 1)
	h.update(func(tx *Tx) error {
		_, err := tx.Expunge(1, []UID{1, 4})
		return err
	})
	if m := h.mailbox(1); m.Recent != 1 {
		t.Errorf("%d recent, want 1", m.Recent)
	}
	if from := claim(); from != 4 {
		t.Errorf("recent from %d, want 4", from)
	}
}

package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
)

func (h *house) setFlags(box MailboxID, c FlagChange, uids ...UID) (changed []Entry, refused []UID) {
	h.t.Helper()
	h.update(func(tx *Tx) (err error) {
		changed, refused, err = tx.SetFlags(box, uids, c)
		return err
	})
	return changed, refused
}

// TestFlagsEverywhere: keywords belong to the email and show in each of its mailboxes with a new
// ModSeq; \Deleted belongs to the entry.
func TestFlagsEverywhere(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	a := h.append(mail(1), 1, 4)
	before := h.mailbox(4).HighestModSeq
	h.setFlags(1, FlagChange{Flags: Seen | Deleted, Keywords: []string{"$Junk"}}, 1)

	there := h.list(4).At(0)
	if there.Flags != Seen|1<<firstKeywordBit || there.ModSeq <= before ||
		h.mailbox(4).HighestModSeq != there.ModSeq {
		t.Errorf("entry elsewhere is %+v", there)
	}
	if m := h.mailbox(4); m.Unseen != 0 || m.Deleted != 0 {
		t.Errorf("mailbox elsewhere is %+v", m)
	}
	here := h.list(1).At(0)
	if here.Flags != there.Flags|Deleted || h.mailbox(1).Deleted != 1 {
		t.Errorf("entry is %+v", here)
	}
	// \Deleted alone touches neither the email nor its other entries.
	h.setFlags(4, FlagChange{Flags: Deleted}, 1)
	if now := h.list(1).At(0); now != here {
		t.Errorf("\\Deleted elsewhere changed %+v to %+v", here, now)
	}
	h.view(func(tx *Tx) error {
		st, err := tx.State(a.Email)
		if err == nil && (st.Flags != there.Flags || st.ModSeq != there.ModSeq) {
			t.Errorf("state is %+v", st)
		}
		return err
	})
}

// TestStoreUnchangedSince follows RFC 7162 §3.1.3: what has changed since is refused, the rest
// done.
func TestStoreUnchangedSince(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	for n := range 4 {
		h.append(mail(n), 1)
	}
	since := h.mailbox(1).HighestModSeq
	h.setFlags(1, FlagChange{Flags: Flagged}, 2)
	c := FlagChange{Flags: Seen, Conditional: true, UnchangedSince: since}
	changed, refused := h.setFlags(1, c, 1, 2, 3, 99)
	if len(changed) != 2 || changed[0].UID != 1 || changed[1].UID != 3 ||
		!slices.Equal(refused, []UID{2}) {
		t.Errorf("changed %+v, refused %v", changed, refused)
	}
	// Zero refuses every message there is.
	c.UnchangedSince = 0
	if changed, refused = h.setFlags(1, c, 1, 4); len(changed) != 0 || len(refused) != 2 {
		t.Errorf("unchanged since 0: changed %+v, refused %v", changed, refused)
	}
	// What is set already is no change: ModSeq stays.
	at := h.mailbox(1).HighestModSeq
	if changed, _ = h.setFlags(1, FlagChange{Flags: Seen}, 1, 3); len(changed) != 0 ||
		h.mailbox(1).HighestModSeq != at {
		t.Errorf("setting what is set changed %+v", changed)
	}
}

// TestManyKeywords goes past the bits of Flags, and past the limit.
func TestManyKeywords(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.limit.Keywords = 70
	h.open()
	h.append(mail(1), 1)
	var want []string
	for n := range 70 {
		want = append(want, fmt.Sprintf("k%02d", n))
	}
	h.setFlags(1, FlagChange{Keywords: want}, 1)
	h.view(func(tx *Tx) error {
		e := h.list(1).At(0)
		words, err := tx.Keywords()
		if err != nil {
			return err
		}
		more, err := tx.ExtraKeywords(e.Email)
		if err != nil {
			return err
		}
		got := append(words.AppendNames(nil, e.Flags), more...)
		if !slices.Equal(got, want) || e.Flags&MoreKeywords == 0 || len(more) != 70-keywordBits {
			t.Errorf("keywords are %v", got)
		}
		if _, ok := words.Bit("K00"); !ok {
			t.Error("keywords are compared with case")
		}
		if _, ok := words.Bit("k69"); ok || !words.Has("K69") {
			t.Error("a keyword past the bits has a bit, or is not known")
		}
		return nil
	})
	err := h.store.Account(1).Update(context.Background(), func(tx *Tx) error {
		_, _, err := tx.SetFlags(1, []UID{1}, FlagChange{Keywords: []string{"one too many"[:3]}})
		return err
	})
	if !errors.Is(err, ErrTooMany) {
		t.Errorf("a keyword too many: %v", err)
	}
	// Removing a keyword that nobody has used does not make it known.
	h.setFlags(1, FlagChange{Mode: RemoveFlags, Keywords: []string{"never", "k69", "K00"}}, 1)
	h.view(func(tx *Tx) error {
		words, err := tx.Keywords()
		if words.Has("never") || words.Len() != 70 {
			t.Errorf("the table is %v", words.Names())
		}
		st, err2 := tx.State(1)
		if len(st.Keywords) != 68 || slices.Contains(st.Keywords, "k69") {
			t.Errorf("keywords are %v", st.Keywords)
		}
		return errors.Join(err, err2)
	})
}

// TestSeveralCallsInOne sees the writes of earlier calls in later ones of the same transaction.
func TestSeveralCallsInOne(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.append(mail(1), 1, 4)
	h.update(func(tx *Tx) error {
		body, m := h.body(mail(2))
		a, err := tx.Append(AppendOptions{Mailboxes: []MailboxID{1}, Body: body, Message: m})
		if err != nil {
			return err
		}
		for _, flags := range []Flags{Seen, Flagged, Draft} {
			for _, box := range []MailboxID{1, 4} {
				if _, _, err := tx.SetFlags(box, []UID{1}, FlagChange{Flags: flags}); err != nil {
					return err
				}
			}
		}
		if _, err := tx.Move(1, []UID{a.Entries[0].UID}, 4); err != nil {
			return err
		}
		l, err := tx.List(4)
		if err != nil {
			return err
		}
		if l.Len() != 2 || l.At(0).Flags != Seen|Flagged|Draft || l.At(1).Email != a.Email {
			t.Errorf("list in the transaction: %d entries, %+v", l.Len(), l.At(0))
		}
		if l, err = tx.List(1); err == nil && l.Len() != 1 {
			t.Errorf("%d entries left", l.Len())
		}
		if _, err := tx.Expunge(4, []UID{1, 2}); err != nil {
			return err
		}
		mb, err := tx.Mailbox(4)
		if err == nil && (mb.Messages != 0 || mb.UIDNext != 3) {
			t.Errorf("mailbox in the transaction: %+v", mb)
		}
		return err
	})
	h.check()
}

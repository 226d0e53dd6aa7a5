package store

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

// seenBy returns the list of a mailbox of account 1 as somebody sees it.
func (h *house) seenBy(p Person, id MailboxID) (l *List) {
	h.t.Helper()
	h.must(h.store.Account(1).As(p).View(context.Background(), func(tx *Tx) (err error) {
		l, err = tx.List(id)
		return err
	}))
	return l
}

// markAs sets flags in somebody's name.
func (h *house) markAs(p Person, id MailboxID, c FlagChange, uids ...UID) (changed []Entry, refused []UID) {
	h.t.Helper()
	h.must(h.as(p, func(tx *Tx) (err error) {
		changed, refused, err = tx.SetFlags(id, uids, c)
		return err
	}))
	return changed, refused
}

func (h *house) mailboxAs(p Person, id MailboxID) (m *Mailbox) {
	h.t.Helper()
	h.must(h.store.Account(1).As(p).View(context.Background(), func(tx *Tx) (err error) {
		m, err = tx.Mailbox(id)
		return err
	}))
	return m
}

// seenUIDs returns what of a list is seen.
func seenUIDs(l *List) (uids []UID) {
	for _, e := range l.Flagged(Seen) {
		uids = append(uids, e.UID)
	}
	return uids
}

// TestOwnSeen wants \Seen of a shared mailbox to belong to the person, and all other flags to all.
func TestOwnSeen(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	box := h.create("Team")
	h.appendMany(5, box)
	h.share(box, Anyone, rights(t, "lrswt"))
	h.setFlags(box, FlagChange{Flags: Seen}, 1)
	h.markAs(bea, box, FlagChange{Flags: Seen | Flagged}, 2, 3)
	h.markAs(carl, box, FlagChange{Flags: Seen}, 4)
	h.markAs(carl, box, FlagChange{Mode: ReplaceFlags, Flags: Answered}, 3)
	h.markAs(bea, box, FlagChange{Mode: RemoveFlags, Flags: Seen}, 2)
	for _, c := range []struct {
		who  Person
		want []UID
	}{{Person{Account: 1}, []UID{1}}, {bea, []UID{3}}, {carl, []UID{4}}} {
		l := h.seenBy(c.who, box)
		if got := seenUIDs(l); !slices.Equal(got, c.want) {
			t.Errorf("account %d has seen %v, want %v", c.who.Account, got, c.want)
		}
		if m := h.mailboxAs(c.who, box); m.Unseen != 4 || m.HighestModSeq != l.HighestModSeq() {
			t.Errorf("account %d has %d unseen, modseq %d of %d", c.who.Account, m.Unseen, m.HighestModSeq, l.HighestModSeq())
		}
		if e := l.At(2); e.Flags&(Flagged|Answered) != Answered {
			t.Errorf("account %d sees other flags %b", c.who.Account, e.Flags)
		}
		var found []UID
		h.must(h.store.Account(1).As(c.who).View(context.Background(), func(tx *Tx) error {
			r, err := tx.Query(Query{Mailboxes: []MailboxID{box}, Filter: HasFlags(Seen)})
			for _, hit := range r.Hits {
				found = append(found, hit.Entry.UID)
			}
			st, stateErr := tx.State(l.At(int(c.want[0]) - 1).Email)
			if stateErr == nil && st.Flags&Seen == 0 {
				t.Errorf("account %d: the email's state is not seen", c.who.Account)
			}
			return errors.Join(err, stateErr)
		}))
		if !slices.Equal(found, c.want) {
			t.Errorf("account %d finds %v", c.who.Account, found)
		}
	}
}

// TestOwnSeenModSeq wants a change of own \Seen to show to the person alone, with a new ModSeq, and to be
// announced (RFC 7162 §3.1).
func TestOwnSeenModSeq(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	box := h.create("Team")
	h.appendMany(3, box)
	h.share(box, Anyone, rights(t, "lrs"))
	before := h.seenBy(bea, box)
	watch := h.store.Account(1).As(bea).Watch(context.Background())
	defer watch.Close()

	changed, _ := h.markAs(bea, box, FlagChange{Flags: Seen}, 2)
	if len(changed) != 1 || changed[0].Flags&Seen == 0 || changed[0].ModSeq <= before.HighestModSeq() {
		t.Fatalf("changed %+v after %d", changed, before.HighestModSeq())
	}
	select {
	case <-watch.C():
	default:
		t.Error("nothing was announced")
	}
	at := changed[0].ModSeq
	after := h.seenBy(bea, box)
	if d := after.Delta(before); len(d.Changed) != 1 || d.Changed[0] != changed[0] || len(d.Added)+len(d.Removed) > 0 {
		t.Errorf("the difference is %+v", d)
	}
	var since []UID
	for _, e := range after.Changed(before.HighestModSeq(), 0, after.Len()) {
		since = append(since, e.UID)
	}
	if after.HighestModSeq() != at || !slices.Equal(since, []UID{2}) {
		t.Errorf("highest is %d, want %d; changed since are %v", after.HighestModSeq(), at, since)
	}
	for _, p := range []Person{{Account: 1}, carl} {
		if l := h.seenBy(p, box); l.HighestModSeq() != before.HighestModSeq() {
			t.Errorf("account %d sees ModSeq %d", p.Account, l.HighestModSeq())
		}
	}
	h.must(h.store.Account(1).View(context.Background(), func(tx *Tx) error {
		c, err := tx.Changes(before.HighestModSeq(), 0)
		if len(c.Lists) > 0 || c.To != at {
			t.Errorf("the owner is told of %v up to %d", c.Lists, c.To)
		}
		return err
	}))
	h.must(h.store.Account(1).As(bea).View(context.Background(), func(tx *Tx) error {
		c, err := tx.Changes(at-1, 0)
		if !slices.Equal(c.Lists, []MailboxID{box}) {
			t.Errorf("the person is told of %v", c.Lists)
		}
		return err
	}))
	if changed, _ := h.markAs(bea, box, FlagChange{Flags: Seen}, 2); len(changed) > 0 {
		t.Errorf("what is seen already changed: %+v", changed)
	}
	_, refused := h.markAs(bea, box, FlagChange{
		Mode: RemoveFlags, Flags: Seen, Conditional: true, UnchangedSince: at - 1,
	}, 1, 2)
	if !slices.Equal(refused, []UID{2}) {
		t.Errorf("held back are %v", refused)
	}
}

// TestVisitorFlags keeps the flags that a person may not set (RFC 4314 §4): the example there.
func TestVisitorFlags(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		have string
		want [3]Flags
		word bool
	}{
		{"lrswi", [3]Flags{Draft, Answered, Seen}, true},
		{"lrsti", [3]Flags{Deleted, 0, Seen}, false},
	} {
		h := newHouse(t)
		from, to := h.create("From"), h.create("To")
		h.share(from, bea.Account, AllRights)
		h.share(to, bea.Account, rights(t, c.have))
		h.appendWith(AppendOptions{Mailboxes: []MailboxID{from}, Flags: Draft | Deleted}, mail(1))
		h.appendWith(AppendOptions{Mailboxes: []MailboxID{from}, Flags: Answered}, mail(2))
		h.appendWith(AppendOptions{Mailboxes: []MailboxID{from}, Keywords: []string{"$Forwarded"}}, mail(3))
		h.markAs(bea, from, FlagChange{Flags: Seen}, 3)
		do := []func(tx *Tx) error{
			func(tx *Tx) error { _, err := tx.Copy(from, []UID{1, 2, 3}, to); return err },
			func(tx *Tx) error { _, err := tx.Move(from, []UID{1, 2, 3}, to); return err },
		}
		for round, fn := range do {
			h.must(h.as(bea, fn))
			l := h.seenBy(bea, to)
			if l.Len() != 3*(round+1) {
				t.Fatalf("%d messages", l.Len())
			}
			for i, want := range c.want {
				e := l.At(3*round + i)
				if got := e.Flags & SystemFlags; got != want {
					t.Errorf("%s, round %d: message %d has %b, want %b", c.have, round, i, got, want)
				}
			}
			if word := l.At(3*round+2).Flags&^SystemFlags != 0; word != c.word {
				t.Errorf("%s, round %d: the keyword is kept: %v", c.have, round, word)
			}
		}
		if l := h.list(from); l.Len() != 0 {
			t.Errorf("%d messages were not moved", l.Len())
		}
		if l := h.seenBy(Person{Account: 1}, to); len(seenUIDs(l)) > 0 {
			t.Error("the owner has seen what somebody else has")
		}
	}
}

// TestVisitorAppend files with \Seen of one's own.
func TestVisitorAppend(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	box := h.create("Team")
	h.share(box, Anyone, rights(t, "lrsi"))
	for n := range 3 {
		o := AppendOptions{Mailboxes: []MailboxID{box}, Flags: []Flags{Seen | Flagged, 0, Seen}[n], Keywords: []string{"k"}}
		o.Body, o.Message = h.body(mail(n))
		h.must(h.as(bea, func(tx *Tx) error { _, err := tx.Append(o); return err }))
	}
	if got := seenUIDs(h.seenBy(bea, box)); !slices.Equal(got, []UID{1, 3}) {
		t.Errorf("she has seen %v", got)
	}
	for _, p := range []Person{{Account: 1}, carl} {
		l := h.seenBy(p, box)
		for _, e := range l.Entries(0, l.Len()) {
			if e.Flags != 0 {
				t.Errorf("account %d sees UID %d with %b", p.Account, e.UID, e.Flags)
			}
		}
	}
}

// TestOwnSeenModel marks and expunges at random, in a mailbox of several blocks and chunks, and compares
// the list with what a map of UIDs says; with new stores in between, and others on old snapshots.
func TestOwnSeenModel(t *testing.T) {
	t.Parallel()
	const n = 3 * ownBlock / 2
	h := newHouse(t)
	rng := seeded(t, 7)
	box := h.create("Team")
	h.share(box, Anyone, AllRights)
	h.fill(box, n)
	truth := map[UID]bool{}
	last := h.seenBy(bea, box)
	for round := range 60 {
		uids := someUIDs(rng, n)
		switch op := rng.IntN(6); op {
		case 0:
			h.must(h.as(carl, func(tx *Tx) error { _, err := tx.Expunge(box, uids[:min(len(uids), 40)]); return err }))
		case 1:
			h.open()
		case 2:
			h.must(h.store.Maintain(context.Background()))
		default:
			on, mode := op > 3, RemoveFlags
			if on {
				mode = AddFlags
			}
			h.markAs(bea, box, FlagChange{Mode: mode, Flags: Seen}, uids...)
			for _, uid := range uids {
				truth[uid] = on
			}
		}
		now := h.seenBy(bea, box)
		h.compareSeen(now, truth, box)
		h.compareDelta(now, last, fmt.Sprint("round ", round))
		last = now
		if t.Failed() {
			return
		}
	}
}

// fill puts n small messages into a mailbox: one, and copies of it.
func (h *house) fill(box MailboxID, n int) {
	h.t.Helper()
	h.append(mail(1), box)
	h.update(func(tx *Tx) error {
		for have := 1; have < n; {
			uids := make([]UID, min(have, n-have))
			for i := range uids {
				uids[i] = UID(i + 1)
			}
			if _, err := tx.Copy(box, uids, box); err != nil {
				return err
			}
			have += len(uids)
		}
		return nil
	})
}

// someUIDs returns a run, a comb or single ones.
func someUIDs(rng *rand.Rand, n int) (uids []UID) {
	first, count, step := 1+rng.IntN(n), 1+rng.IntN(2000), 1+rng.IntN(3)
	for i := range count {
		if uid := first + i*step; uid <= n {
			uids = append(uids, UID(uid))
		}
	}
	return uids
}

func (h *house) compareSeen(l *List, truth map[UID]bool, box MailboxID) {
	h.t.Helper()
	var want []UID
	plain := h.list(box)
	for i, e := range plain.Entries(0, plain.Len()) {
		if truth[e.UID] {
			want = append(want, e.UID)
		}
		if seen := l.At(i); seen.UID != e.UID || (seen.Flags&Seen != 0) != truth[e.UID] || seen.ModSeq < e.ModSeq {
			h.t.Fatalf("entry %d is %+v, shared %+v, seen %v", i, seen, *e, truth[e.UID])
		}
	}
	if got := seenUIDs(l); !slices.Equal(got, want) {
		h.t.Fatalf("%d are seen, want %d", len(got), len(want))
	}
	if m := h.mailboxAs(bea, box); int(m.Unseen) != l.Len()-len(want) {
		h.t.Errorf("%d unseen of %d, %d are seen", m.Unseen, l.Len(), len(want))
	}
}

// compareDelta compares the difference of two lists with one found entry by entry.
func (h *house) compareDelta(now, last *List, when string) {
	h.t.Helper()
	d := now.Delta(last)
	var changed, since []UID
	for _, e := range now.Entries(0, now.Len()) {
		i, ok := last.Find(e.UID)
		if was := last.At(min(i, last.Len()-1)); ok && was != *e {
			changed = append(changed, e.UID)
			if e.ModSeq <= last.HighestModSeq() && was.Flags != e.Flags {
				h.t.Errorf("%s: UID %d changed with an old ModSeq %d", when, e.UID, e.ModSeq)
			}
		}
		if e.ModSeq > last.HighestModSeq() {
			since = append(since, e.UID)
		}
	}
	got := make([]UID, 0, len(d.Changed))
	for _, e := range d.Changed {
		got = append(got, e.UID)
	}
	if !slices.Equal(got, changed) {
		h.t.Errorf("%s: %d changed, want %d", when, len(got), len(changed))
	}
	var asked []UID
	for _, e := range now.Changed(last.HighestModSeq(), 0, now.Len()) {
		asked = append(asked, e.UID)
	}
	if !slices.Equal(asked, since) || now.HighestModSeq() < last.HighestModSeq() {
		h.t.Errorf("%s: %d changed since %d, want %d", when, len(asked), last.HighestModSeq(), len(since))
	}
}

// TestOwnSeenCompact bounds what own \Seen takes, whatever the pattern, and drops what is gone.
func TestOwnSeenCompact(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.db.(interface{ SetTwice(bool) }).SetTwice(false)
	box := h.create("Team")
	h.share(box, Anyone, AllRights)
	h.fill(box, ownBlock-1)
	for uid := UID(1); uid < ownBlock; uid += 3 {
		h.markAs(bea, box, FlagChange{Flags: Seen}, uid)
	}
	_, block := h.ownRows(box)
	if len(block) != 1 || block[0] > 3*(ownBlock/3)+400 {
		t.Errorf("a comb of one by one takes %d bytes", block)
	}
	h.markAs(bea, box, FlagChange{Flags: Seen}, uidsOf(h.list(box))...)
	h.markAs(bea, box, FlagChange{Mode: RemoveFlags, Flags: Seen}, uidsOf(h.list(box))...)
	h.markAs(bea, box, FlagChange{Flags: Seen}, uidsOf(h.list(box))...)
	if _, block = h.ownRows(box); len(block) != 1 || block[0] > 20 {
		t.Errorf("all of them take %d bytes", block)
	}
	h.expunge(box, uidsOf(h.list(box))...)
	h.must(h.store.Maintain(context.Background()))
	if heads, block := h.ownRows(box); heads != 1 || len(block) != 0 {
		t.Errorf("after the last is gone there are %d heads and blocks of %d", heads, block)
	}
	h.append(mail(1), box)
	if l := h.seenBy(bea, box); len(seenUIDs(l)) > 0 {
		t.Error("a new message is seen")
	}
	h.update(func(tx *Tx) error { return tx.DeleteMailbox(box) })
	if heads, block := h.ownRows(box); heads+len(block) != 0 {
		t.Error("own \\Seen outlives the mailbox")
	}
}

// ownRows returns how many people have seen something of a mailbox, and the bytes of their blocks.
func (h *house) ownRows(box MailboxID) (heads int, blocks []int) {
	h.t.Helper()
	for key, value := range h.rowsOf(kindOwnSeen) {
		k, err := splitOwnKey([]byte(key))
		switch {
		case err != nil || k.mailbox != box:
		case k.head:
			heads++
		default:
			blocks = append(blocks, len(value))
		}
	}
	return heads, blocks
}

// TestMoveCarriesSeen wants what somebody has read to stay read when it is filed elsewhere, whoever files
// it; a copy is news.
func TestMoveCarriesSeen(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	from, to, private := h.create("From"), h.create("To"), h.create("Private")
	h.appendMany(6, from)
	h.share(from, Anyone, AllRights)
	h.share(to, Anyone, AllRights)
	h.markAs(bea, from, FlagChange{Flags: Seen}, 1, 3, 5)
	h.markAs(carl, from, FlagChange{Flags: Seen}, 1, 2, 6)
	for i, fn := range []func(tx *Tx) error{
		func(tx *Tx) error { _, err := tx.Move(from, []UID{1, 2}, to); return err },
		func(tx *Tx) error { _, err := tx.Move(from, []UID{3, 4}, to); return err },
		func(tx *Tx) error { _, err := tx.Copy(from, []UID{5, 6}, to); return err },
	} {
		h.must(h.as([]Person{{Account: 1}, carl, carl}[i], fn))
	}
	h.update(func(tx *Tx) error { _, err := tx.Move(from, []UID{5}, private); return err })
	for _, c := range []struct {
		who  Person
		want []UID
	}{{bea, []UID{1, 3}}, {carl, []UID{1, 2, 6}}, {Person{Account: 1}, nil}} {
		if got := seenUIDs(h.seenBy(c.who, to)); !slices.Equal(got, c.want) {
			t.Errorf("account %d has seen %v, want %v", c.who.Account, got, c.want)
		}
	}
	for key := range h.rowsOf(kindOwnSeen) {
		if k, err := splitOwnKey([]byte(key)); err != nil || k.mailbox == private {
			t.Errorf("somebody has seen something in a mailbox of the owner's: %+v, %v", k, err)
		}
	}
}

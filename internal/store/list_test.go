package store

import (
	"context"
	"slices"
	"sync"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"tram/internal/kv"
)

// appendMany stores n messages in a mailbox, in transactions of a hundred.
func (h *house) appendMany(n int, box MailboxID) {
	h.t.Helper()
	for from := 0; from < n; from += 100 {
		var options []AppendOptions
		for i := from; i < min(n, from+100); i++ {
			o := AppendOptions{Mailboxes: []MailboxID{box}}
			o.Body, o.Message = h.body(mail(i % 40))
			options = append(options, o)
		}
		h.update(func(tx *Tx) error {
			for _, o := range options {
				if _, err := tx.Append(o); err != nil {
					return err
				}
			}
			return nil
		})
	}
}

// fresh reads a list from its rows, past every cache.
func (h *house) fresh(id MailboxID) (l *List) {
	h.t.Helper()
	h.view(func(tx *Tx) error {
		m, err := tx.mailbox(id)
		if err != nil {
			return err
		}
		chunks, _, err := tx.loader().scan(&m.row, 0, 1<<32-1)
		l = newList(&m.row, chunks)
		return err
	})
	return l
}

func (h *house) sameAsFresh(id MailboxID, when string) *List {
	h.t.Helper()
	got, want := h.list(id), h.fresh(id)
	entries := func(l *List) (out []Entry) {
		for _, e := range l.Entries(0, l.Len()) {
			out = append(out, *e)
		}
		return out
	}
	if diff := gocmp.Diff(entries(want), entries(got)); diff != "" {
		h.t.Errorf("%s: cached list is not what is stored:\n%s", when, diff)
	}
	return got
}

// TestListChunks changes one message of many, and finds that everything else is shared.
func TestListChunks(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.appendMany(3*segmentSize, 1)
	before := h.sameAsFresh(1, "filled")
	if len(before.chunks) < 3 {
		t.Fatalf("%d chunks for %d messages", len(before.chunks), before.Len())
	}
	h.setFlags(1, FlagChange{Flags: Seen}, 700)
	after := h.sameAsFresh(1, "flag")
	shared := 0
	for _, c := range after.chunks {
		if slices.Contains(before.chunks, c) {
			shared++
		}
	}
	if shared != len(after.chunks)-1 {
		t.Errorf("%d of %d chunks are shared", shared, len(after.chunks))
	}
	d := after.Delta(before)
	if len(d.Changed) != 1 || d.Changed[0].UID != 700 || len(d.Added)+len(d.Removed) > 0 {
		t.Errorf("delta is %+v", d)
	}
	if e := before.At(699); e.UID != 700 || e.Flags != 0 {
		t.Errorf("the old list has changed: %+v", e)
	}
}

// TestListRefresh has a second node follow the first, whose changes it finds in the change log, for
// all the shapes a change can have.
func TestListRefresh(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	node, err := Open(context.Background(), Options{DB: h.db, Blobs: h.blobs, Clock: h.clock})
	if err != nil {
		t.Fatal(err)
	}
	h.appendMany(2*segmentSize+10, 1)
	all := func(from, to UID) (uids []UID) {
		for u := from; u <= to; u++ {
			uids = append(uids, u)
		}
		return uids
	}
	steps := []struct {
		name string
		do   func(tx *Tx) error
	}{
		{"one flag", func(tx *Tx) error {
			_, _, err := tx.SetFlags(1, []UID{5}, FlagChange{Flags: Seen})
			return err
		}},
		{"flags that fold a segment", func(tx *Tx) error {
			_, _, err := tx.SetFlags(1, all(10, 200), FlagChange{Flags: Flagged})
			return err
		}},
		{"flags in every segment", func(tx *Tx) error {
			_, _, err := tx.SetFlags(1, []UID{1, 513, 1030}, FlagChange{Flags: Draft})
			return err
		}},
		{"expunge in the middle", func(tx *Tx) error {
			_, err := tx.Expunge(1, []UID{300, 301, 600})
			return err
		}},
		{"expunge a whole segment", func(tx *Tx) error {
			_, err := tx.Expunge(1, all(513, 1024))
			return err
		}},
		{"a new message", func(tx *Tx) error {
			_, err := tx.Copy(1, []UID{1}, 1)
			return err
		}},
		{"many new messages", func(tx *Tx) error {
			_, err := tx.Copy(1, all(1, 250), 1)
			return err
		}},
		{"expunge the end", func(tx *Tx) error {
			_, err := tx.Expunge(1, all(1025, 1<<20))
			return err
		}},
		{"and a new message there", func(tx *Tx) error {
			_, err := tx.Copy(1, []UID{1}, 1)
			return err
		}},
		{"expunge all", func(tx *Tx) error {
			_, err := tx.Expunge(1, all(1, 2000))
			return err
		}},
		{"first of the next", func(tx *Tx) error { _, err := tx.Recover(4, 1); return err }},
	}
	for _, s := range steps {
		var old *List
		at := func(tx *Tx) (err error) {
			old, err = tx.List(1)
			return err
		}
		h.must(node.Account(1).View(context.Background(), at))
		h.update(s.do)
		want := h.sameAsFresh(1, s.name)
		var got *List
		h.must(node.Account(1).View(context.Background(), func(tx *Tx) (err error) {
			got, err = tx.List(1)
			return err
		}))
		if !slices.Equal(uidsOf(got), uidsOf(want)) || len(got.Delta(want).Changed) > 0 {
			t.Errorf("%s: the other node has another list", s.name)
		}
		d := got.Delta(old)
		if len(d.Added)+len(d.Changed)+len(d.Removed) == 0 {
			t.Errorf("%s: nothing changed", s.name)
		}
	}
	h.check()
}

// TestListConcurrent has many sessions look while one writes: each sees lists that are true of some
// moment, and never goes back.
func TestListConcurrent(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.appendMany(segmentSize, 1)
	ctx, stop := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	for range 6 {
		wg.Go(func() {
			var old *List
			for ctx.Err() == nil {
				err := h.store.Account(1).View(context.Background(), func(tx *Tx) error {
					m, err := tx.Mailbox(1)
					if err != nil {
						return err
					}
					l, err := tx.List(1)
					if err != nil {
						return err
					}
					var unseen, size int64
					for _, e := range l.Entries(0, l.Len()) {
						if size += int64(e.Size); e.Flags&Seen == 0 {
							unseen++
						}
					}
					if l.Len() != int(m.Messages) || unseen != int64(m.Unseen) || size != m.Size {
						t.Errorf("list of %d, %d unseen, %d bytes; mailbox is %+v", l.Len(), unseen,
							size, m)
					}
					if old != nil && l.HighestModSeq() < old.HighestModSeq() {
						t.Errorf("list of %d after one of %d", l.HighestModSeq(), old.HighestModSeq())
					}
					old = l
					return nil
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	rng := seeded(t, 7)
	for n := range 150 {
		h.append(mail(n%40), 1)
		h.setFlags(1, FlagChange{Mode: FlagMode(n % 2), Flags: Seen}, UID(rng.IntN(segmentSize+n)+1))
		h.expunge(1, UID(rng.IntN(segmentSize+n)+1))
	}
	stop()
	wg.Wait()
	h.sameAsFresh(1, "at the end")
}

// TestListDamaged breaks segments: the list is made whole again from the emails, and only \Deleted
// is lost, as nothing else knows of it.
func TestListDamaged(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.appendMany(segmentSize+100, 1)
	h.update(func(tx *Tx) error {
		_, _, err := tx.SetFlags(1, []UID{3, 600}, FlagChange{Flags: Deleted | Flagged})
		return err
	})
	want := h.list(1)
	h.damage(listKey(nil, 1, 1, 1, 0))     // the first base
	h.damage(listKey(nil, 1, 1, 513, 600)) // a loose row of the second segment
	found := h.findings()
	if len(found) == 0 {
		t.Error("Check finds nothing")
	}
	h.store.lists.drop(1, 1)
	got := h.list(1)
	if !slices.Equal(uidsOf(got), uidsOf(want)) {
		t.Fatalf("%d of %d entries are there", got.Len(), want.Len())
	}
	for i, e := range want.Entries(0, want.Len()) {
		was := got.At(i)
		if e.Flags&^Deleted != was.Flags&^Deleted || e.Size != was.Size || e.Received != was.Received ||
			e.Email != was.Email {
			t.Errorf("entry %d is %+v, was %+v", i, was, *e)
		}
	}
	// The next changes there write the rows anew.
	h.setFlags(1, FlagChange{Flags: Seen}, 1, 601)
	h.setFlags(1, FlagChange{Flags: Deleted}, 3, 600)
	h.store.lists.drop(1, 1)
	h.sameAsFresh(1, "repaired")
}

// damage overwrites a row with rubbish.
func (h *house) damage(key []byte) {
	h.t.Helper()
	h.must(h.db.Update(context.Background(), "account/1", func(w kv.Txn) error {
		if _, err := w.Get(key); err != nil {
			return err
		}
		return w.Set(key, []byte("rubbish"))
	}))
}

func TestListCacheBound(t *testing.T) {
	t.Parallel()
	c := newListCache(2000)
	box := func(id MailboxID, at ModSeq, n int) *List {
		l := &List{mailbox: id, modseq: at, n: n}
		c.put(1, l)
		return l
	}
	box(1, 1, 20)
	box(2, 1, 20)
	c.get(1, 1, 0, 1) // 1 is now the latest used
	box(3, 1, 20)
	if c.get(1, 2, 0, 1) != nil || c.get(1, 1, 0, 1) == nil || c.get(1, 3, 0, 1) == nil {
		t.Error("the list that was used longest ago is not the one that went")
	}
	big := box(4, 1, 1000)
	if c.get(1, 4, 0, 9) != big || c.lru.Len() != 1 {
		t.Errorf("a list above the bound is not alone: %d", c.lru.Len())
	}
	for at := ModSeq(2); at < 9; at++ {
		box(4, at, 5)
	}
	if l := c.get(1, 4, 0, 6); l == nil || l.modseq != 6 {
		t.Errorf("for an older snapshot: %+v", l)
	}
	if l := c.get(1, 4, 0, 2); l != nil {
		t.Errorf("version %d is kept", l.modseq)
	}
	if c.get(1, 4, 1, 9) != nil {
		t.Error("a list of another generation was returned")
	}
	c.put(1, &List{mailbox: 4, modseq: 3, generation: 1})
	if l := c.get(1, 4, 1, 9); l == nil || l.modseq != 3 {
		t.Errorf("of the newer generation: %+v", l)
	}
	c.drop(1, 4)
	if c.used != 0 || c.lru.Len() != 0 {
		t.Errorf("%d bytes in %d lists are left", c.used, c.lru.Len())
	}
}

// TestCompact empties most of every segment, and has Maintain put the list in order unseen.
func TestCompact(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.appendMany(12*segmentSize, 1)
	var uids []UID
	for u := UID(1); u <= 12*segmentSize; u++ {
		if u%300 != 0 {
			uids = append(uids, u)
		}
	}
	h.update(func(tx *Tx) error {
		_, err := tx.Expunge(1, uids)
		return err
	})
	before, mb := h.list(1), h.mailbox(1)
	h.must(h.store.Maintain(context.Background()))
	after := h.sameAsFresh(1, "compacted")
	if len(after.chunks) != 1 || !slices.Equal(uidsOf(before), uidsOf(after)) ||
		h.mailbox(1).HighestModSeq != mb.HighestModSeq {
		t.Errorf("%d chunks of %d entries, before %d of %d", len(after.chunks), after.Len(),
			len(before.chunks), before.Len())
	}
	if d := after.Delta(before); len(d.Added)+len(d.Removed)+len(d.Changed) > 0 {
		t.Errorf("delta is %+v", d)
	}
	h.append(mail(1), 1)
	h.setFlags(1, FlagChange{Flags: Seen}, 300, 12*segmentSize+1)
	h.sameAsFresh(1, "after that")
}

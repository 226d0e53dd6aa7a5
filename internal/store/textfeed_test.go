package store

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"testing"

	"tram/internal/kv"
	"tram/internal/textindex"
)

var textWords = strings.Fields(`hello yellow meeting báo cáo bao cao đường duong THÔNG Thong tháng
	2026 a.b.c naïve trạm tram zebra kính gửi`)

func randomWords(rnd *rand.Rand, n int) string {
	var b strings.Builder
	for range n {
		b.WriteString(textWords[rnd.IntN(len(textWords))])
		b.WriteString([]string{" ", ", ", "\n", "-"}[rnd.IntN(4)])
	}
	return b.String()
}

func (h *house) hits(f Filter) (uids []UID) {
	h.t.Helper()
	h.view(func(tx *Tx) error {
		r, err := tx.Query(Query{Filter: f})
		for _, hit := range r.Hits {
			uids = append(uids, hit.Entry.UID)
		}
		return err
	})
	return uids
}

// TestIndexedSearchEqualsScan: what a search finds does not depend on the index, however far that
// has come, and whatever was expunged, flagged or copied meanwhile.
func TestIndexedSearchEqualsScan(t *testing.T) {
	t.Parallel()
	rnd := seeded(t, rand.Uint64())
	h := newHouse(t)
	h.index = true
	h.open()
	box := h.inbox()
	plain := &house{t: t, db: h.db, clock: h.clock, limit: h.limit}
	plain.open()
	for round := range 6 {
		for range 1 + rnd.IntN(90) {
			subject := strings.ReplaceAll(randomWords(rnd, 3), "\n", " ")
			h.append("From: a@b\nSubject: "+subject+"\n\n"+randomWords(rnd, rnd.IntN(20)), box)
		}
		if round%2 == 0 { // the first round leaves a growing account alone, the second takes it
			for range 2 {
				if err := h.store.IndexText(context.Background()); err != nil {
					t.Fatal(err)
				}
			}
		}
		h.update(func(tx *Tx) error {
			l, err := tx.List(box)
			if err != nil {
				return err
			}
			uid := l.At(rnd.IntN(l.Len())).UID
			if _, _, err := tx.SetFlags(box, []UID{uid}, FlagChange{Mode: AddFlags, Flags: Seen}); err != nil {
				return err
			}
			_, err = tx.Expunge(box, []UID{l.At(rnd.IntN(l.Len())).UID})
			return err
		})
		for range 25 {
			query := strings.TrimSpace(randomWords(rnd, 1+rnd.IntN(2)))
			if r := []rune(query); len(r) > 2 && rnd.IntN(2) == 0 {
				query = string(r[rnd.IntN(2) : len(r)-rnd.IntN(2)])
			}
			for _, f := range []Filter{AnyText(query), BodyText(query)} {
				if got, want := h.hits(f), plain.hits(f); fmt.Sprint(got) != fmt.Sprint(want) {
					t.Fatalf("%T %q: %v with the index, %v without", f, query, got, want)
				}
			}
		}
	}
}

// TestDamagedIndexIsRebuilt: damage costs time, not answers.
func TestDamagedIndexIsRebuilt(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.index = true
	h.open()
	h.append("From: a@b\nSubject: x\n\nunmistakable\n", h.inbox())
	index := func() {
		for range 2 {
			if err := h.store.IndexText(context.Background()); err != nil {
				t.Fatal(err)
			}
		}
	}
	index()
	err := h.db.Update(context.Background(), textindex.Scope(1), func(txn kv.Txn) error {
		var keys [][]byte
		err := txn.Scan(kv.Prefix([]byte{'x'}), func(key, _ []byte) error {
			keys = append(keys, append([]byte(nil), key...))
			return nil
		})
		for _, key := range keys {
			if err == nil {
				err = txn.Set(key, []byte{0xff, 0xff})
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := h.hits(BodyText("unmistakable")); len(got) != 1 {
		t.Errorf("found %v with a damaged index", got)
	}
	h.append("From: a@b\nSubject: y\n\nanother\n", h.inbox())
	index()
	index()
	var newest uint64
	err = h.db.View(context.Background(), textindex.Scope(1), func(r kv.Reader) (err error) {
		newest, err = textindex.Newest(r, 1)
		return err
	})
	if err != nil || newest != 2 {
		t.Errorf("the index covers %d emails (%v), want 2", newest, err)
	}
}

// TestOldIndexIsRebuilt: after an update that changed the index, searches look into the mail until
// it is there again, and nobody is alarmed.
func TestOldIndexIsRebuilt(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.index = true
	h.open()
	h.append("From: a@b\nSubject: x\nContent-Type: text/plain; charset=utf-8\n\nhợp đồng mới\n", h.inbox())
	index := func() {
		for range 2 {
			if err := h.store.IndexText(context.Background()); err != nil {
				t.Fatal(err)
			}
		}
	}
	index()
	cursor := append(kv.AppendUint64([]byte{'x'}, 1), 'c')
	first := func(set bool) (version byte) {
		err := h.db.Update(context.Background(), textindex.Scope(1), func(txn kv.Txn) error {
			value, err := txn.Get(cursor)
			if err != nil {
				return err
			}
			value = bytes.Clone(value)
			if version = value[0]; set {
				value[0] = 2
			}
			return txn.Set(cursor, value)
		})
		if err != nil {
			t.Fatal(err)
		}
		return version
	}
	now := first(true)
	h.open() // the update
	var said bytes.Buffer
	h.store.log = slog.New(slog.NewTextHandler(&said, nil))
	for _, query := range []Filter{BodyText("đồng"), BodyText("hop dong"), Fuzzy{BodyText("đông")}} {
		if got := h.hits(query); len(got) != 1 {
			t.Errorf("%v: found %v with an old index", query, got)
		}
	}
	h.check()
	index()
	index()
	if got := first(false); got != now {
		t.Errorf("the index has version %d, want %d", got, now)
	}
	if len(h.hits(BodyText("đồng"))) != 1 || len(h.hits(BodyText("đông"))) != 0 {
		t.Error("the new index does not answer")
	}
	if s := said.String(); strings.Contains(s, "level=ERROR") || strings.Count(s, "built anew") != 1 {
		t.Errorf("said %s", s)
	}
}

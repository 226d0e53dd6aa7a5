package store

import (
	"context"
	"fmt"
	"slices"
	"testing"
)

// TestSortCasemap: with Casemap texts have the order of RFC 5051, in which marks weigh more than
// letters; without it, the one that people expect.
func TestSortCasemap(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	for _, subject := range []string{"éa", "Eb", "_", "đ", "e"} {
		h.append("Subject: "+subject+"\n\nx\n", 1)
	}
	for _, tc := range []struct {
		by   Comparator
		want []UID
	}{
		{Comparator{Key: BySubject, Casemap: true}, []UID{5, 2, 1, 3, 4}},
		{Comparator{Key: BySubject}, []UID{3, 4, 5, 1, 2}},
	} {
		q := Query{Mailboxes: []MailboxID{1}, Sort: []Comparator{tc.by}}
		if got := h.find(q); !slices.Equal(got, tc.want) {
			t.Errorf("%+v: %v, want %v", tc.by, got, tc.want)
		}
	}
}

// TestQueryAmong: a query of some UIDs in a list that is not the newest finds what a filter would have
// found when it was.
func TestQueryAmong(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	rng := seeded(t, 7)
	for n := range 40 {
		h.append(mail(n), 1)
	}
	h.update(func(tx *Tx) error {
		_, err := tx.Expunge(1, []UID{5, 6, 7, 20})
		return err
	})
	var old *List
	h.view(func(tx *Tx) (err error) {
		old, err = tx.List(1)
		return err
	})
	h.append(mail(40), 1)
	h.update(func(tx *Tx) error {
		_, err := tx.Expunge(1, []UID{10})
		return err
	})
	h.view(func(tx *Tx) error {
		for range 200 {
			var among []UIDRange
			for uid := UID(1); uid < 45; uid += UID(1 + rng.IntN(8)) {
				last := uid + UID(rng.IntN(6))
				among = append(among, UIDRange{uid, last})
				uid = last + 1
			}
			want := []UID{}
			for _, e := range old.Entries(0, old.Len()) {
				if inRanges(among, e.UID) {
					want = append(want, e.UID)
				}
			}
			r, err := tx.Query(Query{In: old, Among: among})
			if err != nil {
				return err
			}
			got := []UID{}
			for _, hit := range r.Hits {
				if hit.Mailbox != 1 || old.At(hit.Index) != hit.Entry {
					return fmt.Errorf("hit %+v", hit)
				}
				got = append(got, hit.Entry.UID)
			}
			if !slices.Equal(got, want) {
				return fmt.Errorf("%v: %v, want %v", among, got, want)
			}
		}
		return nil
	})
}

// TestSortEnds: a sort whose client has left compares no more.
func TestSortEnds(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(context.Background())
	s := &sorter{
		q:      &querier{tx: &Tx{ctx: ctx}},
		levels: []Comparator{{Key: BySize}}, keys: []int64{2, 1},
	}
	for range 2 * queryStep {
		if s.compare(0, 1) != 1 {
			t.Fatal("the greater comes first")
		}
	}
	cancel()
	for range queryStep {
		s.compare(0, 1)
	}
	if s.compare(0, 1) != -1 || !s.ended {
		t.Error("it still compares")
	}
}

// TestPermute compares with a copy.
func TestPermute(t *testing.T) {
	t.Parallel()
	rng := seeded(t, 8)
	for n := range 50 {
		hits, order := make([]Hit, n), make([]int32, n)
		for i, o := range rng.Perm(n) {
			hits[i].Index, order[i] = i, int32(o)
		}
		want := slices.Clone(order)
		permute(hits, order)
		for i := range hits {
			if hits[i].Index != int(want[i]) {
				t.Fatalf("%v gives %v", want, hits)
			}
		}
	}
}

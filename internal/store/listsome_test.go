package store

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// TestSomeEntries: what Changed and Flagged pick out of a list is what a look at every entry finds,
// in any part of the list.
func TestSomeEntries(t *testing.T) {
	t.Parallel()
	for seed := range uint64(200) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		l := randomList(rnd)
		since := ModSeq(rnd.IntN(120))
		flags := Flags(1) << rnd.IntN(6)
		from, to := rnd.IntN(l.n+3)-1, rnd.IntN(l.n+3)
		var changed, flagged []int
		for i, e := range l.Entries(0, l.n) {
			if e.ModSeq > since && i >= from && i < to {
				changed = append(changed, i)
			}
			if e.Flags&flags != 0 {
				flagged = append(flagged, i)
			}
		}
		var got []int
		for i, e := range l.Changed(since, from, to) {
			if *e != l.At(i) {
				t.Fatalf("seed %d: entry %d is %+v, want %+v", seed, i, *e, l.At(i))
			}
			got = append(got, i)
		}
		if !slices.Equal(got, changed) {
			t.Errorf("seed %d: changed since %d in %d to %d: %v, want %v", seed, since, from, to, got, changed)
		}
		got = nil
		for i := range l.Flagged(flags) {
			got = append(got, i)
		}
		if !slices.Equal(got, flagged) {
			t.Errorf("seed %d: with flags %x: %v, want %v", seed, flags, got, flagged)
		}
	}
}

// randomList has chunks of up to eight entries; what is new or has a flag comes in few of them.
func randomList(rnd *rand.Rand) *List {
	var chunks []*chunk
	uid := UID(1)
	for range rnd.IntN(20) {
		c := &chunk{first: uid}
		busy := rnd.IntN(4) == 0
		for range rnd.IntN(9) {
			e := Entry{UID: uid, ModSeq: ModSeq(1 + rnd.IntN(40))}
			if busy {
				e.ModSeq += ModSeq(rnd.IntN(80))
				e.Flags = Flags(rnd.IntN(64))
			}
			c.entries = append(c.entries, e)
			uid++
		}
		chunks = append(chunks, c)
	}
	return newList(&mailboxRow{ID: 1, UIDNext: uid}, chunks)
}

// BenchmarkChanged finds one message that changed in a long list.
func BenchmarkChanged(b *testing.B) {
	var chunks []*chunk
	for c := range 500 {
		entries := make([]Entry, segmentSize)
		for i := range entries {
			entries[i] = Entry{UID: UID(c*segmentSize + i + 1), ModSeq: 1}
		}
		chunks = append(chunks, &chunk{first: entries[0].UID, entries: entries})
	}
	chunks[250].entries[1].ModSeq = 2
	l := newList(&mailboxRow{ID: 1}, chunks)
	b.ResetTimer()
	for b.Loop() {
		for i := range l.Changed(1, 0, l.n) {
			if i != 250*segmentSize+1 {
				b.Fatal(i)
			}
		}
	}
	b.ReportMetric(float64(l.n), "entries")
}

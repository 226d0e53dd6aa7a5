package store

import (
	"maps"
	"slices"
	"testing"
	"time"

	"tram/internal/kv/memkv"
	"tram/internal/limits"
)

func (h *house) openEnded() (ids []EmailID) {
	h.t.Helper()
	h.view(func(tx *Tx) error {
		open, err := tx.OpenEnded()
		ids = slices.Sorted(maps.Keys(open))
		return err
	})
	return ids
}

func (h *house) wantOpenEnded(when string, want ...EmailID) {
	h.t.Helper()
	if got := h.openEnded(); !slices.Equal(got, want) {
		h.t.Errorf("%s: open ends of %v, want %v", when, got, want)
	}
}

// TestOpenEnded follows messages without a line end at their end through their lives.
func TestOpenEnded(t *testing.T) {
	t.Parallel()
	h := openHouse(t, memkv.New())
	in := h.inbox()
	h.append(mail(1), in)
	h.wantOpenEnded("nothing open")
	open := h.append("Subject: x\n\nno end", in).Email
	bare := h.append("Subject: x", in).Email
	h.append("", in)
	h.wantOpenEnded("appended", open, bare)

	pairs := h.copy(in, in, 2)
	if len(pairs) != 1 {
		t.Fatalf("copied %v", pairs)
	}
	copied := h.list(in).At(h.list(in).Len() - 1).Email
	h.wantOpenEnded("copied", open, bare, copied)

	h.expunge(in, 2)
	h.wantOpenEnded("recoverable", open, bare, copied)
	h.update(func(tx *Tx) error { return tx.Purge(open) })
	h.wantOpenEnded("purged", bare, copied)
	h.clock.Advance(limits.Default().Storage.Recoverable + time.Hour)
	h.check()
}

// TestOpenEndedOfOldData: rows of a store from before there were any are made by a deep repair.
func TestOpenEndedOfOldData(t *testing.T) {
	t.Parallel()
	h := openHouse(t, memkv.New())
	open := h.append("Subject: x\n\nno end", h.inbox()).Email
	h.plant(damage{plant: func(p *planter) { p.first(kindOpenEnd, p.remove) }})
	h.wantOpenEnded("removed")
	h.wantFinding("open-end")
	if left := h.repair(); len(left) > 0 {
		t.Errorf("not repaired: %+v", left)
	}
	h.open()
	h.wantOpenEnded("repaired", open)
}

package store

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// TestSentDates: what is remembered of Date fields answers as the rows do, in every zone, with and
// without a Date field, while mail comes and goes.
func TestSentDates(t *testing.T) {
	t.Parallel()
	rnd := seeded(t, rand.Uint64())
	h := newHouse(t)
	h.open()
	box := h.inbox()
	day := func(n int) time.Time { return time.Date(2026, 1, n, 0, 0, 0, 0, time.UTC) }
	type mail struct {
		uid  UID
		sent time.Time // in its own zone
	}
	var mails []mail
	next := UID(1)
	for round := range 6 {
		for range 20 {
			sent := time.Date(2026, 1, 1+rnd.IntN(9), rnd.IntN(24), rnd.IntN(60), 0, 0,
				time.FixedZone("", (rnd.IntN(27)-13)*3600+1800*rnd.IntN(2)))
			raw := fmt.Sprintf("Date: %s\n\nx\n", sent.Format(time.RFC1123Z))
			if rnd.IntN(5) == 0 {
				raw, sent = "Subject: no date\n\nx\n", h.clock.Now().UTC()
			}
			h.append(raw, box)
			mails = append(mails, mail{next, sent})
			next++
		}
		for range 2 { // the second time from memory
			from, to := day(1+rnd.IntN(9)), day(2+rnd.IntN(9))
			var on, at []UID
			for _, m := range mails {
				_, east := m.sent.Zone()
				if shown := m.sent.Unix() + int64(east); shown >= from.Unix() && shown < to.Unix() {
					on = append(on, m.uid)
				}
				if !m.sent.Before(from) && m.sent.Before(to) {
					at = append(at, m.uid)
				}
			}
			for range 2 {
				got := h.find(Query{Mailboxes: []MailboxID{box}, Filter: SentOn{Since: from, Before: to}})
				if !slices.Equal(got, on) {
					t.Fatalf("round %d: sent on %v to %v: %v, want %v", round, from, to, got, on)
				}
				got = h.find(Query{Mailboxes: []MailboxID{box}, Filter: SentAt{Since: from, Before: to}})
				if !slices.Equal(got, at) {
					t.Fatalf("round %d: sent at %v to %v: %v, want %v", round, from, to, got, at)
				}
			}
		}
		gone := rnd.IntN(len(mails))
		h.update(func(tx *Tx) error {
			_, err := tx.Expunge(box, []UID{mails[gone].uid})
			return err
		})
		mails = slices.Delete(mails, gone, gone+1)
	}
	if h.store.sent.Bytes() == 0 {
		t.Error("nothing was remembered")
	}
	h.store.Rest()
	h.store.Rest()
	if n := h.store.sent.Bytes(); n != 0 {
		t.Errorf("%d bytes are kept that nobody asks for", n)
	}
}

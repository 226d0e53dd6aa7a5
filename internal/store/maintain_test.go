package store

import (
	"context"
	"testing"
	"time"

	"tram/internal/kv"
)

// counting is a database that counts the accounts that are looked at.
type counting struct {
	kv.Database
	views map[kv.Scope]int
}

func (c *counting) View(ctx context.Context, scope kv.Scope, fn func(kv.Reader) error) error {
	c.views[scope]++
	return c.Database.View(ctx, scope, fn)
}

// TestMaintainRests: an idle account costs a look at its row, until something happens to it or
// falls due.
func TestMaintainRests(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	db := &counting{Database: h.db, views: map[kv.Scope]int{}}
	s, err := Open(context.Background(), Options{DB: db, Blobs: h.blobs, Clock: h.clock})
	h.must(err)
	looked := func() bool {
		t.Helper()
		clear(db.views)
		h.must(s.Maintain(context.Background()))
		return db.views["account/1"] > 0
	}
	h.append(mail(1), 1)
	if !looked() || looked() {
		t.Error("an idle account is not left alone")
	}
	h.appendWith(AppendOptions{Mailboxes: []MailboxID{1}, DedupeKey: []byte("k")}, mail(2))
	if !looked() || looked() {
		t.Error("after a delivery")
	}
	h.clock.Advance(h.limit.Dedupe - time.Second)
	if looked() {
		t.Error("before the delivery is forgotten")
	}
	h.clock.Advance(time.Second)
	if !looked() || !looked() || looked() { // to forget it, and to see that there is no more
		t.Error("when the delivery is forgotten")
	}
	h.expunge(1, 1)
	if !looked() || looked() {
		t.Error("after an expunge")
	}
	h.clock.Advance(h.limit.Recoverable)
	if looked() {
		t.Error("before the retention is over")
	}
	h.clock.Advance(time.Second)
	if !looked() {
		t.Error("when the retention is over")
	}
	if u := h.usage(); u.RecoverableMessages != 0 {
		t.Errorf("nothing was purged: %+v", u)
	}
}

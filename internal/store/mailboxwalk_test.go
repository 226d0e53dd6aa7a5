package store

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// TestWalkReadsAhead: a walk, which reads names, rows and subscriptions ahead, tells of every mailbox
// what a look at all rows at once does, in trees of any shape, made in any order, with gaps.
func TestWalkReadsAhead(t *testing.T) {
	t.Parallel()
	rnd := seeded(t, rand.Uint64())
	h := newHouse(t)
	var names []string
	for i := range 900 {
		name := fmt.Sprintf("%c %03d", 'a'+rnd.IntN(3), i)
		switch rnd.IntN(6) {
		case 0: // far below
			name = strings.Repeat("x/", 1+rnd.IntN(6)) + name
		case 1: // below one that has names beside it which sort before '/'
			name = fmt.Sprintf("%c/%s", 'a'+rnd.IntN(3), name)
		case 2, 3:
			name = "flat/" + name // more than a page
		}
		names = append(names, name)
	}
	h.update(func(tx *Tx) error {
		for _, name := range names {
			if _, err := tx.CreateMailbox(name, CreateOptions{Subscribed: rnd.IntN(3) > 0}); err != nil {
				return err
			}
		}
		for i := range 100 { // of mailboxes that do not exist
			if err := tx.Subscribe(fmt.Sprintf("flat/b 0%d no", i), true); err != nil {
				return err
			}
		}
		return nil
	})
	h.update(func(tx *Tx) error {
		for _, name := range names[:300] {
			m, err := tx.MailboxByName(name)
			if err == nil && !m.HasChildren && rnd.IntN(2) == 0 {
				err = tx.DeleteMailbox(m.ID)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	walk := func(tx *Tx) error {
		all, err := tx.Mailboxes()
		if err != nil {
			return err
		}
		var walked []*Mailbox
		err = tx.EachMailbox(func(m *Mailbox) error {
			walked = append(walked, m)
			return nil
		})
		if !slices.EqualFunc(all, walked, func(a, b *Mailbox) bool { return *a == *b }) {
			t.Errorf("%d mailboxes, %d walked through, or not the same of them", len(all), len(walked))
		}
		return err
	}
	h.view(walk)
	h.update(walk)
}

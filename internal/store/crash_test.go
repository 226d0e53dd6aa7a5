package store

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"tram/internal/blob"
	"tram/internal/clock"
)

// TestCrash pulls the plug while many deliver, move, copy, expunge and rename in one account, with
// none, some or all of what was not synced kept, several times over on the same data. What was
// acknowledged must be there; a UID that was given out never means another message; a message moved
// is in one place; everything that Check knows of holds (reliability D11, D12, D13).
func TestCrash(t *testing.T) {
	t.Parallel()
	for seed := *firstSeed; seed < *firstSeed+max(1, *seeds/4); seed++ {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			c := &crashes{t: t, rng: seeded(t, seed), acked: map[place]string{}}
			c.validity = map[MailboxID]uint32{}
			fs := vfs.NewCrashableMem()
			for range 3 {
				fs = c.live(fs)
			}
			c.open(fs)
			c.verify(map[place]string{})
			if err := c.db.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

type crashes struct {
	*house
	t   *testing.T
	rng *rand.Rand

	mu       sync.Mutex
	acked    map[place]string // the Message-ID of each entry that a client was told of
	validity map[MailboxID]uint32
	next     atomic.Int64
}

func (c *crashes) open(fs *vfs.MemFS) {
	c.house = &house{t: c.t, db: openPebble(c.t, fs), clock: clock.NewFake(epoch)}
	c.house.open()
}

// live works until the power goes and returns what is left.
func (c *crashes) live(fs *vfs.MemFS) *vfs.MemFS {
	c.open(fs)
	c.verify(map[place]string{})
	in, archive := c.inbox(), MailboxID(4)
	var stop atomic.Bool
	var count atomic.Int64
	goal, enough := 30+c.rng.Int64N(150), make(chan struct{})
	var wg sync.WaitGroup
	for w := range 4 {
		rng := rand.New(rand.NewPCG(c.rng.Uint64(), uint64(w)))
		wg.Go(func() {
			for !stop.Load() {
				if err := c.act(rng, in, archive); err != nil {
					c.t.Error(err)
					return
				}
				if count.Add(1) == goal {
					close(enough)
				}
			}
		})
	}
	<-enough
	c.mu.Lock()
	known := make(map[place]string, len(c.acked))
	for p, id := range c.acked {
		known[p] = id
	}
	c.mu.Unlock()
	left := fs.CrashClone(vfs.CrashCloneCfg{
		UnsyncedDataPercent: []int{0, 30, 100}[c.rng.IntN(3)],
		RNG:                 rand.New(rand.NewPCG(c.rng.Uint64(), 9)),
	})
	stop.Store(true)
	wg.Wait()
	if err := c.db.Close(); err != nil {
		c.t.Error(err)
	}
	c.acked = known // what was told after the crash, nobody has heard
	return left
}

// act does one thing and notes what it was told.
func (c *crashes) act(rng *rand.Rand, in, archive MailboxID) error {
	n := int(c.next.Add(1))
	text := mail(n)
	body, m := take(c.t, c.store, []byte(text))
	var told []place
	var moved []UIDPair
	from, to := in, archive
	if rng.IntN(2) == 0 {
		from, to = to, from
	}
	what := rng.IntN(10)
	err := c.store.Account(1).Update(context.Background(), func(tx *Tx) error {
		told, moved = nil, nil
		l, err := tx.List(from)
		if err != nil {
			return err
		}
		var uids []UID
		if l.Len() > 0 {
			uids = append(uids, l.At(rng.IntN(l.Len())).UID, l.At(l.Len()-1).UID)
		}
		switch {
		case what < 6:
			a, err := tx.Append(AppendOptions{Mailboxes: []MailboxID{in}, Body: body, Message: m})
			for _, e := range a.Entries {
				told = append(told, place{Mailbox: e.Mailbox, UID: e.UID})
			}
			return err
		case what == 6:
			moved, err = tx.Move(from, uids, to)
		case what == 7:
			moved, err = tx.Copy(from, uids, to)
		case what == 8:
			_, err = tx.Expunge(from, uids)
		default:
			_, _, err = tx.SetFlags(from, uids, FlagChange{Flags: Seen, Keywords: []string{"x"}})
		}
		return err
	})
	if what >= 6 || err != nil {
		body.Discard()
	}
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range told {
		c.acked[p] = m.MessageID
	}
	for _, p := range moved {
		// An acknowledgement of the source may still be on its way here: then this one is not
		// noted.
		if id, ok := c.acked[place{Mailbox: from, UID: p.From}]; ok {
			c.acked[place{Mailbox: to, UID: p.To}] = id
		}
	}
	return nil
}

// verify looks at everything after a crash.
func (c *crashes) verify(seen map[place]string) {
	c.t.Helper()
	c.house.check()
	c.view(func(tx *Tx) error {
		boxes, err := tx.Mailboxes()
		if err != nil {
			return err
		}
		for _, mb := range boxes {
			if was := c.validity[mb.ID]; was != 0 && was != mb.UIDValidity {
				c.t.Errorf("UIDVALIDITY of %s was %d, is %d", mb.Name, was, mb.UIDValidity)
			}
			c.validity[mb.ID] = mb.UIDValidity
			l, err := tx.List(mb.ID)
			if err != nil {
				return err
			}
			for p, id := range c.acked {
				if p.Mailbox == mb.ID && p.UID >= mb.UIDNext {
					c.t.Errorf("UID %d of mailbox %d was given out for %s and will be again", p.UID, mb.ID,
						id)
				}
			}
			err = tx.EachEmail(l, 0, l.Len(), func(en Entry, e *Email) error {
				if e == nil {
					return fmt.Errorf("email %d cannot be read", en.Email)
				}
				p := place{Mailbox: mb.ID, UID: en.UID}
				seen[p] = e.MessageID()
				if want, ok := c.acked[p]; ok && want != e.MessageID() {
					c.t.Errorf("UID %d of mailbox %d was %s and is %s", en.UID, mb.ID, want,
						e.MessageID())
				}
				return nil
			})
			if err != nil {
				return err
			}
		}
		return c.nothingLost(tx, seen)
	})
}

// nothingLost finds every message that was acknowledged: in a mailbox, or among the removed.
func (c *crashes) nothingLost(tx *Tx, seen map[place]string) error {
	there := map[string]bool{}
	for _, id := range seen {
		there[id] = true
	}
	removed, err := tx.Recoverable()
	if err != nil {
		return err
	}
	for _, r := range removed {
		e, err := tx.Email(r.Email)
		if err != nil {
			return err
		}
		there[e.MessageID()] = true
	}
	for p, id := range c.acked {
		if !there[id] {
			c.t.Errorf("%s, acknowledged as %+v, is lost", id, p)
		}
	}
	return nil
}

// TestKilledAtEveryStep ends the process, so to say, after each write of an append with flags,
// quota and thread (reliability D11): the transaction is there whole or not at all.
func TestKilledAtEveryStep(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	in := h.inbox()
	h.append(mail(1), in)
	before := h.mailbox(in)
	killed := errors.New("killed")
	for step := 1; ; step++ {
		f := &faulty{Database: h.db, failAt: step, err: killed}
		s, err := Open(context.Background(), Options{
			DB: f, Blobs: blob.New(f, blob.Options{Clock: h.clock}), Clock: h.clock,
		})
		if err != nil {
			t.Fatal(err)
		}
		body, m := take(t, s, []byte(mail(step+1, "In-Reply-To: <1@example.test>")))
		err = s.Account(1).Update(context.Background(), func(tx *Tx) error {
			a, err := tx.Append(AppendOptions{
				Mailboxes: []MailboxID{in, 4}, Body: body, Message: m, Flags: Seen,
				Keywords: []string{"k"}, DedupeKey: []byte("d"),
			})
			if err != nil {
				return err
			}
			_, _, err = tx.SetFlags(in, []UID{a.Entries[0].UID}, FlagChange{Flags: Flagged})
			return err
		})
		h.check()
		after := h.mailbox(in)
		if err == nil {
			if after.Messages != before.Messages+1 {
				t.Errorf("%d messages after success", after.Messages)
			}
			if step < 10 {
				t.Errorf("only %d steps", step)
			}
			return
		}
		body.Discard()
		if !errors.Is(err, killed) || !slices.Equal([]any{*before}, []any{*after}) {
			t.Fatalf("step %d: %v; mailbox was %+v, is %+v", step, err, before, after)
		}
	}
}

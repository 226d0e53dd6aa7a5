package store

import (
	"context"
	"errors"
	"sync"
	"time"

	"tram/internal/kv"
)

// How much one transaction of Maintain takes, so that nobody waits long for the account.
const (
	purgeStep  = 200
	dedupeStep = 1000
)

// Maintain does for all accounts what time brings: it purges what can no longer be recovered,
// forgets old changes, expunged UIDs and deliveries, puts sparse lists in order, and settles what
// domains have granted. It changes nothing that a client can see. It is meant to run every few
// minutes, on one node; a damaged account does not keep it from the others.
func (s *Store) Maintain(ctx context.Context) error {
	ctx = kv.Freeing(ctx)
	now := s.clock.Now()
	var ids []AccountID
	err := s.eachAccount(ctx, func(id AccountID, row *accountRow) error {
		if row == nil || !s.resting.is(id, row.ModSeq, now) {
			ids = append(ids, id)
		}
		return ctx.Err()
	})
	if err != nil {
		return err
	}
	var failed error
	for _, id := range ids {
		if err := ctx.Err(); err != nil {
			return err
		}
		err := s.Account(id).maintainAll(ctx, now)
		if err != nil && !errors.Is(err, ErrNotFound) {
			s.log.Error("account cannot be maintained", "account", uint64(id), "err", err)
			failed = err
		}
	}
	if err := s.settleDomains(ctx); err != nil {
		return err
	}
	if err := s.settleShares(ctx); err != nil {
		return err
	}
	return wrap(failed, "maintain accounts")
}

// resting remembers the accounts for which there is nothing to do: until their ModSeq rises, or the
// first of what they have falls due. It only saves work: most accounts are idle most of the time.
type resting struct {
	mu       sync.Mutex
	accounts map[AccountID]rest
}

type rest struct {
	modseq ModSeq
	due    time.Time // zero: nothing falls due by itself
}

func (r *resting) is(id AccountID, at ModSeq, now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	known, ok := r.accounts[id]
	return ok && known.modseq == at && (known.due.IsZero() || now.Before(known.due))
}

func (r *resting) lay(id AccountID, at rest) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.accounts == nil {
		r.accounts = map[AccountID]rest{}
	}
	r.accounts[id] = at
}

func (a *Account) maintainAll(ctx context.Context, now time.Time) error {
	var todo chores
	err := a.s.db.View(ctx, a.scope(), func(r kv.Reader) error {
		tx := a.newTx(ctx, r, nil)
		defer tx.end()
		if err := tx.begin(); err != nil {
			return err
		}
		var err error
		todo, err = tx.chores(now)
		return err
	})
	if err != nil {
		return err
	}
	if todo.guests, err = a.s.gone(ctx, todo.guests); err != nil {
		return err
	}
	if todo.none() {
		a.s.resting.lay(a.id, todo.rest)
		return nil
	}
	for more := todo.purge; more; {
		err := a.maintain(ctx, func(tx *Tx) error {
			n, err := tx.purgeOldest(purgeStep, tx.due(now.Add(-a.s.limits.Recoverable)))
			more = n == purgeStep
			return err
		})
		if err != nil {
			return err
		}
	}
	for more := todo.dedupe; more; {
		err := a.maintain(ctx, func(tx *Tx) error {
			n, err := tx.forgetDeliveries(now, dedupeStep)
			more = n == dedupeStep
			return err
		})
		if err != nil {
			return err
		}
	}
	if todo.log {
		if err := a.maintain(ctx, (*Tx).pruneLog); err != nil {
			return err
		}
	}
	for _, id := range todo.expunged {
		if err := a.maintain(ctx, func(tx *Tx) error { return tx.pruneExpunged(id) }); err != nil {
			return err
		}
	}
	for _, id := range todo.sparse {
		if err := a.maintain(ctx, func(tx *Tx) error { return tx.compact(id) }); err != nil {
			return err
		}
	}
	for _, id := range todo.marked {
		if err := a.maintain(ctx, func(tx *Tx) error { return tx.pruneOwn(id) }); err != nil {
			return err
		}
	}
	if len(todo.guests) > 0 {
		return a.forget(ctx, todo.guests)
	}
	return nil
}

// chores is what there is to do for an account.
type chores struct {
	purge, dedupe, log bool
	expunged, sparse   []MailboxID
	marked             []MailboxID        // where people have seen what is no more there
	guests             map[AccountID]bool // who have something here; of those that are gone, at the end
	rest               rest               // when there is nothing
}

func (c *chores) none() bool {
	return !c.purge && !c.dedupe && !c.log && len(c.expunged) == 0 && len(c.sparse) == 0 &&
		len(c.marked) == 0 && len(c.guests) == 0
}

// dueAt notes that something falls due at t.
func (c *chores) dueAt(t time.Time) {
	if c.rest.due.IsZero() || t.Before(c.rest.due) {
		c.rest.due = t
	}
}

// slackOf is how far past its bound a history may grow before it is pruned: a tenth, so that
// pruning is done for many at once.
func slackOf(limit int) uint64 { return uint64(limit) + uint64(limit)/10 }

func (tx *Tx) chores(now time.Time) (c chores, err error) {
	lim := tx.s.limits
	c.rest.modseq = tx.row.ModSeq
	c.log = uint64(tx.row.ModSeq-tx.row.LogFloor) > slackOf(lim.ChangeLog)
	r := kv.Prefix(appendKey(nil, tx.id, kindRecover))
	r.Limit = 1
	d := tx.due(now.Add(-lim.Recoverable))
	err = tx.r.Scan(r, func(key, value []byte) error {
		rec, _ := decodeRecoverable(key, value)
		c.purge = d.next(rec)
		// A whole second later: what was removed is known in whole seconds, and has its full time.
		c.dueAt(rec.Removed.Add(lim.Recoverable + time.Second))
		return nil
	})
	if err != nil {
		return c, wrap(err, "read recoverable emails")
	}
	err = tx.r.Scan(kv.Prefix(appendKey(nil, tx.id, kindDedupe)), func(key, value []byte) error {
		expires, over := forgettable(key, value, now)
		c.dueAt(expires)
		if c.dedupe = over; over {
			return kv.Stop
		}
		return nil
	})
	if err != nil {
		return c, wrap(err, "read deliveries")
	}
	rows, err := tx.mailboxRows()
	if err != nil {
		return c, err
	}
	shared := false
	for i := range rows {
		m := &rows[i]
		if m.Expunged > slackOf(tx.s.limits.Expunged) {
			c.expunged = append(c.expunged, m.ID)
		}
		if m.Segments > 8 && m.Segments > 4*(m.Messages/segmentSize+1) {
			c.sparse = append(c.sparse, m.ID)
		}
		if m.Sharing&sharingSeen != 0 {
			if idle, err := tx.idleMarks(m.ID); err != nil {
				return c, err
			} else if idle {
				c.marked = append(c.marked, m.ID)
			}
		}
		shared = shared || m.Sharing != 0
	}
	if shared {
		c.guests, err = tx.guests()
	}
	return c, err
}

// forgettable reports whether a dedupe row is acknowledged or expired, and else when it will be.
func forgettable(key, value []byte, now time.Time) (expires time.Time, over bool) {
	if len(value) == 0 {
		return now, true
	}
	expires, _, err := decodeDedupe(key, value)
	return expires, err != nil || !expires.After(now)
}

// forgetDeliveries removes up to n dedupe rows that are acknowledged or expired.
func (tx *Tx) forgetDeliveries(now time.Time, n int) (int, error) {
	done := 0
	r := kv.Prefix(appendKey(nil, tx.id, kindDedupe))
	err := tx.r.Scan(r, func(key, value []byte) error {
		if _, over := forgettable(key, value, now); !over {
			return nil
		}
		if err := tx.w.Delete(key); err != nil {
			return err
		}
		if done++; done == n {
			return kv.Stop
		}
		return nil
	})
	return done, wrap(err, "forget deliveries")
}

// pruneLog shortens the change log to its bound.
func (tx *Tx) pruneLog() error {
	keep := ModSeq(tx.s.limits.ChangeLog)
	if tx.row.ModSeq <= tx.row.LogFloor+keep {
		return nil
	}
	tx.row.LogFloor, tx.dirty = tx.row.ModSeq-keep, true
	return tx.w.DeleteRange(key64(nil, tx.id, kindChange, 0),
		key64(nil, tx.id, kindChange, uint64(tx.row.LogFloor)+1))
}

// pruneExpunged shortens the history of a mailbox's expunged UIDs to its bound: the latest stay.
func (tx *Tx) pruneExpunged(id MailboxID) error {
	m, err := tx.mailbox(id)
	if err != nil {
		return err
	}
	prefix := key32(nil, tx.id, kindVanished, uint32(id))
	r := kv.Prefix(prefix)
	r.Reverse = true
	kept, floor := uint64(0), ModSeq(0)
	err = tx.r.Scan(r, func(key, value []byte) error {
		at := ModSeq(emailOfKey(key))
		ranges, err := decodeVanished(key, value)
		if err != nil {
			floor = at // what is older cannot be told without it
			return kv.Stop
		}
		n := uint64(0)
		for _, r := range ranges {
			n += uint64(r.Last-r.First) + 1
		}
		if kept > 0 && kept+n > uint64(tx.s.limits.Expunged) {
			floor = at
			return kv.Stop
		}
		kept += n
		return nil
	})
	if err != nil {
		return wrap(err, "read expunged")
	}
	m.row.Expunged, m.dirty = kept, true
	if floor == 0 {
		return nil
	}
	m.row.ExpungedFloor = max(m.row.ExpungedFloor, floor)
	return tx.w.DeleteRange(prefix, vanishedKey(nil, tx.id, id, floor+1))
}

// compact rewrites a list whose rows have grown many for its messages.
func (tx *Tx) compact(id MailboxID) error {
	m, err := tx.mailbox(id)
	if err != nil {
		return err
	}
	return tx.compactList(m)
}

// settleDomains puts right what a crash between the two sides of a grant has left.
func (s *Store) settleDomains(ctx context.Context) error {
	type membership struct {
		domain string
		id     AccountID
	}
	var off []membership
	err := s.db.View(ctx, "", func(r kv.Reader) error {
		off = off[:0]
		prefix := appendKey(nil, 0, kindDomain)
		return r.Scan(kv.Prefix(prefix), func(key, value []byte) error {
			domain, rest, err := kv.TakeString(key[len(prefix):])
			if err != nil || len(rest) != 8 {
				return nil
			}
			off = append(off, membership{domain, AccountID(emailOfKey(rest))})
			return nil
		})
	})
	if err != nil {
		return wrap(err, "read domains")
	}
	for _, m := range off {
		row, err := s.accountRow(ctx, m.id)
		if err == nil && row.Domain == m.domain {
			var g grant
			err = s.db.View(ctx, domainScope(m.domain), func(r kv.Reader) error {
				var err error
				g, _, err = readMember(r, m.domain, m.id)
				return err
			})
			if err == nil && g.Epoch >= row.Grant.Epoch {
				continue
			}
		}
		if err != nil && !errors.Is(err, ErrNotFound) {
			return err
		}
		if err := s.settleGrant(ctx, m.domain, m.id); err != nil {
			return err
		}
	}
	return nil
}

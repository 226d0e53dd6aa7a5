package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"tram/internal/kv"
)

// Changes is what happened to an account after Since, up to and including To. An object is in one
// list only: created and destroyed in between is in none.
type Changes struct {
	Since, To ModSeq
	More      bool // there is more after To: max was reached
	Mailboxes ChangeSet[MailboxID]
	Emails    ChangeSet[EmailID] // an email in the recoverable area counts as destroyed
	Threads   ChangeSet[ThreadID]
	// Lists are the mailboxes whose list changed: messages in, out, or with other flags. Those that
	// were destroyed are not among them.
	Lists []MailboxID
}

// ChangeSet is the changes of one kind of object, in ascending order of identifiers.
type ChangeSet[ID ~uint32 | ~uint64] struct{ Created, Updated, Destroyed []ID }

// Changes returns what happened after since. With max above 0 it stops after the transaction that
// brings the number of objects to max, if there is more. ErrTooOld when the change log does not
// reach back to since: read everything.
func (a *Account) Changes(ctx context.Context, since ModSeq, max int) (c Changes, err error) {
	err = a.View(ctx, func(tx *Tx) error {
		c, err = tx.Changes(since, max)
		return err
	})
	return c, err
}

// Changes is Account.Changes within a transaction. What the transaction itself does is not in it.
func (tx *Tx) Changes(since ModSeq, max int) (Changes, error) {
	if since > tx.row.ModSeq {
		return Changes{}, fmt.Errorf("changes since %d, which is to come: %w", since, ErrTooOld)
	}
	if since < tx.row.LogFloor {
		return Changes{}, fmt.Errorf("changes since %d: %w", since, ErrTooOld)
	}
	s := summary{tx: tx}
	to, more := tx.row.ModSeq, false
	next := since + 1
	err := tx.r.Scan(kv.Range{
		Start: key64(nil, tx.id, kindChange, uint64(next)),
		End:   key64(nil, tx.id, kindChange, uint64(tx.row.ModSeq)+1),
	}, func(key, value []byte) error {
		at, row, err := decodeChange(key, value)
		if err != nil {
			return err
		}
		if at != next {
			return fmt.Errorf("change %d is missing: %w", next, ErrDamaged)
		}
		if max > 0 && s.objects() >= max {
			to, more = at-1, true
			return kv.Stop
		}
		next++
		s.add(row)
		return nil
	})
	if err == nil && !more && next != tx.row.ModSeq+1 {
		err = fmt.Errorf("change %d is missing: %w", next, ErrDamaged)
	}
	if errors.Is(err, ErrDamaged) {
		// The answer can no longer be told; the state itself can.
		tx.s.log.Error("change log cannot be read", "account", uint64(tx.id), "err", err)
		return Changes{}, fmt.Errorf("changes since %d: %w", since, ErrTooOld)
	}
	if err != nil {
		return Changes{}, wrap(err, "read changes")
	}
	c := s.changes(since, to, more)
	return c, tx.changesTo(&c)
}

// changesTo leaves of changes what the transaction's person may know of.
func (tx *Tx) changesTo(c *Changes) error {
	if tx.as == nil || tx.as.all {
		return nil
	}
	c.Emails, c.Threads = ChangeSet[EmailID]{}, ChangeSet[ThreadID]{}
	var failed error
	hidden := func(want Rights) func(MailboxID) bool {
		return func(id MailboxID) bool {
			have, err := tx.rightsTo(id)
			if err != nil && !lost(err) {
				failed = err
			}
			return !have.Has(want)
		}
	}
	m := &c.Mailboxes
	m.Created = slices.DeleteFunc(m.Created, hidden(RightLookup))
	m.Updated = slices.DeleteFunc(m.Updated, hidden(RightLookup))
	c.Lists = slices.DeleteFunc(c.Lists, hidden(RightRead))
	return failed
}

// summary joins change rows.
type summary struct {
	tx                         *Tx
	mailboxes, emails, threads map[uint64]fate
	lists                      map[uint64]fate
}

// fate is what became of an object: whether it existed before the first change, and after the last.
type fate struct{ before, after bool }

func (s *summary) add(row *changeRow) {
	if s.mailboxes == nil {
		s.mailboxes, s.lists = map[uint64]fate{}, map[uint64]fate{}
		s.emails, s.threads = map[uint64]fate{}, map[uint64]fate{}
	}
	for _, m := range row.Mailboxes {
		id := uint64(m.Mailbox)
		for kind, bit := range [...]byte{
			created: mailboxCreated, updated: mailboxUpdated, destroyed: mailboxDestroyed,
		} {
			if m.What&bit != 0 {
				note(s.mailboxes, id, kind)
			}
		}
		if m.What&mailboxList != 0 || s.tx.as != nil && m.What&mailboxOwnSeen != 0 {
			s.lists[id] = fate{true, true}
		}
		if m.What&mailboxDestroyed != 0 {
			delete(s.lists, id)
		}
	}
	// What was created and destroyed in one transaction is in both lists, in this order.
	for kind, ids := range row.Emails {
		for _, id := range ids {
			note(s.emails, id, kind)
		}
	}
	for kind, ids := range row.Threads {
		for _, id := range ids {
			note(s.threads, id, kind)
		}
	}
}

func note(m map[uint64]fate, id uint64, kind int) {
	f, known := m[id]
	if !known {
		f.before = kind != created
	}
	f.after = kind != destroyed
	m[id] = f
}

func (s *summary) objects() int {
	return len(s.mailboxes) + len(s.emails) + len(s.threads) + len(s.lists)
}

func (s *summary) changes(since, to ModSeq, more bool) Changes {
	c := Changes{Since: since, To: to, More: more}
	c.Mailboxes = changeSet[MailboxID](s.mailboxes)
	c.Emails = changeSet[EmailID](s.emails)
	c.Threads = changeSet[ThreadID](s.threads)
	c.Lists = changeSet[MailboxID](s.lists).Updated
	return c
}

func changeSet[ID ~uint32 | ~uint64](m map[uint64]fate) (c ChangeSet[ID]) {
	for id, f := range m {
		switch {
		case f.before && f.after:
			c.Updated = append(c.Updated, ID(id))
		case f.after:
			c.Created = append(c.Created, ID(id))
		case f.before:
			c.Destroyed = append(c.Destroyed, ID(id))
		}
	}
	for _, ids := range [][]ID{c.Created, c.Updated, c.Destroyed} {
		slices.SortFunc(ids, func(a, b ID) int { return cmp.Compare(a, b) })
	}
	return c
}

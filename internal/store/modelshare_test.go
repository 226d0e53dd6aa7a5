package store

import (
	"context"
	"fmt"
	"strings"
)

// What the model knows of others than the owner: rights by mailbox and person, and what bea has seen.

// rightsOf returns what bea may do with a mailbox.
func (b *modelBox) rightsOf() Rights { return b.acl[bea.Account] | b.acl[Anyone] }

// inherits gives a new mailbox of the model the rights of the one above it.
func (m *model) inherits(name string) map[AccountID]Rights {
	acl := map[AccountID]Rights{}
	if i := strings.LastIndex(name, "/"); i >= 0 {
		for who, r := range m.boxes[m.byName(name[:i])].acl {
			acl[who] = r
		}
	}
	return acl
}

// carry takes along what bea has seen of what is moved to where something is shared.
func (m *model) carry(from, to MailboxID, pairs []UIDPair) {
	for _, p := range pairs {
		if m.boxes[from].seen[p.From] && len(m.boxes[to].acl) > 0 {
			m.boxes[to].seen[p.To] = true
		}
	}
}

func (r *run) opRights() string {
	id := r.box()
	c := ACLChange{
		Who: []AccountID{bea.Account, Anyone, carl.Account}[r.rng.IntN(3)], Mode: ACLMode(r.rng.IntN(3)),
		Rights: Rights(r.rng.Uint64()) & AllRights,
	}
	err := r.store.Account(1).SetACL(context.Background(), bea.Domain, id, c)
	if r.expect(err, nil) {
		b := r.m.boxes[id]
		switch c.Mode {
		case AddRights:
			c.Rights |= b.acl[c.Who]
		case RemoveRights:
			c.Rights = b.acl[c.Who] &^ c.Rights
		}
		if b.acl[c.Who] = c.Rights; c.Rights == 0 {
			delete(b.acl, c.Who)
		}
	}
	return fmt.Sprintf("rights %+v to %d: %v", c, id, err)
}

// opOwnSeen has bea mark what she has seen, if she may.
func (r *run) opOwnSeen() string {
	id := r.box()
	b, uids, on := r.m.boxes[id], r.pick(id), r.rng.IntN(3) > 0
	mode := RemoveFlags
	if on {
		mode = AddFlags
	}
	err := r.as(bea, func(tx *Tx) error {
		_, _, err := tx.SetFlags(id, uids, FlagChange{Mode: mode, Flags: Seen})
		return err
	})
	switch have := b.rightsOf(); {
	case have.Has(RightSeen | RightLookup):
		if r.expect(err, nil) {
			for _, uid := range r.m.here(id, uids) {
				b.seen[uid] = on
			}
		}
	case have.Has(RightLookup):
		r.expect(err, ErrNoPermission)
	case have.Has(RightSeen):
		// She may, and is not asked for more.
		if r.expect(err, nil) {
			for _, uid := range r.m.here(id, uids) {
				b.seen[uid] = on
			}
		}
	default:
		r.expect(err, ErrNotFound)
	}
	return fmt.Sprintf("bea has seen %v of %d: %t: %v", uids, id, on, err)
}

// compareOwn holds what bea sees against the model, and against what she saw before.
func (r *run) compareOwn(s *Store) error {
	return s.Account(1).As(bea).View(context.Background(), func(tx *Tx) error {
		all, err := tx.Mailboxes()
		if err != nil {
			return err
		}
		shown := map[MailboxID]*Mailbox{}
		for _, mb := range all {
			shown[mb.ID] = mb
		}
		for id, b := range r.m.boxes {
			have := b.rightsOf()
			if mb := shown[id]; (mb != nil) != have.Has(RightLookup) || mb != nil && mb.Rights != have {
				return fmt.Errorf("mailbox %d is %+v for bea, who has %s", id, mb, have)
			}
			if !have.Has(RightRead) {
				continue
			}
			if err := r.compareOwnBox(tx, id, b); err != nil {
				return err
			}
		}
		return nil
	})
}

func (r *run) compareOwnBox(tx *Tx, id MailboxID, b *modelBox) error {
	l, err := tx.List(id)
	if err != nil {
		return err
	}
	counts, err := tx.Counts(id)
	if err != nil {
		return err
	}
	seen, last := 0, r.own[id]
	for _, e := range l.Entries(0, l.Len()) {
		if e.Flags&Seen != 0 {
			seen++
		}
		if (e.Flags&Seen != 0) != b.seen[e.UID] {
			return fmt.Errorf("bea has seen UID %d of %d: %t", e.UID, id, b.seen[e.UID])
		}
		if last == nil {
			continue
		}
		if i, ok := last.Find(e.UID); ok && last.At(i).Flags != e.Flags && e.ModSeq <= last.HighestModSeq() {
			return fmt.Errorf("UID %d of %d changed for bea without a ModSeq above %d", e.UID, id, last.HighestModSeq())
		}
	}
	if int(counts.Unseen) != l.Len()-seen || counts.HighestModSeq != l.HighestModSeq() || l.Len() != len(b.entries) {
		return fmt.Errorf("mailbox %d is %+v for bea, %d of %d are seen", id, counts, seen, l.Len())
	}
	if last == nil || last.HighestModSeq() <= l.HighestModSeq() {
		r.own[id] = l
		return nil
	}
	return fmt.Errorf("bea's highest ModSeq of %d fell from %d to %d", id, last.HighestModSeq(), l.HighestModSeq())
}

package store

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"tram/internal/kv"
)

// sharing checks that what others have of mailboxes is of mailboxes that exist and know of it, and that
// whoever has rights is led to them.
func (c *checker) sharing() error {
	has := map[MailboxID]byte{}
	err := c.scan(kindACL, func(key, value []byte) error {
		id, rest, err := kv.TakeUint32(key[10:])
		if err != nil || len(rest) > 0 || c.boxes[MailboxID(id)] == nil {
			c.find("acl", describeKey(key), true, "rights to no mailbox")
			return nil
		}
		acl, err := decodeACL(key, value)
		if err != nil {
			c.bad(key, err, true)
			return nil
		}
		has[MailboxID(id)] |= sharingACL
		return c.grants(key, acl)
	})
	if err == nil {
		err = c.ownSeen(has)
	}
	for id, b := range c.boxes {
		if missing := has[id] &^ b.row.Sharing; missing != 0 {
			c.find("acl", fmt.Sprintf("mailbox %d", id), true, "does not know what others have of it")
		}
		if b.row.Sharing&sharingACL&^has[id] != 0 {
			c.find("acl", fmt.Sprintf("mailbox %d", id), true, "others have rights to it that are not there")
		}
	}
	return err
}

// grants checks one mailbox's rights.
func (c *checker) grants(key []byte, acl *aclRow) error {
	for _, e := range acl.Entries {
		if e.Who == c.id || acl.Domain == "" {
			c.find("acl", describeKey(key), true, "rights of the owner, or in no domain")
		}
		at := kv.AppendUint64(shareKey(e.Who, acl.Domain), uint64(c.id))
		_, err := c.tx.r.Get(at)
		if errors.Is(err, kv.ErrNotFound) {
			c.find("share", describeKey(key), true, "nothing leads account %d of %s to it", e.Who, acl.Domain)
			err = nil
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// ownSeen checks what people have seen who are not the owner.
func (c *checker) ownSeen(has map[MailboxID]byte) error {
	var head ownRowKey
	var at ModSeq
	return c.scan(kindOwnSeen, func(key, value []byte) error {
		k, err := splitOwnKey(key)
		var b *boxCheck
		if err == nil {
			b = c.boxes[k.mailbox]
		}
		switch {
		case err != nil:
			c.bad(key, err, true)
			return nil
		case b == nil:
			c.find("own-seen", describeKey(key), true, "seen in no mailbox")
			return nil
		case k.person == c.id:
			c.find("own-seen", describeKey(key), true, "is the owner's, whose emails tell it")
		}
		has[k.mailbox] |= sharingSeen
		if k.head {
			head = k
			if at, err = decodeOwnHead(key, value); err != nil {
				c.bad(key, err, true)
				at = c.tx.row.ModSeq
			} else if at > c.tx.row.ModSeq {
				c.find("modseq", describeKey(key), true, "is of %d, the account of %d", at, c.tx.row.ModSeq)
			}
			return nil
		}
		if head.mailbox != k.mailbox || head.person != k.person {
			c.find("own-seen", describeKey(key), true, "has no head")
			head, at = ownRowKey{mailbox: k.mailbox, person: k.person}, c.tx.row.ModSeq
		}
		block, err := decodeOwnBlock(key, value, k.number)
		if err != nil {
			c.bad(key, err, true)
			return nil
		}
		if block.newest > at {
			c.find("modseq", describeKey(key), true, "is of %d, its head of %d", block.newest, at)
		}
		if last := block.runs[len(block.runs)-1].Last; last >= b.row.UIDNext {
			c.find("uidnext", describeKey(key), true, "UID %d was seen, UIDNEXT is %d", last, b.row.UIDNext)
		}
		return nil
	})
}

// shares checks the rows that lead to what is shared.
func (c *checker) shares() error {
	c.id, c.hurt = 0, newHurt()
	return c.s.eachShare(c.ctx, func(share, time.Time) error { return c.ctx.Err() },
		func(key, _ []byte, err error) error {
			c.bad(key, err, true)
			return c.ctx.Err()
		})
}

// surveySharing notes the highest ModSeq of what people have seen.
func (m *mender) surveySharing() error {
	return m.scan(kindOwnSeen, func(key, value []byte) error {
		k, err := splitOwnKey(key)
		if err != nil {
			return nil
		}
		if k.head {
			if at, err := decodeOwnHead(key, value); err == nil {
				m.seen(at)
			}
			return nil
		}
		if b, err := decodeOwnBlock(key, value, k.number); err == nil {
			m.seen(b.newest)
		}
		return nil
	})
}

// sharing drops what cannot be read of what others have of mailboxes, or belongs to none, and puts the
// rest in order. Nothing else tells who had which rights: those are lost, and named.
func (m *mender) sharing() error {
	for _, b := range m.boxes {
		b.row.Sharing = 0
	}
	err := m.scan(kindACL, func(key, value []byte) error {
		id, rest, err := kv.TakeUint32(key[10:])
		b := m.boxes[MailboxID(id)]
		if err != nil || len(rest) > 0 || b == nil {
			m.tell("acl", describeKey(key), "rights to no mailbox are taken out")
			return m.drop(key, value)
		}
		acl, err := decodeACL(key, value)
		if err == nil {
			acl.Entries = slices.DeleteFunc(acl.Entries, func(e ACLEntry) bool { return e.Who == m.id })
		}
		if err != nil || acl.Domain == "" || len(acl.Entries) == 0 {
			m.tell("acl", m.path(b.row.ID), "is shared with nobody now: the rights to it cannot be read")
			return m.drop(key, value)
		}
		b.row.Sharing |= sharingACL
		for _, e := range acl.Entries {
			at := kv.AppendUint64(shareKey(e.Who, acl.Domain), uint64(m.id))
			if _, err := m.w.Get(at); !errors.Is(err, kv.ErrNotFound) {
				continue
			}
			if err := m.set(at, appendShare(nil, m.tx.clock())); err != nil {
				return err
			}
		}
		return m.set(key, acl.append(nil))
	})
	if err != nil {
		return err
	}
	return m.ownSeen()
}

// ownSeen is sharing for what people have seen.
func (m *mender) ownSeen() error {
	type reader struct {
		box    MailboxID
		person AccountID
	}
	readers := map[reader]ModSeq{}
	err := m.scan(kindOwnSeen, func(key, value []byte) error {
		k, err := splitOwnKey(key)
		b := m.boxes[k.mailbox]
		if err != nil || b == nil || k.person == m.id {
			m.tell("own-seen", describeKey(key), "is taken out: nobody has seen it")
			return m.drop(key, value)
		}
		b.row.Sharing |= sharingSeen
		who := reader{k.mailbox, k.person}
		if k.head {
			at, err := decodeOwnHead(key, value)
			if err != nil || at > m.at {
				at = m.at
			}
			readers[who] = max(readers[who], at)
			return nil
		}
		block, err := decodeOwnBlock(key, value, k.number)
		if err == nil {
			block.cut(b.row.UIDNext, m.at)
		}
		if err != nil || len(block.runs) == 0 {
			m.tell("own-seen", m.path(k.mailbox), "account %d has not seen some of it any more", k.person)
			readers[who] = m.at
			return m.drop(key, value)
		}
		readers[who] = max(readers[who], block.newest)
		return m.set(key, block.append(nil))
	})
	for who, at := range readers {
		if err == nil {
			err = m.set(ownHeadKey(nil, m.id, who.box, who.person), appendOwnHead(nil, at))
		}
	}
	return err
}

// cut takes out of a block what is from a UID on, which is still to come, and holds its ModSeqs to one.
func (b *seenBlock) cut(next UID, at ModSeq) {
	kept := b.runs[:0]
	for _, r := range b.runs {
		if r.First >= next {
			continue
		}
		r.Last, r.ModSeq = min(r.Last, next-1), min(r.ModSeq, at)
		kept = append(kept, r)
	}
	b.runs = kept
	b.settle()
}

// shares puts the rows right that lead to what is shared: those of whose key something is left.
func (r *repairer) shares() error {
	type bad struct{ key, value []byte }
	var all []bad
	err := r.s.eachShare(r.ctx, func(share, time.Time) error { return r.ctx.Err() },
		func(key, value []byte, err error) error {
			all = append(all, bad{slices.Clone(key), slices.Clone(value)})
			if r.o.Found != nil {
				r.o.Found(Finding{Kind: "damaged", Where: describeKey(key), What: err.Error(), Repairable: true})
			}
			return r.ctx.Err()
		})
	for _, b := range all {
		if err != nil {
			break
		}
		if err = r.keep(b.key, b.value); err != nil {
			break
		}
		_, lost := splitShareKey(b.key)
		err = r.s.db.Update(r.ctx, "share", func(w kv.Txn) error {
			if lost != nil {
				return w.Delete(b.key)
			}
			return w.Set(b.key, seal(b.key, appendShare(nil, r.s.clock.Now())))
		})
		r.did(Finding{Kind: "share", Where: describeKey(b.key), What: "is made again, or taken out"})
	}
	return wrap(err, "repair shares")
}

package store

import (
	"slices"

	"tram/internal/kv"
)

// changeRow is what one transaction did; its key is the transaction's ModSeq.
//
//	n { mailbox what:1 ranges(added) ranges(changed) ranges(removed) }
//	ids(emails created) ids(updated) ids(destroyed)
//	ids(threads created) ids(updated) ids(destroyed)
//
// what is a set of mailboxCreated and its kin; ranges are the UIDs touched in the list,
// n { first last } and ids are n { id }, each number as the difference to the one before.
type changeRow struct {
	Mailboxes []mailboxChange
	Emails    [3][]uint64 // created, updated, destroyed
	Threads   [3][]uint64
}

// Places in changeRow.Emails and Threads.
const (
	created = iota
	updated
	destroyed
)

type mailboxChange struct {
	Mailbox                 MailboxID
	What                    byte
	Added, Changed, Removed []UIDRange
}

// Bits of mailboxChange.What.
const (
	mailboxCreated byte = 1 << iota
	mailboxUpdated      // name, parent, role or subscription
	mailboxDestroyed
	mailboxList // its list changed
	// mailboxOwnSeen: somebody who is not the owner has marked what he has seen.
	mailboxOwnSeen
)

// list returns the change of a mailbox's list, or nil.
func (c *changeRow) list(m MailboxID) *mailboxChange {
	for i := range c.Mailboxes {
		if c.Mailboxes[i].Mailbox == m {
			return &c.Mailboxes[i]
		}
	}
	return nil
}

func (c *changeRow) append(dst []byte) []byte {
	dst = appendUint(append(dst, version1), uint64(len(c.Mailboxes)))
	for i := range c.Mailboxes {
		m := &c.Mailboxes[i]
		dst = append(appendUint(dst, m.Mailbox), m.What)
		dst = appendRanges(appendRanges(appendRanges(dst, m.Added), m.Changed), m.Removed)
	}
	for _, ids := range c.Emails {
		dst = appendIDs(dst, ids)
	}
	for _, ids := range c.Threads {
		dst = appendIDs(dst, ids)
	}
	return dst
}

func decodeChange(key, value []byte) (ModSeq, *changeRow, error) {
	at, _, err := kv.TakeUint64(key[min(10, len(key)):])
	if err != nil {
		return 0, nil, damaged(key, "key of the wrong length")
	}
	d, err := unseal(key, value)
	if err != nil {
		return 0, nil, err
	}
	c := &changeRow{Mailboxes: make([]mailboxChange, d.count(5))}
	for i := range c.Mailboxes {
		c.Mailboxes[i] = mailboxChange{
			Mailbox: MailboxID(d.uint32()), What: d.byte(),
			Added: d.ranges(), Changed: d.ranges(), Removed: d.ranges(),
		}
	}
	for i := range c.Emails {
		c.Emails[i] = d.ids()
	}
	for i := range c.Threads {
		c.Threads[i] = d.ids()
	}
	return ModSeq(at), c, d.done(key)
}

func appendRanges(dst []byte, ranges []UIDRange) []byte {
	dst = appendUint(dst, uint64(len(ranges)))
	prev := UID(0)
	for _, r := range ranges {
		dst = appendUint(appendUint(dst, r.First-prev), r.Last-r.First)
		prev = r.Last
	}
	return dst
}

func (d *decoder) ranges() []UIDRange {
	n := d.count(2)
	if n == 0 {
		return nil
	}
	out, prev := make([]UIDRange, 0, n), uint64(0)
	for range n {
		first := prev + d.uint()
		last := first + d.uint()
		if first > last || last > 1<<32-1 {
			d.fail()
			return nil
		}
		out, prev = append(out, UIDRange{UID(first), UID(last)}), last
	}
	return out
}

func appendIDs(dst []byte, ids []uint64) []byte {
	dst = appendUint(dst, uint64(len(ids)))
	prev := uint64(0)
	for _, id := range ids {
		dst, prev = appendUint(dst, id-prev), id
	}
	return dst
}

func (d *decoder) ids() []uint64 {
	n := d.count(1)
	if n == 0 {
		return nil
	}
	out, prev := make([]uint64, n), uint64(0)
	for i := range out {
		prev += d.uint()
		out[i] = prev
	}
	return out
}

// toRanges joins sorted UIDs.
func toRanges(uids []UID) []UIDRange {
	var out []UIDRange
	for _, uid := range uids {
		out = appendUID(out, uid)
	}
	return out
}

// tidy sorts ids and drops repetitions.
func tidy[T UID | uint64](ids []T) []T {
	if len(ids) < 2 {
		return ids
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

// appendVanished encodes the expunged UIDs of a mailbox in one transaction:
//
//	ranges
func appendVanished(dst []byte, uids []UID) []byte {
	return appendRanges(append(dst, version1), toRanges(uids))
}

func decodeVanished(key, value []byte) ([]UIDRange, error) {
	d, err := unseal(key, value)
	if err != nil {
		return nil, err
	}
	r := d.ranges()
	return r, d.done(key)
}

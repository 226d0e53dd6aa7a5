package store

import (
	"fmt"
	"math/bits"
	"slices"
	"strings"

	"tram/internal/kv"
)

func (c *checker) mailboxes() error {
	validities := map[uint32]MailboxID{}
	row := &c.tx.row
	err := c.scan(kindMailbox, func(key, value []byte) error {
		id, _, err := kv.TakeUint32(key[10:])
		if err != nil {
			c.bad(key, damaged(key, "key of the wrong length"), true)
			return nil
		}
		m, err := decodeMailbox(MailboxID(id), key, value)
		if err != nil {
			c.bad(key, err, true)
			return nil
		}
		where := fmt.Sprintf("mailbox %d", id)
		c.boxes[m.ID] = &boxCheck{row: m}
		if m.ID >= row.NextMailbox {
			c.find("next-id", where, true, "the next identifier is %d", row.NextMailbox)
		}
		if other := validities[m.UIDValidity]; other != 0 || m.UIDValidity > row.UIDValidity {
			c.find("uidvalidity", where, true, "UIDVALIDITY %d is also that of mailbox %d, or "+
				"above the highest given out, %d", m.UIDValidity, other, row.UIDValidity)
		}
		validities[m.UIDValidity] = m.ID
		if max(m.CreatedAt, m.ChangedAt, m.Highest, m.ExpungedFloor) > row.ModSeq {
			c.find("modseq", where, true, "has a ModSeq above the account's, %d", row.ModSeq)
		}
		if m.Role != NoRole && row.role(m.Role) != m.ID {
			c.find("role", where, true, "has role %d, which the account gives to mailbox %d",
				m.Role, row.role(m.Role))
		}
		return nil
	})
	for _, r := range row.Roles {
		if b := c.boxes[r.Mailbox]; b == nil || b.row.Role != r.Role {
			c.find("role", fmt.Sprintf("mailbox %d", r.Mailbox), true,
				"the account gives it role %d, it has none or another", r.Role)
		}
	}
	if row.role(RoleInbox) == 0 && !row.Folders {
		c.find("role", "account row", true, "no mailbox is INBOX")
	}
	return err
}

// names checks the tree: each mailbox hangs under an existing one, is found by its name, and every
// name leads to its mailbox.
func (c *checker) names() error {
	found := 0
	err := c.scan(kindName, func(key, value []byte) error {
		id, err := decodeName(key, value)
		if err != nil {
			c.bad(key, err, true)
			return nil
		}
		found++
		b := c.boxes[id]
		if b == nil || string(nameKey(nil, c.id, b.row.Parent, b.row.Leaf)) != string(key) {
			c.find("name", describeKey(key), true,
				"leads to mailbox %d, which is not called so", id)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if found != len(c.boxes) {
		c.find("name", "names", true, "%d names for %d mailboxes", found, len(c.boxes))
	}
	for id, b := range c.boxes {
		where := fmt.Sprintf("mailbox %d", id)
		child, err := c.tx.child(b.row.Parent, b.row.Leaf)
		if err != nil || child != id {
			c.find("name", where, true, "its name %q leads to mailbox %d", b.row.Leaf, child)
		}
		b.name = c.path(b)
		if b.name == "" {
			c.find("tree", where, true, "hangs under a mailbox that does not exist, or itself")
			continue
		}
		if levels, err := splitName(b.name, 1<<30, 1<<30); err != nil ||
			strings.Join(levels, separator) != b.name {
			c.find("name", where, true, "is called %q, which is no valid name", b.name)
		}
	}
	return nil
}

// path returns the full name of a mailbox, "" when it hangs nowhere. On its way up it compares what
// the mailboxes above know of their height.
func (c *checker) path(b *boxCheck) string {
	name, height := b.row.Leaf, uint32(0)
	for at := b; at.row.Parent != 0; {
		at = c.boxes[at.row.Parent]
		if height++; at == nil || height > maxDepth {
			return ""
		}
		below := uint32(len(name) + len(separator))
		if at.row.Height < height || at.row.Below < below {
			c.find("height", fmt.Sprintf("mailbox %d", at.row.ID), true,
				"knows of %d levels and %d bytes below it; there are %d and %d",
				at.row.Height, at.row.Below, height, below)
		}
		name = at.row.Leaf + separator + name
	}
	return name
}

// lists reads all list rows and compares counters.
func (c *checker) lists() error {
	readers := map[MailboxID]*segmentReader{}
	err := c.scan(kindList, func(key, value []byte) error {
		n, _, err := kv.TakeUint32(key[10:])
		id := MailboxID(n)
		if err != nil || c.boxes[id] == nil {
			c.find("list", describeKey(key), true, "a row of the list of no mailbox")
			return nil
		}
		sr := readers[id]
		if sr == nil {
			sr = &segmentReader{}
			readers[id] = sr
		}
		was := len(sr.broken)
		if err := sr.row(key, value); err != nil {
			c.bad(key, err, true)
		} else if len(sr.broken) > was {
			c.bad(key, sr.err, true)
			sr.err = nil
		}
		return nil
	})
	if err != nil {
		return err
	}
	for id, b := range c.boxes {
		sr := readers[id]
		if sr == nil {
			sr = &segmentReader{}
		}
		sr.end()
		c.listRows(b, sr)
		b.list = newList(&b.row, sr.chunks)
		b.claimed = make([]uint64, (b.list.n+63)/64)
		c.counters(b)
	}
	return nil
}

// listRows checks the order of segments and entries.
func (c *checker) listRows(b *boxCheck, sr *segmentReader) {
	where := fmt.Sprintf("list of mailbox %d", b.row.ID)
	prev := UID(0)
	for i, ch := range sr.chunks {
		if len(ch.entries) == 0 {
			c.find("list", where, true, "segment %d is empty", ch.first)
		}
		if i+1 == len(sr.chunks) && b.row.TailFirst != ch.first {
			c.find("list", where, true, "the last segment is %d, the mailbox has %d", ch.first,
				b.row.TailFirst)
		}
		for k := range ch.entries {
			e := &ch.entries[k]
			if e.UID <= prev || e.UID < ch.first ||
				i+1 < len(sr.chunks) && e.UID >= sr.chunks[i+1].first {
				c.find("list", where, true, "UID %d stands in segment %d, after %d", e.UID,
					ch.first, prev)
			}
			prev = e.UID
			if e.ModSeq > b.row.Highest || e.ModSeq == 0 {
				c.find("modseq", where, true, "UID %d has ModSeq %d, the mailbox %d", e.UID,
					e.ModSeq, b.row.Highest)
			}
		}
	}
	if int(b.row.Segments) != len(sr.chunks) {
		c.find("list", where, true, "has %d segments, the mailbox says %d", len(sr.chunks),
			b.row.Segments)
	}
	if prev >= b.row.UIDNext {
		c.find("uidnext", where, true, "UID %d is there, UIDNEXT is %d", prev, b.row.UIDNext)
	}
	if len(sr.chunks) == 0 && b.row.TailFirst != 0 {
		c.find("list", where, true, "no rows, but a last segment %d", b.row.TailFirst)
	}
}

func (c *checker) counters(b *boxCheck) {
	want := b.row
	want.recount(b.list)
	if want != b.row {
		c.find("counter", fmt.Sprintf("mailbox %d", b.row.ID), true,
			"messages, unseen, deleted, size, recent are %d %d %d %d %d; counted %d %d %d %d %d",
			b.row.Messages, b.row.Unseen, b.row.Deleted, b.row.Size, b.row.Recent,
			want.Messages, want.Unseen, want.Deleted, want.Size, want.Recent)
	}
	if b.row.RecentFrom > b.row.UIDNext {
		c.find("recent", fmt.Sprintf("mailbox %d", b.row.ID), true,
			"recent from %d, UIDNEXT is %d", b.row.RecentFrom, b.row.UIDNext)
	}
}

// claims reports the entries that no email's state row names.
func (c *checker) claims() error {
	for id, b := range c.boxes {
		for i, word := range b.claimed {
			missing := ^word
			if rest := b.list.n - i*64; rest < 64 {
				missing &= 1<<rest - 1
			}
			for ; missing != 0; missing &= missing - 1 {
				e := b.list.At(i*64 + bits.TrailingZeros64(missing))
				c.find("list-state", fmt.Sprintf("list of mailbox %d", id), true,
					"UID %d is of email %d, which does not know of it", e.UID, e.Email)
			}
		}
	}
	return nil
}

// expunged checks the history of each mailbox.
func (c *checker) expunged() error {
	sums := map[MailboxID]uint64{}
	err := c.scan(kindVanished, func(key, value []byte) error {
		n, rest, err := kv.TakeUint32(key[10:])
		b := c.boxes[MailboxID(n)]
		if err != nil || len(rest) != 8 || b == nil {
			c.find("expunged", describeKey(key), true, "expunged UIDs of no mailbox")
			return nil
		}
		ranges, err := decodeVanished(key, value)
		if err != nil {
			c.bad(key, err, true)
			return nil
		}
		at := ModSeq(emailOfKey(key))
		if at <= b.row.ExpungedFloor || at > b.row.Highest {
			c.find("expunged", describeKey(key), true, "not between %d and %d", b.row.ExpungedFloor,
				b.row.Highest)
		}
		for _, r := range ranges {
			sums[b.row.ID] += uint64(r.Last-r.First) + 1
			if i, _ := b.list.Find(r.First); i < b.list.n && b.list.At(i).UID <= r.Last {
				c.find("expunged", describeKey(key), true, "UID %d is expunged and there",
					b.list.At(i).UID)
			}
			if r.Last >= b.row.UIDNext {
				c.find("uidnext", describeKey(key), true, "UID %d was expunged, UIDNEXT is %d",
					r.Last, b.row.UIDNext)
			}
		}
		return nil
	})
	for id, b := range c.boxes {
		if b.row.Expunged != sums[id] {
			c.find("expunged", fmt.Sprintf("mailbox %d", id), true,
				"has %d expunged UIDs, counted %d", b.row.Expunged, sums[id])
		}
	}
	return err
}

// log checks that the change log has every transaction since its floor.
func (c *checker) log() error {
	next := c.tx.row.LogFloor + 1
	err := c.scan(kindChange, func(key, value []byte) error {
		at, row, err := decodeChange(key, value)
		if err != nil {
			c.bad(key, err, true)
			at = ModSeq(emailOfKey(key))
		}
		if at != next {
			c.find("change-log", describeKey(key), true, "change %d is missing", next)
		}
		next = at + 1
		if row == nil {
			return nil
		}
		for _, ids := range row.Emails {
			if len(ids) > 0 && EmailID(slices.Max(ids)) >= c.tx.row.NextEmail {
				c.find("next-id", describeKey(key), true, "names an email from %d on",
					c.tx.row.NextEmail)
			}
		}
		return nil
	})
	if next != c.tx.row.ModSeq+1 {
		c.find("change-log", "change log", true, "ends before %d, the account's ModSeq is %d", next,
			c.tx.row.ModSeq)
	}
	return err
}

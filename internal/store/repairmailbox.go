package store

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"tram/internal/kv"
)

// readMailboxes reads the mailbox rows. One that is lost begins anew, with what its list, its name
// and its messages still tell of it.
func (m *mender) readMailboxes() error {
	err := m.scan(kindMailbox, func(key, value []byte) error {
		n, rest, err := kv.TakeUint32(key[10:])
		if err != nil || len(rest) > 0 || n == 0 {
			return m.drop(key, value)
		}
		id := MailboxID(n)
		row, err := decodeMailbox(id, key, value)
		if err != nil {
			m.begun(id)
			return m.keep(key, value)
		}
		m.boxes[id] = &boxMend{row: row}
		for _, at := range []ModSeq{row.CreatedAt, row.ChangedAt, row.Highest, row.ExpungedFloor} {
			m.seen(at)
		}
		return nil
	})
	if err != nil {
		return err
	}
	r := kv.Prefix(appendKey(nil, m.id, kindList))
	r.KeysOnly = true
	return m.w.Scan(r, func(key, _ []byte) error {
		n, _, err := kv.TakeUint32(key[10:])
		id := MailboxID(n)
		// What a list and messages speak of was a mailbox.
		if _, placed := m.placed[id]; err == nil && placed && m.boxes[id] == nil && id != 0 {
			m.begun(id)
		}
		return nil
	})
}

// begun is a mailbox of which nothing but the identifier is known.
func (m *mender) begun(id MailboxID) *boxMend {
	b := &boxMend{lost: true, row: mailboxRow{
		ID: id, Created: m.tx.clock().Unix(), UIDNext: 1, RecentFrom: 1,
	}}
	m.boxes[id] = b
	return b
}

// readNames gives the mailboxes whose rows are lost their names.
func (m *mender) readNames() error {
	return m.scan(kindName, func(key, value []byte) error {
		parent, leaf, err := kv.TakeUint32(key[10:])
		id, decodeErr := decodeName(key, value)
		if err != nil || decodeErr != nil || id == 0 {
			return m.keep(key, value)
		}
		b := m.boxes[id]
		if b == nil {
			b = m.begun(id)
		}
		if b.lost && b.row.Leaf == "" {
			b.row.Parent, b.row.Leaf = MailboxID(parent), string(leaf)
		}
		return nil
	})
}

// readLists reads the lists as they stand, drops those of no mailbox, and raises every UIDNEXT above
// all UIDs that rows speak of.
func (m *mender) readLists() error {
	readers := map[MailboxID]*segmentReader{}
	err := m.scan(kindList, func(key, value []byte) error {
		n, _, err := kv.TakeUint32(key[10:])
		id := MailboxID(n)
		if err != nil || m.boxes[id] == nil {
			return m.drop(key, value)
		}
		if readers[id] == nil {
			readers[id] = &segmentReader{}
		}
		was := len(readers[id].broken)
		if err := readers[id].row(key, value); err != nil {
			return m.drop(key, value)
		}
		if len(readers[id].broken) > was {
			return m.keep(key, value)
		}
		return nil
	})
	if err != nil {
		return err
	}
	for id, b := range m.boxes {
		sr := readers[id]
		if sr == nil {
			sr = &segmentReader{}
		}
		sr.end()
		m.takeList(b, sr)
		top := m.placed[id]
		for i := range b.old {
			e := &b.old[i]
			m.seen(e.ModSeq)
			m.claims = append(m.claims, claim{e.Email, id, *e})
			top = max(top, e.UID)
		}
		if top > 0 {
			b.row.UIDNext = max(b.row.UIDNext, after(top))
		}
	}
	slices.SortFunc(m.claims, func(a, b claim) int {
		return cmp.Or(cmp.Compare(a.email, b.email), cmp.Compare(a.box, b.box),
			cmp.Compare(a.entry.UID, b.entry.UID))
	})
	return nil
}

// takeList notes a list's entries and whether its rows are in order.
func (m *mender) takeList(b *boxMend, sr *segmentReader) {
	b.whole = len(sr.broken) == 0 && int(b.row.Segments) == len(sr.chunks)
	prev := UID(0)
	for i, ch := range sr.chunks {
		b.whole = b.whole && len(ch.entries) > 0
		for k := range ch.entries {
			uid := ch.entries[k].UID
			b.whole = b.whole && uid > prev && uid >= ch.first &&
				(i+1 == len(sr.chunks) || uid < sr.chunks[i+1].first)
			prev = uid
		}
		b.old = append(b.old, ch.entries...)
	}
	switch n := len(sr.chunks); {
	case n == 0:
		b.whole = b.whole && b.row.TailFirst == 0
	default:
		b.whole = b.whole && b.row.TailFirst == sr.chunks[n-1].first
		b.row.TailLoose = max(b.row.TailLoose, uint32(sr.chunks[n-1].loose))
	}
	slices.SortStableFunc(b.old, func(x, y Entry) int { return cmp.Compare(x.UID, y.UID) })
	b.old = slices.CompactFunc(b.old, func(x, y Entry) bool { return x.UID == y.UID })
}

// oldEntry returns what the list had under a UID, or nil.
func (b *boxMend) oldEntry(uid UID) *Entry {
	i, ok := (&chunk{entries: b.old}).find(uid)
	if !ok {
		return nil
	}
	return &b.old[i]
}

// fixTree makes the mailboxes a tree again in which each has a name of its own, one is INBOX, no two
// have the same role and none a UIDVALIDITY of another.
func (m *mender) fixTree() error {
	row := &m.tx.row
	ids := slices.Sorted(maps.Keys(m.boxes))
	used := map[uint32]bool{}
	for _, id := range ids {
		row.NextMailbox = max(row.NextMailbox, id+1)
		row.UIDValidity = max(row.UIDValidity, m.boxes[id].row.UIDValidity)
	}
	m.fixRoles(ids)
	ids = slices.Sorted(maps.Keys(m.boxes))
	for _, id := range ids {
		b := m.boxes[id]
		if b.row.UIDValidity == 0 || used[b.row.UIDValidity] {
			b.row.UIDValidity = m.tx.uidValidity()
			if !b.lost {
				m.tell("uidvalidity", fmt.Sprintf("mailbox %d", id), "gets a new UIDVALIDITY, %d",
					b.row.UIDValidity)
			}
		}
		used[b.row.UIDValidity] = true
		b.row.RecentFrom = min(max(b.row.RecentFrom, 1), b.row.UIDNext)
	}
	m.fixParents(ids)
	m.fixNames(ids)
	for _, id := range ids {
		m.raiseAbove(id)
		if b := m.boxes[id]; b.lost {
			m.tell("mailbox", fmt.Sprintf("mailbox %d", id),
				"its row is made again, with a new UIDVALIDITY; it is called %q", m.path(id))
		}
	}
	return nil
}

// fixRoles gives each role to one mailbox, and one mailbox the role of INBOX.
func (m *mender) fixRoles(ids []MailboxID) {
	row := &m.tx.row
	has := map[Role]MailboxID{}
	for _, r := range row.Roles { // what both sides say goes first, then what the account says
		if b := m.boxes[r.Mailbox]; b != nil && b.row.Role == r.Role {
			has[r.Role] = r.Mailbox
		}
	}
	for _, r := range row.Roles {
		if b := m.boxes[r.Mailbox]; b != nil && b.lost && b.row.Role == NoRole && has[r.Role] == 0 {
			b.row.Role, has[r.Role] = r.Role, r.Mailbox
		}
	}
	for _, id := range ids {
		b := m.boxes[id]
		if b.row.Role > lastRole || b.row.Role != NoRole && has[b.row.Role] != 0 && has[b.row.Role] != id {
			b.row.Role = NoRole
		}
		if b.row.Role != NoRole {
			has[b.row.Role] = id
		}
	}
	// Every account has an INBOX, but for the shared folders of a domain.
	lost := func(id MailboxID) bool { return m.boxes[id].lost }
	row.Folders = row.Folders || m.fresh && len(ids) > 0 && len(has) == 0 && !slices.ContainsFunc(ids, lost)
	if has[RoleInbox] != 0 || row.Folders {
		return
	}
	in := MailboxID(0)
	for _, id := range ids {
		if b := m.boxes[id]; b.row.Parent == 0 && strings.EqualFold(b.row.Leaf, inbox) && in == 0 {
			in = id
		}
	}
	if in == 0 {
		in = row.NextMailbox
		row.NextMailbox++
		m.begun(in)
	}
	m.boxes[in].row.Role = RoleInbox
	m.tell("role", fmt.Sprintf("mailbox %d", in), "is INBOX now: no mailbox was")
}

// fixParents hangs what hangs under nothing, or under itself, at the top.
func (m *mender) fixParents(ids []MailboxID) {
	for _, id := range ids {
		at := m.boxes[id]
		for depth := 0; at != nil && at.row.Parent != 0; depth++ {
			if at = m.boxes[at.row.Parent]; depth > len(ids) {
				at = nil
			}
		}
		if at == nil && m.hangsLoose(id) {
			m.boxes[id].row.Parent = 0
			m.tell("tree", fmt.Sprintf("mailbox %d", id), "hangs at the top now")
		}
	}
}

// hangsLoose reports whether the mailbox itself is where the way up breaks off: its parent is not
// there, or the way leads back to it.
func (m *mender) hangsLoose(id MailboxID) bool {
	at := m.boxes[m.boxes[id].row.Parent]
	for depth := 0; at != nil && depth <= len(m.boxes); depth++ {
		if at.row.ID == id {
			return true
		}
		if at.row.Parent == 0 {
			return false
		}
		next := m.boxes[at.row.Parent]
		if next == nil {
			return false // further up
		}
		at = next
	}
	return at == nil
}

// fixNames gives each mailbox a valid name that no sibling has.
func (m *mender) fixNames(ids []MailboxID) {
	type spot struct {
		parent MailboxID
		leaf   string
	}
	used := map[spot]MailboxID{}
	for _, id := range ids {
		if b := m.boxes[id]; b.row.Role == RoleInbox {
			b.row.Parent, b.row.Leaf = 0, inbox
			used[spot{0, inbox}] = id
		}
	}
	// Whom the name leads to has it before the others.
	slices.SortStableFunc(ids, func(a, b MailboxID) int {
		return cmp.Compare(m.rank(a), m.rank(b))
	})
	for _, id := range ids {
		b := m.boxes[id]
		if b.row.Role == RoleInbox {
			continue
		}
		name := b.row.Leaf
		if !validLeaf(b.row.Parent, name) {
			name = fmt.Sprintf("%s-%d", recoveredName, id)
		}
		unique := name
		for n := 2; used[spot{b.row.Parent, unique}] != 0; n++ {
			unique = fmt.Sprintf("%s (%d)", name, n)
		}
		if unique != b.row.Leaf && !b.lost {
			m.tell("name", fmt.Sprintf("mailbox %d", id), "was called %q, is called %q now",
				b.row.Leaf, unique)
			b.row.ChangedAt = m.at
		}
		b.row.Leaf = unique
		used[spot{b.row.Parent, unique}] = id
	}
	slices.Sort(ids)
}

func (m *mender) rank(id MailboxID) int {
	b := m.boxes[id]
	child, err := m.tx.child(b.row.Parent, b.row.Leaf)
	if err == nil && child == id {
		return 0
	}
	return 1
}

func validLeaf(parent MailboxID, leaf string) bool {
	levels, err := splitName("x"+separator+leaf, 1<<30, 1<<30)
	return err == nil && len(levels) == 2 && levels[1] == leaf &&
		(parent != 0 || !strings.EqualFold(leaf, inbox))
}

// raiseAbove tells the mailboxes above how much is below them.
func (m *mender) raiseAbove(id MailboxID) {
	height, below := uint32(0), uint32(0)
	for at := m.boxes[id]; at.row.Parent != 0; {
		below += uint32(len(separator) + len(at.row.Leaf))
		height++
		at = m.boxes[at.row.Parent]
		at.row.Height, at.row.Below = max(at.row.Height, height), max(at.row.Below, below)
	}
}

func (m *mender) path(id MailboxID) string {
	b := m.boxes[id]
	if b == nil {
		return fmt.Sprintf("mailbox %d", id)
	}
	name := b.row.Leaf
	for b.row.Parent != 0 {
		b = m.boxes[b.row.Parent]
		name = b.row.Leaf + separator + name
	}
	return name
}

// recovered returns the mailbox for emails of which nobody knows where they were.
func (m *mender) recovered() *boxMend {
	for _, b := range m.boxes {
		if b.row.Parent == 0 && b.row.Leaf == recoveredName {
			return b
		}
	}
	id := m.tx.row.NextMailbox
	m.tx.row.NextMailbox++
	b := m.begun(id)
	b.row.Leaf, b.row.UIDValidity, b.lost, b.whole = recoveredName, m.tx.uidValidity(), false, true
	b.row.CreatedAt, b.row.ChangedAt = m.at, m.at
	return b
}

// writeLists writes the lists that are not as they were, and counts them all.
func (m *mender) writeLists() error {
	for id, b := range m.boxes {
		slices.SortFunc(b.entries, func(x, y Entry) int { return cmp.Compare(x.UID, y.UID) })
		m.tellLost(b)
		if !b.whole || !slices.Equal(b.old, b.entries) {
			if err := m.writeList(b); err != nil {
				return err
			}
			m.tell("list", fmt.Sprintf("list of mailbox %d", id), "is made again, %d messages",
				len(b.entries))
		}
		b.row.recount(newList(&b.row, []*chunk{{first: 1, entries: b.entries}}))
	}
	return nil
}

// tellLost names the entries that stood for nothing.
func (m *mender) tellLost(b *boxMend) {
	i := 0
	for _, e := range b.old {
		for i < len(b.entries) && b.entries[i].UID < e.UID {
			i++
		}
		if i == len(b.entries) || b.entries[i].UID != e.UID {
			m.tell("list", fmt.Sprintf("%s, UID %d", m.path(b.row.ID), e.UID),
				"is taken off the list: email %d is not there", e.Email)
		}
	}
}

func (m *mender) writeList(b *boxMend) error {
	prefix := key32(nil, m.id, kindList, uint32(b.row.ID))
	if err := m.w.DeleteRange(prefix, kv.PrefixEnd(prefix)); err != nil {
		return err
	}
	b.row.Generation++
	b.row.TailFirst, b.row.TailLoose, b.row.Segments = 0, 0, 0
	for rest := b.entries; len(rest) > 0; {
		n := min(len(rest), segmentSize)
		c := &chunk{first: rest[0].UID, entries: rest[:n]}
		key := listKey(nil, m.id, b.row.ID, c.first, 0)
		if err := m.set(key, appendSegment(nil, c)); err != nil {
			return err
		}
		b.row.TailFirst = c.first
		b.row.Segments++
		rest = rest[n:]
	}
	return nil
}

// writeNames makes the name rows again.
func (m *mender) writeNames() error {
	err := m.scan(kindName, func(key, _ []byte) error { return m.w.Delete(key) })
	for id, b := range m.boxes {
		if err != nil {
			return err
		}
		err = m.set(nameKey(nil, m.id, b.row.Parent, b.row.Leaf), appendNameRow(nil, id))
	}
	return err
}

package store

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"tram/internal/kv"
)

// Role is a mailbox's special use, RFC 6154 §2 and RFC 8621 §2. A mailbox has at most one, and an
// account at most one mailbox of each.
type Role uint8

// The roles.
const (
	NoRole Role = iota
	RoleInbox
	RoleDrafts
	RoleSent
	RoleArchive
	RoleJunk
	RoleTrash
	RoleAll       // \All
	RoleFlagged   // \Flagged
	RoleImportant // \Important, RFC 8457
	lastRole      = RoleImportant
)

// Mailbox is a copy of a mailbox's state in one transaction.
type Mailbox struct {
	ID       MailboxID
	ParentID MailboxID // 0 at the top
	// Name is the full name: NFC, levels separated by '/', "INBOX" in capitals.
	Name        string
	Role        Role
	Subscribed  bool // the name is on the list of subscriptions
	HasChildren bool
	UIDValidity uint32
	UIDNext     UID
	Messages    uint32
	Unseen      uint32 // without \Seen
	Deleted     uint32 // with \Deleted
	Size        int64  // sum of the sizes of its messages, in bytes
	// RecentFrom is the first UID that no read-write rev1 session has claimed, and Recent the
	// number of messages from there on (RFC 3501 §2.3.2). See Tx.ClaimRecent.
	RecentFrom UID
	Recent     uint32
	// HighestModSeq is that of the last change of the mailbox's list: message in, out, flags
	// (RFC 7162 §3.1.2). At least 1.
	HighestModSeq ModSeq
	Created       time.Time
	// Rights are those of the person whose transaction it is: the owner has all. Without RightRead
	// there are no counts.
	Rights Rights
	Shared bool // others than the owner have rights
}

// CreateOptions are the optional parts of Tx.CreateMailbox.
type CreateOptions struct {
	Role       Role
	Subscribed bool
}

// Mailbox returns the mailbox with an identifier.
func (tx *Tx) Mailbox(id MailboxID) (*Mailbox, error) {
	m, err := tx.known(id)
	if err != nil {
		return nil, err
	}
	return tx.export(m)
}

// Counts returns the mailbox without Name, Subscribed and HasChildren, which lie elsewhere: it reads
// less than Mailbox.
func (tx *Tx) Counts(id MailboxID) (*Mailbox, error) {
	m, err := tx.allowed(id, RightRead)
	if err != nil {
		return nil, err
	}
	if tx.as != nil {
		return tx.countsTo(m)
	}
	out := m.row.mailbox()
	return &out, nil
}

func (tx *Tx) export(m *mailboxTx) (*Mailbox, error) {
	if tx.as != nil {
		return tx.exportTo(m)
	}
	out := m.row.mailbox()
	var err error
	if out.Name, _, err = tx.fullName(m); err != nil {
		return nil, err
	}
	if out.Subscribed, err = tx.subscribed(out.Name); err != nil {
		return nil, err
	}
	out.HasChildren, err = tx.hasChildren(out.ID)
	return &out, err
}

func (tx *Tx) hasChildren(id MailboxID) (has bool, err error) {
	r := kv.Prefix(key32(nil, tx.id, kindName, uint32(id)))
	r.Limit, r.KeysOnly = 1, true
	err = tx.r.Scan(r, func(_, _ []byte) error {
		has = true
		return nil
	})
	return has, wrap(err, "read mailbox names")
}

// MailboxByName returns the mailbox with a full name, which is normalized first.
func (tx *Tx) MailboxByName(name string) (*Mailbox, error) {
	m, err := tx.named(name)
	if err != nil {
		return nil, err
	}
	return tx.export(m)
}

// FindMailbox returns the identifier and UIDVALIDITY of the mailbox with a full name, which is
// normalized first. It reads less than MailboxByName.
func (tx *Tx) FindMailbox(name string) (MailboxID, uint32, error) {
	m, err := tx.named(name)
	if err != nil {
		return 0, 0, err
	}
	return m.row.ID, m.row.UIDValidity, nil
}

func (tx *Tx) named(name string) (*mailboxTx, error) {
	levels, err := tx.s.splitName(name)
	if err != nil {
		return nil, err
	}
	id, found, err := tx.walk(levels)
	if err != nil {
		return nil, err
	}
	if found < len(levels) {
		return nil, fmt.Errorf("mailbox %q: %w", name, ErrNotFound)
	}
	return tx.known(id)
}

// MailboxByRole returns the mailbox with a role. Roles are the owner's.
func (tx *Tx) MailboxByRole(r Role) (*Mailbox, error) {
	id := tx.RoleMailbox(r)
	if id == 0 {
		return nil, fmt.Errorf("mailbox with role %d: %w", r, ErrNotFound)
	}
	return tx.Mailbox(id)
}

// RoleMailbox returns the identifier of the mailbox with a role, 0 when there is none. It reads
// nothing.
func (tx *Tx) RoleMailbox(r Role) MailboxID {
	if tx.as != nil {
		return 0
	}
	return tx.row.role(r)
}

// Mailboxes returns all mailboxes: INBOX first, each before its children, siblings by name.
func (tx *Tx) Mailboxes() ([]*Mailbox, error) {
	if tx.as != nil {
		return tx.visibleMailboxes()
	}
	rows, err := tx.mailboxRows()
	if err != nil {
		return nil, err
	}
	subscribed := map[string]bool{}
	names, err := tx.Subscriptions()
	if err != nil {
		return nil, err
	}
	for _, n := range names {
		subscribed[n] = true
	}
	byID := make(map[MailboxID]*Mailbox, len(rows))
	for i := range rows {
		m := rows[i].mailbox()
		byID[m.ID] = &m
	}
	out := make([]*Mailbox, 0, len(rows))
	for i := range rows {
		m := byID[rows[i].ID]
		nameInTree(rows, byID, &rows[i], 0)
		m.Subscribed = subscribed[m.Name]
		if p := byID[m.ParentID]; p != nil {
			p.HasChildren = true
		}
		out = append(out, m)
	}
	slices.SortFunc(out, func(a, b *Mailbox) int { return compareNames(a.Name, b.Name) })
	return out, nil
}

// mailboxRows returns the rows of all mailboxes by identifier, as this transaction has them.
func (tx *Tx) mailboxRows() ([]mailboxRow, error) {
	var rows []mailboxRow
	prefix := appendKey(nil, tx.id, kindMailbox)
	err := tx.r.Scan(kv.Prefix(prefix), func(key, value []byte) error {
		n, _, err := kv.TakeUint32(key[len(prefix):])
		if err != nil {
			return damaged(key, "key of the wrong length")
		}
		id := MailboxID(n)
		if m := tx.mailboxes[id]; m != nil {
			return nil
		}
		row, err := decodeMailbox(id, key, value)
		if err != nil {
			tx.s.log.Error("mailbox cannot be read", "err", err)
			return nil
		}
		rows = append(rows, row)
		return nil
	})
	for _, m := range tx.mailboxes {
		if !m.gone {
			rows = append(rows, m.row)
		}
	}
	slices.SortFunc(rows, func(a, b mailboxRow) int { return int(a.ID) - int(b.ID) })
	return rows, wrap(err, "read mailboxes")
}

// nameInTree sets the full name of a row's mailbox, and those above it, once.
func nameInTree(rows []mailboxRow, byID map[MailboxID]*Mailbox, row *mailboxRow, depth int) string {
	m := byID[row.ID]
	if m.Name != "" {
		return m.Name
	}
	m.Name = row.Leaf
	if row.Parent != 0 && depth < maxDepth {
		i, found := slices.BinarySearchFunc(rows, row.Parent, func(r mailboxRow, id MailboxID) int {
			return int(r.ID) - int(id)
		})
		if found {
			m.Name = nameInTree(rows, byID, &rows[i], depth+1) + separator + row.Leaf
		}
	}
	return m.Name
}

// CreateMailbox makes a mailbox, and the mailboxes above it that do not exist (RFC 9051 §6.3.4).
// Errors: ErrExists for the name or the role, ErrInvalidName, ErrTooMany.
func (tx *Tx) CreateMailbox(name string, o CreateOptions) (*Mailbox, error) {
	levels, err := tx.s.splitName(name)
	if err != nil {
		return nil, err
	}
	parent, found, err := tx.walk(levels)
	if err != nil {
		return nil, err
	}
	if tx.as != nil {
		if err := tx.createAs(levels, o); err != nil {
			return nil, err
		}
	}
	if found == len(levels) {
		return nil, fmt.Errorf("create mailbox %q: %w", name, ErrExists)
	}
	if o.Role > lastRole || o.Role != NoRole && tx.row.role(o.Role) != 0 {
		return nil, fmt.Errorf("create mailbox with role %d: %w", o.Role, ErrExists)
	}
	var m *mailboxTx
	for _, leaf := range levels[found:] {
		if m, err = tx.create(parent, leaf); err != nil {
			return nil, err
		}
		parent = m.row.ID
	}
	if o.Role != NoRole {
		m.row.Role = o.Role
		tx.row.setRole(o.Role, m.row.ID)
	}
	if o.Subscribed {
		if err := tx.Subscribe(strings.Join(levels, separator), true); err != nil {
			return nil, err
		}
	}
	return tx.export(m)
}

// create makes one mailbox under an existing one.
func (tx *Tx) create(parent MailboxID, leaf string) (*mailboxTx, error) {
	modseq, err := tx.change()
	if err != nil {
		return nil, err
	}
	if int(tx.row.Mailboxes) >= tx.s.limits.Mailboxes {
		return nil, fmt.Errorf("create mailbox: %d exist: %w", tx.row.Mailboxes, ErrTooMany)
	}
	id := tx.row.NextMailbox
	tx.row.NextMailbox++
	tx.row.Mailboxes++
	row := mailboxRow{
		ID: id, Parent: parent, Leaf: leaf, UIDValidity: tx.uidValidity(), UIDNext: 1,
		Created: tx.clock().Unix(), RecentFrom: 1,
		CreatedAt: modseq, ChangedAt: modseq, Highest: modseq,
	}
	m := tx.hold(&mailboxTx{base: row, row: row, isNew: true, dirty: true, what: mailboxCreated})
	if err := tx.inherit(m); err != nil {
		return nil, err
	}
	if err := tx.writeMailbox(m); err != nil {
		return nil, err
	}
	if err := tx.raise(m); err != nil {
		return nil, err
	}
	return m, tx.writeName(parent, leaf, id)
}

// raise tells the mailboxes above m how much is below them now.
func (tx *Tx) raise(m *mailboxTx) error {
	for depth := 0; m.row.Parent != 0 && depth < maxDepth; depth++ {
		height, below := m.row.Height+1, m.row.Below+uint32(len(separator)+len(m.row.Leaf))
		p, err := tx.mailbox(m.row.Parent)
		if err != nil {
			return err
		}
		if p.row.Height >= height && p.row.Below >= below {
			return nil
		}
		p.row.Height, p.row.Below = max(p.row.Height, height), max(p.row.Below, below)
		p.dirty = true
		m = p
	}
	return nil
}

// uidValidity returns a number that no mailbox of this account has had: it grows with each mailbox
// and with the time, so that it does even when the account was restored from an old copy. Thus a
// name together with its UIDVALIDITY never means another mailbox (RFC 9051 §2.3.1.1).
func (tx *Tx) uidValidity() uint32 {
	now := uint32(max(1, min(tx.clock().Unix(), 1<<32-1)))
	if now <= tx.row.UIDValidity {
		now = tx.row.UIDValidity + 1
	}
	tx.row.UIDValidity = now
	return now
}

func (tx *Tx) writeMailbox(m *mailboxTx) error {
	tx.key = key32(tx.key[:0], tx.id, kindMailbox, uint32(m.row.ID))
	return tx.set(m.row.append(tx.value[:0]))
}

func (tx *Tx) writeName(parent MailboxID, leaf string, id MailboxID) error {
	tx.key = nameKey(tx.key[:0], tx.id, parent, leaf)
	return tx.set(appendNameRow(tx.value[:0], id))
}

// meta notes that a mailbox changed, other than its list.
func (tx *Tx) meta(m *mailboxTx) {
	m.dirty = true
	m.what |= mailboxUpdated
	m.row.ChangedAt = tx.row.ModSeq + 1
}

// SetRole gives a mailbox a role, which the mailbox that has it loses; NoRole takes its role away.
// INBOX keeps its own: ErrProtected.
func (tx *Tx) SetRole(id MailboxID, r Role) error {
	if _, err := tx.known(id); err != nil {
		return err
	}
	if err := tx.ownerOnly("special use of a mailbox"); err != nil {
		return err
	}
	m, err := tx.mailbox(id)
	if err != nil {
		return err
	}
	if m.row.Role == r {
		return nil
	}
	if m.row.Role == RoleInbox || r == RoleInbox || r > lastRole {
		return fmt.Errorf("set role %d of mailbox %d: %w", r, id, ErrProtected)
	}
	if _, err := tx.change(); err != nil {
		return err
	}
	if other := tx.row.role(r); r != NoRole && other != 0 {
		o, err := tx.mailbox(other)
		if err != nil {
			return err
		}
		o.row.Role = NoRole
		tx.meta(o)
	}
	tx.row.setRole(m.row.Role, 0)
	tx.row.setRole(r, id)
	m.row.Role = r
	tx.meta(m)
	return nil
}

// ClaimRecent makes the messages that are recent in a mailbox so no more, and returns from which
// UID on they were: a read-write rev1 session does it when it selects, and shows those, and those
// that come, as \Recent (RFC 3501 §2.3.2).
func (tx *Tx) ClaimRecent(id MailboxID) (from UID, err error) {
	m, err := tx.allowed(id, RightRead)
	if err != nil {
		return 0, err
	}
	if tx.w == nil {
		return 0, ErrReadOnly
	}
	if tx.as != nil {
		return m.row.UIDNext, nil // they are the owner's to claim
	}
	from = m.row.RecentFrom
	if m.row.RecentFrom != m.row.UIDNext {
		m.row.RecentFrom, m.row.Recent, m.dirty = m.row.UIDNext, 0, true
	}
	return from, nil
}

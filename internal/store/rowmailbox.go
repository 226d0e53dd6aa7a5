package store

import "time"

// mailboxRow is a mailbox but for its place in the tree above it:
//
//	parent leaf(string) role uidValidity uidNext created(signed, s since 1970)
//	messages unseen deleted size recentFrom recent
//	createdAt changedAt highestModSeq generation
//	tailFirst tailLoose segments expungedFloor expunged height below
//	[ sharing ]
//
// sharing is there when it is not 0.
// Its name row, under the parent's identifier and the leaf, holds: mailbox.
type mailboxRow struct {
	ID          MailboxID // of the key
	Parent      MailboxID
	Leaf        string // NFC, without '/'
	Role        Role
	UIDValidity uint32
	UIDNext     UID
	Created     int64

	Messages, Unseen, Deleted uint32
	Size                      int64
	RecentFrom                UID
	Recent                    uint32

	CreatedAt ModSeq // the transaction that made it
	ChangedAt ModSeq // the last that changed its name or role
	Highest   ModSeq // the last that changed its list

	// Generation is raised when the list's rows are put in order without a change of the list:
	// what was known of the boundaries of segments is then void.
	Generation uint32
	TailFirst  UID    // first of the last segment; 0 when the list has no rows
	TailLoose  uint32 // at least the number of loose rows of the last segment
	Segments   uint32 // of the list

	ExpungedFloor ModSeq // expunged rows hold what came after it
	Expunged      uint64 // UIDs in them

	// Height is at least the number of levels below, and Below at least the bytes that they add to
	// the name: so that a tree is renamed without a look at it.
	Height, Below uint32

	// Sharing says which rows the mailbox has for others than the owner: who has none of them
	// looks for none.
	Sharing byte
}

// Bits of mailboxRow.Sharing.
const (
	sharingACL  byte = 1 << iota // others have rights
	sharingSeen                  // others have \Seen of their own
)

func (m *mailboxRow) append(dst []byte) []byte {
	dst = appendUint(append(dst, version1), m.Parent)
	dst = appendUint(appendBytes(dst, m.Leaf), m.Role)
	dst = appendInt(appendUint(appendUint(dst, m.UIDValidity), m.UIDNext), m.Created)
	dst = appendUint(appendUint(appendUint(dst, m.Messages), m.Unseen), m.Deleted)
	dst = appendUint(appendUint(appendUint(dst, uint64(m.Size)), m.RecentFrom), m.Recent)
	dst = appendUint(appendUint(appendUint(dst, m.CreatedAt), m.ChangedAt), m.Highest)
	dst = appendUint(appendUint(appendUint(dst, m.Generation), m.TailFirst), m.TailLoose)
	dst = appendUint(appendUint(appendUint(dst, m.Segments), m.ExpungedFloor), m.Expunged)
	dst = appendUint(appendUint(dst, m.Height), m.Below)
	if m.Sharing != 0 {
		dst = append(dst, m.Sharing)
	}
	return dst
}

func decodeMailbox(id MailboxID, key, value []byte) (mailboxRow, error) {
	d, err := unseal(key, value)
	if err != nil {
		return mailboxRow{}, err
	}
	m := mailboxRow{
		ID: id, Parent: MailboxID(d.uint32()), Leaf: d.string(), Role: Role(d.byte()),
		UIDValidity: d.uint32(), UIDNext: UID(d.uint32()), Created: d.int(),
		Messages: d.uint32(), Unseen: d.uint32(), Deleted: d.uint32(), Size: int64(d.uint()),
		RecentFrom: UID(d.uint32()), Recent: d.uint32(),
		CreatedAt: ModSeq(d.uint()), ChangedAt: ModSeq(d.uint()), Highest: ModSeq(d.uint()),
		Generation: d.uint32(), TailFirst: UID(d.uint32()), TailLoose: d.uint32(),
		Segments: d.uint32(), ExpungedFloor: ModSeq(d.uint()), Expunged: d.uint(),
		Height: d.uint32(), Below: d.uint32(),
	}
	if len(d.b) > 0 {
		if m.Sharing = d.byte(); m.Sharing == 0 {
			d.fail()
		}
	}
	return m, d.done(key)
}

func appendNameRow(dst []byte, id MailboxID) []byte { return appendUint(append(dst, version1), id) }

func decodeName(key, value []byte) (MailboxID, error) {
	d, err := unseal(key, value)
	if err != nil {
		return 0, err
	}
	id := MailboxID(d.uint32())
	return id, d.done(key)
}

// count changes the counters for an entry that comes (by 1) or goes (by -1).
func (m *mailboxRow) count(e *Entry, by int) {
	m.Messages += uint32(by)
	m.Size += int64(by) * int64(e.Size)
	if e.Flags&Seen == 0 {
		m.Unseen += uint32(by)
	}
	if e.Flags&Deleted != 0 {
		m.Deleted += uint32(by)
	}
	if e.UID >= m.RecentFrom {
		m.Recent += uint32(by)
	}
}

// recount sets the counters to what a list says.
func (m *mailboxRow) recount(l *List) {
	m.Messages, m.Unseen, m.Deleted, m.Size, m.Recent = 0, 0, 0, 0, 0
	for _, e := range l.Entries(0, l.n) {
		m.count(e, 1)
	}
}

func (m *mailboxRow) mailbox() Mailbox {
	return Mailbox{
		ID: m.ID, ParentID: m.Parent, Role: m.Role,
		UIDValidity: m.UIDValidity, UIDNext: m.UIDNext,
		Messages: m.Messages, Unseen: m.Unseen, Deleted: m.Deleted, Size: m.Size,
		RecentFrom: m.RecentFrom, Recent: m.Recent, HighestModSeq: m.Highest,
		Created: time.Unix(m.Created, 0).UTC(), Rights: AllRights,
		Shared: m.Sharing&sharingACL != 0,
	}
}

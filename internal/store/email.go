package store

import (
	"fmt"
	"time"

	"tram/internal/blob"
	"tram/internal/message"
)

// Rendered is a structure as IMAP sends it, in the two forms of AppendIMAP: with UTF-8 in quoted
// strings (rev2, UTF8=ACCEPT) and without. They are the same bytes for nearly all mail.
type Rendered struct{ utf8, ascii []byte }

// For returns the form for a session.
func (r Rendered) For(utf8 bool) []byte {
	if utf8 {
		return r.utf8
	}
	return r.ascii
}

// Email is a stored message: what was found in it when it came, ready to send. Byte slices share
// the store's memory: they are valid until the transaction (for EachEmail: the callback) ends, and
// must not be changed.
type Email struct {
	ID            EmailID
	Thread        ThreadID
	Blob          blob.Ref
	Received      time.Time // INTERNALDATE, UTC, whole seconds
	Envelope      Rendered  // RFC 9051 §7.5.2 ENVELOPE
	Body          Rendered  // BODY: without extension data
	BodyStructure Rendered  // BODYSTRUCTURE
	Preview       []byte    // RFC 8970 §3, UTF-8
	HasAttachment bool

	// State is what can change. Tx.Email sets it, Tx.EachEmail leaves it nil.
	State *State

	hasSent bool
	zone    int32 // seconds east
	sent    int64

	// Parts of the row that are decoded when asked for, see rowemail.go.
	messageID, inReplyTo, references []byte
	subject, baseSubject             []byte
	addresses, tree                  []byte
}

// State is the part of an email that can change.
type State struct {
	ModSeq    ModSeq
	Flags     Flags    // without Deleted and Recent
	Keywords  []string // all of them, by name
	Mailboxes []MailboxEntry
	Removed   time.Time // when it left its last mailbox; zero while it is in one
}

// MailboxEntry is one place of an email.
type MailboxEntry struct {
	Mailbox MailboxID
	UID     UID
	Saved   time.Time // when it came into this mailbox: SAVEDATE, RFC 8514
}

// AddressField is a header field of addresses that is kept with the email.
type AddressField uint8

// The fields.
const (
	From AddressField = iota
	To
	Cc
	Bcc
	Sender
	ReplyTo
)

// Size is the message's in bytes, RFC822.SIZE.
func (e *Email) Size() int64 { return e.Blob.Size }

// Sent is the Date field's instant in the zone it was written in, or Received when the message has
// no usable one (RFC 5256 §2.2).
func (e *Email) Sent() time.Time {
	if !e.hasSent {
		return e.Received
	}
	return time.Unix(e.sent, 0).In(time.FixedZone("", int(e.zone)))
}

// MessageID is the Message-ID field's with its angle brackets, or "".
func (e *Email) MessageID() string { return string(e.messageID) }

// Subject is the decoded subject.
func (e *Email) Subject() string { return string(e.subject) }

// BaseSubject is the subject without what replies and forwards add, RFC 5256 §2.1.
func (e *Email) BaseSubject() string { return string(e.baseSubject) }

// InReplyTo are the message identifiers of the In-Reply-To field.
func (e *Email) InReplyTo() []string { return decodeStrings(e.inReplyTo) }

// References are the message identifiers of the References field, oldest first.
func (e *Email) References() []string { return decodeStrings(e.references) }

func decodeStrings(b []byte) []string {
	d := decoder{b: b}
	var out []string
	for range d.count(1) {
		out = append(out, d.string())
	}
	return out
}

// Addresses are the addresses of a field, groups opened up; only Name, Mailbox and Host are set. The
// name of a group stands before its members, as a Mailbox without a Host.
func (e *Email) Addresses(f AddressField) []message.Address {
	var out []message.Address
	for a := range e.eachAddress(f) {
		out = append(out, message.Address{
			Name: string(a.name), Mailbox: string(a.mailbox), Host: string(a.host),
		})
	}
	return out
}

type rawAddress struct{ name, mailbox, host []byte }

// eachAddress iterates over the addresses of a field without copying them.
func (e *Email) eachAddress(f AddressField) func(func(rawAddress) bool) {
	return func(yield func(rawAddress) bool) {
		d := decoder{b: e.addresses}
		for i := From; i <= f; i++ {
			for range d.count(3) {
				a := rawAddress{name: d.bytes(), mailbox: d.bytes(), host: d.bytes()}
				if i == f && (d.bad || !yield(a)) {
					return
				}
			}
		}
	}
}

// Structure decodes the part tree: what a section of the message needs.
func (e *Email) Structure() (*message.Message, error) {
	m, err := message.Decode(e.tree)
	if err != nil {
		return nil, fmt.Errorf("read structure of email %d: %w (%w)", e.ID, err, ErrDamaged)
	}
	return m, nil
}

// Email returns an email, with its State, also when it is recoverable. ErrNotFound when there is
// none, ErrDamaged when its row is.
func (tx *Tx) Email(id EmailID) (*Email, error) {
	if err := tx.needEmail(id); err != nil {
		return nil, err
	}
	e := new(Email)
	if err := tx.email(id, e); err != nil {
		return nil, err
	}
	st, err := tx.State(id)
	e.State = st
	return e, err
}

func (tx *Tx) email(id EmailID, e *Email) error {
	tx.key = key64(tx.key[:0], tx.id, kindEmail, uint64(id))
	value, err := tx.r.Get(tx.key)
	if err != nil {
		return wrap(err, "read email")
	}
	return e.decode(tx.key, value)
}

// State returns what can change of an email.
func (tx *Tx) State(id EmailID) (*State, error) {
	row, err := tx.state(id)
	if err != nil {
		return nil, err
	}
	if tx.as != nil {
		if row, err = tx.stateTo(id, row); err != nil {
			return nil, err
		}
	}
	words, err := tx.Keywords()
	if err != nil {
		return nil, err
	}
	st := &State{ModSeq: row.ModSeq, Flags: row.entryFlags()}
	st.Keywords = words.AppendNames(nil, row.Flags)
	for _, k := range row.More {
		st.Keywords = append(st.Keywords, words.name(int(k)))
	}
	for _, p := range row.Places {
		st.Mailboxes = append(st.Mailboxes, p.entry())
	}
	if row.Removed != 0 {
		st.Removed = time.Unix(row.Removed, 0).UTC()
	}
	return st, nil
}

func (p place) entry() MailboxEntry {
	return MailboxEntry{Mailbox: p.Mailbox, UID: p.UID, Saved: time.Unix(p.Saved, 0).UTC()}
}

// state reads an email's state row. What it returns is the transaction's until the next call.
func (tx *Tx) state(id EmailID) (*stateRow, error) {
	tx.key = key64(tx.key[:0], tx.id, kindState, uint64(id))
	value, err := tx.r.Get(tx.key)
	if err != nil {
		return nil, wrap(err, "read state of email")
	}
	return &tx.st, tx.st.decode(tx.key, value)
}

// ExtraKeywords returns the keywords of an email that have no bit in Flags: those of an entry with
// MoreKeywords.
func (tx *Tx) ExtraKeywords(id EmailID) ([]string, error) {
	if err := tx.needEmail(id); err != nil {
		return nil, err
	}
	row, err := tx.state(id)
	if err != nil {
		return nil, err
	}
	words, err := tx.Keywords()
	if err != nil {
		return nil, err
	}
	var out []string
	for _, k := range row.More {
		out = append(out, words.name(int(k)))
	}
	return out, nil
}

// Open returns a reader of the message's bytes. It is valid until the transaction ends.
func (tx *Tx) Open(e *Email) *blob.Reader { return tx.s.blobs.OpenIn(tx.r, e.Blob) }

package store

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"tram/internal/blob"
	"tram/internal/message"
)

// AppendOptions describe a message that comes in.
type AppendOptions struct {
	Mailboxes []MailboxID // at least one; each existing
	Body      *blob.Pending
	Message   *message.Message // the parse of Body
	Flags     Flags            // of SystemFlags; Deleted goes to each entry
	Keywords  []string
	Received  time.Time // zero: now
	// DedupeKey names the delivery: a second Append with the same key within DedupeTTL (0:
	// limits.Storage.Dedupe) stores nothing and returns what the first returned, with Duplicate
	// set. It may be up to 255 bytes; empty: never a duplicate.
	DedupeKey []byte
	DedupeTTL time.Duration
}

// Appended is what Append stored, or had stored before.
type Appended struct {
	Email     EmailID
	Thread    ThreadID
	Entries   []MailboxEntry // in the order of AppendOptions.Mailboxes, repetitions left out
	Duplicate bool
}

// maxMessage is the largest message a list entry can tell the size of.
const maxMessage = 1<<32 - 1

// Append stores a message. It becomes visible, with its body, when the transaction is committed.
// Errors: ErrOverQuota, ErrNotFound for a mailbox, ErrTooMany for keywords or UIDs, ErrInvalidName
// for a keyword.
func (tx *Tx) Append(o AppendOptions) (Appended, error) {
	if tx.w == nil {
		return Appended{}, ErrReadOnly
	}
	if len(o.Mailboxes) == 0 || o.Body == nil || o.Message == nil {
		return Appended{}, errors.New("append: mailbox, body and message are needed")
	}
	own := false
	if tx.as != nil {
		var err error
		if own, err = tx.appendAs(&o); err != nil {
			return Appended{}, err
		}
	}
	tx.calls++
	if done, err := tx.duplicate(o.DedupeKey); err != nil || done.Duplicate {
		return done, err
	}
	ref := o.Body.Ref()
	if ref.Size > maxMessage {
		return Appended{}, fmt.Errorf("append message of %d bytes: %w", ref.Size, ErrTooMany)
	}
	boxes, err := tx.boxes(o.Mailboxes)
	if err != nil {
		return Appended{}, err
	}
	words, err := tx.keywordSet(o.Keywords, true)
	if err != nil {
		return Appended{}, err
	}
	// Before anything is written: a transaction that asks its domain for more room runs again.
	if err := tx.charge(ref.Size, 1); err != nil {
		return Appended{}, err
	}
	received := o.Received
	if received.IsZero() {
		received = tx.clock()
	}
	id, thread, err := tx.storeEmail(ref, received, o.Message)
	if err != nil {
		return Appended{}, err
	}
	if err := o.Body.Link(tx.w, tx.owner(id)); err != nil {
		return Appended{}, err
	}
	tx.pending = append(tx.pending, o.Body)

	tx.st = stateRow{
		Thread: thread, Flags: o.Flags&emailSystemFlags | words.bits,
		More: slices.Clone(words.more), Places: tx.st.Places[:0],
	}
	e := Entry{Email: id, Size: uint32(ref.Size), Received: received.Unix()}
	done := Appended{Email: id, Thread: thread, Entries: make([]MailboxEntry, 0, len(boxes))}
	// The state row is written once, after all places are known.
	for _, m := range boxes {
		p, err := tx.place(m, e, &tx.st, o.Flags&Deleted)
		if err != nil {
			return Appended{}, err
		}
		done.Entries = append(done.Entries, p.entry())
		if own {
			if err := tx.markOwn(m, []UID{p.UID}, true); err != nil {
				return Appended{}, err
			}
		}
	}
	if err := tx.writeState(id, &tx.st); err != nil {
		return Appended{}, err
	}
	return done, tx.remember(o, done)
}

// boxes returns the mailboxes with the given identifiers, each once.
func (tx *Tx) boxes(ids []MailboxID) ([]*mailboxTx, error) {
	boxes := make([]*mailboxTx, 0, len(ids))
	for i, id := range ids {
		if slices.Contains(ids[:i], id) {
			continue
		}
		m, err := tx.mailbox(id)
		if err != nil {
			return nil, err
		}
		boxes = append(boxes, m)
	}
	return boxes, nil
}

// storeEmail writes a new email's row and puts it into a thread.
func (tx *Tx) storeEmail(ref blob.Ref, received time.Time, m *message.Message) (
	EmailID, ThreadID, error) {
	if _, err := tx.change(); err != nil {
		return 0, 0, err
	}
	id := tx.row.NextEmail
	tx.row.NextEmail++
	thread, err := tx.joinThread(id, received.Unix(), m)
	if err != nil {
		return 0, 0, err
	}
	tx.log.Emails[created] = append(tx.log.Emails[created], uint64(id))
	tx.key = key64(tx.key[:0], tx.id, kindEmail, uint64(id))
	if err := tx.set(tx.appendEmail(tx.value[:0], thread, ref, received, m)); err != nil {
		return 0, 0, err
	}
	if f := lineFormOf(m); f != (LineForm{}) {
		err = tx.noteForm(id, f)
	}
	return id, thread, err
}

// place gives an email an entry in m, with the next UID, and notes it in st, which the caller
// writes. e has Email, Size and Received.
func (tx *Tx) place(m *mailboxTx, e Entry, st *stateRow, del Flags) (place, error) {
	modseq, err := tx.change()
	if err != nil {
		return place{}, err
	}
	if m.row.UIDNext == 1<<32-1 {
		return place{}, fmt.Errorf("add to mailbox %d: its UIDs are used up: %w",
			m.row.ID, ErrTooMany)
	}
	// The UID is handed out with the commit and never again, whatever becomes of the message
	// (RFC 9051 §2.3.1.1).
	e.UID, e.ModSeq, e.Flags = m.row.UIDNext, modseq, st.entryFlags()|del
	m.row.UIDNext++
	m.row.count(&e, 1)
	m.edits = append(m.edits, edit{Entry: e})
	tx.note(m, &m.added, e.UID)

	p := place{Mailbox: m.row.ID, UID: e.UID, Saved: tx.clock().Unix()}
	st.ModSeq = modseq
	st.Removed, st.Last = 0, 0
	// By mailbox, so that equal states have equal rows.
	i, _ := slices.BinarySearchFunc(st.Places, p.Mailbox, func(p place, id MailboxID) int {
		return int(p.Mailbox) - int(id)
	})
	st.Places = slices.Insert(st.Places, i, p)
	return p, nil
}

package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"tram/internal/blob"
	"tram/internal/kv"
)

// Tx is one state of an account, and in an Update what is changed of it. It is for one goroutine
// and valid until the function it was given to returns.
type Tx struct {
	ctx context.Context
	s   *Store
	id  AccountID
	r   kv.Reader
	w   kv.Txn // nil in a View
	now time.Time

	progress *Progress // nil: nobody wants to know

	row       accountRow
	dirty     bool // row is to be written, whether or not anything else changed
	changed   bool // a ModSeq has been taken
	silent    bool // of Account.maintain
	mailboxes map[MailboxID]*mailboxTx
	words     *KeywordTable
	ahead     ahead // of a walk through the mailboxes
	log       changeRow
	pending   []*blob.Pending

	as *visitor // in whose name, if not in the owner's

	grantRefused bool  // the domain has no more to give
	wanted       grant // what the account needs beyond its grant

	calls int      // writing calls so far
	st    stateRow // of the last call of state
	scratch
}

// mailboxTx is a mailbox within a transaction.
type mailboxTx struct {
	base  mailboxRow // when the transaction began
	row   mailboxRow
	isNew bool
	gone  bool
	dirty bool
	what  byte // bits of mailboxChange.What

	list    *List // as of base with the edits that were flushed; nil: not read
	edits   []edit
	flushed int // the call that flushed last, see Tx.peer

	added, changed, removed []UID
}

var (
	// errUnprovisioned is what begin returns for an account that was never used.
	errUnprovisioned = fmt.Errorf("account was never used: %w", ErrNotFound)
	errNeedGrant     = errors.New("account needs more of its domain's quota")
)

func (a *Account) newTx(ctx context.Context, r kv.Reader, w kv.Txn) *Tx {
	tx := &Tx{ctx: ctx, s: a.s, id: a.id, r: r, w: w, progress: progressOf(ctx)}
	if b, ok := a.s.scratch.Get().(*scratch); ok {
		tx.scratch = *b
	}
	if a.as != nil {
		tx.as = &visitor{Person: *a.as}
	}
	return tx
}

// end gives the transaction's memory to the next one.
func (tx *Tx) end() {
	b := tx.scratch
	tx.scratch = scratch{}
	if cap(b.value)+cap(b.nested) <= maxScratch {
		tx.s.scratch.Put(&b)
	}
}

func (tx *Tx) begin() error {
	if tx.id == 0 {
		return fmt.Errorf("open account 0: %w", ErrNotFound)
	}
	tx.key = appendKey(tx.key[:0], tx.id, kindAccount)
	value, err := tx.r.Get(tx.key)
	if errors.Is(err, kv.ErrNotFound) {
		return errUnprovisioned
	}
	if err != nil {
		return wrap(err, "read account")
	}
	if tx.row, err = decodeAccount(tx.key, value); err != nil {
		return err
	}
	if tx.row.Removed {
		return fmt.Errorf("account %d was removed: %w", tx.id, ErrNotFound)
	}
	if tx.as != nil {
		tx.as.enter(&tx.row)
	}
	return nil
}

// provision makes an account.
func (tx *Tx) provision() error {
	tx.row = accountRow{NextMailbox: 1, NextEmail: 1, NextThread: 1}
	for _, m := range []struct {
		name string
		role Role
	}{
		{inbox, RoleInbox}, {"Drafts", RoleDrafts}, {"Sent", RoleSent},
		{"Archive", RoleArchive}, {"Junk", RoleJunk}, {"Trash", RoleTrash},
	} {
		_, err := tx.CreateMailbox(m.name, CreateOptions{Role: m.role, Subscribed: true})
		if err != nil {
			return fmt.Errorf("make account %d: %w", tx.id, err)
		}
	}
	return nil
}

// ModSeq returns the ModSeq of the state that the transaction sees. In an Update it is the one the
// transaction will have, from the first change on.
func (tx *Tx) ModSeq() ModSeq {
	if tx.changed {
		return tx.row.ModSeq + 1
	}
	return tx.row.ModSeq
}

// Usage returns what stands against the quota, and the quota. A bound of the domain is not in it.
func (tx *Tx) Usage() (Usage, Quota) { return tx.row.Usage, tx.row.Quota }

// Account returns the identifier of the account.
func (tx *Tx) Account() AccountID { return tx.id }

// change takes the transaction's ModSeq.
func (tx *Tx) change() (ModSeq, error) {
	if tx.w == nil {
		return 0, ErrReadOnly
	}
	tx.changed = true
	return tx.row.ModSeq + 1, nil
}

// clock returns the time of the transaction.
func (tx *Tx) clock() time.Time {
	if tx.now.IsZero() {
		tx.now = tx.s.clock.Now()
	}
	return tx.now
}

func (tx *Tx) loader() loader { return loader{s: tx.s, r: tx.r, id: tx.id} }

// set writes value, complete but for its checksum, under tx.key.
func (tx *Tx) set(value []byte) error {
	tx.value = seal(tx.key, value)
	return tx.w.Set(tx.key, tx.value)
}

// owner is what the account's email is to the blob store: the key space's letter, account, email.
func (tx *Tx) owner(id EmailID) []byte {
	return kv.AppendUint64(kv.AppendUint64([]byte{space}, uint64(tx.id)), uint64(id))
}

// mailbox returns a mailbox for use in this transaction.
func (tx *Tx) mailbox(id MailboxID) (*mailboxTx, error) {
	if m := tx.mailboxes[id]; m != nil {
		if m.gone {
			return nil, fmt.Errorf("mailbox %d: %w", id, ErrNotFound)
		}
		return m, nil
	}
	tx.key = key32(tx.key[:0], tx.id, kindMailbox, uint32(id))
	value, err := tx.r.Get(tx.key)
	if err != nil {
		return nil, wrap(err, fmt.Sprintf("read mailbox %d", id))
	}
	row, err := decodeMailbox(id, tx.key, value)
	if err != nil {
		return nil, err
	}
	return tx.hold(&mailboxTx{base: row, row: row}), nil
}

func (tx *Tx) hold(m *mailboxTx) *mailboxTx {
	if tx.mailboxes == nil {
		tx.mailboxes = make(map[MailboxID]*mailboxTx, 4)
	}
	tx.mailboxes[m.row.ID] = m
	return m
}

// List returns the list of a mailbox, with the \Seen of the transaction's person.
func (tx *Tx) List(id MailboxID) (*List, error) {
	m, err := tx.allowed(id, RightRead)
	if err != nil {
		return nil, err
	}
	return tx.view(m)
}

func (tx *Tx) list(m *mailboxTx) (*List, error) {
	if err := tx.needList(m); err != nil {
		return nil, err
	}
	return m.list, tx.flush(m)
}

// note records that the list of m changed at its entry uid.
func (tx *Tx) note(m *mailboxTx, list *[]UID, uid UID) {
	*list = append(*list, uid)
	m.dirty = true
	m.what |= mailboxList
	m.row.Highest = tx.row.ModSeq + 1
}

// finish writes what the transaction has in memory.
func (tx *Tx) finish() error {
	if tx.as != nil {
		if err := tx.finishOwn(); err != nil {
			return err
		}
	}
	for _, m := range tx.mailboxes {
		if err := tx.finishMailbox(m); err != nil {
			return err
		}
	}
	if tx.changed && !tx.silent {
		tx.row.ModSeq++
		if err := tx.writeLog(); err != nil {
			return err
		}
	}
	if !tx.changed && !tx.dirty {
		return nil
	}
	tx.key = appendKey(tx.key[:0], tx.id, kindAccount)
	return tx.set(tx.row.append(tx.value[:0]))
}

func (tx *Tx) finishMailbox(m *mailboxTx) error {
	if m.gone {
		tx.logMailbox(m)
		return nil
	}
	if err := tx.flush(m); err != nil {
		return err
	}
	if m.what != 0 {
		tx.logMailbox(m)
	}
	if len(m.removed) > 0 {
		uids := tidy(m.removed)
		m.row.Expunged += uint64(len(uids))
		tx.key = vanishedKey(tx.key[:0], tx.id, m.row.ID, m.row.Highest)
		if err := tx.set(appendVanished(tx.value[:0], uids)); err != nil {
			return err
		}
	}
	if !m.dirty {
		return nil
	}
	tx.key = key32(tx.key[:0], tx.id, kindMailbox, uint32(m.row.ID))
	return tx.set(m.row.append(tx.value[:0]))
}

func (tx *Tx) logMailbox(m *mailboxTx) {
	c := mailboxChange{Mailbox: m.row.ID, What: m.what}
	c.Added, c.Changed = toRanges(tidy(m.added)), toRanges(tidy(m.changed))
	c.Removed = toRanges(tidy(m.removed))
	tx.log.Mailboxes = append(tx.log.Mailboxes, c)
}

func (tx *Tx) writeLog() error {
	slices.SortFunc(tx.log.Mailboxes, func(a, b mailboxChange) int {
		return cmp.Compare(a.Mailbox, b.Mailbox)
	})
	for i := range tx.log.Emails {
		tx.log.Emails[i] = tidy(tx.log.Emails[i])
		tx.log.Threads[i] = tidy(tx.log.Threads[i])
	}
	tx.key = key64(tx.key[:0], tx.id, kindChange, uint64(tx.row.ModSeq))
	return tx.set(tx.log.append(tx.value[:0]))
}

// committed runs once the transaction is durable: only now may others hear of it.
func (tx *Tx) committed() {
	for _, p := range tx.pending {
		p.Committed()
	}
	for id, m := range tx.mailboxes {
		switch {
		case m.gone:
			tx.s.lists.drop(tx.id, id)
		case m.list != nil && m.dirty:
			tx.s.lists.put(tx.id, m.list)
		}
	}
	if tx.as != nil {
		tx.committedOwn()
	}
	if tx.changed {
		tx.s.hubs.announce(tx.id, tx.row.ModSeq)
		if tx.s.changed != nil {
			tx.s.changed(tx.id)
		}
	}
	if len(tx.log.Emails[created]) > 0 {
		tx.s.unindexed.note(tx.id)
	}
}

package store

import (
	"errors"
	"fmt"
	"slices"

	"tram/internal/blob"
)

// UIDPair is what became of a copied or moved entry.
type UIDPair struct{ From, To UID }

// Copy puts the emails of entries into another mailbox too: an email that is not there yet gets an
// entry there, and for one that is, a new email on the same body is made, so that there is one
// message more whatever happens (RFC 9051 §6.4.7). Flags, \Deleted and date are kept. The pairs are
// in the order of UIDs; UIDs that are not in the mailbox are left out. Errors: ErrNotFound,
// ErrOverQuota (for new emails), ErrDamaged: the caller gives the transaction up.
func (tx *Tx) Copy(from MailboxID, uids []UID, to MailboxID) ([]UIDPair, error) {
	if tx.as != nil {
		return tx.copyAs(from, uids, to, false)
	}
	src, dst, list, err := tx.twoForWriting(from, to)
	if err != nil {
		return nil, err
	}
	var pairs []UIDPair
	uids = tidy(slices.Clone(uids))
	for i, uid := range uids {
		tx.progress.At(i, len(uids))
		e := list.get(uid)
		if e == nil {
			continue
		}
		st, err := tx.state(e.Email)
		if err != nil {
			return nil, err
		}
		p, err := tx.copyEntry(dst, *e, st)
		if err != nil {
			return nil, fmt.Errorf("copy %d of mailbox %d: %w", uid, src.row.ID, err)
		}
		pairs = append(pairs, UIDPair{uid, p.UID})
	}
	return pairs, nil
}

func (tx *Tx) twoForWriting(from, to MailboxID) (src, dst *mailboxTx, list *List, err error) {
	if src, list, err = tx.forWriting(from); err == nil {
		dst, err = tx.mailbox(to)
	}
	return src, dst, list, err
}

func (tx *Tx) copyEntry(dst *mailboxTx, e Entry, st *stateRow) (place, error) {
	if _, there := st.in(dst.row.ID); there {
		return tx.cloneEmail(dst, e, st)
	}
	p, err := tx.place(dst, e, st, e.Flags&Deleted)
	if err != nil {
		return place{}, err
	}
	tx.log.Emails[updated] = append(tx.log.Emails[updated], uint64(e.Email))
	return p, tx.writeState(e.Email, st)
}

// cloneEmail makes a new email on the body of another, with its flags, in dst.
func (tx *Tx) cloneEmail(dst *mailboxTx, e Entry, st *stateRow) (place, error) {
	var row Email
	if err := tx.email(e.Email, &row); err != nil {
		return place{}, err
	}
	if err := tx.charge(row.Blob.Size, 1); err != nil {
		return place{}, err
	}
	id := tx.row.NextEmail
	tx.row.NextEmail++
	thread, err := tx.joinCopy(id, e, st.Thread)
	if err != nil {
		return place{}, err
	}
	if err := tx.copyEmailRow(e.Email, id, thread); err != nil {
		return place{}, err
	}
	switch err := tx.s.blobs.Link(tx.w, row.Blob, tx.owner(id)); {
	case errors.Is(err, blob.ErrGone):
		return place{}, fmt.Errorf("body of email %d: %w (%w)", e.Email, err, ErrDamaged)
	case err != nil:
		return place{}, err
	}
	tx.log.Emails[created] = append(tx.log.Emails[created], uint64(id))

	own := stateRow{Thread: thread, Flags: st.Flags, More: st.More}
	copied := Entry{Email: id, Size: e.Size, Received: e.Received}
	p, err := tx.place(dst, copied, &own, e.Flags&Deleted)
	if err != nil {
		return place{}, err
	}
	return p, tx.writeState(id, &own)
}

// joinCopy puts a copy into the thread of its original, or, when that is full, into a new one.
func (tx *Tx) joinCopy(id EmailID, e Entry, thread ThreadID) (ThreadID, error) {
	row, err := tx.thread(thread)
	switch {
	case lost(err), err == nil && len(row.Members) >= maxThread:
		thread, row = tx.row.NextThread, &threadRow{}
		tx.row.NextThread++
	case err != nil:
		return 0, err
	}
	was := row.visible()
	row.Members = append(row.Members, member{Email: id, Received: e.Received})
	tx.logThread(thread, was, was+1)
	return thread, tx.writeThread(thread, row)
}

// copyEmailRow writes the row of an email for another, which differs in the thread at most.
func (tx *Tx) copyEmailRow(from, to EmailID, thread ThreadID) error {
	key := key64(nil, tx.id, kindEmail, uint64(from))
	value, err := tx.r.Get(key)
	if err != nil {
		return wrap(err, "read email")
	}
	d, err := unseal(key, value)
	if err != nil {
		return err
	}
	switch form, err := tx.lineForm(from); {
	case errors.Is(err, ErrDamaged):
		// The copy is found to be without, as its original is.
	case err != nil:
		return err
	case form != LineForm{}:
		if err := tx.noteForm(to, form); err != nil {
			return err
		}
	}
	d.uint() // the thread, the only field that may differ
	tx.key = key64(tx.key[:0], tx.id, kindEmail, uint64(to))
	return tx.set(append(appendUint(append(tx.value[:0], version1), thread), d.b...))
}

// Move takes entries out of a mailbox and puts them into another, in one step (RFC 6851 §3.3). The
// emails stay the same emails, with flags, \Deleted and date; only where one is in the target
// already is a copy made there, as Copy does. Entries whose email is damaged stay where they are.
// The pairs are in the order of UIDs.
func (tx *Tx) Move(from MailboxID, uids []UID, to MailboxID) ([]UIDPair, error) {
	if tx.as != nil {
		return tx.copyAs(from, uids, to, true)
	}
	src, dst, list, err := tx.twoForWriting(from, to)
	if err != nil {
		return nil, err
	}
	var pairs []UIDPair
	uids = tidy(slices.Clone(uids))
	for i, uid := range uids {
		tx.progress.At(i, len(uids))
		e := list.get(uid)
		if e == nil {
			continue
		}
		st, err := tx.state(e.Email)
		if lost(err) {
			tx.s.log.Error("message cannot be moved", "account", uint64(tx.id), "err", err)
			continue
		}
		if err != nil {
			return nil, err
		}
		p, err := tx.moveEntry(src, dst, *e, st)
		if err != nil {
			return nil, fmt.Errorf("move %d of mailbox %d: %w", uid, src.row.ID, err)
		}
		pairs = append(pairs, UIDPair{uid, p.UID})
	}
	return pairs, tx.carryOwn(src, dst, pairs)
}

func (tx *Tx) moveEntry(src, dst *mailboxTx, e Entry, st *stateRow) (p place, err error) {
	// A client counts one message more there and one less here, so the one that is there already
	// must not swallow this one. A move onto itself gives a new UID.
	if _, there := st.in(dst.row.ID); there && src != dst {
		if p, err = tx.cloneEmail(dst, e, st); err == nil {
			err = tx.unplace(src, e, st)
		}
	} else if err = tx.unplace(src, e, st); err == nil {
		p, err = tx.place(dst, e, st, e.Flags&Deleted)
	}
	if err != nil {
		return place{}, err
	}
	tx.log.Emails[updated] = append(tx.log.Emails[updated], uint64(e.Email))
	return p, tx.writeState(e.Email, st)
}

// SetMailboxes makes an email be in exactly the given mailboxes (RFC 8621 §4.6 mailboxIds). None
// is as if it were expunged from all. A recoverable email is ErrNotFound: see Recover.
func (tx *Tx) SetMailboxes(id EmailID, to []MailboxID) error {
	if tx.w == nil {
		return ErrReadOnly
	}
	if err := tx.ownerOnly("mailboxes of an email"); err != nil {
		return err
	}
	tx.calls++
	st, err := tx.state(id)
	if err != nil {
		return err
	}
	if len(st.Places) == 0 {
		return fmt.Errorf("set mailboxes of email %d: %w", id, ErrNotFound)
	}
	boxes, err := tx.boxes(to)
	if err != nil {
		return err
	}
	entry, err := tx.anyEntry(id, st)
	if err != nil {
		return err
	}
	for _, p := range slices.Clone(st.Places) {
		if slices.Contains(to, p.Mailbox) {
			continue
		}
		m, err := tx.peer(p.Mailbox)
		if err != nil {
			return err
		}
		if e := m.list.get(p.UID); e != nil {
			err = tx.unplace(m, *e, st)
		}
		if err != nil {
			return err
		}
	}
	for _, m := range boxes {
		if _, there := st.in(m.row.ID); there {
			continue
		}
		if _, err := tx.place(m, entry, st, 0); err != nil {
			return err
		}
	}
	return tx.settle(entry, st)
}

// anyEntry returns one of an email's entries.
func (tx *Tx) anyEntry(id EmailID, st *stateRow) (Entry, error) {
	for _, p := range st.Places {
		m, err := tx.peer(p.Mailbox)
		if err != nil {
			return Entry{}, err
		}
		if e := m.list.get(p.UID); e != nil {
			return *e, nil
		}
	}
	return Entry{}, fmt.Errorf("email %d has no entry where it should: %w", id, ErrDamaged)
}

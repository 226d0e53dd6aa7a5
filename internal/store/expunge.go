package store

import (
	"fmt"
	"slices"
)

// Expunge removes entries from a mailbox, whether or not they have \Deleted, which is for the door
// to choose. It returns the UIDs that were there, in ascending order. An email that leaves its last
// mailbox counts no longer against the quota, and can be recovered for limits.Storage.Recoverable.
func (tx *Tx) Expunge(id MailboxID, uids []UID) ([]UID, error) {
	if err := tx.need(id, RightExpunge); err != nil {
		return nil, err
	}
	m, list, err := tx.forWriting(id)
	if err != nil {
		return nil, err
	}
	var gone []UID
	uids = tidy(slices.Clone(uids))
	for i, uid := range uids {
		tx.progress.At(i, len(uids))
		e := list.get(uid)
		if e == nil {
			continue
		}
		if err := tx.expunge(m, *e); err != nil {
			return nil, fmt.Errorf("expunge %d of mailbox %d: %w", uid, id, err)
		}
		gone = append(gone, uid)
	}
	return gone, nil
}

func (tx *Tx) expunge(m *mailboxTx, e Entry) error {
	st, err := tx.state(e.Email)
	if lost(err) {
		// The entry goes; of the email nothing more is known than that.
		tx.s.log.Error("expunging a damaged email", "account", uint64(tx.id), "err", err)
		tx.release(int64(e.Size), 1)
		tx.log.Emails[destroyed] = append(tx.log.Emails[destroyed], uint64(e.Email))
		return tx.unplace(m, e, &stateRow{})
	}
	if err != nil {
		return err
	}
	if err := tx.unplace(m, e, st); err != nil {
		return err
	}
	return tx.settle(e, st)
}

// unplace takes an entry out of m, and its place out of st, which the caller writes.
func (tx *Tx) unplace(m *mailboxTx, e Entry, st *stateRow) error {
	modseq, err := tx.change()
	if err != nil {
		return err
	}
	m.row.count(&e, -1)
	m.edits = append(m.edits, edit{Entry: e, gone: true})
	tx.note(m, &m.removed, e.UID)
	st.ModSeq = modseq
	st.Places = slices.DeleteFunc(st.Places, func(p place) bool { return p.Mailbox == m.row.ID })
	st.Last = m.row.ID
	return nil
}

// settle writes the state of an email whose places have changed. Without a place it goes to the
// recoverable area.
func (tx *Tx) settle(e Entry, st *stateRow) error {
	if len(st.Places) > 0 {
		st.Last = 0
		tx.log.Emails[updated] = append(tx.log.Emails[updated], uint64(e.Email))
		return tx.writeState(e.Email, st)
	}
	st.Removed = max(1, tx.clock().Unix())
	thread := st.Thread
	tx.log.Emails[destroyed] = append(tx.log.Emails[destroyed], uint64(e.Email))
	if err := tx.writeState(e.Email, st); err != nil {
		return err
	}
	if err := tx.writeRecoverable(e, st); err != nil {
		return err
	}
	if err := tx.hideInThread(thread, e.Email, true); err != nil {
		return err
	}
	tx.release(int64(e.Size), 1)
	tx.row.Usage.RecoverableBytes += int64(e.Size)
	tx.row.Usage.RecoverableMessages++
	return tx.boundRecoverable()
}

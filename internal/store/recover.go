package store

import (
	"fmt"
	"slices"
	"time"

	"tram/internal/kv"
)

// Recoverable is an email that is in no mailbox any more and will be purged.
type Recoverable struct {
	Email   EmailID
	Size    int64
	Removed time.Time
	Mailbox MailboxID // the last it was in; it may be gone
}

// The recoverable row of an email stands under the time of its removal, so that the oldest are
// found first:
//
//	mailbox size
func (tx *Tx) writeRecoverable(e Entry, st *stateRow) error {
	tx.key = recoverKey(tx.key[:0], tx.id, st.Removed, e.Email)
	return tx.set(appendRecoverable(tx.value[:0], st.Last, int64(e.Size)))
}

func appendRecoverable(dst []byte, last MailboxID, size int64) []byte {
	return appendUint(appendUint(append(dst, version1), last), uint64(size))
}

func decodeRecoverable(key, value []byte) (Recoverable, error) {
	at, rest, err := kv.TakeUint64(key[min(10, len(key)):])
	if err != nil || len(rest) != 8 {
		return Recoverable{}, damaged(key, "key of the wrong length")
	}
	out := Recoverable{Email: emailOfKey(key), Removed: time.Unix(int64(at), 0).UTC()}
	d, err := unseal(key, value)
	if err != nil {
		return out, err
	}
	out.Mailbox, out.Size = MailboxID(d.uint32()), int64(d.uint())
	return out, d.done(key)
}

// Recoverable returns the emails that can be recovered, the longest gone first.
func (tx *Tx) Recoverable() ([]Recoverable, error) {
	if err := tx.ownerOnly("removed emails"); err != nil {
		return nil, err
	}
	var out []Recoverable
	prefix := appendKey(nil, tx.id, kindRecover)
	err := tx.r.Scan(kv.Prefix(prefix), func(key, value []byte) error {
		r, err := decodeRecoverable(key, value)
		if err != nil {
			tx.s.log.Error("recoverable email cannot be read", "err", err)
		}
		if r.Email != 0 {
			out = append(out, r)
		}
		return nil
	})
	return out, wrap(err, "read recoverable emails")
}

// recoverable returns an email's state if it is recoverable, ErrNotFound if it is not.
func (tx *Tx) recoverable(id EmailID) (*stateRow, error) {
	if tx.w == nil {
		return nil, ErrReadOnly
	}
	if err := tx.ownerOnly("removed emails"); err != nil {
		return nil, err
	}
	st, err := tx.state(id)
	if err != nil {
		return nil, err
	}
	if len(st.Places) > 0 || st.Removed == 0 {
		return nil, fmt.Errorf("email %d is not among the removed: %w", id, ErrNotFound)
	}
	return st, nil
}

// Recover puts a removed email into a mailbox, with its keywords. Errors: ErrNotFound,
// ErrOverQuota.
func (tx *Tx) Recover(id EmailID, to MailboxID) (UID, error) {
	st, err := tx.recoverable(id)
	if err != nil {
		return 0, err
	}
	tx.calls++
	m, err := tx.mailbox(to)
	if err != nil {
		return 0, err
	}
	var row Email
	if err := tx.email(id, &row); err != nil {
		return 0, err
	}
	if err := tx.charge(row.Blob.Size, 1); err != nil {
		return 0, err
	}
	if err := tx.w.Delete(recoverKey(nil, tx.id, st.Removed, id)); err != nil {
		return 0, err
	}
	e := Entry{Email: id, Size: uint32(row.Blob.Size), Received: row.Received.Unix()}
	p, err := tx.place(m, e, st, 0)
	if err != nil {
		return 0, err
	}
	tx.log.Emails = comesBack(tx.log.Emails, uint64(id))
	tx.lessRecoverable(row.Blob.Size)
	thread := st.Thread
	if err := tx.writeState(id, st); err != nil {
		return 0, err
	}
	return p.UID, tx.hideInThread(thread, id, false)
}

// comesBack notes that what had been destroyed is there again: created, or when it was destroyed in
// this transaction, changed.
func comesBack(log [3][]uint64, id uint64) [3][]uint64 {
	kind := created
	if i := slices.Index(log[destroyed], id); i >= 0 {
		log[destroyed] = slices.Delete(log[destroyed], i, i+1)
		kind = updated
	}
	log[kind] = append(log[kind], id)
	return log
}

// Purge removes a recoverable email for ever.
func (tx *Tx) Purge(id EmailID) error {
	st, err := tx.recoverable(id)
	if err != nil {
		return err
	}
	tx.dirty = true
	return tx.purge(id, st.Removed, st.Thread)
}

func (tx *Tx) purge(id EmailID, removed int64, thread ThreadID) error {
	var row Email
	switch err := tx.email(id, &row); {
	case err == nil:
		if err := tx.s.blobs.Unlink(tx.w, row.Blob, tx.owner(id)); err != nil {
			return err
		}
		tx.lessRecoverable(row.Blob.Size)
	case lost(err):
		// The body's reference cannot be told without the row: Check finds it.
		tx.s.log.Error("purging a damaged email", "account", uint64(tx.id), "err", err)
		tx.lessRecoverable(0)
	default:
		return err
	}
	if err := tx.leaveThread(thread, id); err != nil {
		return err
	}
	for _, key := range [][]byte{
		recoverKey(nil, tx.id, removed, id),
		key64(nil, tx.id, kindState, uint64(id)),
		key64(nil, tx.id, kindEmail, uint64(id)), lineFormKey(nil, tx.id, id),
	} {
		if err := tx.w.Delete(key); err != nil {
			return err
		}
	}
	tx.s.rows.Delete(rowID{tx.id, id})
	tx.dirty = true
	return nil
}

func (tx *Tx) lessRecoverable(size int64) {
	u := &tx.row.Usage
	u.RecoverableBytes = max(0, u.RecoverableBytes-size)
	u.RecoverableMessages = max(0, u.RecoverableMessages-1)
}

// due reports whether the next of the recoverable emails, from the oldest on, is to be purged: it
// was removed before a given time, or what is left exceeds the bound.
type due struct {
	before time.Time
	left   int64 // bytes in the recoverable area when what was due before is gone
	bound  int64 // 0: none
}

func (tx *Tx) due(before time.Time) due {
	return due{before, tx.row.Usage.RecoverableBytes, tx.s.limits.RecoverableBytes}
}

func (d *due) next(r Recoverable) bool {
	if !r.Removed.Before(d.before) && (d.bound <= 0 || d.left <= d.bound) {
		return false
	}
	d.left -= r.Size
	return true
}

// purgeOldest removes up to n recoverable emails that are due, and returns how many.
func (tx *Tx) purgeOldest(n int, d due) (int, error) {
	var list []Recoverable
	r := kv.Prefix(appendKey(nil, tx.id, kindRecover))
	r.Limit = n
	err := tx.r.Scan(r, func(key, value []byte) error {
		rec, err := decodeRecoverable(key, value)
		if err != nil {
			tx.s.log.Error("recoverable email cannot be read", "err", err)
		}
		if rec.Email == 0 || !d.next(rec) {
			return kv.Stop
		}
		list = append(list, rec)
		return nil
	})
	if err != nil {
		return 0, wrap(err, "read recoverable emails")
	}
	for _, rec := range list {
		st, err := tx.state(rec.Email)
		thread := ThreadID(0)
		switch {
		case err == nil && len(st.Places) > 0:
			// The row is left over: the email lives.
			key := recoverKey(nil, tx.id, rec.Removed.Unix(), rec.Email)
			if err := tx.w.Delete(key); err != nil {
				return 0, err
			}
			continue
		case err == nil:
			thread = st.Thread
		case !lost(err):
			return 0, err
		}
		if err := tx.purge(rec.Email, rec.Removed.Unix(), thread); err != nil {
			return 0, err
		}
	}
	return len(list), nil
}

// boundRecoverable keeps the recoverable area to limits.Storage.RecoverableBytes, so that adding
// and removing mail cannot fill the disk past every quota. Two go for one that comes.
func (tx *Tx) boundRecoverable() error {
	d := tx.due(time.Time{})
	if d.bound <= 0 || d.left <= d.bound {
		return nil
	}
	_, err := tx.purgeOldest(2, d)
	return err
}

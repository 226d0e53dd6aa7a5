package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	"tram/internal/blob"
	"tram/internal/message"
)

// stray is a message on its way to another account.
type stray struct {
	uid      UID
	email    EmailID
	flags    Flags // those with a bit in both accounts: the system's
	keywords []string
}

// CopyAcross is Tx.Copy between mailboxes of two accounts, or of one for two handles, with the rights of
// each: new emails on the same bodies, with flags, keywords and date as far as the rights to the target
// go. It happens whole or not at all. Errors: ErrNotFound, also for a message that was purged meanwhile,
// ErrOverQuota of the target, ErrNoPermission, ErrTooMany.
func (s *Store) CopyAcross(ctx context.Context, from *Account, src MailboxID, uids []UID,
	to *Account, dst MailboxID) ([]UIDPair, error) {
	var all []stray
	err := from.View(ctx, func(tx *Tx) (err error) {
		all, err = tx.strays(src, uids)
		return err
	})
	if err != nil {
		return nil, err
	}
	var pairs []UIDPair
	err = to.Update(ctx, func(tx *Tx) error {
		pairs = pairs[:0]
		for i := range all {
			tx.progress.At(i, len(all))
			uid, err := tx.takeIn(from.id, &all[i], dst)
			if err != nil {
				return fmt.Errorf("copy %d of mailbox %d of account %d: %w", all[i].uid, src, from.id, err)
			}
			pairs = append(pairs, UIDPair{all[i].uid, uid})
		}
		return tx.need(dst, RightInsert) // also where there is nothing to copy
	})
	return pairs, err
}

// strays returns what another account is to know of messages.
func (tx *Tx) strays(src MailboxID, uids []UID) ([]stray, error) {
	list, err := tx.List(src)
	if err != nil {
		return nil, err
	}
	words, err := tx.Keywords()
	if err != nil {
		return nil, err
	}
	var all []stray
	for _, uid := range tidy(slices.Clone(uids)) {
		i, ok := list.Find(uid)
		if !ok {
			continue
		}
		e := list.At(i)
		st := stray{uid: uid, email: e.Email, flags: e.Flags & SystemFlags}
		st.keywords = words.AppendNames(nil, e.Flags)
		if e.Flags&MoreKeywords != 0 {
			more, err := tx.ExtraKeywords(e.Email)
			if err != nil {
				return nil, err
			}
			st.keywords = append(st.keywords, more...)
		}
		all = append(all, st)
	}
	return all, nil
}

// takeIn makes an email of another account's, whose row never changes: that it lies in another scope does
// not matter.
func (tx *Tx) takeIn(from AccountID, st *stray, dst MailboxID) (UID, error) {
	var row Email
	key := key64(nil, from, kindEmail, uint64(st.email))
	value, err := tx.r.Get(key)
	if err != nil {
		return 0, wrap(err, "read email")
	}
	value = bytes.Clone(value) // it outlives the next write
	if err := row.decode(key, value); err != nil {
		return 0, err
	}
	form, err := tx.lineFormOf(from, st.email)
	if err != nil {
		return 0, err
	}
	o := AppendOptions{Mailboxes: []MailboxID{dst}, Flags: st.flags, Keywords: st.keywords}
	own := false
	if tx.as != nil {
		if own, err = tx.appendAs(&o); err != nil {
			return 0, err
		}
	}
	tx.calls++
	m, err := tx.mailbox(dst)
	if err != nil {
		return 0, err
	}
	words, err := tx.keywordSet(o.Keywords, true)
	if err != nil {
		return 0, err
	}
	if err := tx.charge(row.Blob.Size, 1); err != nil {
		return 0, err
	}
	id, thread, err := tx.storeCopy(&row, key, value, form)
	if err != nil {
		return 0, err
	}
	state := stateRow{
		Thread: thread, Flags: o.Flags&emailSystemFlags | words.bits, More: slices.Clone(words.more),
	}
	e := Entry{Email: id, Size: uint32(row.Blob.Size), Received: row.Received.Unix()}
	p, err := tx.place(m, e, &state, o.Flags&Deleted)
	if err != nil {
		return 0, err
	}
	if own {
		if err := tx.markOwn(m, []UID{p.UID}, true); err != nil {
			return 0, err
		}
	}
	return p.UID, tx.writeState(id, &state)
}

// lineFormOf is lineForm for an email of any account.
func (tx *Tx) lineFormOf(of AccountID, id EmailID) (form LineForm, err error) {
	other := Tx{r: tx.r, id: of}
	form, err = other.lineForm(id)
	if errors.Is(err, ErrDamaged) {
		return LineForm{}, nil // a check finds it to be without, as its original is
	}
	return form, err
}

// storeCopy writes the rows of a new email with what the row of another says, and links its body.
func (tx *Tx) storeCopy(row *Email, key, value []byte, form LineForm) (EmailID, ThreadID, error) {
	if _, err := tx.change(); err != nil {
		return 0, 0, err
	}
	id := tx.row.NextEmail
	tx.row.NextEmail++
	thread, err := tx.joinThread(id, row.Received.Unix(), &message.Message{
		MessageID: row.MessageID(), InReplyTo: row.InReplyTo(), References: row.References(),
		BaseSubject: row.BaseSubject(),
	})
	if err != nil {
		return 0, 0, err
	}
	d, err := unseal(key, value)
	if err != nil {
		return 0, 0, err
	}
	d.uint() // the thread, the only field that differs
	tx.key = key64(tx.key[:0], tx.id, kindEmail, uint64(id))
	if err := tx.set(append(appendUint(append(tx.value[:0], version1), thread), d.b...)); err != nil {
		return 0, 0, err
	}
	if form != (LineForm{}) {
		if err := tx.noteForm(id, form); err != nil {
			return 0, 0, err
		}
	}
	switch err := tx.s.blobs.Link(tx.w, row.Blob, tx.owner(id)); {
	case errors.Is(err, blob.ErrGone):
		return 0, 0, fmt.Errorf("body: %w (%w)", err, ErrNotFound)
	case err != nil:
		return 0, 0, err
	}
	tx.log.Emails[created] = append(tx.log.Emails[created], uint64(id))
	return id, thread, nil
}

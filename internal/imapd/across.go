package imapd

import (
	"errors"

	"tram/internal/store"
)

// COPY, MOVE and REPLACE from one account into another. No transaction is of two accounts: what is new
// is durable in its place before anything goes from the old one. If the server stops in between, or
// the right to remove was just taken away, messages are in both places and nothing is lost.

// acrossTries is how often a transfer is begun anew because others removed messages meanwhile.
const acrossTries = 3

// transferAcross is runTransfer into another account.
func (s *session) transferAcross(uids []store.UID, at place, move bool) (t transferred, err error) {
	var to store.MailboxID
	err = at.view(s.ctx, func(tx *store.Tx) (err error) {
		to, t.uidValidity, err = tx.FindMailbox(at.name)
		return tryCreate(err)
	})
	if err != nil {
		return t, err
	}
	for try := 1; ; try++ {
		if uids, err = s.still(uids); err != nil {
			return t, err
		}
		if t.pairs, err = s.copyAcross(uids, at.account, to); err == nil {
			break
		}
		if !errors.Is(err, store.ErrNotFound) || try == acrossTries {
			return t, err
		}
	}
	if move && len(t.pairs) > 0 {
		done := make([]store.UID, len(t.pairs))
		for i, p := range t.pairs {
			done[i] = p.From
		}
		t.news, err = s.remove(done)
		return t, err
	}
	err = s.viewSelected(func(tx *store.Tx) error {
		t.news, err = s.learn(tx)
		return err
	})
	return t, err
}

// still returns those of some messages that are there; a command by message numbers is for all of them
// or none.
func (s *session) still(uids []store.UID) (there []store.UID, err error) {
	err = s.viewSelected(func(tx *store.Tx) error {
		there = there[:0]
		list, err := tx.List(s.sel.id)
		if errors.Is(err, store.ErrNotFound) {
			return errGone
		}
		if err != nil {
			return err
		}
		for _, uid := range uids {
			if _, ok := list.Find(uid); ok {
				there = append(there, uid)
			}
		}
		if !s.uid && len(there) < len(uids) {
			return errSomeGone
		}
		return nil
	})
	return there, err
}

// copyAcross copies messages into a mailbox of another account, all or none.
func (s *session) copyAcross(uids []store.UID, a *account, to store.MailboxID) ([]store.UIDPair, error) {
	if len(uids) == 0 {
		return nil, nil
	}
	ctx, stop := s.working(s.ctx)
	defer stop()
	return s.srv.o.Store.CopyAcross(ctx, s.sel.account.Account, s.sel.id, uids, a.Account, to)
}

// remove removes messages of the selected mailbox for good, and returns the news with it.
func (s *session) remove(uids []store.UID) (n *news, err error) {
	err = s.freeingSelected(func(tx *store.Tx) error {
		if _, err := tx.Expunge(s.sel.id, uids); err != nil {
			return err
		}
		n, err = s.learn(tx)
		return err
	})
	return n, err
}

// replaceAcross is commitReplace for a new message that goes into another account.
func (a *appending) replaceAcross(old store.UID) error {
	s := a.s
	if there, err := s.still([]store.UID{old}); err != nil || len(there) == 0 {
		if err == nil || errors.Is(err, errSomeGone) {
			return s.someGone()
		}
		return s.gone(err)
	}
	var code string
	err := s.updateIn(a.to.account, func(tx *store.Tx) (err error) {
		code, err = a.store(tx)
		return err
	})
	if err != nil {
		return err
	}
	s.untagged("OK [%s] Replacement message ready", code)
	n, err := s.remove([]store.UID{old})
	if err != nil {
		return s.gone(err)
	}
	return s.tell(n, mayExpunge, nil)
}

// mayInsert returns an error where a message may not be put into another's mailbox, before its bytes
// are asked for.
func (a *account) mayInsert(tx *store.Tx, id store.MailboxID) error {
	if a.prefix == "" {
		return nil
	}
	rights, err := tx.Rights(id)
	if err != nil {
		return err
	}
	return needs(rights, store.RightInsert)
}

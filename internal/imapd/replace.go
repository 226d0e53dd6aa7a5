package imapd

import (
	"errors"

	"tram/internal/imap"
	"tram/internal/store"
)

// replace is REPLACE and UID REPLACE, RFC 8508: the new message comes and the old one goes in one
// transaction, which is on disk before anything is said. The old one is recoverable like any other
// that was removed, and counts no more when room for the new one is looked for.
func (s *session) replace() error {
	s.dec.SP()
	set := s.dec.NumSet()
	if set.Saved || len(set.Ranges) != 1 || set.Ranges[0].Start != set.Ranges[0].Stop {
		s.dec.Bad("REPLACE is for one message")
	}
	s.dec.SP()
	name := s.dec.Mailbox()
	if err := s.dec.Err(); err != nil {
		return err
	}
	if s.sel.readOnly {
		return &no{"CANNOT", "Mailbox is open read-only"}
	}
	if err := s.sel.may(movingRights); err != nil { // RFC 8508 §4.1
		return err
	}
	old, err := s.replaced(set)
	if err != nil {
		return err
	}
	to, err := s.place(name)
	if err != nil {
		return tryCreate(err)
	}
	a := &appending{s: s, to: to, one: true}
	if s.sees(to.account) {
		a.frees = old
	}
	defer a.discard()
	if err := a.receive(); err != nil {
		return err
	}
	return a.commitReplace(old.UID)
}

// replaced finds the message to be replaced, before its successor is asked for.
func (s *session) replaced(set imap.NumSet) (*store.Entry, error) {
	nums, err := s.resolve(set)
	if err != nil {
		return nil, err
	}
	spans, _ := s.sel.spans(nums)
	if len(spans) != 1 || spans[0].to != spans[0].from+1 {
		return nil, s.someGone()
	}
	e := s.sel.list.At(spans[0].from)
	return &e, nil
}

// commitReplace makes the exchange. APPENDUID comes in an untagged OK, before the client hears that
// the old message is gone (RFC 8508 §4.3).
func (a *appending) commitReplace(old store.UID) error {
	s := a.s
	if !s.sees(a.to.account) {
		return a.replaceAcross(old)
	}
	var code string
	var n *news
	err := s.updateSelected(func(tx *store.Tx) error {
		// The old one first: its room is the new one's.
		gone, err := tx.Expunge(s.sel.id, []store.UID{old})
		if errors.Is(err, store.ErrNotFound) {
			return errGone
		}
		if err != nil {
			return err
		}
		if len(gone) == 0 {
			return errSomeGone
		}
		if code, err = a.store(tx); err != nil {
			return err
		}
		n, err = s.learn(tx)
		return err
	})
	if errors.Is(err, errSomeGone) {
		return s.someGone()
	}
	if err != nil {
		return s.gone(err)
	}
	s.untagged("OK [%s] Replacement message ready", code)
	return s.tell(n, mayExpunge, nil)
}

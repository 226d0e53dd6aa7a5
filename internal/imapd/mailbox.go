package imapd

import (
	"errors"
	"strings"

	"tram/internal/store"
)

// create is CREATE, RFC 9051 §6.3.4, with USE of RFC 6154 §3.
func (s *session) create() error {
	s.dec.SP()
	name := s.dec.Mailbox()
	var uses []string
	if s.dec.TrySP() {
		s.dec.List(func() {
			if s.dec.Label() != "USE" || uses != nil {
				s.dec.Bad("Unknown CREATE parameter")
			}
			s.dec.SP()
			uses = s.dec.Flags()
		})
	}
	if err := s.args(); err != nil {
		return err
	}
	role, err := roleOf(uses)
	if err != nil {
		return err
	}
	at, err := s.newPlace(name)
	if err != nil {
		return err
	}
	var m *store.Mailbox
	err = s.updateIn(at.account, func(tx *store.Tx) (err error) {
		if role != store.NoRole {
			if taken, err := tx.MailboxByRole(role); err == nil && taken != nil {
				return &no{"USEATTR", "Another mailbox has this special use"}
			}
		}
		m, err = tx.CreateMailbox(at.name, store.CreateOptions{Role: role})
		return at.refusal(err)
	})
	if err != nil {
		return err
	}
	s.code = string(append(at.account.appendID([]byte("MAILBOXID ("), mailboxPrefix, uint64(m.ID)), ')'))
	return nil
}

// newPlace is place for a mailbox that is to be made. Where there is nobody whose mailboxes one may
// know of the answer is the same as where one may make none.
func (s *session) newPlace(name string) (place, error) {
	at, err := s.place(name)
	switch {
	case isAny(err, store.ErrNotFound):
		return at, store.ErrNoPermission
	case err == nil && at.account == s.account && reserved(name):
		return at, s.takenName(name)
	}
	return at, err
}

// refusal is an error of making a mailbox. In another's account it is not told apart whether the one
// above it is unknown, or does not let one make mailboxes.
func (p place) refusal(err error) error {
	if p.account.prefix != "" && isAny(err, store.ErrNotFound) {
		return store.ErrNoPermission
	}
	return err
}

// takenName refuses a name that is a namespace's, unless there is such a mailbox from before: then the
// store answers.
func (s *session) takenName(name string) error {
	return s.view(func(tx *store.Tx) error {
		if m, err := find(tx, name); err != nil || m != nil {
			return err
		}
		return &no{"CANNOT", "This name is for mailboxes that are shared"}
	})
}

// roleOf finds the role of a special use; a mailbox has one at most.
func roleOf(uses []string) (store.Role, error) {
	role := store.NoRole
	for _, use := range uses {
		found := store.NoRole
		for r, attribute := range specialUses {
			if strings.EqualFold(attribute, use) {
				found = r
			}
		}
		if found == store.NoRole || role != store.NoRole {
			return role, &no{"USEATTR", "This special use is not supported"} // RFC 6154 §3
		}
		role = found
	}
	return role, nil
}

// delete is DELETE, RFC 9051 §6.3.5.
func (s *session) delete() error {
	s.dec.SP()
	name := s.dec.Mailbox()
	if err := s.args(); err != nil {
		return err
	}
	at, err := s.place(name)
	if err != nil {
		return err
	}
	return s.freeingIn(at.account, func(tx *store.Tx) error {
		m, err := tx.MailboxByName(at.name)
		if err != nil {
			return err
		}
		return tx.DeleteMailbox(m.ID)
	})
}

// rename is RENAME, RFC 9051 §6.3.6.
func (s *session) rename() error {
	s.dec.SP()
	from := s.dec.Mailbox()
	s.dec.SP()
	to := s.dec.Mailbox()
	if err := s.args(); err != nil {
		return err
	}
	old, err := s.place(from)
	if err != nil {
		return err
	}
	now, err := s.newPlace(to)
	if err != nil {
		return err
	}
	return s.updateIn(old.account, func(tx *store.Tx) error {
		m, err := tx.MailboxByName(old.name)
		if err != nil {
			return err
		}
		if now.account != old.account {
			return &no{"CANNOT", "A mailbox cannot be moved to another owner"}
		}
		return now.refusal(tx.RenameMailbox(m.ID, now.name))
	})
}

// subscribe is SUBSCRIBE, RFC 9051 §6.3.7. The mailbox need not exist: clients put their
// subscriptions back before they make the mailboxes.
func (s *session) subscribe() error { return s.setSubscribed(true) }

// unsubscribe is UNSUBSCRIBE, RFC 9051 §6.3.8.
func (s *session) unsubscribe() error { return s.setSubscribed(false) }

// setSubscribed is both commands: the store keeps names, not mailboxes.
func (s *session) setSubscribed(on bool) error {
	s.dec.SP()
	name := s.dec.Mailbox()
	if err := s.args(); err != nil {
		return err
	}
	return s.update(func(tx *store.Tx) error { return subscribed(tx.Subscribe(name, on)) })
}

// subscribed says of a limit which one it is.
func subscribed(err error) error {
	if errors.Is(err, store.ErrTooMany) {
		return &no{"LIMIT", "Too many subscriptions, remove some of mailboxes that are no more"}
	}
	return err
}

// isAny reports whether err is one of targets.
func isAny(err error, targets ...error) bool {
	for _, t := range targets {
		if errors.Is(err, t) {
			return true
		}
	}
	return false
}

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
	var m *store.Mailbox
	err = s.update(func(tx *store.Tx) (err error) {
		if role != store.NoRole {
			if taken, err := tx.MailboxByRole(role); err == nil && taken != nil {
				return &no{"USEATTR", "Another mailbox has this special use"}
			}
		}
		m, err = tx.CreateMailbox(name, store.CreateOptions{Role: role})
		return err
	})
	if err != nil {
		return err
	}
	s.code = string(append(appendID([]byte("MAILBOXID ("), mailboxPrefix, uint64(m.ID)), ')'))
	return nil
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

// byName runs fn with the mailbox of a name, in a transaction.
func (s *session) byName(name string, fn func(tx *store.Tx, m *store.Mailbox) error) error {
	return s.update(func(tx *store.Tx) error {
		m, err := tx.MailboxByName(name)
		if err != nil {
			return err
		}
		return fn(tx, m)
	})
}

// delete is DELETE, RFC 9051 §6.3.5.
func (s *session) delete() error {
	s.dec.SP()
	name := s.dec.Mailbox()
	if err := s.args(); err != nil {
		return err
	}
	return s.freeing(func(tx *store.Tx) error {
		m, err := tx.MailboxByName(name)
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
	return s.byName(from, func(tx *store.Tx, m *store.Mailbox) error {
		return tx.RenameMailbox(m.ID, to)
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
	return s.update(func(tx *store.Tx) error { return tx.Subscribe(name, on) })
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

package imapd

import (
	"strings"

	"tram/internal/directory"
	"tram/internal/imap"
	"tram/internal/smtp"
	"tram/internal/store"
)

// Access control lists, RFC 4314. Who has which rights is the store's to know and to keep to; here is
// what a client says and hears of it. An identifier is the address of an account of the owner's
// domain, or "anyone", which is all of them. There are no groups and no negative rights. A mailbox of
// which one may not know is answered like one that does not exist, before anything else is looked at
// (RFC 4314 §6).

// anyone is the identifier of RFC 4314 §2.
const anyone = "anyone"

// myRightsNeed are the rights one of which MYRIGHTS takes (RFC 4314 §4).
const myRightsNeed = store.RightLookup | store.RightRead | store.RightInsert | store.RightCreate |
	store.RightDelete | store.RightAdmin

// setACL is SETACL, RFC 4314 §3.1.
func (s *session) setACL() error {
	s.dec.SP()
	name := s.dec.Mailbox()
	s.dec.SP()
	id, _ := s.dec.Identifier()
	s.dec.SP()
	change := s.dec.RightsChange()
	rights, err := store.ParseRights(change.Rights)
	if err != nil {
		s.dec.Bad("This right is not supported")
	}
	if err := s.args(); err != nil {
		return err
	}
	modes := map[byte]store.ACLMode{0: store.SetRights, '+': store.AddRights, '-': store.RemoveRights}
	return s.changeACL(name, id, store.ACLChange{Mode: modes[change.Mode], Rights: rights})
}

// deleteACL is DELETEACL, RFC 4314 §3.2.
func (s *session) deleteACL() error {
	s.dec.SP()
	name := s.dec.Mailbox()
	s.dec.SP()
	id, _ := s.dec.Identifier()
	if err := s.args(); err != nil {
		return err
	}
	return s.changeACL(name, id, store.ACLChange{Mode: store.SetRights})
}

// changeACL changes an entry of a mailbox's list.
func (s *session) changeACL(name, id string, change store.ACLChange) error {
	at, m, err := s.administered(name)
	if err != nil {
		return err
	}
	who, err := s.identified(at.account, id)
	if err != nil {
		return err
	}
	if who.owner {
		return &no{"CANNOT", "The owner always has all rights"}
	}
	change.Who = who.id
	return at.account.SetACL(s.ctx, s.domain, m.ID, change)
}

// administered finds a mailbox whose list the session's person may see and change: the "a" right.
func (s *session) administered(name string) (at place, m *store.Mailbox, err error) {
	if at, err = s.place(name); err != nil {
		return at, nil, err
	}
	err = at.view(s.ctx, func(tx *store.Tx) (err error) {
		if m, err = tx.MailboxByName(at.name); err != nil {
			return err
		}
		return needs(m.Rights, store.RightAdmin)
	})
	return at, m, err
}

// identity is what an identifier stands for.
type identity struct {
	id    store.AccountID // store.Anyone
	owner bool            // it is the mailbox's owner
	all   bool            // who has all rights, whatever the list says
}

// identified finds out who an identifier is.
func (s *session) identified(a *account, id string) (identity, error) {
	unknown := &no{"CANNOT", "Identifiers are addresses of this domain, and anyone"}
	if strings.EqualFold(id, anyone) {
		return identity{id: store.Anyone}, nil
	}
	if strings.HasPrefix(id, "-") { // RFC 4314 §2
		return identity{}, &no{"CANNOT", "Negative rights are not supported"}
	}
	address, err := smtp.ParseAddress(id)
	if err != nil {
		return identity{}, unknown
	}
	who, err := s.srv.o.Directory.AccountByAddress(s.ctx, address)
	switch {
	case isAny(err, directory.ErrNotFound, directory.ErrNoUser, directory.ErrNotLocal):
		return identity{}, unknown
	case err != nil:
		return identity{}, err
	case who.Domain != s.domain:
		return identity{}, unknown
	}
	out := identity{id: store.AccountID(who.ID), owner: store.AccountID(who.ID) == a.ID()}
	out.all = out.owner || who.Admin && a.prefix == sharedPrefix
	return out, nil
}

// getACL is GETACL, RFC 4314 §3.3. An owner comes first, with all rights.
func (s *session) getACL() error {
	s.dec.SP()
	name := s.dec.Mailbox()
	if err := s.args(); err != nil {
		return err
	}
	at, m, err := s.administered(name)
	if err != nil {
		return err
	}
	var entries []store.ACLEntry
	err = at.view(s.ctx, func(tx *store.Tx) (err error) {
		entries, err = tx.ACL(m.ID)
		return err
	})
	if err != nil {
		return err
	}
	if at.account.prefix != sharedPrefix {
		owner := store.ACLEntry{Who: at.account.ID(), Rights: store.AllRights}
		entries = append([]store.ACLEntry{owner}, entries...)
	}
	b := append(*s.buf(), "* ACL "...)
	b = imap.AppendMailbox(b, at.account.called(m.Name), s.mode.utf8)
	for _, e := range entries {
		who, err := s.identifierOf(e.Who)
		if isAny(err, directory.ErrNotFound) {
			continue // the account is gone
		}
		if err != nil {
			return err
		}
		b = imap.AppendAString(append(b, ' '), who, s.mode.utf8)
		b = imap.AppendAString(append(b, ' '), e.Rights.Virtual(), false)
	}
	*s.buf() = append(b, "\r\n"...)
	return nil
}

// identifierOf is what an account is called in lists.
func (s *session) identifierOf(id store.AccountID) (string, error) {
	if id == store.Anyone {
		return anyone, nil
	}
	a, err := s.srv.o.Directory.Account(s.ctx, directory.AccountID(id))
	return a.Address.String(), err
}

// listRights is LISTRIGHTS, RFC 4314 §3.4: no right is tied to another. The virtual rights stand by
// themselves then (RFC 4314 §2.1.1).
func (s *session) listRights() error {
	s.dec.SP()
	name := s.dec.Mailbox()
	s.dec.SP()
	id, given := s.dec.Identifier()
	if err := s.args(); err != nil {
		return err
	}
	at, m, err := s.administered(name)
	if err != nil {
		return err
	}
	who, err := s.identified(at.account, id)
	if err != nil {
		return err
	}
	b := append(*s.buf(), "* LISTRIGHTS "...)
	b = imap.AppendMailbox(b, at.account.called(m.Name), s.mode.utf8)
	b = append(imap.AppendAString(append(b, ' '), given, s.mode.utf8), ' ')
	if all := store.AllRights.Virtual(); who.all {
		b = append(b, all...)
	} else {
		b = append(b, `""`...)
		for i := range len(all) {
			b = append(b, ' ', all[i])
		}
	}
	*s.buf() = append(b, "\r\n"...)
	return nil
}

// myRights is MYRIGHTS, RFC 4314 §3.5.
func (s *session) myRights() error {
	s.dec.SP()
	name := s.dec.Mailbox()
	if err := s.args(); err != nil {
		return err
	}
	at, err := s.place(name)
	if err != nil {
		return err
	}
	return at.view(s.ctx, func(tx *store.Tx) error {
		m, err := tx.MailboxByName(at.name)
		if err != nil {
			return err
		}
		if m.Rights&myRightsNeed == 0 {
			return store.ErrNotFound
		}
		s.myRightsReply(at.account.called(m.Name), m.Rights)
		return nil
	})
}

// myRightsReply writes MYRIGHTS, for the command and for LIST RETURN (MYRIGHTS) of RFC 8440.
func (s *session) myRightsReply(name string, rights store.Rights) {
	b := imap.AppendMailbox(append(*s.buf(), "* MYRIGHTS "...), name, s.mode.utf8)
	*s.buf() = append(append(append(b, ' '), rights.Virtual()...), "\r\n"...)
}

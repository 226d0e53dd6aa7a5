package imapd

import (
	"errors"
	"strings"

	"tram/internal/imap"
	"tram/internal/store"
)

// Annotations of the server: the private ones are the account's, the shared ones the domain's. No
// transaction is both; a command for both rehearses the domain's part, does the account's, then the
// domain's, and takes the account's back should that fail after all.

// setServerMetadata is SETMETADATA for the server.
func (s *session) setServerMetadata(values []imap.EntryValue) error {
	var private, shared []imap.EntryValue
	for _, v := range values {
		if isShared(v.Name) {
			shared = append(shared, v)
		} else {
			private = append(private, v)
		}
	}
	if err := errors.Join(s.mayShare(shared), checkFilters(values)); err != nil {
		return err
	}
	switch {
	case len(shared) == 0:
		return s.setOwnMetadata(private, nil)
	case len(private) == 0:
		return s.setDomainMetadata(shared)
	}
	if err := s.rehearseDomainMetadata(shared); err != nil {
		return err
	}
	var before []imap.EntryValue
	if err := s.setOwnMetadata(private, &before); err != nil {
		return err
	}
	err := s.setDomainMetadata(shared)
	if err != nil {
		// RFC 5464 §4.3: when one fails to be set, the others MUST NOT change.
		if undo := s.setOwnMetadata(before, nil); undo != nil {
			s.log("imap annotations half set", undo)
		}
	}
	return err
}

// setOwnMetadata sets private annotations of the server. Where before is not nil it gets what they were.
func (s *session) setOwnMetadata(values []imap.EntryValue, before *[]imap.EntryValue) error {
	return s.annotate(s.account, values, func(tx *store.Tx) (store.MailboxID, error) {
		a, err := tx.Annotations(0)
		if err != nil {
			return 0, err
		}
		if before != nil {
			if *before, err = present(a, values); err != nil {
				return 0, err
			}
		}
		return 0, a.Set(changes(values))
	})
}

// present returns what entries have now.
func present(a *store.Annotations, values []imap.EntryValue) ([]imap.EntryValue, error) {
	out := make([]imap.EntryValue, 0, len(values))
	for _, v := range values {
		e, err := a.Get(v.Name)
		switch {
		case errors.Is(err, store.ErrNotFound):
			out = append(out, imap.EntryValue{Name: v.Name, Nil: true})
		case err != nil:
			return nil, err
		default:
			out = append(out, imap.EntryValue{Name: e.Name, Value: string(e.Value)})
		}
	}
	return out, nil
}

// mayShare refuses to set what the session may not.
func (s *session) mayShare(values []imap.EntryValue) error {
	for _, v := range values {
		if strings.EqualFold(v.Name, entryAdmin) {
			return &no{"NOPERM", "This annotation is read-only"} // RFC 5464 §3.2.1.1
		}
	}
	if len(values) > 0 && !s.admin {
		return &no{"NOPERM", "Only an administrator may change what all of the domain share"}
	}
	return nil
}

// errRehearsed ends a transaction that was only to show that it could be done.
var errRehearsed = errors.New("rehearsed")

// rehearseDomainMetadata finds out whether shared annotations of the server can be set.
func (s *session) rehearseDomainMetadata(values []imap.EntryValue) error {
	err := s.srv.o.Store.UpdateDomainAnnotations(s.ctx, s.domain, func(a *store.Annotations) error {
		if err := a.Set(changes(values)); err != nil {
			return err
		}
		return errRehearsed
	})
	if errors.Is(err, errRehearsed) {
		return nil
	}
	return err
}

// setDomainMetadata sets shared annotations of the server.
func (s *session) setDomainMetadata(values []imap.EntryValue) error {
	if err := s.tellMetadata(); err != nil {
		return err
	}
	err := s.srv.o.Store.UpdateDomainAnnotations(s.ctx, s.domain, func(a *store.Annotations) error {
		return a.Set(changes(values))
	})
	if err != nil {
		return err
	}
	return s.skipDomainMetadata(values)
}

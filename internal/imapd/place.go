package imapd

import (
	"context"
	"slices"
	"strings"

	"tram/internal/directory"
	"tram/internal/smtp"
	"tram/internal/store"
)

// Namespaces, RFC 2342 and RFC 9051 §5.1.2. One's own mailboxes have their plain names. Those of
// other people in the domain stand below the address of their owner, and the domain's shared folders
// below a name of their own. An own mailbox that was there before with such a name is found first.
const (
	othersPrefix = "Other users/"
	sharedPrefix = "Shared/"
)

// namespaceRoots are the namespaces' names as levels.
var namespaceRoots = [2]string{"Other users", "Shared"}

// inNamespace reports whether a name may be that of another's mailbox.
func inNamespace(name string) bool {
	return strings.HasPrefix(name, othersPrefix) || strings.HasPrefix(name, sharedPrefix)
}

// reserved reports whether no own mailbox may be made with a name: it would stand in the way of
// others' mailboxes.
func reserved(name string) bool {
	return inNamespace(name) || name == namespaceRoots[0] || name == namespaceRoots[1]
}

// namespace is NAMESPACE, RFC 9051 §6.3.10 and RFC 2342.
func (s *session) namespace() error {
	if err := s.args(); err != nil {
		return err
	}
	s.untagged(`NAMESPACE (("" "/")) (("%s" "/")) (("%s" "/"))`, othersPrefix, sharedPrefix)
	return nil
}

// place is where the mailbox of a name is: in which account, and what it is called there.
type place struct {
	account *account
	name    string
}

// view runs fn in a snapshot of the place's account.
func (p place) view(ctx context.Context, fn func(tx *store.Tx) error) error {
	return p.account.View(ctx, fn)
}

// called is what this session's client calls a mailbox of the account.
func (a *account) called(name string) string { return a.prefix + name }

// place finds out where the mailbox of a name is, whether it exists there or not. Where there is no
// such account it is store.ErrNotFound, the same as for a mailbox that one may not know of.
func (s *session) place(name string) (place, error) {
	if !inNamespace(name) {
		return place{s.account, name}, nil
	}
	own := false
	err := s.view(func(tx *store.Tx) error {
		m, err := find(tx, name)
		own = m != nil
		return err
	})
	if own || err != nil {
		return place{s.account, name}, err
	}
	if rest, ok := strings.CutPrefix(name, sharedPrefix); ok {
		return s.sharedPlace(rest)
	}
	return s.otherPlace(strings.TrimPrefix(name, othersPrefix))
}

// sharedPlace is place for the domain's shared folders.
func (s *session) sharedPlace(name string) (place, error) {
	id, err := s.foldersOf()
	switch {
	case err != nil:
		return place{}, err
	case id == 0 || name == "":
		return place{}, store.ErrNotFound
	}
	return place{s.guest(id, sharedPrefix), name}, nil
}

// otherPlace is place for another person's mailbox: "address/name".
func (s *session) otherPlace(rest string) (place, error) {
	owner, name, _ := strings.Cut(rest, "/")
	address, err := smtp.ParseAddress(decodeOwner(owner))
	if err != nil || name == "" {
		return place{}, store.ErrNotFound
	}
	account, err := s.colleague(address)
	if err != nil {
		return place{}, err
	}
	if strings.EqualFold(name, "INBOX") {
		name = "INBOX"
	}
	return place{s.guest(store.AccountID(account.ID), ownerPrefix(account.Address)), name}, nil
}

// colleague returns another account of the session's domain, store.ErrNotFound if there is none.
func (s *session) colleague(address smtp.Address) (directory.Account, error) {
	a, err := s.srv.o.Directory.AccountByAddress(s.ctx, address)
	switch {
	case isAny(err, directory.ErrNotFound, directory.ErrNoUser, directory.ErrNotLocal):
		return a, store.ErrNotFound
	case err != nil:
		return a, err
	case a.Domain != s.domain || store.AccountID(a.ID) == s.account.ID():
		return a, store.ErrNotFound
	}
	return a, nil
}

// ownerPrefix is what the names of a person's mailboxes begin with for others.
func ownerPrefix(address smtp.Address) string {
	return othersPrefix + encodeOwner.Replace(address.String()) + "/"
}

// encodeOwner makes one level of the hierarchy of an address, without wildcards of LIST.
var (
	encodeOwner   = strings.NewReplacer("=", "=3D", "/", "=2F", "%", "=25", "*", "=2A")
	ownerReplacer = strings.NewReplacer("=3D", "=", "=2F", "/", "=25", "%", "=2A", "*")
)

func decodeOwner(level string) string { return ownerReplacer.Replace(level) }

// guest returns another's account as this session's person sees it.
func (s *session) guest(id store.AccountID, prefix string) *account {
	if a := s.guests[id]; a != nil {
		return a
	}
	key := accountKey{of: id, by: s.account.ID(), admin: s.admin}
	a := s.srv.hold(key, func() *account {
		theirs := s.srv.o.Store.Account(id).As(s.asPerson())
		return &account{Account: theirs, prefix: prefix, recent: recentClaims{theirs: true}}
	})
	if s.guests == nil {
		s.guests = map[store.AccountID]*account{}
	}
	s.guests[id] = a
	return a
}

// leaveGuests gives back the accounts of others.
func (s *session) leaveGuests() {
	for _, a := range s.guests {
		s.srv.release(a)
	}
	s.guests = nil
}

// foldersOf returns the account of the domain's shared folders, 0 if it has none.
func (s *session) foldersOf() (store.AccountID, error) {
	d, err := s.srv.o.Directory.Domain(s.ctx, s.domain)
	if isAny(err, directory.ErrNotFound) {
		return 0, nil // the domain is on its way out
	}
	return store.AccountID(d.Folders), err
}

// sharedWith returns the accounts that share mailboxes with the session's person, as LIST goes through
// them: people by their addresses, then the domain's folders.
func (s *session) sharedWith() ([]*account, error) {
	owners, err := s.srv.o.Store.SharedWith(s.ctx, s.asPerson())
	if err != nil || len(owners) == 0 {
		return nil, err
	}
	folders, err := s.foldersOf()
	if err != nil {
		return nil, err
	}
	var all []*account
	for _, id := range owners {
		prefix := sharedPrefix
		if id != folders {
			owner, err := s.srv.o.Directory.Account(s.ctx, directory.AccountID(id))
			if isAny(err, directory.ErrNotFound) {
				continue // the account is gone
			}
			if err != nil {
				return nil, err
			}
			prefix = ownerPrefix(owner.Address)
		}
		all = append(all, s.guest(id, prefix))
	}
	slices.SortFunc(all, func(a, b *account) int { return strings.Compare(a.prefix, b.prefix) })
	return all, nil
}

// asPerson is who the session's person is to the store of others' accounts.
func (s *session) asPerson() store.Person {
	return store.Person{Account: s.account.ID(), Domain: s.domain, Admin: s.admin}
}

// needs returns an error unless all of some rights are there. Who may not look a mailbox up must not
// learn that it exists (RFC 4314 §6).
func needs(have, want store.Rights) error {
	switch {
	case have.Has(want):
		return nil
	case have.Has(store.RightLookup):
		return store.ErrNoPermission
	}
	return store.ErrNotFound
}

package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"tram/internal/kv"
)

// Anyone stands for all accounts of the owner's domain (RFC 4314 §2).
const Anyone AccountID = 0

// ACLEntry is what a mailbox's owner has granted somebody.
type ACLEntry struct {
	Who    AccountID // or Anyone
	Rights Rights
}

// ACLMode says what an ACLChange does with its rights, RFC 4314 §3.1.
type ACLMode uint8

// The modes.
const (
	SetRights ACLMode = iota
	AddRights
	RemoveRights
)

// ACLChange is one change of who may do what. Who is left without any right loses the entry.
type ACLChange struct {
	Who    AccountID // or Anyone
	Mode   ACLMode
	Rights Rights
}

// aclRow is what others may do with a mailbox; its key has the mailbox:
//
//	domain(string) n { who rights }
//
// domain is the owner's when it was shared last, and who Anyone is. Entries are by who, Anyone first,
// each with a right at least. A mailbox that is not shared has no row, and its Sharing says so.
type aclRow struct {
	Domain  string
	Entries []ACLEntry
}

func (a *aclRow) append(dst []byte) []byte {
	dst = appendBytes(append(dst, version1), a.Domain)
	dst = appendUint(dst, uint64(len(a.Entries)))
	for _, e := range a.Entries {
		dst = appendUint(appendUint(dst, uint64(e.Who)), uint64(e.Rights))
	}
	return dst
}

func decodeACL(key, value []byte) (*aclRow, error) {
	d, err := unseal(key, value)
	if err != nil {
		return nil, err
	}
	a := &aclRow{Domain: d.string()}
	for range d.count(2) {
		who, rights := AccountID(d.uint()), d.uint()
		n := len(a.Entries)
		if rights == 0 || rights > uint64(AllRights) || n > 0 && a.Entries[n-1].Who >= who {
			d.fail()
			break
		}
		a.Entries = append(a.Entries, ACLEntry{who, Rights(rights)})
	}
	if len(a.Entries) == 0 {
		d.fail()
	}
	return a, d.done(key)
}

// of returns the rights that a person has: his own, and those of everybody in his domain.
func (a *aclRow) of(p *Person) Rights {
	var r Rights
	for _, e := range a.Entries {
		switch {
		case e.Who == Anyone && p.Domain == a.Domain && p.Domain != "", e.Who != Anyone && e.Who == p.Account:
			r |= e.Rights
		}
	}
	return r
}

// change applies one change.
func (a *aclRow) change(c ACLChange) {
	i, found := slices.BinarySearchFunc(a.Entries, c.Who, func(e ACLEntry, who AccountID) int {
		return cmp.Compare(e.Who, who)
	})
	var r Rights
	if found {
		r = a.Entries[i].Rights
	}
	switch c.Mode {
	case AddRights:
		r |= c.Rights
	case RemoveRights:
		r &^= c.Rights
	default:
		r = c.Rights
	}
	switch {
	case r == 0 && found:
		a.Entries = slices.Delete(a.Entries, i, i+1)
	case found:
		a.Entries[i].Rights = r
	case r != 0:
		a.Entries = slices.Insert(a.Entries, i, ACLEntry{c.Who, r})
	}
}

func aclKey(dst []byte, id AccountID, m MailboxID) []byte { return key32(dst, id, kindACL, uint32(m)) }

// acl returns the row of a mailbox that is shared. One that is lost or damaged grants nothing.
func (tx *Tx) acl(id MailboxID) (*aclRow, error) {
	tx.key = aclKey(tx.key[:0], tx.id, id)
	value, err := tx.r.Get(tx.key)
	if err == nil {
		var a *aclRow
		if a, err = decodeACL(tx.key, value); err == nil {
			return a, nil
		}
	}
	err = wrap(err, "read rights")
	if lost(err) {
		tx.s.log.Error("rights to a mailbox cannot be read", "account", uint64(tx.id),
			"mailbox", uint32(id), "err", err)
		return &aclRow{}, nil
	}
	return nil, err
}

// eachACL calls fn for every mailbox that is shared. What cannot be read grants nothing.
func (tx *Tx) eachACL(fn func(MailboxID, *aclRow) error) error {
	prefix := appendKey(nil, tx.id, kindACL)
	err := tx.r.Scan(kv.Prefix(prefix), func(key, value []byte) error {
		n, _, err := kv.TakeUint32(key[len(prefix):])
		var a *aclRow
		if err == nil {
			a, err = decodeACL(key, value)
		}
		if err != nil {
			tx.s.log.Error("rights to a mailbox cannot be read", "account", uint64(tx.id), "err", err)
			return nil
		}
		return fn(MailboxID(n), a)
	})
	return wrap(err, "read rights")
}

// ACL returns who may do what with a mailbox: Anyone first, then by identifier. The owner, who may do
// everything, is not in it. It takes RightAdmin.
func (tx *Tx) ACL(id MailboxID) ([]ACLEntry, error) {
	m, err := tx.allowed(id, RightAdmin)
	if err != nil || m.row.Sharing&sharingACL == 0 {
		return nil, err
	}
	a, err := tx.acl(id)
	if err != nil {
		return nil, err
	}
	return a.Entries, nil
}

// SetACL changes who may do what with a mailbox, all of it or nothing; domain is the owner's. It must
// not be called in a transaction. It takes RightAdmin. Errors: ErrProtected for rights of the owner,
// who has all, ErrTooMany above limits.Storage.ACLEntries, ErrNotFound for a mailbox or a person that
// is not there, ErrNoPermission also for a person of another domain.
func (a *Account) SetACL(ctx context.Context, domain string, id MailboxID, changes ...ACLChange) error {
	for _, c := range changes {
		if c.Rights > AllRights || c.Mode > RemoveRights {
			return fmt.Errorf("set rights to mailbox %d: %w", id, ErrInvalidRights)
		}
		if c.Who == a.id {
			return fmt.Errorf("set rights of the owner of mailbox %d: %w", id, ErrProtected)
		}
		if domain == "" || c.Rights == 0 || c.Mode == RemoveRights {
			continue
		}
		if err := a.s.sameDomain(ctx, c.Who, domain); err != nil {
			return fmt.Errorf("set rights to mailbox %d: %w", id, err)
		}
	}
	// Nobody may write into who shares with whom who may not share.
	err := a.View(ctx, func(tx *Tx) error { return tx.need(id, RightAdmin) })
	if err != nil {
		return err
	}
	// Who shares with whom is written first: it may name too many, and must not miss one.
	for _, c := range changes {
		if c.Rights == 0 || c.Mode == RemoveRights {
			continue
		}
		if domain == "" {
			return fmt.Errorf("share mailbox %d: its owner has no domain: %w", id, ErrNoPermission)
		}
		if err := a.s.noteShare(ctx, shareKey(c.Who, domain), a.id); err != nil {
			return err
		}
	}
	return a.Update(ctx, func(tx *Tx) error {
		m, err := tx.allowed(id, RightAdmin)
		if err != nil {
			return err
		}
		return tx.changeACL(m, domain, changes)
	})
}

// sameDomain returns an error for a person of whom the store knows that he is gone, or of another
// domain.
func (s *Store) sameDomain(ctx context.Context, who AccountID, domain string) error {
	if who == Anyone {
		return nil
	}
	row, err := s.accountRow(ctx, who)
	switch {
	case errors.Is(err, errUnprovisioned):
		return nil // has never logged in
	case err != nil:
		return err
	case row.Folders:
		return fmt.Errorf("account %d: %w", who, ErrNotFound) // nobody
	case row.Domain != "" && row.Domain != domain:
		return fmt.Errorf("account %d is of another domain: %w", who, ErrNoPermission)
	}
	return nil
}

func (tx *Tx) changeACL(m *mailboxTx, domain string, changes []ACLChange) error {
	if tx.w == nil {
		return ErrReadOnly
	}
	if tx.row.Domain != "" && domain != "" && tx.row.Domain != domain {
		return fmt.Errorf("share mailbox %d with another domain: %w", m.row.ID, ErrNoPermission)
	}
	acl := &aclRow{}
	if m.row.Sharing&sharingACL != 0 {
		var err error
		if acl, err = tx.acl(m.row.ID); err != nil {
			return err
		}
	}
	before := slices.Clone(acl.Entries)
	for _, c := range changes {
		acl.change(c)
	}
	if slices.Equal(before, acl.Entries) && (domain == "" || domain == acl.Domain) {
		return nil
	}
	if n := len(acl.Entries); n > tx.s.limits.ACLEntries && n > len(before) {
		return fmt.Errorf("share mailbox %d with %d: %w", m.row.ID, n, ErrTooMany)
	}
	if domain != "" {
		acl.Domain = domain
	}
	return tx.setACL(m, acl)
}

// setACL writes the rights to a mailbox; no entries are no row.
func (tx *Tx) setACL(m *mailboxTx, acl *aclRow) error {
	if _, err := tx.change(); err != nil {
		return err
	}
	tx.meta(m)
	m.row.Sharing &^= sharingACL
	if tx.as != nil {
		delete(tx.as.rights, m.row.ID)
		tx.as.lists = nil
	}
	tx.key = aclKey(tx.key[:0], tx.id, m.row.ID)
	if len(acl.Entries) == 0 {
		return tx.w.Delete(tx.key)
	}
	m.row.Sharing |= sharingACL
	return tx.set(acl.append(tx.value[:0]))
}

// inherit gives a mailbox that was just made the rights of the one above it (RFC 4314 §4, CREATE). Who
// shares with whom stays as it is: it is of accounts.
func (tx *Tx) inherit(m *mailboxTx) error {
	if m.row.Parent == 0 {
		return nil
	}
	p, err := tx.mailbox(m.row.Parent)
	if err != nil || p.row.Sharing&sharingACL == 0 {
		return err
	}
	acl, err := tx.acl(p.row.ID)
	if err != nil || len(acl.Entries) == 0 {
		return err
	}
	return tx.setACL(m, acl)
}

// dropSharing removes what others have of a mailbox that goes.
func (tx *Tx) dropSharing(m *mailboxTx) error {
	if m.row.Sharing == 0 {
		return nil
	}
	if err := tx.w.Delete(aclKey(nil, tx.id, m.row.ID)); err != nil {
		return err
	}
	prefix := ownSeenKey(nil, tx.id, m.row.ID)
	return tx.w.DeleteRange(prefix, kv.PrefixEnd(prefix))
}

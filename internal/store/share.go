package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"tram/internal/kv"
)

// Who shares with whom is derived from the rights to mailboxes and lies beside the accounts, so that a
// person's shared mailboxes are found without a look at all accounts:
//
//	's' 0:8 'w' 0 person:8 owner:8         the owner shares with a person
//	's' 0:8 'w' 1 domain 00 01 owner:8     the owner shares with all of a domain
//
// with the value
//
//	noted(signed, s since 1970)
//
// A row says that the owner's mailboxes are worth a look; what they grant stands with them alone. It is
// written, in a scope of the person or the domain, before rights are granted, and is removed by Maintain
// only, when nothing has been granted for so long that no transaction can still be on its way. So a crash
// leaves a row too many, and never one too few.
const (
	shareOfPerson byte = iota
	shareOfDomain
)

// shareGrace is how long after it was noted a row stays without rights that it leads to.
const shareGrace = time.Hour

// shareKey is the prefix of the rows of a person, or for Anyone of a domain.
func shareKey(who AccountID, domain string) []byte {
	key := appendKey(nil, 0, kindShare)
	if who == Anyone {
		return kv.AppendString(append(key, shareOfDomain), domain)
	}
	return kv.AppendUint64(append(key, shareOfPerson), uint64(who))
}

// shareScope is the scope of those of a prefix; in hexadecimal, for a scope is text.
func shareScope(prefix []byte) kv.Scope { return kv.Scope(fmt.Sprintf("share/%x", prefix[10:])) }

func appendShare(dst []byte, noted time.Time) []byte {
	return appendInt(append(dst, version1), noted.Unix())
}

func decodeShare(key, value []byte) (noted time.Time, err error) {
	d, err := unseal(key, value)
	if err != nil {
		return noted, err
	}
	noted = time.Unix(d.int(), 0)
	return noted, d.done(key)
}

// share is a row's key, taken apart.
type share struct {
	who    AccountID // or Anyone, of domain
	domain string
	owner  AccountID
}

func splitShareKey(key []byte) (sh share, err error) {
	const head = 1 + 8 + 1
	if len(key) < head+1 {
		return sh, damaged(key, "key of the wrong length")
	}
	rest := key[head+1:]
	switch key[head] {
	case shareOfPerson:
		var n uint64
		n, rest, err = kv.TakeUint64(rest)
		sh.who = AccountID(n)
		if err == nil && n == 0 {
			err = damaged(key, "of no person")
		}
	case shareOfDomain:
		sh.domain, rest, err = kv.TakeString(rest)
	default:
		err = damaged(key, "unknown kind of share")
	}
	if err == nil && len(rest) != 8 {
		err = damaged(key, "key of the wrong length")
	}
	if err != nil {
		return share{}, err
	}
	owner, _, err := kv.TakeUint64(rest)
	sh.owner = AccountID(owner)
	return sh, err
}

// noteShare notes that owner is about to share with those of a prefix.
func (s *Store) noteShare(ctx context.Context, prefix []byte, owner AccountID) error {
	key := kv.AppendUint64(slices.Clone(prefix), uint64(owner))
	now := s.clock.Now()
	err := s.db.Update(ctx, shareScope(prefix), func(w kv.Txn) error {
		value, err := w.Get(key)
		if err == nil {
			noted, err := decodeShare(key, value)
			if age := now.Sub(noted); err == nil && age >= 0 && age < shareGrace/2 {
				return nil
			}
		} else if !errors.Is(err, kv.ErrNotFound) {
			return err
		}
		return w.Set(key, seal(key, appendShare(nil, now)))
	})
	return wrap(err, "note a share")
}

// SharedWith returns the accounts that share mailboxes with a person, by himself or with all of his
// domain, in ascending order; among them are the domain's shared folders. It may name one that has
// nothing to show any more. What it costs follows what is shared with him.
func (s *Store) SharedWith(ctx context.Context, p Person) ([]AccountID, error) {
	var prefixes [][]byte
	if p.Account != 0 {
		prefixes = append(prefixes, shareKey(p.Account, ""))
	}
	if p.Domain != "" {
		prefixes = append(prefixes, shareKey(Anyone, p.Domain))
	}
	var owners []AccountID
	for _, prefix := range prefixes {
		err := s.db.View(ctx, shareScope(prefix), func(r kv.Reader) error {
			rng := kv.Prefix(prefix)
			rng.KeysOnly = true
			return r.Scan(rng, func(key, _ []byte) error {
				if len(key) != len(prefix)+8 {
					return nil
				}
				if id := AccountID(emailOfKey(key)); id != p.Account {
					owners = append(owners, id)
				}
				return nil
			})
		})
		if err != nil {
			return nil, wrap(err, "read shares")
		}
	}
	slices.Sort(owners)
	return slices.Compact(owners), nil
}

// eachShare calls fn for all rows; bad, when not nil, for those that cannot be read.
func (s *Store) eachShare(ctx context.Context, fn func(share, time.Time) error,
	bad func(key, value []byte, err error) error) error {
	err := s.db.View(ctx, "", func(r kv.Reader) error {
		return r.Scan(kv.Prefix(appendKey(nil, 0, kindShare)), func(key, value []byte) error {
			sh, err := splitShareKey(key)
			var noted time.Time
			if err == nil {
				noted, err = decodeShare(key, value)
			}
			switch {
			case err == nil:
				return fn(sh, noted)
			case bad != nil:
				return bad(key, value, err)
			}
			return ctx.Err()
		})
	})
	return wrap(err, "read shares")
}

// settleShares removes the rows of what is shared no more.
func (s *Store) settleShares(ctx context.Context) error {
	now := s.clock.Now()
	old := func(noted time.Time) bool { return now.Sub(noted) >= shareGrace }
	var all []share
	err := s.eachShare(ctx, func(sh share, noted time.Time) error {
		if old(noted) {
			all = append(all, sh)
		}
		return ctx.Err()
	}, nil)
	for _, sh := range all {
		if err != nil {
			break
		}
		var stands bool
		if stands, err = s.stands(ctx, sh); stands || err != nil {
			continue
		}
		prefix := shareKey(sh.who, sh.domain)
		key := kv.AppendUint64(slices.Clone(prefix), uint64(sh.owner))
		err = s.db.Update(ctx, shareScope(prefix), func(w kv.Txn) error {
			value, err := w.Get(key)
			if err != nil {
				return ignoreMissing(err)
			}
			if noted, err := decodeShare(key, value); err == nil && !old(noted) {
				return nil // somebody is about to share again
			}
			return w.Delete(key)
		})
	}
	return wrap(err, "settle shares")
}

// ignoreMissing is err but for a row that is not there.
func ignoreMissing(err error) error {
	if errors.Is(err, kv.ErrNotFound) {
		return nil
	}
	return err
}

// stands reports whether the owner shares anything with those of a row. In doubt he does.
func (s *Store) stands(ctx context.Context, sh share) (found bool, err error) {
	if sh.who != Anyone {
		if gone, err := s.isRemoved(ctx, sh.who); gone || err != nil {
			return false, err
		}
	}
	err = s.db.View(ctx, s.Account(sh.owner).scope(), func(r kv.Reader) error {
		tx := s.Account(sh.owner).newTx(ctx, r, nil)
		defer tx.end()
		if err := tx.begin(); err != nil {
			return err
		}
		if found = tx.row.Folders && sh.who == Anyone && sh.domain == tx.row.Domain; found {
			return nil
		}
		return tx.eachACL(func(_ MailboxID, acl *aclRow) error {
			for _, e := range acl.Entries {
				if e.Who == sh.who && (sh.who != Anyone || acl.Domain == sh.domain) {
					found = true
					return kv.Stop
				}
			}
			return nil
		})
	})
	switch {
	case errors.Is(err, ErrNotFound):
		return false, nil
	case errors.Is(err, ErrDamaged):
		return true, nil
	}
	return found, err
}

// isRemoved reports whether an account was removed.
func (s *Store) isRemoved(ctx context.Context, id AccountID) (bool, error) {
	_, err := s.accountRow(ctx, id)
	switch {
	case errors.Is(err, errUnprovisioned), errors.Is(err, ErrDamaged):
		return false, nil
	case errors.Is(err, ErrNotFound):
		return true, nil
	}
	return false, err
}

// gone returns the accounts of some that were removed.
func (s *Store) gone(ctx context.Context, some map[AccountID]bool) (map[AccountID]bool, error) {
	var out map[AccountID]bool
	for id := range some {
		removed, err := s.isRemoved(ctx, id)
		if err != nil {
			return nil, err
		}
		if removed && out == nil {
			out = map[AccountID]bool{}
		}
		if removed {
			out[id] = true
		}
	}
	return out, nil
}

// forgetPerson takes back all that was granted to an account that goes, and removes what it had marked
// as seen.
func (s *Store) forgetPerson(ctx context.Context, id AccountID, domain string) error {
	owners, err := s.SharedWith(ctx, Person{Account: id, Domain: domain})
	if err != nil {
		return err
	}
	gone := map[AccountID]bool{id: true}
	for _, owner := range owners {
		err := s.Account(owner).forget(ctx, gone)
		if err != nil && !errors.Is(err, ErrNotFound) {
			return fmt.Errorf("take back the rights of account %d: %w", id, err)
		}
	}
	prefix := shareKey(id, "")
	err = s.db.Update(ctx, shareScope(prefix), func(w kv.Txn) error {
		return w.DeleteRange(prefix, kv.PrefixEnd(prefix))
	})
	return wrap(err, "remove shares")
}

// forget removes from all mailboxes of the account what people have of them who are gone.
func (a *Account) forget(ctx context.Context, gone map[AccountID]bool) error {
	if _, err := a.s.accountRow(ctx, a.id); err != nil {
		return err
	}
	return a.Update(ctx, func(tx *Tx) error {
		hurt := map[MailboxID]*aclRow{}
		err := tx.eachACL(func(id MailboxID, acl *aclRow) error {
			n := len(acl.Entries)
			acl.Entries = slices.DeleteFunc(acl.Entries, func(e ACLEntry) bool { return gone[e.Who] })
			if len(acl.Entries) < n {
				hurt[id] = acl
			}
			return nil
		})
		if err != nil {
			return err
		}
		for id, acl := range hurt {
			m, err := tx.mailbox(id)
			if err == nil {
				err = tx.setACL(m, acl)
			}
			if err != nil && !lost(err) {
				return err
			}
		}
		return tx.forgetSeen(gone)
	})
}

// guests returns the people who have rights to mailboxes of the account, or \Seen of their own there.
func (tx *Tx) guests() (map[AccountID]bool, error) {
	all := map[AccountID]bool{}
	err := tx.eachACL(func(_ MailboxID, acl *aclRow) error {
		for _, e := range acl.Entries {
			if e.Who != Anyone {
				all[e.Who] = true
			}
		}
		return nil
	})
	if err == nil {
		err = tx.eachReader(func(_ MailboxID, person AccountID) error {
			all[person] = true
			return nil
		})
	}
	return all, err
}

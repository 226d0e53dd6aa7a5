package store

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"tram/internal/kv"
)

// Account is a handle on one account. It costs nothing to make and holds nothing open.
type Account struct {
	s  *Store
	id AccountID
	as *Person // nil: the owner
}

// Account returns the handle of account id, whether or not it exists. The first View or Update of
// an account that was never used provisions it with INBOX, Drafts, Sent, Archive, Junk and Trash.
func (s *Store) Account(id AccountID) *Account { return &Account{s: s, id: id} }

// ID returns the account's identifier.
func (a *Account) ID() AccountID { return a.id }

func (a *Account) scope() kv.Scope {
	return kv.Scope(strconv.AppendUint([]byte("account/"), uint64(a.id), 10))
}

// View calls fn with a snapshot of the account. ErrNotFound when the account was removed.
func (a *Account) View(ctx context.Context, fn func(*Tx) error) error {
	return a.view(ctx, a.scope(), fn)
}

// Glance is View for advice: it does not wait for changes that are on their way to the disk, so
// that a crash may take back what fn sees. Nothing that promises anything may be said from it.
func (a *Account) Glance(ctx context.Context, fn func(*Tx) error) error {
	return a.view(ctx, "", fn)
}

func (a *Account) view(ctx context.Context, scope kv.Scope, fn func(*Tx) error) error {
	for range 2 {
		err := a.s.db.View(ctx, scope, func(r kv.Reader) error {
			tx := a.newTx(ctx, r, nil)
			defer tx.end()
			if err := tx.begin(); err != nil {
				return err
			}
			return fn(tx)
		})
		if !errors.Is(err, errUnprovisioned) || a.as != nil {
			return err
		}
		if err := a.Update(ctx, func(*Tx) error { return nil }); err != nil {
			return err
		}
	}
	return fmt.Errorf("open account %d: %w", a.id, ErrNotFound)
}

// Update calls fn in a transaction of the account and makes what it did durable, whole or not at
// all; an error from fn undoes everything. fn may be called again: it must build its results anew
// each time. After the commit the change is announced to watchers.
func (a *Account) Update(ctx context.Context, fn func(*Tx) error) error {
	refused := false
	for {
		tx, err := a.update(ctx, refused, fn)
		if !errors.Is(err, errNeedGrant) {
			return err
		}
		// The account has used up its part of its domain's quota, and asks for more. It does so
		// outside of its transaction: transactions of two scopes must not be nested.
		if refused, err = a.s.extendGrant(ctx, tx); err != nil {
			return err
		}
	}
}

func (a *Account) update(ctx context.Context, refused bool, fn func(*Tx) error) (*Tx, error) {
	var tx *Tx
	err := a.s.db.Update(ctx, a.scope(), func(w kv.Txn) error {
		tx = a.newTx(ctx, w, w)
		defer tx.end()
		tx.grantRefused = refused
		err := tx.begin()
		if errors.Is(err, errUnprovisioned) && a.as == nil {
			err = tx.provision()
		}
		if err != nil {
			return err
		}
		err = fn(tx)
		if tx.wanted != (grant{}) {
			return errNeedGrant
		}
		if err != nil {
			return err
		}
		return tx.finish()
	})
	if err == nil {
		tx.committed()
	}
	return tx, err
}

// maintain is Update for work that changes no visible state: it raises no ModSeq.
func (a *Account) maintain(ctx context.Context, fn func(*Tx) error) error {
	return a.s.db.Update(ctx, a.scope(), func(w kv.Txn) error {
		tx := a.newTx(ctx, w, w)
		defer tx.end()
		tx.silent = true
		if err := tx.begin(); err != nil {
			return err
		}
		if err := fn(tx); err != nil {
			return err
		}
		return tx.finish()
	})
}

// Usage returns what stands against the quota, and the quota.
func (a *Account) Usage(ctx context.Context) (u Usage, q Quota, err error) {
	err = a.View(ctx, func(tx *Tx) error {
		u, q = tx.Usage()
		return nil
	})
	return u, q, err
}

// SetQuota sets the bound of an account. It may be below what is in use: then nothing more comes
// in.
func (s *Store) SetQuota(ctx context.Context, id AccountID, q Quota) error {
	if q.Bytes < 0 || q.Messages < 0 {
		return fmt.Errorf("set quota of account %d: negative bound", id)
	}
	return s.Account(id).Update(ctx, func(tx *Tx) error {
		tx.row.Quota, tx.dirty = q, true
		return nil
	})
}

// Accounts returns the accounts that have been used and not removed, in ascending order.
func (s *Store) Accounts(ctx context.Context) ([]AccountID, error) {
	var ids []AccountID
	err := s.eachAccount(ctx, func(id AccountID, _ *accountRow) error {
		ids = append(ids, id)
		return nil
	})
	return ids, err
}

// eachAccount calls fn for the accounts that have been used and not removed, in ascending order,
// with their rows, nil for one that cannot be read.
func (s *Store) eachAccount(ctx context.Context, fn func(AccountID, *accountRow) error) error {
	err := s.db.View(ctx, "", func(r kv.Reader) error {
		for next := AccountID(1); next != 0; {
			rng := kv.Range{Start: appendKey(nil, next, 0), End: []byte{space + 1}, Limit: 1}
			next = 0
			err := r.Scan(rng, func(key, value []byte) error {
				n, _, err := kv.TakeUint64(key[1:])
				if err != nil {
					return err
				}
				next = AccountID(n) + 1
				if key[9] != kindAccount {
					return fn(AccountID(n), nil)
				}
				row, err := decodeAccount(key, value)
				switch {
				case err != nil:
					return fn(AccountID(n), nil)
				case row.Removed:
					return nil
				}
				return fn(AccountID(n), &row)
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
	return wrap(err, "list accounts")
}

// removeStep is how many emails one transaction of Remove takes.
const removeStep = 500

// Remove deletes an account with all its mail, at once and beyond recovery. The identifier cannot
// be used again. Interrupted, it may be called again; meanwhile the account cannot be opened.
func (s *Store) Remove(ctx context.Context, id AccountID) error {
	a, ctx := s.Account(id), kv.Freeing(ctx)
	if err := s.leaveShares(ctx, id); err != nil {
		return err
	}
	if err := s.SetDomain(ctx, id, ""); err != nil && !errors.Is(err, ErrNotFound) {
		return err
	}
	err := s.db.Update(ctx, a.scope(), func(w kv.Txn) error {
		key := appendKey(nil, id, kindAccount)
		row := accountRow{Removed: true}
		return w.Set(key, seal(key, row.append(nil)))
	})
	for more := true; more && err == nil; {
		err = s.db.Update(ctx, a.scope(), func(w kv.Txn) error {
			var err error
			more, err = a.removeEmails(ctx, w)
			return err
		})
	}
	if err == nil {
		err = s.dropIndex(ctx, id)
	}
	if err == nil {
		err = s.db.Update(ctx, a.scope(), func(w kv.Txn) error {
			start := appendKey(nil, id, kindAccount+1)
			return w.DeleteRange(start, appendKey(nil, id+1, 0))
		})
	}
	if err != nil {
		return fmt.Errorf("remove account %d: %w", id, err)
	}
	s.hubs.remove(id)
	return nil
}

// removeEmails gives up the bodies of some emails and removes their rows.
func (a *Account) removeEmails(ctx context.Context, w kv.Txn) (more bool, err error) {
	tx := a.newTx(ctx, w, w)
	n := 0
	r := kv.Prefix(appendKey(nil, a.id, kindEmail))
	r.Limit = removeStep
	err = w.Scan(r, func(key, value []byte) error {
		n++
		var e Email
		if err := e.decode(key, value); err == nil {
			if err := a.s.blobs.Unlink(w, e.Blob, tx.owner(e.ID)); err != nil {
				return err
			}
		}
		return w.Delete(key)
	})
	return n == removeStep, err
}

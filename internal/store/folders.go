package store

import (
	"context"
	"errors"
	"fmt"

	"tram/internal/kv"
)

// MakeFolders makes an account the shared folders of a domain: it has no INBOX and no owner, the
// domain's administrators have all rights there, and others what they are granted. The identifier is the
// directory's, as that of every account. It may be called again.
func (s *Store) MakeFolders(ctx context.Context, id AccountID, domain string) error {
	if id == 0 || domain == "" {
		return fmt.Errorf("make shared folders: account %d, domain %q: %w", id, domain, ErrInvalidName)
	}
	if err := s.noteShare(ctx, shareKey(Anyone, domain), id); err != nil {
		return err
	}
	a := s.Account(id)
	err := s.db.Update(ctx, a.scope(), func(w kv.Txn) error {
		tx := a.newTx(ctx, w, w)
		defer tx.end()
		err := tx.begin()
		if errors.Is(err, errUnprovisioned) {
			tx.row, err = accountRow{NextMailbox: 1, NextEmail: 1, NextThread: 1}, nil
		}
		if err != nil || tx.row.Folders {
			return err
		}
		tx.row.Folders, tx.dirty = true, true
		return tx.finish()
	})
	if err != nil {
		return wrap(err, "make shared folders of "+domain)
	}
	return s.SetDomain(ctx, id, domain)
}

// leaveShares ends what others have granted to an account that goes.
func (s *Store) leaveShares(ctx context.Context, id AccountID) error {
	row, err := s.accountRow(ctx, id)
	if err != nil && !lost(err) {
		return err
	}
	return s.forgetPerson(ctx, id, row.Domain)
}

// Folders returns the shared folders that there are, by their domains.
func (s *Store) Folders(ctx context.Context) (map[string]AccountID, error) {
	all := map[string]AccountID{}
	err := s.eachAccount(ctx, func(id AccountID, row *accountRow) error {
		if row != nil && row.Folders && row.Domain != "" {
			all[row.Domain] = id
		}
		return ctx.Err()
	})
	return all, err
}

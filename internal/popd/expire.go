package popd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"tram/internal/clock"
	"tram/internal/directory"
	"tram/internal/store"
)

// expireStep is how many messages one transaction of Expire takes, so that nobody waits long for
// the account.
const expireStep = 200

// ExpireOptions are what Expire works on. All are required but the last.
type ExpireOptions struct {
	Store     *store.Store
	Directory *directory.Directory
	Clock     clock.Clock
	Logger    *slog.Logger // nil: nothing is logged
}

// Expire removes what POP3 programs have fetched and the account keeps for so many days only
// (RFC 2449 §6.7, EXPIRE): what has been in a folder that is shown for that long, and was fetched
// since the policy was set. It is recoverable like whatever a person deletes. It is meant to run
// every hour or so; a damaged account does not keep it from the others.
func Expire(ctx context.Context, o ExpireOptions) error {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	accounts, err := o.Directory.Accounts(ctx, "")
	if err != nil {
		return fmt.Errorf("expire fetched mail: %w", err)
	}
	var failed error
	for _, a := range accounts {
		if a.Maildrop.Policy != directory.POP3Days {
			continue
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		before := o.Clock.Now().AddDate(0, 0, -a.Maildrop.Days)
		n, err := expire(store.Freeing(ctx), o.Store.Account(store.AccountID(a.ID)), a.Maildrop, before)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			o.Logger.Error("fetched mail cannot be expired", "account", uint64(a.ID), "err", err)
			failed = errors.Join(failed, err)
		}
		if n > 0 {
			o.Logger.Info("fetched mail expired", "account", uint64(a.ID), "messages", n)
		}
	}
	return failed
}

// expire removes an account's messages that were fetched and came into their folder before a time.
func expire(ctx context.Context, a *store.Account, o directory.Maildrop, before time.Time) (int, error) {
	var folders []store.MailboxID
	if err := a.View(ctx, func(tx *store.Tx) (err error) {
		folders, err = shown(tx, o)
		return err
	}); err != nil {
		return 0, err
	}
	removed := 0
	for _, folder := range folders {
		for from := store.UID(0); ; {
			var due []store.UID
			err := a.View(ctx, func(tx *store.Tx) (err error) {
				due, err = dueIn(tx, folder, from, before)
				return err
			})
			if err != nil || len(due) == 0 {
				if err != nil && !errors.Is(err, store.ErrNotFound) {
					return removed, err
				}
				break
			}
			from = due[len(due)-1] + 1
			var gone []store.UID
			err = a.Update(ctx, func(tx *store.Tx) (err error) {
				gone, err = tx.Expunge(folder, due)
				return err
			})
			if err != nil {
				return removed, err
			}
			removed += len(gone)
		}
	}
	return removed, nil
}

// dueIn returns the UIDs from a first one on, expireStep at most, of the messages of a folder that
// were fetched and came into it before a time. The day a message came into the folder counts, not
// its own date: who copies old mail there has it for the full time.
func dueIn(tx *store.Tx, folder store.MailboxID, from store.UID, before time.Time) ([]store.UID, error) {
	words, err := tx.Keywords()
	if err != nil || !words.Has(fetchedKeyword) {
		return nil, err
	}
	bit, hasBit := words.Bit(fetchedKeyword)
	list, err := tx.List(folder)
	if err != nil {
		return nil, err
	}
	var due []store.UID
	first, _ := list.Find(from)
	for _, e := range list.Entries(first, list.Len()) {
		if hasBit && e.Flags&bit == 0 || !hasBit && e.Flags&store.MoreKeywords == 0 {
			continue
		}
		is, err := isDue(tx, e.Email, folder, before)
		if err != nil {
			return nil, err
		}
		if is {
			if due = append(due, e.UID); len(due) == expireStep {
				break
			}
		}
	}
	return due, nil
}

func isDue(tx *store.Tx, id store.EmailID, folder store.MailboxID, before time.Time) (bool, error) {
	state, err := tx.State(id)
	if errors.Is(err, store.ErrDamaged) || errors.Is(err, store.ErrNotFound) {
		return false, nil // nobody knows since when it is there
	}
	if err != nil {
		return false, err
	}
	fetched := false
	for _, k := range state.Keywords {
		fetched = fetched || strings.EqualFold(k, fetchedKeyword)
	}
	for _, p := range state.Mailboxes {
		if p.Mailbox == folder {
			return fetched && !p.Saved.After(before), nil
		}
	}
	return false, nil
}

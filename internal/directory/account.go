package directory

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"golang.org/x/text/unicode/norm"

	"tram/internal/kv"
	"tram/internal/smtp"
)

// AccountOptions describe a new account.
type AccountOptions struct {
	Address  smtp.Address // in a domain that exists
	Password string       // "": nobody logs in until one is set
	Name     string       // for people
	Quota    Quota
	Admin    bool
	// AllowCommonPassword leaves out the list of refused passwords; the lengths still hold. It is
	// for the demo and for tests, whose passwords everybody knows.
	AllowCommonPassword bool
}

// AddAccount makes an account. ErrNotFound for the domain, ErrExists when the address is taken or
// looks like one that is, ErrInvalid, ErrPassword.
func (d *Directory) AddAccount(ctx context.Context, o AccountOptions) (Account, error) {
	domain, local, err := keysOf(o.Address)
	if err != nil {
		return Account{}, fmt.Errorf("add account: %w", err)
	}
	var secret credentialRecord
	if o.Password != "" {
		secret, err = d.newSecret(ctx, o.Password, o.Address, o.AllowCommonPassword)
		if err != nil {
			return Account{}, fmt.Errorf("add account %s: %w", o.Address, err)
		}
	}
	rec := accountRecord{
		Local: norm.NFC.String(o.Address.Local), Domain: domain, Name: o.Name, Admin: o.Admin,
		Created: d.clock.Now().Unix(), Bytes: o.Quota.Bytes, Messages: o.Quota.Messages,
		Generation: 1,
	}
	var id AccountID
	err = d.update(ctx, false, func(t kv.Txn) error {
		if err := claim(t, domain, local); err != nil {
			return fmt.Errorf("add account %s: %w", o.Address, err)
		}
		n, err := nextID(t)
		if err != nil {
			return err
		}
		id = AccountID(n)
		return errors.Join(
			t.Set(nameRow(kindAddress, domain, local), kv.AppendUint64(nil, n)),
			write(t, accountRow(id), rec), write(t, secretRow(id), secret),
			markAdmin(t, id, rec))
	})
	if err != nil {
		return Account{}, err
	}
	return rec.account(id), nil
}

// claim checks that a name is free, and no other name looks like it, and takes it.
func claim(t kv.Txn, domain, local string) error {
	if err := read(t, domainRow(domain), &domainRecord{}); err != nil {
		return fmt.Errorf("domain %s: %w", domain, err)
	}
	e, err := readEntry(t, domain, local)
	if err != nil {
		return err
	}
	if e.account != 0 {
		return fmt.Errorf("an account has this address: %w", ErrExists)
	}
	if e.alias != nil {
		return fmt.Errorf("an alias has this address: %w", ErrExists)
	}
	if local == "" {
		return nil
	}
	row := nameRow(kindSkeleton, domain, skeleton(local))
	other, err := t.Get(row)
	switch {
	case errors.Is(err, kv.ErrNotFound):
		return t.Set(row, []byte(local))
	case err != nil:
		return fmt.Errorf("read directory: %w", err)
	case string(other) != local:
		return fmt.Errorf("it looks like %s@%s: %w", other, domain, ErrExists)
	}
	return nil
}

// unclaim gives a name's looks back.
func unclaim(t kv.Txn, domain, local string) error {
	return t.Delete(nameRow(kindSkeleton, domain, skeleton(local)))
}

func markAdmin(t kv.Txn, id AccountID, rec accountRecord) error {
	if rec.Admin && !rec.Disabled {
		return t.Set(adminRow(id), []byte(rec.Domain))
	}
	return t.Delete(adminRow(id))
}

// Account returns an account. ErrNotFound.
func (d *Directory) Account(ctx context.Context, id AccountID) (Account, error) {
	return d.cache.account(ctx, id)
}

// AccountByAddress returns the account that has exactly this address, in any case; aliases and
// subaddresses do not count. ErrNotFound.
func (d *Directory) AccountByAddress(ctx context.Context, a smtp.Address) (Account, error) {
	domain, local, err := keysOf(a)
	if err != nil {
		return Account{}, fmt.Errorf("account %s: %w", a, ErrNotFound)
	}
	e, err := d.cache.name(ctx, domain, local)
	if err != nil {
		return Account{}, err
	}
	if e.account == 0 {
		return Account{}, fmt.Errorf("account %s: %w", a, ErrNotFound)
	}
	return d.cache.account(ctx, e.account)
}

// Accounts lists the accounts of a domain, of all with "", in the order they were made.
func (d *Directory) Accounts(ctx context.Context, domain string) ([]Account, error) {
	var of string
	if domain != "" {
		found, err := d.Domain(ctx, domain)
		if err != nil {
			return nil, err
		}
		of = found.Name
	}
	var all []Account
	prefix := key(kindAccount)
	err := d.o.DB.View(ctx, scope, func(r kv.Reader) error {
		all = nil
		return r.Scan(kv.Prefix(prefix), func(k, v []byte) error {
			id, _, err := kv.TakeUint64(k[len(prefix):])
			if err != nil {
				return err
			}
			var rec accountRecord
			if err := json.Unmarshal(v, &rec); err != nil {
				return fmt.Errorf("read account %d: %w", id, errors.Join(kv.ErrCorrupt, err))
			}
			if of == "" || rec.Domain == of {
				all = append(all, rec.account(AccountID(id)))
			}
			return nil
		})
	})
	return all, err
}

// change rewrites an account's record and its credentials. Each is written only when fn said so
// by changing it; sessions end when the generation has grown. ErrNotFound.
func (d *Directory) change(
	ctx context.Context, id AccountID, fn func(*accountRecord, *credentialRecord) error,
) error {
	var revoked bool
	// A full disk must not keep anybody from shutting a thief out.
	err := d.update(kv.Freeing(ctx), false, func(t kv.Txn) error {
		var rec accountRecord
		if err := read(t, accountRow(id), &rec); err != nil {
			return fmt.Errorf("account %d: %w", id, err)
		}
		var secret credentialRecord
		if err := read(t, secretRow(id), &secret); err != nil && !errors.Is(err, ErrNotFound) {
			return err
		}
		generation := rec.Generation
		if err := fn(&rec, &secret); err != nil {
			return err
		}
		revoked = rec.Generation != generation
		return errors.Join(write(t, accountRow(id), rec), write(t, secretRow(id), secret),
			markAdmin(t, id, rec))
	})
	if err == nil && revoked {
		d.revoke(id)
	}
	return err
}

// SetPassword gives an account a new password and ends its sessions. App passwords stay.
// ErrNotFound, ErrPassword.
func (d *Directory) SetPassword(ctx context.Context, id AccountID, password string) error {
	a, err := d.Account(ctx, id)
	if err != nil {
		return err
	}
	secret, err := d.newSecret(ctx, password, a.Address, false)
	if err != nil {
		return fmt.Errorf("set password of %s: %w", a.Address, err)
	}
	return d.change(ctx, id, func(rec *accountRecord, old *credentialRecord) error {
		old.Password, old.SCRAM, old.SCRAM1 = secret.Password, secret.SCRAM, secret.SCRAM1
		rec.Generation++
		return nil
	})
}

// SetDisabled shuts an account out, ending its sessions, or lets it in again. Mail for a disabled
// account is refused. ErrNotFound.
func (d *Directory) SetDisabled(ctx context.Context, id AccountID, disabled bool) error {
	return d.change(ctx, id, func(rec *accountRecord, _ *credentialRecord) error {
		if rec.Disabled != disabled {
			rec.Disabled = disabled
			rec.Generation++
		}
		return nil
	})
}

// SetAdmin makes an account an administrator, or an ordinary one again; its sessions end, so that
// none goes on with rights it no longer has. ErrNotFound.
func (d *Directory) SetAdmin(ctx context.Context, id AccountID, admin bool) error {
	return d.change(ctx, id, func(rec *accountRecord, _ *credentialRecord) error {
		if rec.Admin != admin {
			rec.Admin = admin
			rec.Generation++
		}
		return nil
	})
}

// SetName changes the name that people see. ErrNotFound.
func (d *Directory) SetName(ctx context.Context, id AccountID, name string) error {
	return d.change(ctx, id, func(rec *accountRecord, _ *credentialRecord) error {
		rec.Name = name
		return nil
	})
}

// SetQuota bounds what an account may store. ErrNotFound.
func (d *Directory) SetQuota(ctx context.Context, id AccountID, q Quota) error {
	return d.change(ctx, id, func(rec *accountRecord, _ *credentialRecord) error {
		rec.Bytes, rec.Messages = q.Bytes, q.Messages
		return nil
	})
}

// RemoveAccount takes an account out of the directory and ends its sessions. Its mail is the
// store's to remove. Aliases lose it as a target, and those that led nowhere else are removed.
// ErrNotFound.
func (d *Directory) RemoveAccount(ctx context.Context, id AccountID) error {
	err := d.update(kv.Freeing(ctx), false, func(t kv.Txn) error {
		var rec accountRecord
		if err := read(t, accountRow(id), &rec); err != nil {
			return fmt.Errorf("account %d: %w", id, err)
		}
		local, err := localKey(rec.Local)
		if err != nil {
			return fmt.Errorf("account %d: %w", id, err)
		}
		if err := dropTarget(t, name{rec.Domain, local}); err != nil {
			return fmt.Errorf("account %d: %w", id, err)
		}
		return errors.Join(unclaim(t, rec.Domain, local),
			t.Delete(nameRow(kindAddress, rec.Domain, local)),
			t.Delete(accountRow(id)), t.Delete(secretRow(id)), t.Delete(adminRow(id)))
	})
	if err == nil {
		d.revoke(id)
	}
	return err
}

package directory

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/text/unicode/norm"

	"tram/internal/kv"
	"tram/internal/smtp"
)

// Alias leads mail for one address, or for the rest of a domain, to other addresses.
type Alias struct {
	Address string         // "sales@example.com", or "@example.com" for the catch-all
	Targets []smtp.Address // accounts or aliases of ours, or addresses elsewhere; at least one
	Created time.Time
}

// AddAlias makes an alias. ErrNotFound for the domain, ErrExists when the address is taken or looks
// like one that is, ErrInvalid.
func (d *Directory) AddAlias(ctx context.Context, a Alias) error {
	domain, local, err := addressKey(a.Address)
	if err != nil {
		return fmt.Errorf("add alias: %w", err)
	}
	rec := aliasRecord{Created: d.clock.Now().Unix()}
	if local != "" {
		shown, err := smtp.ParseAddress(a.Address)
		if err != nil {
			return fmt.Errorf("add alias %s: %w", a.Address, errors.Join(ErrInvalid, err))
		}
		rec.Local = norm.NFC.String(shown.Local)
	}
	if rec.Targets, err = d.targets(a, name{domain, local}); err != nil {
		return fmt.Errorf("add alias %s: %w", a.Address, err)
	}
	return d.update(ctx, false, func(t kv.Txn) error {
		if err := claim(t, domain, local); err != nil {
			return fmt.Errorf("add alias %s: %w", a.Address, err)
		}
		return write(t, nameRow(kindAlias, domain, local), rec)
	})
}

// targets checks an alias's targets and writes them as addresses, each once.
func (d *Directory) targets(a Alias, self name) ([]string, error) {
	if len(a.Targets) == 0 || len(a.Targets) > d.limits.AliasTargets {
		return nil, fmt.Errorf("%d targets, 1 to %d are allowed: %w",
			len(a.Targets), d.limits.AliasTargets, ErrInvalid)
	}
	var out []string
	seen := map[string]bool{}
	for _, target := range a.Targets {
		s := target.String()
		// What is stored must come back as it went in, whoever made the value.
		if back, err := smtp.ParseAddress(s); err != nil || back != target {
			return nil, fmt.Errorf("target %q: %w", s, ErrInvalid)
		}
		if domain, local, err := keysOf(target); err == nil && (name{domain, local}) == self {
			return nil, fmt.Errorf("target %s is the alias itself: %w", s, ErrInvalid)
		}
		if !seen[s] {
			seen[s] = true
			out = append(out, s)
		}
	}
	return out, nil
}

// RemoveAlias removes an alias or, with "@domain", a catch-all. ErrNotFound.
func (d *Directory) RemoveAlias(ctx context.Context, address string) error {
	domain, local, err := addressKey(address)
	if err != nil {
		return fmt.Errorf("remove alias: %w", err)
	}
	return d.update(kv.Freeing(ctx), false, func(t kv.Txn) error {
		row := nameRow(kindAlias, domain, local)
		if err := read(t, row, &aliasRecord{}); err != nil {
			return fmt.Errorf("remove alias %s: %w", address, err)
		}
		return errors.Join(t.Delete(row), unclaim(t, domain, local))
	})
}

// dropTarget takes an address out of every alias that leads to it, and removes those that are left
// without a target. It reads all aliases.
func dropTarget(t kv.Txn, gone name) error {
	prefix := key(kindAlias)
	changed := map[string]aliasRecord{}
	err := t.Scan(kv.Prefix(prefix), func(k, v []byte) error {
		var rec aliasRecord
		if err := json.Unmarshal(v, &rec); err != nil {
			return nil // damaged, which a check finds
		}
		before := len(rec.Targets)
		rec.Targets = slices.DeleteFunc(rec.Targets, func(target string) bool {
			a, err := smtp.ParseAddress(target)
			if err != nil {
				return false
			}
			domain, local, err := keysOf(a)
			return err == nil && (name{domain, local}) == gone
		})
		if len(rec.Targets) < before {
			changed[string(k)] = rec
		}
		return nil
	})
	for k, rec := range changed {
		if err != nil {
			break
		}
		if len(rec.Targets) > 0 {
			err = write(t, []byte(k), rec)
			continue
		}
		domain, rest, cut := kv.TakeString([]byte(k)[len(prefix):])
		local, _, cutLocal := kv.TakeString(rest)
		err = errors.Join(cut, cutLocal)
		if err == nil {
			err = errors.Join(t.Delete([]byte(k)), unclaim(t, domain, local))
		}
	}
	return err
}

// Aliases lists the aliases of a domain, of all with "", by domain and local part, the catch-all
// first.
func (d *Directory) Aliases(ctx context.Context, domain string) ([]Alias, error) {
	prefix, from := key(kindAlias), key(kindAlias)
	if domain != "" {
		found, err := d.Domain(ctx, domain)
		if err != nil {
			return nil, err
		}
		from = kv.AppendString(from, found.Name)
	}
	var all []Alias
	err := d.o.DB.View(ctx, scope, func(r kv.Reader) error {
		all = nil
		return r.Scan(kv.Prefix(from), func(k, v []byte) error {
			of, _, err := kv.TakeString(k[len(prefix):])
			if err != nil {
				return fmt.Errorf("list aliases: %w", err)
			}
			var rec aliasRecord
			if err := json.Unmarshal(v, &rec); err != nil {
				return fmt.Errorf("read alias %x: %w", k, errors.Join(kv.ErrCorrupt, err))
			}
			a, err := rec.alias(of)
			all = append(all, a)
			return err
		})
	})
	return all, err
}

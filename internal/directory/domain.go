package directory

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"golang.org/x/net/idna"

	"tram/internal/kv"
)

// AddDomain makes the server answer for a domain, given in Unicode or A-labels. ErrExists,
// ErrInvalid.
func (d *Directory) AddDomain(ctx context.Context, name string) (Domain, error) {
	k, err := domainKey(name)
	if err != nil {
		return Domain{}, err
	}
	rec := domainRecord{Created: d.clock.Now().Unix()}
	err = d.update(ctx, true, func(t kv.Txn) error {
		if err := read(t, domainRow(k), &domainRecord{}); !errors.Is(err, ErrNotFound) {
			return fmt.Errorf("add domain %s: %w", k, orExists(err))
		}
		id, err := nextID(t)
		if err != nil {
			return err
		}
		rec.ID = DomainID(id)
		return write(t, domainRow(k), rec)
	})
	return rec.domain(k), err
}

// orExists turns "there was no error finding it" into ErrExists.
func orExists(err error) error {
	if err == nil {
		return ErrExists
	}
	return err
}

// RemoveDomain ends answering for a domain. ErrNotEmpty while it has accounts or aliases,
// ErrNotFound.
func (d *Directory) RemoveDomain(ctx context.Context, name string) error {
	k, err := domainKey(name)
	if err != nil {
		return err
	}
	return d.update(kv.Freeing(ctx), true, func(t kv.Txn) error {
		if err := read(t, domainRow(k), &domainRecord{}); err != nil {
			return fmt.Errorf("remove domain %s: %w", k, err)
		}
		for _, kind := range []byte{kindAddress, kindAlias} {
			r := kv.Prefix(kv.AppendString(key(kind), k))
			r.Limit, r.KeysOnly = 1, true
			err := t.Scan(r, func(_, _ []byte) error { return ErrNotEmpty })
			if err != nil {
				return fmt.Errorf("remove domain %s: %w", k, err)
			}
		}
		if err := removeSigning(t, k); err != nil {
			return fmt.Errorf("remove domain %s: %w", k, err)
		}
		return t.Delete(domainRow(k))
	})
}

// Domain returns a domain of ours. ErrNotFound.
func (d *Directory) Domain(ctx context.Context, name string) (Domain, error) {
	k, err := domainKey(name)
	if err != nil {
		return Domain{}, err
	}
	domain, ok, err := d.cache.domain(ctx, k)
	if err == nil && !ok {
		err = fmt.Errorf("domain %s: %w", k, ErrNotFound)
	}
	return domain, err
}

// Domains lists the domains by name.
func (d *Directory) Domains(ctx context.Context) ([]Domain, error) {
	if err := d.cache.fresh(ctx); err != nil {
		return nil, err
	}
	d.cache.mu.RLock()
	all := slices.Collect(maps.Values(d.cache.domains))
	d.cache.mu.RUnlock()
	slices.SortFunc(all, func(a, b Domain) int { return cmp.Compare(a.Name, b.Name) })
	return all, nil
}

// SetDomainQuota bounds what all accounts of a domain may store together. ErrNotFound.
func (d *Directory) SetDomainQuota(ctx context.Context, name string, q Quota) error {
	k, err := domainKey(name)
	if err != nil {
		return err
	}
	return d.update(ctx, true, func(t kv.Txn) error {
		var rec domainRecord
		if err := read(t, domainRow(k), &rec); err != nil {
			return fmt.Errorf("set quota of domain %s: %w", k, err)
		}
		rec.Bytes, rec.Messages = q.Bytes, q.Messages
		return write(t, domainRow(k), rec)
	})
}

// DisplayDomain returns a domain as people read it, in Unicode.
func DisplayDomain(name string) string {
	u, err := idna.Display.ToUnicode(name)
	if err != nil {
		return name
	}
	return u
}

// decodeDomain reads a domain's row; rest is the key after the kind.
func decodeDomain(rest, value []byte) (Domain, error) {
	name, _, err := kv.TakeString(rest)
	if err != nil {
		return Domain{}, fmt.Errorf("read domain: %w", err)
	}
	var rec domainRecord
	if err := json.Unmarshal(value, &rec); err != nil {
		return Domain{}, fmt.Errorf("read domain %s: %w", name, errors.Join(kv.ErrCorrupt, err))
	}
	return rec.domain(name), nil
}

// OwnDomain returns the domain that answers for a host of this name, RFC 5321 §4.5.1: the one that the
// host is named in, else the first; "" while there is none.
func (d *Directory) OwnDomain(ctx context.Context, host string) (string, error) {
	domains, err := d.Domains(ctx)
	if err != nil {
		return "", err
	}
	own := ""
	for i, domain := range domains {
		if i == 0 || host == domain.Name || strings.HasSuffix(host, "."+domain.Name) {
			own = domain.Name
		}
	}
	return own, nil
}

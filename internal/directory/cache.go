package directory

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"tram/internal/clock"
	"tram/internal/kv"
	"tram/internal/mailauth/dkim"
)

const (
	// pollEvery is how long a change by another process may stay unseen.
	pollEvery = time.Second
	// maxCached bounds each of the maps below; a full one loses a sixteenth of its entries, any.
	maxCached = 100_000
)

// cache keeps what was read until the version in the database says that something changed. The
// version is read again once in pollEvery, and after every change of this process.
type cache struct {
	db    kv.Database
	clock clock.Clock

	mu       sync.RWMutex
	version  versions
	checked  time.Time // when version was last compared; zero: must be before the next use
	expired  uint64    // counts calls of expire
	domains  map[string]Domain
	names    map[name]entry
	accounts map[AccountID]Account // also those that do not exist: ID 0
	secrets  map[AccountID]credentialRecord
	admins   map[string]AccountID // who answers for postmaster of a domain
	signers  map[string][]dkim.Key
}

// name is a place in the name space: domain key and local key.
type name struct{ domain, local string }

// entry is what a name is: an account, an alias, or neither.
type entry struct {
	account AccountID
	alias   *Alias
}

func newCache(db kv.Database, c clock.Clock) *cache {
	return &cache{db: db, clock: c}
}

// expire makes the next use compare versions.
func (c *cache) expire() {
	c.mu.Lock()
	c.checked = time.Time{}
	c.expired++
	c.mu.Unlock()
}

// seen is the version that what is remembered belongs to.
func (c *cache) seen() versions {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.version
}

// fresh compares versions when it is time to, and forgets what is old.
func (c *cache) fresh(ctx context.Context) error {
	now := c.clock.Now()
	c.mu.RLock()
	age, expired := now.Sub(c.checked), c.expired
	ok := !c.checked.IsZero() && age >= 0 && age < pollEvery
	c.mu.RUnlock()
	if ok {
		return nil
	}
	return c.db.View(ctx, scope, func(r kv.Reader) error {
		v, err := readVersions(r)
		if err != nil {
			return err
		}
		c.mu.RLock()
		same, sameDomains := v == c.version, v.domains == c.version.domains
		same, sameDomains = same && c.names != nil, sameDomains && c.domains != nil
		c.mu.RUnlock()
		var domains map[string]Domain
		if !sameDomains {
			if domains, err = loadDomains(r); err != nil {
				return err
			}
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		if !same && (v.all >= c.version.all || c.names == nil) {
			c.version = v
			c.names, c.accounts = map[name]entry{}, map[AccountID]Account{}
			c.secrets, c.admins = map[AccountID]credentialRecord{}, map[string]AccountID{}
			c.signers = map[string][]dkim.Key{}
			if domains != nil {
				c.domains = domains
			}
		}
		if expired == c.expired { // nothing was written here since the snapshot
			c.checked = now
		}
		return nil
	})
}

func loadDomains(r kv.Reader) (map[string]Domain, error) {
	domains := map[string]Domain{}
	prefix := key(kindDomain)
	err := r.Scan(kv.Prefix(prefix), func(k, v []byte) error {
		d, err := decodeDomain(k[len(prefix):], v)
		domains[d.Name] = d
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("load domains: %w", err)
	}
	return domains, nil
}

// domain returns a domain of ours. It works on what is remembered when the database does not
// answer.
func (c *cache) domain(ctx context.Context, domain string) (Domain, bool, error) {
	err := c.fresh(ctx)
	c.mu.RLock()
	defer c.mu.RUnlock()
	d, ok := c.domains[domain]
	return d, ok, err
}

// only returns the server's domain when it has just one.
func (c *cache) only() (string, bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	for d := range c.domains {
		return d, len(c.domains) == 1
	}
	return "", false
}

// primary is the domain that was there first, "" without any.
func (c *cache) primary() string {
	c.mu.RLock()
	defer c.mu.RUnlock()
	var first Domain
	for _, d := range c.domains {
		if first.ID == 0 || d.ID < first.ID {
			first = d
		}
	}
	return first.Name
}

// remembered answers from a map of the cache or else from the database, and remembers the answer
// if it is as new as the rest.
func remembered[K comparable, V any](
	ctx context.Context, c *cache, in func(*cache) map[K]V, k K, load func(kv.Reader) (V, error),
) (V, error) {
	var v V
	if err := c.fresh(ctx); err != nil {
		return v, err
	}
	c.mu.RLock()
	v, ok := in(c)[k]
	c.mu.RUnlock()
	if ok {
		return v, nil
	}
	var at versions
	err := c.db.View(ctx, scope, func(r kv.Reader) (err error) {
		if at, err = readVersions(r); err != nil {
			return err
		}
		v, err = load(r)
		return err
	})
	if err != nil {
		return v, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if m := in(c); at == c.version && m != nil {
		if len(m) >= maxCached {
			shrink(m)
		}
		m[k] = v
	}
	return v, nil
}

// shrink removes a sixteenth of a map, in the map's own random order.
func shrink[K comparable, V any](m map[K]V) {
	n := len(m)/16 + 1
	for k := range m {
		if n--; n < 0 {
			return
		}
		delete(m, k)
	}
}

// name tells what a name is.
func (c *cache) name(ctx context.Context, domain, local string) (entry, error) {
	in := func(c *cache) map[name]entry { return c.names }
	return remembered(ctx, c, in, name{domain, local}, func(r kv.Reader) (entry, error) {
		return readEntry(r, domain, local)
	})
}

func readEntry(r kv.Reader, domain, local string) (entry, error) {
	id, err := number(r, nameRow(kindAddress, domain, local))
	if err != nil || id != 0 {
		return entry{account: AccountID(id)}, err
	}
	var rec aliasRecord
	err = read(r, nameRow(kindAlias, domain, local), &rec)
	if errors.Is(err, ErrNotFound) {
		return entry{}, nil
	}
	if err != nil {
		return entry{}, err
	}
	a, err := rec.alias(domain)
	return entry{alias: &a}, err
}

// account returns an account. ErrNotFound.
func (c *cache) account(ctx context.Context, id AccountID) (Account, error) {
	in := func(c *cache) map[AccountID]Account { return c.accounts }
	a, err := remembered(ctx, c, in, id, func(r kv.Reader) (Account, error) {
		var rec accountRecord
		err := read(r, accountRow(id), &rec)
		if errors.Is(err, ErrNotFound) {
			return Account{}, nil
		}
		return rec.account(id), err
	})
	if err == nil && a.ID == 0 {
		err = fmt.Errorf("account %d: %w", id, ErrNotFound)
	}
	return a, err
}

// secret returns what is known of an account's credentials; nothing for one that does not exist.
func (c *cache) secret(ctx context.Context, id AccountID) (credentialRecord, error) {
	in := func(c *cache) map[AccountID]credentialRecord { return c.secrets }
	return remembered(ctx, c, in, id, func(r kv.Reader) (credentialRecord, error) {
		var rec credentialRecord
		err := read(r, secretRow(id), &rec)
		if errors.Is(err, ErrNotFound) {
			return credentialRecord{}, nil
		}
		return rec, err
	})
}

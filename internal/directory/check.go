package directory

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"tram/internal/kv"
	"tram/internal/smtp"
)

// Finding is something in the directory's rows that is not as it must be, or what was done about it.
type Finding struct {
	Kind       string // short and stable: "directory" or "alias"
	Where      string // address, domain or key
	What       string // a sentence
	Repairable bool
}

// Check verifies the rows of the directory in db: that every account is found by its address, every
// name leads somewhere, and nothing is left over. It changes nothing.
func Check(ctx context.Context, db kv.Database, report func(Finding)) error {
	err := db.View(ctx, scope, func(r kv.Reader) error {
		return (&dirCheck{ctx: ctx, r: r, report: report}).run()
	})
	if errors.Is(err, kv.ErrCorrupt) && ctx.Err() == nil {
		report(Finding{"directory", "directory", fmt.Sprintf("cannot be read any further: %v", err), true})
		err = nil
	}
	if err != nil {
		return fmt.Errorf("check directory: %w", err)
	}
	return nil
}

// RepairOptions are who hears of a Repair. Each function may be nil.
type RepairOptions struct {
	Found, Did, Left func(Finding)
	// Keep is given each row that is dropped or replaced and cannot be read.
	Keep func(key, value []byte) error
}

// Repair makes the directory's rows fit together again: an account or domain whose row is damaged
// comes back with what other rows tell of it, a target that leads nowhere is taken out of its alias.
// It belongs on a database that nobody uses, before Open.
func Repair(ctx context.Context, db kv.Database, o RepairOptions) error {
	var found, deeds []Finding
	for round := range 3 {
		var now []Finding
		err := db.Update(kv.Freeing(ctx), scope, func(t kv.Txn) error {
			now, deeds = nil, nil
			c := &dirCheck{ctx: ctx, r: t, fix: t, keep: o.Keep}
			c.report = func(f Finding) { now = append(now, f) }
			c.did = func(f Finding) { deeds = append(deeds, f) }
			if err := c.run(); err != nil || len(now) == 0 {
				return err
			}
			return bumpVersions(t, true)
		})
		if err != nil {
			return fmt.Errorf("repair directory: %w", err)
		}
		if round == 0 {
			found = now
		}
		for _, f := range deeds {
			tell(o.Did, f)
		}
		if len(deeds) == 0 {
			break
		}
	}
	for _, f := range found {
		tell(o.Found, f)
	}
	if len(found) == 0 {
		return nil
	}
	return Check(ctx, db, func(f Finding) { tell(o.Left, f) })
}

func tell(to func(Finding), f Finding) {
	if to != nil {
		to(f)
	}
}

// dirCheck goes over the directory's rows. With fix set it puts right what it finds, as it goes.
type dirCheck struct {
	ctx    context.Context
	r      kv.Reader
	fix    kv.Txn
	report func(Finding)
	did    func(Finding)
	keep   func(key, value []byte) error

	domains  map[string]bool
	accounts map[AccountID]accountRecord
	aliases  map[name]aliasRecord
	names    map[name]AccountID // what address rows say
	highest  uint64
}

func (c *dirCheck) run() error {
	c.domains, c.accounts = map[string]bool{}, map[AccountID]accountRecord{}
	c.aliases, c.names = map[name]aliasRecord{}, map[name]AccountID{}
	for _, step := range []func() error{
		c.version, c.readDomains, c.readNames, c.readAccounts, c.readAliases, c.checkAccounts,
		c.checkNames, c.checkDomains, c.checkTargets, c.checkLooks, c.checkAdmins, c.checkSecrets,
		c.checkPOP3, c.checkSigning, c.checkCounter,
	} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

func (c *dirCheck) find(kind, where string, repairable bool, format string, args ...any) {
	c.report(Finding{kind, where, fmt.Sprintf(format, args...), repairable})
}

// mend does something when the directory is repaired, and says so.
func (c *dirCheck) mend(where, what string, do func() error) error {
	if c.fix == nil {
		return nil
	}
	c.did(Finding{Kind: "directory", Where: where, What: what})
	return do()
}

func (c *dirCheck) aside(key, value []byte) error {
	if c.fix == nil || c.keep == nil {
		return nil
	}
	return c.keep(key, value)
}

// scan goes over the rows of a kind; rest is the key behind it.
func (c *dirCheck) scan(kind byte, fn func(row, rest, value []byte) error) error {
	prefix := key(kind)
	return c.r.Scan(kv.Prefix(prefix), func(k, v []byte) error {
		if err := c.ctx.Err(); err != nil {
			return err
		}
		return fn(k, k[len(prefix):], v)
	})
}

// bad deals with a row that cannot be read: it is dropped, as far as nothing else makes it again.
func (c *dirCheck) bad(row, value []byte, where string, err error) error {
	c.find("directory", where, true, "its row %x cannot be read: %v", row, err)
	row = bytes.Clone(row)
	return c.mend(where, "the damaged row is taken out", func() error {
		return errors.Join(c.aside(row, value), c.fix.Delete(row))
	})
}

func (c *dirCheck) version() error {
	_, err := readVersions(c.r)
	if !errors.Is(err, kv.ErrCorrupt) {
		return err
	}
	c.find("directory", "version", true, "%v", err)
	return c.mend("version", "begins anew", func() error {
		return c.fix.Set(key(kindVersion), make([]byte, 16))
	})
}

func (c *dirCheck) readDomains() error {
	return c.scan(kindDomain, func(row, rest, value []byte) error {
		d, err := decodeDomain(rest, value)
		if err != nil {
			return c.bad(row, value, cmp.Or(d.Name, "domain"), err)
		}
		c.domains[d.Name] = true
		c.highest = max(c.highest, uint64(d.ID), uint64(d.Folders))
		return nil
	})
}

// twoStrings takes domain and local key from a row's key.
func twoStrings(rest []byte) (n name, err error) {
	if n.domain, rest, err = kv.TakeString(rest); err == nil {
		n.local, rest, err = kv.TakeString(rest)
	}
	if err == nil && len(rest) > 0 {
		err = fmt.Errorf("key is too long: %w", kv.ErrCorrupt)
	}
	return n, err
}

func (n name) String() string { return n.local + "@" + n.domain }

func (c *dirCheck) readNames() error {
	return c.scan(kindAddress, func(row, rest, value []byte) error {
		n, err := twoStrings(rest)
		if err == nil && len(value) != 8 {
			err = fmt.Errorf("%d bytes: %w", len(value), kv.ErrCorrupt)
		}
		if err != nil {
			return c.bad(row, value, n.String(), err)
		}
		id, _, _ := kv.TakeUint64(value)
		c.names[n] = AccountID(id)
		c.highest = max(c.highest, id)
		return nil
	})
}

// readAccounts reads the accounts. One whose row is lost comes back if its address and its password
// are still there: people go on reading their mail.
func (c *dirCheck) readAccounts() error {
	err := c.scan(kindAccount, func(row, rest, value []byte) error {
		id, _, err := kv.TakeUint64(rest)
		if err != nil {
			return c.bad(row, value, "account", err)
		}
		c.highest = max(c.highest, id)
		var rec accountRecord
		if err := json.Unmarshal(value, &rec); err != nil || rec.Domain == "" || rec.Local == "" {
			c.find("directory", fmt.Sprintf("account %d", id), true, "its row cannot be read: %v", err)
			return c.aside(row, value)
		}
		c.accounts[AccountID(id)] = rec
		return nil
	})
	if err != nil {
		return err
	}
	return c.scan(kindSecret, func(_, rest, _ []byte) error {
		id, _, err := kv.TakeUint64(rest)
		if _, known := c.accounts[AccountID(id)]; err != nil || known {
			return nil
		}
		for n, of := range c.names {
			if of == AccountID(id) {
				return c.makeAccount(n, of)
			}
		}
		return nil
	})
}

func (c *dirCheck) makeAccount(n name, id AccountID) error {
	c.find("directory", n.String(), true, "the row of account %d is lost", id)
	rec := accountRecord{Local: n.local, Domain: n.domain, Generation: 1}
	return c.mend(n.String(), "is made again, without its display name, quota and rights", func() error {
		c.accounts[id] = rec
		return write(c.fix, accountRow(id), rec)
	})
}

func (c *dirCheck) readAliases() error {
	return c.scan(kindAlias, func(row, rest, value []byte) error {
		n, err := twoStrings(rest)
		var rec aliasRecord
		if err == nil {
			err = json.Unmarshal(value, &rec)
		}
		if err == nil {
			_, err = rec.alias(n.domain)
		}
		if err != nil {
			return c.bad(row, value, "alias "+n.String(), err)
		}
		c.aliases[n] = rec
		return nil
	})
}

func (c *dirCheck) accountIDs() []AccountID {
	ids := make([]AccountID, 0, len(c.accounts))
	for id := range c.accounts {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

// checkAccounts wants each account to be found by its address.
func (c *dirCheck) checkAccounts() error {
	for _, id := range c.accountIDs() {
		rec := c.accounts[id]
		local, err := localKey(rec.Local)
		n := name{rec.Domain, local}
		where := rec.Local + "@" + rec.Domain
		switch of := c.names[n]; {
		case err != nil:
			c.find("directory", where, false, "account %d has no valid address: %v", id, err)
			continue
		case of == id:
			continue
		case of != 0 && c.accounts[of].Domain == rec.Domain && sameLocal(c.accounts[of].Local, local):
			c.find("directory", where, false, "is the address of account %d and of account %d", of, id)
			continue
		}
		c.find("directory", where, true, "does not lead to account %d, whose address it is", id)
		err = c.mend(where, fmt.Sprintf("leads to account %d again", id), func() error {
			c.names[n] = id
			return c.fix.Set(nameRow(kindAddress, n.domain, n.local), kv.AppendUint64(nil, uint64(id)))
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func sameLocal(local, key string) bool {
	k, err := localKey(local)
	return err == nil && k == key
}

// checkNames wants each address to lead to the account that has it.
func (c *dirCheck) checkNames() error {
	for n, id := range c.names {
		rec, known := c.accounts[id]
		if known && rec.Domain == n.domain && sameLocal(rec.Local, n.local) {
			continue
		}
		c.find("directory", n.String(), true, "leads to account %d, which is not there or not called so", id)
		err := c.mend(n.String(), "is free again", func() error {
			delete(c.names, n)
			return c.fix.Delete(nameRow(kindAddress, n.domain, n.local))
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// checkDomains wants each address to be in a domain of ours.
func (c *dirCheck) checkDomains() error {
	used := map[string]bool{}
	for n := range c.names {
		used[n.domain] = true
	}
	for n := range c.aliases {
		used[n.domain] = true
	}
	for domain := range used {
		if c.domains[domain] {
			continue
		}
		c.find("directory", domain, true, "has addresses, but its own row is not there")
		err := c.mend(domain, "is a domain of this server again, without its quota", func() error {
			c.domains[domain] = true
			c.highest++
			return errors.Join(
				write(c.fix, domainRow(domain), domainRecord{ID: DomainID(c.highest)}),
				c.fix.Set(key(kindCounter), kv.AppendUint64(nil, c.highest)))
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// checkTargets wants each target of an alias that is an address of ours to lead somewhere.
func (c *dirCheck) checkTargets() error {
	for n, rec := range c.aliases {
		var good []string
		where := "alias " + n.String()
		for _, target := range rec.Targets {
			if c.leads(target) {
				good = append(good, target)
				continue
			}
			c.find("alias", where, true, "leads to %s, where nobody is", target)
		}
		if len(good) == len(rec.Targets) {
			continue
		}
		what := "the targets that lead nowhere are taken out"
		if len(good) == 0 {
			what = "is removed: it led nowhere"
		}
		rec.Targets = good
		err := c.mend(where, what, func() error {
			row := nameRow(kindAlias, n.domain, n.local)
			if value, err := c.fix.Get(row); err == nil {
				if err := c.aside(row, value); err != nil {
					return err
				}
			}
			if len(good) == 0 {
				delete(c.aliases, n)
				return c.fix.Delete(row)
			}
			c.aliases[n] = rec
			return write(c.fix, row, rec)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// leads reports whether mail for an address would find somebody, or is for another server.
func (c *dirCheck) leads(address string) bool {
	a, err := smtp.ParseAddress(address)
	if err != nil {
		return false
	}
	if !c.domains[a.Domain] {
		return true
	}
	base, _, _ := splitDetail(a.Local)
	for _, l := range []string{a.Local, base} {
		local, err := localKey(l)
		if _, alias := c.aliases[name{a.Domain, local}]; err == nil && (alias || c.names[name{a.Domain, local}] != 0) {
			return true
		}
	}
	if _, rest := c.aliases[name{a.Domain, ""}]; rest {
		return true
	}
	role := strings.ToLower(a.Local)
	return (role == "postmaster" || role == "abuse") && len(c.accounts) > 0
}

// checkLooks wants the rows of looks to be those of the names.
func (c *dirCheck) checkLooks() error {
	want := map[name]string{}
	for n := range c.names {
		want[name{n.domain, skeleton(n.local)}] = n.local
	}
	for n := range c.aliases {
		if n.local != "" {
			want[name{n.domain, skeleton(n.local)}] = n.local
		}
	}
	err := c.scan(kindSkeleton, func(row, rest, value []byte) error {
		n, err := twoStrings(rest)
		if local, ok := want[n]; err == nil && ok && local == string(value) {
			delete(want, n)
			return nil
		}
		if _, ok := want[n]; err == nil && ok {
			return nil // set below
		}
		c.find("directory", n.String(), true, "looks like %q, which is no name", value)
		row = bytes.Clone(row)
		return c.mend(n.String(), "may be taken again", func() error { return c.fix.Delete(row) })
	})
	for n, local := range want {
		if err != nil {
			return err
		}
		c.find("directory", local+"@"+n.domain, true, "is not guarded against names that look like it")
		err = c.mend(local+"@"+n.domain, "is guarded again", func() error {
			return c.fix.Set(nameRow(kindSkeleton, n.domain, n.local), []byte(local))
		})
	}
	return err
}

// checkAdmins wants the rows of administrators to be those of the accounts.
func (c *dirCheck) checkAdmins() error {
	marked := map[AccountID]string{}
	err := c.scan(kindAdmin, func(_, rest, value []byte) error {
		id, _, err := kv.TakeUint64(rest)
		marked[AccountID(id)] = string(value)
		return err
	})
	ids := c.accountIDs()
	for id := range marked {
		if _, known := c.accounts[id]; !known {
			ids = append(ids, id)
		}
	}
	for _, id := range ids {
		if err != nil {
			return err
		}
		rec, want := c.accounts[id], ""
		if rec.Admin && !rec.Disabled {
			want = rec.Domain
		}
		if marked[id] == want {
			continue
		}
		where := fmt.Sprintf("account %d", id)
		c.find("directory", where, true, "is listed as an administrator of %q, and is one of %q",
			marked[id], want)
		err = c.mend(where, "is listed as what it is", func() error { return markAdmin(c.fix, id, rec) })
	}
	return err
}

// checkSecrets wants each account to have credentials that can be read, and nobody else.
func (c *dirCheck) checkSecrets() error {
	has := map[AccountID]bool{}
	err := c.scan(kindSecret, func(row, rest, value []byte) error {
		id, _, err := kv.TakeUint64(rest)
		rec, known := c.accounts[AccountID(id)]
		where := fmt.Sprintf("account %d", id)
		if known {
			where = rec.Local + "@" + rec.Domain
		}
		if err == nil {
			err = json.Unmarshal(value, &credentialRecord{})
		}
		if err == nil && !known {
			err = errors.New("there is no such account")
		}
		if err != nil {
			return c.bad(row, value, "password of "+where, err)
		}
		has[AccountID(id)] = true
		return nil
	})
	for _, id := range c.accountIDs() {
		if err != nil {
			return err
		}
		if has[id] {
			continue
		}
		rec := c.accounts[id]
		where := "password of " + rec.Local + "@" + rec.Domain
		c.find("directory", where, true, "is not there: nobody can log in")
		err = c.mend(where, "is to be set anew: until then nobody can log in", func() error {
			return write(c.fix, secretRow(id), credentialRecord{})
		})
	}
	return err
}

// checkCounter wants the next identifier to be a new one.
func (c *dirCheck) checkCounter() error {
	n, err := number(c.r, key(kindCounter))
	if err != nil && !errors.Is(err, kv.ErrCorrupt) || err == nil && n >= c.highest {
		return err
	}
	c.find("directory", "counter", true, "the last identifier is %d, and %d is in use", n, c.highest)
	return c.mend("counter", "is right again", func() error {
		return c.fix.Set(key(kindCounter), kv.AppendUint64(nil, c.highest))
	})
}

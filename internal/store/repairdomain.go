package store

import (
	"errors"
	"fmt"

	"tram/internal/kv"
)

// domains makes again what domains have granted, from what their accounts use.
func (r *repairer) domains() error {
	var found []Finding
	c := r.checker(func(f Finding) { found = append(found, f) })
	if err := c.bear("domains", c.domains()); err != nil || len(found) == 0 {
		return err
	}
	for _, f := range found {
		if r.o.Found != nil {
			r.o.Found(f)
		}
	}
	names, err := r.cleanDomains()
	if err != nil {
		return err
	}
	err = r.s.eachAccount(r.ctx, func(id AccountID, row *accountRow) error {
		if row != nil && row.Domain != "" {
			names[row.Domain] = append(names[row.Domain], id)
		}
		return nil
	})
	if err != nil {
		return err
	}
	for name, ids := range names {
		if err := r.regrant(name, ids); err != nil {
			return err
		}
		r.did(Finding{Kind: "domain", Where: "domain " + name,
			What: "what it has granted is counted again"})
	}
	found = found[:0]
	if err := c.bear("domains", c.domains()); err != nil {
		return err
	}
	r.left(found)
	return nil
}

// cleanDomains drops the rows that cannot be read and returns the names that rows speak of.
func (r *repairer) cleanDomains() (map[string][]AccountID, error) {
	type bad struct {
		name       string
		key, value []byte
	}
	var all []bad
	names := map[string][]AccountID{}
	prefix := appendKey(nil, 0, kindDomain)
	err := r.s.db.View(r.ctx, "", func(kr kv.Reader) error {
		return kr.Scan(kv.Prefix(prefix), func(key, value []byte) error {
			name, rest, err := kv.TakeString(key[len(prefix):])
			switch {
			case err == nil && len(rest) == 0:
				names[name] = nil
				_, err = decodeDomain(key, value)
			case err == nil && len(rest) == 8:
				names[name] = nil
				_, err = decodeGrant(key, value)
			case err == nil:
				err = ErrDamaged
			}
			if err != nil {
				all = append(all, bad{name, append([]byte(nil), key...), append([]byte(nil), value...)})
			}
			return nil
		})
	})
	for _, b := range all {
		if err != nil {
			break
		}
		if err = r.keep(b.key, b.value); err != nil {
			break
		}
		err = r.s.db.Update(r.ctx, domainScope(b.name), func(w kv.Txn) error { return w.Delete(b.key) })
		what := "cannot be read and is dropped"
		if string(b.key) == string(domainKey(b.name)) {
			what = "cannot be read and is dropped, and with it the quota of the domain"
		}
		r.did(Finding{Kind: "domain", Where: fmt.Sprintf("domain %s (key %x)", b.name, b.key), What: what})
	}
	return names, wrap(err, "drop damaged rows of domains")
}

// regrant sets the sum of a domain to its members' shares, and then each share to what is used.
func (r *repairer) regrant(name string, ids []AccountID) error {
	err := r.s.db.Update(r.ctx, domainScope(name), func(w kv.Txn) error {
		d, err := readDomain(w, name)
		if err != nil {
			return err
		}
		d.Granted = Usage{}
		key := domainKey(name)
		err = w.Scan(kv.Prefix(key), func(at, value []byte) error {
			if len(at) != len(key)+8 {
				return nil
			}
			g, err := decodeGrant(at, value)
			d.Granted.Bytes += g.Bytes
			d.Granted.Messages += g.Messages
			return err
		})
		if err != nil {
			return err
		}
		return w.Set(key, seal(key, d.append(nil)))
	})
	if err != nil {
		return wrap(err, "count shares of domain "+name)
	}
	for _, id := range ids {
		err := r.s.Account(id).maintain(r.ctx, (*Tx).resetGrant)
		if err == nil {
			err = r.s.settleGrant(r.ctx, name, id)
		}
		if err != nil && !errors.Is(err, ErrNotFound) {
			return err
		}
	}
	return r.s.reclaim(r.ctx, name, false)
}

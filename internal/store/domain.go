package store

import (
	"context"
	"errors"
	"fmt"

	"tram/internal/kv"
)

// A domain's quota holds for its accounts together, and each account is written in a transaction of
// its own. So an account holds a grant: a part of the quota that is its to use. The sum of the
// grants never passes the quota, and no account passes its grant; that is the whole proof.
//
// The domain row has the quota and the sum of what was granted, the member row of an account its
// grant as the domain knows it. They are written in the domain's scope:
//
//	quotaBytes quotaMessages grantedBytes grantedMessages
//	epoch bytes messages
//
// The account row has the grant as the account knows it, which is never more: to grow, the domain's
// side is written first, to shrink, the account's. Shrinking raises the account's epoch, which
// voids what was granted to an earlier one and not yet taken over. A crash in between leaves the
// domain with more granted than is used, until reclaim or Maintain puts it right.
type domainRow struct {
	Quota   Quota
	Granted Usage // only Bytes and Messages
}

func (d *domainRow) append(dst []byte) []byte {
	dst = appendUint(append(dst, version1), uint64(d.Quota.Bytes))
	dst = appendUint(dst, uint64(d.Quota.Messages))
	return appendUint(appendUint(dst, uint64(d.Granted.Bytes)), uint64(d.Granted.Messages))
}

func decodeDomain(key, value []byte) (domainRow, error) {
	d, err := unseal(key, value)
	if err != nil {
		return domainRow{}, err
	}
	row := domainRow{Quota: Quota{Bytes: int64(d.uint()), Messages: int64(d.uint())}}
	row.Granted = Usage{Bytes: int64(d.uint()), Messages: int64(d.uint())}
	return row, d.done(key)
}

func (g grant) append(dst []byte) []byte {
	dst = appendUint(append(dst, version1), g.Epoch)
	return appendUint(appendUint(dst, uint64(g.Bytes)), uint64(g.Messages))
}

func decodeGrant(key, value []byte) (grant, error) {
	d, err := unseal(key, value)
	if err != nil {
		return grant{}, err
	}
	g := grant{Epoch: d.uint(), Bytes: int64(d.uint()), Messages: int64(d.uint())}
	return g, d.done(key)
}

func domainKey(domain string) []byte {
	return kv.AppendString(appendKey(nil, 0, kindDomain), domain)
}

func memberKey(domain string, id AccountID) []byte {
	return kv.AppendUint64(domainKey(domain), uint64(id))
}

func domainScope(domain string) kv.Scope { return kv.Scope("domainquota/" + domain) }

func readDomain(r kv.Reader, domain string) (domainRow, error) {
	key := domainKey(domain)
	value, err := r.Get(key)
	if errors.Is(err, kv.ErrNotFound) {
		return domainRow{}, nil
	}
	if err != nil {
		return domainRow{}, wrap(err, "read domain quota")
	}
	return decodeDomain(key, value)
}

// readMember returns the grant of an account as its domain knows it; ok is false for no member.
func readMember(r kv.Reader, domain string, id AccountID) (g grant, ok bool, err error) {
	key := memberKey(domain, id)
	value, err := r.Get(key)
	if errors.Is(err, kv.ErrNotFound) {
		return grant{}, false, nil
	}
	if err != nil {
		return grant{}, false, wrap(err, "read domain member")
	}
	g, err = decodeGrant(key, value)
	return g, true, err
}

// updateMember changes the grant of a member in its domain's scope, and the sum with it. fn gets
// the domain and the grant as they are, and returns the grant to be.
func (s *Store) updateMember(ctx context.Context, domain string, id AccountID,
	fn func(d *domainRow, old grant, member bool) (grant, bool, error)) error {
	err := s.db.Update(ctx, domainScope(domain), func(w kv.Txn) error {
		d, err := readDomain(w, domain)
		if err != nil {
			return err
		}
		old, member, err := readMember(w, domain, id)
		if err != nil {
			return err
		}
		g, keep, err := fn(&d, old, member)
		if err != nil || keep && member && g == old {
			return err
		}
		key := memberKey(domain, id)
		if keep {
			err = w.Set(key, seal(key, g.append(nil)))
		} else {
			g = grant{}
			err = w.Delete(key)
		}
		if err != nil {
			return err
		}
		d.Granted.Bytes = max(0, d.Granted.Bytes+g.Bytes-old.Bytes)
		d.Granted.Messages = max(0, d.Granted.Messages+g.Messages-old.Messages)
		key = domainKey(domain)
		return w.Set(key, seal(key, d.append(nil)))
	})
	return wrap(err, fmt.Sprintf("change share of domain %s", domain))
}

// SetDomain makes an account count against the quota of a domain; "" is none.
func (s *Store) SetDomain(ctx context.Context, id AccountID, domain string) error {
	if domain != "" {
		// A member first: a quota that is set from now on is told to the account.
		err := s.updateMember(ctx, domain, id, func(_ *domainRow, old grant, _ bool) (
			grant, bool, error) {
			return old, true, nil
		})
		if err != nil {
			return err
		}
	}
	var before string
	err := s.Account(id).Update(ctx, func(tx *Tx) error {
		before = tx.row.Domain
		if before == domain {
			return nil
		}
		tx.row.Domain = domain
		return tx.resetGrant()
	})
	if err != nil {
		return err
	}
	if before != "" && before != domain {
		err := s.updateMember(ctx, before, id, func(*domainRow, grant, bool) (grant, bool, error) {
			return grant{}, false, nil
		})
		if err != nil {
			return err
		}
	}
	if domain == "" {
		return nil
	}
	return s.settleGrant(ctx, domain, id)
}

// resetGrant makes the account's grant what it uses, in a new epoch.
func (tx *Tx) resetGrant() error {
	tx.row.Limited = false
	if tx.row.Domain != "" {
		d, err := readDomain(tx.r, tx.row.Domain)
		if err != nil {
			return err
		}
		tx.row.Limited = d.Quota != Quota{}
	}
	u := tx.row.Usage
	tx.row.Grant = grant{Epoch: tx.row.Grant.Epoch + 1, Bytes: u.Bytes, Messages: u.Messages}
	tx.dirty = true
	return nil
}

// settleGrant brings the domain's side of a grant to the account's, unless the account has already
// been granted more in its present epoch.
func (s *Store) settleGrant(ctx context.Context, domain string, id AccountID) error {
	row, err := s.accountRow(ctx, id)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return err
	}
	member := err == nil && row.Domain == domain
	return s.updateMember(ctx, domain, id, func(_ *domainRow, old grant, is bool) (
		grant, bool, error) {
		switch {
		case !member:
			return grant{}, false, nil
		case is && old.Epoch >= row.Grant.Epoch:
			return old, true, nil
		}
		return row.Grant, true, nil
	})
}

// accountRow reads the row of an account that exists.
func (s *Store) accountRow(ctx context.Context, id AccountID) (row accountRow, err error) {
	a := s.Account(id)
	err = s.db.View(ctx, a.scope(), func(r kv.Reader) error {
		tx := a.newTx(ctx, r, nil)
		err := tx.begin()
		row = tx.row
		return err
	})
	return row, err
}

// domainMember is an account of a domain and what the domain has granted it.
type domainMember struct {
	id      AccountID
	granted grant
}

// members returns the accounts of a domain.
func (s *Store) members(ctx context.Context, domain string) ([]domainMember, error) {
	var list []domainMember
	err := s.db.View(ctx, domainScope(domain), func(r kv.Reader) error {
		list = list[:0]
		prefix := domainKey(domain)
		return r.Scan(kv.Prefix(prefix), func(key, value []byte) error {
			if len(key) != len(prefix)+8 {
				return nil
			}
			g, err := decodeGrant(key, value)
			if err != nil {
				s.log.Error("domain member cannot be read", "err", err)
			}
			list = append(list, domainMember{AccountID(emailOfKey(key)), g})
			return nil
		})
	})
	return list, wrap(err, "read domain members")
}

// SetDomainQuota sets the bound of all accounts of a domain together. It may be below what is in
// use: then nothing more comes in.
func (s *Store) SetDomainQuota(ctx context.Context, domain string, q Quota) error {
	if domain == "" || q.Bytes < 0 || q.Messages < 0 {
		return fmt.Errorf("set quota of domain %q: bad name or bound", domain)
	}
	err := s.db.Update(ctx, domainScope(domain), func(w kv.Txn) error {
		d, err := readDomain(w, domain)
		if err != nil {
			return err
		}
		d.Quota = q
		key := domainKey(domain)
		return w.Set(key, seal(key, d.append(nil)))
	})
	if err != nil {
		return wrap(err, "set domain quota")
	}
	return s.reclaim(ctx, domain, true)
}

// reclaim takes back what the accounts of a domain were granted and do not use. With all set also
// those without slack are gone over, so that each knows whether there is a quota.
func (s *Store) reclaim(ctx context.Context, domain string, all bool) error {
	members, err := s.members(ctx, domain)
	if err != nil {
		return err
	}
	for _, m := range members {
		row, err := s.accountRow(ctx, m.id)
		if err == nil && row.Domain == domain && (all || m.granted.slack(row.Usage)) {
			err = s.Account(m.id).maintain(kv.Freeing(ctx), (*Tx).resetGrant)
		}
		if err != nil && !errors.Is(err, ErrNotFound) {
			return err
		}
		if err := s.settleGrant(kv.Freeing(ctx), domain, m.id); err != nil {
			return err
		}
	}
	return nil
}

// slack reports whether more was granted than is used.
func (g grant) slack(u Usage) bool { return g.Bytes > u.Bytes || g.Messages > u.Messages }

// extendGrant gets the account of tx the grant it wants. refused means that the domain has no more
// to give. Either way the transaction is to run again.
func (s *Store) extendGrant(ctx context.Context, tx *Tx) (refused bool, err error) {
	domain, want := tx.row.Domain, tx.wanted
	for _, last := range []bool{false, true} {
		ok, err := s.growGrant(ctx, tx, want)
		if ok || err != nil {
			return false, err
		}
		if last {
			break
		}
		// Others may have been granted what they do not use. Only when their use leaves room is it
		// worth taking that back.
		used, quota, err := s.DomainUsage(ctx, domain)
		if err != nil {
			return false, err
		}
		if over(used.Bytes, want.Bytes, quota.Bytes) ||
			over(used.Messages, want.Messages, quota.Messages) {
			return true, nil
		}
		if err := s.reclaim(ctx, domain, false); err != nil {
			return false, err
		}
	}
	return true, nil
}

// growGrant asks the domain for want, with something in reserve when there is plenty, and has the
// account take it over. ok is false when the domain has not that much.
func (s *Store) growGrant(ctx context.Context, tx *Tx, want grant) (ok bool, err error) {
	var g grant
	base := tx.row.Grant
	err = s.updateMember(ctx, tx.row.Domain, tx.id, func(d *domainRow, old grant, member bool) (
		grant, bool, error) {
		ok, g = false, base
		if old.Epoch > base.Epoch {
			ok = true // another transaction went ahead: look again
			return old, true, nil
		}
		if member && old.Epoch == base.Epoch {
			g.Bytes, g.Messages = max(g.Bytes, old.Bytes), max(g.Messages, old.Messages)
		}
		need := grant{
			Bytes:    base.Bytes + want.Bytes - g.Bytes,
			Messages: base.Messages + want.Messages - g.Messages,
		}
		// What the sum will be with the grant as it is, if it was not yet counted in this epoch.
		granted := d.Granted
		granted.Bytes += g.Bytes - old.Bytes
		granted.Messages += g.Messages - old.Messages
		if over(granted.Bytes, need.Bytes, d.Quota.Bytes) ||
			over(granted.Messages, need.Messages, d.Quota.Messages) {
			return old, member, nil
		}
		ok = true
		g.Bytes += portion(need.Bytes, granted.Bytes, d.Quota.Bytes)
		g.Messages += portion(need.Messages, granted.Messages, d.Quota.Messages)
		return g, true, nil
	})
	if err != nil || !ok {
		return false, err
	}
	return true, s.Account(tx.id).maintain(ctx, func(tx *Tx) error {
		if tx.row.Grant.Epoch != g.Epoch || tx.row.Domain == "" {
			return nil // shrunk meanwhile: what was granted is void
		}
		tx.row.Grant.Bytes = max(tx.row.Grant.Bytes, g.Bytes)
		tx.row.Grant.Messages = max(tx.row.Grant.Messages, g.Messages)
		tx.dirty = true
		return nil
	})
}

// portion is how much to grant when need is asked for: up to a hundredth of the quota at once, as
// long as that much again is left.
func portion(need, granted, quota int64) int64 {
	if need <= 0 {
		return 0
	}
	if quota == 0 {
		return need + 1<<30 // no bound of this kind: no need to ask often
	}
	step := quota / 100
	if need < step && granted+2*step <= quota {
		return step
	}
	return need
}

// DomainUsage returns what the accounts of a domain use together, and the domain's quota.
func (s *Store) DomainUsage(ctx context.Context, domain string) (u Usage, q Quota, err error) {
	members, err := s.members(ctx, domain)
	if err != nil {
		return u, q, err
	}
	for _, m := range members {
		row, err := s.accountRow(ctx, m.id)
		if errors.Is(err, ErrNotFound) || err == nil && row.Domain != domain {
			continue
		}
		if err != nil {
			return u, q, err
		}
		u.Bytes += row.Usage.Bytes
		u.Messages += row.Usage.Messages
		u.RecoverableBytes += row.Usage.RecoverableBytes
		u.RecoverableMessages += row.Usage.RecoverableMessages
	}
	err = s.db.View(ctx, domainScope(domain), func(r kv.Reader) error {
		d, err := readDomain(r, domain)
		q = d.Quota
		return err
	})
	return u, q, err
}

package directory

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"

	"tram/internal/kv"
	"tram/internal/smtp"
)

// LocalTarget is an account that a recipient address leads to.
type LocalTarget struct {
	Account AccountID
	Detail  string // what followed the separator in the local part, "" when nothing did
}

// Resolution is where mail for an address goes; each place is named once.
type Resolution struct {
	Local    []LocalTarget
	Remote   []smtp.Address
	ViaAlias string // the alias or catch-all that matched, "" for an account's own address
	// Return: the address is the return address of somebody else's mail that was sent on; only bounces may
	// go there, which have the null sender.
	Return bool
}

// IsLocal reports whether the server answers for a domain, given as smtp.Address keeps it. It
// costs a map look-up.
func (d *Directory) IsLocal(domain string) bool {
	_, ok, err := d.cache.domain(context.Background(), domain)
	if err != nil {
		d.log.Warn("directory: read version", "error", err)
	}
	return ok
}

// Resolve tells where mail for rcpt goes. An account's address comes before an alias, a full match
// before one without the detail, and a catch-all takes what is left; postmaster and abuse are
// answered in every domain, by an administrator when nobody else does (RFC 5321 §4.5.1, RFC 2142
// §5). Targets of an alias that lead nowhere are left out while others remain.
//
// Errors: ErrNotLocal, ErrNoUser, ErrDisabled, ErrLoop (the alias leads back to itself, or to more
// places or through more aliases than allowed), or what the database said: then try again later.
func (d *Directory) Resolve(ctx context.Context, rcpt smtp.Address) (Resolution, error) {
	if rcpt.Domain == "" && strings.EqualFold(rcpt.Local, "postmaster") {
		// <Postmaster> without a domain, RFC 5321 §4.1.1.3.
		if err := d.cache.fresh(ctx); err != nil {
			return Resolution{}, err
		}
		rcpt.Domain = d.cache.primary()
	}
	if _, ok, err := d.cache.domain(ctx, rcpt.Domain); err != nil || !ok {
		return Resolution{}, errors.Join(err, notLocal(ok))
	}
	r := resolver{d: d, ctx: ctx}
	if smtp.IsReturnAddress(rcpt.Local) {
		from, err := d.returns().Sender(rcpt, d.clock.Now())
		if err != nil {
			return Resolution{}, ErrNoUser
		}
		if !d.IsLocal(from.Domain) {
			return Resolution{Remote: []smtp.Address{from}, Return: true}, nil
		}
		rcpt, r.out.Return = from, true
	}
	m, err := r.match(rcpt)
	if err != nil {
		return Resolution{}, err
	}
	if m.alias != nil {
		r.out.ViaAlias = m.alias.Address
	}
	if err := r.follow(m, 0); err != nil {
		return Resolution{}, err
	}
	if len(r.out.Local)+len(r.out.Remote) == 0 {
		return Resolution{}, r.nowhere()
	}
	return r.out, nil
}

func notLocal(ok bool) error {
	if ok {
		return nil
	}
	return ErrNotLocal
}

// MayUse reports whether the account may send as from: its own address, with any detail, and the
// addresses that lead to it (A16). The null sender is nobody's.
func (d *Directory) MayUse(ctx context.Context, id AccountID, from smtp.Address) bool {
	r, err := d.Resolve(ctx, from)
	if err != nil || r.Return {
		return false
	}
	return slices.ContainsFunc(r.Local, func(t LocalTarget) bool { return t.Account == id })
}

// resolver is one walk from an address to everywhere it leads.
type resolver struct {
	d        *Directory
	ctx      context.Context
	out      Resolution
	path     []name        // aliases that are being followed
	done     map[name]bool // aliases that were followed
	loop     bool
	disabled bool
}

// match is what an address names.
type match struct {
	name
	entry
	detail string
}

func (m match) nobody() bool { return m.account == 0 && m.alias == nil }

// match finds the account, alias or catch-all of an address in a domain of ours.
func (r *resolver) match(a smtp.Address) (match, error) {
	if m, err := r.byName(a); err != nil || !m.nobody() {
		return m, err
	}
	e, err := r.d.cache.name(r.ctx, a.Domain, "")
	if err != nil || e.alias != nil {
		return match{name: name{a.Domain, ""}, entry: e}, err
	}
	if role := strings.ToLower(a.Local); role == "postmaster" || role == "abuse" {
		id, err := r.d.administrator(r.ctx, a.Domain)
		return match{name: name{a.Domain, role}, entry: entry{account: id}}, err
	}
	return match{}, nil
}

func (r *resolver) byName(a smtp.Address) (match, error) {
	local, err := localKey(a.Local)
	if err != nil {
		return match{}, nil // nobody can have such a name
	}
	e, err := r.d.cache.name(r.ctx, a.Domain, local)
	m := match{name: name{a.Domain, local}, entry: e}
	if err != nil || !m.nobody() {
		return m, err
	}
	base, detail, ok := splitDetail(a.Local)
	if !ok {
		return match{}, nil
	}
	if local, err = localKey(base); err != nil {
		return match{}, nil
	}
	e, err = r.d.cache.name(r.ctx, a.Domain, local)
	return match{name: name{a.Domain, local}, entry: e, detail: detail}, err
}

// follow adds what a match leads to.
func (r *resolver) follow(m match, depth int) error {
	switch {
	case m.account != 0:
		return r.addAccount(m)
	case m.alias == nil:
		return nil
	case slices.Contains(r.path, m.name) || depth >= r.d.limits.AliasDepth:
		r.loop = true
		return nil
	case r.done[m.name]:
		return nil
	}
	if r.done == nil {
		r.done = map[name]bool{}
	}
	r.done[m.name] = true
	r.path = append(r.path, m.name)
	defer func() { r.path = r.path[:len(r.path)-1] }()
	for _, target := range m.alias.Targets {
		if len(r.out.Local)+len(r.out.Remote) >= r.d.limits.AliasTargets {
			return ErrLoop
		}
		if !r.d.IsLocal(target.Domain) {
			if !slices.Contains(r.out.Remote, target) {
				r.out.Remote = append(r.out.Remote, target)
			}
			continue
		}
		next, err := r.match(target)
		if err != nil {
			return err
		}
		if next.detail == "" {
			next.detail = m.detail
		}
		if err := r.follow(next, depth+1); err != nil {
			return err
		}
	}
	return nil
}

func (r *resolver) addAccount(m match) error {
	same := func(t LocalTarget) bool { return t.Account == m.account }
	if slices.ContainsFunc(r.out.Local, same) {
		return nil
	}
	a, err := r.d.cache.account(r.ctx, m.account)
	switch {
	case errors.Is(err, ErrNotFound): // removed a moment ago
		return nil
	case err != nil:
		return err
	case a.Disabled:
		r.disabled = true
		return nil
	}
	r.out.Local = append(r.out.Local, LocalTarget{Account: m.account, Detail: m.detail})
	return nil
}

// nowhere says why an address led to nobody.
func (r *resolver) nowhere() error {
	switch {
	case r.loop:
		return ErrLoop
	case r.disabled:
		return ErrDisabled
	}
	return ErrNoUser
}

// administrator finds who answers for postmaster of a domain: the domain's first administrator,
// else the server's, else the domain's or the server's first account; 0 when there is nobody.
func (d *Directory) administrator(ctx context.Context, domain string) (AccountID, error) {
	in := func(c *cache) map[string]AccountID { return c.admins }
	return remembered(ctx, d.cache, in, domain, func(r kv.Reader) (AccountID, error) {
		var own, first AccountID
		prefix := key(kindAdmin)
		err := r.Scan(kv.Prefix(prefix), func(k, of []byte) error {
			id, _, err := kv.TakeUint64(k[len(prefix):])
			if err != nil {
				return err
			}
			if first == 0 {
				first = AccountID(id)
			}
			if string(of) == domain {
				own = AccountID(id)
				return kv.Stop
			}
			return nil
		})
		if err != nil || own != 0 || first != 0 {
			return cmp.Or(own, first), err
		}
		return firstAccount(r, domain)
	})
}

// firstAccount is the account to fall back on while there is no administrator.
func firstAccount(r kv.Reader, domain string) (AccountID, error) {
	var first AccountID
	own := kv.Prefix(kv.AppendString(key(kindAddress), domain))
	own.Limit = 1
	err := r.Scan(own, func(_, v []byte) error {
		id, _, err := kv.TakeUint64(v)
		first = AccountID(id)
		return err
	})
	if err != nil || first != 0 {
		return first, err
	}
	prefix := key(kindAccount)
	all := kv.Prefix(prefix)
	all.Limit, all.KeysOnly = 1, true
	err = r.Scan(all, func(k, _ []byte) error {
		id, _, err := kv.TakeUint64(k[len(prefix):])
		first = AccountID(id)
		return err
	})
	return first, err
}

package spf

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"

	"tram/internal/dns"
	"tram/internal/mailauth"
)

// hit is what a mechanism says about the client.
type hit struct {
	matched   bool
	mechanism string       // as written; below an include, both
	network   netip.Prefix // that it authorises, as far as it names one
}

// match evaluates one mechanism, RFC 7208 §5. A finding that is not nil ends the check with it.
func (e *evaluation) match(ctx context.Context, m *mechanism, domain string) (hit, *finding) {
	h := hit{mechanism: clip(m.text)}
	switch m.name {
	case "all":
		h.matched = true
		h.network = netip.PrefixFrom(e.q.Addr, 0).Masked()
		return h, nil
	case "ip4", "ip6":
		h.matched = m.network.Contains(e.q.Addr)
		h.network = m.network
		return h, nil
	}
	if err := e.count(); err != nil {
		return h, end(err)
	}
	target := domain
	if m.spec != "" {
		var err error
		if target, err = e.expand(ctx, m.spec, domain, false); err != nil {
			return h, end(err)
		}
	}
	if m.name == "include" {
		return e.include(ctx, m, target)
	}
	// A name that cannot be looked up matches nothing; RFC 7208 §4.8 leaves that case open.
	if !wellFormed(target) && (m.name != "ptr" || target == "") {
		return h, nil
	}
	var err error
	switch m.name {
	case "a":
		h.network, err = e.within(ctx, target, m)
		h.matched = h.network.IsValid()
	case "mx":
		h.network, err = e.exchanger(ctx, target, m)
		h.matched = h.network.IsValid()
	case "exists":
		// An A record decides whatever the family of the client is, RFC 7208 §5.7.
		_, _, err = e.r.Family(ctx, target, false)
		h.matched = err == nil
		err = e.void(err)
	case "ptr":
		h.matched, err = e.pointer(ctx, target)
	}
	if err != nil {
		return h, end(err)
	}
	return h, nil
}

func end(err error) *finding {
	f := failed(err)
	return &f
}

// include evaluates another domain's record, RFC 7208 §5.2: only its pass is a match.
func (e *evaluation) include(ctx context.Context, m *mechanism, target string) (hit, *finding) {
	f := e.checkHost(ctx, target)
	switch f.status {
	case mailauth.Pass:
		return hit{matched: true, mechanism: clip(m.text) + " " + f.mechanism, network: f.network}, nil
	case mailauth.Fail, mailauth.SoftFail, mailauth.Neutral:
		return hit{}, nil
	case mailauth.None:
		f = problem(mailauth.PermError, "include of "+target+", which has no record")
	}
	return hit{}, &f
}

// within looks for the client in the networks around the addresses of a host, and returns the one.
// There is no limit on the number of addresses: they cost no look-up.
func (e *evaluation) within(ctx context.Context, host string, m *mechanism) (netip.Prefix, error) {
	addrs, _, err := e.r.Family(ctx, host, e.q.Addr.Is6())
	if err != nil {
		return netip.Prefix{}, e.void(err)
	}
	return e.around(addrs, m), nil
}

func (e *evaluation) around(addrs []netip.Addr, m *mechanism) netip.Prefix {
	bits := m.cidr4
	if e.q.Addr.Is6() {
		bits = m.cidr6
	}
	for _, a := range addrs {
		if a.BitLen() != e.q.Addr.BitLen() {
			continue
		}
		if p := netip.PrefixFrom(a, bits).Masked(); p.Contains(e.q.Addr) {
			return p
		}
	}
	return netip.Prefix{}
}

// exchanger looks for the client around the mail exchangers of a domain, RFC 7208 §5.4. There is no
// implicit exchanger here.
func (e *evaluation) exchanger(ctx context.Context, target string, m *mechanism) (netip.Prefix, error) {
	all, _, err := e.r.MX(ctx, target)
	if errors.Is(err, dns.ErrNullMX) {
		return netip.Prefix{}, nil
	}
	if err != nil {
		return netip.Prefix{}, e.void(err)
	}
	if len(all) > maxMX {
		return netip.Prefix{}, errLimit("more than 10 mail exchangers at " + target)
	}
	for _, mx := range all {
		addrs, _, err := e.r.Family(ctx, mx.Host, e.q.Addr.Is6())
		if temporary(err) {
			return netip.Prefix{}, err
		}
		// The term has had an answer: a host of it without an address is not one void look-up more.
		if p := e.around(addrs, m); p.IsValid() {
			return p, nil
		}
	}
	return netip.Prefix{}, nil
}

// pointer reports whether one of the client's confirmed names is target or below it, RFC 7208 §5.5. An
// error of the DNS is no match, as it says there.
func (e *evaluation) pointer(ctx context.Context, target string) (bool, error) {
	e.confirmNames(ctx)
	if e.namesErr != nil && !temporary(e.namesErr) {
		if err := e.void(e.namesErr); err != nil {
			return false, err
		}
	}
	return slices.ContainsFunc(e.names, func(name string) bool { return atOrBelow(name, target) }), nil
}

// atOrBelow reports whether name is domain or a name below it.
func atOrBelow(name, domain string) bool {
	name, domain = strings.ToLower(name), strings.ToLower(strings.TrimSuffix(domain, "."))
	return name == domain || strings.HasSuffix(name, "."+domain)
}

// confirmNames finds the client's names that lead back to its address, of the first ten: once, for
// they are the same for all terms. The look-ups of names that do not lead back are the client's fault,
// not the domain's, and do not count as void.
func (e *evaluation) confirmNames(ctx context.Context) {
	if e.named {
		return
	}
	e.named = true
	all, _, err := e.r.PTR(ctx, e.q.Addr)
	if e.namesErr = err; err != nil {
		return
	}
	for _, name := range all[:min(len(all), maxPTR)] {
		addrs, _, err := e.r.Family(ctx, name, e.q.Addr.Is6())
		if err == nil && slices.Contains(addrs, e.q.Addr) {
			e.names = append(e.names, strings.TrimSuffix(name, "."))
		}
	}
}

package queue

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"tram/internal/dns"
	"tram/internal/smtp"
	"tram/internal/tlspolicy"
)

// Names of destinations that are no domains.
const (
	destLocal = "=local"     // people of this house
	destSmart = "=smarthost" // everything else, when there is one
)

// destOf returns the destination that mail for a waits for: what shares sessions. lax: whatever the
// domain asks of connections is to be ignored for this mail.
func (q *Queue) destOf(a smtp.Address, lax bool) string {
	switch {
	case a.Domain == "" || q.o.Local.IsLocal(a.Domain):
		return destLocal
	case q.o.Smarthost.Host != "":
		return destSmart
	case lax:
		return a.Domain + optional
	}
	return a.Domain
}

// route is the way to a destination: hosts in the order they are tried.
type route struct {
	hosts []host
	// secure: the hosts' names are worth checking a certificate against, for they come from the
	// configuration, the address itself or DNSSEC (RFC 8689 §4.2.1).
	secure bool
	smart  *Smarthost

	lax     bool             // the domain's policies are to be ignored
	policed bool             // domain is set: each host is asked about
	domain  tlspolicy.Domain // with what it asks of all hosts
}

// host is one candidate.
type host struct {
	name string     // for TLS and DSNs
	addr netip.Addr // of an address literal; else the DNS is asked
	dial string     // "host:port" of a smarthost, as it is
}

// permanent is the error of what will not become possible by waiting.
type permanent struct {
	reply smtp.Reply
	host  string // who said it, "" for us
}

// Error returns the reply.
func (p permanent) Error() string { return p.reply.String() }

func never5(code int, e smtp.Enhanced, text string) error {
	return permanent{reply: smtp.NewReply(code, e, text)}
}

var errNoRoute = errors.New("no way out: neither a smarthost nor a name server is configured")

// findRoute finds the way to a destination, RFC 5321 §5.1. The error is permanent, or says why the
// way is not known now: whatever ails the DNS never makes mail bounce (reliability O11).
func (q *Queue) findRoute(ctx context.Context, dest string) (*route, error) {
	if dest == destSmart {
		return q.smartRoute()
	}
	dest, lax := domainOf(dest)
	if ip, ok := smtp.LiteralDomain(dest); ok {
		return &route{hosts: []host{{name: dest, addr: ip}}, secure: true}, nil
	}
	if q.o.Resolver == nil {
		return nil, errNoRoute
	}
	mx, res, err := q.o.Resolver.MX(ctx, dest)
	switch {
	case errors.Is(err, dns.ErrNullMX): // RFC 7505 §4.1
		return nil, never5(556, smtp.Enhanced{5, 1, 10}, dest+" takes no mail")
	case errors.Is(err, dns.ErrNoDomain):
		return nil, never5(550, smtp.Enhanced{5, 1, 2}, "Domain "+dest+" does not exist")
	case errors.Is(err, dns.ErrNoRecord): // the implicit MX
		r := &route{hosts: []host{{name: dest}}, secure: res.Authentic, lax: lax}
		return q.police(ctx, r, dest, res.Authentic)
	case err != nil:
		return nil, fmt.Errorf("look up the exchangers of %s: %w", dest, err)
	}
	mx, ok := q.before(mx)
	if !ok {
		return nil, loops(dest)
	}
	r := &route{secure: res.Authentic, lax: lax}
	for _, m := range mx {
		r.hosts = append(r.hosts, host{name: m.Host})
	}
	return q.police(ctx, r, dest, res.Authentic)
}

// before drops this host and all that are not preferred to it, RFC 5321 §5.1: sending there would
// make the message come back. It reports false if that leaves none.
func (q *Queue) before(mx []dns.MX) ([]dns.MX, bool) {
	i := slices.IndexFunc(mx, func(m dns.MX) bool { return strings.EqualFold(m.Host, q.o.Hostname) })
	if i < 0 {
		return mx, len(mx) > 0
	}
	own := mx[i].Preference
	mx = slices.DeleteFunc(slices.Clone(mx), func(m dns.MX) bool { return m.Preference >= own })
	return mx, len(mx) > 0
}

func loops(dest string) error {
	return never5(554, smtp.Enhanced{5, 4, 6}, "Mail for "+dest+" loops back to this server")
}

func (q *Queue) smartRoute() (*route, error) {
	s := q.o.Smarthost
	if s.Host == "" {
		return nil, errNoRoute
	}
	name, _, err := net.SplitHostPort(s.Host)
	if err != nil {
		return nil, fmt.Errorf("smarthost: %w", err)
	}
	return &route{hosts: []host{{name: name, dial: s.Host}}, secure: true, smart: &s}, nil
}

// targets returns what to dial for a host, "address:port" strings, and what the DNS's word is worth.
// Addresses of this machine are
// errSelf; those of inner networks are left out unless the options allow them, for otherwise anybody
// with a domain could make us talk to what stands behind the firewall (reliability P25).
func (q *Queue) targets(ctx context.Context, h host) (dial []string, res dns.Result, err error) {
	if h.dial != "" {
		return []string{h.dial}, res, nil
	}
	addrs := []netip.Addr{h.addr}
	if !h.addr.IsValid() {
		if q.o.Resolver == nil {
			return nil, res, errNoRoute
		}
		if addrs, res, err = q.o.Resolver.Addrs(ctx, h.name); err != nil {
			return nil, res, fmt.Errorf("look up the addresses of %s: %w", h.name, err)
		}
	}
	for _, a := range addrs {
		to := dns.Plain(a) // what counts is where it ends; the way there may be a gateway of NAT64
		switch {
		case q.isSelf(to):
			return nil, res, errSelf
		case !q.o.AllowPrivate && !dns.Public(to):
			continue
		}
		dial = append(dial, net.JoinHostPort(a.Unmap().String(), strconv.Itoa(q.o.Port)))
	}
	if len(dial) == 0 {
		return nil, res, errPrivate
	}
	return dial, res, nil
}

// Why a host is not dialled.
var (
	errSelf    = errors.New("this server's own address")
	errPrivate = errors.New("no public address")
)

// isSelf reports whether a is this machine. Loopback is too, unless private targets are allowed: then
// it is what tests and the demo talk to, and a loop shows by the greeting.
func (q *Queue) isSelf(a netip.Addr) bool {
	if a.IsUnspecified() {
		return true
	}
	if a.IsLoopback() {
		return !q.o.AllowPrivate
	}
	return q.own.has(a, q.o.Clock.Now())
}

// ownAddrs are this machine's addresses: those it was told and those of its interfaces, which come and
// go while it runs.
type ownAddrs struct {
	told []netip.Addr
	list func() ([]net.Addr, error)

	mu    sync.Mutex
	known map[netip.Addr]bool
	read  time.Time
}

// ownFor is how long the interfaces are not looked at again.
const ownFor = time.Minute

// has reports whether a is one of them. An interface that cannot be read stays as it was.
func (o *ownAddrs) has(a netip.Addr, now time.Time) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if age := now.Sub(o.read); age < 0 || age >= ownFor {
		_ = o.refresh(now) // the old ones do for another minute
	}
	return o.known[a]
}

func (o *ownAddrs) refresh(now time.Time) error {
	o.read = now
	addrs, err := o.list()
	if err != nil {
		return fmt.Errorf("list own addresses: %w", err)
	}
	o.known = map[netip.Addr]bool{}
	for _, a := range addrs {
		if p, ok := a.(*net.IPNet); ok {
			if ip, ok := netip.AddrFromSlice(p.IP); ok {
				o.known[ip.Unmap()] = true
			}
		}
	}
	for _, ip := range o.told {
		o.known[ip.Unmap()] = true
	}
	return nil
}

// clientTLS is the base of every connection's configuration.
func clientTLS(base *tls.Config) *tls.Config {
	c := &tls.Config{}
	if base != nil {
		c = base.Clone()
	}
	if c.MinVersion == 0 {
		c.MinVersion = tls.VersionTLS12
	}
	if c.ClientSessionCache == nil {
		c.ClientSessionCache = tls.NewLRUClientSessionCache(256)
	}
	return c
}

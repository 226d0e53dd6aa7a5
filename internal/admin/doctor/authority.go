package doctor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"tram/internal/dns"
)

// maxServers bounds the servers of one zone that are asked each.
const maxServers = 8

// authorities remembers which servers are responsible for a zone.
type authorities struct {
	mu    sync.Mutex
	zones map[string]*zoneServers
}

type zoneServers struct {
	once    sync.Once
	servers []nameServer
	err     error
}

type nameServer struct {
	name string
	addr netip.AddrPort
}

// answer is what all servers of a zone say about a name and a type.
type answer struct {
	records []string
	// odd are servers that do not answer, or say something else than the first one.
	odd    []string
	alias  string // the name is an alias for this one
	signed bool   // DNSSEC vouches for what the resolver sees
	unsure error  // why it is not known whether it does
	err    error  // dns.ErrNoDomain, dns.ErrNoRecord or why nobody could be asked
}

// none reports whether the servers say that there is no such record.
func (a answer) none() bool {
	return errors.Is(a.err, dns.ErrNoDomain) || errors.Is(a.err, dns.ErrNoRecord)
}

// ask asks every server that is responsible for name, not the cache: what was published a minute ago
// is seen. Aliases are followed.
func (x *exam) ask(ctx context.Context, name, qtype string) answer {
	cached, unsure := x.DNS.Lookup(ctx, name, qtype)
	if errors.Is(unsure, dns.ErrNoDomain) || errors.Is(unsure, dns.ErrNoRecord) {
		unsure = nil
	}
	for range 8 { // RFC 1034 §3.6.2: aliases should not be chained
		a := x.askOnce(ctx, name, qtype)
		a.signed, a.unsure = cached.Authentic, unsure
		if a.alias == "" || strings.EqualFold(qtype, "CNAME") {
			return a
		}
		name = a.alias
	}
	return answer{err: fmt.Errorf("%s: too many aliases", name)}
}

func (x *exam) askOnce(ctx context.Context, name, qtype string) answer {
	servers, err := x.serversOf(ctx, name)
	if err != nil {
		return answer{err: err}
	}
	var whole answer
	whole.err = dns.ErrTemporary
	heard := false
	for _, s := range servers {
		d, err := x.DNS.Ask(ctx, s.addr, name, qtype)
		this := answer{records: d.Records, alias: d.Alias, err: err}
		slices.Sort(this.records)
		switch {
		case err != nil && !this.none():
			whole.odd = append(whole.odd, s.name+" does not answer")
			if !heard {
				whole.err = err
			}
		case !d.Authoritative && err == nil && len(d.Records) == 0 && d.Alias == "":
			whole.odd = append(whole.odd, s.name+" does not know the zone")
		case !heard:
			heard = true
			this.odd = whole.odd
			whole = this
		case !slices.Equal(this.records, whole.records) || this.alias != whole.alias:
			whole.odd = append(whole.odd, s.name+" says something else")
		}
	}
	return whole
}

// serversOf finds the servers of the zone that name is in.
func (x *exam) serversOf(ctx context.Context, name string) ([]nameServer, error) {
	zone, hosts := "", []string(nil)
	for at := strings.TrimSuffix(name, "."); ; {
		a, err := x.DNS.Lookup(ctx, at, "NS")
		if err == nil && len(a.Records) > 0 {
			zone, hosts = at, a.Records
			if a.Name != "" {
				zone = a.Name
			}
			break
		}
		if err != nil && !errors.Is(err, dns.ErrNoRecord) && !errors.Is(err, dns.ErrNoDomain) {
			return nil, fmt.Errorf("find the name servers of %s: %w", name, err)
		}
		_, parent, ok := strings.Cut(at, ".")
		if !ok {
			return nil, fmt.Errorf("find the name servers of %s: there are none", name)
		}
		at = parent
	}
	x.servers.mu.Lock()
	if x.servers.zones == nil {
		x.servers.zones = map[string]*zoneServers{}
	}
	z := x.servers.zones[zone]
	if z == nil {
		z = &zoneServers{}
		x.servers.zones[zone] = z
	}
	x.servers.mu.Unlock()
	z.once.Do(func() { z.servers, z.err = x.addrsOf(ctx, hosts) })
	return z.servers, z.err
}

// addrsOf takes one address of each server, IPv4 first: a doctor's machine may be without IPv6.
func (x *exam) addrsOf(ctx context.Context, hosts []string) ([]nameServer, error) {
	var found []nameServer
	var last error
	slices.Sort(hosts)
	for _, host := range hosts[:min(len(hosts), maxServers)] {
		host = strings.TrimSuffix(host, ".")
		addrs, _, err := x.DNS.Addrs(ctx, host)
		if err != nil || len(addrs) == 0 {
			last = cmp.Or(err, error(dns.ErrNoRecord))
			continue
		}
		slices.SortStableFunc(addrs, func(a, b netip.Addr) int { return a.BitLen() - b.BitLen() })
		found = append(found, nameServer{host, netip.AddrPortFrom(addrs[0], x.AuthorityPort)})
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("find the addresses of the name servers: %w", last)
	}
	return found, nil
}

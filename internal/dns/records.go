package dns

import (
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"

	"github.com/miekg/dns"
)

// MX implements Resolver.
func (c *Client) MX(ctx context.Context, domain string) ([]MX, Result, error) {
	a, err := c.look(ctx, domain, dns.TypeMX)
	if err != nil {
		return nil, a.result(), err
	}
	var all []MX
	null := false
	for _, rr := range a.records {
		mx, ok := rr.(*dns.MX)
		if !ok {
			continue
		}
		if mx.Mx == "." {
			null = true
			continue
		}
		all = append(all, MX{Preference: mx.Preference, Host: hostName(mx.Mx)})
	}
	if len(all) == 0 {
		if null {
			err = ErrNullMX
		} else {
			err = ErrNoRecord
		}
		return nil, a.result(), fmt.Errorf("look up %s MX: %w", domain, err)
	}
	rand.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	slices.SortStableFunc(all, func(a, b MX) int { return cmp.Compare(a.Preference, b.Preference) })
	return all[:min(len(all), c.o.Limits.MX)], a.result(), nil
}

// hostName is a name as the rest of the house writes it.
func hostName(s string) string { return strings.ToLower(strings.TrimSuffix(s, ".")) }

// Addrs implements Resolver. When one family cannot be asked for and the other has addresses, those
// are the answer.
func (c *Client) Addrs(ctx context.Context, host string) ([]netip.Addr, Result, error) {
	type family struct {
		a   answer
		err error
	}
	six := make(chan family, 1)
	go func() {
		a, err := c.look(ctx, host, dns.TypeAAAA)
		six <- family{a, err}
	}()
	v4, err4 := c.look(ctx, host, dns.TypeA)
	v6 := <-six
	addrs := mix(addresses(v6.a), addresses(v4), c.o.Limits.Addrs)
	result := Result{v4.authentic && v6.a.authentic, min(v4.ttl, v6.a.ttl), v4.result().Name}
	switch {
	case len(addrs) > 0:
		// Half an answer is not to be kept. It is worth what DNSSEC says of that half: else whoever
		// makes the other one fail could make the zone look unsigned.
		if err4 != nil && v4.missing == nil {
			result = Result{Authentic: v6.a.authentic, Name: v6.a.result().Name}
		} else if v6.err != nil && v6.a.missing == nil {
			result = Result{Authentic: v4.authentic, Name: result.Name}
		} else if err4 != nil {
			result.Name = v6.a.result().Name
		}
		return addrs, result, nil
	case errors.Is(err4, ErrTemporary):
		return nil, Result{}, err4
	case errors.Is(v6.err, ErrTemporary):
		return nil, Result{}, v6.err
	}
	return nil, result, cmp.Or(err4, v6.err, error(ErrNoRecord))
}

// mix joins addresses of both families to at most n, leaving none of them out altogether.
func mix(six, four []netip.Addr, n int) []netip.Addr {
	if len(six)+len(four) > n {
		six = six[:min(len(six), max(n/2, n-len(four)))]
		four = four[:min(len(four), n-len(six))]
	}
	return append(six, four...)
}

// addresses reads the addresses of an answer. What maps IPv4 into IPv6 is the IPv4 address, so that
// no list of forbidden addresses is passed by in disguise.
func addresses(a answer) []netip.Addr {
	var all []netip.Addr
	for _, rr := range a.records {
		var ip []byte
		switch rr := rr.(type) {
		case *dns.A:
			ip = rr.A
		case *dns.AAAA:
			ip = rr.AAAA
		}
		addr, ok := netip.AddrFromSlice(ip)
		if addr = addr.Unmap(); ok && !slices.Contains(all, addr) {
			all = append(all, addr)
		}
	}
	return all
}

// TXT implements Resolver.
func (c *Client) TXT(ctx context.Context, name string) ([]string, Result, error) {
	a, err := c.look(ctx, name, dns.TypeTXT)
	if err != nil {
		return nil, a.result(), err
	}
	var all []string
	for _, rr := range a.records {
		if txt, ok := rr.(*dns.TXT); ok {
			all = append(all, unescape(strings.Join(txt.Txt, "")))
		}
	}
	return all, a.result(), nil
}

// unescape turns the library's presentation form (\" \\ \ddd) back into the bytes of the record.
func unescape(s string) string {
	if strings.IndexByte(s, '\\') < 0 {
		return s
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' || i+1 == len(s) {
			b = append(b, s[i])
			continue
		}
		if i+3 < len(s) && digit(s[i+1]) && digit(s[i+2]) && digit(s[i+3]) {
			b = append(b, (s[i+1]-'0')*100+(s[i+2]-'0')*10+s[i+3]-'0')
			i += 3
			continue
		}
		i++
		b = append(b, s[i])
	}
	return string(b)
}

func digit(c byte) bool { return c >= '0' && c <= '9' }

// PTR implements Resolver.
func (c *Client) PTR(ctx context.Context, addr netip.Addr) ([]string, Result, error) {
	name, err := dns.ReverseAddr(addr.Unmap().WithZone("").String())
	if err != nil {
		return nil, Result{}, fmt.Errorf("look up %s PTR: %w", addr, ErrNoDomain)
	}
	a, err := c.look(ctx, name, dns.TypePTR)
	if err != nil {
		return nil, a.result(), err
	}
	var all []string
	for _, rr := range a.records {
		if ptr, ok := rr.(*dns.PTR); ok && len(all) < c.o.Limits.Addrs {
			all = append(all, hostName(ptr.Ptr))
		}
	}
	return all, a.result(), nil
}

// TLSA implements Resolver. Records whose data is not hexadecimal do not come over the wire.
func (c *Client) TLSA(ctx context.Context, name string) ([]TLSA, Result, error) {
	a, err := c.look(ctx, name, dns.TypeTLSA)
	if err != nil {
		return nil, a.result(), err
	}
	var all []TLSA
	for _, rr := range a.records {
		t, ok := rr.(*dns.TLSA)
		if !ok {
			continue
		}
		data, err := hex.DecodeString(t.Certificate)
		if err != nil {
			return nil, Result{}, fmt.Errorf("look up %s TLSA: %w", name, ErrTemporary)
		}
		all = append(all, TLSA{t.Usage, t.Selector, t.MatchingType, data})
	}
	return all, a.result(), nil
}

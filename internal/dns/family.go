package dns

import (
	"context"
	"net/netip"

	"github.com/miekg/dns"
)

// Family implements Resolver.
func (c *Client) Family(ctx context.Context, host string, six bool) ([]netip.Addr, Result, error) {
	qtype := dns.TypeA
	if six {
		qtype = dns.TypeAAAA
	}
	a, err := c.look(ctx, host, qtype)
	if err != nil {
		return nil, a.result(), err
	}
	return addresses(a), a.result(), nil
}

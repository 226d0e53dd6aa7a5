package smtpd

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"tram/internal/conn"
	"tram/internal/dns"
)

// zone has an honest address, and others whose names are lies, nonsense or too many.
const zone = `
25.100.51.198.in-addr.arpa. IN PTR mail.honest.test.
mail.honest.test. IN A 198.51.100.25
26.100.51.198.in-addr.arpa. IN PTR mail.bank.test.
mail.bank.test. IN A 203.0.113.1
27.100.51.198.in-addr.arpa. IN PTR nowhere.test.
28.100.51.198.in-addr.arpa. IN PTR x\041by\032evil.test.
29.100.51.198.in-addr.arpa. IN PTR mail.bank.test.
29.100.51.198.in-addr.arpa. IN PTR second.test.
second.test. IN A 198.51.100.29
7.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa. IN PTR six.honest.test.
six.honest.test. IN AAAA 2001:db8::7
1.0.0.127.in-addr.arpa. IN PTR localhost.
localhost. IN A 127.0.0.1
`

func TestReverseName(t *testing.T) {
	t.Parallel()
	names := dns.NewFake(zone)
	names.Fail("31.100.51.198.in-addr.arpa", errors.New("server failure"))
	for addr, want := range map[string]string{
		"198.51.100.25": "mail.honest.test",
		"2001:db8::7":   "six.honest.test",
		"198.51.100.26": "", // does not lead back
		"198.51.100.27": "", // is no name
		"198.51.100.28": "", // would break out of the comment
		"198.51.100.29": "second.test",
		"198.51.100.30": "",
		"198.51.100.31": "",
	} {
		if got := reverseName(t.Context(), names, netip.MustParseAddr(addr)); got != want {
			t.Errorf("%s is %q, want %q", addr, got, want)
		}
	}
	// Who has a thousand names is not worth a thousand questions.
	many := dns.NewFake("")
	for i := range 1000 {
		many.Add(fmt.Sprintf("25.100.51.198.in-addr.arpa. IN PTR n%d.test.\nn%d.test. IN A 203.0.113.1", i, i))
	}
	if got := reverseName(t.Context(), many, netip.MustParseAddr("198.51.100.25")); got != "" {
		t.Errorf("named %q", got)
	}
	if n := len(many.Asked()); n > 1+2*reverseNames {
		t.Errorf("%d questions were asked", n)
	}
}

func TestPublic(t *testing.T) {
	t.Parallel()
	for addr, want := range map[string]bool{
		"198.51.100.25": true, "2001:db8::7": true, "100.128.0.1": true,
		"127.0.0.1": false, "::1": false, "10.1.2.3": false, "192.168.0.1": false, "172.16.0.1": false,
		"fd00::1": false, "fe80::1": false, "169.254.1.1": false, "100.64.0.1": false, "0.0.0.0": false,
		"224.0.0.1": false,
	} {
		if got := public(netip.MustParseAddr(addr)); got != want {
			t.Errorf("%s: public %v", addr, got)
		}
	}
	if public(netip.Addr{}) {
		t.Error("a unix socket has a name in the DNS")
	}
}

// slow is a resolver that answers when the test lets it.
type slow struct {
	dns.Resolver
	gate  chan struct{}
	ended chan error
}

func (s *slow) PTR(ctx context.Context, addr netip.Addr) ([]string, dns.Result, error) {
	select {
	case <-s.gate:
		return s.Resolver.PTR(ctx, addr)
	case <-ctx.Done():
		s.ended <- ctx.Err()
		return nil, dns.Result{}, dns.ErrTemporary
	}
}

// from opens a session whose client is at an address, as its proxy says.
func (d *door) from(addr string) *client {
	d.h.t.Helper()
	c := d.dial()
	family := "TCP4 " + addr + " 192.0.2.1"
	if strings.Contains(addr, ":") {
		family = "TCP6 " + addr + " 2001:db8::1"
	}
	c.send("PROXY " + family + " 12345 25\r\n")
	c.want("220")
	c.cmd("EHLO client.test", "250")
	return c
}

// TestReverseNameInReceived is RFC 5321 §4.4: TCP-info has the client's name where it is known, and
// a resolver that is slow or dead delays nothing: the name is left out.
func TestReverseNameInReceived(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.limits.SMTP.Transactions = 0
	names := &slow{dns.NewFake(zone), make(chan struct{}), make(chan error, 9)}
	d := h.open(MX, func(o *Options, co *conn.Options) {
		o.Resolver, co.ProxyNetworks = names, anyone
	})
	n := 0
	deliver := func(c *client) string {
		n++
		c.deliver("a@elsewhere.test", "alice@example.test", numbered(n), "250")
		all := h.inbox("alice")
		return all[len(all)-1]
	}
	unknown, known := "from client.test ([198.51.100.25])\r\n", "from client.test (mail.honest.test [198.51.100.25])\r\n"
	waiting := d.from("198.51.100.25")
	if got := deliver(waiting); !strings.Contains(got, unknown) {
		t.Errorf("before the name is known: %.200q", got)
	}
	leaving := d.from("198.51.100.25")
	leaving.cmd("QUIT", "221")
	if err := <-names.ended; !errors.Is(err, context.Canceled) {
		t.Errorf("the question of a session that is over: %v", err)
	}
	close(names.gate)
	got := ""
	for range 1000 { // the name is there some moments later
		if got = deliver(waiting); !strings.Contains(got, unknown) {
			break
		}
	}
	if !strings.Contains(got, known) {
		t.Errorf("when the name is known: %.200q", got)
	}
	six := d.from("2001:db8::7")
	for range 1000 {
		if got = deliver(six); strings.Contains(got, "six") {
			break
		}
	}
	if !strings.Contains(got, "from client.test (six.honest.test [IPv6:2001:db8::7])\r\n") {
		t.Errorf("over IPv6: %.200q", got)
	}
}

// TestOwnNetworkIsNotAskedAbout proves that addresses of this machine and of private networks stay
// out of the DNS, and that a session asks once.
func TestOwnNetworkIsNotAskedAbout(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	names := dns.NewFake(zone)
	d := h.open(MX, func(o *Options, _ *conn.Options) { o.Resolver = names })
	d.hello().cmd("QUIT", "221")
	proxied := h.open(MX, func(o *Options, co *conn.Options) {
		o.Resolver, co.ProxyNetworks = names, anyone
	})
	for _, addr := range []string{"10.1.2.3", "fd00::1", "100.64.0.1"} {
		proxied.from(addr).cmd("QUIT", "221")
	}
	if asked := names.Asked(); len(asked) != 0 {
		t.Errorf("asked %q", asked)
	}
	c := proxied.from("198.51.100.30")
	for range 5 {
		c.cmd("EHLO client.test", "250")
	}
	c.cmd("QUIT", "221")
	count := 0
	for _, q := range slices.Compact(names.Asked()) {
		if strings.Contains(q, "30.100.51") {
			count++
		}
	}
	if count > 1 {
		t.Errorf("asked %q", names.Asked())
	}
}

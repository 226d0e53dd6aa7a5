package dns

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"
)

func TestLookup(t *testing.T) {
	t.Parallel()
	more := `
caa.example.net. IN CAA 0 issue "ca.example"
_imaps._tcp.example.net. IN SRV 0 1 993 a.example.net.
example.net. IN NS ns1.example.net.
example.net. IN SOA ns1.example.net. hostmaster.example.net. 7 3600 600 86400 300
`
	fake, served := NewFake(zone+more), NewFake(zone+more)
	for kind, c := range map[string]*Client{"fake": fake.Client, "real": realResolver(t, served, Options{})} {
		for _, tt := range []struct {
			name, qtype, at string
			want            []string
			err             error
		}{
			{"www.example.net", "CNAME", "www.example.net", []string{"a.example.net."}, nil},
			{"two.example.net", "a", "a.example.net", []string{"192.0.2.1"}, nil},
			{"caa.example.net", "CAA", "caa.example.net", []string{`0 issue "ca.example"`}, nil},
			{"_imaps._tcp.example.net", "SRV", "_imaps._tcp.example.net", []string{"0 1 993 a.example.net."}, nil},
			{"example.net", "NS", "example.net", []string{"ns1.example.net."}, nil},
			{"example.net", "SOA", "example.net",
				[]string{"ns1.example.net. hostmaster.example.net. 7 3600 600 86400 300"}, nil},
			{"_25._tcp.a.example.net", "TLSA", "_25._tcp.a.example.net", []string{"3 1 1 00ff"}, nil},
			{"a.example.net", "CAA", "a.example.net", nil, ErrNoRecord},
			{"two.example.net", "CAA", "a.example.net", nil, ErrNoRecord},
			{"none.example.net", "CAA", "none.example.net", nil, ErrNoDomain},
			{"example.net", "ANY", "", nil, ErrNoRecord},
			{"example.net", "NOTHING", "", nil, ErrNoRecord},
			{"round.example.net", "A", "", nil, ErrTemporary},
		} {
			a, err := c.Lookup(t.Context(), tt.name, tt.qtype)
			if !errors.Is(err, tt.err) || !cmp.Equal(a.Records, tt.want) || a.Name != tt.at {
				t.Errorf("%s: %s %s = %q at %q, %v", kind, tt.name, tt.qtype, a.Records, a.Name, err)
			}
		}
	}
}

// Where the aliases of a host end is part of the answer (RFC 7672 §2.2.2).
func TestAliasesEndSomewhere(t *testing.T) {
	t.Parallel()
	for kind, r := range resolvers(t) {
		for host, want := range map[string]string{
			"A.example.net.": "a.example.net", "two.example.net": "a.example.net", "thú.example.net": "xn--th-ska.example.net",
		} {
			if _, result, err := r.Addrs(t.Context(), host); err != nil || result.Name != want {
				t.Errorf("%s: %s ends at %q, %v", kind, host, result.Name, err)
			}
		}
	}
}

// A server that is asked directly is not to ask others, and says what it is.
func TestAsk(t *testing.T) {
	t.Parallel()
	var asked []bool
	c := client(Options{}, func(q *dns.Msg, tcp bool) (*dns.Msg, error) {
		asked = append(asked, q.RecursionDesired)
		switch q.Question[0].Name {
		case "own.test.":
			r := reply(t, q, dns.RcodeSuccess, "own.test. IN NS ns1.own.test.")
			r.Answer, r.Ns = r.Ns, nil
			r.Authoritative, r.AuthenticatedData = true, true
			return r, nil
		case "long.test.":
			r := reply(t, q, dns.RcodeSuccess, "long.test. IN TXT x")
			r.Truncated, r.Authoritative = !tcp, true
			return r, nil
		case "child.test.":
			return reply(t, q, dns.RcodeSuccess, "child.test. IN NS NS.child.test."), nil
		case "alias.test.":
			return reply(t, q, dns.RcodeSuccess, "alias.test. IN CNAME far.example."), nil
		case "none.test.":
			r := reply(t, q, dns.RcodeNameError, "test. IN SOA ns.test. h.test. 1 2 3 4 5")
			r.Authoritative = true
			return r, nil
		}
		return reply(t, q, dns.RcodeRefused), nil
	})
	server := netip.MustParseAddrPort("127.0.0.1:1")
	d, err := c.Ask(t.Context(), server, "own.test", "NS")
	if err != nil || !d.Authoritative || d.Authentic || !slices.Equal(d.Records, []string{"ns1.own.test."}) {
		t.Errorf("own: %+v, %v", d, err)
	}
	if d, err = c.Ask(t.Context(), server, "long.test", "TXT"); err != nil || len(d.Records) != 1 {
		t.Errorf("long: %+v, %v", d, err)
	}
	if d, err = c.Ask(t.Context(), server, "child.test", "MX"); err != nil || d.Authoritative ||
		!slices.Equal(d.Referral, []string{"ns.child.test"}) {
		t.Errorf("child: %+v, %v", d, err)
	}
	if d, err = c.Ask(t.Context(), server, "alias.test", "A"); err != nil || d.Alias != "far.example" {
		t.Errorf("alias: %+v, %v", d, err)
	}
	if d, err = c.Ask(t.Context(), server, "none.test", "A"); !errors.Is(err, ErrNoDomain) || !d.Authoritative {
		t.Errorf("none: %+v, %v", d, err)
	}
	if _, err = c.Ask(t.Context(), server, "refused.test", "A"); !errors.Is(err, ErrTemporary) {
		t.Errorf("refused: %v", err)
	}
	if slices.Contains(asked, true) {
		t.Errorf("recursion desired: %v", asked)
	}
	if _, _, err := c.TXT(context.Background(), "long.test"); err != nil || !asked[len(asked)-1] {
		t.Error("a look-up asks without recursion")
	}
}

func TestPublic(t *testing.T) {
	t.Parallel()
	for s, want := range map[string]bool{
		"192.0.2.1": true, "2001:db8::1": true, "127.0.0.1": false, "::1": false, "0.0.0.0": false, "::": false,
		"10.0.0.1": false, "172.16.0.1": false, "192.168.1.1": false, "100.64.0.1": false, "169.254.169.254": false,
		"fe80::1": false, "fd00::1": false, "224.0.0.1": false, "ff02::1": false, "255.255.255.255": false,
		"::ffff:127.0.0.1": false, "64:ff9b::7f00:1": false, "64:ff9b::a00:1": false, "64:ff9b::c000:201": true,
		"fec0::1": false, "64:ff9b:1::a00:1": false, "2002:7f00:1::1": false, "2001::1": false, "::127.0.0.1": false,
		"0.1.2.3": false, "198.18.0.1": false, "240.0.0.1": false, "192.0.0.8": false,
	} {
		if got := Public(Plain(netip.MustParseAddr(s))); got != want {
			t.Errorf("Public(%s) = %v", s, got)
		}
	}
	if !strings.HasPrefix(Plain(netip.MustParseAddr("64:ff9b::c000:201")).String(), "192.0.2.1") {
		t.Error("NAT64 is not taken off")
	}
}

package dns

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tram/internal/clock"
	"tram/internal/limits"
)

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

const zone = `
example.net.            300 IN MX    20 b.example.net.
example.net.            600 IN MX    10 A.Example.NET.
example.net.            300 IN TXT   "v=spf1 " "-all"
example.net.            300 IN TXT   "quote \" back \\ byte \200"
a.example.net.          100 IN A     192.0.2.1
a.example.net.          200 IN AAAA  2001:db8::1
b.example.net.          300 IN A     192.0.2.2
b.example.net.          300 IN A     192.0.2.3
mapped.example.net.     300 IN AAAA  ::ffff:192.0.2.9
null.example.net.       300 IN MX    0 .
half.example.net.       300 IN MX    0 .
half.example.net.       300 IN MX    5 a.example.net.
www.example.net.        50  IN CNAME a.example.net.
two.example.net.        300 IN CNAME www.example.net.
dangling.example.net.   300 IN CNAME nowhere.example.net.
round.example.net.      300 IN CNAME trip.example.net.
trip.example.net.       300 IN CNAME round.example.net.
self.example.net.       300 IN CNAME self.example.net.
deep.below.example.net. 300 IN A     192.0.2.4
1.2.0.192.in-addr.arpa. 300 IN PTR   A.example.net.
1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa. 300 IN PTR a.example.net.
_25._tcp.a.example.net. 300 IN TLSA  3 1 1 00ff
xn--th-ska.example.net. 300 IN A     192.0.2.5
signed.test.            300 IN A     192.0.2.6
alias.signed.test.      300 IN CNAME a.example.net.
`

// resolvers are the real resolver against a server on loopback, and the fake: one suite for both.
func resolvers(t *testing.T) map[string]Resolver {
	t.Helper()
	fake, served := NewFake(zone), NewFake(zone)
	for _, f := range []*Fake{fake, served} {
		f.SetAuthentic("signed.test", true)
		f.Fail("broken.example.net", errors.New("on fire"))
	}
	real := realResolver(t, served, Options{})
	return map[string]Resolver{"fake": fake, "real": real}
}

func realResolver(t *testing.T, f *Fake, o Options) *Client {
	t.Helper()
	addr, stop, err := f.Listen()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	o.Servers = []netip.AddrPort{addr}
	if o.Clock == nil {
		o.Clock = clock.NewFake(noon)
	}
	return New(o)
}

func addrs(ss ...string) []netip.Addr {
	var all []netip.Addr
	for _, s := range ss {
		all = append(all, netip.MustParseAddr(s))
	}
	return all
}

func TestMX(t *testing.T) {
	t.Parallel()
	for kind, r := range resolvers(t) {
		for _, tt := range []struct {
			domain string
			want   []MX
			err    error
		}{
			{"example.net", []MX{{10, "a.example.net"}, {20, "b.example.net"}}, nil},
			{"EXAMPLE.net.", []MX{{10, "a.example.net"}, {20, "b.example.net"}}, nil},
			{"null.example.net", nil, ErrNullMX}, // RFC 7505 §3
			{"half.example.net", []MX{{5, "a.example.net"}}, nil},
			{"a.example.net", nil, ErrNoRecord},
			{"www.example.net", nil, ErrNoRecord},
			{"none.example.net", nil, ErrNoDomain},
			{"x.none.example.net", nil, ErrNoDomain},
			// RFC 8020 §2: a name exists for what is below it, and nothing is below one that does not.
			{"below.example.net", nil, ErrNoRecord},
			{"broken.example.net", nil, ErrTemporary},
			{"round.example.net", nil, ErrTemporary},
			{"", nil, ErrNoDomain},
			{"a..b", nil, ErrNoDomain},
			{"spa ce.example.net", nil, ErrNoDomain},
			{strings.Repeat("a.", 200) + "net", nil, ErrNoDomain},
			{strings.Repeat("a", 64) + ".net", nil, ErrNoDomain},
		} {
			got, _, err := r.MX(context.Background(), tt.domain)
			if !errors.Is(err, tt.err) || !cmp.Equal(got, tt.want) {
				t.Errorf("%s: MX(%q) = %v, %v; want %v, %v", kind, tt.domain, got, err, tt.want, tt.err)
			}
		}
	}
}

func TestAddrs(t *testing.T) {
	t.Parallel()
	for kind, r := range resolvers(t) {
		for _, tt := range []struct {
			host string
			want []netip.Addr
			ttl  time.Duration
			err  error
		}{
			{"a.example.net", addrs("2001:db8::1", "192.0.2.1"), 100 * time.Second, nil},
			{"b.example.net", addrs("192.0.2.2", "192.0.2.3"), 60 * time.Second, nil},
			{"mapped.example.net", addrs("192.0.2.9"), 60 * time.Second, nil},
			{"two.example.net", addrs("2001:db8::1", "192.0.2.1"), 50 * time.Second, nil},
			{"thử.example.net", nil, 0, ErrNoDomain},
			{"thú.example.net", addrs("192.0.2.5"), 60 * time.Second, nil},
			{"dangling.example.net", nil, 60 * time.Second, ErrNoDomain},
			{"below.example.net", nil, 60 * time.Second, ErrNoRecord},
			{"round.example.net", nil, 0, ErrTemporary},
			{"self.example.net", nil, 0, ErrTemporary},
			{"broken.example.net", nil, 0, ErrTemporary},
		} {
			got, result, err := r.Addrs(context.Background(), tt.host)
			if !errors.Is(err, tt.err) || !equal(got, tt.want) {
				t.Errorf("%s: Addrs(%q) = %v, %v; want %v, %v", kind, tt.host, got, err, tt.want, tt.err)
			}
			if tt.ttl != 0 && result.TTL != tt.ttl {
				t.Errorf("%s: Addrs(%q) may be kept for %v, want %v", kind, tt.host, result.TTL, tt.ttl)
			}
		}
	}
}

// equal compares without order: records of one set have none.
func equal(a, b []netip.Addr) bool {
	a, b = slices.Clone(a), slices.Clone(b)
	slices.SortFunc(a, netip.Addr.Compare)
	slices.SortFunc(b, netip.Addr.Compare)
	return slices.Equal(a, b)
}

func TestTXT(t *testing.T) {
	t.Parallel()
	for kind, r := range resolvers(t) {
		got, _, err := r.TXT(context.Background(), "example.net")
		slices.Sort(got)
		want := []string{"quote \" back \\ byte \xc8", "v=spf1 -all"}
		if err != nil || !cmp.Equal(got, want) {
			t.Errorf("%s: TXT = %q, %v", kind, got, err)
		}
		if _, _, err := r.TXT(context.Background(), "a.example.net"); !errors.Is(err, ErrNoRecord) {
			t.Errorf("%s: TXT of a name without = %v", kind, err)
		}
	}
}

func TestPTR(t *testing.T) {
	t.Parallel()
	for kind, r := range resolvers(t) {
		for _, a := range []string{"192.0.2.1", "::ffff:192.0.2.1", "2001:db8::1"} {
			got, _, err := r.PTR(context.Background(), netip.MustParseAddr(a))
			if err != nil || !cmp.Equal(got, []string{"a.example.net"}) {
				t.Errorf("%s: PTR(%s) = %q, %v", kind, a, got, err)
			}
		}
		if _, _, err := r.PTR(context.Background(), netip.Addr{}); !errors.Is(err, ErrNoDomain) {
			t.Errorf("%s: PTR of no address = %v", kind, err)
		}
		_, _, err := r.PTR(context.Background(), netip.MustParseAddr("192.0.2.200"))
		if !errors.Is(err, ErrNoDomain) {
			t.Errorf("%s: PTR of an unknown address = %v", kind, err)
		}
	}
}

func TestTLSA(t *testing.T) {
	t.Parallel()
	for kind, r := range resolvers(t) {
		got, _, err := r.TLSA(context.Background(), "_25._tcp.a.example.net")
		want := []TLSA{{3, 1, 1, []byte{0, 0xff}}} // RFC 6698 §2.1
		if err != nil || !cmp.Equal(got, want) {
			t.Errorf("%s: TLSA = %v, %v", kind, got, err)
		}
	}
}

func TestAuthentic(t *testing.T) {
	t.Parallel()
	for kind, r := range resolvers(t) {
		for host, want := range map[string]bool{
			"signed.test": true, "a.example.net": false, "alias.signed.test": false,
		} {
			_, result, err := r.Addrs(context.Background(), host)
			if err != nil || result.Authentic != want {
				t.Errorf("%s: %s authentic = %v, %v; want %v", kind, host, result.Authentic, err, want)
			}
		}
		// A denial is worth as much as an answer.
		if _, result, err := r.MX(context.Background(), "signed.test"); !result.Authentic {
			t.Errorf("%s: denial in a signed zone is not authentic (%v)", kind, err)
		}
	}
}

func TestMXOfEqualPreferenceAreMixed(t *testing.T) {
	t.Parallel()
	f := NewFake("m.test. IN MX 5 one.test.\nm.test. IN MX 5 two.test.\nm.test. IN MX 1 best.test.")
	seen := map[string]bool{}
	for range 200 {
		mx, _, err := f.MX(context.Background(), "m.test")
		if err != nil || len(mx) != 3 || mx[0].Host != "best.test" {
			t.Fatalf("MX = %v, %v", mx, err)
		}
		seen[mx[1].Host] = true
	}
	if len(seen) != 2 {
		t.Errorf("the same exchanger always came first among equals: %v", seen)
	}
}

func TestMixKeepsBothFamilies(t *testing.T) {
	t.Parallel()
	six := addrs("2001:db8::1", "2001:db8::2", "2001:db8::3", "2001:db8::4")
	four := addrs("192.0.2.1", "192.0.2.2", "192.0.2.3")
	for _, tt := range []struct {
		six, four, n, want6, want4 int
	}{
		{4, 3, 10, 4, 3}, {4, 3, 4, 2, 2}, {4, 1, 4, 3, 1}, {1, 3, 3, 1, 2}, {4, 0, 2, 2, 0},
		{0, 3, 2, 0, 2},
	} {
		got := mix(slices.Clone(six[:tt.six]), four[:tt.four], tt.n)
		n6 := 0
		for _, a := range got {
			if a.Is6() {
				n6++
			}
		}
		if n6 != tt.want6 || len(got)-n6 != tt.want4 {
			t.Errorf("mix(%d, %d, %d) = %v", tt.six, tt.four, tt.n, got)
		}
	}
}

func TestLimits(t *testing.T) {
	t.Parallel()
	var records strings.Builder
	for i := range 60 {
		host := string(rune('a'+i%26)) + string(rune('a'+i/26)) + ".test."
		records.WriteString("many.test. IN MX 10 " + host + "\n")
		records.WriteString("many.test. IN A 192.0.2." + string(rune('0'+i%10)) + "\n")
	}
	l := limits.Default().DNS
	r := realResolver(t, NewFake(records.String()), Options{})
	mx, _, err := r.MX(context.Background(), "many.test")
	if err != nil || len(mx) != l.MX {
		t.Errorf("%d exchangers (%v), want %d", len(mx), err, l.MX)
	}
	ips, _, err := r.Addrs(context.Background(), "many.test")
	if err != nil || len(ips) != l.Addrs {
		t.Errorf("%d addresses (%v), want %d", len(ips), err, l.Addrs)
	}
}

func TestFakeReportsBadZone(t *testing.T) {
	t.Parallel()
	f := NewFake("this is no zone")
	if _, _, err := f.MX(context.Background(), "example.net"); !errors.Is(err, ErrTemporary) ||
		!strings.Contains(err.Error(), "fake zone") {
		t.Errorf("look-up in a zone that does not parse = %v", err)
	}
}

func TestFakeChanges(t *testing.T) {
	t.Parallel()
	f := NewFake("a.test. IN A 192.0.2.1")
	lookUp := func() error { _, _, err := f.Addrs(context.Background(), "a.test"); return err }
	f.Fail("A.test", ErrNoRecord)
	if err := lookUp(); !errors.Is(err, ErrNoRecord) {
		t.Errorf("told to have no record: %v", err)
	}
	f.Fail("a.test", nil)
	if err := lookUp(); err != nil {
		t.Errorf("told to work again: %v", err)
	}
	f.Remove("a.test")
	if err := lookUp(); !errors.Is(err, ErrNoDomain) {
		t.Errorf("removed: %v", err)
	}
	if !slices.Contains(f.Asked(), "a.test. AAAA") {
		t.Errorf("asked: %q", f.Asked())
	}
}

package dns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"

	"tram/internal/clock"
	"tram/internal/limits"
)

// client is a resolver whose servers are functions, no network between.
func client(o Options, servers ...func(q *dns.Msg, tcp bool) (*dns.Msg, error)) *Client {
	if o.Clock == nil {
		o.Clock = clock.NewFake(noon)
	}
	for i := range servers {
		o.Servers = append(o.Servers, netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}),
			uint16(i+1)))
	}
	c := New(o)
	c.ask = func(_ context.Context, q *dns.Msg, s netip.AddrPort, tcp bool) (*dns.Msg, error) {
		return servers[s.Port()-1](q, tcp)
	}
	return c
}

func reply(t *testing.T, q *dns.Msg, rcode int, records ...string) *dns.Msg {
	t.Helper()
	r := new(dns.Msg)
	r.SetRcode(q, rcode)
	for _, s := range records {
		rr, err := dns.NewRR(s)
		if err != nil {
			t.Fatal(err)
		}
		if rr.Header().Rrtype == dns.TypeSOA || rr.Header().Rrtype == dns.TypeNS {
			r.Ns = append(r.Ns, rr)
			continue
		}
		r.Answer = append(r.Answer, rr)
	}
	return r
}

type server = func(q *dns.Msg, tcp bool) (*dns.Msg, error)

func TestFallsBackToTCP(t *testing.T) {
	t.Parallel()
	var records strings.Builder
	for i := range 60 {
		fmt.Fprintf(&records, "big.test. IN TXT %q\n", strings.Repeat("x", 200)+fmt.Sprint(i))
	}
	c := realResolver(t, NewFake(records.String()), Options{})
	got, _, err := c.TXT(context.Background(), "big.test")
	if err != nil || len(got) != 60 {
		t.Errorf("%d records, %v; want all 60 by way of TCP", len(got), err)
	}
}

func TestTruncatedOverTCPIsAFailure(t *testing.T) {
	t.Parallel()
	c := client(Options{}, func(q *dns.Msg, tcp bool) (*dns.Msg, error) {
		r := reply(t, q, dns.RcodeSuccess, "a.test. IN TXT half")
		r.Truncated = true
		return r, nil
	})
	if _, _, err := c.TXT(context.Background(), "a.test"); !errors.Is(err, ErrTemporary) {
		t.Errorf("half an answer was taken: %v", err)
	}
}

// TestServerWithoutEDNS proves RFC 6891 §7.
func TestServerWithoutEDNS(t *testing.T) {
	t.Parallel()
	for _, code := range []int{dns.RcodeFormatError, dns.RcodeNotImplemented, dns.RcodeBadVers} {
		c := client(Options{}, func(q *dns.Msg, _ bool) (*dns.Msg, error) {
			if q.IsEdns0() != nil {
				return reply(t, q, code), nil
			}
			return reply(t, q, dns.RcodeSuccess, "a.test. IN TXT yes"), nil
		})
		if got, _, err := c.TXT(context.Background(), "a.test"); err != nil || len(got) != 1 {
			t.Errorf("after %s: %q, %v", dns.RcodeToString[code], got, err)
		}
	}
}

func TestNextServerIsAsked(t *testing.T) {
	t.Parallel()
	good := func(q *dns.Msg, _ bool) (*dns.Msg, error) {
		return reply(t, q, dns.RcodeSuccess, "a.test. IN TXT yes"), nil
	}
	for what, bad := range map[string]server{
		"fails":   func(q *dns.Msg, _ bool) (*dns.Msg, error) { return reply(t, q, dns.RcodeServerFailure), nil },
		"refuses": func(q *dns.Msg, _ bool) (*dns.Msg, error) { return reply(t, q, dns.RcodeRefused), nil },
		"is gone": func(*dns.Msg, bool) (*dns.Msg, error) { return nil, errors.New("gone") },
		"is lame": func(q *dns.Msg, _ bool) (*dns.Msg, error) {
			return reply(t, q, dns.RcodeSuccess, "test. IN NS elsewhere.test."), nil
		},
		"loops": func(q *dns.Msg, _ bool) (*dns.Msg, error) {
			return reply(t, q, dns.RcodeSuccess, "a.test. IN CNAME b.test.", "b.test. IN CNAME a.test."), nil
		},
	} {
		c := client(Options{}, good, bad, bad)
		for range 3 { // whichever is first
			c.cache = newCache(c.o.Clock, c.o.Limits)
			got, _, err := c.TXT(context.Background(), "a.test")
			if err != nil || len(got) != 1 {
				t.Errorf("when a server %s: %q, %v", what, got, err)
			}
		}
		c = client(Options{}, bad)
		if _, _, err := c.TXT(context.Background(), "a.test"); !errors.Is(err, ErrTemporary) {
			t.Errorf("the only server %s: %v", what, err)
		}
	}
}

func TestAliasOutOfTheAnswer(t *testing.T) {
	t.Parallel()
	var asked atomic.Int32
	c := client(Options{}, func(q *dns.Msg, _ bool) (*dns.Msg, error) {
		asked.Add(1)
		n := 0
		fmt.Sscanf(q.Question[0].Name, "n%d.test.", &n)
		if n == 3 {
			return reply(t, q, dns.RcodeSuccess, "n3.test. 7 IN TXT end"), nil
		}
		return reply(t, q, dns.RcodeSuccess,
			fmt.Sprintf("n%d.test. 60 IN CNAME n%d.test.", n, n+1)), nil
	})
	got, result, err := c.TXT(context.Background(), "n0.test")
	if err != nil || !slices.Equal(got, []string{"end"}) || result.TTL != 7*time.Second {
		t.Errorf("through aliases: %q, %v, %v", got, result, err)
	}
	// A chain without end ends.
	asked.Store(0)
	_, _, err = c.TXT(context.Background(), "n4.test")
	if n := int(asked.Load()); !errors.Is(err, ErrTemporary) || n > c.o.Limits.CNAME+1 {
		t.Errorf("a chain without end: %v after %d questions", err, n)
	}
}

func TestEmptyWithoutSOAIsNotKept(t *testing.T) {
	t.Parallel()
	var asked atomic.Int32
	c := client(Options{}, func(q *dns.Msg, _ bool) (*dns.Msg, error) {
		asked.Add(1)
		r := reply(t, q, dns.RcodeSuccess)
		r.RecursionAvailable = true
		return r, nil
	})
	for range 3 {
		if _, _, err := c.TXT(context.Background(), "a.test"); !errors.Is(err, ErrNoRecord) {
			t.Fatalf("empty answer: %v", err)
		}
	}
	if asked.Load() != 3 { // RFC 2308 §5
		t.Errorf("asked %d times, want each time", asked.Load())
	}
}

func TestCacheLivesAsLongAsTheTTL(t *testing.T) {
	t.Parallel()
	now := clock.NewFake(noon)
	var asked atomic.Int32
	answers := map[string][]string{
		"pos.test.":  {"pos.test. 100 IN TXT yes"},
		"long.test.": {"long.test. 4000000 IN TXT yes"},
		"zero.test.": {"zero.test. 0 IN TXT yes"},
		"neg.test.":  {"test. 1000 IN SOA ns.test. h.test. 1 2 3 4 50"},
		"neg2.test.": {"test. 900000 IN SOA ns.test. h.test. 1 2 3 4 900000"},
	}
	c := client(Options{Clock: now}, func(q *dns.Msg, _ bool) (*dns.Msg, error) {
		asked.Add(1)
		code := dns.RcodeSuccess
		if strings.HasPrefix(q.Question[0].Name, "neg") {
			code = dns.RcodeNameError
		}
		records, ok := answers[q.Question[0].Name]
		if !ok {
			return reply(t, q, dns.RcodeServerFailure), nil
		}
		return reply(t, q, code, records...), nil
	})
	for _, tt := range []struct {
		name  string
		lives time.Duration
		asks  int32
	}{
		{"pos.test", 100 * time.Second, 1},
		{"long.test", c.o.Limits.MaxTTL, 1},
		{"zero.test", 0, 1},
		{"neg.test", 50 * time.Second, 1},                   // RFC 2308 §5: the SOA's minimum
		{"neg2.test", c.o.Limits.MaxNegative, 1},            // bounded
		{"fail.test", time.Second, int32(c.o.Limits.Tries)}, // RFC 9520 §3.2
	} {
		look := func() int32 {
			before := asked.Load()
			_, _, _ = c.TXT(context.Background(), tt.name)
			return asked.Load() - before
		}
		if got := look(); got != tt.asks {
			t.Errorf("%s: asked %d times at first, want %d", tt.name, got, tt.asks)
		}
		if tt.lives > 0 {
			now.Advance(tt.lives - time.Millisecond)
			if got := look(); got != 0 {
				t.Errorf("%s: asked again before %v", tt.name, tt.lives)
			}
			now.Advance(time.Millisecond)
		}
		if got := look(); got != tt.asks {
			t.Errorf("%s: kept for longer than %v", tt.name, tt.lives)
		}
	}
	// A clock that jumps back keeps nothing for ever.
	now.Set(noon.Add(-1000 * time.Hour))
	before := asked.Load()
	_, _, _ = c.TXT(context.Background(), "pos.test")
	if asked.Load() == before {
		t.Error("an answer from the future was used")
	}
}

func TestCacheIsBounded(t *testing.T) {
	t.Parallel()
	l := limits.Default().DNS
	l.Cache = 100
	c := client(Options{Limits: l}, func(q *dns.Msg, _ bool) (*dns.Msg, error) {
		return reply(t, q, dns.RcodeSuccess, q.Question[0].Name+" 300 IN TXT x"), nil
	})
	for i := range 1000 {
		if _, _, err := c.TXT(context.Background(), fmt.Sprintf("n%d.test", i)); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(c.cache.entries); n > l.Cache || n < l.Cache/2 {
		t.Errorf("%d answers kept, at most %d are allowed", n, l.Cache)
	}
}

func TestOneQuestionAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked atomic.Int32
		release := make(chan struct{})
		c := client(Options{}, func(q *dns.Msg, _ bool) (*dns.Msg, error) {
			asked.Add(1)
			<-release
			return reply(t, q, dns.RcodeSuccess, "a.test. 300 IN TXT x"), nil
		})
		// The first to ask leaves; the others still get the answer it began.
		ctx, leave := context.WithCancel(context.Background())
		left := make(chan error)
		go func() { _, _, err := c.TXT(ctx, "a.test"); left <- err }()
		synctest.Wait()
		var all sync.WaitGroup
		for range 50 {
			all.Go(func() {
				if _, _, err := c.TXT(context.Background(), "a.test"); err != nil {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		leave()
		if err := <-left; !errors.Is(err, ErrTemporary) || !errors.Is(err, context.Canceled) {
			t.Errorf("who left was told %v", err)
		}
		close(release)
		all.Wait()
		if asked.Load() != 1 {
			t.Errorf("asked %d times", asked.Load())
		}
	})
}

// TestForgedAnswers proves that what does not answer the question is passed over (RFC 5452 §9.1).
func TestForgedAnswers(t *testing.T) {
	t.Parallel()
	forge := func(w dns.ResponseWriter, m *dns.Msg, change func(*dns.Msg)) {
		r := reply(t, m, dns.RcodeSuccess, "a.test. IN TXT forged")
		change(r)
		_ = w.WriteMsg(r)
	}
	addr, stop, err := Serve(dns.HandlerFunc(func(w dns.ResponseWriter, m *dns.Msg) {
		_, _ = w.Write([]byte("x"))
		_, _ = w.Write([]byte(strings.Repeat("\xff", 40)))
		forge(w, m, func(r *dns.Msg) { r.Id++ })
		forge(w, m, func(r *dns.Msg) { r.Response = false })
		forge(w, m, func(r *dns.Msg) { r.Question[0].Name = "b.test." })
		forge(w, m, func(r *dns.Msg) { r.Question[0].Name = strings.ToUpper(r.Question[0].Name) + "x." })
		forge(w, m, func(r *dns.Msg) { r.Question[0].Qtype = dns.TypeA })
		forge(w, m, func(r *dns.Msg) { r.Question = nil })
		forge(w, m, func(r *dns.Msg) { r.Opcode = dns.OpcodeNotify })
		_ = w.WriteMsg(reply(t, m, dns.RcodeSuccess, "a.test. IN TXT true"))
	}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	c := New(Options{Servers: []netip.AddrPort{addr}, MixedCase: true})
	got, _, err := c.TXT(context.Background(), "a.test")
	if err != nil || !slices.Equal(got, []string{"true"}) {
		t.Errorf("TXT = %q, %v", got, err)
	}
}

func TestTooManyForgedAnswers(t *testing.T) {
	t.Parallel()
	addr, stop, err := Serve(dns.HandlerFunc(func(w dns.ResponseWriter, m *dns.Msg) {
		for range maxStrangers * 2 {
			r := reply(t, m, dns.RcodeSuccess, "a.test. IN TXT forged")
			r.Id++
			_ = w.WriteMsg(r)
		}
	}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	l := limits.Default().DNS
	l.Tries = 1
	c := New(Options{Servers: []netip.AddrPort{addr}, Limits: l})
	if got, _, err := c.TXT(context.Background(), "a.test"); !errors.Is(err, ErrTemporary) {
		t.Errorf("TXT = %q, %v", got, err)
	}
}

func TestSilentServer(t *testing.T) {
	t.Parallel()
	p, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	l := limits.Default().DNS
	l.Query, l.Tries = 20*time.Millisecond, 3
	c := New(Options{Servers: []netip.AddrPort{p.LocalAddr().(*net.UDPAddr).AddrPort()}, Limits: l})
	_, _, err = c.TXT(context.Background(), "a.test")
	if !errors.Is(err, ErrTemporary) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("TXT = %v", err)
	}
	ids, buf := map[uint16]bool{}, make([]byte, 512)
	for range l.Tries {
		n, _, err := p.ReadFrom(buf)
		if err != nil || n < 12 {
			t.Fatal(n, err)
		}
		ids[uint16(buf[0])<<8|uint16(buf[1])] = true
	}
	if len(ids) < l.Tries-1 {
		t.Errorf("%d tries used identifiers %v", l.Tries, ids)
	}
}

func TestHalfAnAddressAnswer(t *testing.T) {
	t.Parallel()
	c := client(Options{}, func(q *dns.Msg, _ bool) (*dns.Msg, error) {
		switch {
		case q.Question[0].Qtype == dns.TypeA && q.Question[0].Name != "six.test.":
			return reply(t, q, dns.RcodeSuccess, q.Question[0].Name+" IN A 192.0.2.1"), nil
		case q.Question[0].Qtype == dns.TypeAAAA && q.Question[0].Name == "six.test.":
			return reply(t, q, dns.RcodeSuccess, "six.test. IN AAAA 2001:db8::1"), nil
		}
		return reply(t, q, dns.RcodeServerFailure), nil
	})
	for _, host := range []string{"four.test", "six.test"} {
		got, result, err := c.Addrs(context.Background(), host)
		if err != nil || len(got) != 1 || result != (Result{Name: host}) {
			t.Errorf("%s: %v, %+v, %v; want one address, not to be kept", host, got, result, err)
		}
	}
}

// Whoever makes one of the two questions fail must not make a signed zone look unsigned: DANE hangs
// on that (RFC 7672 §2.1.2).
func TestHalfAnAnswerStaysAuthentic(t *testing.T) {
	t.Parallel()
	for fails, record := range map[uint16]string{
		dns.TypeAAAA: "a.test. IN A 192.0.2.1", dns.TypeA: "a.test. IN AAAA 2001:db8::1",
	} {
		for _, signed := range []bool{true, false} {
			c := client(Options{}, func(q *dns.Msg, _ bool) (*dns.Msg, error) {
				if q.Question[0].Qtype == fails {
					return reply(t, q, dns.RcodeServerFailure), nil
				}
				r := reply(t, q, dns.RcodeSuccess, record)
				r.AuthenticatedData = signed
				return r, nil
			})
			_, result, err := c.Addrs(context.Background(), "a.test")
			if err != nil || result.Authentic != signed || result.TTL != 0 {
				t.Errorf("%s, signed %v: %+v, %v", record, signed, result, err)
			}
		}
	}
}

func TestTrust(t *testing.T) {
	t.Parallel()
	c := New(Options{Trusted: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16")}})
	for s, want := range map[string]bool{
		"127.0.0.1:53": true, "[::1]:53": true, "127.0.0.53:53": true, "[::ffff:127.0.0.1]:53": true,
		"10.1.2.3:53": true, "10.2.0.1:53": false, "192.0.2.1:53": false, "[2001:db8::1]:53": false,
	} {
		if got := c.trusts(netip.MustParseAddrPort(s)); got != want {
			t.Errorf("trusts(%s) = %v", s, got)
		}
	}
	// The bit of a server elsewhere is not passed on.
	c.o.Servers = []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:53")}
	c.servers = c.o.Servers
	c.ask = func(_ context.Context, q *dns.Msg, _ netip.AddrPort, _ bool) (*dns.Msg, error) {
		r := reply(t, q, dns.RcodeSuccess, "a.test. IN TXT x")
		r.AuthenticatedData = true
		return r, nil
	}
	if _, result, err := c.TXT(context.Background(), "a.test"); err != nil || result.Authentic {
		t.Errorf("a stranger's DNSSEC bit was believed (%v)", err)
	}
}

func TestReadConf(t *testing.T) {
	t.Parallel()
	now := clock.NewFake(noon)
	c := New(Options{Clock: now})
	file := filepath.Join(t.TempDir(), "resolv.conf")
	check := func(want ...string) {
		t.Helper()
		c.readConf(file)
		var got []string
		for _, s := range c.servers {
			got = append(got, s.String())
		}
		if !slices.Equal(got, want) {
			t.Errorf("servers %q, want %q", got, want)
		}
	}
	write := func(text string, age time.Duration) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(file, noon, noon.Add(age)); err != nil {
			t.Fatal(err)
		}
	}
	check("127.0.0.1:53") // no file
	write("nameserver 192.0.2.1\nnameserver 2001:db8::1\nsearch example.net\n", 1)
	check("127.0.0.1:53") // not looked at yet
	now.Advance(checkConf)
	check("192.0.2.1:53", "[2001:db8::1]:53")
	write("nameserver 192.0.2.9\n", 2*time.Second)
	now.Advance(checkConf)
	check("192.0.2.9:53")
	write("# empty while it is being written\n", 3*time.Second)
	now.Advance(checkConf)
	check("192.0.2.9:53")
}

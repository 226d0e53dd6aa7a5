package spf

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"tram/internal/dns"
	"tram/internal/mailauth"
)

func check(zone, addr, from string) mailauth.SPF {
	local, domain, _ := strings.Cut(from, "@")
	q := Query{Addr: netip.MustParseAddr(addr), HELO: "mail.sender.test", Local: local, Domain: domain}
	return Check(context.Background(), dns.NewFake(zone), q, options)
}

// TestRange: how wide the network is that a pass comes from (M8, BreakSPF).
func TestRange(t *testing.T) {
	t.Parallel()
	const hosts = `
mail.wide.test. 300 IN A 192.0.2.1
mail.wide.test. 300 IN AAAA 2001:db8::1
wide.test. 300 IN MX 10 mail.wide.test.
cloud.test. 300 IN TXT "v=spf1 ip4:192.0.2.7 ip4:192.0.0.0/10 -all"
*.exists.test. 300 IN A 127.0.0.2
here.exists.test. 300 IN A 127.0.0.2
`
	for _, c := range []struct{ record, addr, network, mechanism string }{
		{"v=spf1 ip4:192.0.2.9 -all", "192.0.2.9", "192.0.2.9/32", "ip4:192.0.2.9"},
		{"v=spf1 ip4:192.0.2.9/8 -all", "192.0.2.9", "192.0.0.0/8", "ip4:192.0.2.9/8"},
		{"v=spf1 +all", "192.0.2.9", "0.0.0.0/0", "all"},
		{"v=spf1 +all", "2001:db8::9", "::/0", "all"},
		{"v=spf1 ip6:2001:db8::/20 -all", "2001:db8::9", "2001::/20", "ip6:2001:db8::/20"},
		{"v=spf1 ip6:2001:db8::/24 -all", "2001:db8::9", "2001:d00::/24", "ip6:2001:db8::/24"},
		{"v=spf1 a:mail.wide.test/9 -all", "192.0.2.9", "192.0.0.0/9", "a:mail.wide.test/9"},
		{"v=spf1 a:mail.wide.test/9//32 -all", "2001:db8::9", "2001:db8::/32", "a:mail.wide.test/9//32"},
		{"v=spf1 mx/16 -all", "192.0.200.9", "192.0.0.0/16", "mx/16"},
		{"v=spf1 include:cloud.test -all", "192.10.2.9", "192.0.0.0/10", "include:cloud.test ip4:192.0.0.0/10"},
		{"v=spf1 redirect=cloud.test", "192.10.2.9", "192.0.0.0/10", "ip4:192.0.0.0/10"},
		{"v=spf1 exists:here.exists.test -all", "192.0.2.9", "", "exists:here.exists.test"},
		{"v=spf1 ip4:::ffff:1.2.3.4 -all", "1.2.3.4", "", ""},
	} {
		got := check(hosts+fmt.Sprintf("wide.test. 300 IN TXT %q\n", c.record), c.addr, "a@wide.test")
		network := ""
		if got.Range.IsValid() {
			network = got.Range.String()
		}
		if c.mechanism == "" {
			if got.Status == mailauth.Pass {
				t.Errorf("%s: %+v", c.record, got)
			}
			continue
		}
		if got.Status != mailauth.Pass || network != c.network || got.Mechanism != c.mechanism {
			t.Errorf("%s from %s: %+v, want a pass from %s by %s", c.record, c.addr, got, c.network, c.mechanism)
		}
	}
}

// TestHostile: records that want this server to ask and ask (P25).
func TestHostile(t *testing.T) {
	t.Parallel()
	record := func(text string) string { return fmt.Sprintf("evil.test. 300 IN TXT %s\n", quoted(text)) }
	many := func(term string, n int) string {
		var b strings.Builder
		b.WriteString("v=spf1")
		for i := range n {
			fmt.Fprintf(&b, " "+term, i)
		}
		return b.String() + " ?all"
	}
	hosts := ""
	for i := range 12 {
		hosts += fmt.Sprintf("h%d.evil.test. 300 IN A 192.0.2.200\n", i)
	}
	big := "v=spf1 " + strings.Repeat("x=y ", 16<<10) + "+all"
	for _, c := range []struct {
		name, zone string
		want       mailauth.Status
		asked      int // at most
	}{
		{"10 look-ups", hosts + record(many("a:h%d.evil.test", 10)), mailauth.Neutral, 11},
		{"11 look-ups", hosts + record(many("a:h%d.evil.test", 11)), mailauth.PermError, 11},
		{"2 voids", record(many("a:no%d.evil.test", 2)), mailauth.Neutral, 3},
		{"3 voids", record(many("a:no%d.evil.test", 3)), mailauth.PermError, 4},
		{"itself", record("v=spf1 include:evil.test -all"), mailauth.PermError, 12},
		{"itself by a macro", record("v=spf1 include:%{d} -all"), mailauth.PermError, 12},
		{"itself at the end", record("v=spf1 redirect=%{o}"), mailauth.PermError, 12},
		{"a macro that grows", record("v=spf1 exists:" + strings.Repeat("%{h}.", 600) + "evil.test ?all"),
			mailauth.PermError, 1},
		{"names for ever", record("v=spf1 exists:%{p}.x.test exists:%{p}.y.test ?all"), mailauth.Neutral, 5},
		{"64 KiB", record(big), mailauth.PermError, 1},
		{"64 KiB of another kind", record("v=spf2 " + big), mailauth.None, 1},
		{"a control", record("v=spf1 +all\x07"), mailauth.PermError, 1},
		{"two", record("v=spf1 +all") + record("v=spf1 -all"), mailauth.PermError, 1},
	} {
		fake := dns.NewFake(c.zone)
		q := Query{
			Addr: netip.MustParseAddr("192.0.2.9"), HELO: "mail.sender.test", Local: "a", Domain: "evil.test",
		}
		got := Check(context.Background(), fake, q, options)
		if got.Status != c.want || len(fake.Asked()) > c.asked {
			t.Errorf("%s: %+v after %d questions, want %s", c.name, got, len(fake.Asked()), c.want)
		}
	}
}

// TestIdentities: whose name is asked about, RFC 7208 §2.3, §2.4 and §4.3.
func TestIdentities(t *testing.T) {
	t.Parallel()
	fake := dns.NewFake(`
mail.sender.test. 300 IN TXT "v=spf1 ip4:192.0.2.1 -all exp=why.sender.test"
sender.test. 300 IN TXT "v=spf1 exists:%{l}._spf.%{d} -all"
joe._spf.sender.test. 300 IN A 127.0.0.2
why.sender.test. 300 IN TXT "%{l} of %{o} from %{c} to %{r}"
xn--th-ska.vn. 300 IN TXT "v=spf1 ip4:192.0.2.1 -all"
`)
	client := netip.MustParseAddr("::ffff:192.0.2.1")
	for _, c := range []struct {
		q      Query
		status mailauth.Status
		domain string
		helo   bool
		text   string
	}{
		{Query{Addr: client, HELO: "mail.sender.test"}, mailauth.Pass, "mail.sender.test", true, ""},
		{Query{Addr: client, HELO: "MAIL.sender.test."}, mailauth.Pass, "mail.sender.test", true, ""},
		{Query{Addr: netip.MustParseAddr("192.0.2.2"), HELO: "mail.sender.test"}, mailauth.Fail,
			"mail.sender.test", true, "postmaster of mail.sender.test from 192.0.2.2 to mx.example.org"},
		{Query{Addr: client, HELO: "[192.0.2.1]"}, mailauth.None, "[192.0.2.1]", true, ""},
		{Query{Addr: client, HELO: "localhost"}, mailauth.None, "localhost", true, ""},
		{Query{Addr: client, HELO: "x.test", Local: "joe", Domain: "sender.test"}, mailauth.Pass, "sender.test", false, ""},
		{Query{Addr: client, HELO: "x.test", Local: "jim", Domain: "sender.test"}, mailauth.Fail, "sender.test", false, ""},
		// RFC 8616 §4: a local part in UTF-8 never matches.
		{Query{Addr: client, HELO: "x.test", Local: "giờ", Domain: "sender.test"}, mailauth.Fail, "sender.test", false, ""},
		{Query{Addr: client, HELO: "x.test", Local: "a", Domain: "thú.vn"}, mailauth.Pass, "xn--th-ska.vn", false, ""},
		{Query{Addr: client, HELO: "mail.sender.test", Local: "joe", Domain: "sender.test", ByHELO: true},
			mailauth.Pass, "mail.sender.test", true, ""},
		{Query{HELO: "mail.sender.test"}, mailauth.None, "mail.sender.test", true, ""},
	} {
		got := Check(context.Background(), fake, c.q, options)
		if got.Status != c.status || got.Domain != c.domain || got.Helo != c.helo || got.Explanation != c.text {
			t.Errorf("%+v: %+v, want %s of %s", c.q, got, c.status, c.domain)
		}
	}
}

// TestTrouble: an error of the DNS is neither a pass nor a fail, wherever it happens (O11).
func TestTrouble(t *testing.T) {
	t.Parallel()
	const zone = `
broken.test. 300 IN TXT "v=spf1 a:a.test mx:b.test exists:c.test include:d.test redirect=e.test"
a.test. 300 IN A 192.0.2.200
b.test. 300 IN MX 10 m.b.test.
m.b.test. 300 IN A 192.0.2.200
c.test. 300 IN TXT "nothing"
d.test. 300 IN TXT "v=spf1 ip4:192.0.2.200"
e.test. 300 IN TXT "v=spf1 +all"
`
	if got := check(zone, "192.0.2.9", "x@broken.test"); got.Status != mailauth.Pass {
		t.Fatalf("the record does not pass without trouble: %+v", got)
	}
	for _, name := range []string{"broken.test", "a.test", "b.test", "m.b.test", "c.test", "d.test", "e.test"} {
		fake := dns.NewFake(zone)
		fake.Fail(name, errors.New("lost"))
		q := Query{Addr: netip.MustParseAddr("192.0.2.9"), HELO: "h.test", Local: "x", Domain: "broken.test"}
		if got := Check(context.Background(), fake, q, options); got.Status != mailauth.TempError {
			t.Errorf("%s cannot be asked: %+v", name, got)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	q := Query{Addr: netip.MustParseAddr("192.0.2.9"), HELO: "h.test", Local: "x", Domain: "broken.test"}
	if got := Check(ctx, hanging{}, q, options); got.Status != mailauth.TempError {
		t.Errorf("out of time: %+v", got)
	}
}

// hanging is a resolver that answers when its caller has given up.
type hanging struct{ Resolver }

func (hanging) TXT(ctx context.Context, _ string) ([]string, dns.Result, error) {
	<-ctx.Done()
	return nil, dns.Result{}, errors.Join(dns.ErrTemporary, ctx.Err())
}

func FuzzRecord(f *testing.F) {
	for _, s := range []string{
		"v=spf1", "v=spf1 -all", "v=spf1 a:%{ir}.%{v}._spf.%{d2}/24//64 ?mx ~ptr +exists:%{l1r-}.x.test",
		"v=spf1 ip4:1.2.3.4/0 ip6:::1/128 redirect=%{o} exp=e.%{d}", "v=spf1 a:%{", "v=spf1 a:%", "v=spf1 =",
		"v=spf1 foo=%{s}%%%_%- a//0 mx/00", "v=spf1 a:x.%{h0}", "v=spf1 a:" + strings.Repeat("%{d}", 500),
	} {
		f.Add(s)
	}
	fake := dns.NewFake("x.test. 300 IN A 192.0.2.1\n")
	f.Fuzz(func(t *testing.T, s string) {
		text, n := selectRecord([]string{s})
		if n == 0 {
			return
		}
		rec, err := parse(text)
		if err != nil {
			return
		}
		e := &evaluation{r: fake, o: options, q: Query{
			Addr: netip.MustParseAddr("2001:db8::1"), HELO: "h.test", Local: "l", Domain: "d.test",
		}}
		for i := range rec.mechanisms {
			if spec := rec.mechanisms[i].spec; spec != "" {
				name, err := e.expand(context.Background(), spec, "d.test", false)
				if err == nil && len(name) > 253 {
					t.Fatalf("%q expands to %d octets", spec, len(name))
				}
			}
		}
		if out := Check(context.Background(), dns.NewFake(""), e.q, options); out.Status == mailauth.Pass {
			t.Fatalf("a pass without a record")
		}
	})
}

package dmarc

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tram/internal/dns"
	"tram/internal/limits"
	"tram/internal/mailauth"
)

var options = Options{Limits: limits.Default().MailAuth}

// zoneOf makes a DNS of "name record" lines: each a TXT record at _dmarc.name, or, with a leading
// "=", an address of the name itself.
func zoneOf(lines string) *dns.Fake {
	fake := dns.NewFake("")
	for line := range strings.SplitSeq(lines, "\n") {
		name, record, ok := strings.Cut(strings.TrimSpace(line), " ")
		switch {
		case strings.HasPrefix(name, "="):
			fake.Add(name[1:] + ". 300 IN A 192.0.2.1")
		case ok:
			fake.Add(fmt.Sprintf("_dmarc.%s. 300 IN TXT %q", name, record))
		}
	}
	return fake
}

// TestTreeWalk: RFC 9989 §4.10, where the record and the organisational domain are found, and what was
// asked on the way ("-" for nothing to compare).
func TestTreeWalk(t *testing.T) {
	t.Parallel()
	const (
		org   = "example.com v=DMARC1; p=reject"
		long  = "a.b.c.d.e.f.g.h.i.j.mail.example.com"
		eight = "a.b.c.d.e.f.example.com"
		nine  = "a.b.c.d.e.f.g.example.com"
	)
	for _, c := range []struct{ zone, from, record, organizational string }{
		{"", "example.com", "", "example.com"},
		{"", "com", "", "com"},
		{org, "example.com", "example.com", "example.com"},
		{org, "mail.example.com", "example.com", "example.com"},
		{org, "a.mail.example.com", "example.com", "example.com"},
		{org, "example.net", "", "example.net"},
		{org, "notexample.com", "", "notexample.com"},
		{org, "com", "", "com"},
		{org, eight, "example.com", "example.com"},
		{org, nine, "example.com", "example.com"},
		{org, long, "example.com", "example.com"},
		// The example of §4.10.2: two records, the shorter name is the organisational domain.
		{org + "\nmail.example.com v=DMARC1; p=none", "a.mail.example.com", "example.com", "example.com"},
		{org + "\nmail.example.com v=DMARC1; p=none; psd=n", "a.mail.example.com", "mail.example.com", "mail.example.com"},
		{"com v=DMARC1; p=reject; psd=y", "a.mail.example.com", "com", "example.com"},
		{org + "\ncom v=DMARC1; p=none; psd=y", "a.mail.example.com", "example.com", "example.com"},
		{"com v=DMARC1; p=none; psd=y\nmail.example.com v=DMARC1; p=none", "a.mail.example.com", "com", "example.com"},
		{"example.com v=DMARC1; p=none; psd=y", "mail.example.com", "example.com", "mail.example.com"},
		{"example.com v=DMARC1; p=none; psd=y", "a.mail.example.com", "example.com", "mail.example.com"},
		{"example.com v=DMARC1; p=none; psd=y", "example.com", "example.com", "example.com"},
		{"com v=DMARC1; p=none; psd=y", "com", "com", "com"},
		{"com v=DMARC1; p=none; psd=y", "example.com", "com", "example.com"},
		{"com v=DMARC1; p=none", "example.com", "com", "com"},
		{"com v=DMARC1; p=none; psd=u", "example.com", "com", "com"},
		{"example.com v=DMARC1; p=none; psd=n\ncom v=DMARC1; p=none", "b.example.com", "example.com", "example.com"},
		{"example.com v=DMARC1; p=none\ncom v=DMARC1; p=none", "b.example.com", "com", "com"},
		{"co.uk v=DMARC1; p=none; psd=y", "shop.co.uk", "co.uk", "shop.co.uk"},
		{"co.uk v=DMARC1; p=none; psd=y\nshop.co.uk v=DMARC1; p=quarantine", "a.shop.co.uk", "shop.co.uk", "shop.co.uk"},
		{"co.uk v=DMARC1; p=none; psd=y\nuk v=DMARC1; p=none; psd=y", "a.shop.co.uk", "co.uk", "shop.co.uk"},
		// Several records, and what is no record, count as none.
		{org + "\nexample.com v=DMARC1; p=none", "example.com", "", "example.com"},
		{org + "\nexample.com v=DMARC1; p=none", "mail.example.com", "", "mail.example.com"},
		{org + "\nmail.example.com v=DMARC1; p=none\nmail.example.com v=DMARC1; p=reject", "mail.example.com",
			"example.com", "example.com"},
		{org + "\nexample.com google-site-verification=1", "example.com", "example.com", "example.com"},
		{"example.com v=DMARC2; p=none\ncom v=DMARC1; p=none; psd=y", "example.com", "com", "example.com"},
		{"example.com p=none; v=DMARC1", "example.com", "", "example.com"},
		{"example.com v=dmarc1; p=none", "example.com", "", "example.com"},
		{"example.com v=DMARC1 p=none", "example.com", "", "example.com"},
		{"example.com v=spf1 -all", "example.com", "", "example.com"},
		// A record that names no policy: with a report address it is p=none (§4.10.1), and its psd holds.
		{"example.com v=DMARC1", "example.com", "", "-"},
		{"example.com v=DMARC1; rua=mailto:d@example.com", "example.com", "example.com", "example.com"},
		{"example.com v=DMARC1; p=strict", "example.com", "", "-"},
		{"example.com v=DMARC1; p=reject; sp=x; rua=mailto:d@example.com", "example.com", "example.com", "example.com"},
		{"example.com v=DMARC1; psd=n\ncom v=DMARC1; p=none", "a.example.com", "", "example.com"},
		// Of a long name, only the last seven labels are asked, and the name itself.
		{"b.c.d.e.f.g.example.com v=DMARC1; p=none; psd=n\n" + org, "mail.a.b.c.d.e.f.g.example.com",
			"example.com", "example.com"},
		{long + " v=DMARC1; p=none\n" + org, long, long, "-"},
		{"g.h.i.j.mail.example.com v=DMARC1; p=none; psd=n", long, "g.h.i.j.mail.example.com", "g.h.i.j.mail.example.com"},
		{"f.g.h.i.j.mail.example.com v=DMARC1; p=none; psd=n", long, "", long},
	} {
		fake := zoneOf(c.zone)
		got := Check(context.Background(), fake, Query{From: c.from}, options)
		if got.Record != c.record || c.organizational != "-" && got.Organizational != c.organizational {
			t.Errorf("%q from %s: record at %q, organisational domain %q; want %q, %q",
				c.zone, c.from, got.Record, got.Organizational, c.record, c.organizational)
		}
		if n := len(fake.Asked()); n > 8 {
			t.Errorf("%q from %s: %d questions", c.zone, c.from, n)
		}
	}
}

// TestShortcut: the eight questions of the example in RFC 9989 §4.10.
func TestShortcut(t *testing.T) {
	t.Parallel()
	fake := zoneOf("")
	Check(context.Background(), fake, Query{From: "a.b.c.d.e.f.g.h.i.j.mail.example.com"}, options)
	want := []string{
		"_dmarc.a.b.c.d.e.f.g.h.i.j.mail.example.com. TXT", "_dmarc.g.h.i.j.mail.example.com. TXT",
		"_dmarc.h.i.j.mail.example.com. TXT", "_dmarc.i.j.mail.example.com. TXT", "_dmarc.j.mail.example.com. TXT",
		"_dmarc.mail.example.com. TXT", "_dmarc.example.com. TXT", "_dmarc.com. TXT",
	}
	if diff := cmp.Diff(want, fake.Asked()); diff != "" {
		t.Error(diff)
	}
}

func signed(domain string, s mailauth.Status) mailauth.DKIM {
	return mailauth.DKIM{Domain: domain, Status: s}
}

// TestAlignment: RFC 9989 §4.4 and §4.10.2.
func TestAlignment(t *testing.T) {
	t.Parallel()
	const (
		relaxed = "example.com v=DMARC1; p=reject"
		strict  = "example.com v=DMARC1; p=reject; adkim=s; aspf=s"
		split   = relaxed + "\nb.example.com v=DMARC1; p=none; psd=n"
	)
	pass, fail, temp := mailauth.Pass, mailauth.Fail, mailauth.TempError
	spf := func(domain string, s mailauth.Status) mailauth.SPF { return mailauth.SPF{Domain: domain, Status: s} }
	for _, c := range []struct {
		zone, from string
		spf        mailauth.SPF
		dkim       []mailauth.DKIM
		want       mailauth.Status
		aligned    string
	}{
		{relaxed, "example.com", spf("example.com", pass), nil, pass, "example.com"},
		{relaxed, "example.com", spf("bounce.example.com", pass), nil, pass, "bounce.example.com"},
		{relaxed, "example.com", spf("example.net", pass), nil, fail, ""},
		{relaxed, "example.com", spf("notexample.com", pass), nil, fail, ""},
		{relaxed, "example.com", spf("com", pass), nil, fail, ""},
		{relaxed, "example.com", spf("example.com", mailauth.SoftFail), nil, fail, ""},
		{relaxed, "example.com", spf("example.com", mailauth.PermError), nil, fail, ""},
		{relaxed, "example.com", spf("example.com", temp), nil, temp, ""},
		{relaxed, "example.com", spf("example.net", temp), nil, fail, ""},
		{relaxed, "a.example.com", spf("b.c.example.com", pass), nil, pass, "b.c.example.com"},
		{relaxed, "a.example.com", spf("example.com", pass), nil, pass, "example.com"},
		{relaxed, "example.com", mailauth.SPF{}, []mailauth.DKIM{signed("example.com", pass)}, pass, "example.com"},
		{relaxed, "example.com", mailauth.SPF{}, []mailauth.DKIM{signed("m.example.com", pass)}, pass, "m.example.com"},
		{relaxed, "example.com", mailauth.SPF{}, []mailauth.DKIM{signed("esp.test", pass)}, fail, ""},
		{relaxed, "example.com", mailauth.SPF{},
			[]mailauth.DKIM{signed("esp.test", pass), signed("example.com", pass)}, pass, "example.com"},
		{relaxed, "example.com", mailauth.SPF{}, []mailauth.DKIM{signed("example.com", mailauth.Policy)}, fail, ""},
		{relaxed, "example.com", mailauth.SPF{}, []mailauth.DKIM{signed("example.com", temp)}, temp, ""},
		{relaxed, "example.com", spf("example.com", pass), []mailauth.DKIM{signed("example.com", temp)}, pass, "example.com"},
		{strict, "example.com", spf("bounce.example.com", pass), nil, fail, ""},
		{strict, "example.com", spf("example.com", pass), nil, pass, "example.com"},
		{strict, "example.com", mailauth.SPF{}, []mailauth.DKIM{signed("m.example.com", pass)}, fail, ""},
		{strict, "m.example.com", mailauth.SPF{}, []mailauth.DKIM{signed("m.example.com", pass)}, pass, "m.example.com"},
		{strict, "m.example.com", mailauth.SPF{}, []mailauth.DKIM{signed("example.com", pass)}, fail, ""},
		// An organisation of its own below another one.
		{split, "x.b.example.com", spf("example.com", pass), nil, fail, ""},
		{split, "x.b.example.com", spf("y.b.example.com", pass), nil, pass, "y.b.example.com"},
		{split, "example.com", spf("b.example.com", pass), nil, fail, ""},
		{split, "b.example.com", spf("example.com", pass), nil, fail, ""},
		{"com v=DMARC1; p=reject; psd=y", "one.com", spf("two.com", pass), nil, fail, ""},
		{"com v=DMARC1; p=reject; psd=y", "one.com", spf("m.one.com", pass), nil, pass, "m.one.com"},
		{"", "example.com", spf("example.com", pass), nil, mailauth.None, ""},
	} {
		q := Query{From: c.from, SPF: c.spf, DKIM: c.dkim}
		got := Check(context.Background(), zoneOf(c.zone), q, options)
		if got.Status != c.want || got.Aligned != c.aligned {
			t.Errorf("%q, %+v: %s by %q (%s); want %s by %q",
				c.zone, q, got.Status, got.Aligned, got.Reason, c.want, c.aligned)
		}
	}
}

// TestPolicy: p, sp, np and t, RFC 9989 §4.7; pct is no more.
func TestPolicy(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ zone, from, want string }{
		{"example.com v=DMARC1; p=reject", "example.com", "reject"},
		{"example.com v=DMARC1; p=reject; pct=0", "example.com", "reject"},
		{"example.com v=DMARC1;p=Quarantine ;", "example.com", "quarantine"},
		{"example.com v=DMARC1; p=none; sp=reject", "example.com", "none"},
		{"example.com v=DMARC1; p=none; sp=reject\n=m.example.com", "m.example.com", "reject"},
		{"example.com v=DMARC1; p=reject; sp=none\n=m.example.com", "m.example.com", "none"},
		{"example.com v=DMARC1; p=reject; np=none\n=m.example.com", "m.example.com", "reject"},
		{"example.com v=DMARC1; p=none; np=reject\n=m.example.com", "x.example.com", "reject"},
		{"example.com v=DMARC1; p=none; sp=quarantine; np=reject", "x.example.com", "reject"},
		{"example.com v=DMARC1; p=none; sp=quarantine", "x.example.com", "quarantine"},
		{"example.com v=DMARC1; p=reject", "x.example.com", "reject"},
		{"example.com v=DMARC1; p=none; np=reject\n=a.m.example.com", "m.example.com", "none"},
		{"com v=DMARC1; p=none; sp=none; np=reject; psd=y", "nobody.com", "reject"},
		{"com v=DMARC1; p=none; sp=quarantine; np=reject; psd=y\n=one.com", "one.com", "quarantine"},
		{"example.com v=DMARC1; p=reject; t=y", "example.com", "quarantine"},
		{"example.com v=DMARC1; p=quarantine; t=y", "example.com", "none"},
		{"example.com v=DMARC1; p=none; t=y", "example.com", "none"},
		{"example.com v=DMARC1; p=reject; t=n", "example.com", "reject"},
		{"example.com v=DMARC1; p=none; p=reject", "example.com", "none"},
		{"example.com v=DMARC1; p=reject; x=; ;=y;adkim", "example.com", "reject"},
	} {
		got := Check(context.Background(), zoneOf(c.zone), Query{From: c.from}, options)
		if got.Status != mailauth.Fail || got.Policy != c.want {
			t.Errorf("%q from %s: %s, policy %q (%s); want %q", c.zone, c.from, got.Status, got.Policy, got.Reason, c.want)
		}
	}
}

func TestParse(t *testing.T) {
	t.Parallel()
	r, ok, usable := parse("v = DMARC1 ; p=none; rua=mailto:a@example.com!10m , https://x.test/d,nonsense,;" +
		" ruf=mailto:f@example.com; fo=1:d:x; adkim=S; aspf=q; psd=N; rf=afrf; ri=3600")
	want := &mailauth.DMARCRecord{
		P: "none", ADKIM: "s", ASPF: "r", PSD: "n", FO: "1:d",
		RUA: []string{"mailto:a@example.com", "https://x.test/d"}, RUF: []string{"mailto:f@example.com"},
	}
	if !ok || !usable {
		t.Fatal("not usable")
	}
	if diff := cmp.Diff(want, r); diff != "" {
		t.Error(diff)
	}
}

// TestTrouble: what cannot be asked is no pass and no fail (O11).
func TestTrouble(t *testing.T) {
	t.Parallel()
	zone := "example.com v=DMARC1; p=reject; np=none"
	spf := mailauth.SPF{Domain: "m.example.com", Status: mailauth.Pass}
	for _, c := range []struct {
		fails, from string
		q           Query
		want        mailauth.Status
	}{
		{"_dmarc.example.com", "example.com", Query{}, mailauth.TempError},
		{"_dmarc.example.com", "a.example.com", Query{}, mailauth.TempError},
		{"_dmarc.com", "a.example.com", Query{}, mailauth.TempError},
		{"_dmarc.com", "example.com", Query{}, mailauth.Fail}, // the policy is known, and nothing is aligned
		{"_dmarc.com", "example.com", Query{SPF: mailauth.SPF{Domain: "example.com", Status: mailauth.Pass}}, mailauth.Pass},
		{"_dmarc.com", "example.com", Query{SPF: spf}, mailauth.TempError},
		{"_dmarc.m.example.com", "example.com", Query{SPF: spf}, mailauth.TempError},
		{"_dmarc.m.example.com", "example.com", Query{SPF: spf, DKIM: []mailauth.DKIM{signed("example.com", mailauth.Pass)}},
			mailauth.Pass},
		{"a.example.com", "a.example.com", Query{}, mailauth.TempError}, // does it exist?
	} {
		fake := zoneOf(zone)
		fake.Fail(c.fails, errors.New("lost"))
		c.q.From = c.from
		if got := Check(context.Background(), fake, c.q, options); got.Status != c.want {
			t.Errorf("%s cannot be asked, from %s: %+v, want %s", c.fails, c.from, got, c.want)
		}
	}
}

// TestBigRecord: 64 KiB at the policy's name are no record, and no work (P25).
func TestBigRecord(t *testing.T) {
	t.Parallel()
	fake := dns.NewFake("")
	pieces := strings.Repeat(`"`+strings.Repeat("x", 250)+`" `, 250)
	fake.Add(`_dmarc.example.com. 300 IN TXT "v=DMARC1; p=reject; y=" ` + pieces)
	got := Check(context.Background(), fake, Query{From: "example.com"}, options)
	if got.Status != mailauth.None || got.Published != nil {
		t.Errorf("%+v", got)
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{
		"v=DMARC1", "v=DMARC1; p=reject; sp=none; np=quarantine; t=y; psd=y; adkim=s; aspf=s; fo=0:1:d:s",
		"v=DMARC1; rua=mailto:a@b.test!1k,http://[::1]/;ruf=,,,:", "v=DMARC1;;;;===;p", "v=DMARC1; p=none\x00; \xff=\xff",
	} {
		f.Add(s)
	}
	policies := []string{mailauth.PolicyNone, mailauth.PolicyQuarantine, mailauth.PolicyReject}
	f.Fuzz(func(t *testing.T, s string) {
		r, ok, usable := parse(s)
		if !ok {
			if usable || r != nil {
				t.Fatal("of no record, something is used")
			}
			return
		}
		if !slices.Contains(policies, r.P) || len(r.RUA) > maxURIs || len(r.FO) > 7 {
			t.Fatalf("%q: %+v", s, r)
		}
	})
}

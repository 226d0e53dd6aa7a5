package doctor_test

import (
	"bufio"
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"tram/internal/admin/doctor"
	"tram/internal/admin/zone"
	"tram/internal/clock"
	"tram/internal/dns"
	"tram/internal/mailauth"
)

var (
	now  = time.Date(2026, 11, 22, 9, 0, 0, 0, time.UTC)
	addr = netip.MustParseAddr("198.51.100.7")
	tlsa = "3 1 1 " + strings.Repeat("ab", 32)
	next = "3 1 1 " + strings.Repeat("cd", 32)
)

// healthy is a server about which there is nothing to say, and the DNS as it should be.
func healthy(t *testing.T) (doctor.Options, *dns.Fake) {
	t.Helper()
	s := zone.Server{Hostname: "mail.example.com", Addrs: []netip.Addr{addr}, Issuer: "letsencrypt.org",
		TLSA: []string{tlsa}}
	d := zone.Domain{Name: "example.com", PolicyID: "1", DMARCReports: "dmarc-reports", TLSReports: "tls-reports",
		Keys: []zone.Key{{Selector: "ed1", Record: "v=DKIM1; k=ed25519; p=" + strings.Repeat("A", 300)}}}
	var b strings.Builder
	for _, r := range zone.Records(s, d) {
		line := r.Name + " 300 IN " + r.Type + " " + strings.Replace(r.Data, "p=none", "p=reject", 1)
		b.WriteString(line + "\n")
	}
	f := dns.NewFake(b.String() + `
example.com.  300 IN NS ns1.example.net.
example.com.  300 IN NS ns2.example.net.
ns1.example.net. 300 IN A 192.0.2.53
ns2.example.net. 300 IN A 192.0.2.54
7.100.51.198.in-addr.arpa. 300 IN PTR mail.example.com.
probe.example. 300 IN MX 10 mx.probe.example.
2.0.0.127.list.example. 300 IN A 127.0.0.2
`)
	f.SetAuthentic("example.com", true)
	return doctor.Options{
		DNS: f, Dialer: peers{"mx.probe.example:25": good, "mail.example.com:25": good},
		Clock: clock.NewFake(now), Server: s, Domains: []zone.Domain{d},
		Certificates: []doctor.Certificate{{Names: []string{"mail.example.com", "*.example.com"},
			NotAfter: now.Add(60 * 24 * time.Hour)}},
		Policies: []string{"mta-sts.example.com"},
		Free:     100 << 30, Reserve: 1 << 30,
		Lists: []string{"list.example"}, Probes: []string{"probe.example"}, Door: "mail.example.com:25",
		SPF: func(_ context.Context, a netip.Addr, _, _ string) mailauth.SPF {
			if a == addr {
				return mailauth.SPF{Status: mailauth.Pass}
			}
			return mailauth.SPF{Status: mailauth.Fail}
		},
		Policy: func(context.Context, string) error { return nil },
		Time:   func(context.Context) (time.Duration, error) { return time.Second, nil },
	}, f
}

// peers are mail servers by address.
type peers map[string]func(line string) string

// good refuses whom it does not know.
func good(line string) string {
	switch {
	case line == "":
		return "220 mail.example.com ESMTP"
	case strings.HasPrefix(line, "EHLO"):
		return "250-mail.example.com\r\n250 SIZE"
	case strings.HasPrefix(line, "RCPT"):
		return "550 5.7.1 Relaying denied"
	case line == "QUIT":
		return "221 bye"
	}
	return "250 Ok"
}

// open takes a recipient of somebody else's.
func open(line string) string {
	if strings.HasPrefix(line, "RCPT TO:<relay-test%") {
		return "250 Ok"
	}
	return good(line)
}

func (p peers) DialContext(_ context.Context, _, address string) (net.Conn, error) {
	say := p[address]
	if say == nil {
		return nil, errors.New("connect " + address + ": timed out")
	}
	ours, theirs := net.Pipe()
	go func() {
		defer theirs.Close()
		r := bufio.NewReader(theirs)
		for line, err := "", error(nil); err == nil; {
			if _, err = theirs.Write([]byte(say(line) + "\r\n")); err != nil {
				return
			}
			if line, err = r.ReadString('\n'); err != nil {
				return
			}
			line = strings.TrimSpace(line)
		}
	}()
	return ours, nil
}

func TestHealthy(t *testing.T) {
	t.Parallel()
	o, _ := healthy(t)
	lines := doctor.Run(t.Context(), o)
	for _, l := range lines {
		if l.Level != doctor.OK || l.Text == "" || l.Do != "" {
			t.Errorf("%+v", l)
		}
	}
	seen := map[string]bool{}
	for _, l := range lines {
		seen[l.Check] = true
	}
	for _, want := range []string{"host", "ptr", "port 25", "block list", "relay", "certificate", "clock", "disk",
		"mx", "spf", "dkim", "dmarc", "mta-sts", "tls-rpt", "tlsa", "srv", "autoconfig", "autodiscover", "caa"} {
		if !seen[want] {
			t.Errorf("nothing is said of %s", want)
		}
	}
	if doctor.Worst(lines) != doctor.OK {
		t.Errorf("worst is %s", doctor.Worst(lines))
	}
}

// patient is a server with its DNS.
type patient struct {
	*doctor.Options
	dns *dns.Fake
}

// illness is one thing that is wrong.
type illness struct {
	name   string
	change func(patient)
	check  string
	level  doctor.Level
	says   string // in its text or advice
}

// replace puts a record in the place of all that a name has.
func replace(name, record string) func(patient) {
	return func(w patient) {
		w.dns.Remove(name)
		if record != "" {
			w.dns.Add(name + " 300 IN " + record)
		}
	}
}

// TestHostIllnesses makes one thing wrong with the machine at a time: its line says so, and what to do.
func TestHostIllnesses(t *testing.T) {
	t.Parallel()
	diagnose(t, []illness{
		{"no A", replace("mail.example.com.", ""), "host", doctor.Error, "publish mail.example.com. A 198.51.100.7"},
		{"another machine", func(w patient) { w.dns.Add("mail.example.com. 300 IN A 203.0.113.9") }, "host", doctor.Error,
			"203.0.113.9"},
		{"behind a router", func(w patient) { w.Server.Addrs = nil }, "host", doctor.Unknown, "router"},
		{"no reverse name", replace("7.100.51.198.in-addr.arpa.", ""), "ptr", doctor.Error, "mail.example.com"},
		{"reverse name of nobody", replace("7.100.51.198.in-addr.arpa.", "PTR x.isp.example."), "ptr", doctor.Error,
			"does not lead back"},
		{"reverse name of the provider", func(w patient) {
			replace("7.100.51.198.in-addr.arpa.", "PTR x.isp.example.")(w)
			w.dns.Add("x.isp.example. 300 IN A 198.51.100.7")
		}, "ptr", doctor.Warning, "x.isp.example"},
		{"port 25 is closed", func(w patient) { w.Dialer = peers{} }, "port 25", doctor.Error, "smarthost"},
		{"listed", func(w patient) { w.dns.Add("7.100.51.198.list.example. 300 IN A 127.0.0.2") }, "block list",
			doctor.Error, "list.example"},
		{"list does not answer such as us", func(w patient) {
			w.dns.Add("7.100.51.198.list.example. 300 IN A 127.255.255.254")
		}, "block list", doctor.Unknown, "resolvers"},
		{"resolver that makes answers up", func(w patient) {
			w.dns.Add("7.100.51.198.list.example. 300 IN A 203.0.113.80")
		}, "block list", doctor.Unknown, "resolvers"},
		{"reverse name cannot be followed", func(w patient) {
			replace("7.100.51.198.in-addr.arpa.", "PTR x.isp.example.")(w)
			w.dns.Fail("x.isp.example", dns.ErrTemporary)
		}, "ptr", doctor.Unknown, "run this again"},
		{"own port is busy", func(w patient) {
			w.Dialer = peers{"mail.example.com:25": func(string) string { return "421 4.3.2 Too busy" }}
		}, "relay", doctor.Unknown, "it greets with 421 4.3.2 Too busy"},
		{"any name is taken here", func(w patient) {
			w.Dialer = peers{"mail.example.com:25": open}
			w.Local = func(domain string) bool { return domain == "mail.example.com" }
		}, "relay", doctor.OK, "strangers cannot"},
		{"list is silent", func(w patient) { w.dns.Fail("7.100.51.198.list.example", dns.ErrTemporary) }, "block list",
			doctor.Unknown, "resolvers"},
		{"open relay", func(w patient) { w.Dialer = peers{"mail.example.com:25": open} }, "relay", doctor.Error, "must not"},
		{"own port is closed", func(w patient) { w.Dialer = peers{} }, "relay", doctor.Unknown, "see that the server runs"},
		{"expired", func(w patient) { w.Certificates[0].NotAfter = now.Add(-time.Hour) }, "certificate", doctor.Error,
			"expired on 2026-11-22"},
		{"expires", func(w patient) { w.Certificates[0].NotAfter = now.Add(24 * time.Hour) }, "certificate",
			doctor.Warning, "2026-11-23"},
		{"other name", func(w patient) { w.Certificates[0].Names = []string{"example.com"} }, "certificate", doctor.Error,
			"no certificate"},
		{"self-made", func(w patient) { w.Certificates[0].SelfMade = true }, "certificate", doctor.Warning, "acme"},
		{"clock is off", func(w patient) {
			w.Time = func(context.Context) (time.Duration, error) { return -time.Hour, nil }
		}, "clock", doctor.Error, "NTP"},
		{"disk is nearly full", func(w patient) { w.Free = 3 << 29 }, "disk", doctor.Warning, "1.5 GiB"},
		{"disk is full", func(w patient) { w.Full = errors.New("reserve is touched") }, "disk", doctor.Error, "make room"},
	})
}

// TestRecordIllnesses does the same with the records.
func TestRecordIllnesses(t *testing.T) {
	t.Parallel()
	diagnose(t, []illness{
		{"no MX", func(w patient) { w.dns.Remove("example.com."); again(w.dns) }, "mx", doctor.Error, "10 mail.example.com."},
		{"MX elsewhere", func(w patient) {
			replace("example.com.", "MX 5 mx.other.example.")(w)
			again(w.dns)
		}, "mx", doctor.Error, "mx.other.example"},
		{"second MX", func(w patient) { w.dns.Add("example.com. 300 IN MX 20 mx.other.example.") }, "mx", doctor.Warning,
			"others take"},
		{"two SPF records", func(w patient) { w.dns.Add(`example.com. 300 IN TXT "v=spf1 -all"`) }, "spf", doctor.Error,
			"two SPF records"},
		{"SPF without us", func(w patient) {
			w.SPF = func(context.Context, netip.Addr, string, string) mailauth.SPF {
				return mailauth.SPF{Status: mailauth.SoftFail}
			}
		}, "spf", doctor.Error, "may not send"},
		{"SPF for everybody", replace("mail.example.com.", `TXT "v=spf1 a +ALL"`), "spf", doctor.Error, "everybody"},
		{"no key", replace("ed1._domainkey.example.com.", ""), "dkim", doctor.Error, "v=DKIM1"},
		{"another key", replace("ed1._domainkey.example.com.", `TXT "v=DKIM1; k=ed25519; p=AAAB"`), "dkim", doctor.Error,
			"another key"},
		{"no key that is needed now", func(w patient) {
			w.Domains[0].Keys = append(w.Domains[0].Keys, zone.Key{Selector: "ed2", Record: "v=DKIM1; p=B", Idle: true})
		}, "dkim", doctor.Warning, "ed2._domainkey"},
		{"no DMARC", replace("_dmarc.example.com.", ""), "dmarc", doctor.Error, "v=DMARC1"},
		{"DMARC that only looks", replace("_dmarc.example.com.", `TXT "v=DMARC1; p=none; rua=mailto:x@example.com"`),
			"dmarc", doctor.Warning, "tram dmarc"},
		{"old policy", replace("_mta-sts.example.com.", `TXT "v=STSv1; id=0;"`), "mta-sts", doctor.Error, "id=1"},
		{"policy cannot be read", func(w patient) {
			w.Policy = func(context.Context, string) error { return errors.New("404") }
		}, "mta-sts", doctor.Error, "https://mta-sts.example.com"},
		{"policy host", replace("mta-sts.example.com.", ""), "mta-sts", doctor.Error, "CNAME mail.example.com."},
		{"DMARC in small letters", replace("_dmarc.example.com.", `TXT "v=dmarc1; p=reject; rua=mailto:x@example.com"`),
			"dmarc", doctor.Error, "v=DMARC1"},
		{"policy host cannot be asked", func(w patient) {
			w.dns.Remove("mta-sts.example.com.")
			w.DNS = deaf{w.dns, "mta-sts.example.com.", "A"}
		}, "mta-sts", doctor.Unknown, "run this again"},
		{"two TLS records", func(w patient) {
			w.dns.Add(`_smtp._tls.example.com. 300 IN TXT "v=TLSRPTv1; rua=mailto:x@example.com"`)
		}, "tls-rpt", doctor.Warning, "counts as none"},
		{"no TLS reports", replace("_smtp._tls.example.com.", ""), "tls-rpt", doctor.Warning, "v=TLSRPTv1"},
		{"TLSA of another key", replace("_25._tcp.mail.example.com.", "TLSA "+next), "tlsa", doctor.Error, "refuse"},
		{"next key alone", func(w patient) {
			replace("_25._tcp.mail.example.com.", "TLSA "+next)(w)
			w.Server.TLSA = append(w.Server.TLSA, next)
		}, "tlsa", doctor.Error, "refuse"},
		{"DNSSEC is not known", func(w patient) {
			w.dns.Remove("_25._tcp.mail.example.com.")
			w.DNS = mute{w.dns}
		}, "tlsa", doctor.Unknown, "whether the zone is signed"},
		{"next key", func(w patient) { w.Server.TLSA = append(w.Server.TLSA, next) }, "tlsa", doctor.Warning, "next key"},
		{"TLSA without DNSSEC", func(w patient) { w.dns.SetAuthentic("example.com", false) }, "tlsa", doctor.Warning,
			"DNSSEC"},
		{"no SRV", replace("_imaps._tcp.example.com.", ""), "srv", doctor.Warning, "993"},
		{"autoconfig by address", func(w patient) {
			replace("autoconfig.example.com.", "A 198.51.100.7")(w)
			w.Lists = nil
		}, "autoconfig", doctor.OK, "leads to this server"},
		{"autodiscover elsewhere", replace("autodiscover.example.com.", "CNAME outlook.example."), "autodiscover",
			doctor.Warning, "outlook.example"},
		{"CAA of another", func(w patient) {
			w.dns.Remove("mail.example.com.")
			w.dns.Add("mail.example.com. 300 IN A 198.51.100.7")
			w.dns.Add(`mail.example.com. 300 IN CAA 0 issue "other.example"`)
		}, "caa", doctor.Error, "letsencrypt.org"},
		{"CAA of another above", func(w patient) {
			w.dns.Remove("mail.example.com.")
			w.dns.Add("mail.example.com. 300 IN A 198.51.100.7")
			w.dns.Add(`example.com. 300 IN CAA 0 issue "other.example"`)
		}, "caa", doctor.Error, "letsencrypt.org"},
		{"CAA of ours among others", func(w patient) {
			w.dns.Add(`mail.example.com. 300 IN CAA 0 issue "other.example"`)
		}, "caa", doctor.OK, "named beside it"},
		{"zone is down", func(w patient) { w.dns.Fail("_dmarc.example.com", dns.ErrTemporary) }, "dmarc", doctor.Unknown,
			"run this again"},
		{"one server lags", func(w patient) { w.DNS = lagging{w.dns} }, "dkim", doctor.Warning, "ns2.example.net"},
	})
}

func diagnose(t *testing.T, all []illness) {
	t.Helper()
	for _, c := range all {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			o, f := healthy(t)
			c.change(patient{&o, f})
			lines := doctor.Run(t.Context(), o)
			if !slices.ContainsFunc(lines, func(l doctor.Line) bool {
				return l.Check == c.check && l.Level == c.level && strings.Contains(l.Text+" "+l.Do, c.says)
			}) {
				for _, l := range lines {
					if l.Check == c.check || l.Level != doctor.OK {
						t.Logf("%+v", l)
					}
				}
				t.Errorf("no %s line %s with %q", c.level, c.check, c.says)
			}
		})
	}
}

// again puts back the servers of the zone, which went with the other records of its name.
func again(f *dns.Fake) {
	f.Add("example.com. 300 IN NS ns1.example.net.\nexample.com. 300 IN NS ns2.example.net.")
}

// lagging has a second server without the newest key.
type lagging struct{ *dns.Fake }

func (l lagging) Ask(ctx context.Context, s netip.AddrPort, name, qtype string) (dns.Direct, error) {
	if s.Addr() == netip.MustParseAddr("192.0.2.54") && strings.HasPrefix(name, "ed1.") {
		return dns.Direct{Authoritative: true}, dns.ErrNoRecord
	}
	return l.Fake.Ask(ctx, s, name, qtype)
}

// deaf does not answer for one name and type when a server is asked.
type deaf struct {
	*dns.Fake
	name, qtype string
}

func (d deaf) Ask(ctx context.Context, s netip.AddrPort, name, qtype string) (dns.Direct, error) {
	if name == d.name && qtype == d.qtype {
		return dns.Direct{}, dns.ErrTemporary
	}
	return d.Fake.Ask(ctx, s, name, qtype)
}

// mute has a resolver that does not answer for TLSA records.
type mute struct{ *dns.Fake }

func (m mute) Lookup(ctx context.Context, name, qtype string) (dns.Answer, error) {
	if qtype == "TLSA" {
		return dns.Answer{}, dns.ErrTemporary
	}
	return m.Fake.Lookup(ctx, name, qtype)
}

// TestNobodyToAsk: a machine without a name server is told so once, and gets no good line of what only the
// DNS could tell.
func TestNobodyToAsk(t *testing.T) {
	t.Parallel()
	o, _ := healthy(t)
	o.DNS = nil
	var checks []string
	for _, l := range doctor.Run(t.Context(), o) {
		checks = append(checks, l.Check)
		if (l.Check == "dns") != (l.Level == doctor.Unknown) {
			t.Errorf("%+v", l)
		}
	}
	if want := "dns relay certificate certificate clock disk"; strings.Join(checks, " ") != want {
		t.Errorf("%q, want %q", checks, want)
	}
}

// TestHostilePeer: a mail server that never ends its reply, or says nothing that can be read.
func TestHostilePeer(t *testing.T) {
	t.Parallel()
	for _, say := range []string{strings.Repeat("220-x\r\n", 100) + "220 x", "\x00\x01", "22", strings.Repeat("2", 5000),
		"554 go away"} {
		o, _ := healthy(t)
		o.Dialer = peers{"mx.probe.example:25": func(string) string { return say }}
		lines := doctor.Run(t.Context(), o)
		if !slices.ContainsFunc(lines, func(l doctor.Line) bool { return l.Check == "port 25" && l.Level == doctor.Error }) {
			t.Errorf("%.20q is taken for a mail server: %v", say, lines)
		}
	}
}

package queue

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"tram/internal/dns"
	"tram/internal/kv/memkv"
	"tram/internal/message"
	"tram/internal/tlspolicy"
)

// heard keeps what reports are told.
type heard struct {
	mu  sync.Mutex
	all []tlspolicy.Event
}

// Result implements tlspolicy.Reporter.
func (h *heard) Result(e tlspolicy.Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.all = append(h.all, e)
}

func (h *heard) events() []tlspolicy.Event {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.all)
}

func (h *heard) last() tlspolicy.Event {
	if all := h.events(); len(all) > 0 {
		return all[len(all)-1]
	}
	return tlspolicy.Event{}
}

// policed is a world whose queue asks for policies, with a policy host for alive.test.
type policed struct {
	*world
	ca   *authority
	told *heard

	mu     sync.Mutex
	policy string // that the policy host serves; "" for none
}

// newPoliced makes one. Nothing is published yet.
func newPoliced(t *testing.T, edit ...func(*Options)) *policed {
	t.Helper()
	p := &policed{ca: newAuthority(t), told: &heard{}}
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.policy == "" {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Type", "text/plain")
		_, _ = w.Write([]byte(p.policy))
	}))
	s.TLS = p.ca.server(t, "mta-sts.alive.test")
	s.StartTLS()
	t.Cleanup(s.Close)
	port := netip.MustParseAddrPort(s.Listener.Addr().String()).Port()
	p.world = newWorld(t, append(edit, func(o *Options) {
		o.TLS = &tls.Config{RootCAs: p.ca.pool, Time: o.Clock.Now}
		o.Policies = tlspolicy.New(tlspolicy.Options{DB: memkv.New(), Resolver: o.Resolver, Clock: o.Clock,
			Roots: p.ca.pool, AllowPrivate: true, HTTPSPort: int(port), Reporter: p.told})
		o.TLSReports = p.told
	})...)
	return p
}

// sts publishes an MTA-STS policy.
func (p *policed) sts(mode, mx string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.policy = "version: STSv1\nmode: " + mode + "\nmx: " + mx + "\nmax_age: 1000000\n"
	p.dns.Add("_mta-sts.alive.test. IN TXT \"v=STSv1; id=1\"\nmta-sts.alive.test. IN A 127.0.0.1")
}

// tlsa publishes a TLSA record, and signs all zones.
func (p *policed) tlsa(usage int, c *x509.Certificate) {
	sum := sha256.Sum256(c.RawSubjectPublicKeyInfo)
	p.dns.Remove("_25._tcp.mx.alive.test")
	p.dns.Add(fmt.Sprintf("_25._tcp.mx.alive.test. IN TLSA %d 1 1 %x", usage, sum))
	p.dns.SetAuthentic(".", true)
}

func leafOf(cfg *tls.Config) *x509.Certificate {
	c, err := x509.ParseCertificate(cfg.Certificates[0].Certificate[0])
	if err != nil {
		panic(err)
	}
	return c
}

// M12: whatever stands in the way of TLS, where a policy asks for it no mail goes out, none bounces,
// the report hears of it once, the sender is told why in words, and when the fault is mended all
// arrives.
func TestNothingInTheClear(t *testing.T) {
	t.Parallel()
	faults := []struct {
		name  string
		cfg   func(t *testing.T, p *policed) *tls.Config // nil: no STARTTLS
		reply func(string, string) string
		sts   tlspolicy.ResultType
		ee    tlspolicy.ResultType // "": DANE-EE does not mind
		ta    tlspolicy.ResultType
	}{
		{"no STARTTLS", nil, nil, tlspolicy.STARTTLSUnoffered, tlspolicy.STARTTLSUnoffered, tlspolicy.STARTTLSUnoffered},
		{"declined", func(t *testing.T, p *policed) *tls.Config { return p.ca.server(t, "mx.alive.test") },
			at("STARTTLS", "454 4.7.0 not now"), tlspolicy.ValidationFailure, tlspolicy.ValidationFailure, tlspolicy.ValidationFailure},
		{"plaintext after STARTTLS", func(t *testing.T, p *policed) *tls.Config { return p.ca.server(t, "mx.alive.test") },
			at("STARTTLS", "220 go\r\n250 injected"), tlspolicy.ValidationFailure, tlspolicy.ValidationFailure, tlspolicy.ValidationFailure},
		{"old TLS", func(t *testing.T, p *policed) *tls.Config {
			c := p.ca.server(t, "mx.alive.test")
			c.MaxVersion = tls.VersionTLS11
			return c
		}, nil, tlspolicy.ValidationFailure, tlspolicy.ValidationFailure, tlspolicy.ValidationFailure},
		{"self-signed", func(t *testing.T, _ *policed) *tls.Config { return (&authority{}).server(t, "mx.alive.test") },
			nil, tlspolicy.NotTrusted, "", tlspolicy.TLSAInvalid},
		{"wrong name", func(t *testing.T, p *policed) *tls.Config { return p.ca.server(t, "wrong.test") },
			nil, tlspolicy.HostMismatch, "", tlspolicy.HostMismatch},
		{"expired", func(t *testing.T, p *policed) *tls.Config {
			return p.ca.shows(t, &x509.Certificate{DNSNames: []string{"mx.alive.test"}, NotBefore: start.AddDate(-1, 0, 0),
				NotAfter: start.Add(-time.Hour)})
		}, nil, tlspolicy.CertificateExpired, "", tlspolicy.CertificateExpired},
	}
	for _, f := range faults {
		for _, kind := range []string{"MTA-STS", "DANE-EE", "DANE-EE of another key", "DANE-TA"} {
			t.Run(f.name+", "+kind, func(t *testing.T) {
				t.Parallel()
				p := newPoliced(t, func(o *Options) { o.Limits.Jitter = 0 })
				s := p.net.listen(t, "192.0.2.1")
				good := p.ca.server(t, "mx.alive.test")
				shown := leafOf(good)
				if f.cfg != nil {
					cfg := f.cfg(t, p)
					shown = leafOf(cfg)
					s.secure(cfg)
				}
				s.on(f.reply)
				want := f.sts
				switch kind {
				case "MTA-STS":
					p.sts("enforce", "mx.alive.test")
				case "DANE-EE":
					want = f.ee
					p.tlsa(3, shown)
				case "DANE-EE of another key":
					if want = f.ee; want == "" {
						want = tlspolicy.TLSAInvalid
					}
					p.tlsa(3, leafOf(good))
				case "DANE-TA":
					want = f.ta
					p.tlsa(2, p.ca.cert)
				}
				p.run()
				id := p.send("bob@alive.test")
				if want == "" {
					p.get(s)
					p.await("done", 1)
					if e := p.told.last(); e.Type != tlspolicy.TypeTLSA || e.Result != tlspolicy.Success {
						t.Errorf("%+v", e)
					}
					return
				}
				said := p.await("destination failed", 1)
				if strings.Contains(s.log(), "MAIL") || strings.Contains(s.log(), "RCPT") || p.log.times("failed") > 0 {
					t.Errorf("mail went out, or bounced:\n%s\n%s", s.log(), p.log)
				}
				if !strings.Contains(said, "no mail is sent here for now") {
					t.Errorf("said: %s", said)
				}
				if why := p.show(id).Recipients[0].LastReply; !strings.Contains(why, "policy") && !strings.Contains(why, "TLSA") {
					t.Errorf("the reason that is shown: %s", why)
				}
				all := p.told.events()
				if len(all) != 1 || all[0].Result != want || all[0].Domain != "alive.test" || all[0].MX != "mx.alive.test" ||
					all[0].ReceivingIP.String() != "192.0.2.1" || len(all[0].Policy) == 0 || all[0].Code == "" {
					t.Errorf("reported %+v, want %s", all, want)
				}
				// What goes on asking sees the same, for days; and nobody is told that it failed for good.
				for n := range 3 {
					p.later(4 * time.Hour)
					p.await("destination failed", n+2)
				}
				p.await("delayed", 1)
				p.tellsWhy(t)
				if strings.Contains(s.log(), "MAIL") {
					t.Errorf("mail went out later:\n%s", s.log())
				}
				// The fault is mended.
				s.secure(good)
				s.on(nil)
				if kind == "DANE-EE" {
					p.tlsa(3, leafOf(good))
				}
				p.later(4 * time.Hour)
				p.get(s)
				if e := p.told.last(); e.Result != tlspolicy.Success {
					t.Errorf("in the end: %+v", e)
				}
				if s.secured == 0 {
					t.Error("it came in the clear in the end")
				}
			})
		}
	}
}

// tellsWhy checks that the notice of delay has the reason in it.
func (p *policed) tellsWhy(t *testing.T) {
	t.Helper()
	ok := until(func() bool {
		_, all := p.notices()
		return len(all) > 0
	})
	if !ok {
		t.Fatalf("no notice came:\n%s", p.log)
	}
	_, all := p.notices()
	if !strings.Contains(all[0], "no mail is sent here for now") {
		t.Errorf("the notice does not say why:\n%s", all[0])
	}
}

// MTA-STS lets mail only to the exchangers that the policy names; the next one may do.
func TestPolicyNamesExchangers(t *testing.T) {
	t.Parallel()
	p := newPoliced(t)
	p.dns.Add("alive.test. IN MX 5 evil.test.\nevil.test. IN A 192.0.2.66")
	evil, s := p.net.listen(t, "192.0.2.66"), p.net.listen(t, "192.0.2.1")
	evil.secure(p.ca.server(t, "evil.test"))
	s.secure(p.ca.server(t, "mx.alive.test"))
	p.sts("enforce", "*.alive.test")
	p.run()
	p.send("bob@alive.test")
	p.get(s)
	p.await("done", 1)
	if evil.conns > 0 {
		t.Errorf("evil was spoken to:\n%s", evil.log())
	}
	all := p.told.events()
	if len(all) != 2 || all[0].MX != "evil.test" || all[0].Result != tlspolicy.ValidationFailure || all[1].Result != tlspolicy.Success {
		t.Errorf("%+v", all)
	}
	p.empty()
}

// RFC 8461 §10.2: an attacker who comes later, strips the DNS and HTTPS of the policy and puts a server
// of his own into the MX records gets nothing.
func TestPolicyOutlivesAttack(t *testing.T) {
	t.Parallel()
	p := newPoliced(t, func(o *Options) { o.Limits.Jitter = 0 })
	s, evil := p.net.listen(t, "192.0.2.1"), p.net.listen(t, "192.0.2.66")
	s.secure(p.ca.server(t, "mx.alive.test"))
	p.sts("enforce", "mx.alive.test")
	p.run()
	p.send("bob@alive.test")
	p.get(s)
	p.await("done", 1)
	p.mu.Lock()
	p.policy = ""
	p.mu.Unlock()
	for _, name := range []string{"_mta-sts.alive.test", "mta-sts.alive.test", "alive.test"} {
		p.dns.Remove(name)
	}
	p.dns.Add("alive.test. IN MX 10 evil.test.\nevil.test. IN A 192.0.2.66")
	p.later(time.Hour)
	p.idle("alive.test", 0)
	p.send("bob@alive.test")
	if got := p.await("destination failed", 1); !strings.Contains(got, "does not name the exchanger evil.test") {
		t.Error(got)
	}
	// He takes the address of the right one, and answers without TLS.
	p.dns.Remove("alive.test")
	p.dns.Remove("mx.alive.test")
	p.dns.Add("alive.test. IN MX 10 mx.alive.test.\nmx.alive.test. IN A 192.0.2.66")
	p.later(10 * time.Minute)
	if got := p.await("destination failed", 2); !strings.Contains(got, "does not offer STARTTLS") {
		t.Error(got)
	}
	if len(evil.taken()) > 0 || strings.Contains(evil.log(), "MAIL") || p.log.times("failed") > 0 {
		t.Errorf("he got something, or it bounced:\n%s\n%s", evil.log(), p.log)
	}
}

// O11, RFC 7672 §2.1.2: whoever makes the look-up of TLSA records or of one kind of address fail gains
// nothing by it, and nothing bounces.
func TestTLSALookUpFails(t *testing.T) {
	t.Parallel()
	p := newPoliced(t, func(o *Options) { o.Limits.Jitter = 0 })
	s := p.net.listen(t, "192.0.2.1")
	good := p.ca.server(t, "mx.alive.test")
	p.tlsa(3, leafOf(good))
	p.dns.Fail("_25._tcp.mx.alive.test", dns.ErrTemporary)
	p.run()
	p.send("bob@alive.test")
	if got := p.await("destination failed", 1); !strings.Contains(got, "TLSA") || s.conns > 0 {
		t.Errorf("%s:\n%s", got, s.log())
	}
	e := p.told.last()
	if e.Result != tlspolicy.DNSSECInvalid || e.Type != tlspolicy.TypeTLSA || len(p.told.events()) != 1 {
		t.Errorf("%+v", p.told.events())
	}
	p.dns.Fail("_25._tcp.mx.alive.test", nil)
	p.later(10 * time.Minute)
	if got := p.await("destination failed", 2); !strings.Contains(got, "STARTTLS") {
		t.Error(got)
	}
	s.secure(good)
	p.later(10 * time.Minute)
	p.get(s)
	p.await("done", 1)
	if p.log.times("failed") > 0 {
		t.Errorf("it bounced:\n%s", p.log)
	}
}

// P25: TLSA records that are junk ask for TLS, whoever answers, and are told of.
func TestJunkTLSA(t *testing.T) {
	t.Parallel()
	p := newPoliced(t, func(o *Options) { o.Limits.Jitter = 0 })
	p.dns.Add("_25._tcp.mx.alive.test. IN TLSA 3 1 1 0011\n_25._tcp.mx.alive.test. IN TLSA 77 0 0 " + strings.Repeat("ab", 5000))
	p.dns.SetAuthentic(".", true)
	s := p.net.listen(t, "192.0.2.1")
	p.run()
	p.send("bob@alive.test")
	if got := p.await("destination failed", 1); !strings.Contains(got, "STARTTLS") {
		t.Error(got)
	}
	s.secure((&authority{}).server(t, "any.test"))
	p.later(10 * time.Minute)
	p.get(s)
	p.await("done", 1)
	if e := p.told.last(); s.secured != 1 || e.Result != tlspolicy.TLSAInvalid || e.Type != tlspolicy.TypeTLSA {
		t.Errorf("%d secured, %+v", s.secured, e)
	}
}

// RFC 8461 §5: a policy in testing is reported and not enforced; no policy, RFC 7435.
func TestTestingIsReportedOnly(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		mode   string
		cfg    func(t *testing.T, p *policed) *tls.Config
		kind   tlspolicy.PolicyType
		result tlspolicy.ResultType
	}{
		{"testing, no TLS", "testing", nil, tlspolicy.TypeSTS, tlspolicy.STARTTLSUnoffered},
		{"testing, wrong name", "testing", func(t *testing.T, p *policed) *tls.Config { return p.ca.server(t, "x.test") },
			tlspolicy.TypeSTS, tlspolicy.HostMismatch},
		{"testing, good", "testing", func(t *testing.T, p *policed) *tls.Config { return p.ca.server(t, "mx.alive.test") },
			tlspolicy.TypeSTS, tlspolicy.Success},
		{"testing, another exchanger", "testing of other.test", func(t *testing.T, p *policed) *tls.Config {
			return p.ca.server(t, "mx.alive.test")
		}, tlspolicy.TypeSTS, tlspolicy.ValidationFailure},
		{"testing, old TLS", "testing", func(t *testing.T, p *policed) *tls.Config {
			c := p.ca.server(t, "mx.alive.test")
			c.MaxVersion = tls.VersionTLS11
			return c
		}, tlspolicy.TypeSTS, tlspolicy.ValidationFailure},
		{"mode none", "none", nil, tlspolicy.TypeNone, tlspolicy.STARTTLSUnoffered},
		{"no policy, self-signed", "", func(t *testing.T, _ *policed) *tls.Config { return (&authority{}).server(t, "x") },
			tlspolicy.TypeNone, tlspolicy.Success},
	} {
		p := newPoliced(t)
		s := p.net.listen(t, "192.0.2.1")
		if tt.cfg != nil {
			s.secure(tt.cfg(t, p))
		}
		if mode, other, _ := strings.Cut(tt.mode, " of "); mode != "" {
			if other == "" {
				other = "mx.alive.test"
			}
			p.sts(mode, other)
		}
		p.run()
		p.send("bob@alive.test")
		p.get(s)
		p.await("done", 1)
		if all := p.told.events(); len(all) != 1 || all[0].Type != tt.kind || all[0].Result != tt.result {
			t.Errorf("%s: %+v", tt.name, all)
		}
		p.stop()
	}
}

// RFC 8689 §4.2.1: an exchanger that an MTA-STS policy names, or whose TLSA records its certificate
// fits, is good enough for mail that requires TLS.
func TestRequireTLSByPolicy(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"MTA-STS", "DANE", "neither"} {
		p := newPoliced(t)
		s := p.net.listen(t, "192.0.2.1")
		cfg := p.ca.server(t, "mx.alive.test")
		switch kind {
		case "MTA-STS":
			p.sts("enforce", "mx.alive.test")
		case "DANE":
			cfg = (&authority{}).server(t, "whatever.test")
			p.tlsa(3, leafOf(cfg))
		}
		s.secure(cfg, "REQUIRETLS")
		p.run()
		p.submit(Submission{Account: 7, From: addr("alice@us.test"), RequireTLS: true, TLSOptional: true}, "bob@alive.test")
		if kind == "neither" {
			if got := p.await("failed", 1); !strings.Contains(got, "5.7.10") || len(s.taken()) > 0 {
				t.Errorf("%s: %s", kind, got)
			}
		} else if m := p.get(s); m.params != "REQUIRETLS" {
			t.Errorf("%s: sent with %q", kind, m.params)
		}
		p.stop()
	}
}

// RFC 8689 §3, §4.2.2: mail whose sender asks for it goes past the policy, with TLS where that works;
// other mail for the same domain waits, and neither waits for the other nor borrows its connection.
func TestTLSRequiredNo(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"no STARTTLS", "wrong name", "good"} {
		p := newPoliced(t, func(o *Options) { o.Limits.Jitter = 0 })
		s := p.net.listen(t, "192.0.2.1")
		switch kind {
		case "wrong name":
			s.secure(p.ca.server(t, "wrong.test"))
		case "good":
			s.secure(p.ca.server(t, "mx.alive.test"))
		}
		p.sts("enforce", "mx.alive.test")
		p.run()
		p.send("first@alive.test")
		if kind != "good" {
			p.await("destination failed", 1)
		} else {
			p.get(s)
		}
		p.submit(Submission{Account: 7, From: addr("alice@us.test"), TLSOptional: true}, "lax@alive.test")
		if m := p.get(s); m.rcpts[0] != "<lax@alive.test>" || (s.secured > 0) != (kind != "no STARTTLS") {
			t.Errorf("%s: %+v, %d secured", kind, m, s.secured)
		}
		p.send("second@alive.test")
		if kind == "good" {
			p.get(s)
			p.await("done", 3)
			p.empty()
		} else {
			p.await("done", 1)
			p.later(10 * time.Minute)
			p.await("destination failed", 2)
			if n := len(s.taken()); n != 1 {
				t.Errorf("%s: %d were taken", kind, n)
			}
		}
		p.stop()
	}
	for header, want := range map[string]bool{
		"TLS-Required: No\r\n\r\n": true, "tls-required:no \r\n\r\n": true, "TLS-Required: \r\n No\r\n\r\n": true,
		"TLS-Required: Yes\r\n\r\n": false, "Subject: No\r\n\r\n": false, "TLS-Required: No\r\nTLS-Required: No\r\n\r\n": false,
		"TLS-Required: No, really\r\n\r\n": false, "": false,
	} {
		if tlsOptional([]byte(header)) != want {
			t.Errorf("%q: %v", header, !want)
		}
	}
	w := newWorld(t)
	e := w.envelope("TLS-Required: No\r\n"+note, "bob@alive.test")
	if s := SubmissionOf(e); !s.TLSOptional {
		t.Error("the field is passed over")
	}
	e.Message = &message.Message{}
	if s := SubmissionOf(e); s.TLSOptional {
		t.Error("a field that is not there is seen")
	}
}

// A connection that waits for work is not used when the domain has asked for more meanwhile.
func TestPolicyComesWhileConnectionWaits(t *testing.T) {
	t.Parallel()
	p := newPoliced(t, func(o *Options) { o.Limits.Jitter = 0 })
	s := p.net.listen(t, "192.0.2.1")
	p.run()
	p.send("bob@alive.test")
	p.get(s)
	p.idle("alive.test", 1)
	p.sts("enforce", "mx.alive.test")
	p.send("bob@alive.test")
	if got := p.await("destination failed", 1); !strings.Contains(got, "STARTTLS") || len(s.taken()) != 1 {
		t.Errorf("%s: %d were taken", got, len(s.taken()))
	}
}

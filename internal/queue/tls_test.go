package queue

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"strings"
	"testing"
	"time"
)

// authority makes certificates that the tests' queues trust.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pool *x509.CertPool
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{pool: x509.NewCertPool()}
	_, a.cert, a.key = a.issue(t, &x509.Certificate{IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign})
	a.pool.AddCert(a.cert)
	return a
}

func (a *authority) issue(t *testing.T, c *x509.Certificate) ([]byte, *x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c.SerialNumber = big.NewInt(time.Now().UnixNano())
	if c.NotAfter.IsZero() {
		c.NotBefore, c.NotAfter = start.Add(-time.Hour), start.AddDate(20, 0, 0)
	}
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = c, key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return der, cert, key
}

// server returns a configuration with a certificate for name.
func (a *authority) server(t *testing.T, name string) *tls.Config {
	t.Helper()
	return a.shows(t, &x509.Certificate{DNSNames: []string{name}})
}

// shows returns a configuration with a certificate like c, and the authority's own behind it.
func (a *authority) shows(t *testing.T, c *x509.Certificate) *tls.Config {
	t.Helper()
	der, _, key := a.issue(t, c)
	chain := [][]byte{der}
	if a.cert != nil {
		chain = append(chain, a.cert.Raw)
	}
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: chain, PrivateKey: key}}}
}

// secure makes a sink offer STARTTLS, and then what else is given.
func (s *sink) secure(cfg *tls.Config, also ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tls, s.ehlo = cfg, append([]string{"STARTTLS"}, also...)
}

// TLS where it is offered, whoever answers; the clear where it fails; a retry where it was only
// declined.
func TestOpportunisticTLS(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	tests := []struct {
		name  string
		cfg   *tls.Config
		reply func(string, string) string
		conns int
		clear bool
	}{
		{"proper", ca.server(t, "mx.alive.test"), nil, 1, false},
		{"another name", ca.server(t, "other.test"), nil, 1, false},
		{"self-signed", (&authority{}).server(t, "mx.alive.test"), nil, 1, false},
		{"old", &tls.Config{MaxVersion: tls.VersionTLS11, Certificates: ca.server(t, "x").Certificates}, nil, 2, true},
		{"declined", ca.server(t, "mx.alive.test"), at("STARTTLS", "454 4.7.0 not now"), 1, true},
		{"broken", ca.server(t, "mx.alive.test"), at("STARTTLS", "220 go\r\n250 injected"), 2, true},
	}
	for _, tt := range tests {
		w := newWorld(t, func(o *Options) { o.TLS = &tls.Config{RootCAs: ca.pool, Time: o.Clock.Now} })
		s := w.net.listen(t, "192.0.2.1")
		s.secure(tt.cfg, "PIPELINING")
		s.on(tt.reply)
		w.run()
		if tt.name == "broken" { // P2: that is an attack, not a reason to go on in the clear
			w.send("bob@alive.test")
			if got := w.await("destination failed", 1); !strings.Contains(got, "plaintext after STARTTLS") || len(s.taken()) > 0 {
				t.Error(got)
			}
			w.stop()
			continue
		}
		w.send("bob@alive.test")
		w.get(s)
		w.await("done", 1)
		if s.conns != tt.conns || (s.secured == 0) != tt.clear {
			t.Errorf("%s: %d connections, %d secured:\n%s", tt.name, s.conns, s.secured, s.log())
		}
		// The next message does not go through it all again.
		w.idle("alive.test", 1)
		w.clock.Advance(w.o.Limits.Reuse)
		w.idle("alive.test", 0)
		before := s.conns
		w.send("bob@alive.test")
		w.await("done", 2)
		if s.conns != before+1 {
			t.Errorf("%s: %d more connections", tt.name, s.conns-before)
		}
		w.empty()
		w.stop()
	}
}

// RFC 8689 §4.2.1: a message that requires TLS goes where all of it holds, or nowhere.
func TestRequireTLS(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	good := ca.server(t, "mx.alive.test")
	tests := []struct {
		name   string
		set    func(*world, *sink)
		reply  string // of the failure; "" for none
		notice bool   // the null sender's message
	}{
		{name: "all holds", set: func(_ *world, s *sink) { s.secure(good, "REQUIRETLS") }},
		{name: "no TLS", set: func(_ *world, s *sink) {}, reply: "5.7.10"},
		{name: "not passed on", set: func(_ *world, s *sink) { s.secure(good) }, reply: "5.7.30"},
		{name: "another name", set: func(_ *world, s *sink) { s.secure(ca.server(t, "x.test"), "REQUIRETLS") }, reply: "5.7.10"},
		{name: "nobody vouches for the name", set: func(w *world, s *sink) {
			w.dns.SetAuthentic("alive.test", false)
			s.secure(good, "REQUIRETLS")
		}, reply: "5.7.10"},
		{name: "a notice goes just the same", set: func(_ *world, s *sink) {}, notice: true},
	}
	for _, tt := range tests {
		w := newWorld(t, func(o *Options) { o.TLS = &tls.Config{RootCAs: ca.pool, Time: o.Clock.Now} })
		s := w.net.listen(t, "192.0.2.1")
		w.dns.SetAuthentic("alive.test", true)
		tt.set(w, s)
		w.run()
		sub := Submission{Account: 7, From: addr("alice@us.test"), RequireTLS: true}
		if tt.notice {
			sub = Submission{Origin: "notice", RequireTLS: true}
		}
		w.submit(sub, "bob@alive.test")
		if tt.reply != "" {
			if got := w.await("failed", 1); !strings.Contains(got, tt.reply) || len(s.taken()) > 0 {
				t.Errorf("%s: %s", tt.name, got)
			}
		} else if m := w.get(s); (m.params == "REQUIRETLS") == tt.notice {
			t.Errorf("%s: sent with %q", tt.name, m.params)
		}
		w.stop()
	}
	// The next exchanger may do what the first does not; mail without the wish stays with the first.
	w := newWorld(t, func(o *Options) { o.TLS = &tls.Config{RootCAs: ca.pool, Time: o.Clock.Now} })
	w.dns.Add(routeZone)
	w.dns.SetAuthentic("order.test", true)
	m1, m2 := w.net.listen(t, "192.0.2.11"), w.net.listen(t, "192.0.2.12")
	m2.secure(ca.server(t, "mx2.order.test"), "REQUIRETLS")
	w.submit(Submission{Account: 7, From: addr("alice@us.test"), RequireTLS: true}, "bob@order.test")
	w.send("carol@order.test")
	w.run()
	w.await("done", 2)
	if len(m1.taken()) != 1 || len(m2.taken()) != 1 || m2.taken()[0].rcpts[0] != "<bob@order.test>" {
		t.Errorf("%v, %v", m1.taken(), m2.taken())
	}
}

// RFC 8689 §4.2.1: as long as an exchanger that may do what the message requires cannot be reached,
// the message waits for it, whichever of them that is.
func TestRequireTLSWaits(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	for able := range 2 {
		w := newWorld(t, func(o *Options) { o.TLS = &tls.Config{RootCAs: ca.pool, Time: o.Clock.Now} })
		w.dns.Add("two.test. IN MX 10 mx1.order.test.\ntwo.test. IN MX 20 mx2.order.test.\n" + routeZone)
		w.dns.SetAuthentic("two.test", true)
		m := []*sink{w.net.listen(t, "192.0.2.11"), w.net.listen(t, "192.0.2.12")}
		m[able].secure(ca.server(t, []string{"mx1.order.test", "mx2.order.test"}[able]), "REQUIRETLS")
		m[able].setDown(true)
		w.submit(Submission{Account: 7, From: addr("alice@us.test"), RequireTLS: true}, "bob@two.test")
		w.run()
		if got := w.await("deferred", 1); !strings.Contains(got, "4.7.10") || !strings.Contains(got, "connection refused") {
			t.Errorf("%s", got)
		}
		m[able].setDown(false)
		w.later(10 * time.Minute)
		w.get(m[able])
		w.await("done", 1)
		if len(m[1-able].taken())+w.log.times("failed") > 0 {
			t.Errorf("it went elsewhere, or failed:\n%s", w.log)
		}
		w.empty()
		w.stop()
	}
}

// A smarthost takes everything, with the security and the log-in that were configured.
func TestSmarthost(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	good, other := ca.server(t, "smart.test"), ca.server(t, "other.test")
	tests := []struct {
		name  string
		smart Smarthost
		set   func(*sink)
		fails string
		auth  bool
	}{
		{name: "clear", smart: Smarthost{TLS: TLSNone}, set: func(s *sink) {}},
		{name: "opportunistic", set: func(s *sink) { s.secure(other) }},
		{name: "required", smart: Smarthost{TLS: TLSRequired, User: "u", Password: "p"},
			set: func(s *sink) { s.secure(good, "AUTH PLAIN") }, auth: true},
		{name: "required, another name", smart: Smarthost{TLS: TLSRequired}, set: func(s *sink) { s.secure(other) },
			fails: "certificate is valid for other.test"},
		{name: "required, not offered", smart: Smarthost{TLS: TLSRequired}, set: func(s *sink) {}, fails: "does not offer STARTTLS"},
		{name: "required, declined", smart: Smarthost{TLS: TLSRequired}, set: func(s *sink) {
			s.secure(good)
			s.on(at("STARTTLS", "454 no"))
		}, fails: "454 no"},
		{name: "log-in in the clear", smart: Smarthost{TLS: TLSNone, User: "u", Password: "p"},
			set: func(s *sink) { s.ehlo = []string{"AUTH LOGIN PLAIN"} }, auth: true},
		{name: "log-in where TLS was stripped", smart: Smarthost{User: "u", Password: "p"},
			set: func(s *sink) { s.ehlo = []string{"AUTH LOGIN PLAIN"} }, fails: "no common authentication mechanism"},
		{name: "wrong password", smart: Smarthost{TLS: TLSNone, User: "u", Password: "p"}, set: func(s *sink) {
			s.ehlo = []string{"AUTH PLAIN"}
			s.on(at("AUTH", "535 5.7.8 no"))
		}, fails: "535 5.7.8 no"},
	}
	for _, tt := range tests {
		tt.smart.Host = "smart.test:587"
		w := newWorld(t, func(o *Options) {
			o.Smarthost, o.TLS = tt.smart, &tls.Config{RootCAs: ca.pool, Time: o.Clock.Now}
		})
		s := w.net.listen(t, "203.0.113.1")
		w.net.hosts["smart.test:587"] = s
		s.on(at("AUTH", "235 2.7.0 ok"))
		tt.set(s)
		w.run()
		w.send("bob@alive.test", "x@[192.0.2.200]", "eve@dead.test")
		if tt.fails != "" {
			if got := w.await("destination failed", 1); !strings.Contains(got, tt.fails) || len(s.taken()) > 0 {
				t.Errorf("%s: %s", tt.name, got)
			}
		} else {
			if m := w.get(s); len(m.rcpts) != 3 {
				t.Errorf("%s: %+v", tt.name, m)
			}
			w.await("done", 1)
			w.empty()
		}
		if strings.Contains(s.log(), "AUTH ") != (tt.auth || strings.Contains(tt.fails, "535")) {
			t.Errorf("%s: %s", tt.name, s.log())
		}
		w.stop()
	}
}

package tlspolicy

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"sync"
	"testing"
	"time"

	"tram/internal/clock"
	"tram/internal/dns"
	"tram/internal/kv"
	"tram/internal/kv/memkv"
	"tram/internal/limits"
)

// start is when tests begin.
var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// authority issues certificates.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t testing.TB) *authority {
	t.Helper()
	a := &authority{}
	a.cert, a.key = a.issue(t, &x509.Certificate{IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign})
	return a
}

func (a *authority) pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(a.cert)
	return p
}

func (a *authority) issue(t testing.TB, c *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c.SerialNumber = big.NewInt(1)
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
	return cert, key
}

// events are what a Reporter heard.
type events struct {
	mu  sync.Mutex
	all []Event
}

// Result implements Reporter.
func (e *events) Result(x Event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.all = append(e.all, x)
}

func (e *events) results() (all []ResultType) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, x := range e.all {
		all = append(all, x.Result)
	}
	return all
}

// web is a policy host on loopback that serves what it is told.
type web struct {
	mu      sync.Mutex
	handler http.HandlerFunc
	asked   int
	server  *httptest.Server
}

func (w *web) serve(h http.HandlerFunc) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.handler = h
}

func (w *web) times() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.asked
}

// text serves a policy.
func text(policy string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = w.Write([]byte(policy))
	}
}

func policyText(mode Mode, age int, mx string) string {
	return fmt.Sprintf("version: STSv1\r\nmode: %s\r\nmx: %s\r\nmax_age: %d\r\n", mode, mx, age)
}

// world is a Finder with all that is around it.
type world struct {
	t     *testing.T
	clock *clock.Fake
	dns   *dns.Fake
	db    *memkv.DB
	ca    *authority
	web   *web
	told  *events
	o     Options
	f     *Finder
}

const zone = `
_mta-sts.a.test. IN TXT "v=STSv1; id=1;"
mta-sts.a.test. IN A 127.0.0.1
_mta-sts.b.test. IN TXT "v=STSv1; id=1;"
mta-sts.b.test. IN A 127.0.0.1
`

// newWorld makes one whose policy host has a certificate for the names of zone.
func newWorld(t *testing.T, edit ...func(*Options)) *world {
	t.Helper()
	w := &world{t: t, clock: clock.NewFake(start), dns: dns.NewFake(zone), db: memkv.New(), ca: newAuthority(t),
		web: &web{}, told: &events{}}
	w.certify(&x509.Certificate{DNSNames: []string{"mta-sts.a.test", "mta-sts.b.test"}})
	w.web.serve(text(policyText(ModeEnforce, 86400*30, "mx.a.test")))
	w.o = Options{DB: w.db, Resolver: w.dns, Clock: w.clock, Limits: limits.Default().TLSPolicy, Reporter: w.told,
		AllowPrivate: true, Roots: w.ca.pool()}
	w.o.HTTPSPort = int(netip.MustParseAddrPort(w.web.server.Listener.Addr().String()).Port())
	for _, e := range edit {
		e(&w.o)
	}
	w.f = New(w.o)
	return w
}

// certify starts the policy host with a certificate.
func (w *world) certify(c *x509.Certificate) {
	w.t.Helper()
	cert, key := w.ca.issue(w.t, c)
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		w.web.mu.Lock()
		w.web.asked++
		h := w.web.handler
		w.web.mu.Unlock()
		if r.URL.Path != PolicyPath {
			http.NotFound(rw, r)
			return
		}
		h(rw, r)
	}))
	s.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{cert.Raw}, PrivateKey: key}}}
	s.Config.ErrorLog = nil
	s.StartTLS()
	w.t.Cleanup(s.Close)
	w.web.server = s
}

// recertify replaces the policy host's certificate.
func (w *world) recertify(c *x509.Certificate) {
	w.t.Helper()
	w.certify(c)
	w.o.HTTPSPort = int(netip.MustParseAddrPort(w.web.server.Listener.Addr().String()).Port())
	w.f = New(w.o)
}

// mode is what holds for a domain: "" for nothing.
func (w *world) mode(domain string) Mode {
	w.t.Helper()
	p, err := w.f.STS(w.t.Context(), domain)
	if err != nil {
		w.t.Fatalf("STS(%s) = %v", domain, err)
	}
	if p == nil {
		return ""
	}
	return p.Mode
}

func (w *world) newID(id string) {
	w.dns.Remove("_mta-sts.a.test")
	w.dns.Add(`_mta-sts.a.test. IN TXT "v=STSv1; id=` + id + `;"`)
}

// put writes a row as it is.
func (w *world) put(domain, value string) {
	w.t.Helper()
	err := w.db.Update(w.t.Context(), scope, func(t kv.Txn) error { return t.Set(keyOf(domain), []byte(value)) })
	if err != nil {
		w.t.Fatal(err)
	}
	w.f = New(w.o)
}

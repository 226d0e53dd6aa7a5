// Package certs answers "which certificate do we show, how do we speak TLS, and how is all of it
// kept fresh?".
//
// Certificates come from files, from a certification authority by ACME, and from an authority of
// our own (the demo). It promises: what loads replaces the old without a restart, and what does not
// load leaves the old in place and says why; renewal begins long before the end; a host name nobody
// knows gets no certificate (port 25 apart, where any TLS is better than none); the settings of
// limits.md hold on every listener, down to tickets and ALPN.
//
// What must never happen: a private key is readable by others, or is logged; a browser is led to
// talk to a mail port (ALPACA); an expired certificate is shown in silence.
package certs

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"tram/internal/clock"
	"tram/internal/kv"
	"tram/internal/metrics"
)

var daysLeft = metrics.Gauge("certificate_days_left",
	"Days until the first of the certificates expires.")

// Pair is a certificate chain and its key, as PEM files.
type Pair struct{ Cert, Key string }

// SelfMade is a certification authority of our own, for the demo.
type SelfMade struct {
	Dir   string   // ca.pem, ca.key, cert.pem and key.pem, made when they are not there
	Names []string // DNS names and IP addresses of the certificate
}

// ACME gets certificates from a certification authority, RFC 8555.
type ACME struct {
	DB        kv.Database
	Names     []string       // one certificate for each
	Email     string         // the authority's way to reach the operator, may be empty
	Directory string         // URL; "": Let's Encrypt
	Roots     *x509.CertPool // the directory's own certificate is checked against; nil: the system's
	// HTTPPort and TLSPort are where this server's port 80 and 443 listen, when not there.
	HTTPPort, TLSPort int
	ListenHost        string // of these ports; "": all addresses
	// NoHTTP and NoTLSALPN leave a kind of challenge out.
	NoHTTP, NoTLSALPN bool
}

// Options configure New. With several sources the first that has a certificate for a name gives
// it: files, ACME, self-made.
type Options struct {
	Files    []Pair
	SelfMade *SelfMade
	ACME     *ACME
	// Default is the host whose certificate is shown to clients that name none; "": the first.
	Default string
	Clock   clock.Clock
	Logger  *slog.Logger
}

// Manager holds the certificates. It is safe for concurrent use.
type Manager struct {
	o     Options
	clock clock.Clock
	log   *slog.Logger

	files    []*pemFile
	selfMade *authority
	acme     *acmeSource

	mu    sync.Mutex // of reloading
	shown atomic.Pointer[shown]
}

// shown are the certificates as handshakes look them up: never changed once made.
type shown struct{ files, selfMade index }

// New loads the files and makes the self-made certificate; ACME begins with Run. Files that do not
// load are an error: there is no older certificate to go on with.
func New(o Options) (*Manager, error) {
	if o.Clock == nil {
		o.Clock = clock.System
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	m := &Manager{o: o, clock: o.Clock, log: o.Logger}
	if o.SelfMade != nil && len(o.SelfMade.Names) == 0 || o.ACME != nil && len(o.ACME.Names) == 0 {
		return nil, errors.New("make certificate: no host names")
	}
	for _, p := range o.Files {
		f := &pemFile{pair: p}
		if err := f.load(); err != nil {
			return nil, fmt.Errorf("load certificate: %w", err)
		}
		m.warnMode(p.Key)
		m.files = append(m.files, f)
	}
	if o.SelfMade != nil {
		m.selfMade = &authority{o: *o.SelfMade, clock: o.Clock}
		if err := m.selfMade.prepare(); err != nil {
			return nil, fmt.Errorf("make certificate: %w", err)
		}
	}
	if o.ACME != nil {
		m.acme = newACME(*o.ACME, o)
	}
	if len(m.files) == 0 && m.selfMade == nil && m.acme == nil {
		return nil, errors.New("no certificate: give files, ACME or a self-made authority")
	}
	m.publish()
	return m, nil
}

const (
	// pollEvery is how often files are looked at.
	pollEvery = 30 * time.Second
	// warnDays is when the operator hears of a certificate that nobody has renewed (S11).
	warnDays = 21
)

// Run keeps certificates fresh until ctx ends: it reloads files that changed, renews what is
// self-made, has ACME do its work, and warns of what is about to expire.
func (m *Manager) Run(ctx context.Context) error {
	if m.acme != nil {
		stop, err := m.acme.start(ctx)
		if err != nil {
			return err
		}
		defer stop()
	}
	m.warn()
	lastWarning := m.clock.Now()
	for {
		if err := clock.Sleep(ctx, m.clock, pollEvery); err != nil {
			return nil // the end that was asked for
		}
		if err := m.reload(false); err != nil {
			m.log.Error("reload certificates", "error", err)
		}
		if now := m.clock.Now(); now.Sub(lastWarning) >= time.Hour {
			lastWarning = now
			m.warn()
		}
	}
}

// Reload reads the files again and renews what is due. What does not load leaves the old in place
// and is in the error, with the file's name.
func (m *Manager) Reload(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return m.reload(true)
}

// reload loads the files that changed, all of them when forced. A file that was found broken is an
// error only once, until it changes again.
func (m *Manager) reload(force bool) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	var errs []error
	changed := false
	for _, f := range m.files {
		if !force && !f.changed() {
			continue
		}
		if err := f.load(); err != nil {
			errs = append(errs, err)
			continue
		}
		m.warnMode(f.pair.Key)
		changed = true
		m.log.Info("certificate loaded", "file", f.pair.Cert, "names", f.cert.Leaf.DNSNames,
			"expires", f.cert.Leaf.NotAfter)
	}
	if m.selfMade != nil && m.selfMade.due() {
		if err := m.selfMade.prepare(); err != nil {
			errs = append(errs, err)
		} else {
			changed = true
		}
	}
	if changed {
		m.publish()
	}
	return errors.Join(errs...)
}

// publish makes what was loaded what is shown.
func (m *Manager) publish() {
	s := &shown{}
	for _, f := range m.files {
		s.files.add(f.cert)
	}
	if m.selfMade != nil {
		s.selfMade.add(m.selfMade.cert)
	}
	m.shown.Store(s)
}

// HTTPHandler answers HTTP-01 challenges (RFC 8555 §8.3) and leaves the rest to next.
func (m *Manager) HTTPHandler(next http.Handler) http.Handler {
	if m.acme == nil {
		return next
	}
	return m.acme.issuer.HTTPChallengeHandler(next)
}

// CAFile is the self-made authority's certificate, for clients to trust; "" without one.
func (m *Manager) CAFile() string {
	if m.selfMade == nil {
		return ""
	}
	return m.selfMade.file(caCertFile)
}

// Status is a certificate as the operator sees it.
type Status struct {
	Names    []string
	Source   string    // "file", "acme" or "self-made"
	File     string    // of a file
	Issuer   string    // common name
	NotAfter time.Time // zero when there is no certificate yet
	DaysLeft int       // whole days, negative when expired
	Error    string    // what keeps it from being renewed or reloaded, "" when all is well
}

// Status lists the certificates, the one that expires first at the top.
func (m *Manager) Status() []Status {
	now := m.clock.Now()
	var all []Status
	add := func(leaf *x509.Certificate, s Status) {
		if leaf != nil {
			s.Names, s.Issuer, s.NotAfter = namesOf(leaf), leaf.Issuer.CommonName, leaf.NotAfter
			s.DaysLeft = int(leaf.NotAfter.Sub(now).Hours() / 24)
			if now.After(leaf.NotAfter) {
				s.DaysLeft = min(s.DaysLeft, -1)
				s.Error = joinText("expired", s.Error)
			}
		}
		all = append(all, s)
	}
	m.mu.Lock()
	for _, f := range m.files {
		add(f.cert.Leaf, Status{Source: "file", File: f.pair.Cert, Error: errorText(f.err)})
	}
	if m.selfMade != nil {
		add(m.selfMade.cert.Leaf, Status{Source: "self-made", Error: errorText(m.selfMade.err)})
	}
	m.mu.Unlock()
	if m.acme != nil {
		for _, name := range m.acme.all() {
			leaf, err := m.acme.status(name)
			add(leaf, Status{Names: []string{name}, Source: "acme", Error: errorText(err)})
		}
	}
	slices.SortStableFunc(all, func(a, b Status) int { return a.NotAfter.Compare(b.NotAfter) })
	return all
}

// warn tells the log and the metrics what is about to expire.
func (m *Manager) warn() {
	all := m.Status()
	for _, s := range all {
		if s.DaysLeft < warnDays {
			m.log.Error("certificate expires and was not renewed", "names", s.Names,
				"source", s.Source, "days_left", s.DaysLeft, "error", s.Error)
		}
	}
	if len(all) > 0 {
		daysLeft.Set(float64(all[0].DaysLeft))
	}
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func joinText(a, b string) string {
	if b == "" {
		return a
	}
	return a + "; " + b
}

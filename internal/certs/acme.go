package certs

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/caddyserver/certmagic"
)

// acmeSource has certmagic get and renew certificates, with its storage in kv so that all nodes
// share them.
type acmeSource struct {
	o       ACME
	config  *certmagic.Config // what those of names have in common
	cache   *certmagic.Cache
	common  certmagic.Config
	issuer  *certmagic.ACMEIssuer
	storage *storage
	log     *slog.Logger

	names atomic.Pointer[map[string]*certmagic.Config] // each knows its own key; never changed once stored

	mu     sync.Mutex
	failed map[string]error // by name: why the last try failed
	also   []string         // names beside those of the options
}

func newACME(a ACME, o Options) *acmeSource {
	s := &acmeSource{o: a, failed: map[string]error{}, log: o.Logger}
	log := zapLogger(o.Logger)
	s.storage = newStorage(a.DB, o.Clock)
	s.cache = certmagic.NewCache(certmagic.CacheOptions{
		GetConfigForCert: func(c certmagic.Certificate) (*certmagic.Config, error) {
			if len(c.Names) == 0 {
				return s.config, nil
			}
			return s.configOf(c.Names[0]), nil
		},
		Logger: log,
	})
	common := certmagic.Config{
		Storage: s.storage, Logger: log, DefaultServerName: o.Default, OnEvent: s.event,
	}
	s.config = certmagic.New(s.cache, common)
	directory := a.Directory
	if directory == "" {
		directory = certmagic.LetsEncryptProductionCA
	}
	s.issuer = certmagic.NewACMEIssuer(s.config, certmagic.ACMEIssuer{
		CA: directory, Email: a.Email, Agreed: true, TrustedRoots: a.Roots, Logger: log,
		DisableHTTPChallenge: a.NoHTTP, DisableTLSALPNChallenge: a.NoTLSALPN,
		AltHTTPPort: a.HTTPPort, AltTLSALPNPort: a.TLSPort, ListenHost: a.ListenHost,
	})
	s.config.Issuers = []certmagic.Issuer{s.issuer}
	common.Issuers = s.config.Issuers
	s.common = common
	s.serve(nil)
	return s
}

// serve makes the source one for the names of its options and for more.
func (s *acmeSource) serve(more []string) {
	configs := map[string]*certmagic.Config{}
	was := s.names.Load()
	for _, name := range append(names(s.o.Names), more...) {
		if was != nil && (*was)[name] != nil {
			configs[name] = (*was)[name]
			continue
		}
		c := s.common
		c.KeySource = keySource{s, name}
		configs[name] = certmagic.New(s.cache, c)
	}
	s.names.Store(&configs)
}

// all are the names, those of the options first.
func (s *acmeSource) all() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append(slices.Clone(s.o.Names), s.also...)
}

func (s *acmeSource) has(name string) bool { return (*s.names.Load())[name] != nil }

func (s *acmeSource) configOf(name string) *certmagic.Config {
	if c := (*s.names.Load())[name]; c != nil {
		return c
	}
	return s.config
}

// manage begins to get and renew certificates, in the background, until ctx ends.
func (s *acmeSource) manage(ctx context.Context, all []string) error {
	for _, name := range all {
		if err := s.configOf(name).ManageAsync(ctx, []string{name}); err != nil {
			return err
		}
	}
	return nil
}

// Also makes ACME get and renew certificates for exactly these names beside those of the options, until
// ctx ends. Without ACME there is nothing to do.
func (m *Manager) Also(ctx context.Context, all []string) error {
	if m.acme == nil {
		return nil
	}
	s := m.acme
	all = names(all)
	s.mu.Lock()
	defer s.mu.Unlock()
	var gone []certmagic.SubjectIssuer
	for _, name := range s.also {
		if !slices.Contains(all, name) && !slices.Contains(names(s.o.Names), name) {
			gone = append(gone, certmagic.SubjectIssuer{Subject: name})
			delete(s.failed, name)
		}
	}
	fresh := slices.DeleteFunc(slices.Clone(all), s.has)
	s.serve(all)
	s.also = all
	if len(gone) > 0 {
		s.cache.RemoveManaged(gone)
	}
	if err := s.manage(ctx, fresh); err != nil {
		return fmt.Errorf("begin ACME: %w", err)
	}
	return nil
}

// start begins to get and renew the certificates, in the background; stop ends that.
func (s *acmeSource) start(ctx context.Context) (stop func(), err error) {
	if err := s.manage(ctx, names(s.o.Names)); err != nil {
		return nil, fmt.Errorf("begin ACME: %w", err)
	}
	return func() {
		s.cache.Stop()
		s.storage.close()
	}, nil
}

// event notes what came out of a try.
func (s *acmeSource) event(ctx context.Context, event string, data map[string]any) error {
	name, _ := data["identifier"].(string)
	if path, ok := data["private_key_path"].(string); ok && event == "cert_obtained" {
		if err := s.rolled(ctx, name, path); err != nil {
			s.log.Error("key of certificate not noted", "name", name, "error", err)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch event {
	case "cert_obtained":
		delete(s.failed, name)
	case "cert_failed":
		err, ok := data["error"].(error)
		if !ok {
			err = errors.New("the authority refused")
		}
		if !ended(err) { // by our shutdown, which says nothing of the next try
			s.failed[name] = err
		}
	}
	return nil
}

// certificate returns the certificate of a name, of any of them for "", nil while there is none.
func (s *acmeSource) certificate(name string) *tls.Certificate {
	if name == "" {
		name = s.o.Names[0]
	}
	if !s.has(name) {
		return nil
	}
	var best *tls.Certificate
	for _, c := range s.cache.AllMatchingCertificates(name) {
		if best == nil || c.Leaf.NotAfter.After(best.Leaf.NotAfter) {
			best = &c.Certificate
		}
	}
	return best
}

// status returns the leaf of a name, nil while there is none, and why the last try failed.
func (s *acmeSource) status(name string) (*x509.Certificate, error) {
	s.mu.Lock()
	err := s.failed[name]
	s.mu.Unlock()
	c := s.certificate(names([]string{name})[0])
	if c == nil {
		if err == nil {
			err = errors.New("not issued yet")
		}
		return nil, err
	}
	return c.Leaf, err
}

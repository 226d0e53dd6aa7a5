package certs

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"sync"

	"github.com/caddyserver/certmagic"
)

// acmeSource has certmagic get and renew certificates, with its storage in kv so that all nodes
// share them.
type acmeSource struct {
	o       ACME
	names   map[string]bool
	config  *certmagic.Config
	cache   *certmagic.Cache
	issuer  *certmagic.ACMEIssuer
	storage *storage

	mu     sync.Mutex
	failed map[string]error // by name: why the last try failed
}

func newACME(a ACME, o Options) *acmeSource {
	s := &acmeSource{o: a, names: map[string]bool{}, failed: map[string]error{}}
	for _, name := range names(a.Names) {
		s.names[name] = true
	}
	log := zapLogger(o.Logger)
	s.storage = newStorage(a.DB, o.Clock)
	s.cache = certmagic.NewCache(certmagic.CacheOptions{
		GetConfigForCert: func(certmagic.Certificate) (*certmagic.Config, error) {
			return s.config, nil
		},
		Logger: log,
	})
	s.config = certmagic.New(s.cache, certmagic.Config{
		Storage: s.storage, Logger: log, DefaultServerName: o.Default, OnEvent: s.event,
	})
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
	return s
}

// start begins to get and renew the certificates, in the background; stop ends that.
func (s *acmeSource) start(ctx context.Context) (stop func(), err error) {
	if err := s.config.ManageAsync(ctx, s.o.Names); err != nil {
		return nil, fmt.Errorf("begin ACME: %w", err)
	}
	return func() {
		s.cache.Stop()
		s.storage.close()
	}, nil
}

// event notes what came out of a try.
func (s *acmeSource) event(_ context.Context, event string, data map[string]any) error {
	name, _ := data["identifier"].(string)
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
	if !s.names[name] {
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

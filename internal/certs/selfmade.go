package certs

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"tram/internal/clock"
)

// The files of a self-made authority.
const (
	caCertFile = "ca.pem"
	caKeyFile  = "ca.key"
	certFile   = "cert.pem"
	keyFile    = "key.pem"
)

const (
	caName   = "Tram self-made authority"
	caLife   = 10 * 365 * 24 * time.Hour
	leafLife = 90 * 24 * time.Hour
	// renewBefore is how long before its end a certificate is made anew.
	renewBefore = 30 * 24 * time.Hour
)

// authority is a certification authority of our own and the one certificate it has issued.
type authority struct {
	o     SelfMade
	clock clock.Clock
	cert  *tls.Certificate
	err   error // why the last renewal failed
}

func (a *authority) file(name string) string { return filepath.Join(a.o.Dir, name) }

// due reports whether the certificate should be made anew.
func (a *authority) due() bool {
	return a.cert == nil || !a.clock.Now().Add(renewBefore).Before(a.cert.Leaf.NotAfter)
}

// prepare loads the authority and its certificate, and makes what is missing, about to expire or
// for other names.
func (a *authority) prepare() error {
	a.err = a.load()
	return a.err
}

func (a *authority) load() error {
	if err := os.MkdirAll(a.o.Dir, 0o700); err != nil {
		return err
	}
	ca, caKey, err := a.loadCA()
	if err != nil {
		return err
	}
	if cert, err := tls.LoadX509KeyPair(a.file(certFile), a.file(keyFile)); err == nil {
		fresh := a.clock.Now().Add(renewBefore).Before(cert.Leaf.NotAfter)
		if fresh && cert.Leaf.CheckSignatureFrom(ca) == nil && a.hasNames(cert.Leaf) {
			a.cert = &cert
			return nil
		}
	}
	return a.issue(ca, caKey)
}

func (a *authority) hasNames(leaf *x509.Certificate) bool {
	have, want := namesOf(leaf), names(a.o.Names)
	slices.Sort(have)
	slices.Sort(want)
	return slices.Equal(have, want)
}

// names brings names into the form that namesOf gives.
func names(all []string) []string {
	var out []string
	for _, name := range all {
		if ip := net.ParseIP(name); ip != nil {
			name = ip.String()
		}
		out = append(out, strings.ToLower(name))
	}
	return out
}

// loadCA reads the authority, or makes it when it is not there or is as good as expired. Files that
// are there and broken are an error: people may trust that authority.
func (a *authority) loadCA() (*x509.Certificate, crypto.Signer, error) {
	pair, err := tls.LoadX509KeyPair(a.file(caCertFile), a.file(caKeyFile))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return a.makeCA()
	case err != nil:
		return nil, nil, fmt.Errorf("load authority in %s: %w", a.o.Dir, err)
	case a.clock.Now().Add(leafLife).After(pair.Leaf.NotAfter):
		return a.makeCA()
	}
	signer, ok := pair.PrivateKey.(crypto.Signer)
	if !ok {
		return nil, nil, fmt.Errorf("load authority in %s: key cannot sign", a.o.Dir)
	}
	return pair.Leaf, signer, nil
}

func (a *authority) makeCA() (*x509.Certificate, crypto.Signer, error) {
	now := a.clock.Now()
	template := &x509.Certificate{
		Subject:   pkix.Name{CommonName: caName},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(caLife),
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	der, err := sign(template, template, key, key)
	if err != nil {
		return nil, nil, fmt.Errorf("make authority: %w", err)
	}
	ca, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, nil, fmt.Errorf("make authority: %w", err)
	}
	return ca, key, a.write(caCertFile, caKeyFile, key, der)
}

// issue makes the certificate and its key.
func (a *authority) issue(ca *x509.Certificate, caKey crypto.Signer) error {
	now := a.clock.Now()
	template := &x509.Certificate{
		Subject:   pkix.Name{CommonName: a.o.Names[0]},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(leafLife),
		BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for _, name := range names(a.o.Names) {
		if ip := net.ParseIP(name); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
			continue
		}
		template.DNSNames = append(template.DNSNames, name)
	}
	key, err := a.key()
	if err != nil {
		return err
	}
	der, err := sign(template, ca, key, caKey)
	if err != nil {
		return fmt.Errorf("issue certificate: %w", err)
	}
	if err := a.write(certFile, keyFile, key, der, ca.Raw); err != nil {
		return err
	}
	cert, err := tls.LoadX509KeyPair(a.file(certFile), a.file(keyFile))
	if err != nil {
		return fmt.Errorf("issue certificate: %w", err)
	}
	a.cert = &cert
	return nil
}

// key is that of the certificate before, so that TLSA records of it stay right, or a new one.
func (a *authority) key() (*ecdsa.PrivateKey, error) {
	if pair, err := tls.LoadX509KeyPair(a.file(certFile), a.file(keyFile)); err == nil {
		if key, ok := pair.PrivateKey.(*ecdsa.PrivateKey); ok {
			return key, nil
		}
	}
	return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
}

// sign makes the certificate of key with a random serial number.
func sign(
	template, parent *x509.Certificate, key *ecdsa.PrivateKey, by crypto.Signer,
) ([]byte, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, err
	}
	template.SerialNumber = serial.Add(serial, big.NewInt(1))
	return x509.CreateCertificate(rand.Reader, template, parent, key.Public(), by)
}

// write stores a key, readable by its owner only, and then its certificates.
func (a *authority) write(cert, key string, private *ecdsa.PrivateKey, ders ...[]byte) error {
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return fmt.Errorf("write %s: %w", key, err)
	}
	keyPEM := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	var chain bytes.Buffer
	for _, der := range ders {
		if err := pem.Encode(&chain, &pem.Block{Type: "CERTIFICATE", Bytes: der}); err != nil {
			return fmt.Errorf("write %s: %w", cert, err)
		}
	}
	if err := replaceFile(a.file(key), keyPEM, 0o600); err != nil {
		return err
	}
	return replaceFile(a.file(cert), chain.Bytes(), 0o644)
}

// replaceFile writes a file whole or not at all, and on the disk when it returns nil.
func replaceFile(name string, data []byte, mode fs.FileMode) (err error) {
	f, err := os.CreateTemp(filepath.Dir(name), filepath.Base(name)+".new-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	_, err = f.Write(data)
	err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close())
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return os.Rename(f.Name(), name)
}

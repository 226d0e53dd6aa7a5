package server

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"tram/internal/config"
	"tram/internal/directory"
	"tram/internal/kv/memkv"
	"tram/internal/smtp"
)

// TestImportKeys takes the keys of an earlier version over from their files, once, and leaves what it
// cannot read where it is.
func TestImportKeys(t *testing.T) {
	t.Parallel()
	c := config.Default()
	c.Hostname, c.Data = "mx.example.test", t.TempDir()
	db := memkv.New()
	open := func() *Server {
		t.Helper()
		s, err := Open(t.Context(), Options{Config: c, DB: db, Offline: true, OutsideWaits: true})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	s := open()
	if _, err := s.Directory.AddDomain(t.Context(), "example.test"); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	rs, err := rsa.GenerateKey(rand.Reader, 2048)
	short, err2 := rsa.GenerateKey(rand.Reader, 1024)
	if err := errors.Join(err, err2); err != nil {
		t.Fatal(err)
	}
	folder := filepath.Join(c.Data, DKIMName)
	file := func(domain, selector string, key any) string {
		t.Helper()
		der, err := x509.MarshalPKCS8PrivateKey(key)
		if err == nil {
			err = os.MkdirAll(filepath.Join(folder, domain), 0o700)
		}
		path := filepath.Join(folder, domain, selector+".pem")
		if err == nil {
			err = os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
		return path
	}
	gone := []string{file("example.test", "ed202601", ed), file("example.test", "rsa202601", rs)}
	stays := []string{file("foreign.test", "ed202601", ed), file("example.test", "broken", ed),
		file("example.test", "short", short)}
	if err := os.WriteFile(stays[1], []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	s = open()
	keys, err := s.Directory.SigningKeys(t.Context(), "example.test")
	if err != nil || len(keys) != 2 || keys[0].Selector != "ed202601" || keys[1].State != directory.KeyMade {
		t.Errorf("%+v %v", keys, err)
	}
	for _, k := range keys {
		if err := s.Directory.ActivateSigningKey(t.Context(), "example.test", k.Selector); err != nil {
			t.Error(err)
		}
	}
	signers, err := s.noticeKeys(t.Context(), "mx.example.test")
	if err != nil || len(signers) != 2 || !ed.Equal(signers[0].Signer) || !rs.Equal(signers[1].Signer) {
		t.Errorf("%d signers, %v", len(signers), err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	file("example.test", "ed202601", ed) // as after a crash before it was removed
	// What is active is not made again from its file.
	s = open()
	if keys, err := s.Directory.SigningKeys(t.Context(), "example.test"); err != nil || len(keys) != 2 ||
		keys[0].State != directory.KeyActive {
		t.Errorf("%+v %v", keys, err)
	}
	if _, err := s.signingKeys(t.Context(), 99, smtp.Address{Local: "x", Domain: "example.test"}); err != nil {
		t.Error(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for _, f := range gone {
		if _, err := os.Stat(f); err == nil {
			t.Errorf("%s is still there", f)
		}
	}
	for _, f := range stays {
		if _, err := os.Stat(f); err != nil {
			t.Error(err)
		}
	}
}

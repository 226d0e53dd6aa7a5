package main

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"tram/internal/server"
)

// dkimKey is a signing key of a domain. The private half is a PKCS #8 PEM file named after the
// selector.
type dkimKey struct {
	selector string
	record   string // the TXT record's text, RFC 6376 §3.6.1 and RFC 8463 §4
}

// makeDKIM makes an Ed25519 and an RSA-2048 key in folder, or reads those that are there.
func makeDKIM(folder string, now time.Time) ([]dkimKey, error) {
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return nil, fmt.Errorf("make folder of DKIM keys: %w", err)
	}
	var keys []dkimKey
	for _, kind := range []struct {
		name string
		make func() (crypto.Signer, error)
	}{
		{"ed", func() (crypto.Signer, error) {
			_, key, err := ed25519.GenerateKey(rand.Reader)
			return key, err
		}},
		{"rsa", func() (crypto.Signer, error) { return rsa.GenerateKey(rand.Reader, 2048) }},
	} {
		// Keys are replaced now and then: the year and month tell the next ones apart.
		k, err := dkimFile(folder, kind.name+now.UTC().Format("200601"), kind.make)
		if err != nil {
			return nil, err
		}
		keys = append(keys, k)
	}
	return keys, nil
}

func dkimFile(folder, selector string, make func() (crypto.Signer, error)) (dkimKey, error) {
	path := filepath.Join(folder, selector+".pem")
	key, err := readKey(path)
	if errors.Is(err, fs.ErrNotExist) {
		if key, err = make(); err == nil {
			err = writeKey(path, key)
		}
	}
	if err != nil {
		return dkimKey{}, fmt.Errorf("make DKIM key %s: %w", selector, err)
	}
	record, err := dkimRecord(key.Public())
	return dkimKey{selector, record}, err
}

func readKey(path string) (crypto.Signer, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, fmt.Errorf("%s is no PEM file: remove it to make a new key", path)
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("%s holds a key that cannot sign", path)
	}
	return signer, nil
}

func writeKey(path string, key crypto.Signer) error {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	return server.WriteSecret(path, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

// dkimRecord is the public half: RSA as SubjectPublicKeyInfo (RFC 6376 §3.6.1), Ed25519 as the bare
// 32 bytes (RFC 8463 §4.2).
func dkimRecord(public crypto.PublicKey) (string, error) {
	if ed, ok := public.(ed25519.PublicKey); ok {
		return "v=DKIM1; k=ed25519; p=" + base64.StdEncoding.EncodeToString(ed), nil
	}
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		return "", fmt.Errorf("encode DKIM key: %w", err)
	}
	return "v=DKIM1; k=rsa; p=" + base64.StdEncoding.EncodeToString(der), nil
}

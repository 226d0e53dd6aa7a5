package server

import (
	"context"
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"tram/internal/directory"
	"tram/internal/mailauth/dkim"
	"tram/internal/smtp"
)

// importKeys takes signing keys over that earlier versions kept as files, in dkim/DOMAIN/SELECTOR.pem of
// the data folder. A file goes when its key is safe in the database, sealed. What cannot be read stays,
// and is told of: the server starts all the same.
func (s *Server) importKeys(ctx context.Context) error {
	folder := s.folder.join(DKIMName)
	files, err := filepath.Glob(filepath.Join(folder, "*", "*.pem"))
	if err != nil || len(files) == 0 {
		return nil // the pattern is right, and the folder is there on old servers only
	}
	for _, file := range files {
		domain := filepath.Base(filepath.Dir(file))
		selector := strings.TrimSuffix(filepath.Base(file), ".pem")
		private, err := readKey(file)
		if err == nil {
			err = s.Directory.ImportSigningKey(ctx, domain, selector, private)
		}
		if errors.Is(err, directory.ErrExists) {
			err = nil // an earlier start came this far
		}
		if err != nil {
			s.o.Logger.Error("signing key not taken over", "file", file, "err", err)
			continue
		}
		if err := os.Remove(file); err != nil {
			s.o.Logger.Error("file of a signing key not removed: its key is in the database now", "err", err)
			continue
		}
		s.o.Logger.Info("signing key taken over from its file", "domain", domain, "selector", selector)
		for _, empty := range []string{filepath.Dir(file), folder} {
			if err := os.Remove(empty); err != nil && !errors.Is(err, fs.ErrNotExist) {
				break // it holds more
			}
		}
	}
	return nil
}

// readKey reads a private key, PKCS #8 in PEM.
func readKey(path string) (crypto.Signer, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, fmt.Errorf("%s is no PEM file", path)
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

// rotateSigningKeys is the chore of that name.
func (s *Server) rotateSigningKeys(ctx context.Context) error {
	r := s.resolver()
	if r == nil {
		return s.Directory.RotateSigningKeys(ctx, nil) // not an interface that holds nil
	}
	return s.Directory.RotateSigningKeys(ctx, r)
}

// signingKeys finds the keys that sign a message from an address: those of its domain, if the account may
// send as it; for a notice of this server those of the domain that the address is in.
func (s *Server) signingKeys(ctx context.Context, account uint64, from smtp.Address) ([]dkim.Key, error) {
	if account == 0 {
		return s.noticeKeys(ctx, from.Domain)
	}
	keys, err := s.Directory.Signers(ctx, from.Domain)
	if err != nil || len(keys) == 0 {
		return nil, err
	}
	// The door has checked this when the message came. Since then the address may have become another's.
	if !s.Directory.MayUse(ctx, directory.AccountID(account), from) {
		return nil, nil
	}
	return keys, nil
}

// noticeKeys returns the keys of a host name's domain: notices are from MAILER-DAEMON at the host, which
// is in alignment with a signature of the domain above it (RFC 9989 §4.4).
func (s *Server) noticeKeys(ctx context.Context, host string) ([]dkim.Key, error) {
	for domain := host; domain != ""; _, domain, _ = strings.Cut(domain, ".") {
		keys, err := s.Directory.Signers(ctx, domain)
		if err != nil || len(keys) > 0 {
			return keys, err
		}
	}
	return nil, nil
}

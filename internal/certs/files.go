package certs

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"strings"
	"time"
)

// pemFile is a certificate from files, and what is known of them.
type pemFile struct {
	pair Pair
	cert *tls.Certificate // the last that loaded
	err  error            // why the files as they are now did not load
	seen [2]stamp         // the files as they were when they were last read
}

// stamp tells whether a file has changed.
type stamp struct {
	modified time.Time
	size     int64
}

func (f *pemFile) stamps() (s [2]stamp) {
	for i, name := range []string{f.pair.Cert, f.pair.Key} {
		if info, err := os.Stat(name); err == nil {
			s[i] = stamp{info.ModTime(), info.Size()}
		}
	}
	return s
}

// changed reports whether a file is another than the one read. Two files are never written at the
// same moment: a pair that does not fit is tried again with the next change.
func (f *pemFile) changed() bool { return f.stamps() != f.seen }

// load reads the files. On an error the certificate stays what it was.
func (f *pemFile) load() error {
	f.seen = f.stamps()
	cert, err := tls.LoadX509KeyPair(f.pair.Cert, f.pair.Key)
	if err == nil && len(namesOf(cert.Leaf)) == 0 {
		err = fmt.Errorf("certificate has no host names (subject alternative names)")
	}
	if err != nil {
		f.err = fmt.Errorf("certificate %s with key %s: %w", f.pair.Cert, f.pair.Key, err)
		return f.err
	}
	f.cert, f.err = &cert, nil
	return nil
}

// warnMode tells of a key that others can read.
func (m *Manager) warnMode(key string) {
	if info, err := os.Stat(key); err == nil && info.Mode().Perm()&0o077 != 0 {
		m.log.Warn("private key can be read by others: chmod 600", "file", key,
			"mode", info.Mode().Perm().String())
	}
}

// namesOf returns the host names and addresses of a certificate, in lower case.
func namesOf(leaf *x509.Certificate) []string {
	if leaf == nil {
		return nil
	}
	var names []string
	for _, name := range leaf.DNSNames {
		names = append(names, strings.ToLower(name))
	}
	for _, ip := range leaf.IPAddresses {
		names = append(names, ip.String())
	}
	return names
}

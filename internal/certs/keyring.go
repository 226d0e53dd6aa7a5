package certs

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/certmagic"

	"tram/internal/dns"
	"tram/internal/kv"
)

// Keys of ACME's certificates outlive the certificates, so that TLSA records that were published once
// stay right when one is renewed (RFC 7671 §8.1). With each key the next one is made at once, and both
// are published from then on: when the next one comes into use, everybody knows it already. It does so
// only when the operator asked for new keys (NewKeyAfter) and only after its record was seen in the DNS
// for longer than any answer without it may live.

// seenFor is how long the next key's record must have been in the DNS before the key is used: well above
// twice the longest usual TTL.
const seenFor = 48 * time.Hour

// ring is the keys of one name. Its row:
//
//	c k name   version:1, then a ring in JSON
//
// It is written under the scope of certificates.
type ring struct {
	Current keyRow `json:"current"`
	Next    keyRow `json:"next"`
	// Previous is the record of the key before the current one: other machines may show it for a while.
	Previous string `json:"previous,omitempty"`
	// Seen is when the next key's record was first seen in the DNS and ever since, Unix seconds; 0: it
	// is not there.
	Seen int64 `json:"seen,omitempty"`
	Roll bool  `json:"roll,omitempty"` // the next certificate gets the next key
}

type keyRow struct {
	PEM   []byte `json:"pem"`
	Since int64  `json:"since"` // Unix seconds: made or, of the current one, in use
}

const (
	kindRing    = 'k'
	ringVersion = 1
)

func ringRow(name string) []byte { return append([]byte{space, kindRing}, name...) }

func decodeRing(b []byte) (*ring, error) {
	if len(b) == 0 {
		return nil, kv.ErrCorrupt
	}
	if b[0] > ringVersion {
		return nil, kv.ErrNewer
	}
	r := &ring{}
	if err := json.Unmarshal(b[1:], r); err != nil {
		return nil, errors.Join(kv.ErrCorrupt, err)
	}
	return r, nil
}

// keyring changes the keys of a name, made first when there are none, and returns them.
func (s *acmeSource) keyring(ctx context.Context, name string, fn func(*ring) error) (*ring, error) {
	// The present key of a certificate from before there were rings is kept.
	old, err := s.storage.Load(ctx, certmagic.StorageKeys.SitePrivateKey(s.issuer.IssuerKey(), name))
	if err != nil {
		old = nil
	}
	var r *ring
	err = s.storage.db.Update(ctx, scope, func(t kv.Txn) error {
		if err := s.storage.fence(t); err != nil {
			return err
		}
		b, err := t.Get(ringRow(name))
		switch {
		case errors.Is(err, kv.ErrNotFound):
			r, err = s.newRing(old)
		case err == nil:
			r, err = decodeRing(b)
		}
		if err != nil {
			return err
		}
		if err := fn(r); err != nil {
			return err
		}
		after, err := json.Marshal(r)
		if err != nil {
			return err
		}
		if after = append([]byte{ringVersion}, after...); bytes.Equal(after, b) {
			return nil
		}
		return t.Set(ringRow(name), after)
	})
	if err != nil {
		return nil, fmt.Errorf("keys of %s: %w", name, err)
	}
	return r, nil
}

func (s *acmeSource) newRing(old []byte) (*ring, error) {
	now := s.storage.clock.Now().Unix()
	r := &ring{Current: keyRow{PEM: old, Since: now}, Next: keyRow{Since: now}}
	var err error
	if r.Next.PEM, err = newKey(); err != nil {
		return nil, err
	}
	if _, bad := certmagic.PEMDecodePrivateKey(old); old == nil || bad != nil {
		r.Current.PEM, err = newKey()
	}
	return r, err
}

func newKey() ([]byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	return certmagic.PEMEncodePrivateKey(key)
}

// keySource gives certmagic the key for the next certificate of a name.
type keySource struct {
	s    *acmeSource
	name string
}

// keyTime bounds the look at the keys: certmagic gives no context.
const keyTime = 30 * time.Second

// GenerateKey implements certmagic.KeyGenerator.
func (k keySource) GenerateKey() (crypto.PrivateKey, error) {
	ctx, cancel := context.WithTimeout(context.Background(), keyTime)
	defer cancel()
	r, err := k.s.keyring(ctx, k.name, func(*ring) error { return nil })
	if err != nil {
		return nil, err
	}
	if r.Roll {
		return certmagic.PEMDecodePrivateKey(r.Next.PEM)
	}
	return certmagic.PEMDecodePrivateKey(r.Current.PEM)
}

// rolled makes the next key the current one, and another the next, when a certificate for it came,
// whose key lies at path; and shows that certificate.
func (s *acmeSource) rolled(ctx context.Context, name, path string) error {
	b, err := s.storage.Load(ctx, path)
	if err != nil {
		return err
	}
	used, err := association(b)
	if err != nil {
		return err
	}
	is := false
	_, err = s.keyring(ctx, name, func(r *ring) error {
		next, err := association(r.Next.PEM)
		if is = err == nil && next == used; !is {
			return err
		}
		before, err := association(r.Current.PEM)
		if err != nil {
			return err
		}
		now := s.storage.clock.Now().Unix()
		fresh, err := newKey()
		if err != nil {
			return err
		}
		*r = ring{Current: keyRow{r.Next.PEM, now}, Next: keyRow{fresh, now}, Previous: before}
		return nil
	})
	if err == nil && is {
		s.log.Info("certificate has its next key; publish the TLSA record of the one after it", "name", name)
		err = s.reload(ctx, name)
	}
	return err
}

// reload shows the certificate that is in the storage: certmagic looks there only when the one it has
// comes to its end.
func (s *acmeSource) reload(ctx context.Context, name string) error {
	_, err := s.configOf(name).CacheManagedCertificate(ctx, name)
	return err
}

// previousFor is how long the key before the current one is still published.
const previousFor = 7 * 24 * time.Hour

// association is the data of the TLSA record 3 1 1 of a key: RFC 7672 §3.1.1 calls it the best choice.
func association(pem []byte) (string, error) {
	key, err := certmagic.PEMDecodePrivateKey(pem)
	if err != nil {
		return "", err
	}
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return "", err
	}
	return ofKey(der), nil
}

func ofKey(der []byte) string {
	sum := sha256.Sum256(der)
	return "3 1 1 " + hex.EncodeToString(sum[:])
}

// TLSA returns the data of the TLSA records to publish for a host, "3 1 1 …": of the key in use and, for
// a certificate of ACME, of the next one. Without a certificate for the host there are none.
func (m *Manager) TLSA(ctx context.Context, host string) ([]string, error) {
	var all []string
	host = names([]string{strings.TrimSuffix(host, ".")})[0]
	c := m.named(host)
	if c != nil {
		all = append(all, ofKey(c.Leaf.RawSubjectPublicKeyInfo))
	}
	byACME := m.acme != nil && m.acme.has(host) && m.shown.Load().files.find(host) == nil
	if !byACME {
		return all, nil
	}
	r, err := m.acme.keyring(ctx, host, func(*ring) error { return nil })
	if err != nil {
		return nil, err
	}
	for _, k := range []keyRow{r.Current, r.Next} {
		a, err := association(k.PEM)
		if err != nil {
			return nil, fmt.Errorf("keys of %s: %w", host, err)
		}
		if !slices.Contains(all, a) {
			all = append(all, a)
		}
	}
	if age := m.clock.Now().Sub(time.Unix(r.Current.Since, 0)); r.Previous != "" && age < previousFor &&
		!slices.Contains(all, r.Previous) {
		all = append(all, r.Previous)
	}
	return all, nil
}

// RollKeys sees to new keys for certificates of ACME: those older than after make way for the next ones,
// once the DNS has published these for long enough. 0 for after keeps keys for ever. It is to be called
// every few hours.
func (m *Manager) RollKeys(ctx context.Context, after time.Duration, r dns.Resolver) error {
	if m.acme == nil || after <= 0 || r == nil {
		return nil
	}
	var errs []error
	for _, name := range names(m.acme.o.Names) {
		errs = append(errs, m.acme.roll(ctx, name, after, r))
	}
	return errors.Join(errs...)
}

func (s *acmeSource) roll(ctx context.Context, name string, after time.Duration, resolver dns.Resolver) error {
	shown := s.certificate(name)
	if shown == nil {
		return nil // the first one is still to come
	}
	now := s.storage.clock.Now()
	r, err := s.keyring(ctx, name, func(*ring) error { return nil })
	if err != nil {
		return err
	}
	if ofKey(shown.Leaf.RawSubjectPublicKeyInfo) == r.Previous {
		return s.reload(ctx, name) // another machine was first
	}
	if now.Sub(time.Unix(r.Current.Since, 0)) < after {
		return nil
	}
	next, err := association(r.Next.PEM)
	if err != nil {
		return err
	}
	published, err := isPublished(ctx, resolver, name, next)
	if err != nil {
		return fmt.Errorf("look up the TLSA records of %s: %w", name, err)
	}
	r, err = s.keyring(ctx, name, func(r *ring) error {
		switch {
		case !published:
			r.Seen = 0
		case r.Seen == 0 || r.Seen > now.Unix():
			r.Seen = now.Unix()
		}
		r.Roll = r.Seen != 0 && now.Sub(time.Unix(r.Seen, 0)) >= seenFor
		return nil
	})
	if err != nil || !r.Roll {
		return err
	}
	return s.configOf(name).RenewCertAsync(ctx, name, true)
}

// isPublished reports whether the DNS has a key's record, or has none at all that it could be missing
// from: only records of DANE-EE(3) are of keys.
func isPublished(ctx context.Context, r dns.Resolver, name, want string) (bool, error) {
	all, _, err := r.TLSA(ctx, "_25._tcp."+name)
	if errors.Is(err, dns.ErrNoRecord) || errors.Is(err, dns.ErrNoDomain) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	keys := 0
	for _, t := range all {
		if t.Usage == 3 {
			keys++
		}
		if fmt.Sprintf("%d %d %d %x", t.Usage, t.Selector, t.Matching, t.Data) == want {
			return true, nil
		}
	}
	return keys == 0, nil
}

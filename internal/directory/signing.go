package directory

import (
	"cmp"
	"context"
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"tram/internal/kv"
	"tram/internal/mailauth/dkim"
)

// KeyState is how far a signing key is in its life.
type KeyState string

// The states. What is over is removed.
const (
	KeyMade     KeyState = "made"     // to be put into the DNS; signs nothing yet
	KeyActive   KeyState = "active"   // signs
	KeyRetiring KeyState = "retiring" // signs no more; stays in the DNS for mail that is on its way
)

// SigningKey is a key that signs mail of a domain (DKIM), without its private half.
type SigningKey struct {
	Domain    string
	Selector  string
	Algorithm string // dkim.Ed25519SHA256 or dkim.RSASHA256
	Record    string // the text of its TXT record, at Selector._domainkey.Domain
	State     KeyState
	Created   time.Time
	Activated time.Time // zero: never
	Retired   time.Time // zero: not yet
	// Published: when the DNS was last asked, it showed exactly the record. Asked is zero before that.
	Published bool
	Asked     time.Time
	Problem   string // what the DNS showed instead, for people
}

// Name is where the record belongs.
func (k SigningKey) Name() string { return k.Selector + "._domainkey." + k.Domain }

// signingRecord is a key's row.
type signingRecord struct {
	Version   int      `json:"v"` // signingVersion
	Algorithm string   `json:"algorithm"`
	Record    string   `json:"record"`
	State     KeyState `json:"state"`
	Created   int64    `json:"created"` // Unix seconds, as the others
	Activated int64    `json:"activated,omitempty"`
	Retired   int64    `json:"retired,omitempty"`
	Published bool     `json:"published,omitempty"`
	Asked     int64    `json:"asked,omitempty"`
	Problem   string   `json:"problem,omitempty"`
	// Sealed is a 12-byte nonce and the AES-256-GCM of the private half (PKCS #8), with the row's key as
	// additional data.
	Sealed []byte `json:"sealed"`
}

const signingVersion = 1

func signingRow(domain, selector string) []byte { return nameRow(kindSigning, domain, selector) }

func (r signingRecord) key(domain, selector string) SigningKey {
	at := func(seconds int64) time.Time {
		if seconds == 0 {
			return time.Time{}
		}
		return time.Unix(seconds, 0).UTC()
	}
	return SigningKey{
		Domain: domain, Selector: selector, Algorithm: r.Algorithm, Record: r.Record, State: r.State,
		Created: at(r.Created), Activated: at(r.Activated), Retired: at(r.Retired),
		Published: r.Published, Asked: at(r.Asked), Problem: r.Problem,
	}
}

func (r signingRecord) check() error {
	switch {
	case r.Version != signingVersion:
		return fmt.Errorf("version %d is not known", r.Version)
	case r.State != KeyMade && r.State != KeyActive && r.State != KeyRetiring:
		return fmt.Errorf("state %q is not known", r.State)
	case len(r.Sealed) == 0 || r.Record == "":
		return errors.New("it is not whole")
	}
	return nil
}

// scanSigning goes over the keys of a domain.
func scanSigning(r kv.Reader, domain string, fn func(selector string, rec signingRecord) error) error {
	prefix := kv.AppendString(key(kindSigning), domain)
	return r.Scan(kv.Prefix(prefix), func(k, v []byte) error {
		selector, _, err := kv.TakeString(k[len(prefix):])
		var rec signingRecord
		if err == nil {
			err = json.Unmarshal(v, &rec)
		}
		if err == nil {
			err = rec.check()
		}
		if err != nil {
			return fmt.Errorf("read signing key of %s: %w", domain, errors.Join(kv.ErrCorrupt, err))
		}
		return fn(selector, rec)
	})
}

// SigningKeys lists the keys of a domain: those that sign first, then the next ones, then the old
// ones. ErrNotFound.
func (d *Directory) SigningKeys(ctx context.Context, domain string) ([]SigningKey, error) {
	k, err := d.ownKey(ctx, domain)
	if err != nil {
		return nil, err
	}
	var all []SigningKey
	err = d.o.DB.View(ctx, scope, func(r kv.Reader) (err error) {
		all, err = readSigning(r, k)
		return err
	})
	return all, err
}

func readSigning(r kv.Reader, domain string) ([]SigningKey, error) {
	var all []SigningKey
	err := scanSigning(r, domain, func(selector string, rec signingRecord) error {
		all = append(all, rec.key(domain, selector))
		return nil
	})
	order := []KeyState{KeyActive, KeyMade, KeyRetiring}
	slices.SortStableFunc(all, func(a, b SigningKey) int {
		return cmp.Or(cmp.Compare(slices.Index(order, a.State), slices.Index(order, b.State)),
			cmp.Compare(a.Algorithm, b.Algorithm), b.Created.Compare(a.Created),
			cmp.Compare(a.Selector, b.Selector))
	})
	return all, err
}

// ownKey is the key of a domain of ours. ErrNotFound.
func (d *Directory) ownKey(ctx context.Context, domain string) (string, error) {
	own, err := d.Domain(ctx, domain)
	return own.Name, err
}

// Signers returns the keys that sign for a domain of ours, Ed25519 first; none for a domain that has
// none, or is not ours. The keys are shared: their holders change nothing of them.
func (d *Directory) Signers(ctx context.Context, domain string) ([]dkim.Key, error) {
	in := func(c *cache) map[string][]dkim.Key { return c.signers }
	return remembered(ctx, d.cache, in, domain, func(r kv.Reader) ([]dkim.Key, error) {
		var keys []dkim.Key
		err := scanSigning(r, domain, func(selector string, rec signingRecord) error {
			if rec.State != KeyActive {
				return nil
			}
			private, err := d.unseal(domain, selector, rec.Sealed)
			keys = append(keys, dkim.Key{Domain: domain, Selector: selector, Signer: private})
			return err
		})
		slices.SortStableFunc(keys, func(a, b dkim.Key) int { return cmp.Compare(rankOf(a), rankOf(b)) })
		return keys, err
	})
}

func rankOf(k dkim.Key) int {
	if _, ok := k.Signer.Public().(ed25519.PublicKey); ok {
		return 0
	}
	return 1
}

func (d *Directory) signingSealer() (cipher.AEAD, error) {
	block, err := aes.NewCipher(d.keys.signing)
	if err != nil {
		return nil, fmt.Errorf("make cipher: %w", err)
	}
	return cipher.NewGCM(block)
}

func (d *Directory) sealSigner(domain, selector string, private crypto.Signer) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return nil, fmt.Errorf("encode signing key: %w", err)
	}
	aead, err := d.signingSealer()
	if err != nil {
		return nil, err
	}
	nonce := make([]byte, aead.NonceSize(), aead.NonceSize()+len(der)+aead.Overhead())
	// Never from the given source: see newSCRAM.
	if _, err := rand.Read(nonce); err != nil {
		return nil, fmt.Errorf("make nonce: %w", err)
	}
	return aead.Seal(nonce, nonce, der, signingRow(domain, selector)), nil
}

func (d *Directory) unseal(domain, selector string, sealed []byte) (crypto.Signer, error) {
	aead, err := d.signingSealer()
	if err != nil {
		return nil, err
	}
	bad := fmt.Errorf("open signing key %s of %s: %w", selector, domain, kv.ErrCorrupt)
	n := aead.NonceSize()
	if len(sealed) < n {
		return nil, bad
	}
	der, err := aead.Open(nil, sealed[:n], sealed[n:], signingRow(domain, selector))
	if err != nil {
		return nil, bad
	}
	private, err := x509.ParsePKCS8PrivateKey(der)
	signer, ok := private.(crypto.Signer)
	if err != nil || !ok {
		return nil, bad
	}
	return signer, nil
}

// rsaBits is how many bits an RSA key that signs must have, RFC 8301 §3.2: shorter ones can be broken, and
// some receivers believe them no more.
const rsaBits = 2048

// signingKinds are the keys that each domain has: Ed25519 for those who know it (RFC 8463), RSA for the
// others.
var signingKinds = []struct {
	algorithm, prefix string
	make              func() (crypto.Signer, error)
}{
	{dkim.Ed25519SHA256, "ed", func() (crypto.Signer, error) {
		_, private, err := ed25519.GenerateKey(rand.Reader)
		return private, err
	}},
	{dkim.RSASHA256, "rsa", func() (crypto.Signer, error) { return rsa.GenerateKey(rand.Reader, rsaBits) }},
}

// MakeSigningKeys makes the next keys of a domain, one of each kind, for which there is none yet that
// waits to become active. It returns those that wait. ErrNotFound.
func (d *Directory) MakeSigningKeys(ctx context.Context, domain string) ([]SigningKey, error) {
	all, err := d.SigningKeys(ctx, domain)
	if err != nil {
		return nil, err
	}
	for _, kind := range signingKinds {
		if waits(all, kind.algorithm) {
			continue
		}
		// RSA takes its time: it is made before the transaction, and thrown away if another was quicker.
		private, err := kind.make()
		if err != nil {
			return nil, fmt.Errorf("make signing key: %w", err)
		}
		selector := kind.prefix + d.clock.Now().UTC().Format("200601")
		if err := d.addSigning(ctx, domain, selector, private, false); err != nil {
			return nil, err
		}
	}
	all, err = d.SigningKeys(ctx, domain)
	return slices.DeleteFunc(all, func(k SigningKey) bool { return k.State != KeyMade }), err
}

func waits(all []SigningKey, algorithm string) bool {
	return slices.ContainsFunc(all, func(k SigningKey) bool {
		return k.State == KeyMade && k.Algorithm == algorithm
	})
}

// ImportSigningKey takes over a key that was made elsewhere; it waits to become active. ErrExists when
// the selector is taken, ErrInvalid for a key of another kind or one that is too short, ErrNotFound.
func (d *Directory) ImportSigningKey(ctx context.Context, domain, selector string, private crypto.Signer) error {
	if key, ok := private.Public().(*rsa.PublicKey); ok && key.N.BitLen() < rsaBits {
		return fmt.Errorf("add signing key %s of %s: an RSA key must have %d bits to sign mail, this one has %d: %w",
			selector, domain, rsaBits, key.N.BitLen(), ErrInvalid)
	}
	return d.addSigning(ctx, domain, selector, private, true)
}

// addSigning adds a key. Unless exact it gets a letter behind its selector if that is taken, and gives
// way to one of its kind that waits already.
func (d *Directory) addSigning(ctx context.Context, domain, selector string, private crypto.Signer, exact bool) error {
	k, err := d.ownKey(ctx, domain)
	if err != nil {
		return err
	}
	algorithm, err := dkim.Key{Signer: private}.Algorithm()
	if err != nil {
		return fmt.Errorf("add signing key %s of %s: %w: %w", selector, k, ErrInvalid, err)
	}
	record, err := dkim.Record(private.Public())
	if err != nil {
		return err
	}
	return d.update(ctx, true, func(t kv.Txn) error {
		if err := read(t, domainRow(k), &domainRecord{}); err != nil {
			return fmt.Errorf("add signing key of %s: %w", k, err)
		}
		all, err := readSigning(t, k)
		switch {
		case err != nil:
			return err
		case !exact && waits(all, algorithm):
			return nil
		case len(all) >= d.o.Signing.Keys:
			return fmt.Errorf("add signing key of %s: it has %d: %w", k, len(all), ErrInvalid)
		}
		free, err := freeSelector(all, selector, exact)
		if err != nil {
			return fmt.Errorf("add signing key %s of %s: %w", selector, k, err)
		}
		rec := signingRecord{Version: signingVersion, Algorithm: algorithm, Record: record,
			State: KeyMade, Created: d.clock.Now().Unix()}
		if rec.Sealed, err = d.sealSigner(k, free, private); err != nil {
			return err
		}
		return write(t, signingRow(k, free), rec)
	})
}

func freeSelector(all []SigningKey, selector string, exact bool) (string, error) {
	taken := func(s string) bool {
		return slices.ContainsFunc(all, func(k SigningKey) bool { return k.Selector == s })
	}
	if !taken(selector) {
		return selector, nil
	}
	for letter := 'b'; letter <= 'z' && !exact; letter++ {
		if s := selector + string(letter); !taken(s) {
			return s, nil
		}
	}
	return "", ErrExists
}

// changeSigning changes the row of a key. ErrNotFound.
func (d *Directory) changeSigning(ctx context.Context, domain, selector string,
	fn func(t kv.Txn, rec *signingRecord) error) error {
	return d.update(ctx, true, func(t kv.Txn) error {
		var rec signingRecord
		err := read(t, signingRow(domain, selector), &rec)
		if err == nil {
			err = fn(t, &rec)
		}
		if err != nil {
			return fmt.Errorf("change signing key %s of %s: %w", selector, domain, err)
		}
		return write(t, signingRow(domain, selector), rec)
	})
}

// ActivateSigningKey makes a key sign from now on, in place of the one of its kind that did. What it
// replaces stays in the DNS for limits.Signing.Keep. ErrNotFound; ErrInvalid for one that has retired.
func (d *Directory) ActivateSigningKey(ctx context.Context, domain, selector string) error {
	k, err := d.ownKey(ctx, domain)
	if err != nil {
		return err
	}
	now := d.clock.Now().Unix()
	return d.changeSigning(ctx, k, selector, func(t kv.Txn, rec *signingRecord) error {
		switch rec.State {
		case KeyActive:
			return nil
		case KeyRetiring:
			return fmt.Errorf("it has been replaced: %w", ErrInvalid)
		}
		err := scanSigning(t, k, func(other string, old signingRecord) error {
			if old.State != KeyActive || old.Algorithm != rec.Algorithm {
				return nil
			}
			old.State, old.Retired = KeyRetiring, now
			return write(t, signingRow(k, other), old)
		})
		rec.State, rec.Activated = KeyActive, now
		return err
	})
}

// RemoveSigningKey removes a key for ever. ErrNotFound.
func (d *Directory) RemoveSigningKey(ctx context.Context, domain, selector string) error {
	k, err := d.ownKey(ctx, domain)
	if err != nil {
		return err
	}
	return d.update(kv.Freeing(ctx), true, func(t kv.Txn) error {
		if err := read(t, signingRow(k, selector), &signingRecord{}); err != nil {
			return fmt.Errorf("remove signing key %s of %s: %w", selector, k, err)
		}
		return t.Delete(signingRow(k, selector))
	})
}

// removeSigning removes all keys of a domain that is being removed, readable or not.
func removeSigning(t kv.Txn, domain string) error {
	var rows [][]byte
	err := t.Scan(kv.Prefix(kv.AppendString(key(kindSigning), domain)), func(k, _ []byte) error {
		rows = append(rows, slices.Clone(k))
		return nil
	})
	for _, row := range rows {
		if err == nil {
			err = t.Delete(row)
		}
	}
	return err
}

package dkim

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"sync"

	"tram/internal/dns"
	"tram/internal/limits"
	"tram/internal/mailauth"
)

// PublicKey is a key record of the DNS, RFC 6376 §3.6.1.
type PublicKey struct {
	Key     crypto.PublicKey // *rsa.PublicKey or ed25519.PublicKey
	Bits    int
	Testing bool // t=y
	Strict  bool // t=s
}

// Errors of keys.
var (
	errRevoked = errors.New("the key is revoked")
	errNoKey   = errors.New("there is no key")
	errNotMail = errors.New("the key is not for mail")
	errNotHash = errors.New("the key is not for SHA-256")
)

// ParseKey reads a key record. The error says why it cannot check a signature.
func ParseKey(text string) (*PublicKey, error) {
	tags, err := ParseTags([]byte(text))
	if err != nil {
		return nil, fmt.Errorf("the key record is broken: %w", err)
	}
	for i, t := range tags {
		if t.Name == "v" && (i > 0 || string(t.Value) != "DKIM1") {
			return nil, errors.New("the record is no DKIM key")
		}
	}
	if !listed(tags, "h", "sha256", "sha256") {
		return nil, errNotHash
	}
	if !listed(tags, "s", "email", "*") {
		return nil, errNotMail
	}
	p, ok := tags.compact("p")
	if !ok {
		return nil, errors.New("the key record has no key")
	}
	if len(p) == 0 {
		return nil, errRevoked
	}
	k := &PublicKey{}
	if _, ok := tags.find("t"); ok {
		k.Testing, k.Strict = listed(tags, "t", "y", "y"), listed(tags, "t", "s", "s")
	}
	kind, ok := tags.Get("k")
	if !ok {
		kind = "rsa"
	}
	return k, k.read(strings.ToLower(kind), decodeBase64(p))
}

// listed reports whether a list separated by colons has one of two names, or is not there.
func listed(tags Tags, tag, one, other string) bool {
	v, ok := tags.compact(tag)
	if !ok {
		return true
	}
	for name := range strings.SplitSeq(string(v), ":") {
		if strings.EqualFold(name, one) || strings.EqualFold(name, other) {
			return true
		}
	}
	return false
}

// read reads the key itself.
func (k *PublicKey) read(kind string, der []byte) error {
	switch kind {
	case "ed25519":
		if len(der) != ed25519.PublicKeySize {
			return errors.New("the key is not one of Ed25519")
		}
		k.Key, k.Bits = ed25519.PublicKey(der), 8*ed25519.PublicKeySize
		return nil
	case "rsa":
		// RFC 6376 §3.6.1 describes RSAPublicKey, and its examples are SubjectPublicKeyInfo, as all keys are.
		key, err := x509.ParsePKIXPublicKey(der)
		if err != nil {
			key, err = x509.ParsePKCS1PublicKey(der)
		}
		public, ok := key.(*rsa.PublicKey)
		if err != nil || !ok {
			return errors.New("the key is not one of RSA")
		}
		k.Key, k.Bits = public, public.N.BitLen()
		return nil
	}
	return errors.New("the key is of an unknown kind")
}

// answer is what was found at the place of a key.
type answer struct {
	keys   []*PublicKey
	status mailauth.Status // of a signature with this key, when keys is empty
	err    error
}

// Keys are the keys of the signatures of one message, looked up together.
type Keys struct {
	limits  limits.MailAuth
	answers map[string]*answer
}

// together is how many look-ups of one message run at a time.
const together = 8

// LookUp finds the keys of signatures, each place once. Those that are nil need none.
func LookUp(ctx context.Context, r TXTResolver, l limits.MailAuth, signatures []*Signature) *Keys {
	k := &Keys{limits: l, answers: map[string]*answer{}}
	var wait sync.WaitGroup
	slots := make(chan struct{}, together)
	for _, s := range signatures {
		if s == nil || k.answers[s.at()] != nil {
			continue
		}
		a := new(answer)
		k.answers[s.at()] = a
		slots <- struct{}{}
		wait.Go(func() {
			*a = lookUp(ctx, r, l, s.Domain, s.Query)
			<-slots
		})
	}
	wait.Wait()
	return k
}

func (s *Signature) at() string { return s.Query + "._domainkey." + s.Domain }

// maxKeys is how many records at one name are tried (RFC 6376 §3.6.2.2 leaves it open).
const maxKeys = 4

// lookUp finds the keys of a selector.
func lookUp(ctx context.Context, r TXTResolver, l limits.MailAuth, domain, selector string) answer {
	if r == nil {
		return answer{status: mailauth.TempError, err: errors.New("no look-ups are made")}
	}
	texts, _, err := r.TXT(ctx, selector+"._domainkey."+domain)
	switch {
	case errors.Is(err, dns.ErrNoDomain), errors.Is(err, dns.ErrNoRecord):
		return answer{status: mailauth.PermError, err: errNoKey}
	case err != nil:
		return answer{status: mailauth.TempError, err: errors.New("the key could not be looked up")}
	}
	a := answer{status: mailauth.PermError, err: errNoKey}
	for i, text := range texts {
		if i == maxKeys {
			break
		}
		if len(text) > l.KeyRecord {
			a.err = errors.New("the key record is too long")
			continue
		}
		k, err := ParseKey(text)
		if err != nil {
			a.err = err
			continue
		}
		a.keys = append(a.keys, k)
	}
	return a
}

// check checks a signature over a SHA-256.
func (k *PublicKey) check(l limits.MailAuth, algorithm string, sum, signature []byte) error {
	switch key := k.Key.(type) {
	case *rsa.PublicKey:
		if algorithm != RSASHA256 {
			return errWrongKind
		}
		if k.Bits < l.RSAMin || k.Bits > l.RSAMax {
			return errKeySize
		}
		if rsa.VerifyPKCS1v15(key, crypto.SHA256, sum, signature) != nil {
			return errWrong
		}
		return nil
	case ed25519.PublicKey:
		if algorithm != Ed25519SHA256 {
			return errWrongKind
		}
		// RFC 8463 §3: it is the hash that is signed.
		if !ed25519.Verify(key, sum, signature) {
			return errWrong
		}
		return nil
	}
	return errWrongKind
}

var (
	errWrong     = errors.New("the signature does not match the header")
	errWrongKind = errors.New("the key is of another kind than the signature")
	errKeySize   = errors.New("the key is too short or too long to be believed")
)

// Record is the text of the TXT record of a public key: RSA as SubjectPublicKeyInfo (RFC 6376
// §3.6.1), Ed25519 as the bare 32 bytes (RFC 8463 §4.2).
func Record(public crypto.PublicKey) (string, error) {
	if ed, ok := public.(ed25519.PublicKey); ok {
		return "v=DKIM1; k=ed25519; p=" + base64.StdEncoding.EncodeToString(ed), nil
	}
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		return "", fmt.Errorf("encode DKIM key: %w", err)
	}
	return "v=DKIM1; k=rsa; p=" + base64.StdEncoding.EncodeToString(der), nil
}

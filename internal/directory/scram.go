package directory

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/xdg-go/scram"
	"github.com/xdg-go/stringprep"

	"tram/internal/kv"
)

// scramHash is one of the hashes that SCRAM is spoken with. SHA-1 is for programs that know no other:
// HMAC and PBKDF2 do not rest on what is broken of it, and a password's keys are sealed all the same.
type scramHash struct {
	generate scram.HashGeneratorFcn
	size     int
	label    string // keeps the salts of users without keys apart
	keys     func(rec *credentialRecord) *scramKeys
}

var (
	scramSHA256 = &scramHash{scram.SHA256, sha256.Size, "",
		func(rec *credentialRecord) *scramKeys { return rec.SCRAM }}
	scramSHA1 = &scramHash{scram.SHA1, sha1.Size, "SHA-1",
		func(rec *credentialRecord) *scramKeys { return rec.SCRAM1 }}
)

// scramKeys are a password's SCRAM keys for one hash as they are stored. With StoredKey alone a
// password can be tried offline at PBKDF2's speed, so both keys are sealed under the pepper.
type scramKeys struct {
	Salt       []byte `json:"salt"`       // 16 bytes
	Iterations int    `json:"iterations"` // of PBKDF2
	// Sealed is a 12-byte nonce and the AES-256-GCM of StoredKey and ServerKey (each as long as
	// the hash, 32 or 20 bytes), with the salt as additional data.
	Sealed []byte `json:"sealed"`
}

// newSCRAM derives the keys of a password that was prepared. Clients prepare it themselves, by
// SASLprep (RFC 7677 §2 by way of RFC 5802 §2.2): where that differs, theirs is what must be kept.
func (d *Directory) newSCRAM(h *scramHash, prepared string) (*scramKeys, error) {
	password, err := stringprep.SASLprep.Prepare(prepared)
	if err != nil { // a client that skips SASLprep sends it as it is
		password = prepared
	}
	k := &scramKeys{Salt: make([]byte, saltBytes), Iterations: d.limits.SCRAMRounds}
	if _, err := io.ReadFull(d.o.Rand, k.Salt); err != nil {
		return nil, fmt.Errorf("make salt: %w", err)
	}
	client, err := h.generate.NewClientUnprepped("", password, "")
	if err != nil {
		return nil, err
	}
	c, err := client.GetStoredCredentialsWithError(
		scram.KeyFactors{Salt: string(k.Salt), Iters: k.Iterations})
	if err != nil {
		return nil, err
	}
	aead, err := d.sealer()
	if err != nil {
		return nil, err
	}
	nonce := make([]byte, aead.NonceSize(), aead.NonceSize()+2*h.size+aead.Overhead())
	// Never from the given source: a repeated nonce would give both sealed texts away.
	if _, err := rand.Read(nonce); err != nil {
		return nil, fmt.Errorf("make nonce: %w", err)
	}
	k.Sealed = aead.Seal(nonce, nonce, append(c.StoredKey, c.ServerKey...), k.Salt)
	return k, nil
}

func (d *Directory) sealer() (cipher.AEAD, error) {
	block, err := aes.NewCipher(d.keys.seal)
	if err != nil {
		return nil, fmt.Errorf("make cipher: %w", err)
	}
	return cipher.NewGCM(block)
}

func (d *Directory) openSCRAM(h *scramHash, k *scramKeys) (scram.StoredCredentials, error) {
	aead, err := d.sealer()
	if err != nil {
		return scram.StoredCredentials{}, err
	}
	n := aead.NonceSize()
	if len(k.Sealed) < n {
		return scram.StoredCredentials{}, fmt.Errorf("open SCRAM keys: %w", kv.ErrCorrupt)
	}
	both, err := aead.Open(nil, k.Sealed[:n], k.Sealed[n:], k.Salt)
	if err != nil || len(both) != 2*h.size {
		return scram.StoredCredentials{}, fmt.Errorf("open SCRAM keys: %w", kv.ErrCorrupt)
	}
	return scram.StoredCredentials{
		KeyFactors: scram.KeyFactors{Salt: string(k.Salt), Iters: k.Iterations},
		StoredKey:  both[:h.size], ServerKey: both[h.size:],
	}, nil
}

// fakeSCRAM is what a user without keys is asked with: the same salt each time, and keys that nobody
// knows a password for (A3). Nobody's name gets it, and an account whose password was last seen by a
// server that kept no keys for this hash: neither is to be told from the other.
func (d *Directory) fakeSCRAM(h *scramHash, w who) (scram.StoredCredentials, error) {
	mac := hmac.New(sha256.New, d.keys.fake)
	mac.Write(append(binary.BigEndian.AppendUint64(nil, uint64(w)), h.label...))
	unknown := make([]byte, 2*h.size)
	if _, err := rand.Read(unknown); err != nil {
		return scram.StoredCredentials{}, fmt.Errorf("make keys: %w", err)
	}
	salt := string(mac.Sum(nil)[:saltBytes])
	return scram.StoredCredentials{
		KeyFactors: scram.KeyFactors{Salt: salt, Iters: d.limits.SCRAMRounds},
		StoredKey:  unknown[:h.size], ServerKey: unknown[h.size:],
	}, nil
}

// scram is RFC 5802 and RFC 7677, with channel binding (RFC 5929, RFC 9266) when plus is set.
func (x *exchange) scram(h *scramHash, plus bool) step {
	var first step
	first = func(response []byte) ([]byte, step, error) {
		if response == nil {
			return []byte{}, first, nil
		}
		return x.scramFirst(h, response, plus)
	}
	return first
}

// scramFirst answers the client-first-message with salt and nonce. Nothing has been guessed yet:
// the throttle only turns away who is blocked.
func (x *exchange) scramFirst(h *scramHash, response []byte, plus bool) ([]byte, step, error) {
	flag, _, _ := strings.Cut(string(response), ",")
	kind, bound := strings.CutPrefix(flag, "p=")
	if bound != plus {
		return nil, nil, ErrMalformed
	}
	var lookup error
	server, err := h.generate.NewServer(func(user string) (scram.StoredCredentials, error) {
		var c scram.StoredCredentials
		c, lookup = x.scramKeys(h, user)
		return c, lookup
	})
	if err != nil {
		return nil, nil, fmt.Errorf("begin SCRAM: %w", err)
	}
	conversation, err := x.converse(server.WithNonceGenerator(x.d.nonce), kind, plus)
	if err != nil {
		return nil, nil, err
	}
	challenge, err := conversation.Step(string(response))
	switch {
	case lookup != nil:
		return nil, nil, x.end(lookup)
	case challenge == scram.ErrServerDoesSupportChannelBinding:
		// Somebody on the way hid that we bind channels, RFC 5802 §6.
		return nil, nil, fmt.Errorf("channel binding was hidden: %w", ErrBadCredentials)
	case challenge == scram.ErrUnsupportedChannelBindingType:
		return nil, nil, fmt.Errorf("channel binding %q: %w", kind, ErrBadCredentials)
	case err != nil:
		return nil, nil, ErrMalformed
	}
	final := func(response []byte) ([]byte, step, error) {
		return x.scramFinal(conversation, response)
	}
	return []byte(challenge), final, nil
}

// scramKeys finds the keys of a login name, real or not.
func (x *exchange) scramKeys(h *scramHash, user string) (scram.StoredCredentials, error) {
	if err := x.l.identify(x.ctx, user); err != nil {
		return scram.StoredCredentials{}, err
	}
	rec, err := x.d.cache.secret(x.ctx, x.l.account.ID)
	if err != nil {
		return scram.StoredCredentials{}, err
	}
	keys := h.keys(&rec)
	if keys == nil {
		return x.d.fakeSCRAM(h, x.l.who)
	}
	return x.d.openSCRAM(h, keys)
}

// scramFinal checks the client's proof.
func (x *exchange) scramFinal(c *scram.ServerConversation, response []byte) ([]byte, step, error) {
	var challenge string
	err := x.l.check(x.ctx, func() (bool, error) {
		var err error
		challenge, err = c.Step(string(response))
		wrong := challenge == scram.ErrInvalidProof || challenge == scram.ErrChannelBindingsDontMatch
		if err != nil && !wrong {
			return false, ErrMalformed
		}
		may := x.l.account.ID != 0 && !x.l.account.Disabled
		as := c.AuthzID()
		return err == nil && may && (as == "" || x.sameUser(as, c.Username())), nil
	})
	if errors.Is(err, ErrMalformed) {
		return nil, nil, err
	}
	if err := x.end(err); err != nil {
		return nil, nil, err
	}
	// The server's proof goes as a challenge; the client's answer to it is empty (RFC 4954 §4,
	// RFC 9051 §6.2.2 have no place for data with success).
	last := func(response []byte) ([]byte, step, error) {
		if len(response) != 0 {
			return nil, nil, ErrMalformed
		}
		return nil, nil, nil
	}
	return []byte(challenge), last, nil
}

// converse begins the library's side with the channel's binding.
func (x *exchange) converse(
	s *scram.Server, kind string, plus bool,
) (*scram.ServerConversation, error) {
	if x.tls == nil {
		return s.NewConversation(), nil
	}
	cb, err := x.binding(kind)
	if err != nil && !plus {
		return s.NewConversation(), nil
	}
	if err != nil {
		return nil, err
	}
	if plus {
		return s.NewConversationWithChannelBindingRequired(cb), nil
	}
	return s.NewConversationWithChannelBinding(cb), nil
}

// binding computes the channel's binding of a kind; tls-exporter for one that is not known here,
// which the conversation then refuses.
func (x *exchange) binding(kind string) (scram.ChannelBinding, error) {
	if kind == string(scram.ChannelBindingTLSServerEndpoint) && x.d.o.ServerCertificate != nil {
		if leaf := x.d.o.ServerCertificate(x.tls); leaf != nil {
			return scram.ChannelBinding{
				Type: scram.ChannelBindingTLSServerEndpoint, Data: endPoint(leaf),
			}, nil
		}
	}
	data, err := exportBinding(x.tls)
	if err != nil {
		return scram.ChannelBinding{}, fmt.Errorf("channel binding: %w", ErrBadCredentials)
	}
	return scram.ChannelBinding{Type: scram.ChannelBindingTLSExporter, Data: data}, nil
}

// exportBinding is tls-exporter, RFC 9266 §2. TLS 1.2 without extended master secret has none.
func exportBinding(state *tls.ConnectionState) ([]byte, error) {
	if !state.HandshakeComplete {
		return nil, errors.New("the handshake is not complete")
	}
	return state.ExportKeyingMaterial("EXPORTER-Channel-Binding", nil, 32)
}

// endPoint is tls-server-end-point, RFC 5929 §4.1: the certificate hashed with the hash of its own
// signature, SHA-256 for what is weaker or has none.
func endPoint(leaf *x509.Certificate) []byte {
	switch leaf.SignatureAlgorithm {
	case x509.SHA384WithRSA, x509.SHA384WithRSAPSS, x509.ECDSAWithSHA384:
		sum := sha512.Sum384(leaf.Raw)
		return sum[:]
	case x509.SHA512WithRSA, x509.SHA512WithRSAPSS, x509.ECDSAWithSHA512:
		sum := sha512.Sum512(leaf.Raw)
		return sum[:]
	}
	sum := sha256.Sum256(leaf.Raw)
	return sum[:]
}

// newNonce makes the server's part of a nonce: 24 characters, none of them a comma.
func newNonce(r io.Reader) func() string {
	return func() string {
		b := make([]byte, 18)
		if _, err := io.ReadFull(r, b); err != nil {
			return rand.Text()
		}
		return base64.StdEncoding.EncodeToString(b)
	}
}

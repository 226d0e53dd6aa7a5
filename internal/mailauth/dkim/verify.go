package dkim

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"tram/internal/mailauth"
	"tram/internal/message"
)

// Verifier checks the signatures of one message.
type Verifier struct {
	o      Options
	header []byte
	bodies *Bodies
	shared bool

	signatures []*Signature
	results    []mailauth.DKIM // of those; Status "" where there is something to check
}

// NewVerifier begins with the header block as it was received, without the blank line. It is kept by
// reference until Finish.
func NewVerifier(header []byte, o Options) *Verifier {
	v := &Verifier{o: o, header: header, bodies: o.Bodies, shared: o.Bodies != nil}
	if v.bodies == nil {
		v.bodies = NewBodies()
	}
	left := 0
	// The fields are not laid out before the end: while the body comes in, which may take as long as the
	// sender likes, a message holds its header once and no more.
	for f := range message.Header(header) {
		if !f.Is(FieldName) {
			continue
		}
		if len(v.signatures) < o.Limits.Signatures {
			v.add(f)
		} else {
			left++
		}
	}
	if left > 0 {
		// One line tells of all of them: a header has room for thousands.
		v.signatures = append(v.signatures, nil)
		v.results = append(v.results, mailauth.DKIM{Status: mailauth.Policy,
			Reason: fmt.Sprintf("%d more signatures are not checked", left)})
	}
	return v
}

// add reads one signature and asks for its hash.
func (v *Verifier) add(f message.Field) {
	s, res := read(f, v.o)
	if res.Status == "" {
		s.WantBody(v.bodies)
	}
	v.signatures = append(v.signatures, s)
	v.results = append(v.results, res)
}

// read reads a field, and finds what can be found without the body and the key.
func read(f message.Field, o Options) (*Signature, mailauth.DKIM) {
	if len(f.Raw) > MaxField(o.Limits) {
		return nil, mailauth.DKIM{Status: mailauth.PermError, Reason: "the signature is too long"}
	}
	s, err := ParseSignature(f, DKIM)
	value, _ := s.Tags.compact("b")
	res := mailauth.DKIM{
		Domain: s.Domain, Selector: s.Selector, Identity: s.Identity, Algorithm: s.Algorithm,
		Signature: string(value), Headers: s.Headers, Signed: s.Signed, Expires: s.Expires,
		Part: s.length >= 0,
	}
	if err == nil {
		err = s.usable()
	}
	if err != nil {
		res.Status, res.Reason = mailauth.PermError, err.Error()
		return s, res
	}
	if err := s.inTime(o.Now); err != nil {
		res.Status, res.Reason = mailauth.Fail, err.Error()
	}
	return s, res
}

// usable says whether the algorithm may be used: RFC 8301 §3.1 forbids SHA-1.
func (s *Signature) usable() error {
	switch s.Algorithm {
	case RSASHA256, Ed25519SHA256:
		return nil
	case rsaSHA1:
		return errors.New("rsa-sha1 proves nothing any more")
	}
	return errors.New("a= names an unknown algorithm")
}

// Write takes the next bytes of the body. It never fails.
func (v *Verifier) Write(p []byte) (int, error) {
	if v.shared {
		return len(p), nil
	}
	return v.bodies.Write(p)
}

// Finish looks the keys up and says what each signature is worth, in the order of the header. With
// more signatures than limits.MailAuth.Signatures the last result tells of those not checked.
func (v *Verifier) Finish(ctx context.Context, r TXTResolver) []mailauth.DKIM {
	v.bodies.Close()
	asked := make([]*Signature, len(v.signatures))
	for i, s := range v.signatures {
		res := &v.results[i]
		if res.Status != "" {
			continue
		}
		// A body that was changed needs no look-up.
		if err := s.CheckBody(); err != nil {
			res.Status, res.Reason = mailauth.Fail, err.Error()
			continue
		}
		asked[i] = s
	}
	keys := LookUp(ctx, r, v.o.Limits, asked)
	var buf []byte
	var header *Header
	for i, s := range asked {
		if s == nil {
			continue
		}
		if header == nil {
			header = NewHeader(v.header)
		}
		res := &v.results[i]
		buf = s.hashed(buf[:0], header)
		sum := sha256.Sum256(buf)
		got := keys.judge(s, sum[:])
		res.Status, res.KeyBits, res.Testing, res.Strict = got.status, got.bits, got.testing, got.strict
		if got.err != nil {
			res.Reason = got.err.Error()
		}
		if res.Status == mailauth.Pass && res.Part {
			res.Status, res.Reason = mailauth.Policy, "l= leaves a part of the body to anybody"
		}
	}
	return v.results
}

// WantBody asks for the hash of the body that CheckBody needs.
func (s *Signature) WantBody(b *Bodies) { s.body = b.Add(s.relaxedBody, s.length) }

// CheckBody compares the hash of the body, which must be closed.
func (s *Signature) CheckBody() error {
	switch {
	case s.body == nil, s.body.Short(), !bytes.Equal(s.body.Sum(), s.bodyHash):
		return errors.New("the body was changed")
	}
	return nil
}

// verdict is what a key says of a signature.
type verdict struct {
	status          mailauth.Status
	bits            int
	testing, strict bool
	err             error
}

// Check says what is wrong with the signature of an ARC field: with its algorithm, times, extent or
// key. It is one of sum, or of fields of h when that is nil.
func (k *Keys) Check(s *Signature, h *Header, sum []byte, now time.Time) error {
	if err := s.usable(); err != nil {
		return err
	}
	if err := s.inTime(now); err != nil {
		return err
	}
	if s.length >= 0 {
		return errors.New("l= leaves a part of the body to anybody")
	}
	if sum == nil {
		all := sha256.Sum256(s.hashed(nil, h))
		sum = all[:]
	}
	return k.judge(s, sum).err
}

// judge tries the keys of a selector; the best word counts.
func (k *Keys) judge(s *Signature, sum []byte) verdict {
	a, l := k.answers[s.at()], k.limits
	best := verdict{status: a.status, err: a.err}
	for i, key := range a.keys {
		v := verdict{bits: key.Bits, testing: key.Testing, strict: key.Strict}
		v.err = key.check(l, s.Algorithm, sum, s.value)
		switch {
		case v.err == nil && key.Strict && s.Identity != "" && s.identityBelow():
			v.status, v.err = mailauth.PermError, errors.New("the key is not for subdomains")
		case v.err == nil:
			v.status = mailauth.Pass
			return v
		case errors.Is(v.err, errKeySize):
			v.status = mailauth.Policy
		case errors.Is(v.err, errWrongKind):
			v.status = mailauth.PermError
		default:
			v.status = mailauth.Fail
		}
		if i == 0 || cmp.Compare(rank(v.status), rank(best.status)) > 0 {
			best = v
		}
	}
	return best
}

// rank orders what is said of several keys at one place: a key that fits and does not match tells more
// than one that does not fit.
func rank(s mailauth.Status) int {
	switch s {
	case mailauth.Policy:
		return 3
	case mailauth.Fail:
		return 2
	case mailauth.PermError:
		return 1
	}
	return 0
}

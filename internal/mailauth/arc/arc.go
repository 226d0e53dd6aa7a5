// Package arc answers "what did those see who had this message before?": the Authenticated Received
// Chain, RFC 8617, both ways.
//
// A [Verifier] checks the chain of a message as it streams in; [Seal] adds a set to one that leaves
// for another server. It promises that a chain passes only when each of its seals and its last
// message signature do, and when its sets are whole and in order: every doubt is a fail. What must
// never happen: results are believed that the sealer did not write.
package arc

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"iter"
	"time"

	"tram/internal/limits"
	"tram/internal/mailauth"
	"tram/internal/mailauth/dkim"
	"tram/internal/message"
)

// Names of the fields.
const (
	ResultsName = "ARC-Authentication-Results"
	MessageName = "ARC-Message-Signature"
	SealName    = "ARC-Seal"
)

// Options are what a verifier works with.
type Options struct {
	Limits limits.MailAuth
	Now    time.Time
	// Trusted says whose results are believed, by the domain of the seal; nil for nobody's.
	Trusted func(domain string) bool
	// Bodies is that of dkim.Options.
	Bodies *dkim.Bodies
}

// Verifier checks the chain of one message.
type Verifier struct {
	o      Options
	header []byte
	bodies *dkim.Bodies
	shared bool

	sets   []set
	result mailauth.ARC // of the structure; Status "" where there is something to check
}

// set is one ARC set.
type set struct {
	results message.Field
	message *dkim.Signature
	seal    *dkim.Signature
	chain   string // cv=
	text    string // of results, behind the instance
}

// NewVerifier begins with the header block as it was received, without the blank line. It is kept by
// reference until Finish.
func NewVerifier(header []byte, o Options) *Verifier {
	v := &Verifier{o: o, header: header, bodies: o.Bodies, shared: o.Bodies != nil}
	if v.bodies == nil {
		v.bodies = dkim.NewBodies()
	}
	sets, err := collect(message.Header(header), o.Limits)
	v.sets = sets
	if len(sets) > 0 && err == nil {
		err = inOrder(sets)
	}
	switch {
	case err != nil:
		v.result.Status, v.result.Reason = mailauth.Fail, err.Error()
	case len(sets) == 0:
		v.result.Status = mailauth.None
	default:
		sets[len(sets)-1].message.WantBody(v.bodies)
	}
	return v
}

// collect finds the sets, RFC 8617 §5.2 steps 1 and 3. It returns those it could read beside an error.
func collect(header iter.Seq[message.Field], l limits.MailAuth) ([]set, error) {
	var sets []set
	at := func(n int) *set {
		for len(sets) < n {
			sets = append(sets, set{})
		}
		return &sets[n-1]
	}
	fields := 0
	for f := range header {
		if !f.Is(ResultsName) && !f.Is(MessageName) && !f.Is(SealName) {
			continue
		}
		if fields++; fields > 3*l.ARCSets {
			return nil, errors.New("the chain has too many fields")
		}
		if len(f.Raw) > dkim.MaxField(l) {
			return sets, errors.New("a field of the chain is too long")
		}
		if err := read(f, l, at); err != nil {
			return sets, err
		}
	}
	for i, s := range sets {
		if s.results.Raw == nil || s.message == nil || s.seal == nil {
			return sets, fmt.Errorf("set %d of the chain is not whole", i+1)
		}
	}
	return sets, nil
}

// read reads a field into its set.
func read(f message.Field, l limits.MailAuth, at func(int) *set) error {
	if f.Is(ResultsName) {
		n, text, err := resultsInstance(string(f.Body), l.ARCSets)
		if err != nil {
			return err
		}
		s := at(n)
		if s.results.Raw != nil {
			return fmt.Errorf("set %d of the chain has a field twice", n)
		}
		s.results, s.text = f, text
		return nil
	}
	kind, name := dkim.ArcMessage, MessageName
	if f.Is(SealName) {
		kind, name = dkim.ArcSeal, SealName
	}
	sig, err := dkim.ParseSignature(f, kind)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	i, _ := sig.Tags.Get("i")
	n, err := instance(i, l.ARCSets)
	if err != nil {
		return err
	}
	s := at(n)
	if kind == dkim.ArcMessage {
		if s.message != nil {
			return fmt.Errorf("set %d of the chain has a field twice", n)
		}
		s.message = sig
		return namesSeal(sig)
	}
	if s.seal != nil {
		return fmt.Errorf("set %d of the chain has a field twice", n)
	}
	s.seal = sig
	s.chain, _ = sig.Tags.Get("cv")
	if _, has := sig.Tags.Get("h"); has {
		return errors.New("a seal names fields") // RFC 8617 §4.1.3
	}
	return nil
}

// namesSeal refuses a message signature over seals, RFC 8617 §4.1.2: adding the next one would break
// it. The other fields of ARC, which that forbids too, were signed by earlier drafts.
func namesSeal(s *dkim.Signature) error {
	for _, name := range s.Headers {
		if (message.Field{Name: []byte(name)}).Is(SealName) {
			return errors.New("a message signature covers seals")
		}
	}
	return nil
}

// inOrder checks what the seals say of the chain, RFC 8617 §5.2 steps 2 and 3.
func inOrder(sets []set) error {
	for i := len(sets) - 1; i >= 0; i-- {
		want := "pass"
		if i == 0 {
			want = "none"
		}
		if got := sets[i].chain; got == "fail" {
			return fmt.Errorf("the sealer of set %d found the chain broken", i+1)
		} else if got != want {
			return fmt.Errorf("set %d of the chain says cv=%.20q", i+1, got)
		}
	}
	return nil
}

// Write takes the next bytes of the body. It never fails.
func (v *Verifier) Write(p []byte) (int, error) {
	if v.shared {
		return len(p), nil
	}
	return v.bodies.Write(p)
}

// Finish looks the keys up and says what the chain is worth. Every failure is for ever, also that of a
// look-up (RFC 8617 §5.2.1).
func (v *Verifier) Finish(ctx context.Context, r dkim.TXTResolver) mailauth.ARC {
	v.bodies.Close()
	res := &v.result
	res.Instances = len(v.sets)
	for i, s := range v.sets {
		if s.seal != nil {
			res.Sets = append(res.Sets, mailauth.ARCSet{
				Instance: i + 1, Domain: s.seal.Domain, Selector: s.seal.Selector,
				Chain: chainStatus(s.chain), Results: s.text,
			})
		}
	}
	if res.Status != "" {
		return *res
	}
	res.Status = mailauth.Pass
	if err := v.check(ctx, r); err != nil {
		res.Status, res.Reason = mailauth.Fail, err.Error()
		return *res
	}
	if v.o.Trusted == nil || !v.sets[len(v.sets)-1].message.Covers("From") {
		return *res // anybody can have put another author above what the sealer vouches for
	}
	for i := len(v.sets) - 1; i >= 0 && v.o.Trusted(v.sets[i].seal.Domain); i-- {
		res.Trusted, res.Authority = true, i+1
	}
	return *res
}

// chainStatus keeps what others wrote to what has a meaning.
func chainStatus(cv string) mailauth.Status {
	switch s := mailauth.Status(cv); s {
	case mailauth.None, mailauth.Pass, mailauth.Fail:
		return s
	}
	return ""
}

// check checks the newest message signature and every seal, RFC 8617 §5.2 steps 4 and 6.
func (v *Verifier) check(ctx context.Context, r dkim.TXTResolver) error {
	last := v.sets[len(v.sets)-1].message
	if err := last.CheckBody(); err != nil {
		return fmt.Errorf("message signature: %w", err)
	}
	asked := []*dkim.Signature{last}
	for _, s := range v.sets {
		asked = append(asked, s.seal)
	}
	keys := dkim.LookUp(ctx, r, v.o.Limits, asked)
	if err := keys.Check(last, dkim.NewHeader(v.header), nil, v.o.Now); err != nil {
		return fmt.Errorf("message signature: %w", err)
	}
	sealed := sha256.New()
	for i, s := range v.sets {
		sum, err := s.sum(sealed)
		if err == nil {
			err = keys.Check(s.seal, nil, sum, v.o.Now)
		}
		if err != nil {
			return fmt.Errorf("seal %d: %w", i+1, err)
		}
	}
	return nil
}

// sum adds a set to the hash of those before it, and returns what its seal signs: RFC 8617 §5.1.1.
func (s *set) sum(sealed hash.Hash) ([]byte, error) {
	buf := dkim.AppendField(nil, s.results, true)
	buf = dkim.AppendField(buf, s.message.Field, true)
	sealed.Write(buf)
	cloner, ok := sealed.(hash.Cloner)
	if !ok {
		return nil, errors.New("the hash cannot be copied")
	}
	until, err := cloner.Clone()
	if err != nil {
		return nil, err
	}
	until.Write(s.seal.AppendSelf(nil, true))
	sealed.Write(dkim.AppendField(nil, s.seal.Field, true))
	return until.Sum(nil), nil
}

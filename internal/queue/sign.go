package queue

import (
	"context"
	"errors"
	"io"
	"runtime"
	"sync"
	"time"

	"tram/internal/blob"
	"tram/internal/envelope"
	"tram/internal/kv"
	"tram/internal/limits"
	"tram/internal/mailauth/dkim"
	"tram/internal/message"
	"tram/internal/smtp"
)

// KeyFinder returns the keys that sign a message from an address, for the account that has written it;
// account 0 stands for this server itself, in its notices. None: the message is not signed.
type KeyFinder func(ctx context.Context, account uint64, from smtp.Address) ([]dkim.Key, error)

// signing signs messages as they leave: RFC 6376 §5.3 wants the bytes signed that go over the wire, and
// what a server gets depends on its extensions. Each form of a message is signed once, however many
// servers get it.
//
// Only what an account of ours has written is signed, and the notices of this server: a message from
// somebody else that an alias or a filter sends on says what it likes in its From field.
type signing struct {
	keys   KeyFinder
	limits limits.Signing
	header int // octets of a header that is signed
	slots  chan struct{}

	mu    sync.Mutex
	known map[signed]*signature
	order []signed // of known, the oldest first
}

// signed names a form of a message.
type signed struct {
	body       blob.Ref
	account    uint64
	downgraded bool
}

// signature is the fields of a form, once done is closed.
type signature struct {
	done   chan struct{}
	made   time.Time
	fields string
	err    error
}

// Signatures are remembered for an hour, for as many messages: the sessions that bring one message to its
// destinations begin within that.
const (
	signaturesKept = 2048
	signatureAge   = time.Hour
)

func newSigning(o Options) *signing {
	n := max(min(o.Signing.Parallel, runtime.GOMAXPROCS(0)), 1)
	return &signing{
		keys: o.Keys, limits: o.Signing, header: o.Message.HeaderBytes,
		slots: make(chan struct{}, n), known: map[signed]*signature{},
	}
}

// mayBeSigned reports whether this server answers for what the message says of its author.
func (r *record) mayBeSigned() bool { return r.account != 0 || r.origin == envelope.Notice }

// sign puts the signatures on top of the message as the server gets it.
func (j *job) sign(ctx context.Context) error {
	s := j.s.q.signing
	if s.keys == nil || !j.rec.mayBeSigned() || len(j.index) == 0 {
		return nil
	}
	_, downgraded := j.body.(*downgrade)
	fields, err := s.fields(ctx, signed{j.rec.body, j.rec.account, downgraded}, j.s.q.o.Clock.Now(), j.wire)
	if errors.Is(err, kv.ErrCorrupt) {
		// The key is lost. Mail goes without it rather than not at all.
		j.s.q.log.Error("message not signed", "id", j.rec.id, "error", err)
		return nil
	}
	if err != nil || fields == "" {
		return err
	}
	j.body = &withFields{fields, j.body}
	j.mail.Size += int64(len(fields))
	return nil
}

// wire writes the message as the server gets it, without signatures. Nothing is taken from j.body, which
// is read once.
func (j *job) wire(ctx context.Context, w io.Writer) error {
	plain, err := j.s.q.original(ctx, j.rec.body)
	if err != nil {
		return err
	}
	defer plain.Close()
	if d, ok := j.body.(*downgrade); ok {
		_, err = (&downgrade{r: plain, m: d.m}).WriteTo(w)
		return err
	}
	_, err = plain.WriteTo(w)
	return err
}

// withFields is a message with fields on top of it.
type withFields struct {
	fields string
	body   io.Reader
}

// Read implements io.Reader; as a rule the message is written out by WriteTo.
func (b *withFields) Read(p []byte) (int, error) {
	if b.fields != "" {
		n := copy(p, b.fields)
		b.fields = b.fields[n:]
		return n, nil
	}
	return b.body.Read(p)
}

// WriteTo writes the message.
func (b *withFields) WriteTo(w io.Writer) (int64, error) {
	n, err := io.WriteString(w, b.fields)
	if err != nil {
		return int64(n), err
	}
	rest, err := io.Copy(w, b.body)
	return int64(n) + rest, err
}

// fields returns the signatures of a form, made now or found. wire writes its bytes.
func (s *signing) fields(ctx context.Context, form signed, now time.Time,
	wire func(context.Context, io.Writer) error) (string, error) {
	for {
		sig, mine := s.claim(form, now)
		if mine {
			sig.fields, sig.err = s.make(ctx, form, now, wire)
			if sig.err != nil {
				s.forget(form, sig)
			}
			close(sig.done)
			return sig.fields, sig.err
		}
		select {
		case <-sig.done:
			// Another session has failed at it, or was told to stop: it is tried here.
			if sig.err == nil {
				return sig.fields, nil
			}
		case <-ctx.Done():
			return "", context.Cause(ctx)
		}
	}
}

// claim finds a form's signature, or takes it on.
func (s *signing) claim(form signed, now time.Time) (sig *signature, mine bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	sig = s.known[form]
	if sig != nil {
		if age := now.Sub(sig.made); age >= 0 && age < signatureAge {
			return sig, false
		}
	} else {
		for len(s.order) >= signaturesKept {
			delete(s.known, s.order[0])
			s.order = s.order[1:]
		}
		s.order = append(s.order, form)
	}
	sig = &signature{done: make(chan struct{}), made: now}
	s.known[form] = sig
	return sig, true
}

// forget lets the next one try again.
func (s *signing) forget(form signed, sig *signature) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.known[form] == sig {
		sig.made = time.Time{} // its place in the order stays
	}
}

// make signs a form of a message.
func (s *signing) make(ctx context.Context, form signed, now time.Time,
	wire func(context.Context, io.Writer) error) (string, error) {
	select {
	case s.slots <- struct{}{}: // an RSA signature takes a millisecond of a processor
		defer func() { <-s.slots }()
	case <-ctx.Done():
		return "", context.Cause(ctx)
	}
	p := dkim.NewSplitter(s.header)
	if err := wire(ctx, p); err != nil {
		return "", err
	}
	header, sum := p.End()
	from, ok := author(header)
	if !ok {
		return "", nil
	}
	keys, err := s.keys(ctx, form.account, from)
	if err != nil {
		return "", err
	}
	h := dkim.NewHeader(header)
	fields := ""
	for _, k := range keys {
		field, err := h.Sign(sum, k, dkim.SignOptions{Now: now, Lifetime: s.limits.Lifetime})
		if err != nil {
			return "", err
		}
		fields += field
	}
	metricSigned.Add(float64(len(keys)))
	return fields, nil
}

// author returns the one address of the one From field; false where there is another number of them.
func author(header []byte) (smtp.Address, bool) {
	var from smtp.Address
	n := 0
	for f := range message.Header(header) {
		if !f.Is("From") {
			continue
		}
		list := message.ParseAddressList(f.Value())
		if n++; n > 1 || len(list) != 1 || !list[0].Is() {
			return smtp.Address{}, false
		}
		domain, err := smtp.ParseDomain(list[0].Host)
		if err != nil {
			return smtp.Address{}, false
		}
		from = smtp.Address{Local: list[0].Mailbox, Domain: domain}
	}
	return from, n == 1
}

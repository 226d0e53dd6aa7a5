package queue

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"tram/internal/dns"
	"tram/internal/envelope"
	"tram/internal/kv"
	"tram/internal/limits"
	"tram/internal/mailauth"
	"tram/internal/mailauth/dkim"
	"tram/internal/smtp"
)

// signer is who signs for us.test: for account 7 as alice@, and for this server's notices.
type signer struct {
	keys  []dkim.Key
	zone  *dns.Fake
	asked atomic.Int64
	err   error
}

func newSigner(t testing.TB) *signer {
	t.Helper()
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	rs, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	s := &signer{zone: dns.NewFake(""), keys: []dkim.Key{
		{Domain: "us.test", Selector: "ed", Signer: ed}, {Domain: "us.test", Selector: "rsa", Signer: rs}}}
	for _, k := range s.keys {
		text, err := dkim.Record(k.Signer.Public())
		if err != nil {
			t.Fatal(err)
		}
		half := len(text) / 2
		s.zone.Add(fmt.Sprintf("%s._domainkey.us.test. TXT %q %q\n", k.Selector, text[:half], text[half:]))
	}
	return s
}

func (s *signer) find(_ context.Context, account uint64, from smtp.Address) ([]dkim.Key, error) {
	s.asked.Add(1)
	if s.err != nil {
		return nil, s.err
	}
	if account == 7 && from.String() == "alice@us.test" || account == 0 && from.Domain == "us.test" {
		return s.keys, nil
	}
	return nil, nil
}

// verify says what the signatures of a message are worth at another server.
func (s *signer) verify(t *testing.T, wire string, now time.Time) []mailauth.DKIM {
	t.Helper()
	header, body, _ := strings.Cut(wire, "\r\n\r\n")
	v := dkim.NewVerifier([]byte(header+"\r\n"), dkim.Options{Limits: limits.Default().MailAuth, Now: now})
	_, _ = v.Write([]byte(body))
	return v.Finish(t.Context(), s.zone)
}

func (s *signer) both(t *testing.T, what, wire string, now time.Time) {
	t.Helper()
	got := s.verify(t, wire, now)
	if len(got) != 2 || got[0].Status != mailauth.Pass || got[1].Status != mailauth.Pass ||
		got[0].Algorithm != dkim.Ed25519SHA256 || got[1].Algorithm != dkim.RSASHA256 {
		t.Errorf("%s: %+v\n%s", what, got, wire)
	}
	for _, g := range got {
		if life := g.Expires.Sub(g.Signed); life <= 0 || life > 7*24*time.Hour { // M5
			t.Errorf("%s: expires after %s", what, life)
		}
	}
}

// TestSigned checks what another server gets: the signatures are of what came over its wire (RFC 6376
// §5.3), converted to 7 bits or not, and each form is signed once.
func TestSigned(t *testing.T) {
	t.Parallel()
	s := newSigner(t)
	w := newWorld(t, func(o *Options) { o.Keys = s.find })
	w.dns.Add("old.test. MX 10 mx.old.test.\nmx.old.test. A 192.0.2.32\nthird.test. MX 10 mx.third.test.\nmx.third.test. A 192.0.2.33\n")
	eight := []string{"8BITMIME", "SIZE 100000", "PIPELINING"}
	sinks := []*sink{w.net.listen(t, "192.0.2.1", eight...), w.net.listen(t, "192.0.2.32"), w.net.listen(t, "192.0.2.33", eight...)}
	w.run()
	text := "Received: from client by us.test\r\nFrom: Alice <alice@us.test>\r\nSubject: x\r\nMIME-Version: 1.0\r\n" +
		"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\nThư  của tôi \r\n.\r\n\r\n\r\n"
	w.submit(Submission{Account: 7, From: addr("alice@us.test"), Body: w.pending("Return-Path: <alice@us.test>\r\n" + text),
		EightBit: true}, "bob@alive.test", "bob@old.test", "bob@third.test")
	for i, sink := range sinks {
		m := w.get(sink)
		if converted := strings.Contains(m.body, "quoted-printable"); converted != (i == 1) {
			t.Errorf("sink %d got\n%s", i, m.body)
		}
		if i != 1 && !strings.HasSuffix(m.body, text) || strings.Contains(m.body, "Return-Path") {
			t.Errorf("sink %d got\n%s", i, m.body)
		}
		s.both(t, fmt.Sprint("sink ", i), m.body, w.clock.Now())
		if strings.Contains(m.params, "SIZE=") && !strings.Contains(m.params, fmt.Sprintf("SIZE=%d", len(m.body))) {
			t.Errorf("%s for %d octets", m.params, len(m.body))
		}
	}
	if n := s.asked.Load(); n != 2 {
		t.Errorf("signed %d times, want once for each of two forms", n)
	}
	w.await("done", 1)
	w.empty()
}

// TestNotSigned is M7: what nobody here has written is never signed, whatever its From field says; nor
// is what an account says that is not its own.
func TestNotSigned(t *testing.T) {
	t.Parallel()
	s := newSigner(t)
	w := newWorld(t, func(o *Options) { o.Keys = s.find })
	sink := w.net.listen(t, "192.0.2.1")
	w.run()
	for what, sub := range map[string]Submission{
		"a forward from our own domain": {Origin: envelope.Forward, From: addr("alice@us.test")},
		"from outside":                  {Origin: envelope.Inbound, From: addr("alice@us.test")},
		"of another account":            {Account: 8, From: addr("alice@us.test")},
		"two authors": {Account: 7, From: addr("alice@us.test"),
			Body: w.pending("From: alice@us.test, bob@us.test\r\n\r\nx\r\n")},
		"two From fields": {Account: 7, From: addr("alice@us.test"),
			Body: w.pending("From: alice@us.test\r\nFrom: alice@us.test\r\n\r\nx\r\n")},
		"no author": {Account: 7, From: addr("alice@us.test"), Body: w.pending("Subject: x\r\n\r\nx\r\n")},
		"no end":    {Account: 7, From: addr("alice@us.test"), Body: w.pending("Subject: x\r\n")},
	} {
		w.submit(sub, "bob@alive.test")
		if m := w.get(sink); strings.Contains(m.body, dkim.FieldName) {
			t.Errorf("%s was signed:\n%s", what, m.body)
		}
	}
	// A submission that an alias sends on is still its account's.
	w.submit(Submission{Account: 7, Origin: envelope.Forward, From: addr("alice@us.test")}, "bob@alive.test")
	s.both(t, "forward of a submission", w.get(sink).body, w.clock.Now())
}

// TestNoticeSigned signs what this server says itself.
func TestNoticeSigned(t *testing.T) {
	t.Parallel()
	s := newSigner(t)
	w := newWorld(t, func(o *Options) { o.Keys = s.find })
	sink := w.net.listen(t, "192.0.2.1")
	sink.on(func(stage, arg string) string {
		if stage == "RCPT" && strings.Contains(arg, "nobody") {
			return "550 5.1.1 no such user"
		}
		return ""
	})
	w.run()
	w.submit(Submission{Account: 8, From: addr("friend@alive.test")}, "nobody@alive.test")
	m := w.get(sink)
	if m.from != "<>" && m.from != "" {
		t.Errorf("from %q", m.from)
	}
	s.both(t, "notice", m.body, w.clock.Now())
}

// TestSigningFails: a key that cannot be opened costs the signature, a database that does not answer
// only time.
func TestSigningFails(t *testing.T) {
	t.Parallel()
	s := newSigner(t)
	s.err = fmt.Errorf("open key: %w", kv.ErrCorrupt)
	w := newWorld(t, func(o *Options) { o.Keys = s.find })
	sink := w.net.listen(t, "192.0.2.1")
	w.run()
	w.send("bob@alive.test")
	if m := w.get(sink); strings.Contains(m.body, dkim.FieldName) {
		t.Error("signed without a key")
	}
	w.await("message not signed", 1)
}

func TestSigningWaits(t *testing.T) {
	t.Parallel()
	s := newSigner(t)
	s.err = fmt.Errorf("no answer")
	w := newWorld(t, func(o *Options) { o.Keys = s.find })
	sink := w.net.listen(t, "192.0.2.1")
	w.run()
	id := w.send("bob@alive.test")
	w.await("deferred", 1)
	if r := w.show(id).Recipients[0]; !strings.HasPrefix(r.LastReply, "451") {
		t.Errorf("%+v", r)
	}
	if n := len(sink.taken()); n != 0 {
		t.Errorf("%d messages went out unsigned", n)
	}
}

// BenchmarkSigning is what a message of 4 kB costs.
func BenchmarkSigning(b *testing.B) {
	s := newSigner(b)
	w := newWorld(b, func(o *Options) { o.Keys = s.find })
	body := w.pending(note + strings.Repeat("A line of text as people write them.\r\n", 100))
	w.submit(Submission{Account: 7, From: addr("alice@us.test"), Body: body}, "bob@dead.test")
	j := &job{s: &session{q: w.q}, rec: &record{body: body.Ref(), account: 7}}
	b.ReportAllocs()
	for b.Loop() {
		fields, err := w.q.signing.make(b.Context(), signed{account: 7}, w.clock.Now(), j.wire)
		if err != nil || fields == "" {
			b.Fatal(fields, err)
		}
	}
}

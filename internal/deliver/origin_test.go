package deliver

import (
	"context"
	"net/netip"
	"strings"
	"testing"

	"tram/internal/dns"
	"tram/internal/envelope"
	"tram/internal/smtp"
)

// TestBinaryHeader: BODY=BINARYMIME (RFC 3030 §3) lets bare line ends into the body, never into the header,
// where a program that takes one for the end of a line would find another author, or results of ours.
func TestBinaryHeader(t *testing.T) {
	t.Parallel()
	h := newHouse(t).looking(dns.NewFake(origins))
	for _, c := range []struct {
		header, body string
		ok           bool
	}{
		{"From: a@elsewhere.test\r\nSubject: x\r\n", "a\rb\nc\x00", true},
		{"Subject: x\rFrom: ceo@reject.test\r\nFrom: a@elsewhere.test\r\n", "", false},
		{"From: a@elsewhere.test\r\nX: y\rAuthentication-Results: mx.example.test; dmarc=pass\r\n", "", false},
		{"From: a@elsewhere.test\r\nX: y\nZ: a\r\n", "", false},
		{"From: a@elsewhere.test\r\nX: y\x00\r\n", "", false},
	} {
		env := &envelope.Envelope{
			ID: "trail-1", Origin: envelope.Inbound, Received: h.o.Clock.Now(), Binary: true,
			Client:     envelope.Client{Addr: netip.MustParseAddr("192.0.2.1"), HELO: "mail.elsewhere.test"},
			From:       smtp.Address{Local: "a", Domain: "elsewhere.test"},
			Recipients: []envelope.Recipient{{Address: local("alice")}},
		}
		b := New(h.o).NewBody(context.Background(), env, []byte("Received: x\r\n"))
		_, _ = b.Write([]byte(c.header + "\r\n" + c.body))
		err := b.Finish()
		if err == nil {
			env.Body.Discard()
		}
		if (err == nil) != c.ok || err != nil && !strings.HasPrefix(ReplyOf(err).String(), "550 5.6.0 ") {
			t.Errorf("%q: %v", c.header, err)
		}
	}
}

// TestLimitsElsewhere: a long list of recipients, or a long header of something attached, does not make
// the author doubtful.
func TestLimitsElsewhere(t *testing.T) {
	t.Parallel()
	h := newHouse(t).looking(dns.NewFake(origins))
	many := "To: b@x.test" + strings.Repeat(",\r\n\tsomebody@elsewhere.test", 4000) + "\r\n"
	inner := strings.Repeat("X: y\r\n", 2000)
	for name, text := range map[string]string{
		"recipients": many + letter("a@elsewhere.test"),
		"attached":   "Content-Type: message/rfc822\r\nFrom: a@elsewhere.test\r\n\r\n" + inner + "\r\nHello.\r\n",
	} {
		if _, out := h.receive("a@elsewhere.test", "192.0.2.1", text); !out.OK() {
			t.Errorf("%s: %v", name, out.Reply)
		}
	}
}

package deliver

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"tram/internal/dns"
	"tram/internal/envelope"
	"tram/internal/limits"
	"tram/internal/mailauth/check"
	"tram/internal/smtp"
)

// BenchmarkInbound is a message from outside from its first byte to the mailbox, in memory: what looking
// at its origin and writing the results on top of it costs.
func BenchmarkInbound(b *testing.B) {
	for _, size := range []int{4 << 10, 20 << 10, 1 << 20} {
		for _, looked := range []bool{false, true} {
			b.Run(fmt.Sprintf("%dk/looked=%t", size>>10, looked), func(b *testing.B) {
				h := newHouse(b)
				if looked {
					h.o.Origins.Checker = check.New(check.Options{
						Resolver: none{}, Hostname: h.o.Hostname, Limits: limits.Default().MailAuth, Clock: h.o.Clock,
					})
				}
				benchInbound(b, New(h.o), size)
			})
		}
	}
}

// none is a resolver that knows nothing, at once.
type none struct{ dns.Resolver }

func (none) TXT(context.Context, string) ([]string, dns.Result, error) {
	return nil, dns.Result{}, dns.ErrNoDomain
}

func (none) PTR(context.Context, netip.Addr) ([]string, dns.Result, error) {
	return nil, dns.Result{}, dns.ErrNoDomain
}

func benchInbound(b *testing.B, d *Deliverer, size int) {
	line := strings.Repeat("x", 70) + "\r\n"
	body := []byte(strings.Repeat(line, size/len(line)))
	b.SetBytes(int64(size))
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		env := &envelope.Envelope{
			ID: "trail", Origin: envelope.Inbound, From: smtp.Address{Local: "a", Domain: "elsewhere.test"},
			Recipients: []envelope.Recipient{{Address: local("alice")}},
			Client:     envelope.Client{Addr: netip.MustParseAddr("192.0.2.1"), HELO: "mx.elsewhere.test"},
		}
		w := d.NewBody(context.Background(), env, []byte("Received: by mx.example.test (tram); now\r\n"))
		fmt.Fprintf(w, "From: a@elsewhere.test\r\nSubject: one\r\nMessage-ID: <%d@elsewhere.test>\r\n\r\n", i)
		w.Write(body)
		if err := w.Finish(); err != nil {
			b.Fatal(err)
		}
		out := d.DeliverAll(context.Background(), env)
		if !out.OK() {
			b.Fatal(out.Reply)
		}
		if out.Confirm != nil {
			out.Confirm()
		}
		env.Body.Discard()
	}
}

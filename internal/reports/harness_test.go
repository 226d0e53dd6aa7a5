package reports

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"tram/internal/blob"
	"tram/internal/clock"
	"tram/internal/directory"
	"tram/internal/dns"
	"tram/internal/envelope"
	"tram/internal/kv/memkv"
	"tram/internal/limits"
	"tram/internal/mailauth"
	"tram/internal/message"
	"tram/internal/smtp"
)

// start is a Monday.
var start = time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC)

// world is a house's reports over storage in memory, with a queue that remembers.
type world struct {
	*Reports
	t     *testing.T
	db    *memkv.DB
	blobs *blob.Store
	clock *clock.Fake
	dns   *dns.Fake
	queue *outbox
	o     Options
}

// outbox is a queue. It can refuse, and it can lose its answer.
type outbox struct {
	mu    sync.Mutex
	sent  []*envelope.Envelope
	text  [][]byte
	fail  error // given back
	after bool  // fail after the message was taken
}

func (q *outbox) Forward(ctx context.Context, env *envelope.Envelope) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.fail != nil && !q.after {
		return q.fail
	}
	r := env.Body.Open(ctx)
	defer r.Close()
	b, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	q.sent, q.text = append(q.sent, env), append(q.text, b)
	return q.fail
}

func (q *outbox) Holds(_ context.Context, id string) (bool, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, e := range q.sent {
		if e.ID == id {
			return true, nil
		}
	}
	return false, nil
}

// newWorld has the domains boat.example and shop.example, and the name mx.boat.example.
func newWorld(t *testing.T, edit func(*Options)) *world {
	t.Helper()
	w := &world{t: t, db: memkv.New(), clock: clock.NewFake(start), dns: dns.NewFake(""), queue: &outbox{}}
	w.blobs = blob.New(w.db, blob.Options{Clock: w.clock})
	dir, err := directory.Open(t.Context(), directory.Options{DB: w.db, Pepper: bytes.Repeat([]byte("p"), 32)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := dir.Close(); err != nil {
			t.Error(err)
		}
	})
	for _, name := range []string{"boat.example", "shop.example"} {
		if _, err := dir.AddDomain(t.Context(), name); err != nil {
			t.Fatal(err)
		}
	}
	w.o = Options{DB: w.db, Blobs: w.blobs, Directory: dir, Resolver: w.dns, Queue: w.queue, Clock: w.clock,
		Limits: limits.Default(), Hostname: "mx.boat.example", SendDMARC: true, SendTLS: true, LookUpIcons: true}
	if edit != nil {
		edit(&w.o)
	}
	w.Reports = New(w.o)
	return w
}

// restart makes the room anew over what is stored; what was only in memory is gone.
func (w *world) restart() { w.Reports = New(w.o) }

func pack2(t testing.TB, b []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	z.Write(b)
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func fixtureFile(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.FromSlash(name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// letter is a message with one attachment.
func letter(t testing.TB, from, kind, name string, file []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	d := message.Draft{
		From: []message.Address{{Mailbox: "noreply", Host: from}}, Date: start, MessageID: "<1@" + from + ">",
		To: []message.Address{{Mailbox: DMARCLocal, Host: "boat.example"}}, Subject: "Report",
		Rand: bytes.NewReader(make([]byte, 64)),
		Content: message.Content{Type: "multipart/mixed", Parts: []message.Content{{Text: "A report.\n"},
			{Type: kind, Disposition: "attachment", FileName: name, Body: bytes.NewReader(file)}}},
	}
	if _, err := d.WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// envelope makes an inbound message of bytes. auth says what is known of its author.
func (w *world) envelope(raw []byte, auth *mailauth.Results) *envelope.Envelope {
	w.t.Helper()
	out := w.blobs.Create(w.t.Context())
	if _, err := out.Write(raw); err != nil {
		w.t.Fatal(err)
	}
	body, err := out.Finish()
	if err != nil {
		w.t.Fatal(err)
	}
	return &envelope.Envelope{ID: "trail-1", Origin: envelope.Inbound, Auth: auth, Body: body,
		Message: message.Parse(raw, limits.Default().Message), Received: w.clock.Now(),
		Client: envelope.Client{Addr: netip.MustParseAddr("198.51.100.9")},
		From:   smtp.Address{Local: "noreply", Domain: "google.com"},
		Recipients: []envelope.Recipient{
			{Address: smtp.Address{Local: DMARCLocal, Domain: "boat.example"}},
		}}
}

// authentic is what is known of an author whose domain vouches for him.
func authentic(domain string) *mailauth.Results {
	return &mailauth.Results{FromDomain: domain, DMARC: mailauth.DMARC{Status: mailauth.Pass, Domain: domain}}
}

func forged(domain string) *mailauth.Results {
	return &mailauth.Results{FromDomain: domain, DMARC: mailauth.DMARC{Status: mailauth.Fail, Domain: domain}}
}

// take hands a message over that must be taken.
func (w *world) take(raw []byte, auth *mailauth.Results) {
	w.t.Helper()
	if err := w.Take(w.t.Context(), w.envelope(raw, auth)); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) refused(raw []byte, auth *mailauth.Results) string {
	w.t.Helper()
	err := w.Take(w.t.Context(), w.envelope(raw, auth))
	var reply smtp.Reply
	if !errors.As(err, &reply) || !reply.Permanent() {
		w.t.Errorf("the report was not refused: %v", err)
		return ""
	}
	return reply.Text()
}

func (w *world) dmarcOf(domain string, all bool) DMARCSummary {
	w.t.Helper()
	s, err := w.DMARC(w.t.Context(), Query{Domain: domain, Since: w.clock.Now().AddDate(0, 0, -30), All: all})
	if err != nil {
		w.t.Fatal(err)
	}
	return s
}

func (w *world) tlsOf(domain string) TLSSummary {
	w.t.Helper()
	s, err := w.TLS(w.t.Context(), Query{Domain: domain, Since: w.clock.Now().AddDate(0, 0, -30)})
	if err != nil {
		w.t.Fatal(err)
	}
	return s
}

// send runs the chores at a time.
func (w *world) send(at time.Time) {
	w.t.Helper()
	w.clock.Set(at)
	if err := errors.Join(w.Flush(w.t.Context()), w.Send(w.t.Context())); err != nil {
		w.t.Fatal(err)
	}
}

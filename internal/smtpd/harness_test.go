package smtpd

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"tram/internal/blob"
	"tram/internal/conn"
	"tram/internal/conn/conntest"
	"tram/internal/deliver"
	"tram/internal/directory"
	"tram/internal/envelope"
	"tram/internal/kv"
	"tram/internal/kv/memkv"
	"tram/internal/limits"
	"tram/internal/smtp"
	"tram/internal/store"
)

const password = "correct horse battery"

// house is everything behind the door, real but for the queue, on storage in memory.
type house struct {
	t       testing.TB
	db      *memkv.DB // nil on another engine
	store   *store.Store
	dir     *directory.Directory
	deliver *deliver.Deliverer
	queue   *outbox
	limits  limits.Set
	ids     map[string]store.AccountID
}

// outbox is a queue that only remembers, with the bodies' bytes.
type outbox struct {
	mu   sync.Mutex
	sent []*envelope.Envelope
	text []string
	err  error
}

func (o *outbox) Forward(ctx context.Context, env *envelope.Envelope) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.err != nil {
		return o.err
	}
	r := env.Body.Open(ctx)
	defer r.Close()
	b, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	o.sent, o.text = append(o.sent, env), append(o.text, string(b))
	return nil
}

func (o *outbox) all() ([]*envelope.Envelope, []string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return append([]*envelope.Envelope(nil), o.sent...), append([]string(nil), o.text...)
}

func newHouse(t testing.TB) *house {
	t.Helper()
	db := memkv.New()
	h := newHouseOn(t, db)
	h.db = db
	return h
}

// newHouseOn is newHouse on another engine.
func newHouseOn(t testing.TB, db kv.Database) *house {
	t.Helper()
	h := &house{t: t, queue: &outbox{}, limits: limits.Default(),
		ids: map[string]store.AccountID{}}
	h.limits.Auth.ArgonMemoryKiB, h.limits.Auth.ArgonTime = 64, 1
	h.limits.Auth.SCRAMRounds, h.limits.Auth.Tarpit = 4096, time.Millisecond
	h.limits.SMTP.ErrorsDelay = 0
	h.limits.Conn.PerIP, h.limits.Conn.NewPerMinute, h.limits.Conn.Total = 0, 0, 0
	ctx := context.Background()
	blobs := blob.New(db, blob.Options{})
	var err error
	if h.store, err = store.Open(ctx, store.Options{DB: db, Blobs: blobs}); err != nil {
		t.Fatal(err)
	}
	h.dir, err = directory.Open(ctx, directory.Options{
		DB: db, Pepper: bytes.Repeat([]byte("p"), 32), Limits: h.limits.Auth,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(h.dir.Close(), h.store.Close()); err != nil {
			t.Error(err)
		}
	})
	h.people()
	h.deliver = deliver.New(deliver.Options{
		Store: h.store, Directory: h.dir, Forwarder: h.queue, Hostname: "mx.example.test",
		Limits: h.limits, Full: db.Full,
		Logger: slog.New(slog.NewTextHandler(logWriter{h}, &slog.HandlerOptions{Level: slog.LevelWarn})),
	})
	return h
}

func (h *house) people() {
	h.t.Helper()
	ctx := context.Background()
	if _, err := h.dir.AddDomain(ctx, "example.test"); err != nil {
		h.t.Fatal(err)
	}
	for _, name := range []string{"alice", "bob", "carol", "gone"} {
		a, err := h.dir.AddAccount(ctx, directory.AccountOptions{
			Address:  smtp.Address{Local: name, Domain: "example.test"},
			Password: password, AllowCommonPassword: true, Admin: name == "alice",
		})
		if err != nil {
			h.t.Fatal(err)
		}
		h.ids[name] = store.AccountID(a.ID)
	}
	if err := h.dir.SetDisabled(ctx, directory.AccountID(h.ids["gone"]), true); err != nil {
		h.t.Fatal(err)
	}
	h.alias("team@example.test", "alice@example.test", "bob@example.test")
	h.alias("away@example.test", "someone@elsewhere.test")
	h.alias("both@example.test", "alice@example.test", "someone@elsewhere.test")
}

func (h *house) alias(address string, targets ...string) {
	h.t.Helper()
	a := directory.Alias{Address: address}
	for _, s := range targets {
		to, err := smtp.ParseAddress(s)
		if err != nil {
			h.t.Fatal(err)
		}
		a.Targets = append(a.Targets, to)
	}
	if err := h.dir.AddAlias(context.Background(), a); err != nil {
		h.t.Fatal(err)
	}
}

func (h *house) quota(name string, bytes int64) {
	h.t.Helper()
	err := h.store.SetQuota(context.Background(), h.ids[name], store.Quota{Bytes: bytes})
	if err != nil {
		h.t.Fatal(err)
	}
}

// box returns the messages in a person's mailbox with a role, oldest first.
func (h *house) box(name string, role store.Role) []string {
	h.t.Helper()
	var all []string
	err := h.store.Account(h.ids[name]).View(context.Background(), func(tx *store.Tx) error {
		all = nil
		list, err := tx.List(tx.RoleMailbox(role))
		if err != nil {
			return err
		}
		for i := range list.Len() {
			e, err := tx.Email(list.At(i).Email)
			if err != nil {
				return err
			}
			r := tx.Open(e)
			b, err := io.ReadAll(r)
			if err := errors.Join(err, r.Close()); err != nil {
				return err
			}
			all = append(all, string(b))
		}
		return nil
	})
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		h.t.Fatal(err)
	}
	return all
}

func (h *house) inbox(name string) []string { return h.box(name, store.RoleInbox) }

// stored is the number of messages that all people have.
func (h *house) stored() int {
	n := 0
	for _, id := range h.ids {
		err := h.store.Account(id).View(context.Background(), func(tx *store.Tx) error {
			m, err := tx.Mailbox(tx.RoleMailbox(store.RoleInbox))
			if err == nil {
				n += int(m.Messages)
			}
			return err
		})
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			h.t.Fatal(err)
		}
	}
	return n
}

// bodies counts the rows of message bodies in storage.
func (h *house) bodies() int {
	n := 0
	err := h.db.View(context.Background(), "test", func(r kv.Reader) error {
		n = 0
		return r.Scan(kv.Prefix([]byte("b")), func(_, _ []byte) error {
			n++
			return nil
		})
	})
	if err != nil {
		h.t.Fatal(err)
	}
	return n
}

// door is a listening server.
type door struct {
	h      *house
	addr   net.Addr
	server *conn.Server
}

// open starts a door; change may be nil.
func (h *house) open(mode Mode, change func(*Options, *conn.Options)) *door {
	h.t.Helper()
	o := Options{
		Mode: mode, Hostname: "mx.example.test",
		Directory: h.dir, Deliver: h.deliver, Queue: h.queue, Limits: h.limits,
	}
	cfg, _ := conntest.TLS()
	co := conn.Options{Name: string(mode), TLS: cfg, Limits: h.limits.Conn}
	if mode == LMTP {
		co.TLS = nil
	}
	if change != nil {
		change(&o, &co)
	}
	s := New(o)
	co.Handler, co.Refuse = s.Handle, s.Refuse
	network, address := "tcp", "127.0.0.1:0"
	if mode == LMTP {
		network, address = "unix", filepath.Join(h.t.TempDir(), "lmtp")
	}
	l, err := net.Listen(network, address)
	if err != nil {
		h.t.Fatal(err)
	}
	d := &door{h: h, addr: l.Addr(), server: conn.New(co)}
	served := make(chan error, 1)
	go func() { served <- d.server.Serve(l) }()
	h.t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if err := errors.Join(d.server.Shutdown(ctx), <-served); err != nil {
			h.t.Error(err)
		}
		if n := d.server.Open(); n != 0 {
			h.t.Errorf("%d sessions are still counted", n)
		}
	})
	return d
}

// client speaks to a door line by line.
type client struct {
	t  testing.TB
	nc net.Conn
	r  *bufio.Reader
}

func (d *door) dial() *client {
	d.h.t.Helper()
	nc, err := net.Dial(d.addr.Network(), d.addr.String())
	if err != nil {
		d.h.t.Fatal(err)
	}
	return newClient(d.h.t, nc)
}

func newClient(t testing.TB, nc net.Conn) *client {
	t.Cleanup(func() { nc.Close() })
	if err := nc.SetDeadline(time.Now().Add(60 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return &client{t: t, nc: nc, r: bufio.NewReader(nc)}
}

// hello dials, reads the banner and says EHLO (LHLO).
func (d *door) hello() *client {
	d.h.t.Helper()
	c := d.dial()
	c.want("220")
	if d.addr.Network() == "unix" {
		c.cmd("LHLO client.test", "250")
	} else {
		c.cmd("EHLO client.test", "250")
	}
	return c
}

func (c *client) send(s string) {
	c.t.Helper()
	if _, err := io.WriteString(c.nc, s); err != nil {
		c.t.Fatalf("send %.80q: %v", s, err)
	}
}

// reply reads a whole reply, its lines joined by "\n".
func (c *client) reply() (string, error) {
	var all []string
	for {
		line, err := c.r.ReadString('\n')
		if err != nil {
			return strings.Join(append(all, line), "\n"), err
		}
		if !strings.HasSuffix(line, "\r\n") {
			return line, errors.New("reply without CRLF")
		}
		line = strings.TrimSuffix(line, "\r\n")
		all = append(all, line)
		if len(line) < 4 || line[3] != '-' {
			return strings.Join(all, "\n"), nil
		}
	}
}

// want expects a reply that begins so.
func (c *client) want(prefix string) string {
	c.t.Helper()
	got, err := c.reply()
	if err != nil || !strings.HasPrefix(got, prefix) {
		c.t.Fatalf("got %q, %v, want %q", got, err, prefix)
	}
	return got
}

func (c *client) cmd(line, prefix string) string {
	c.t.Helper()
	c.send(line + "\r\n")
	return c.want(prefix)
}

// wantEnd expects the server to hang up without another word.
func (c *client) wantEnd() {
	c.t.Helper()
	if got, err := c.reply(); err == nil {
		c.t.Fatalf("got %q, want the end", got)
	}
}

func (c *client) startTLS() *client {
	c.t.Helper()
	_, cfg := conntest.TLS()
	conn := tls.Client(c.nc, cfg)
	if err := conn.Handshake(); err != nil {
		c.t.Fatal(err)
	}
	return newClient(c.t, conn)
}

// login makes a submission session of alice's, with TLS.
func (d *door) login(user string) *client {
	d.h.t.Helper()
	c := d.hello()
	c.cmd("STARTTLS", "220")
	c = c.startTLS()
	c.cmd("EHLO client.test", "250")
	c.cmd("AUTH PLAIN "+plain(user, password), "235")
	return c
}

const text = "From: Somebody <sender@elsewhere.test>\r\nTo: alice@example.test\r\n" +
	"Subject: hello\r\nDate: Sat, 1 Aug 2026 10:00:00 +0700\r\n" +
	"Message-ID: <1@elsewhere.test>\r\n\r\nHello.\r\n"

// logWriter shows what the server complains of beside the test's own output.
type logWriter struct{ h *house }

func (w logWriter) Write(p []byte) (int, error) {
	w.h.t.Logf("%s", bytes.TrimRight(p, "\n"))
	return len(p), nil
}

package popd

import (
	"bufio"
	"context"
	"crypto/rand"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"tram/internal/blob"
	"tram/internal/clock"
	"tram/internal/conn"
	"tram/internal/conn/conntest"
	"tram/internal/directory"
	"tram/internal/kv/memkv"
	"tram/internal/limits"
	"tram/internal/smtp"
	"tram/internal/store"
)

const (
	testUser     = "alice@example.test"
	testPassword = "tram-test-mail-password"
)

// house is a running server with what stands behind it.
type house struct {
	t     testing.TB
	o     options
	db    *memkv.DB
	reads *counted
	clock *clock.Fake
	store *store.Store
	dir   *directory.Directory
	alice directory.Account
	srv   atomic.Pointer[Server]
	addr  string // with STLS
}

type options struct {
	measure  bool // log-in in the clear
	conn     limits.Conn
	sessions *conn.Sessions     // nil: of conn
	limits   func(*limits.POP3) // nil: the usual ones
	stall    time.Duration      // of a client that does not read; 0: the usual one
	shallow  bool               // many messages: no body is compared at the end
	log      slog.Handler       // nil: nothing is logged
}

func build(t testing.TB, o options) *house {
	t.Helper()
	ctx := context.Background()
	h := &house{t: t, o: o, db: memkv.New(), clock: clock.NewFake(time.Now())}
	if h.o.sessions == nil {
		h.o.sessions = conn.NewSessions(o.conn)
	}
	h.open()
	a, err := smtp.ParseAddress(testUser)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.dir.AddDomain(ctx, a.Domain); err != nil {
		t.Fatal(err)
	}
	h.alice, err = h.dir.AddAccount(ctx, directory.AccountOptions{Address: a, Password: testPassword})
	if err != nil {
		t.Fatal(err)
	}
	serverTLS, _ := conntest.TLS()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if o.log == nil {
		o.log = slog.DiscardHandler
	}
	s := conn.New(conn.Options{
		Name: "pop3", TLS: serverTLS, Refuse: Refuse, WriteStall: o.stall,
		Handler: func(ctx context.Context, c *conn.Conn) { h.srv.Load().Handle(ctx, c) },
		Logger:  slog.New(o.log),
		Limits:  limits.Conn{Handshake: 10 * time.Second, Drain: 5 * time.Second},
	})
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	h.addr = l.Addr().String()
	t.Cleanup(func() {
		if err := s.Shutdown(ctx); err != nil {
			t.Errorf("shutdown: %v", err)
		}
		if err := <-served; err != nil {
			t.Errorf("serve: %v", err)
		}
		if err := h.store.Check(ctx, store.CheckOptions{Deep: !h.o.shallow}, func(f store.Finding) {
			t.Errorf("found: %+v", f)
		}); err != nil {
			t.Errorf("check: %v", err)
		}
		h.close()
	})
	return h
}

// open opens what is in h.db, and serves it from now on.
func (h *house) open() {
	h.t.Helper()
	ctx := context.Background()
	var err error
	h.reads = &counted{DB: h.db}
	h.store, err = store.Open(ctx, store.Options{
		DB: h.reads, Blobs: blob.New(h.reads, blob.Options{Clock: h.clock}), Clock: h.clock,
	})
	if err != nil {
		h.t.Fatal(err)
	}
	auth := limits.Default().Auth
	auth.ArgonMemoryKiB, auth.ArgonTime, auth.SCRAMRounds, auth.Tarpit = 64, 1, 4096, 0
	h.dir, err = directory.Open(ctx, directory.Options{
		DB: h.db, Clock: h.clock, Rand: rand.Reader, Pepper: []byte(strings.Repeat("pepper", 8)),
		Limits: auth, Measure: h.o.measure,
	})
	if err != nil {
		h.t.Fatal(err)
	}
	l := limits.Default().POP3
	if h.o.limits != nil {
		h.o.limits(&l)
	}
	h.srv.Store(New(Options{
		Store: h.store, Directory: h.dir, Limits: l, Sessions: h.o.sessions, Clock: h.clock,
	}))
}

func (h *house) close() {
	h.t.Helper()
	if err := h.dir.Close(); err != nil {
		h.t.Errorf("close directory: %v", err)
	}
	if err := h.store.Close(); err != nil {
		h.t.Errorf("close store: %v", err)
	}
}

// reopen is open for a database that somebody else has changed.
func (h *house) reopen() {
	h.t.Helper()
	h.close()
	h.open()
}

func (h *house) account() *store.Account { return h.store.Account(store.AccountID(h.alice.ID)) }

// put stores messages in the inbox.
func (h *house) put(texts ...string) {
	h.t.Helper()
	ctx := context.Background()
	for _, text := range texts {
		b := h.store.NewBody(ctx)
		if _, err := b.Write([]byte(text)); err != nil {
			h.t.Fatal(err)
		}
		var o store.AppendOptions
		var err error
		if o.Body, o.Message, err = b.Finish(); err != nil {
			h.t.Fatal(err)
		}
		if err := h.account().Update(ctx, func(tx *store.Tx) error {
			o.Mailboxes = []store.MailboxID{tx.RoleMailbox(store.RoleInbox)}
			_, err := tx.Append(o)
			return err
		}); err != nil {
			h.t.Fatal(err)
		}
	}
}

// client is a POP3 client that speaks lines.
type client struct {
	t testing.TB
	net.Conn
	r *bufio.Reader
}

// dial connects and reads the greeting.
func (h *house) dial() *client {
	h.t.Helper()
	nc, err := net.Dial("tcp", h.addr)
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { nc.Close() })
	c := &client{t: h.t}
	c.use(nc)
	c.expect("+OK Tram ready")
	return c
}

func (c *client) use(nc net.Conn) {
	if err := nc.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		c.t.Fatal(err)
	}
	c.Conn, c.r = nc, bufio.NewReader(nc)
}

// login is dial with a log-in, in the clear: the house is built with measure.
func (h *house) login() *client {
	h.t.Helper()
	c := h.dial()
	c.do("USER "+testUser, "+OK")
	c.do("PASS "+testPassword, "+OK Logged in")
	return c
}

func (c *client) send(lines string) {
	c.t.Helper()
	if _, err := io.WriteString(c, lines); err != nil {
		c.t.Fatal(err)
	}
}

func (c *client) line() string {
	c.t.Helper()
	s, err := c.r.ReadString('\n')
	if err != nil || !strings.HasSuffix(s, "\r\n") {
		c.t.Fatalf("read %q: %v", s, err)
	}
	return strings.TrimSuffix(s, "\r\n")
}

// expect reads a line that begins with want.
func (c *client) expect(want string) string {
	c.t.Helper()
	got := c.line()
	if !strings.HasPrefix(got, want) {
		c.t.Fatalf("got %q, want %q", got, want)
	}
	return got
}

// do sends a command and expects a reply.
func (c *client) do(command, want string) string {
	c.t.Helper()
	c.send(command + "\r\n")
	return c.expect(want)
}

// multi sends a command and returns the lines of its multi-line reply, the dots undone.
func (c *client) multi(command string) []string {
	c.t.Helper()
	c.do(command, "+OK")
	return c.lines()
}

func (c *client) lines() (all []string) {
	c.t.Helper()
	for {
		l := c.line()
		if l == "." {
			return all
		}
		all = append(all, strings.TrimPrefix(l, "."))
	}
}

// closed expects the end of the connection.
func (c *client) closed() {
	c.t.Helper()
	if b, err := c.r.ReadByte(); err == nil {
		c.t.Fatalf("the session goes on with %q", b)
	}
}

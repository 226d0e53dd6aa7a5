package imapd

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"tram/internal/blob"
	"tram/internal/clock"
	"tram/internal/conn"
	"tram/internal/conn/conntest"
	"tram/internal/directory"
	"tram/internal/imap"
	"tram/internal/kv"
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
	db    *memkv.DB
	store *store.Store
	dir   *directory.Directory
	alice directory.Account
	clear string // address of the listener with STARTTLS
	tls   string // address of the listener under TLS
	srv   *Server
	conns *conn.Server
	log   *slog.Logger
}

// options change how a house is built.
type options struct {
	limits  func(*limits.IMAP)
	conn    limits.Conn
	measure bool // log-in in the clear
	clock   clock.Clock
	storage limits.Storage
	errors  bool // errors in the log are part of the test
	twice   bool // each transaction's function runs twice, as it may
	// between stands between the store and its database.
	between func(kv.Database) kv.Database
}

// complain fails the test for each error that is logged, a panic among them.
type complain struct {
	slog.Handler
	t       testing.TB
	allowed bool
}

func (c complain) Enabled(_ context.Context, l slog.Level) bool { return l >= slog.LevelError }

func (c complain) Handle(_ context.Context, r slog.Record) error {
	if !c.allowed {
		var attrs []string
		r.Attrs(func(a slog.Attr) bool { attrs = append(attrs, a.String()); return true })
		c.t.Errorf("logged: %s %v", r.Message, attrs)
	}
	return nil
}

func (c complain) WithAttrs([]slog.Attr) slog.Handler { return c }
func (c complain) WithGroup(string) slog.Handler      { return c }

// build starts a server on memory drivers.
func build(t testing.TB, o options) *house {
	t.Helper()
	ctx := context.Background()
	db := memkv.New()
	db.SetTwice(o.twice)
	if o.clock == nil {
		o.clock = clock.System
	}
	var under kv.Database = db
	if o.between != nil {
		under = o.between(db)
	}
	blobs := blob.New(under, blob.Options{Clock: o.clock})
	st, err := store.Open(ctx, store.Options{
		DB: under, Blobs: blobs, Clock: o.clock, Limits: o.storage,
	})
	if err != nil {
		t.Fatal(err)
	}
	auth := limits.Default().Auth
	auth.ArgonMemoryKiB, auth.ArgonTime, auth.SCRAMRounds, auth.Tarpit = 64, 1, 4096, 0
	dir, err := directory.Open(ctx, directory.Options{
		DB: db, Clock: o.clock, Rand: rand.Reader, Pepper: []byte(strings.Repeat("pepper", 8)),
		Limits: auth, Measure: o.measure,
	})
	if err != nil {
		t.Fatal(err)
	}
	h := &house{t: t, db: db, store: st, dir: dir}
	h.alice = h.person(testUser)
	h.log = slog.New(complain{t: t, allowed: o.errors})
	l := limits.Default().IMAP
	if o.limits != nil {
		o.limits(&l)
	}
	h.srv = New(Options{
		Store: st, Directory: dir, Limits: l, Sessions: conn.NewSessions(o.conn), Clock: o.clock, Version: "test",
		Logger: h.log,
	})
	serverTLS, _ := conntest.TLS()
	t.Cleanup(func() { // after the listeners' end, which is registered later
		check := store.CheckOptions{Deep: true}
		if err := st.Check(ctx, check, func(f store.Finding) {
			if !o.errors {
				t.Errorf("found: %+v", f)
			}
		}); err != nil {
			t.Errorf("check: %v", err)
		}
		if err := dir.Close(); err != nil {
			t.Errorf("close directory: %v", err)
		}
		if err := st.Close(); err != nil {
			t.Errorf("close store: %v", err)
		}
	})
	h.clear = h.serve(conn.Options{Name: "imap", TLS: serverTLS})
	h.tls = h.serve(conn.Options{Name: "imaps", TLS: serverTLS, Implicit: true})
	return h
}

// person adds an account.
func (h *house) person(name string) directory.Account {
	h.t.Helper()
	ctx := context.Background()
	addr, err := smtp.ParseAddress(name)
	if err != nil {
		h.t.Fatal(err)
	}
	if _, err := h.dir.Domain(ctx, addr.Domain); err != nil {
		if _, err := h.dir.AddDomain(ctx, addr.Domain); err != nil {
			h.t.Fatal(err)
		}
	}
	a, err := h.dir.AddAccount(ctx, directory.AccountOptions{Address: addr, Password: testPassword})
	if err != nil {
		h.t.Fatal(err)
	}
	return a
}

func (h *house) serve(o conn.Options) string {
	h.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		h.t.Fatal(err)
	}
	o.Handler, o.Refuse, o.Logger = h.srv.Handle, Refuse, h.log
	o.Limits = limits.Conn{Handshake: 10 * time.Second, Drain: 5 * time.Second}
	s := conn.New(o)
	h.conns = s
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	h.t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if err := s.Shutdown(ctx); err != nil {
			h.t.Errorf("shutdown: %v", err)
		}
		if err := <-served; err != nil {
			h.t.Errorf("serve: %v", err)
		}
	})
	return l.Addr().String()
}

// account returns alice's mail.
func (h *house) account() *store.Account { return h.store.Account(store.AccountID(h.alice.ID)) }

// client connects under TLS and logs in.
func (h *house) client() *imap.Client {
	h.t.Helper()
	c := h.dial()
	if err := c.Login(testUser, testPassword); err != nil {
		h.t.Fatal(err)
	}
	return c
}

// dial connects under TLS.
func (h *house) dial() *imap.Client {
	h.t.Helper()
	_, clientTLS := conntest.TLS()
	c, err := imap.Dial(context.Background(), h.tls, imap.ClientOptions{TLS: clientTLS})
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { c.Close() })
	if err := c.Conn().SetDeadline(time.Now().Add(time.Minute)); err != nil {
		h.t.Fatal(err)
	}
	return c
}

// do runs a command that must succeed.
func do(t testing.TB, c *imap.Client, parts ...any) *imap.Reply {
	t.Helper()
	r, err := c.Do(parts...)
	if err != nil {
		t.Fatalf("%v: %v", parts[0], err)
	}
	return r
}

// mail is the n-th of the messages that tests store.
func mail(n int) string {
	return fmt.Sprintf("Date: Mon, 7 Feb 2026 21:52:%02d +0700\r\n"+
		"From: Sender %d <sender%d@example.com>\r\nTo: %s\r\nSubject: Message %d\r\n"+
		"Message-ID: <%d@example.com>\r\n\r\nBody of message %d.\r\n", n%60, n, n, testUser, n, n, n)
}

// fill puts n messages into a mailbox, straight into the store.
func (h *house) fill(mailbox string, from, n int) {
	h.t.Helper()
	for n > 0 {
		batch := min(n, 500)
		h.fillBatch(mailbox, from, batch)
		from, n = from+batch, n-batch
	}
}

func (h *house) fillBatch(mailbox string, from, n int) {
	h.t.Helper()
	ctx := context.Background()
	var messages []store.AppendOptions
	for i := range n {
		b := h.store.NewBody(ctx)
		if _, err := b.Write([]byte(mail(from + i))); err != nil {
			h.t.Fatal(err)
		}
		var o store.AppendOptions
		var err error
		if o.Body, o.Message, err = b.Finish(); err != nil {
			h.t.Fatal(err)
		}
		o.Received = time.Date(2026, 2, 7, 15, 0, 0, 0, time.UTC).Add(time.Duration(from+i) * time.Second)
		messages = append(messages, o)
	}
	err := h.account().Update(ctx, func(tx *store.Tx) error {
		m, err := tx.MailboxByName(mailbox)
		if err != nil {
			return err
		}
		for _, o := range messages {
			o.Mailboxes = []store.MailboxID{m.ID}
			if _, err := tx.Append(o); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		h.t.Fatal(err)
	}
}

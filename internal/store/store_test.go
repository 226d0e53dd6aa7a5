package store

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"tram/internal/blob"
	"tram/internal/clock"
	"tram/internal/kv"
	"tram/internal/kv/memkv"
	"tram/internal/limits"
	"tram/internal/message"
)

// epoch is when tests begin.
var epoch = time.Date(2026, 3, 1, 8, 0, 0, 0, time.UTC)

// house is a store for a test, on a database that can be crashed.
type house struct {
	t     testing.TB
	db    kv.Database
	blobs *blob.Store
	clock *clock.Fake
	store *Store
	limit limits.Storage
	index bool
}

// newHouse returns a store on memkv. When the test ends every invariant of it is checked.
func newHouse(t testing.TB) *house {
	t.Helper()
	db := memkv.New()
	db.SetTwice(true) // every transaction function must bear a second run
	return openHouse(t, db)
}

func openHouse(t testing.TB, db kv.Database) *house {
	t.Helper()
	h := &house{
		t: t, db: db, clock: clock.NewFake(epoch), limit: limits.Default().Storage,
	}
	h.open()
	t.Cleanup(func() { h.check() })
	return h
}

// open makes the store, anew when it was open.
func (h *house) open() {
	h.t.Helper()
	h.blobs = blob.New(h.db, blob.Options{Clock: h.clock})
	s, err := Open(context.Background(), Options{
		DB: h.db, Blobs: h.blobs, Clock: h.clock, Limits: h.limit, NoIndex: !h.index,
		Logger: slog.New(slog.NewTextHandler(testWriter{h.t}, nil)),
	})
	if err != nil {
		h.t.Fatal(err)
	}
	h.store = s
}

type testWriter struct{ t testing.TB }

func (w testWriter) Write(p []byte) (int, error) {
	w.t.Log(strings.TrimSuffix(string(p), "\n"))
	return len(p), nil
}

// check reports every finding of a deep Check as an error.
func (h *house) check() {
	h.t.Helper()
	for _, f := range h.findings() {
		h.t.Errorf("check: %+v", f)
	}
}

func (h *house) findings() []Finding {
	h.t.Helper()
	var out []Finding
	err := h.store.Check(context.Background(), CheckOptions{Deep: true}, func(f Finding) {
		out = append(out, f)
	})
	if err != nil {
		h.t.Errorf("check: %v", err)
	}
	return out
}

// body writes text, which has LF line ends, as a message.
func (h *house) body(text string) (*blob.Pending, *message.Message) {
	h.t.Helper()
	text = strings.ReplaceAll(text, "\n", "\r\n")
	w := h.blobs.Create(context.Background())
	if _, err := w.Write([]byte(text)); err != nil {
		h.t.Fatal(err)
	}
	p, err := w.Finish()
	if err != nil {
		h.t.Fatal(err)
	}
	m := message.Parse([]byte(text), limits.Default().Message)
	if err := measure(m, strings.NewReader(text)); err != nil {
		h.t.Fatal(err)
	}
	return p, m
}

// mail returns a small message with a subject and a message identifier made from n.
func mail(n int, lines ...string) string {
	return fmt.Sprintf("From: Alice <alice@example.test>\nTo: Bob <bob@example.test>\n"+
		"Subject: Letter %d\nDate: Sun, 1 Mar 2026 09:%02d:00 +0700\nMessage-ID: <%d@example.test>\n"+
		"%s\nBody of letter %d.\n", n, n%60, n, strings.Join(append(lines, ""), "\n"), n)
}

// update runs fn in a transaction of account 1 that must succeed.
func (h *house) update(fn func(tx *Tx) error) {
	h.t.Helper()
	if err := h.store.Account(1).Update(context.Background(), fn); err != nil {
		h.t.Fatal(err)
	}
}

func (h *house) view(fn func(tx *Tx) error) {
	h.t.Helper()
	if err := h.store.Account(1).View(context.Background(), fn); err != nil {
		h.t.Fatal(err)
	}
}

// append stores a message in mailboxes of account 1.
func (h *house) append(text string, boxes ...MailboxID) Appended {
	h.t.Helper()
	return h.appendWith(AppendOptions{Mailboxes: boxes}, text)
}

func (h *house) appendWith(o AppendOptions, text string) (done Appended) {
	h.t.Helper()
	o.Body, o.Message = h.body(text)
	h.update(func(tx *Tx) (err error) {
		done, err = tx.Append(o)
		return err
	})
	return done
}

// inbox returns the identifier of INBOX of account 1.
func (h *house) inbox() (id MailboxID) {
	h.t.Helper()
	h.view(func(tx *Tx) error {
		id = tx.RoleMailbox(RoleInbox)
		return nil
	})
	return id
}

// create makes a mailbox.
func (h *house) create(name string) (id MailboxID) {
	h.t.Helper()
	h.update(func(tx *Tx) error {
		m, err := tx.CreateMailbox(name, CreateOptions{})
		if err == nil {
			id = m.ID
		}
		return err
	})
	return id
}

func (h *house) list(id MailboxID) (l *List) {
	h.t.Helper()
	h.view(func(tx *Tx) (err error) {
		l, err = tx.List(id)
		return err
	})
	return l
}

func (h *house) mailbox(id MailboxID) (m *Mailbox) {
	h.t.Helper()
	h.view(func(tx *Tx) (err error) {
		m, err = tx.Mailbox(id)
		return err
	})
	return m
}

// seeded returns a generator whose seed is printed when the test fails.
func seeded(t testing.TB, seed uint64) *rand.Rand {
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("seed %d", seed)
		}
	})
	return rand.New(rand.NewPCG(seed, 1))
}

func uidsOf(l *List) []UID {
	var out []UID
	for _, e := range l.Entries(0, l.Len()) {
		out = append(out, e.UID)
	}
	return out
}

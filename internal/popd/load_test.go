package popd

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"tram/internal/kv"
	"tram/internal/kv/memkv"
	"tram/internal/limits"
	"tram/internal/store"
)

// counted counts the rows of messages that are read: email rows, state rows and bodies. With refuses
// set, it takes no change.
type counted struct {
	*memkv.DB
	rows    atomic.Int64
	refuses atomic.Bool
}

// Update implements kv.Database.
func (c *counted) Update(ctx context.Context, scope kv.Scope, fn func(kv.Txn) error) error {
	return c.DB.Update(ctx, scope, func(w kv.Txn) error {
		if err := fn(w); err != nil || !c.refuses.Load() {
			return err
		}
		return errors.New("the disk takes nothing")
	})
}

// View implements kv.Database.
func (c *counted) View(ctx context.Context, scope kv.Scope, fn func(kv.Reader) error) error {
	return c.DB.View(ctx, scope, func(r kv.Reader) error { return fn(countedReader{r, c}) })
}

type countedReader struct {
	kv.Reader
	c *counted
}

func (r countedReader) note(key []byte) {
	if key[0] == 'b' || key[0] == 's' && (key[9] == 'e' || key[9] == 'f') {
		r.c.rows.Add(1)
	}
}

// Get implements kv.Reader.
func (r countedReader) Get(key []byte) ([]byte, error) {
	r.note(key)
	return r.Reader.Get(key)
}

// Scan implements kv.Reader.
func (r countedReader) Scan(of kv.Range, fn func(key, value []byte) error) error {
	return r.Reader.Scan(of, func(key, value []byte) error {
		r.note(key)
		return fn(key, value)
	})
}

var many = flag.Int("popd.many", 10_000, "messages of TestManyMessages; 100000 is the promise")

// TestManyMessages: a maildrop of 100,000 messages is listed from the hot list, and not one message
// is looked at; a second program costs no more.
func TestManyMessages(t *testing.T) {
	t.Parallel()
	n := *many
	h := build(t, options{measure: true, shallow: true})
	size := h.fill(n)
	h.reopen()
	for range 2 {
		c := h.login()
		c.do("STAT", fmt.Sprintf("+OK %d %d", n, n*size))
		for _, command := range []string{"LIST", "UIDL"} {
			lines := c.multi(command)
			if len(lines) != n || !strings.HasPrefix(lines[n-1], fmt.Sprint(n, " ")) {
				t.Errorf("%s: %d lines, the last %q", command, len(lines), lines[len(lines)-1])
			}
		}
		c.do(fmt.Sprintf("UIDL %d", n), "+OK")
		if got := h.reads.rows.Load(); got != 0 {
			t.Errorf("%d rows of messages were read", got)
		}
	}
	c := h.login()
	c.multi("RETR 7")
	if h.reads.rows.Load() == 0 {
		t.Error("RETR reads nothing: the test counts nothing")
	}
}

// fill puts n messages of one size into the inbox.
func (h *house) fill(n int) (size int) {
	h.t.Helper()
	text := func(i int) string { return fmt.Sprintf("Subject: letter %06d\r\n\r\nHello.\r\n", i) }
	const batch = 2000
	for from := 0; from < n; from += batch {
		all := make([]store.AppendOptions, min(batch, n-from))
		for i := range all {
			b := h.store.NewBody(context.Background())
			_, err := b.Write([]byte(text(from + i)))
			if err == nil {
				all[i].Body, all[i].Message, err = b.Finish()
			}
			if err != nil {
				h.t.Fatal(err)
			}
		}
		h.update(func(tx *store.Tx) error {
			inbox := []store.MailboxID{tx.RoleMailbox(store.RoleInbox)}
			for _, o := range all {
				o.Mailboxes = inbox
				if _, err := tx.Append(o); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return len(text(0))
}

// drip sends bytes one by one until the server ends the connection, without ever ending a line.
func drip(t *testing.T, c net.Conn, said io.Reader) string {
	t.Helper()
	rest := make(chan string, 1)
	go func() {
		b, _ := io.ReadAll(said)
		rest <- string(b)
	}()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case b := <-rest:
			return b
		case <-tick.C:
			_, _ = c.Write([]byte("x")) // its error is the reader's end
		}
	}
}

// TestSlowWriters is reliability O1: whoever sends a byte now and then, before log-in or after it, has
// a time of his own and not that of each byte; and his place is free again.
func TestSlowWriters(t *testing.T) {
	t.Parallel()
	h := build(t, options{measure: true, conn: limits.Conn{PerUser: 1}, limits: func(l *limits.POP3) {
		l.PreAuthIdle, l.WriteStall = 300*time.Millisecond, 300*time.Millisecond
	}})
	c := h.dial()
	drip(t, c, c.r)
	c = h.login()
	drip(t, c, c.r)
	h.freed()
}

// freed waits until the one session that the account may have can be had.
func (h *house) freed() {
	h.t.Helper()
	for {
		c := h.dial()
		c.do("USER "+testUser, "+OK")
		c.send("PASS " + testPassword + "\r\n")
		said := c.line()
		if strings.HasPrefix(said, "+OK") {
			c.do("QUIT", "+OK")
			c.closed() // this session's place is free as well
			return
		}
		c.Close()
		if !strings.HasPrefix(said, "-ERR [SYS/TEMP] Too many sessions") {
			h.t.Fatal(said)
		}
	}
}

// TestSlowReaders: who asks for mail and does not read it loses the connection, and what he had
// deleted stays; his place is free again.
func TestSlowReaders(t *testing.T) {
	t.Parallel()
	h := build(t, options{
		measure: true, conn: limits.Conn{PerUser: 1}, stall: 300 * time.Millisecond,
	})
	h.put("Subject: big\r\n\r\n" + strings.Repeat(strings.Repeat("x", 78)+"\r\n", 200_000))
	c := h.login()
	c.do("DELE 1", "+OK")
	c.do("RSET", "+OK")
	c.send("RETR 1\r\nDELE 1\r\nQUIT\r\n")
	h.freed()
	c.Close()
	c = h.login()
	c.do("STAT", "+OK 1 ")
}

// TestEndlessLine is reliability P6: a line without end ends the session, before log-in and after it.
func TestEndlessLine(t *testing.T) {
	t.Parallel()
	h := build(t, options{measure: true})
	for _, c := range []*client{h.dial(), h.login()} {
		go func() { // the server may close before it has taken all
			_, _ = io.WriteString(c, strings.Repeat("x", 1<<20))
		}()
		c.expect("-ERR Command line too long")
		c.closed()
	}
}

// TestClientLeaves: who hangs up in the middle of a log-in or of a message is no failure of the
// server's, and the log has no error.
func TestClientLeaves(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	t.Cleanup(func() { // after the server's end
		if got := log.String(); strings.Contains(got, "ERROR") || strings.Count(got, "reason=disconnected") != 1 {
			t.Error(got)
		}
	})
	h := build(t, options{
		measure: true, conn: limits.Conn{PerUser: 1}, log: slog.NewTextHandler(&log, nil),
	})
	h.put("Subject: big\r\n\r\n" + strings.Repeat(strings.Repeat("x", 78)+"\r\n", 200_000))
	c := h.dial()
	c.do("AUTH PLAIN", "+ ")
	c.Close()
	c = h.login()
	c.do("RETR 1", "+OK")
	c.Close()
}

// TestCodes: what response codes say is so (RFC 2449 §8, RFC 3206 §3): a log-in too many from an
// address that guesses is a matter of time and not of the password.
func TestCodes(t *testing.T) {
	t.Parallel()
	h := build(t, options{measure: true})
	for _, known := range refusals {
		switch code := known.code; code {
		case "", "AUTH", "SYS/TEMP", "SYS/PERM":
		default:
			t.Errorf("%v is told as %s", known.err, code)
		}
	}
	c := h.dial()
	c.do("AUTH SCRAM-SHA-256 "+"bm90IHNjcmFt", "-ERR Malformed")
	c.do("AUTH SCRAM-SHA-256 =", "-ERR Malformed")
	c.do("LANG fr", "-ERR No such language")
	c.do("USER "+testUser, "+OK")
	c.do("PASS wrong", "-ERR [AUTH] ")
	if err := h.dir.SetDisabled(t.Context(), h.alice.ID, true); err != nil {
		t.Fatal(err)
	}
	c.do("USER "+testUser, "+OK")
	c.do("PASS "+testPassword, "-ERR [AUTH] ")
}

// TestMechanisms: CAPA and AUTH name the mechanisms of the directory, which are those of all doors.
func TestMechanisms(t *testing.T) {
	t.Parallel()
	h := build(t, options{measure: true})
	want := h.dir.Mechanisms(false)
	c := h.dial()
	if got := c.multi("AUTH"); strings.Join(got, " ") != strings.Join(want, " ") {
		t.Errorf("AUTH: %q, want %q", got, want)
	}
	found := false
	for _, l := range c.multi("CAPA") {
		found = found || l == "SASL "+strings.Join(want, " ")
	}
	if !found || len(want) == 0 {
		t.Errorf("CAPA does not name %q", want)
	}
}

package conn

import (
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"tram/internal/conn/conntest"
)

// logTo returns a logger that writes text to w, which the test reads when the server is down.
func logTo(w io.Writer) *slog.Logger {
	return slog.New(slog.NewTextHandler(&locked{w: w}, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

type locked struct {
	mu sync.Mutex
	w  io.Writer
}

func (l *locked) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
}

func TestStartTLS(t *testing.T) {
	t.Parallel()
	cfg, _ := conntest.TLS()
	_, addr := start(t, Options{Handler: echo, TLS: cfg})
	c := dial(t, addr)
	c.send("before\r\nstarttls\r\n") // the group's last command
	c.want("before")
	c.want("go")
	c = c.startTLS()
	c.send("after\r\nstill\r\n")
	c.want("after")
	c.want("still")
	c.send("starttls\r\n") // a second time: ErrNoTLS ends the session
	c.want("go")
	c.wantEnd()
}

func TestImplicitTLS(t *testing.T) {
	t.Parallel()
	cfg, trust := conntest.TLS()
	_, addr := start(t, Options{Handler: echo, TLS: cfg, Implicit: true})
	nc, err := tls.Dial("tcp", addr, trust)
	if err != nil {
		t.Fatal(err)
	}
	c := newClient(t, nc)
	line := strings.Repeat("x", 900) + "\r\n"
	c.send(strings.Repeat(line, 100))
	for range 100 {
		c.want(line[:900])
	}
	c.send("quit\r\n")
	c.want("bye")
	if _, err := c.r.ReadByte(); err != io.EOF {
		t.Errorf("no close_notify: %v", err)
	}
}

// TestInjection is P2 of the reliability table (RFC 3207 §4.2): a command in the same segment as
// STARTTLS is neither executed nor answered, before or after a handshake.
func TestInjection(t *testing.T) {
	t.Parallel()
	cfg, _ := conntest.TLS()
	_, addr := start(t, Options{Handler: echo, TLS: cfg})
	for _, after := range []string{"injected\r\n", "x", "\r\n", "\x16\x03\x01"} {
		c := dial(t, addr)
		c.send("starttls\r\n" + after)
		c.wantEnd()
	}
	// In a segment of its own, before the handshake, it is what TLS makes of it: an error.
	c := dial(t, addr)
	c.send("starttls\r\n")
	c.want("go")
	c.send("injected\r\n")
	if got, _ := io.ReadAll(c.r); strings.Contains(string(got), "injected") {
		t.Errorf("executed: %q", got)
	}
}

// TestCloseNotify is P4: after the client's close_notify nothing is read any more, in the clear
// least of all.
func TestCloseNotify(t *testing.T) {
	t.Parallel()
	cfg, _ := conntest.TLS()
	ended := make(chan error, 1)
	_, addr := start(t, Options{TLS: cfg, Handler: func(ctx context.Context, c *Conn) {
		if c.Wait() != nil {
			return
		}
		c.Discard(c.Buffered())
		c.WriteString("go\r\n")
		if err := c.StartTLS(ctx); err != nil {
			ended <- err
			return
		}
		_, err := io.ReadFull(c, make([]byte, 10)) // as in BDAT 10
		ended <- err
		if _, err := c.ReadLine(100); err == nil {
			t.Error("a line was read after the end of TLS")
		}
	}})
	c := dial(t, addr)
	raw := c.Conn
	c.send("x")
	c.want("go")
	c = c.startTLS()
	c.send("12345")
	if err := c.Conn.(*tls.Conn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	raw.Write([]byte("6789012\r\nRSET\r\n"))
	if err := <-ended; err != io.ErrUnexpectedEOF {
		t.Errorf("the read ended with %v", err)
	}
}

// TestWebClient: a browser that was made to connect to a mail port is turned away in the handshake.
func TestWebClient(t *testing.T) {
	t.Parallel()
	cfg, trust := conntest.TLS()
	_, addr := start(t, Options{Handler: echo, TLS: cfg, Implicit: true})
	for _, protos := range [][]string{{"h2"}, {"h2", "http/1.1"}, {"smtp", "http/1.1"}} {
		web := trust.Clone()
		web.NextProtos = protos
		if nc, err := tls.Dial("tcp", addr, web); err == nil {
			nc.Close()
			t.Errorf("%v was served", protos)
		}
	}
}

// TestHandshakeFlood is O5: clients that say hello and vanish hold no place; clients that say
// nothing are closed in time.
func TestHandshakeFlood(t *testing.T) {
	t.Parallel()
	cfg, trust := conntest.TLS()
	l := testLimits()
	l.Handshake = 300 * time.Millisecond
	shared := NewShared(SharedOptions{Handshakes: 1})
	_, addr := start(t, Options{
		Handler: echo, TLS: cfg, Implicit: true, Limits: l, Shared: shared,
	})
	for range 20 {
		nc, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		hello := &hold{Conn: nc}
		go tls.Client(hello, trust).Handshake() // it waits for an answer it never reads
	}
	silent := dial(t, addr)
	nc, err := tls.Dial("tcp", addr, trust)
	if err != nil {
		t.Fatalf("handshake beside abandoned ones: %v", err)
	}
	c := newClient(t, nc)
	c.send("hello\r\n")
	c.want("hello")
	silent.wantEnd()
}

// hold is a client that never reads.
type hold struct {
	net.Conn
}

func (h *hold) Read([]byte) (int, error) { select {} }

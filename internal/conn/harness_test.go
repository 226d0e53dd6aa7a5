package conn

import (
	"bufio"
	"context"
	"crypto/tls"
	"net"
	"testing"
	"time"

	"tram/internal/conn/conntest"
	"tram/internal/limits"
)

// testLimits are generous, so that a test sees only the limit it sets.
func testLimits() limits.Conn {
	return limits.Conn{
		Handshake: 10 * time.Second, ProxyHeader: 5 * time.Second, Drain: 5 * time.Second,
	}
}

// start serves o on a loopback port until the test ends.
func start(t *testing.T, o Options) (*Server, string) {
	t.Helper()
	if o.Limits == (limits.Conn{}) {
		o.Limits = testLimits()
	}
	if o.Name == "" {
		o.Name = t.Name()
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := New(o)
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if err := s.Shutdown(ctx); err != nil {
			t.Errorf("shutdown: %v", err)
		}
		if err := <-served; err != nil {
			t.Errorf("serve: %v", err)
		}
		if n := s.Open(); n != 0 {
			t.Errorf("%d connections are still counted", n)
		}
	})
	return s, l.Addr().String()
}

// client is the test's end of a connection.
type client struct {
	net.Conn
	t *testing.T
	r *bufio.Reader
}

func dial(t *testing.T, addr string) *client {
	t.Helper()
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	return newClient(t, nc)
}

func newClient(t *testing.T, nc net.Conn) *client {
	t.Helper()
	t.Cleanup(func() { nc.Close() })
	if err := nc.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return &client{Conn: nc, t: t, r: bufio.NewReader(nc)}
}

func (c *client) send(s string) {
	c.t.Helper()
	if _, err := c.Write([]byte(s)); err != nil {
		c.t.Fatalf("send %q: %v", s, err)
	}
}

func (c *client) want(line string) {
	c.t.Helper()
	got, err := c.r.ReadString('\n')
	if err != nil || got != line+"\r\n" {
		c.t.Fatalf("got %q, %v, want %q", got, err, line)
	}
}

// wantEnd expects the server to close without another word.
func (c *client) wantEnd() {
	c.t.Helper()
	if got, err := c.r.ReadByte(); err == nil {
		rest, _ := c.r.Peek(c.r.Buffered())
		c.t.Fatalf("got %q, want the end", string(got)+string(rest))
	}
}

// startTLS makes the client speak TLS on the same connection.
func (c *client) startTLS() *client {
	c.t.Helper()
	_, cfg := conntest.TLS()
	conn := tls.Client(c.Conn, cfg)
	if err := conn.Handshake(); err != nil {
		c.t.Fatal(err)
	}
	return newClient(c.t, conn)
}

// echo is a small protocol: each line comes back; "starttls" begins TLS; "quit" ends; "panic" does.
func echo(ctx context.Context, c *Conn) {
	for {
		if err := c.Wait(); err != nil {
			if err == ErrDraining {
				c.WriteString("bye\r\n")
			}
			return
		}
		line, err := c.ReadLine(1000)
		switch {
		case err == ErrBareLF || err == ErrBareCR || err == ErrLineTooLong:
			c.WriteString(err.Error() + "\r\n")
			continue
		case err != nil:
			return
		}
		switch string(line) {
		case "quit":
			c.WriteString("bye\r\n")
			return
		case "panic":
			panic("a handler's fault")
		case "starttls":
			c.WriteString("go\r\n")
			if c.StartTLS(ctx) != nil {
				return
			}
		default:
			c.Write(append(append(c.AvailableBuffer(), line...), "\r\n"...))
		}
	}
}

// Package filtertest is what the tests of all clients of filters share: servers that are there for one
// test, and the ways in which a filter fails.
//
// A client under test must make an error of each of [Faults]; none of them may count as an answer.
package filtertest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"tram/internal/scan/filter"
)

// Serve answers connections with handle until the test ends, over TCP.
func Serve(t testing.TB, handle func(net.Conn)) filter.Address {
	t.Helper()
	return serve(t, "tcp", "127.0.0.1:0", handle)
}

// ServeUnix is Serve over a unix socket.
func ServeUnix(t testing.TB, handle func(net.Conn)) filter.Address {
	t.Helper()
	dir, err := os.MkdirTemp("", "ft") // a socket's path may have a hundred bytes
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return serve(t, "unix", filepath.Join(dir, "s"), handle)
}

func serve(t testing.TB, network, address string, handle func(net.Conn)) filter.Address {
	t.Helper()
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	var (
		wait  sync.WaitGroup
		mu    sync.Mutex
		conns []net.Conn
	)
	wait.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				if !errors.Is(err, net.ErrClosed) {
					t.Error(err)
				}
				return
			}
			mu.Lock()
			conns = append(conns, c)
			mu.Unlock()
			wait.Go(func() {
				defer c.Close()
				handle(c)
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		mu.Lock()
		for _, c := range conns {
			c.Close()
		}
		mu.Unlock()
		wait.Wait()
	})
	return filter.ParseAddress(l.Addr().String())
}

// Drain reads until the other side is done.
func Drain(c net.Conn) { _, _ = io.Copy(io.Discard, c) }

// Reset ends a connection with RST.
func Reset(c net.Conn) {
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	c.Close()
}

// patience is how long a server may hang before a test gives it up.
const patience = 20 * time.Millisecond

// Serve serves the fault. The context is the one to ask with: for a server that hangs it ends a while after
// a connection has come, however long that took.
func (f Fault) Serve(t testing.TB) (filter.Address, context.Context) {
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	return Serve(t, func(c net.Conn) {
		if f.Hangs {
			defer time.AfterFunc(patience, cancel).Stop()
		}
		f.Handle(c)
	}), ctx
}

// Fault is a way to fail. Hangs says that it never ends by itself.
type Fault struct {
	Name   string
	Hangs  bool
	Handle func(net.Conn)
}

// Faults are what any filter may do, whatever it speaks. half is an answer of its protocol.
func Faults(half string) []Fault {
	first := func(c net.Conn) { _, _ = c.Read(make([]byte, 16)) }
	return []Fault{
		{"hangs without reading", true, func(c net.Conn) {
			// Nothing is read: the test's end closes the connection and wakes this up.
			raw, err := c.(syscall.Conn).SyscallConn()
			if err == nil {
				_ = raw.Read(func(uintptr) bool { return false })
			}
		}},
		{"reads and never answers", true, Drain},
		{"closes at once", false, func(net.Conn) {}},
		{"closes after some bytes", false, first},
		{"resets", false, func(c net.Conn) { first(c); Reset(c) }},
		{"half an answer, then the end", false, func(c net.Conn) {
			first(c)
			_, _ = io.WriteString(c, half[:len(half)/2])
		}},
		{"half an answer, then silence", true, func(c net.Conn) {
			first(c) // an answer before the question is another fault, which HTTP's client sees at once
			_, _ = io.WriteString(c, half[:len(half)/2])
			Drain(c)
		}},
		{"another protocol", false, func(c net.Conn) {
			_, _ = io.WriteString(c, "220 mx.example.test ESMTP\r\n\x00")
			first(c)
		}},
		{"endless answer", false, func(c net.Conn) {
			junk := bytes.Repeat([]byte("a"), 64<<10)
			for {
				if _, err := c.Write(junk); err != nil {
					return
				}
			}
		}},
	}
}

// Mail is a message with an envelope.
func Mail(text string) *filter.Message {
	return &filter.Message{
		ID: "trail-1", From: "a@elsewhere.test", Recipients: []string{"b@example.test", "c@example.test"},
		Addr: netip.MustParseAddr("192.0.2.7"), HELO: "client.elsewhere.test", Name: "out.elsewhere.test",
		TLS: "TLSv1.3 TLS_AES_128_GCM_SHA256", Hostname: "mx.example.test", Size: int64(len(text)),
		Open: func() io.ReadCloser { return io.NopCloser(strings.NewReader(text)) },
	}
}

package conn

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// script is a net.Conn whose input is given in pieces, one per Read, and whose output is recorded
// by Write.
type script struct {
	net.Conn
	in     [][]byte
	writes []string
	closed bool
}

func (s *script) Read(p []byte) (int, error) {
	if len(s.in) == 0 {
		return 0, io.EOF
	}
	n := copy(p, s.in[0])
	if s.in[0] = s.in[0][n:]; len(s.in[0]) == 0 {
		s.in = s.in[1:]
	}
	return n, nil
}

func (s *script) Write(p []byte) (int, error) {
	s.writes = append(s.writes, string(p))
	return len(p), nil
}

func (s *script) Close() error                     { s.closed = true; return nil }
func (s *script) RemoteAddr() net.Addr             { return &net.UnixAddr{} }
func (s *script) LocalAddr() net.Addr              { return &net.UnixAddr{} }
func (s *script) SetDeadline(time.Time) error      { return nil }
func (s *script) SetReadDeadline(time.Time) error  { return nil }
func (s *script) SetWriteDeadline(time.Time) error { return nil }

// run serves one scripted connection with handler.
func run(handler func(*Conn), pieces ...string) *script {
	s := &script{}
	for _, p := range pieces {
		s.in = append(s.in, []byte(p))
	}
	New(Options{Handler: func(_ context.Context, c *Conn) { handler(c) }}).ServeConn(s)
	return s
}

func TestReadLine(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 100)
	type got struct {
		Line string
		Err  error
	}
	for name, tc := range map[string]struct {
		in   string
		want []got
	}{
		"plain":                {"a\r\nb c\r\n", []got{{"a", nil}, {"b c", nil}, {"", io.EOF}}},
		"empty":                {"\r\n", []got{{"", nil}, {"", io.EOF}}},
		"at the limit":         {long + "\r\n", []got{{long, nil}, {"", io.EOF}}},
		"over by one":          {long + "y\r\nz\r\n", []got{{"", ErrLineTooLong}, {"z", nil}}},
		"over, bare LF":        {long + "y\nz\r\n", []got{{"", ErrLineTooLong}, {"z", nil}}},
		"bare LF":              {"a\nb\r\n", []got{{"a", ErrBareLF}, {"b", nil}}},
		"only LF":              {"\nb\r\n", []got{{"", ErrBareLF}, {"b", nil}}},
		"CR inside":            {"a\rb\r\nc\r\n", []got{{"a\rb", ErrBareCR}, {"c", nil}}},
		"CR CR LF":             {"a\r\r\n", []got{{"a\r", ErrBareCR}, {"", io.EOF}}},
		"cut":                  {"a\r\nbc", []got{{"a", nil}, {"", io.ErrUnexpectedEOF}}},
		"cut in CRLF":          {"a\r", []got{{"", io.ErrUnexpectedEOF}}},
		"dropped line of 60 k": {strings.Repeat("x", 60<<10) + "\r\nz\r\n", []got{{"", ErrLineTooLong}, {"z", nil}}},
		"flood":                {strings.Repeat("x", 200<<10), []got{{"", ErrFlood}}},
	} {
		for _, pieces := range [][]string{{tc.in}, strings.Split(tc.in, "")} {
			var have []got
			run(func(c *Conn) {
				for range tc.want {
					line, err := c.ReadLine(100)
					have = append(have, got{string(line), err})
				}
			}, pieces...)
			if d := cmp.Diff(tc.want, have, cmp.Comparer(func(a, b error) bool {
				return errors.Is(a, b) || errors.Is(b, a)
			})); d != "" {
				t.Errorf("%s, in %d pieces: %s", name, len(pieces), d)
			}
		}
	}
}

// TestLongLineGrows reads lines that need larger buffers, with the next command behind them.
func TestLongLineGrows(t *testing.T) {
	t.Parallel()
	for _, n := range []int{smallBuffer - 2, smallBuffer, largeBuffer - 1, largeBuffer, 100 << 10} {
		long := strings.Repeat("x", n)
		run(func(c *Conn) {
			for _, want := range []string{"first", long, "last"} {
				got, err := c.ReadLine(n)
				if string(got) != want || err != nil {
					t.Errorf("%d: got %d bytes, %v, want %d", n, len(got), err, len(want))
				}
			}
		}, "first\r\n"+long+"\r\nlast\r\n")
	}
}

func TestReadAndPeek(t *testing.T) {
	t.Parallel()
	body := bytes.Repeat([]byte("0123456789"), 10000)
	run(func(c *Conn) {
		if line, err := c.ReadLine(10); string(line) != "head" || err != nil {
			t.Errorf("head: %q, %v", line, err)
		}
		got := make([]byte, len(body))
		if _, err := io.ReadFull(c, got); err != nil || !bytes.Equal(got, body) {
			t.Errorf("body differs: %v", err)
		}
		b, err := c.Peek()
		if string(b) != "tail" || err != nil || c.Buffered() != 4 {
			t.Errorf("peek: %q, %v, %d buffered", b, err, c.Buffered())
		}
		c.Discard(3)
		if b, err = c.Peek(); string(b) != "l" || err != nil {
			t.Errorf("after discard: %q, %v", b, err)
		}
		c.Discard(100)
		if _, err = c.Peek(); err != io.EOF {
			t.Errorf("at the end: %v", err)
		}
		if in, _ := c.Traffic(); in != int64(len("head\r\n")+len(body)+len("tail")) {
			t.Errorf("counted %d bytes in", in)
		}
	}, "head\r\n"+string(body[:5]), string(body[5:50000]), string(body[50000:]), "tail")
}

// TestOutputIsCoalesced: the answers to a group of pipelined commands leave in one write
// (RFC 2920 §3.2), and before the session waits for more.
func TestOutputIsCoalesced(t *testing.T) {
	t.Parallel()
	s := run(func(c *Conn) { echo(t.Context(), c) }, "a\r\nb\r\nc\r\n", "d\r\n", "e\r\nqu", "it\r\n")
	want := []string{"a\r\nb\r\nc\r\n", "d\r\n", "e\r\n", "bye\r\n"}
	if d := cmp.Diff(want, s.writes); d != "" {
		t.Error(d)
	}
	if !s.closed {
		t.Error("not closed")
	}
}

func TestLargeWrites(t *testing.T) {
	t.Parallel()
	large := strings.Repeat("y", 300<<10)
	s := run(func(c *Conn) {
		c.WriteString("head")
		c.Write([]byte(large))
		c.WriteString("tail")
	})
	if got := strings.Join(s.writes, ""); got != "head"+large+"tail" {
		t.Errorf("wrote %d bytes", len(got))
	}
	if len(s.writes) != 4 {
		t.Errorf("%d writes", len(s.writes))
	}
	s = run(func(c *Conn) {
		for range 10000 {
			c.WriteString("0123456789")
		}
	})
	if got := strings.Join(s.writes, ""); got != strings.Repeat("0123456789", 10000) ||
		len(s.writes) > 5 {
		t.Errorf("wrote %d bytes in %d writes", len(got), len(s.writes))
	}
}

type failing struct{ script }

func (f *failing) Write(p []byte) (int, error) { return 0, io.ErrClosedPipe }

func TestWriteErrorSticks(t *testing.T) {
	t.Parallel()
	f := &failing{}
	New(Options{Handler: func(_ context.Context, c *Conn) {
		if _, err := c.WriteString("a"); err != nil {
			t.Errorf("the first write is buffered: %v", err)
		}
		if err := c.Flush(); err != io.ErrClosedPipe {
			t.Errorf("flush: %v", err)
		}
		if _, err := c.WriteString("b"); err != io.ErrClosedPipe {
			t.Errorf("write after an error: %v", err)
		}
		if err := c.Wait(); err != io.ErrClosedPipe {
			t.Errorf("wait after an error: %v", err)
		}
	}}).ServeConn(f)
}

// TestEndlessLine is P6 of the reliability table: a gigabyte without LF ends at the limit, and is
// not read further.
func TestEndlessLine(t *testing.T) {
	t.Parallel()
	_, addr := start(t, Options{Handler: echo})
	c := dial(t, addr)
	chunk := bytes.Repeat([]byte("x"), 1<<20)
	sent := 0
	for ; sent < 1<<30; sent += len(chunk) {
		if _, err := c.Write(chunk); err != nil {
			break
		}
	}
	// What the kernel buffers on both sides is sent as well; loopback takes a few MiB.
	if sent > 64<<20 {
		t.Errorf("%d bytes were taken", sent)
	}
}

// FuzzConn feeds any bytes in any cut: no panic, no byte lost or invented, the buffer bounded.
func FuzzConn(f *testing.F) {
	f.Add([]byte("a\r\nb\nc\rd\r\n\r\n"), 1)
	f.Add([]byte("\r\r\n\n\n\x00\xff\r\n"), 3)
	f.Add(bytes.Repeat([]byte("x"), 300), 7)
	f.Fuzz(func(t *testing.T, in []byte, step int) {
		if step < 1 || step > 1<<16 {
			step = 1
		}
		var pieces []string
		for rest := in; len(rest) > 0; {
			n := min(step, len(rest))
			pieces = append(pieces, string(rest[:n]))
			rest = rest[n:]
		}
		run(func(c *Conn) {
			total := 0
			for {
				line, err := c.ReadLine(100)
				total += len(line)
				switch {
				case len(line) > 100 || bytes.IndexByte(line, '\n') >= 0:
					t.Fatalf("line %q", line)
				case bytes.IndexByte(line, '\r') >= 0 && err == nil:
					t.Fatalf("a CR was let through: %q", line)
				case len(c.in) > largeBuffer:
					t.Fatalf("buffer of %d", len(c.in))
				}
				if err != nil && err != ErrBareCR && err != ErrBareLF && err != ErrLineTooLong {
					break
				}
			}
			if total > len(in) {
				t.Fatalf("%d bytes of %d", total, len(in))
			}
		}, pieces...)
	})
}

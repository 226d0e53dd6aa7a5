package conn

import (
	"bufio"
	"bytes"
	"compress/flate"
	"context"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"tram/internal/conn/conntest"
)

// deflating is a client that compresses. Its output is flushed by the test.
type deflating struct {
	*client
	w *flate.Writer
}

// compress turns compression on at the client's end.
func (c *client) compress() *deflating {
	c.t.Helper()
	w, err := flate.NewWriter(c.Conn, 6)
	if err != nil {
		c.t.Fatal(err)
	}
	// The reader takes bytes one by one, and so none from behind the stream's end.
	plain := c.r
	c.r = bufio.NewReader(flate.NewReader(plain))
	return &deflating{c, w}
}

func (d *deflating) send(s string) {
	d.t.Helper()
	if _, err := io.WriteString(d.w, s); err != nil {
		d.t.Fatal(err)
	}
	if err := d.w.Flush(); err != nil {
		d.t.Fatal(err)
	}
}

// squeeze is echo with two commands more: "deflate" and "inflate" begin and end compression. After
// each line it tells what the session holds while it waits.
func squeeze(t *testing.T, ended chan<- error) func(context.Context, *Conn) {
	return func(_ context.Context, c *Conn) {
		var err error
		defer func() { ended <- err }()
		for {
			if err = c.Wait(); err != nil {
				return
			}
			var line []byte
			if line, err = c.ReadLine(100_000); err != nil {
				return
			}
			switch word, _, _ := strings.Cut(string(line), " "); word {
			case "deflate":
				c.WriteString("squeezing\r\n")
				err = c.StartCompression()
			case "inflate":
				c.WriteString("plain again\r\n")
				err = c.StopCompression()
			case "long":
				_, err = c.Write(append(sample(rand.New(rand.NewPCG(1, 2)), 200_000), "\r\n"...))
			default:
				c.Write(append(append(c.AvailableBuffer(), line...), "\r\n"...))
			}
			if err != nil {
				return
			}
		}
	}
}

// both runs a test in the clear and under TLS.
func both(t *testing.T, fn func(t *testing.T, c *client, ended <-chan error)) {
	for _, secure := range []bool{false, true} {
		t.Run(fmt.Sprintf("tls %v", secure), func(t *testing.T) {
			t.Parallel()
			serverTLS, clientTLS := conntest.TLS()
			ended := make(chan error, 1)
			_, addr := start(t, Options{Handler: squeeze(t, ended), TLS: serverTLS, Implicit: secure})
			if !secure {
				fn(t, dial(t, addr), ended)
				return
			}
			nc, err := tls.Dial("tcp", addr, clientTLS)
			if err != nil {
				t.Fatal(err)
			}
			fn(t, newClient(t, nc), ended)
		})
	}
}

// TestCompression goes in and out of compression, with short and long replies, RFC 4978 §3.
func TestCompression(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, c *client, _ <-chan error) {
		plain := c.r
		for range 2 {
			c.send("deflate\r\n")
			c.want("squeezing")
			d := c.compress()
			for i := range 20 {
				line := fmt.Sprintf("* %d FETCH (FLAGS (\\Seen)) %s", i, strings.Repeat("x", i*1000))
				d.send(line + "\r\n")
				d.want(line)
			}
			d.send("one\r\ntwo\r\nthr")
			d.want("one")
			d.want("two")
			d.send("ee\r\n")
			d.want("three")
			d.send("long\r\n")
			want := sample(rand.New(rand.NewPCG(1, 2)), 200_000)
			got := make([]byte, len(want)+2)
			if _, err := io.ReadFull(d.r, got); err != nil || !bytes.Equal(got[:len(want)], want) {
				t.Fatalf("a long reply came out otherwise, %v", err)
			}
			// The client ends its stream and goes on at once, RFC 8437 §4.1.
			d.send("inflate\r\n")
			c.send("plain\r\n")
			d.want("plain again")
			if b, err := d.r.ReadByte(); err != io.EOF {
				t.Fatalf("behind the end of the stream: %q, %v", b, err)
			}
			c.r = plain
			c.want("plain")
		}
	})
}

// TestCompressionEnds ends the client's stream in every way there is.
func TestCompressionEnds(t *testing.T) {
	t.Parallel()
	inflate := func(how func(w *flate.Writer)) []byte {
		var b bytes.Buffer
		w, err := flate.NewWriter(&b, 6)
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(w, "inflate\r\n")
		how(w)
		return b.Bytes()
	}
	zlibPartial, err := hex.DecodeString("cacc4bcb492c49e5e50208") // zlib 1.2.13, Z_PARTIAL_FLUSH
	if err != nil {
		t.Fatal(err)
	}
	for name, last := range map[string][]byte{
		"flush":         inflate(func(w *flate.Writer) { w.Flush() }),
		"end":           inflate(func(w *flate.Writer) { w.Close() }),
		"partial flush": zlibPartial,
	} {
		for _, cut := range []int{0, 1, len(last) - 1} {
			both(t, func(t *testing.T, c *client, ended <-chan error) {
				plain := c.r
				c.send("deflate\r\n")
				c.want("squeezing")
				d := c.compress()
				c.send(string(last[:cut]))
				next := "plain\r\n"
				if name == "partial flush" {
					// It does not end on a byte: the client must not send more before the reply.
					c.send(string(last[cut:]))
					d.want("plain again")
					c.send(next)
				} else {
					c.send(string(last[cut:]) + next)
					d.want("plain again")
				}
				if _, err := d.r.ReadByte(); err != io.EOF {
					t.Fatal(err)
				}
				c.r = plain
				if line, err := c.r.ReadString('\n'); err != nil || line != next {
					t.Errorf("%s, cut at %d: got %q, %v; the server: %v", name, cut, line, err, <-ended)
				}
			})
		}
	}
}

// TestCompressionLimits proves that limits count what comes out: a line that is short on the wire and
// endless inside (P9), input that gives nothing for ever, and what is not DEFLATE.
func TestCompressionLimits(t *testing.T) {
	t.Parallel()
	squeezed := func(text string, n int) []byte {
		var b bytes.Buffer
		w, err := flate.NewWriter(&b, 9)
		if err != nil {
			t.Fatal(err)
		}
		for range n {
			io.WriteString(w, text)
		}
		w.Flush()
		return b.Bytes()
	}
	for name, tc := range map[string]struct {
		send []byte
		want error
	}{
		"bomb":       {squeezed(strings.Repeat("a", 1<<20), 64), ErrFlood},
		"long line":  {squeezed(strings.Repeat("a", 120_000)+"\r\n", 1), ErrLineTooLong},
		"only noise": {bytes.Repeat([]byte("\x00\x00\x00\xff\xff"), 20_000), ErrFlood},
		"plaintext":  {[]byte("a NOOP\r\na NOOP\r\na NOOP\r\na NOOP\r\n"), ErrDeflate},
		"the end":    {append(squeezed("hello\r\n", 1), 3, 0), io.EOF},
	} {
		both(t, func(t *testing.T, c *client, ended <-chan error) {
			c.send("deflate\r\n")
			c.want("squeezing")
			// The server may hang up before it has read all.
			if _, err := c.Write(tc.send); err != nil && name != "bomb" && name != "only noise" {
				t.Fatal(err)
			}
			if err := <-ended; !errors.Is(err, tc.want) {
				t.Errorf("%s: ended with %v, want %v", name, err, tc.want)
			}
		})
	}
}

// TestCompressionHoldsLittle looks at a session that waits: no buffer, no tables, a window of the
// size of what the client has said, and the end of what it was told.
func TestCompressionHoldsLittle(t *testing.T) {
	t.Parallel()
	waits := make(chan *Conn)
	_, addr := start(t, Options{Handler: func(_ context.Context, c *Conn) {
		if err := c.StartCompression(); err != nil {
			t.Error(err)
		}
		for c.Wait() == nil {
			line, err := c.ReadLine(100)
			if err != nil {
				t.Error(err)
				return
			}
			c.Write(append(append(c.AvailableBuffer(), line...), "\r\n"...))
			if string(line) == "look" {
				if err := c.Flush(); err != nil {
					t.Error(err)
				}
				waits <- c
				<-waits
			}
		}
	}})
	d := dial(t, addr).compress()
	for i := range 30 {
		d.send(fmt.Sprintf("%d NOOP\r\n", i))
		d.want(fmt.Sprintf("%d NOOP", i))
	}
	d.send("look\r\n")
	d.want("look")
	c := <-waits
	// What Wait does before it blocks.
	c.releaseIn()
	c.releaseOut()
	if n, err := c.inflate(make([]byte, 100)); n != 0 || err != nil {
		t.Errorf("%d bytes, %v are left", n, err)
	}
	if z := c.z; z.raw != nil || z.in.codes != nil || cap(z.in.window) > 400 || cap(z.sent) > keepSent {
		t.Errorf("it holds %d of input, codes: %v, a window of %d, %d of output",
			len(z.raw), z.in.codes != nil, cap(z.in.window), cap(z.sent))
	}
	waits <- nil
}

// TestCompressionNotAfterInput refuses to begin behind input that came too early, in whatever form.
func TestCompressionNotAfterInput(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, c *client, ended <-chan error) {
		c.send("deflate\r\nearly\r\n")
		if err := <-ended; !errors.Is(err, ErrInjected) {
			t.Errorf("ended with %v", err)
		}
	})
}

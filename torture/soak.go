package main

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

var drain = Fault{
	ID: "O14", Name: "SIGTERM under load", Target: "ends by itself within 30 s, newcomers are told 421",
	Rounds: rounds{2, 15, 100}, Run: runDrain,
}

func runDrain(ctx context.Context, t *Trial) error {
	w, err := t.started(ctx)
	if err != nil {
		return err
	}
	l, err := w.ledger()
	if err != nil {
		return err
	}
	stop := load(ctx, l, 16, 4, 2)
	defer stop()
	slowest := time.Duration(0)
	for ; t.Done < t.Count; t.Done++ {
		if err := acked(ctx, l, 50); err != nil {
			return err
		}
		inside, err := dialFrom(ctx, honest, w.addr(25))
		if err != nil {
			return err
		}
		inside.SetDeadline(time.Now().Add(10 * time.Second))
		if _, err := inside.Read(make([]byte, 256)); err != nil { // it has been greeted, and waits
			return err
		}
		start := time.Now()
		syscall.Kill(w.pid(), syscall.SIGTERM)
		farewell := lastWords(inside)
		if err := w.ended(); err != nil {
			return err
		}
		slowest = max(slowest, time.Since(start))
		if !strings.Contains(farewell, "421") {
			t.Miss("round %d: a session that waits heard %q and not 421", t.Done, farewell)
		}
		if err := w.Start(ctx); err != nil {
			return err
		}
	}
	if err := acked(ctx, l, 20); err != nil {
		return err
	}
	stop()
	t.Note("the slowest end took %.1f s", slowest.Seconds())
	return w.Verify(ctx, l)
}

// lastWords is all that the server says until it closes.
func lastWords(c net.Conn) string {
	defer c.Close()
	c.SetDeadline(time.Now().Add(35 * time.Second))
	var all strings.Builder
	buf := make([]byte, 1024)
	for {
		n, err := c.Read(buf)
		all.Write(buf[:n])
		if err != nil {
			return all.String()
		}
	}
}

// ended waits for a server that was told to end.
func (w *World) ended() error {
	defer w.Kill()
	select {
	case <-w.proc.done:
		if w.proc.err != nil {
			return fmt.Errorf("the server ended with %w: %s", w.proc.err, lastLine(w.said.String()))
		}
		return nil
	case <-time.After(30 * time.Second):
		return fmt.Errorf("the server did not end within 30 s of SIGTERM: %s", lastLine(w.said.String()))
	}
}

var leaks = Fault{
	ID: "O13", Name: "sessions aborted at any byte", Rounds: rounds{1500, 30_000, 1_000_000}, Run: runLeaks,
	Target: "goroutines and files back to 20 above the start, memory level",
}

// sessionTexts are what clients say until they vanish in the middle.
var sessionTexts = map[int]string{
	25: "EHLO load.test\r\nMAIL FROM:<a@load.test>\r\nRCPT TO:<" + alice + ">\r\nDATA\r\nSubject: never ends\r\n\r\n" +
		"and this is as far as it gets\r\n",
	143: "a CAPABILITY\r\nb STARTTLS\r\nc LOGIN {4}\r\nalic",
	465: "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 a hello that is none", 993: "\x16\x03\x01\x00\xff\x01\x00",
	110: "CAPA\r\nUTF8\r\nUSER " + alice + "\r\nSTLS\r\n\x16\x03\x01",
	995: "\x16\x03\x01\x00\xff\x01\x00",
	587: "EHLO load.test\r\nSTARTTLS\r\n\x16\x03\x01", 80: "GET / HTTP/1.1\r\nHost: mail.example.test\r\nX: ",
}

func runLeaks(ctx context.Context, t *Trial) error {
	w, err := t.installed("connections.new_per_minute = 100000", "connections.total = 5000")
	if err != nil {
		return err
	}
	if err := w.Start(ctx); err != nil {
		return err
	}
	t.Recovery = 0
	ports := []int{25, 143, 465, 587, 80, 993, 110, 995}
	var n atomic.Int64
	abort := func(count int) {
		end := n.Load() + int64(count)
		parallel(ctx, 32, func(ctx context.Context) {
			for ctx.Err() == nil {
				i := n.Add(1)
				if i > end {
					return
				}
				w.abortAt(ctx, int(i), ports[int(i)%len(ports)])
			}
		})()
		n.Store(end)
	}
	abort(t.Count / 4) // pools and caches fill
	before, err := w.budget()
	if err != nil {
		return err
	}
	// What the warm-up left must be gone, or the baseline is too high.
	if err := until(ctx, time.Minute, "the warm-up is over", func() bool {
		b, err := w.budget()
		still := b.goroutines == before.goroutines && b.fds == before.fds
		before = b
		return err == nil && still
	}); err != nil {
		return err
	}
	var samples []int
	for range 4 {
		abort(t.Count / 4)
		b, err := w.budget()
		if err != nil {
			return err
		}
		samples = append(samples, mib(b.rss))
	}
	t.Done = int(n.Load())
	t.Note("%d sessions; memory by quarters %v MiB", t.Done, samples)
	if grew := samples[3] - samples[0]; grew > max(16, samples[0]/4) {
		t.Miss("memory grew by %d MiB from the first quarter to the last", grew)
	}
	return w.back(ctx, before)
}

// abortAt plays a session up to some byte and vanishes, now with FIN, now with RST.
func (w *World) abortAt(ctx context.Context, i, port int) {
	c, err := dialFrom(ctx, source(i%2000), w.addr(port))
	if err != nil {
		return
	}
	defer c.Close()
	text := sessionTexts[port]
	c.SetDeadline(time.Now().Add(5 * time.Second))
	if i%3 > 0 && (port == 25 || port == 110 || port == 143 || port == 587) {
		c.Read(make([]byte, 64)) // the greeting
	}
	c.Write([]byte(text[:i*7919%(len(text)+1)]))
	if i%2 == 0 {
		c.SetLinger(0)
	}
}

var logStorm = Fault{
	ID: "O16", Name: "a storm of bad commands", Rounds: rounds{1, 1, 1}, Run: runLogStorm,
	Target: "at most 10 lines a second for each source, and a counter that saw all",
}

// runLogStorm sends nonsense from four addresses as fast as the server reads it.
func runLogStorm(ctx context.Context, t *Trial) error {
	w, err := t.installed("log.level = \"info\"", "connections.new_per_minute = 100000")
	if err != nil {
		return err
	}
	if err := w.Start(ctx); err != nil {
		return err
	}
	t.Recovery = 0
	lines, bytes := w.said.lines.Load(), w.said.bytes.Load()
	start := time.Now()
	work, cancel := context.WithTimeout(ctx, pick(t, 2*time.Second, 10*time.Second, time.Minute))
	defer cancel()
	storm := []byte(strings.Repeat("NONSENSE 1 2 3\r\n", 500))
	const sources = 4
	var sent, sessions atomic.Int64
	var wg sync.WaitGroup
	for i := range 4 * sources {
		wg.Go(func() {
			for work.Err() == nil {
				c, err := dialFrom(work, source(i%sources), w.addr([]int{25, 143}[i/sources%2]))
				if err != nil {
					continue
				}
				sessions.Add(1)
				c.SetWriteBuffer(16 << 10) // what lies in the kernel has not been sent
				c.SetDeadline(time.Now().Add(10 * time.Second))
				for err == nil && work.Err() == nil {
					var n int
					n, err = c.Write(storm)
					sent.Add(int64(n) / 16)
				}
				c.Close()
			}
		})
	}
	wg.Wait()
	duration := time.Since(start) // the last sessions end after the storm
	pause(ctx, 500*time.Millisecond)
	t.Done = 1
	lines, bytes = w.said.lines.Load()-lines, w.said.bytes.Load()-bytes
	perSecond := float64(lines) / duration.Seconds() / sources
	t.Note("%d commands handed to the kernel in %d sessions; %.1f lines a second and source, %d KiB in all",
		sent.Load(), sessions.Load(), perSecond, bytes>>10)
	if perSecond > 10 {
		t.Miss("%.1f lines a second for each source: %s", perSecond, lastLine(w.said.String()))
	}
	opened, err := w.metric("tram_connections_total")
	if err != nil {
		return err
	}
	if opened < float64(sessions.Load())/2 {
		t.Miss("the counter of connections says %.0f of %d", opened, sessions.Load())
	}
	if err := w.Stop(); err != nil {
		return err
	}
	return w.Check()
}

package conn

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"tram/internal/clock"
	"tram/internal/conn/conntest"
	"tram/internal/limits"
)

func refusal() []byte { return []byte("421 full\r\n") }

func TestTotalAndPerIP(t *testing.T) {
	t.Parallel()
	for name, set := range map[string]func(*limits.Conn){
		"total":  func(l *limits.Conn) { l.Total = 2 },
		"per ip": func(l *limits.Conn) { l.PerIP = 2 },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := testLimits()
			set(&l)
			_, addr := start(t, Options{Handler: echo, Limits: l, Refuse: refusal})
			one, two := dial(t, addr), dial(t, addr)
			for _, c := range []*client{one, two} {
				c.send("hello\r\n")
				c.want("hello")
			}
			three := dial(t, addr)
			three.want("421 full")
			three.wantEnd()
			one.send("quit\r\n")
			one.want("bye")
			one.wantEnd()
			// The slot is given back after the close that the client has seen: ask until it is.
			for range 1000 {
				c := dial(t, addr)
				c.send("again\r\n")
				if got, err := c.r.ReadString('\n'); err == nil && got == "again\r\n" {
					return
				}
				runtime.Gosched()
			}
			t.Error("the slot was not given back")
		})
	}
}

func TestGate(t *testing.T) {
	t.Parallel()
	at := clock.NewFake(time.Unix(1_700_000_000, 0))
	open := func(l limits.Conn) *gate {
		return &gate{limits: l, clock: at, shared: NewShared(SharedOptions{Clock: at}),
			sources: map[source]*visits{}}
	}
	ip := netip.MustParseAddr

	t.Run("an IPv6 source is its /64", func(t *testing.T) {
		g := open(limits.Conn{PerIP: 1})
		for _, step := range []struct {
			addr string
			want error
		}{
			{"2001:db8:0:1::1", nil}, {"2001:db8:0:1:ffff::2", errPerSource},
			{"2001:db8:0:2::1", nil}, {"192.0.2.1", nil}, {"192.0.2.2", nil},
			{"192.0.2.1", errPerSource},
		} {
			if err := g.enter(ip(step.addr), false); err != step.want {
				t.Errorf("%s: %v, want %v", step.addr, err, step.want)
			}
		}
	})
	t.Run("new per minute", func(t *testing.T) {
		g := open(limits.Conn{NewPerMinute: 3})
		for i := range 5 {
			err := g.enter(ip("192.0.2.1"), false)
			if (err == nil) != (i < 3) {
				t.Errorf("connection %d: %v", i, err)
			}
			if err == nil {
				g.leave(seat{ip("192.0.2.1"), true})
			}
		}
		at.Advance(time.Minute)
		if err := g.enter(ip("192.0.2.1"), false); err != nil {
			t.Errorf("a minute later: %v", err)
		}
	})
	t.Run("complaints", func(t *testing.T) { // O16: one source does not fill the log
		g := open(limits.Conn{})
		lines := 0
		for range 10 * complaints {
			if err := g.enter(ip("192.0.2.1"), false); err != nil {
				t.Fatal(err)
			}
			if g.mayComplain(ip("192.0.2.1")) {
				lines++
			}
			g.leave(seat{ip("192.0.2.1"), true})
		}
		if lines != complaints || !g.mayComplain(ip("192.0.2.2")) {
			t.Errorf("%d lines of a source, want %d, and another has its own", lines, complaints)
		}
		at.Advance(time.Minute)
		if !g.mayComplain(ip("192.0.2.1")) {
			t.Error("a minute later it may not be complained of")
		}
	})
	t.Run("reserved slots", func(t *testing.T) {
		g := open(limits.Conn{Total: 10, Reserved: 0.2})
		g.shared.Good(ip("192.0.2.200"))
		for i := range 10 {
			err := g.enter(ip(fmt.Sprintf("192.0.2.%d", i)), false)
			if (err == nil) != (i < 8) {
				t.Errorf("stranger %d: %v", i, err)
			}
		}
		for i, want := range []error{nil, nil, errFull} {
			if err := g.enter(ip("192.0.2.200"), false); err != want {
				t.Errorf("known source %d: %v, want %v", i, err, want)
			}
		}
		g.leave(seat{ip("192.0.2.200"), true})
		at.Advance(31 * 24 * time.Hour)
		if err := g.enter(ip("192.0.2.200"), false); err != errReserved {
			t.Errorf("a month later: %v", err)
		}
	})
	t.Run("a flood from many networks", func(t *testing.T) {
		g := open(limits.Conn{PerIP: 5})
		for i := range 3 * maxSources {
			a := netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
			if err := g.enter(a, false); err != nil {
				t.Fatal(err)
			}
			if i > 0 { // the first stays
				g.leave(seat{a, true})
			}
		}
		if len(g.sources) > maxSources {
			t.Errorf("%d sources are remembered", len(g.sources))
		}
		if v := g.sources[sourceOf(ip("10.0.0.0"))]; v == nil || v.active != 1 {
			t.Error("a connected source was forgotten")
		}
	})
}

func TestGoodIsBounded(t *testing.T) {
	t.Parallel()
	at := clock.NewFake(time.Unix(1_700_000_000, 0))
	s := NewShared(SharedOptions{Clock: at})
	old, young := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	s.Good(old)
	at.Advance(2 * time.Hour)
	for i := range 2 * maxGood {
		s.Good(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}))
		if i == maxGood/2 {
			at.Advance(2 * time.Hour)
			s.Good(young)
		}
	}
	if len(s.good) > maxGood || s.Known(old) {
		t.Errorf("%d remembered, the oldest: %v", len(s.good), s.Known(old))
	}
}

func TestMaxConns(t *testing.T) {
	t.Parallel()
	shared := NewShared(SharedOptions{MaxConns: 1})
	_, first := start(t, Options{Name: "max1", Handler: echo, Shared: shared, Refuse: refusal})
	_, second := start(t, Options{Name: "max2", Handler: echo, Shared: shared, Refuse: refusal})
	c := dial(t, first)
	c.send("a\r\n")
	c.want("a")
	dial(t, second).want("421 full")
}

func TestStressed(t *testing.T) {
	t.Parallel()
	l := testLimits()
	l.Total = 5
	_, addr := start(t, Options{Limits: l, Handler: func(_ context.Context, c *Conn) {
		for c.Wait() == nil {
			c.Discard(c.Buffered())
			fmt.Fprintf(c, "%v\r\n", c.Stressed())
		}
	}})
	for i := range 5 {
		c := dial(t, addr)
		c.send("x")
		c.want(fmt.Sprint(i >= 3))
	}
}

// TestPanic: a handler's panic ends its session and nothing else.
func TestPanic(t *testing.T) {
	t.Parallel()
	var log strings.Builder
	s, addr := start(t, Options{Handler: echo, Logger: logTo(&log)})
	other := dial(t, addr)
	other.send("before\r\n")
	other.want("before")
	c := dial(t, addr)
	c.send("panic\r\n")
	c.wantEnd()
	other.send("after\r\n")
	other.want("after")
	other.send("quit\r\n")
	other.want("bye")
	other.wantEnd()
	if err := s.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(log.String(), "a handler's fault") ||
		!strings.Contains(log.String(), "harness_test.go") {
		t.Errorf("the log has no reason or no stack: %s", log.String())
	}
}

// TestLastWords: what the server said last is read even if the client had sent more.
func TestLastWords(t *testing.T) {
	t.Parallel()
	_, addr := start(t, Options{Handler: func(_ context.Context, c *Conn) {
		if c.Wait() == nil {
			c.WriteString("554 not so\r\n")
		}
	}})
	for range 20 {
		c := dial(t, addr)
		c.send(strings.Repeat("spam\r\n", 20000))
		c.want("554 not so")
		c.wantEnd()
		c.Close()
	}
}

func TestArrived(t *testing.T) {
	t.Parallel()
	early := make(chan struct{})
	_, addr := start(t, Options{Handler: func(_ context.Context, c *Conn) {
		before := c.Arrived()
		early <- struct{}{}
		if err := c.Wait(); err != nil { // it has come now, for certain
			t.Error(err)
		}
		fmt.Fprintf(c, "%v %v\r\n", before, c.Arrived())
		c.Discard(c.Buffered())
	}})
	c := dial(t, addr)
	<-early
	c.send("x")
	c.want("false true")
}

// flaky is a listener whose first accepts fail, as when descriptors run out (O3).
type flaky struct {
	net.Listener
	mu    sync.Mutex
	fails int
}

func (f *flaky) Accept() (net.Conn, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fails > 0 {
		f.fails--
		return nil, &net.OpError{Op: "accept", Err: os.NewSyscallError("accept4", syscall.EMFILE)}
	}
	return f.Listener.Accept()
}

func TestAcceptSurvivesEMFILE(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	at := clock.NewFake(time.Unix(0, 0))
	s := New(Options{Handler: echo, Clock: at, Limits: testLimits()})
	served := make(chan error, 1)
	go func() { served <- s.Serve(&flaky{Listener: l, fails: 12}) }()
	// The pauses double up to a second: time goes on in small steps while the loop sleeps.
	over, total := make(chan struct{}), time.Duration(0)
	var ticking sync.WaitGroup
	ticking.Go(func() {
		for {
			n, armed := at.Armed()
			if n == 0 {
				select {
				case <-armed:
				case <-over:
					return
				}
			}
			at.Advance(5 * time.Millisecond)
			total += 5 * time.Millisecond
		}
	})
	c := dial(t, l.Addr().String())
	c.send("alive\r\n")
	c.want("alive")
	c.Close()
	close(over)
	ticking.Wait()
	if total < time.Second || total > 8*time.Second {
		t.Errorf("paused for %v", total)
	}
	if err := s.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	if err := <-served; err != nil {
		t.Error(err)
	}
}

// TestIdleSessionsAreCheap: beside crypto/tls, a waiting session holds no buffer and less than
// 6 KiB in all, goroutine included (design.md, "When one machine is not enough").
func TestIdleSessionsAreCheap(t *testing.T) {
	var mu sync.Mutex
	var sessions []*Conn
	_, addr := start(t, Options{Handler: func(ctx context.Context, c *Conn) {
		mu.Lock()
		sessions = append(sessions, c)
		mu.Unlock()
		echo(ctx, c)
	}})
	const n = 400
	before := inUse()
	clients := make([]net.Conn, n)
	for i := range clients {
		nc, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		clients[i] = nc
	}
	buf := make([]byte, 64<<10)
	talk := []byte(strings.Repeat("0123456789abcdef\r\n", 2000))
	for _, nc := range clients {
		go nc.Write(talk)
		for got := 0; got < len(talk); {
			k, err := nc.Read(buf)
			if err != nil {
				t.Fatal(err)
			}
			got += k
		}
	}
	after := inUse()
	// Both ends of each connection are in this process: the client takes up to 3 KiB of it.
	per := (int64(after) - int64(before)) / n
	t.Logf("%d bytes for each session", per)
	if per > 9<<10 {
		t.Errorf("an idle session holds %d bytes", per)
	}
	for _, nc := range clients {
		nc.Close()
	}
	mu.Lock()
	defer mu.Unlock()
	if len(sessions) != n {
		t.Fatalf("%d sessions", len(sessions))
	}
}

// TestIdleTLSSessionsAreCheap: above what crypto/tls takes by itself, a waiting session under TLS
// holds less than 6 KiB. (The handshake's own goroutine even makes it cheaper.)
func TestIdleTLSSessionsAreCheap(t *testing.T) {
	cfg, trust := conntest.TLS()
	_, addr := start(t, Options{Handler: echo, TLS: cfg, Implicit: true})
	bare, err := tls.Listen("tcp", "127.0.0.1:0", cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer bare.Close()
	go func() {
		for {
			nc, err := bare.Accept()
			if err != nil {
				return
			}
			go io.Copy(nc, nc)
		}
	}()
	ours, theirs := idleTLS(t, addr, trust), idleTLS(t, bare.Addr().String(), trust)
	t.Logf("%d bytes for each session, %d for crypto/tls alone with io.Copy", ours, theirs)
	if ours > 19<<10+6<<10+14<<10 { // the client's end, in this process too, takes 14 KiB
		t.Errorf("an idle session holds %d bytes", ours)
	}
}

// idleTLS returns the bytes that each of many idle connections takes, both ends together.
func idleTLS(t *testing.T, addr string, trust *tls.Config) int64 {
	t.Helper()
	const n = 150
	before := inUse()
	talk := []byte(strings.Repeat("0123456789abcdef\r\n", 200))
	buf := make([]byte, len(talk))
	for range n {
		nc, err := tls.Dial("tcp", addr, trust)
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		if _, err := nc.Write(talk); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(nc, buf); err != nil {
			t.Fatal(err)
		}
	}
	return (int64(inUse()) - int64(before)) / n
}

// inUse returns the bytes of heap and stacks in use. Two collections empty the pools and shrink
// the stacks.
func inUse() uint64 {
	var m runtime.MemStats
	for range 3 {
		runtime.GC()
	}
	runtime.ReadMemStats(&m)
	return m.HeapAlloc + m.StackInuse
}

// BenchmarkLines measures a command and its reply, 16 to a write.
func BenchmarkLines(b *testing.B) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	s := New(Options{Handler: echo, Limits: testLimits()})
	go s.Serve(l)
	defer s.Shutdown(context.Background())
	nc, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	group := []byte(strings.Repeat("NOOP and some text\r\n", 16))
	buf := make([]byte, len(group))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := nc.Write(group); err != nil {
			b.Fatal(err)
		}
		for got := 0; got < len(group); {
			n, err := nc.Read(buf)
			if err != nil {
				b.Fatal(err)
			}
			got += n
		}
	}
	nc.Close()
}

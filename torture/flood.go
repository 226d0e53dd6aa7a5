package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"tram/bench/wire"
)

var slowloris = Fault{
	ID: "O1", Name: "slow clients on every port", Rounds: rounds{210, 2800, 10_000}, Run: runSlowloris,
	Target: "at most 48 KiB each, honest mail within 2 s, each closed by a deadline that its bytes do not move",
}

// slowPorts are the ports and how long a client that says nothing useful may stay.
var slowPorts = map[int]time.Duration{
	25: 20 * time.Second, 587: 20 * time.Second, 465: 10 * time.Second, 143: 20 * time.Second,
	993: 10 * time.Second, 110: 20 * time.Second, 995: 10 * time.Second, 80: 5 * time.Second, 443: 10 * time.Second,
}

// runSlowloris opens as many connections as there are rounds and sends a byte on each now and then.
func runSlowloris(ctx context.Context, t *Trial) error {
	w, err := t.installed("connections.total = 20000", "smtp.session_life = \"20s\"",
		"imap.preauth_idle = \"20s\"", "pop3.login_time = \"20s\"")
	if err != nil {
		return err
	}
	if err := w.Start(ctx); err != nil {
		return err
	}
	t.Recovery = 0
	before, err := w.budget()
	if err != nil {
		return err
	}
	mail := sample(ctx, 250*time.Millisecond, w.honestMail(alice, honest))
	var stayed [65536]atomic.Int64 // the longest life by port, ns
	var opened, refused atomic.Int64
	var wg sync.WaitGroup
	work, cancel := context.WithTimeout(ctx, 60*time.Second)
	defer cancel()
	each := t.Count / len(slowPorts)
	for port := range slowPorts {
		for i := range each {
			wg.Go(func() {
				c, err := dialFrom(work, source(i), w.addr(port))
				if err != nil {
					refused.Add(1)
					return
				}
				defer c.Close()
				opened.Add(1)
				lived := int64(trickle(work, c))
				for old := stayed[port].Load(); lived > old && !stayed[port].CompareAndSwap(old, lived); {
					old = stayed[port].Load()
				}
			})
			if i%50 == 49 {
				pause(ctx, 20*time.Millisecond)
			}
		}
	}
	pause(ctx, 3*time.Second)
	during, err := w.budget()
	if err != nil {
		return err
	}
	wg.Wait()
	mail.stop()
	t.Done = int(opened.Load())
	perConn := (during.rss - before.rss) / max(1, t.Done) >> 10
	t.Note("%d connections over %d ports, %d refused, %d KiB each", t.Done, len(slowPorts), refused.Load(), perConn)
	if perConn > 48 && during.rss-before.rss > 32<<20 {
		t.Miss("%d KiB of memory each", perConn)
	}
	mail.judge(t, "honest mail", 2*time.Second)
	for port, most := range slowPorts {
		if lived := time.Duration(stayed[port].Load()); lived > most+8*time.Second {
			t.Late("port %d: a connection stayed for %v, wanted about %v", port, lived, most)
		}
	}
	return w.back(ctx, before)
}

// trickle sends a byte each second until the server closes, and returns how long that took.
func trickle(ctx context.Context, c net.Conn) time.Duration {
	start := time.Now()
	closed := make(chan struct{})
	go func() {
		io.Copy(io.Discard, c)
		close(closed)
	}()
	text := []byte("EHLO aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa")
	for i := 0; ; i++ {
		select {
		case <-closed:
			return time.Since(start)
		case <-ctx.Done():
			return time.Since(start)
		case <-time.After(time.Second):
			c.Write(text[i%len(text) : i%len(text)+1])
		}
	}
}

// back waits until the server holds no more than before, 20 more at most.
func (w *World) back(ctx context.Context, before budget) error {
	var after budget
	err := until(ctx, time.Minute, "goroutines and files are back", func() bool {
		var err error
		after, err = w.budget()
		return err == nil && after.fds <= before.fds+20 && after.goroutines <= before.goroutines+20
	})
	w.t.Note("afterwards %+d files, %+d goroutines, %+d MiB", after.fds-before.fds,
		after.goroutines-before.goroutines, mib(after.rss-before.rss))
	if err != nil {
		w.t.Miss("%v", err)
	}
	if err := w.Stop(); err != nil {
		return err
	}
	return w.Check()
}

var connectFlood = Fault{
	ID: "O2", Name: "a flood of connections", Rounds: rounds{2, 2, 2}, Run: runConnectFlood,
	Target: "others at most twice as slow as without, or 250 ms: the flood takes its share of the same cores",
}

// runConnectFlood opens connections as fast as it can, from one address and from five thousand.
func runConnectFlood(ctx context.Context, t *Trial) error {
	w, err := t.installed("connections.new_per_minute = 1000")
	if err != nil {
		return err
	}
	if err := w.Start(ctx); err != nil {
		return err
	}
	t.Recovery = 0
	mail := w.honestMail(alice, honest)
	base, err := baseline(ctx, spaced(mail))
	if err != nil {
		return err
	}
	t.Note("undisturbed p99 %.0f ms", ms(base.p(0.99)))
	for _, sources := range []int{1, 5000} {
		var n, reached atomic.Int64
		work, cancel := context.WithTimeout(ctx, pick(t, 2*time.Second, 8*time.Second, 60*time.Second))
		during := sample(work, 50*time.Millisecond, mail)
		parallel(work, 4, func(ctx context.Context) {
			for ctx.Err() == nil {
				c, err := dialFrom(ctx, source(int(n.Add(1))%sources), w.addr(25))
				if err == nil {
					reached.Add(1)
					c.SetLinger(0)
					c.Close()
				}
				// A twentieth of the cores' time is left to the honest: the flood shares them.
				if n.Load()%200 == 0 {
					pause(ctx, 2*time.Millisecond)
				}
			}
		})()
		during.stop()
		cancel()
		t.Done++
		t.Note("%d connections from %d addresses", reached.Load(), sources)
		during.judge(t, fmt.Sprintf("mail beside %d addresses", sources), max(twice(base), 250*time.Millisecond))
	}
	if err := w.Stop(); err != nil {
		return err
	}
	return w.Check()
}

// spaced keeps a sampler below the connections that one address may open.
func spaced(fn func() error) func() error {
	return func() error {
		time.Sleep(30 * time.Millisecond)
		return fn()
	}
}

var fdsExhausted = Fault{
	ID: "O3", Name: "no file descriptors left", Needs: []need{strace}, Rounds: rounds{2, 2, 2},
	Target: "the process lives, open sessions deliver, mail again within 1 s, no busy loop",
	Run:    runFDs,
}

// runFDs opens more connections than the process may have files, and then has accept fail.
func runFDs(ctx context.Context, t *Trial) error {
	w, err := t.demo()
	if err != nil {
		return err
	}
	w.wrap = []string{"sh", "-c", `ulimit -n 1024; exec "$@"`, "sh"}
	if err := w.Start(ctx); err != nil {
		return err
	}
	t.Recovery = 0
	l, err := w.ledger()
	if err != nil {
		return err
	}
	inside, err := wire.DialSMTP(w.smtp(), "", "")
	if err != nil {
		return err
	}
	defer inside.Close()
	var held []net.Conn
	for i := range 2000 {
		if c, err := dialFrom(ctx, source(i), w.addr([]int{25, 143, 587, 465, 993}[i%5])); err == nil {
			held = append(held, c)
		}
	}
	for range 5 {
		if ack, _, err := l.Send(inside, alice); ack != wire.Acked {
			t.Miss("an open session with no files left: %v", err)
			break
		}
	}
	for _, c := range held {
		c.Close()
	}
	if err := w.mailAgain(ctx, "files"); err != nil {
		return err
	}
	t.Done++
	log := filepath.Join(t.Dir, "trace")
	tr, err := w.traceTo(ctx, log, "trace=accept4", "inject=accept4:error=EMFILE")
	if err != nil {
		return err
	}
	c, err := dialFrom(ctx, honest, w.addr(25)) // something to fail on
	if err != nil {
		return err
	}
	defer c.Close()
	pause(ctx, 3*time.Second)
	tr.end()
	text, err := os.ReadFile(log)
	if err != nil {
		return err
	}
	calls := strings.Count(string(text), "(INJECTED)")
	t.Note("%d connections held; %d calls of accept in 3 s of EMFILE", len(held), calls)
	if calls > 3000 || calls < 3 {
		t.Miss("%d calls of accept in 3 s: it must wait between them, at most a second", calls)
	}
	if err := w.mailAgain(ctx, "EMFILE"); err != nil {
		return err
	}
	t.Done++
	return w.Verify(ctx, l)
}

// mailAgain: mail is taken within a second.
func (w *World) mailAgain(ctx context.Context, after string) error {
	start := time.Now()
	err := until(ctx, 20*time.Second, "mail is accepted after "+after, func() bool {
		return strings.HasPrefix(w.mayMail(), "250")
	})
	took := time.Since(start)
	w.t.recovered(took)
	if took > time.Second+200*time.Millisecond {
		w.t.Late("mail is accepted only %v after %s", took, after)
	}
	return err
}

var handshakes = Fault{
	ID: "O5", Name: "a flood of TLS handshakes", Rounds: rounds{1, 1, 1}, Run: runHandshakes,
	Target: "an honest handshake within 1 s at p99",
}

// runHandshakes opens TLS connections from many addresses; half of them say hello and leave.
func runHandshakes(ctx context.Context, t *Trial) error {
	w, err := t.installed("connections.total = 5000")
	if err != nil {
		return err
	}
	if err := w.Start(ctx); err != nil {
		return err
	}
	t.Recovery = 0
	hello, err := clientHello()
	if err != nil {
		return err
	}
	config := &tls.Config{InsecureSkipVerify: true} // loopback, and the server is under test
	good := func() error {
		c, err := dialFrom(ctx, honest, w.addr(993))
		if err != nil {
			return err
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(20 * time.Second))
		return tls.Client(c, config).Handshake()
	}
	var begun, whole atomic.Int64
	work, cancel := context.WithTimeout(ctx, pick(t, 3*time.Second, 10*time.Second, 60*time.Second))
	defer cancel()
	during := sample(work, 250*time.Millisecond, good)
	parallel(work, 64, func(ctx context.Context) {
		for ctx.Err() == nil {
			n := begun.Add(1)
			c, err := dialFrom(ctx, source(int(n)%5000), w.addr(993))
			if err != nil {
				continue
			}
			c.SetDeadline(time.Now().Add(5 * time.Second))
			if n%2 == 0 {
				c.Write(hello)
			} else if tls.Client(c, config).Handshake() == nil {
				whole.Add(1)
			}
			c.SetLinger(0)
			c.Close()
			pause(ctx, 20*time.Millisecond)
		}
	})()
	during.stop()
	t.Done = 1
	t.Note("%d handshakes begun, %d finished", begun.Load(), whole.Load())
	during.judge(t, "honest handshakes", time.Second)
	if err := w.Stop(); err != nil {
		return err
	}
	return w.Check()
}

// clientHello is the first flight of a handshake.
func clientHello() ([]byte, error) {
	var b bytes.Buffer
	err := tls.Client(recorder{&b}, &tls.Config{InsecureSkipVerify: true}).Handshake()
	if b.Len() == 0 {
		return nil, err
	}
	return b.Bytes(), nil
}

// recorder is a connection that keeps what is written and has nothing to read.
type recorder struct{ b *bytes.Buffer }

func (r recorder) Write(p []byte) (int, error)    { return r.b.Write(p) }
func (recorder) Read([]byte) (int, error)         { return 0, io.EOF }
func (recorder) Close() error                     { return nil }
func (recorder) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (recorder) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (recorder) SetDeadline(time.Time) error      { return nil }
func (recorder) SetReadDeadline(time.Time) error  { return nil }
func (recorder) SetWriteDeadline(time.Time) error { return nil }

var badLogins = Fault{
	ID: "O6", Name: "a flood of wrong passwords", Rounds: rounds{200, 1000, 1000}, Run: runBadLogins,
	Target: "an honest log-in within 2 s at p99, memory at most 64 MiB more for each core",
}

// runBadLogins tries wrong passwords from as many addresses at once as there are rounds.
func runBadLogins(ctx context.Context, t *Trial) error {
	w, err := t.installed("connections.total = 5000")
	if err != nil {
		return err
	}
	if err := w.Start(ctx); err != nil {
		return err
	}
	t.Recovery = 0
	login := func(from net.IP, user, pass string) error {
		at := w.imap()
		at.Source = func() net.Addr { return &net.TCPAddr{IP: from} }
		c, err := wire.DialIMAP(at, user, pass)
		if err == nil {
			c.Close()
		}
		return err
	}
	good := func() error { return login(honest, alice, ownPassword) }
	if err := good(); err != nil { // the person's own program, known from before
		return err
	}
	before, err := w.budget()
	if err != nil {
		return err
	}
	peak := w.peak(ctx)
	work, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	during := sample(work, 300*time.Millisecond, good)
	var n, denied atomic.Int64
	parallel(work, t.Count, func(ctx context.Context) {
		i := int(n.Add(1))
		user := alice
		if i%2 == 0 {
			user = fmt.Sprintf("nobody%d@%s", i, domain)
		}
		err := login(source(i), user, fmt.Sprint("wrong", i))
		if failure := (*wire.Failure)(nil); errors.As(err, &failure) {
			denied.Add(1)
		} else if err == nil {
			t.Miss("a wrong password was right")
		}
	})()
	during.stop()
	most := peak()
	t.Done = int(n.Load())
	t.Note("%d denied in words; %d MiB more at the peak", denied.Load(), mib(most-before.rss))
	during.judge(t, "honest log-ins", 2*time.Second)
	// The flood's own connections are no password hashing: 48 KiB each, as for slow clients.
	if bound := runtime.NumCPU()*64<<20 + t.Count*48<<10; most-before.rss > bound {
		t.Miss("%d MiB more at the peak, wanted at most %d", mib(most-before.rss), mib(bound))
	}
	if err := w.Stop(); err != nil {
		return err
	}
	return w.Check()
}

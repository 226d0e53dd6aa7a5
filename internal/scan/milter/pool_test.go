package milter

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tram/internal/clock"
	"tram/internal/scan/filter"
	"tram/internal/scan/filter/filtertest"
)

// keeper is a client that keeps connections, by a clock of the test's, to a milter that counts them.
type keeper struct {
	*Client
	clock *clock.Fake
	conns atomic.Int32
	ended atomic.Int32
}

func newKeeper(t *testing.T, edit func(*Options), serve func(net.Conn)) *keeper {
	t.Helper()
	k := &keeper{clock: clock.NewFake(time.Unix(1e9, 0))}
	o := Options{
		Address: filtertest.Serve(t, func(c net.Conn) {
			k.conns.Add(1)
			serve(c)
			k.ended.Add(1)
		}),
		Answer: 64 << 10, Fields: 5, FieldBytes: 500, Header: 64 << 10,
		Idle: 5 * time.Second, Messages: 100, Conns: 3, Clock: k.clock,
	}
	if edit != nil {
		edit(&o)
	}
	k.Client = New(o)
	t.Cleanup(k.Close)
	return k
}

func (k *keeper) ask(t *testing.T, m *filter.Message) Result {
	t.Helper()
	r, err := k.Check(t.Context(), m)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// letters are the commands of which something was told, in order.
func (f *fake) letters() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var b strings.Builder
	for _, s := range f.told {
		if s[0] != cmdMacro {
			b.WriteByte(s[0])
		}
	}
	return b.String()
}

// ending waits until n connections have ended on the milter's side.
func (k *keeper) ending(t *testing.T, n int32) {
	t.Helper()
	for k.ended.Load() < n {
		select {
		case <-t.Context().Done():
			t.Fatalf("%d of %d connections have ended", k.ended.Load(), n)
		case <-time.After(time.Millisecond):
		}
	}
}

// TestReuse: the messages of one client go over one connection, on which options, client and greeting are
// told once, and the macros of each message with it; every other client has its own.
func TestReuse(t *testing.T) {
	t.Parallel()
	f := &fake{version: 6}
	k := newKeeper(t, func(o *Options) { o.Conns = 20 }, f.serve)
	for _, id := range []string{"one", "two", "three"} {
		m := filtertest.Mail(text)
		m.ID = id
		k.ask(t, m)
	}
	if got, want := f.letters(), "OCHMRRTLLLNBEMRRTLLLNBEMRRTLLLNBE"; got != want || k.conns.Load() != 1 {
		t.Errorf("%d connections, told %s, want %s", k.conns.Load(), got, want)
	}
	f.mu.Lock()
	told := strings.Join(f.told, "\n")
	f.mu.Unlock()
	for _, id := range []string{"one", "two", "three"} {
		if n := strings.Count(told, "i|"+id+"|"); n != 5 {
			t.Errorf("%s was named %d times", id, n)
		}
	}
	for i, edit := range []func(*filter.Message){
		func(m *filter.Message) { m.Addr = netip.MustParseAddr("192.0.2.8") },
		func(m *filter.Message) { m.HELO = "other.example.test" },
		func(m *filter.Message) { m.Name = "" },
		func(m *filter.Message) { m.TLS = "" },
		func(m *filter.Message) { m.User = "alice@example.test" },
	} {
		for range 2 {
			m := filtertest.Mail(text)
			edit(m)
			k.ask(t, m)
		}
		if want := int32(i + 2); k.conns.Load() != want {
			t.Errorf("client %d: %d connections, want %d", i, k.conns.Load(), want)
		}
	}
}

// TestDecisionsOfOne: what was said of one message does not hold for the next, except where the milter
// decided about the client: that connection is over.
func TestDecisionsOfOne(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		at     byte
		answer string
		conns  int32
		aborts int
	}{
		{cmdConnect, "r", 2, 0}, {cmdHelo, "r", 2, 0}, {cmdConnect, "a", 2, 0},
		{cmdMail, "r", 1, 2}, {cmdRcpt, "y550 5.1.1 No\x00", 1, 2}, {cmdData, "t", 1, 2}, {cmdHeader, "d", 1, 2},
		{cmdBody, "a", 1, 2}, {cmdBodyEnd, "r", 1, 0}, {cmdBodyEnd, "a", 1, 0},
		{cmdMail, "4", 2, 2}, {cmdBodyEnd, "f", 2, 0},
	} {
		f := &fake{version: 6, answers: map[byte][]string{tc.at: {tc.answer}}}
		k := newKeeper(t, nil, f.serve)
		first := k.ask(t, filtertest.Mail(text))
		second := k.ask(t, filtertest.Mail(text))
		if first.Refuse.String() != second.Refuse.String() || first.Hold != second.Hold {
			t.Errorf("%s at %c: first %+v, then %+v", tc.answer, tc.at, first, second)
		}
		k.Close()
		k.ending(t, tc.conns)
		if n := strings.Count(f.letters(), "A"); k.conns.Load() != tc.conns || n != tc.aborts {
			t.Errorf("%s at %c: %d connections, %d messages ended early, want %d and %d", tc.answer, tc.at,
				k.conns.Load(), n, tc.conns, tc.aborts)
		}
	}
}

// TestIdle: a connection ends with a good-bye when its time is over, when it has had its messages, when
// another is needed and there may be no more, and with the client.
func TestIdle(t *testing.T) {
	t.Parallel()
	f := &fake{version: 6}
	k := newKeeper(t, func(o *Options) { o.Messages, o.Conns = 3, 2 }, f.serve)
	k.ask(t, filtertest.Mail(text))
	k.clock.Advance(4 * time.Second)
	k.ask(t, filtertest.Mail(text))
	k.clock.Advance(4 * time.Second)
	if k.conns.Load() != 1 || k.ended.Load() != 0 {
		t.Errorf("%d connections, %d ended", k.conns.Load(), k.ended.Load())
	}
	k.clock.Advance(time.Second)
	k.ending(t, 1)
	for range 3 {
		k.ask(t, filtertest.Mail(text))
	}
	k.ending(t, 2)
	others := []string{"a.test", "b.test", "c.test"}
	for _, helo := range others {
		m := filtertest.Mail(text)
		m.HELO = helo
		k.ask(t, m)
	}
	k.ending(t, 3) // that of a.test
	m := filtertest.Mail(text)
	m.HELO = "b.test"
	k.ask(t, m)
	if k.conns.Load() != 5 {
		t.Errorf("%d connections, want 5", k.conns.Load())
	}
	k.Close()
	k.ending(t, 5)
	if n := strings.Count(f.letters(), "Q"); n != 5 {
		t.Errorf("%d good-byes, want 5", n)
	}
	k.ask(t, m) // whose message is on its way when the house closes
	k.ending(t, 6)
}

// TestGone: a milter that ends the connection between two messages, or when the second begins, is told the
// second on another one; the message is not lost, and not told a third time.
func TestGone(t *testing.T) {
	t.Parallel()
	for name, answers := range map[string]int{"between": 0, "at the second": 1} {
		var f fake
		f.version = 6
		k := newKeeper(t, nil, func(c net.Conn) {
			// It serves one message, and of the next one no more than so many packets.
			in, out := net.Pipe()
			defer in.Close()
			var wait sync.WaitGroup
			wait.Go(func() { f.serve(out) })
			wait.Go(func() { _, _ = io.Copy(c, in) })
			ends := 0
			for left := answers; ends == 0 || left > 0; {
				cmd, data, err := readPacket(c)
				if err != nil {
					break
				}
				if ends > 0 {
					left--
					continue
				}
				if writePacket(in, string(cmd)+string(data)) != nil {
					break
				}
				if cmd == cmdBodyEnd {
					ends++
				}
			}
			// What it answers to the end must have gone before the connection goes.
			_ = writePacket(in, string(rune(cmdQuit)))
			out.Close()
			wait.Wait()
		})
		for i := range int32(3) {
			k.ask(t, filtertest.Mail(text))
			if answers == 0 {
				k.ending(t, i+1)
			}
		}
		if n := strings.Count(f.letters(), "M"); k.conns.Load() != 3 || n != 3 {
			t.Errorf("%s: %d connections, told of %d messages", name, k.conns.Load(), n)
		}
	}
}

// TestNoSecondChance: only a connection that has ended is a reason to ask again. Nonsense and silence on a
// kept connection are the milter's failures.
func TestNoSecondChance(t *testing.T) {
	t.Parallel()
	for _, answer := range []string{"z", ""} {
		var mails atomic.Int32
		asked := make(chan struct{}, 10)
		f := &fake{version: 6}
		k := newKeeper(t, nil, func(c net.Conn) {
			for {
				cmd, _, err := readPacket(c)
				if err != nil {
					return
				}
				said := "c"
				switch {
				case cmd == cmdOptions:
					said = "O" + string(binary.BigEndian.AppendUint32(nil, 6)) + strings.Repeat("\x00", 8)
				case cmd == cmdMacro:
					continue
				case cmd == cmdMail && mails.Add(1) > 1:
					said = answer
					asked <- struct{}{}
				}
				if said != "" && writePacket(c, said) != nil {
					return
				}
			}
		})
		k.ask(t, filtertest.Mail(text))
		ctx, cancel := context.WithCancel(t.Context())
		if answer == "" { // silence: it is given up a while after the question was heard
			go func() {
				<-asked
				time.AfterFunc(20*time.Millisecond, cancel)
			}()
		}
		if r, err := k.Check(ctx, filtertest.Mail(text)); err == nil {
			t.Errorf("%q: %+v", answer, r)
		}
		cancel()
		if k.conns.Load() != 1 || mails.Load() != 2 {
			t.Errorf("%q: %d connections, %d messages; %s", answer, k.conns.Load(), mails.Load(), f.letters())
		}
	}
}

// TestStray: a milter that says more than it was asked is not believed about the next message.
func TestStray(t *testing.T) {
	t.Parallel()
	said := make(chan struct{})
	for name, late := range map[string]bool{"with the answer": false, "later": true} {
		var served atomic.Int32
		k := newKeeper(t, nil, func(c net.Conn) {
			end := []string{"c", "a"}
			if served.Add(1) > 1 {
				end = []string{"r"}
			} else if late {
				end = end[:1]
			}
			f := &fake{version: 6, answers: map[byte][]string{cmdBodyEnd: end}}
			for {
				cmd, _, err := readPacket(c)
				if err != nil || cmd == cmdQuit {
					return
				}
				switch {
				case cmd == cmdOptions:
					err = writePacket(c, "O"+string(binary.BigEndian.AppendUint32(nil, 6))+strings.Repeat("\x00", 8))
				case cmd == cmdBodyEnd:
					var all []byte
					for _, p := range f.answers[cmd] {
						all = append(binary.BigEndian.AppendUint32(all, uint32(len(p))), p...)
					}
					_, err = c.Write(all)
					if late && served.Load() == 1 {
						err = errors.Join(err, writePacket(c, "a"))
						said <- struct{}{}
					}
				case cmd != cmdMacro:
					err = writePacket(c, "c")
				}
				if err != nil {
					return
				}
			}
		})
		if r := k.ask(t, filtertest.Mail(text)); r.Refuse.Code != 0 {
			t.Errorf("%s: %+v", name, r)
		}
		if late {
			<-said
		}
		if r := k.ask(t, filtertest.Mail(text)); r.Refuse.Code != 550 || k.conns.Load() != 2 {
			t.Errorf("%s: %+v over %d connections", name, r, k.conns.Load())
		}
	}
}

// TestPoolManyAtOnce: questions at the same time never share a connection, and no more are kept than may be.
func TestPoolManyAtOnce(t *testing.T) {
	t.Parallel()
	f := &fake{version: 6, actions: actAddHeaders, answers: map[byte][]string{cmdBodyEnd: {"hX\x00y\x00", "c"}}}
	k := newKeeper(t, nil, f.serve)
	var wait sync.WaitGroup
	for range 6 {
		wait.Go(func() {
			for range 20 {
				if r, err := k.Check(t.Context(), filtertest.Mail(text)); err != nil || len(r.Fields) != 1 {
					t.Errorf("%+v, %v", r, err)
				}
			}
		})
	}
	wait.Wait()
	k.pool.mu.Lock()
	if len(k.pool.kept) > 3 || k.pool.inUse != 0 {
		t.Errorf("%d kept, %d in use", len(k.pool.kept), k.pool.inUse)
	}
	k.pool.mu.Unlock()
	if n := strings.Count(f.letters(), "M"); n != 120 {
		t.Errorf("%d messages", n)
	}
}

func BenchmarkCheck(b *testing.B) {
	for name, idle := range map[string]time.Duration{"a connection each": 0, "kept": time.Minute} {
		b.Run(name, func(b *testing.B) {
			o := Options{
				Address: filtertest.ServeUnix(b, filtertest.Milter("c")), Answer: 64 << 10, Fields: 5,
				FieldBytes: 500, Header: 64 << 10, Idle: idle, Messages: 100, Conns: 3,
			}
			c := New(o)
			defer c.Close()
			for b.Loop() {
				if _, err := c.Check(b.Context(), filtertest.Mail(text)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

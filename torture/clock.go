package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"tram/bench/ledger"
	"tram/bench/wire"
	"tram/internal/admin"
	"tram/internal/clock"
	"tram/internal/config"
	"tram/internal/server"
)

var clockJump = Fault{
	ID: "D17", Name: "clock jumps with a full queue",
	Target: "at most one extra attempt for each message and jump, no early bounce, no UID given twice",
	Rounds: rounds{100, 1000, 10_000}, Run: runClockJump,
}

// jumping is the machine's clock with somebody who sets it. Timers go on as they do on a machine:
// they count time that passes, not what the clock shows.
type jumping struct{ offset atomic.Int64 }

func (j *jumping) Now() time.Time                       { return time.Now().Add(time.Duration(j.offset.Load())) }
func (j *jumping) NewTimer(d time.Duration) clock.Timer { return clock.System.NewTimer(d) }

func (j *jumping) AfterFunc(d time.Duration, fn func()) clock.Timer {
	return clock.System.AfterFunc(d, fn)
}

// jumps are what the clock shows more than before. Hours of summer time and smeared seconds are
// smaller jumps than these to a server that counts in UTC.
var jumps = []time.Duration{
	time.Hour, -time.Hour, 24 * time.Hour, -24 * time.Hour, 10 * 365 * 24 * time.Hour,
	-10 * 365 * 24 * time.Hour,
}

// runClockJump runs the server in this process, for the binary's clock is the machine's. The next
// hop defers everything; each jump is followed by a time in which nothing is due.
func runClockJump(ctx context.Context, t *Trial) error {
	base, err := freeBase()
	if err != nil {
		return err
	}
	w := &World{t: t, base: base, data: filepath.Join(t.Dir, "data"), said: &transcript{}}
	if w.sink, err = openSink(w.addr(600)); err != nil {
		return err
	}
	defer w.sink.close()
	attempts := attempted{all: map[string]int{}}
	w.sink.answer = attempts.deferred
	now := &jumping{}
	house, stop, err := w.inProcess(ctx, now)
	if err != nil {
		return err
	}
	defer stop()
	l := ledger.New(w.where(), t.Seed)
	s, err := w.submit(alice)
	if err != nil {
		return err
	}
	for ; t.Done < t.Count; t.Done++ {
		if t.Done%90 == 89 { // a session has an end
			s.Close()
			if s, err = w.submit(alice); err != nil {
				return err
			}
		}
		if ack, _, err := l.Submit(s, alice); ack != wire.Acked {
			return fmt.Errorf("submission %d: %w", t.Done, err)
		}
	}
	s.Close()
	settle := func() {
		for last := -1; last != attempts.sum() && ctx.Err() == nil; pause(ctx, 1500*time.Millisecond) {
			last = attempts.sum()
		}
	}
	err = until(ctx, 2*time.Minute, "each message was tried", func() bool { return attempts.sum() >= t.Count })
	if err != nil {
		return err
	}
	settle()
	worst, lastUID := 0, 0
	for _, jump := range jumps {
		before := attempts.each()
		now.offset.Add(int64(jump))
		settle()
		for token, n := range attempts.each() {
			worst = max(worst, n-before[token])
		}
		uid, err := w.probe(l)
		if err != nil {
			return fmt.Errorf("after a jump of %v: %w", jump, err)
		}
		if uid <= lastUID {
			t.Miss("after a jump of %v UID %d was given after %d", jump, uid, lastUID)
		}
		lastUID = uid
	}
	t.Note("%d messages, %d jumps, at most %d extra attempts after one", t.Count, len(jumps), worst)
	if worst > 1 {
		t.Miss("%d extra attempts of a message after one jump", worst)
	}
	waiting, err := waitingIn(ctx, house)
	if err != nil {
		return err
	}
	if waiting != t.Count {
		t.Miss("%d of %d messages still wait: the rest was given up early", waiting, t.Count)
	}
	return stop()
}

// attempted counts the attempts of each message at a next hop that takes none.
type attempted struct {
	mu  sync.Mutex
	all map[string]int
}

func (a *attempted) deferred(raw []byte) string {
	_, rest, _ := bytes.Cut(raw, []byte("\r\nX-Ledger: "))
	token, _, _ := bytes.Cut(rest, []byte("\r\n"))
	a.mu.Lock()
	defer a.mu.Unlock()
	a.all[string(token)]++
	return "451 4.7.1 come again"
}

func (a *attempted) sum() (n int) {
	for _, each := range a.each() {
		n += each
	}
	return n
}

func (a *attempted) each() map[string]int {
	a.mu.Lock()
	defer a.mu.Unlock()
	c := make(map[string]int, len(a.all))
	for k, v := range a.all {
		c[k] = v
	}
	return c
}

// inProcess opens the house as `tram demo --measure` does, with a clock of ours.
func (w *World) inProcess(ctx context.Context, now clock.Clock) (house *server.Server, stop func() error, err error) {
	c := config.Default()
	c.Hostname, c.Data = "mail."+domain, w.data
	c.Listen = config.Listen{SMTP: []string{w.addr(25)}, Submission: []string{w.addr(587)}, IMAP: []string{w.addr(143)}}
	c.Certs = config.Certs{Source: config.CertsSelfMade, Names: []string{"localhost"}}
	c.Smarthost = config.Smarthost{Address: w.addr(600), Security: config.TLSOptional}
	c.Authentication.Enabled = false // there is nobody to ask for names
	s, err := server.Open(ctx, server.Options{Config: c, Clock: now, AllowPrivate: true, Measure: true})
	if err != nil {
		return nil, nil, err
	}
	if _, err := s.Admin.AddDomain(ctx, domain); err != nil {
		return nil, nil, errors.Join(err, s.Close())
	}
	for _, who := range []string{alice, bob} {
		_, err := s.Admin.AddAccount(ctx, admin.NewAccount{Address: who, Password: password, AllowCommonPassword: true})
		if err != nil {
			return nil, nil, errors.Join(err, s.Close())
		}
	}
	run, cancel := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- s.Run(run) }()
	select {
	case <-s.Ready():
	case err := <-ended:
		cancel()
		return nil, nil, errors.Join(err, s.Close())
	}
	return s, sync.OnceValue(func() error { cancel(); return errors.Join(<-ended, s.Close()) }), nil
}

// probe appends a message and returns its UID: sessions go on whatever the clock shows.
func (w *World) probe(l *ledger.Ledger) (int, error) {
	c, err := w.read(bob)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	_, text, err := l.Append(c, bob)
	if err != nil {
		return 0, err
	}
	box, err := c.Select("INBOX", "")
	return wire.Number([]byte(text), fmt.Sprintf("[APPENDUID %d ", box.UIDValidity)), err
}

// waitingIn is the number of messages in the queue of a server in this process.
func waitingIn(ctx context.Context, s *server.Server) (int, error) {
	n := 0
	for filter := (admin.QueueFilter{}); ; {
		page, err := s.Admin.QueueList(ctx, filter)
		if err != nil {
			return n, err
		}
		n += len(page.Items)
		if !page.More {
			return n, nil
		}
		filter.After = page.Next
	}
}

package main

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"tram/bench/wire"
)

var outboundGap = Fault{
	ID: "D14", Name: "killed between a remote 250 and the record of it",
	Target: "at most one duplicate for each kill, with the same Message-ID", Rounds: rounds{4, 60, 500},
	Run: runOutboundGap,
}

// runOutboundGap has the next hop take a message, and kills the server just before or after the
// reply reaches it.
func runOutboundGap(ctx context.Context, t *Trial) error {
	w, err := t.started(ctx)
	if err != nil {
		return err
	}
	t.Recovery = 0
	l, err := w.ledger()
	if err != nil {
		return err
	}
	var armed atomic.Bool
	var mu sync.Mutex
	ids := map[string]int{}
	reached := make(chan struct{}, 1)
	var killed atomic.Pointer[chan struct{}] // what the reply waits for, in every other round
	w.sink.mu.Lock()
	w.sink.answer = func(raw []byte) string {
		_, rest, _ := bytes.Cut(raw, []byte("\r\nMessage-ID: "))
		id, _, _ := bytes.Cut(rest, []byte("\r\n"))
		mu.Lock()
		ids[string(id)]++
		mu.Unlock()
		if armed.CompareAndSwap(true, false) {
			reached <- struct{}{}
			if wait := killed.Load(); wait != nil {
				<-*wait
			}
		}
		return "250 taken"
	}
	w.sink.mu.Unlock()
	for ; t.Done < t.Count; t.Done++ {
		dead := make(chan struct{})
		killed.Store(nil)
		if t.Done%2 == 0 {
			killed.Store(&dead)
		}
		armed.Store(true)
		s, err := w.submit(alice)
		if err != nil {
			return err
		}
		ack, _, err := l.Submit(s, alice)
		if ack != wire.Acked {
			return err
		}
		s.Close()
		select {
		case <-reached:
		case <-time.After(30 * time.Second):
			return fmt.Errorf("round %d: nothing was sent: %s", t.Done, w.said)
		}
		pause(ctx, time.Duration(t.Rnd.Int64N(int64(3*time.Millisecond))))
		w.Kill()
		close(dead)
		if err := w.Start(ctx); err != nil {
			return err
		}
		err = until(ctx, time.Minute, "the message has left", func() bool { // else the next kill meets it again
			n, err := w.queued()
			return err == nil && n == 0
		})
		if err != nil {
			return err
		}
	}
	if err := w.Verify(ctx, l); err != nil {
		return err
	}
	mu.Lock()
	defer mu.Unlock()
	if len(ids) != t.Count {
		t.Miss("%d messages arrived under %d Message-IDs", t.Count, len(ids))
	}
	for id, n := range ids {
		if n > 2 {
			t.Miss("%s arrived %d times after one kill", id, n)
		}
	}
	return nil
}

var inboundGap = Fault{
	ID: "D15", Name: "cut between the final dot and the 250",
	Target: "none doubled, no intended repetition suppressed, 250 within 200 ms at p99",
	Rounds: rounds{30, 300, 1000}, Run: runInboundGap,
}

// runInboundGap has a proxy cut the connection of a sender who then comes again, as RFC 1047 tells;
// and sends others twice on purpose.
func runInboundGap(ctx context.Context, t *Trial) error {
	w, err := t.started(ctx)
	if err != nil {
		return err
	}
	l, err := w.ledger()
	if err != nil {
		return err
	}
	p, err := openProxy(w.addr(602), w.addr(25))
	if err != nil {
		return err
	}
	defer p.close()
	users := w.where().Users
	for ; t.Done < t.Count && ctx.Err() == nil; t.Done++ {
		p.how.Store(int64(t.Done) % int64(cuts))
		p.at.Store(int64(t.Rnd.IntN(8 << 10)))
		if _, err := l.Resend(users[t.Done%len(users)], p.target(), w.smtp(), w.smtp()); err != nil {
			return fmt.Errorf("sending again after cut %d: %w", p.how.Load(), err)
		}
	}
	r, err := l.Compare()
	if err != nil {
		return err
	}
	w.count(r)
	took, err := w.repeat(t.Count)
	if err != nil {
		return err
	}
	t.Note("%d intended repetitions kept, 250 p99 %.0f ms", t.Count, ms(took.p(0.99)))
	if took.p(0.99) > 200*time.Millisecond {
		t.Late("the 250 came after %v at p99", took.p(0.99))
	}
	if err := w.Stop(); err != nil {
		return err
	}
	return w.Check()
}

// repeat sends n messages twice, seeing the acknowledgement of each: both must be kept.
func (w *World) repeat(n int) (*latency, error) {
	took := &latency{}
	c, err := w.read(alice)
	if err != nil {
		return took, err
	}
	defer c.Close()
	before, err := c.Select("INBOX", "")
	if err != nil {
		return took, err
	}
	for i := range n {
		msg := wire.Stuff(fmt.Appendf(nil,
			"Subject: twice\r\nMessage-ID: <twice%d@load.test>\r\n\r\nOn purpose.\r\n", i))
		s, err := wire.DialSMTP(w.smtp(), "", "")
		if err != nil {
			return took, err
		}
		for try := range 2 {
			ack, d, err := s.Send("twice@load.test", alice, msg)
			if ack != wire.Acked {
				return took, err
			}
			took.add(d)
			if try == 0 && i%2 == 0 { // every other comes in a session of its own
				s.Quit()
				if s, err = wire.DialSMTP(w.smtp(), "", ""); err != nil {
					return took, err
				}
			}
		}
		s.Quit()
	}
	after, err := c.Select("INBOX", "")
	if err != nil {
		return took, err
	}
	if got := after.Exists - before.Exists; got != 2*n {
		w.t.Miss("of %d messages sent twice on purpose %d are there, not %d", n, got, 2*n)
	}
	return took, nil
}

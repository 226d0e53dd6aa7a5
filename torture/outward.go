package main

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"tram/bench/wire"
)

// outward makes a world that finds its own way by names, with next hops of some kinds: see the type
// names. They listen on port 25, which is why it needs root.
func (t *Trial) outward(ctx context.Context, kinds ...string) (*World, *names, map[string]*sink, error) {
	w, err := t.demo()
	if err != nil {
		return nil, nil, nil, err
	}
	n, err := openNames(w.addr(601))
	if err != nil {
		return nil, nil, nil, err
	}
	t.OnEnd(n.close)
	w.args = []string{"--measure", "--dns", w.addr(601)}
	sinks := map[string]*sink{}
	for _, kind := range kinds {
		k, err := openSink(n.hosts[kind] + ":25")
		if err != nil {
			return nil, nil, nil, err
		}
		t.OnEnd(k.close)
		sinks[kind] = k
	}
	return w, n, sinks, w.Start(ctx)
}

// submitTo hands in count messages over several sessions; to gives the domain of each.
func (w *World) submitTo(ctx context.Context, count int, to func(i int) string) error {
	var next atomic.Int64
	var mu sync.Mutex
	var failed []error
	users := w.where().Users
	var wg sync.WaitGroup
	for worker := range min(8, count) {
		wg.Go(func() {
			o := &outgoing{w: w, user: users[worker%len(users)]}
			defer o.quit()
			for i := int(next.Add(1)) - 1; i < count && ctx.Err() == nil; i = int(next.Add(1)) - 1 {
				if err := o.send(i, to(i)); err != nil {
					mu.Lock()
					failed = append(failed, err)
					mu.Unlock()
				}
			}
		})
	}
	wg.Wait()
	if len(failed) > 0 {
		return fmt.Errorf("%d of %d submissions failed: %w", len(failed), count, failed[0])
	}
	return ctx.Err()
}

// outgoing hands in mail over one session after the other: each has an end, and one comes again.
type outgoing struct {
	w    *World
	user string
	s    *wire.SMTP
}

func (o *outgoing) send(i int, domain string) (err error) {
	msg := wire.Stuff(fmt.Appendf(nil, "From: %s\r\nTo: r%d@%s\r\nSubject: out %d\r\n\r\nOn its way.\r\n",
		o.user, i, domain, i))
	for range 3 {
		if o.s == nil {
			if o.s, err = o.w.submit(o.user); err != nil {
				o.s = nil
				continue
			}
		}
		var ack wire.Ack
		if ack, _, err = o.s.Send(o.user, fmt.Sprintf("r%d@%s", i, domain), msg); ack == wire.Acked {
			return nil
		}
		o.s.Close()
		o.s = nil
	}
	return err
}

func (o *outgoing) quit() {
	if o.s != nil {
		o.s.Quit()
	}
}

var backlog = Fault{
	ID: "O9", Name: "a queue full of mail to a dead domain", Needs: []need{root},
	Rounds: rounds{500, 20_000, 1_000_000},
	Target: "one to a living domain within 5 s, at most 512 MiB, restart within 10 s, one probe for each wait",
	Run:    runBacklog,
}

func runBacklog(ctx context.Context, t *Trial) error {
	w, _, sinks, err := t.outward(ctx, "live", "dead")
	if err != nil {
		return err
	}
	t.Recovery = 0
	dead := sinks["dead"]
	dead.greeting = "421 4.3.2 not today"
	peak := w.peak(ctx)
	start := time.Now()
	if err := w.submitTo(ctx, t.Count, func(int) string { return "dead.test" }); err != nil {
		return err
	}
	t.Done = t.Count
	t.Note("%d taken in %.1f s", t.Count, time.Since(start).Seconds())
	live := func(when string) error {
		before, start := sinks["live"].taken.Load(), time.Now()
		if err := w.submitTo(ctx, 1, func(int) string { return "live.test" }); err != nil {
			return err
		}
		err := until(ctx, 30*time.Second, "the living one arrives "+when, func() bool {
			return sinks["live"].taken.Load() > before
		})
		took := time.Since(start)
		t.Note("the living one %s in %.2f s", when, took.Seconds())
		if took > 5*time.Second {
			t.Late("the one to a living domain took %v %s", took, when)
		}
		return err
	}
	if err := live("beside them"); err != nil {
		return err
	}
	most := peak()
	t.Note("%d MiB at the peak; %d probes", mib(most), dead.sessions.Load())
	if most > 512<<20 {
		t.Miss("%d MiB at the peak", mib(most))
	}
	elapsed := time.Since(start)
	// The first session, before anything is known, may be as many as a destination gets at first (2);
	// then one for each wait of five minutes or more.
	if probes := dead.sessions.Load(); probes > 2+int64(elapsed/(4*time.Minute))*2 {
		t.Miss("%d probes of the dead domain in %v", probes, elapsed)
	}
	w.Kill()
	if err := w.Start(ctx); err != nil {
		return err
	}
	if t.Recovery > 10*time.Second {
		t.Late("ready again only after %v", t.Recovery)
	}
	if err := live("after a kill"); err != nil {
		return err
	}
	if err := w.Stop(); err != nil {
		return err
	}
	return w.Check()
}

var slowRemotes = Fault{
	ID: "O10", Name: "remote hosts that accept and say nothing", Needs: []need{root}, Rounds: rounds{50, 500, 500},
	Target: "the others get at least 80 % of the throughput", Run: runSlowRemotes,
}

// runSlowRemotes measures how fast mail to twenty healthy domains leaves, with and without as many
// silent domains as there are rounds.
func runSlowRemotes(ctx context.Context, t *Trial) error {
	w, _, sinks, err := t.outward(ctx, "live", "stall")
	if err != nil {
		return err
	}
	t.Recovery = 0
	release := make(chan struct{})
	sinks["stall"].stall = func() { <-release }
	count := pick(t, 400, 3000, 10_000)
	rate := func() (float64, error) {
		before, start := sinks["live"].taken.Load(), time.Now()
		if err := w.submitTo(ctx, count, func(i int) string { return fmt.Sprintf("live%d.test", i%20) }); err != nil {
			return 0, err
		}
		err := until(ctx, time.Minute, "healthy mail arrives", func() bool {
			return sinks["live"].taken.Load() >= before+int64(count)
		})
		return float64(count) / time.Since(start).Seconds(), err
	}
	if _, err := rate(); err != nil { // warm
		return err
	}
	base, err := rate()
	if err != nil {
		return err
	}
	if err := w.submitTo(ctx, t.Count, func(i int) string { return fmt.Sprintf("stall%d.test", i) }); err != nil {
		return err
	}
	t.Done = t.Count
	if err := until(ctx, 20*time.Second, "silent hosts are tried", func() bool {
		return int(sinks["stall"].sessions.Load()) >= min(50, t.Count)
	}); err != nil {
		t.Miss("%v: %d are", err, sinks["stall"].sessions.Load())
	}
	beside, err := rate()
	close(release)
	if err != nil {
		return err
	}
	t.Note("%.0f a second without, %.0f with %d silent sessions: %.0f %%", base, beside,
		sinks["stall"].sessions.Load(), 100*beside/base)
	if beside < 0.8*base {
		t.Late("%.0f a second beside silent hosts, %.0f without", beside, base)
	}
	if err := w.Stop(); err != nil {
		return err
	}
	return w.Check()
}

var namesLost = Fault{
	ID: "O11", Name: "a name server that fails", Needs: []need{root}, Rounds: rounds{5, 100, 500},
	Target: "0 permanent bounces, inbound mail from such domains taken within 20 s", Run: runNamesLost,
}

// brokenNames are domains whose names cannot be found out now.
var brokenNames = []string{"servfail", "slow", "cut", "lame", "loop"}

func runNamesLost(ctx context.Context, t *Trial) error {
	w, n, _, err := t.outward(ctx)
	if err != nil {
		return err
	}
	t.Recovery = 0
	err = w.submitTo(ctx, t.Count, func(i int) string {
		return fmt.Sprintf("%s.d%d.test", brokenNames[i%len(brokenNames)], i)
	})
	if err != nil {
		return err
	}
	t.Done = t.Count
	slowest := time.Duration(0)
	for _, word := range brokenNames {
		s, err := wire.DialSMTP(w.smtp(), "", "")
		if err != nil {
			return err
		}
		start := time.Now()
		ack, _, err := s.Send("someone@"+word+".in.test", bob, wire.Stuff([]byte("Subject: in\r\n\r\nHello.\r\n")))
		s.Close()
		if ack != wire.Acked {
			t.Miss("mail from %s.in.test: %v", word, err)
		}
		slowest = max(slowest, time.Since(start))
	}
	if slowest > 20*time.Second {
		t.Late("inbound mail took %v", slowest)
	}
	pause(ctx, pick(t, 14*time.Second, 30*time.Second, time.Minute)) // slow ones end, everything was tried
	waiting, err := w.queued()
	if err != nil {
		return err
	}
	if waiting != t.Count {
		t.Miss("%d of %d wait: the others were given up", waiting, t.Count)
	}
	for _, user := range w.where().Users[:1] {
		c, err := w.read(user)
		if err != nil {
			return err
		}
		box, err := c.Select("INBOX", "")
		c.Close()
		if err != nil || box.Exists > 0 {
			t.Miss("%s got %d notices: %v", user, box.Exists, err)
		}
	}
	t.Note("%d questions, inbound mail in %.2f s at most, %d wait, 0 notices", n.asked.Load(),
		slowest.Seconds(), waiting)
	if err := w.Stop(); err != nil {
		return err
	}
	return w.Check()
}

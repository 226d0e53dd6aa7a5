package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"tram/bench/ledger"
	"tram/bench/wire"
)

var hotMailbox = Fault{
	ID: "O7", Name: "one hot mailbox", Rounds: rounds{1, 1, 1}, Run: runHotMailbox,
	Target: "10,000 messages a minute to one person; others at most twice as slow, or 50 ms",
}

func runHotMailbox(ctx context.Context, t *Trial) error {
	w, err := t.started(ctx)
	if err != nil {
		return err
	}
	t.Recovery = 0
	others := w.othersWork()
	base, err := baseline(ctx, others)
	if err != nil {
		return err
	}
	l := ledger.New(w.where(), t.Seed) // without a journal: its syncs would bound the rate
	duration := pick(t, 3*time.Second, 20*time.Second, time.Minute)
	work, cancel := context.WithTimeout(ctx, duration)
	defer cancel()
	during := sample(work, 20*time.Millisecond, others)
	const perMinute, sessions = 10_000, 16
	tick := time.NewTicker(time.Minute / perMinute)
	defer tick.Stop()
	var sent atomic.Int64
	parallel(work, sessions, func(ctx context.Context) {
		for ctx.Err() == nil {
			s, err := wire.DialSMTP(w.smtp(), "", "")
			for n := 0; err == nil && ctx.Err() == nil && n < 90; n++ {
				select {
				case <-tick.C:
					if _, _, err = l.Send(s, bob); err == nil {
						sent.Add(1)
					}
				case <-ctx.Done():
				}
			}
			if s != nil {
				s.Quit()
			}
		}
	})()
	during.stop()
	t.Done = 1
	t.Note("%.0f messages a minute to one person; undisturbed p99 %.0f ms", float64(sent.Load())/duration.Minutes(),
		ms(base.p(0.99)))
	during.judge(t, "mail and reading of another", twice(base))
	if float64(sent.Load()) < 0.8*perMinute*duration.Minutes() {
		t.Miss("only %d messages in %v", sent.Load(), duration)
	}
	return w.verifyHot(l)
}

// verifyHot counts what bob has. Verify would not do: the honest sender's mail is in no ledger.
func (w *World) verifyHot(l *ledger.Ledger) error {
	c, err := w.read(bob)
	if err != nil {
		return err
	}
	box, err := c.Select("INBOX", "")
	c.Close()
	if err != nil {
		return err
	}
	if bound := len(l.Bound()); box.Exists < bound {
		w.t.Miss("%d messages are there of %d acknowledged", box.Exists, bound)
	}
	if err := w.Stop(); err != nil {
		return err
	}
	return w.Check()
}

// othersWork is a delivery to alice, and her looking at her mailbox.
func (w *World) othersWork() func() error {
	mail := w.honestMail(alice, honest)
	var c *wire.IMAP
	return func() error {
		if err := mail(); err != nil {
			return err
		}
		if c == nil {
			var err error
			if c, err = w.read(alice); err != nil {
				return err
			}
		}
		box, err := c.Select("INBOX", "")
		if err == nil {
			err = c.Do(nil, fmt.Sprintf("FETCH %d (FLAGS ENVELOPE)", max(1, box.Exists)))
		}
		return err
	}
}

var expensive = Fault{
	ID: "O12", Name: "one person's expensive questions", Rounds: rounds{2000, 10_000, 100_000}, Run: runExpensive,
	Target: "others at most twice as slow, or 50 ms; a question ends within 1 s of its asker",
}

// runExpensive has one person ask the dearest questions about as many messages as there are rounds.
func runExpensive(ctx context.Context, t *Trial) error {
	w, err := t.started(ctx)
	if err != nil {
		return err
	}
	t.Recovery = 0
	if err := w.fillBob(t.Count); err != nil {
		return err
	}
	t.Done = t.Count
	others := w.othersWork()
	base, err := baseline(ctx, others)
	if err != nil {
		return err
	}
	questions := []string{`SEARCH BODY "not to be found anywhere"`, "SORT (SUBJECT FROM REVERSE DATE) UTF-8 ALL",
		"THREAD REFERENCES UTF-8 ALL", `SEARCH OR TEXT "nowhere at all" NOT HEADER X-None "something"`}
	work, cancel := context.WithTimeout(ctx, pick(t, 3*time.Second, 15*time.Second, time.Minute))
	defer cancel()
	during := sample(work, 20*time.Millisecond, others)
	var asked atomic.Int64
	parallel(work, 4, func(ctx context.Context) {
		c, err := w.read(bob)
		if err != nil {
			return
		}
		defer c.Close()
		if _, err := c.Select("INBOX", ""); err != nil {
			return
		}
		for ctx.Err() == nil {
			c.Do(nil, questions[int(asked.Add(1))%len(questions)])
		}
	})()
	during.stop()
	t.Note("%d questions over %d messages; undisturbed p99 %.0f ms", asked.Load(), t.Count, ms(base.p(0.99)))
	// The asker's goroutines and the sampler's share two cores: half of them is his by right.
	during.judge(t, "mail and reading of another", twice(base))
	if err := w.leaveAsking(ctx, questions[0]); err != nil {
		return err
	}
	if err := w.Stop(); err != nil {
		return err
	}
	return w.Check()
}

// fillBob gives bob n messages.
func (w *World) fillBob(n int) error {
	c, err := w.read(bob)
	if err != nil {
		return err
	}
	defer c.Close()
	for i := 0; i < n; {
		var batch [][]byte
		for ; len(batch) < 100 && i < n; i++ {
			line := fmt.Appendf(nil, "line of the message number %d, in words that are often searched for\r\n", i)
			text := bytes.Repeat(line, 30)
			batch = append(batch, append(fmt.Appendf(nil, "From: p%d@load.test\r\nSubject: Re: topic %d\r\n"+
				"Message-ID: <f%d@load.test>\r\nReferences: <f%d@load.test>\r\n\r\n", i%50, i%97, i, i/3), text...))
		}
		if ack, _, err := c.Append("INBOX", "()", batch...); ack != wire.Acked {
			return err
		}
	}
	return nil
}

// leaveAsking asks and hangs up, on several connections, and waits until the processor is at rest.
func (w *World) leaveAsking(ctx context.Context, question string) error {
	idle, err := w.busy(ctx, 500*time.Millisecond)
	if err != nil {
		return err
	}
	for range 6 {
		c, err := w.read(bob)
		if err != nil {
			return err
		}
		if _, err := c.Select("INBOX", ""); err != nil {
			return err
		}
		if _, err := c.Send(question); err != nil {
			return err
		}
		c.Close()
	}
	pause(ctx, time.Second)
	after, err := w.busy(ctx, 500*time.Millisecond)
	w.t.Note("processor use %.0f %% before, %.0f %% a second after six askers hung up", 100*idle, 100*after)
	if after > idle+0.3 {
		w.t.Late("a second after the askers left the server still uses %.0f %% of a core", 100*after)
	}
	return err
}

// busy is the share of a core that the server uses over some time.
func (w *World) busy(ctx context.Context, over time.Duration) (float64, error) {
	before, err := w.ticks()
	if err != nil {
		return 0, err
	}
	start := time.Now()
	pause(ctx, over)
	after, err := w.ticks()
	const perSecond = 100 // USER_HZ of Linux
	return float64(after-before) / perSecond / time.Since(start).Seconds(), err
}

func (w *World) ticks() (int, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", w.pid()))
	if err != nil {
		return 0, err
	}
	f := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	user, err := strconv.Atoi(f[11])
	if err != nil {
		return 0, err
	}
	system, err := strconv.Atoi(f[12])
	return user + system, err
}

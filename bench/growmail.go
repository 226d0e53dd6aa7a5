package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"tram/bench/wire"
)

// mailbox fills one INBOX and measures at each size what a person with such a mailbox meets.
func (g *growth) mailbox() error {
	if err := g.s.up(); err != nil {
		return err
	}
	for _, n := range g.sizes(1000, 100_000, 1_000_000) {
		r, start := Result{}, time.Now()
		added, err := fill(g.s, "INBOX", n)
		if err != nil {
			return fmt.Errorf("fill to %d: %w", n, err)
		}
		r["fill_per_s"] = float64(added) / time.Since(start).Seconds()
		cpu := g.s.cpu()
		took, err := g.s.quiet(2 * time.Hour)
		if err != nil {
			return err
		}
		r["index_s"] = took.Seconds()
		r["index_cpu_s_per_1k"] = (g.s.cpu() - cpu) / float64(added) * 1000
		load := smtpLoad{messages: 1000, mix: sizes4k, users: []int{0}}
		if err := g.beside(r, load); err != nil {
			return fmt.Errorf("deliver at %d: %w", n, err)
		}
		if err := g.settleAndRestart(r); err != nil {
			return err
		}
		if err := g.readMailbox(n, r); err != nil {
			return fmt.Errorf("read at %d: %w", n, err)
		}
		r["mib"] = g.s.pss() / 1024
		r["disk_bytes_per_message"] = (diskUse(g.s.life.folder()) - g.empty) / float64(n)
		if err := g.add(float64(n), r); err != nil {
			return err
		}
	}
	return nil
}

// settleAndRestart empties the server's caches.
func (g *growth) settleAndRestart(r Result) error {
	if err := g.s.settled(); err != nil {
		return err
	}
	return g.restart(r)
}

// readMailbox measures the commands of mail programs, the first SELECT on a fresh process.
func (g *growth) readMailbox(n int, r Result) error {
	c, err := g.s.imap(0)
	if err != nil {
		return err
	}
	defer c.Close()
	choose := func(int) error { _, err := c.Select("INBOX", ""); return err }
	if r["select_first_ms"], err = timed(1, choose); err != nil {
		return err
	}
	rnd := rand.New(rand.NewPCG(uint64(n), 3))
	for name, fn := range map[string]func(int) error{
		"select_ms":    choose,
		"list_50_ms":   func(int) error { return c.Do(nil, fmt.Sprintf("FETCH %d:* (UID FLAGS ENVELOPE)", n-49)) },
		"fetch_one_ms": func(int) error { return c.Do(nil, fmt.Sprintf("FETCH %d (BODY.PEEK[])", 1+rnd.IntN(n))) },
		"store_ms": func(k int) error {
			return c.Do(nil, fmt.Sprintf(`STORE %d %cFLAGS (\Seen)`, 1+rnd.IntN(n), "+-"[k%2]))
		},
		"append_ms": func(k int) error { return g.appendAndRemove(c, n) },
	} {
		if r[name], err = timed(15, fn); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	for i, q := range rares {
		took, hits, err := search(c, q, "")
		if err == nil && hits != q.hits(n) {
			err = fmt.Errorf("%d hits, want %d", hits, q.hits(n))
		}
		if err != nil {
			return fmt.Errorf("search %s %q: %w", q.key, q.term, err)
		}
		r[fmt.Sprintf("search_%d_%s_ms", i+1, strings.ToLower(q.key))] = took
	}
	box, err := change(g.s, "INBOX")
	if err != nil {
		return err
	}
	w := &stopwatch{r: r, last: time.Now()}
	if err := resync(g.s, "INBOX", box, w); err != nil {
		return err
	}
	return errors.Join(c.Do(nil, "NOOP"), c.Do(nil, fmt.Sprintf(`STORE %d:* +FLAGS.SILENT (\Deleted)`, n+1)),
		c.Do(nil, "EXPUNGE"))
}

// appendAndRemove stores a letter and takes it out again.
func (g *growth) appendAndRemove(c *wire.IMAP, n int) error {
	_, _, err := c.Append("INBOX", "()", letter(2_000_000))
	return errors.Join(err, c.Do(nil, "NOOP"), c.Do(nil, fmt.Sprintf(`STORE %d +FLAGS.SILENT (\Deleted)`, n+1)),
		c.Do(nil, "EXPUNGE"))
}

// store delivers until the store has grown to each size, and gives the figures of the way there: the
// rates are medians of batches of 2,000 messages, what is written is counted with compactions and
// with the text index, which works meanwhile.
func (g *growth) store() error {
	most := g.o.storeGB
	if most == 0 {
		most = 2
		if g.o.large {
			most = 50
		}
	}
	var disk syscall.Statfs_t
	if err := syscall.Statfs(g.s.life.folder(), &disk); err != nil {
		return err
	}
	// Bodies are not written anew; a reserve of the disk stays free.
	need := 1.1*most + 2 + 0.02*float64(disk.Blocks)*float64(disk.Bsize)/1e9
	if free := float64(disk.Bavail) * float64(disk.Bsize) / 1e9; free < need {
		return fmt.Errorf("a store of %g GB needs %.0f GB of free disk, there are %.0f", most, need, free)
	}
	if err := g.s.up(); err != nil {
		return err
	}
	var err error
	total, written := 0.0, g.s.written()
	for _, step := range []float64{0.25, 0.5, 1, 2, 5, 10, 20, 50} {
		if step > most {
			break
		}
		var batches outcome
		batches.Runs = make([][]Result, 1)
		for total < step*1e9 {
			r, err := smtpIn(g.s, smtpLoad{messages: 2000, mix: sizesMix, keep: true})
			if err != nil {
				return fmt.Errorf("at %.2f GB: %w", total/1e9, err)
			}
			total += r["bytes"]
			batches.Runs[0] = append(batches.Runs[0], r)
		}
		r := Result{}
		for _, k := range strings.Fields("delivered_per_s delivered_mb_per_s ack_p50_ms ack_p99_ms cpu_s_per_1k") {
			if _, median, _, ok := batches.stat(0, k); ok {
				r["filling_"+k] = median
			}
		}
		r["mib"] = g.s.pss() / 1024
		r["write_amplification"] = (g.s.written() - written) / total
		r["space_overhead"] = (diskUse(g.s.life.folder()) - g.empty) / total
		if r["index_behind_s"], err = g.indexed(); err != nil {
			return err
		}
		size := total / 1e9
		if err := g.beside(r, smtpLoad{messages: 1500, mix: sizesMix, keep: true}); err != nil {
			return fmt.Errorf("at %.2f GB: %w", size, err)
		}
		total += r["beside_bytes"]
		if err := g.add(size, r); err != nil {
			return err
		}
	}
	last := g.points[len(g.points)-1].Figures
	last["write_amplification_settled"] = (g.s.written() - written) / total
	last["space_overhead_settled"] = (diskUse(g.s.life.folder()) - g.empty) / total
	return g.restart(last)
}

// indexed waits until the text of all that came is indexed, and returns the seconds.
func (g *growth) indexed() (float64, error) {
	took, err := g.s.quiet(2 * time.Hour)
	return took.Seconds(), err
}

// connections measures the same work over 1 to 64 connections.
func (g *growth) connections() error {
	if err := g.s.up(); err != nil {
		return err
	}
	if _, err := fill(g.s, corpus(1000), 1000); err != nil {
		return err
	}
	for n := 1; n <= 64; n *= 2 {
		in, err := smtpIn(g.s, smtpLoad{messages: min(500+250*n, 4000), mix: sizes4k, sessions: n})
		if err != nil {
			return fmt.Errorf("deliver over %d: %w", n, err)
		}
		r := Result{}
		r.with("smtp_", in, "delivered_per_s", "ack_p50_ms", "ack_p99_ms", "cpu_s_per_1k")
		if err := g.s.settled(); err != nil {
			return err
		}
		if err := g.readers(n, r); err != nil {
			return fmt.Errorf("read over %d: %w", n, err)
		}
		if err := g.add(float64(n), r); err != nil {
			return err
		}
	}
	return nil
}

// readers fetch messages at random for two seconds over n connections.
func (g *growth) readers(n int, r Result) error {
	conns := make([]*wire.IMAP, n)
	for i := range conns {
		c, err := g.s.imap(0)
		if err != nil {
			return err
		}
		defer c.Logout()
		if _, err := c.Select(corpus(1000), ""); err != nil {
			return err
		}
		conns[i] = c
	}
	var took latency
	var done atomic.Int64
	var wg sync.WaitGroup
	errs := make(chan error, n)
	cpu, start := g.s.cpu(), time.Now()
	for i, c := range conns {
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(uint64(i), 5))
			for time.Since(start) < 2*time.Second {
				begun := time.Now()
				if err := c.Do(nil, fmt.Sprintf("FETCH %d (BODY.PEEK[])", 1+rnd.IntN(1000))); err != nil {
					errs <- err
					return
				}
				took.add(time.Since(begun))
				done.Add(1)
			}
		})
	}
	wg.Wait()
	close(errs)
	r["fetch_per_s"] = float64(done.Load()) / time.Since(start).Seconds()
	r["fetch_cpu_s_per_1k"] = (g.s.cpu() - cpu) / float64(done.Load()) * 1000
	took.into(r, "fetch")
	return <-errs
}

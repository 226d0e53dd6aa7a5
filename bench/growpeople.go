package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"tram/internal/config"
	"tram/internal/directory"
	"tram/internal/server"
	"tram/internal/smtp"
	"tram/internal/store"
)

// spread is how many accounts get mail, evenly chosen among all: each is logged into to verify it,
// which hashes its password.
const spread = 40

// accounts delivers to people spread over all the accounts there are.
func (g *growth) accounts() error {
	for _, n := range g.sizes(10, 10_000, 100_000) {
		r := Result{}
		start := time.Now()
		added, err := g.addAccounts(n)
		if err != nil {
			return fmt.Errorf("add accounts up to %d: %w", n, err)
		}
		if added > 0 {
			r["add_ms"] = milliseconds(time.Since(start)) / float64(added)
		}
		g.s.Users = n
		start = time.Now()
		if err := g.s.up(); err != nil {
			return err
		}
		r["start_ms"] = milliseconds(time.Since(start))
		time.Sleep(time.Second)
		r["rest_mib"] = g.s.pss() / 1024
		if err := g.s.settled(); err != nil {
			return err
		}
		load := smtpLoad{messages: 2000, mix: sizes4k}
		for k := range min(n, spread) {
			load.users = append(load.users, k*n/min(n, spread))
		}
		if err := g.beside(r, load); err != nil {
			return fmt.Errorf("deliver at %d: %w", n, err)
		}
		r["mib"] = g.s.pss() / 1024
		list := exec.Command(g.o.tram, "account", "list", "--data", g.s.life.folder())
		start = time.Now()
		if out, err := list.CombinedOutput(); err != nil {
			return fmt.Errorf("account list: %w: %.500s", err, out)
		}
		r["account_list_ms"] = milliseconds(time.Since(start))
		if err := errors.Join(g.s.settled(), g.s.down()); err != nil {
			return err
		}
		if err := g.add(float64(n), r); err != nil {
			return err
		}
	}
	return nil
}

// addAccounts makes the accounts that are missing while the server is down, with a cheap password
// hash: the 64 MiB that the hash takes by default would make 100,000 of them a matter of hours. The
// server accepts these as it accepts any, and hashes anew at the first log-in.
func (g *growth) addAccounts(n int) (int, error) {
	if n <= people {
		return 0, nil
	}
	c := config.Default()
	c.Hostname, c.Data = "mail."+domain, g.s.life.folder()
	c.Limits.Auth.ArgonMemoryKiB, c.Limits.Auth.ArgonTime, c.Limits.Auth.SCRAMRounds = 64, 1, 4096
	c.Limits.Auth.HashQueue = 1000
	ctx := context.Background()
	house, err := server.Open(ctx, server.Options{Config: c, Offline: true})
	if err != nil {
		return 0, err
	}
	var next atomic.Int64
	next.Store(int64(g.s.Users))
	var wg sync.WaitGroup
	failed := make(chan error, 32)
	for range cap(failed) {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				address := fmt.Sprintf("user%d@%s", i+1, domain)
				if err := addOffline(ctx, house, address); err != nil {
					failed <- fmt.Errorf("%s: %w", address, err)
					return
				}
			}
		})
	}
	wg.Wait()
	close(failed)
	return n - g.s.Users, errors.Join(<-failed, house.Close())
}

func addOffline(ctx context.Context, house *server.Server, address string) error {
	parsed, err := smtp.ParseAddress(address)
	if err != nil {
		return err
	}
	a, err := house.Directory.AddAccount(ctx, directory.AccountOptions{
		Address: parsed, Password: password, AllowCommonPassword: true})
	if err != nil {
		return err
	}
	return house.Store.SetDomain(ctx, store.AccountID(a.ID), domain)
}

// queue fills the queue while the next server does not greet, and measures it at each size: taking
// more, listing, resting, a restart, and emptying when that server wakes up.
func (g *growth) queue() error {
	if err := g.s.up(); err != nil {
		return err
	}
	for _, n := range g.sizes(1, 100_000, 1_000_000) {
		r := Result{}
		if err := g.queueOf(n, r); err != nil {
			return fmt.Errorf("at %d: %w", n, err)
		}
		if err := g.add(float64(n), r); err != nil {
			return err
		}
	}
	return nil
}

func (g *growth) queueOf(n int, r Result) error {
	if err := errors.Join(warm(g.s), g.s.settled()); err != nil { // no session to an earlier sink is left
		return err
	}
	gate := make(chan struct{})
	k, err := openSink(g.s.Sink, gate)
	if err != nil {
		return err
	}
	defer k.close()
	opened := false
	defer func() {
		if !opened {
			close(gate)
		}
	}()
	load := newOutgoing(n)
	var ack latency
	start := time.Now()
	acked, err := load.send(g.s, &ack)
	if err != nil {
		return err
	}
	r["fill_per_s"] = float64(n) / time.Since(start).Seconds()
	if err := g.atRest(r); err != nil {
		return err
	}
	if err := warm(g.s); err != nil { // the filling may have outlasted the memory of log-ins
		return err
	}
	more := outgoing{smtpLoad{messages: 500, mix: sizes4k}, load.run + "m"}
	var probe latency
	start = time.Now()
	late, err := more.send(g.s, &probe)
	if err != nil {
		return err
	}
	r["submit_per_s"] = float64(len(late)) / time.Since(start).Seconds()
	probe.into(r, "submit")
	if err := g.restart(r); err != nil {
		return err
	}
	k.expect = func(id string, got []byte) []byte {
		if strings.HasPrefix(id, more.run+".") {
			return more.text(id, got)
		}
		return load.text(id, got)
	}
	opened = true
	close(gate)
	all := len(acked) + len(late)
	err = until(30*time.Minute, func() (bool, error) { return k.count() >= all, nil })
	if err != nil {
		return fmt.Errorf("the sink has %d of %d: %w", k.count(), all, err)
	}
	r["drain_per_s"] = k.rate()
	return errors.Join(load.check(k, acked, r), more.check(k, late, r))
}

// atRest measures a server with a full queue that nobody asks anything.
func (g *growth) atRest(r Result) error {
	if err := g.s.settled(); err != nil {
		return err
	}
	r["mib"] = g.s.pss() / 1024
	cpu := g.s.cpu()
	time.Sleep(2 * time.Second)
	r["rest_cpu_percent"] = (g.s.cpu() - cpu) / 2 * 100
	var err error
	r["queue_list_ms"], err = timed(3, func(int) error {
		out, err := exec.Command(g.o.tram, "queue", "list", "--data", g.s.life.folder()).CombinedOutput()
		if err != nil {
			return fmt.Errorf("queue list: %w: %.500s", err, out)
		}
		return nil
	})
	return err
}

// rate is how many messages arrived in a second between the first and the last twentieth, which are
// those of a server that starts and ends its work.
func (k *sink) rate() float64 {
	k.mu.Lock()
	defer k.mu.Unlock()
	n := len(k.arrivals)
	from, to := n/20, n-1-n/20
	return float64(to-from) / max(k.arrivals[to].Sub(k.arrivals[from]).Seconds(), 1e-6)
}

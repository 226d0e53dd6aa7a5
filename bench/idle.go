package main

import (
	"bytes"
	"errors"
	"fmt"
	"os/exec"
	"sync"
	"sync/atomic"
	"time"

	"tram/bench/wire"
)

// idle holds n TLS connections in IDLE, measures what they cost, then delivers one message to each
// user and times the news.
//
// The server is a fresh process: what it holds before the first connection is its own, and all that
// comes on top is counted against the connections, the hashing of passwords included. What a
// connection costs beyond that is the growth from a tenth of them to all.
func idle(s *Server, n int) (Result, error) {
	time.Sleep(time.Second) // for what the server does after its start
	before := s.pss()
	conns := make([]*wire.IMAP, n)
	defer func() {
		for _, c := range conns {
			if c != nil {
				c.Close()
			}
		}
	}()
	if err := idleConnections(s, conns[:n/10], 0); err != nil {
		return nil, err
	}
	time.Sleep(2 * time.Second) // for what the server does after a log-in
	tenth, start := s.pss(), time.Now()
	if err := idleConnections(s, conns[n/10:], n/10); err != nil {
		return nil, err
	}
	logins := float64(n-n/10) / time.Since(start).Seconds()
	time.Sleep(2 * time.Second)
	pss := s.pss()
	r := Result{
		"connections": float64(n), "logins_per_s": logins, "mib": pss / 1024, "before_mib": before / 1024,
		"kib_each_all": pss / float64(n), "kib_each_growth": (pss - before) / float64(n),
		"kib_each_more": (pss - tenth) / float64(n-n/10),
	}
	cpu := s.cpu()
	time.Sleep(3 * time.Second)
	r["idle_cpu_percent"] = (s.cpu() - cpu) / 3 * 100
	return r, wake(s, conns, r)
}

// idleConnections opens conns, the first of them for the user with number first.
func idleConnections(s *Server, conns []*wire.IMAP, first int) error {
	var next atomic.Int64
	var wg sync.WaitGroup
	errs := make(chan error, 16)
	target := s.target(s.IMAPS, wire.TLS)
	for range cap(errs) {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < len(conns); i = int(next.Add(1)) - 1 {
				c, err := wire.DialIMAP(target, s.user(first+i), s.Password)
				if err == nil {
					conns[i] = c
					_, err = c.Select("INBOX", "")
				}
				if err == nil {
					_, err = c.Idle()
				}
				if err != nil {
					errs <- fmt.Errorf("connection %d: %w", first+i, err)
					return
				}
			}
		})
	}
	wg.Wait()
	close(errs)
	return <-errs
}

func wake(s *Server, conns []*wire.IMAP, r Result) error {
	var told latency
	var wg sync.WaitGroup
	errs := make(chan error, len(conns))
	start := time.Now()
	for _, c := range conns {
		wg.Go(func() {
			for {
				resp, err := c.Next(2 * time.Minute)
				if err != nil {
					errs <- err
					return
				}
				if bytes.HasSuffix(resp.Text, []byte(" EXISTS")) {
					told.add(time.Since(start))
					return
				}
			}
		})
	}
	smtp, err := wire.DialSMTP(s.target(s.SMTP, wire.Clear), "", "")
	if err != nil {
		return err
	}
	for u := range min(s.Users, len(conns)) {
		msg := wire.Stuff(parcel("idle", u, 4<<10, stranger, s.user(u)))
		if _, _, err := smtp.Send(stranger, s.user(u), msg); err != nil {
			return err
		}
	}
	smtp.Quit()
	r["sent_ms"] = float64(time.Since(start).Microseconds()) / 1000
	wg.Wait()
	close(errs)
	r["told_all_ms"] = float64(time.Since(start).Microseconds()) / 1000
	told.into(r, "told")
	return <-errs
}

// startup times how long a start takes until both doors greet, and what the server holds at rest.
func startup(s *Server) (Result, error) {
	if s.life == nil && s.Start == "" {
		return nil, errors.New("the server's description names no command that starts it")
	}
	r, begun := Result{}, time.Now()
	started := make(chan error, 1)
	go func() {
		if s.life == nil {
			started <- exec.Command("sh", "-c", s.Start).Run()
			return
		}
		started <- s.life.start()
	}()
	for name, greets := range map[string]func() error{"smtp_ms": s.greetsSMTP, "imap_ms": s.greetsIMAP} {
		if err := until(time.Minute, func() (bool, error) { return greets() == nil, nil }); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		r[name] = float64(time.Since(begun).Microseconds()) / 1000
	}
	if err := <-started; err != nil {
		return nil, err
	}
	r["ready_ms"] = max(r["smtp_ms"], r["imap_ms"])
	time.Sleep(2 * time.Second)
	r["rest_mib"] = s.pss() / 1024
	return r, nil
}

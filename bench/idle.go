package main

import (
	"bytes"
	"fmt"
	"os/exec"
	"sync"
	"sync/atomic"
	"time"

	"tram/bench/wire"
)

// idle holds n TLS connections in IDLE, measures what they cost, then delivers one message to each
// user and times the news.
func idle(s *Server, n int) (Result, error) {
	before := s.pss()
	conns, logins, err := idleConnections(s, n)
	defer func() {
		for _, c := range conns {
			if c != nil {
				c.Close()
			}
		}
	}()
	if err != nil {
		return nil, err
	}
	time.Sleep(2 * time.Second) // for what the server does after a log-in
	pss := s.pss()
	r := Result{
		"connections": float64(n), "logins_per_s": logins, "pss_mib": pss / 1024,
		"pss_kib_each_all": pss / float64(n), "pss_kib_each_growth": (pss - before) / float64(n),
	}
	cpu := s.cpu()
	time.Sleep(3 * time.Second)
	r["idle_cpu_percent"] = (s.cpu() - cpu) / 3 * 100
	return r, wake(s, conns, r)
}

func idleConnections(s *Server, n int) ([]*wire.IMAP, float64, error) {
	conns := make([]*wire.IMAP, n)
	var next atomic.Int64
	var wg sync.WaitGroup
	errs := make(chan error, 16)
	start := time.Now()
	target := s.target(s.IMAPS, wire.TLS)
	for range cap(errs) {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				c, err := wire.DialIMAP(target, s.user(i), s.Password)
				if err == nil {
					conns[i] = c
					_, err = c.Select("INBOX", "")
				}
				if err == nil {
					_, err = c.Idle()
				}
				if err != nil {
					errs <- fmt.Errorf("connection %d: %w", i, err)
					return
				}
			}
		})
	}
	wg.Wait()
	close(errs)
	return conns, float64(n) / time.Since(start).Seconds(), <-errs
}

func wake(s *Server, conns []*wire.IMAP, r Result) error {
	var told latency
	var wg sync.WaitGroup
	errs := make(chan error, len(conns))
	start := time.Now()
	for _, c := range conns {
		wg.Go(func() {
			for {
				resp, err := c.Next(time.Minute)
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

// startup ends the server and times how long a new start takes to greet, and what it holds at rest.
func startup(s *Server) (Result, error) {
	start, err := s.restart()
	if err != nil {
		return nil, err
	}
	r := Result{}
	for name, open := range map[string]func() error{
		"smtp_ms": func() error {
			c, err := wire.DialSMTP(s.target(s.SMTP, wire.Clear), "", "")
			if err == nil {
				c.Close()
			}
			return err
		},
		"imap_ms": func() error {
			c, err := wire.DialIMAP(s.target(s.IMAP, wire.Clear), "", "")
			if err == nil {
				c.Close()
			}
			return err
		},
	} {
		if err := until(time.Minute, func() (bool, error) { return open() == nil, nil }); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		r[name] = float64(time.Since(start).Microseconds()) / 1000
	}
	time.Sleep(2 * time.Second)
	r["rest_pss_mib"] = s.pss() / 1024
	return r, nil
}

// restart ends the server and starts it, and returns when the start began.
func (s *Server) restart() (time.Time, error) {
	if s.cmd == nil {
		start := time.Now()
		return start, exec.Command("sh", "-c", s.Start).Run()
	}
	s.cmd.Process.Signal(terminate)
	if err := s.cmd.Wait(); err != nil {
		return time.Time{}, fmt.Errorf("end the server: %w", err)
	}
	start := time.Now()
	return start, s.startProcess()
}

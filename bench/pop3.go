package main

import (
	"bytes"
	"errors"
	"fmt"
	"sync"
	"time"

	"tram/bench/wire"
)

// pop3Retr has ten programs fetch the first n messages of their people's inboxes over POP3, one
// command at a time, passes times. What LIST told of each message is compared with what came.
func pop3Retr(s *Server, n, passes int) (Result, error) {
	const clients = 10
	if s.POP3 == "" {
		return nil, errors.New("the server has no POP3 port")
	}
	var programs [clients]*wire.POP3
	for i := range programs {
		if err := fillInbox(s, i, n); err != nil {
			return nil, fmt.Errorf("fill: %w", err)
		}
	}
	if err := s.settled(); err != nil {
		return nil, err
	}
	sizes := make([][]int, clients)
	for i := range programs {
		c, err := wire.DialPOP3(s.target(s.POP3, wire.Clear), s.user(i), s.Password)
		if err != nil {
			return nil, err
		}
		defer c.Close()
		programs[i] = c
		if sizes[i], err = listed(c, n); err != nil {
			return nil, err
		}
		// The first reading of a message since the start is another matter, see sync10k.
		if err := retrAll(c, sizes[i], nil); err != nil {
			return nil, err
		}
	}
	var took latency
	var wg sync.WaitGroup
	errs := make(chan error, clients)
	cpu, start := s.cpu(), time.Now()
	for i, c := range programs {
		wg.Go(func() {
			for range passes {
				if err := retrAll(c, sizes[i], &took); err != nil {
					errs <- err
					return
				}
			}
		})
	}
	wg.Wait()
	seconds, total := time.Since(start).Seconds(), clients*n*passes
	close(errs)
	if err := <-errs; err != nil {
		return nil, err
	}
	r := Result{
		"retr_per_s":   float64(total) / seconds,
		"cpu_s_per_1k": (s.cpu() - cpu) / float64(total) * 1000,
	}
	took.into(r, "retr")
	for _, c := range programs {
		if _, err := c.Do("QUIT"); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// fillInbox makes an inbox hold n messages at least.
func fillInbox(s *Server, user, n int) error {
	c, err := s.imap(user)
	if err != nil {
		return err
	}
	defer c.Logout()
	box, err := c.Select("INBOX", "")
	for k := box.Exists; err == nil && k < n; k++ {
		_, _, err = c.Append("INBOX", "()", letter(user*n+k))
	}
	return err
}

// listed returns the sizes of the first n messages.
func listed(c *wire.POP3, n int) ([]int, error) {
	b, err := c.Multi("LIST")
	if err != nil {
		return nil, err
	}
	sizes := make([]int, 0, n)
	for line := range bytes.Lines(b) {
		var number, size int
		if _, err := fmt.Sscan(string(line), &number, &size); err != nil || number != len(sizes)+1 {
			return nil, fmt.Errorf("LIST tells %q", line)
		}
		if sizes = append(sizes, size); len(sizes) == n {
			return sizes, nil
		}
	}
	return nil, fmt.Errorf("LIST tells of %d messages, not of %d", len(sizes), n)
}

// retrAll fetches messages one by one.
func retrAll(c *wire.POP3, sizes []int, took *latency) error {
	for k, size := range sizes {
		begun := time.Now()
		got, err := c.Retr(k + 1)
		if err != nil {
			return err
		}
		if took != nil {
			took.add(time.Since(begun))
		}
		if got != size {
			return fmt.Errorf("message %d has %d octets, LIST told %d", k+1, got, size)
		}
	}
	return nil
}

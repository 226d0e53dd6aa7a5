package main

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"tram/bench/wire"
)

// operations are the works of the mixed test with their share in percent.
var operations = []struct {
	name   string
	weight int
	run    func(m *mixedClient) error
}{
	{"select", 4, func(m *mixedClient) error { return m.c.Do(m.track, "SELECT Mixed") }},
	{"fetch_list", 20, func(m *mixedClient) error {
		k := m.pick()
		return m.c.Do(m.track, fmt.Sprintf("FETCH %d:%d (UID FLAGS INTERNALDATE RFC822.SIZE ENVELOPE)", k,
			min(k+19, m.exists)))
	}},
	{"fetch_body", 30, func(m *mixedClient) error {
		return m.c.Do(m.track, fmt.Sprintf("FETCH %d (UID BODY.PEEK[])", m.pick()))
	}},
	{"store", 22, func(m *mixedClient) error {
		return m.c.Do(m.track, fmt.Sprintf(`STORE %d %cFLAGS (\Seen)`, m.pick(), "+-"[m.rnd.IntN(2)]))
	}},
	{"append", 10, (*mixedClient).append},
	{"search", 6, func(m *mixedClient) error { return m.c.Do(m.track, "SEARCH UNSEEN SUBJECT report") }},
	{"expunge", 5, func(m *mixedClient) error {
		k := m.pick()
		err := m.c.Do(m.track, fmt.Sprintf(`STORE %d:%d +FLAGS.SILENT (\Deleted)`, k, min(k+1, m.exists)))
		if err != nil {
			return err
		}
		return m.c.Do(m.track, "EXPUNGE")
	}},
	{"idle", 3, func(m *mixedClient) error {
		tag, err := m.c.Idle()
		if err != nil {
			return err
		}
		return m.c.Done(tag)
	}},
}

// mixedClient is one of ten mail programs, each with a mailbox of 300 messages.
type mixedClient struct {
	c      *wire.IMAP
	rnd    *rand.Rand
	exists int
}

func (m *mixedClient) track(resp wire.Response) {
	switch {
	case bytes.HasSuffix(resp.Text, []byte(" EXISTS")):
		m.exists = wire.Number(resp.Text, "* ")
	case bytes.HasSuffix(resp.Text, []byte(" EXPUNGE")):
		m.exists--
	}
}

func (m *mixedClient) pick() int { return 1 + m.rnd.IntN(max(m.exists, 1)) }

func (m *mixedClient) append() error {
	_, _, err := m.c.Append("Mixed", "()", letter(m.rnd.IntN(100_000)))
	if err != nil {
		return err
	}
	return m.c.Do(m.track, "NOOP") // the new message is told
}

func (m *mixedClient) prepare(messages int) error {
	m.c.Do(nil, "CREATE Mixed") // it may exist
	if err := m.c.Do(m.track, "SELECT Mixed"); err != nil {
		return err
	}
	if m.exists > messages {
		if err := m.c.Do(nil, fmt.Sprintf(`STORE %d:* +FLAGS.SILENT (\Deleted)`, messages+1)); err != nil {
			return err
		}
		if err := m.c.Do(nil, "EXPUNGE"); err != nil {
			return err
		}
	}
	for k := m.exists; k < messages; k++ {
		if _, _, err := m.c.Append("Mixed", "()", letter(k)); err != nil {
			return err
		}
	}
	return m.c.Do(m.track, "SELECT Mixed")
}

func (m *mixedClient) run(end time.Time, took []latency, ops *atomic.Int64) error {
	for time.Now().Before(end) {
		x, op := m.rnd.IntN(100), 0
		for x >= operations[op].weight {
			x -= operations[op].weight
			op++
		}
		if m.exists == 0 {
			op = 4
		}
		start := time.Now()
		if err := operations[op].run(m); err != nil {
			return fmt.Errorf("%s: %w", operations[op].name, err)
		}
		took[op].add(time.Since(start))
		ops.Add(1)
	}
	return nil
}

// imapMixed is ten clients for eight seconds.
func imapMixed(s *Server) (Result, error) {
	const clients, seconds = 10, 8
	all := make([]*mixedClient, clients)
	for i := range all {
		c, err := s.imap(i)
		if err != nil {
			return nil, err
		}
		defer c.Logout()
		all[i] = &mixedClient{c: c, rnd: rand.New(rand.NewPCG(uint64(i), 99))}
		if err := all[i].prepare(300); err != nil {
			return nil, err
		}
	}
	took := make([]latency, len(operations))
	var ops atomic.Int64
	var wg sync.WaitGroup
	errs := make(chan error, clients)
	cpu, start := s.cpu(), time.Now()
	for _, m := range all {
		wg.Go(func() { errs <- m.run(start.Add(seconds*time.Second), took, &ops) })
	}
	wg.Wait()
	for range all {
		if err := <-errs; err != nil {
			return nil, err
		}
	}
	n := float64(ops.Load())
	r := Result{
		"ops": n, "ops_per_s": n / time.Since(start).Seconds(), "cpu_s_per_1k": (s.cpu() - cpu) / n * 1000,
	}
	if err := s.settle(r, cpu, int(n)); err != nil {
		return nil, err
	}
	for i, op := range operations {
		took[i].into(r, op.name)
	}
	return r, nil
}

// noops is what the way to and from the server costs when there is nothing to do: ten clients ask
// each times whether there is news.
func noops(s *Server, each int) (Result, error) {
	const clients = 10
	all := make([]*wire.IMAP, clients)
	for i := range all {
		c, err := s.imap(i)
		if err != nil {
			return nil, err
		}
		defer c.Logout()
		if _, err := c.Select("INBOX", ""); err != nil {
			return nil, err
		}
		all[i] = c
	}
	var wg sync.WaitGroup
	errs := make(chan error, clients)
	cpu, start := s.cpu(), time.Now()
	for _, c := range all {
		wg.Go(func() {
			var err error
			for range each {
				if err = c.Do(nil, "NOOP"); err != nil {
					break
				}
			}
			errs <- err
		})
	}
	wg.Wait()
	for range all {
		if err := <-errs; err != nil {
			return nil, err
		}
	}
	n := float64(clients * each)
	return Result{
		"ops": n, "ops_per_s": n / time.Since(start).Seconds(), "cpu_s_per_1k": (s.cpu() - cpu) / n * 1000,
	}, nil
}

package main

import (
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"tram/bench/wire"
)

// fill makes a mailbox of the first user hold n corpus messages.
func fill(s *Server, mailbox string, n int) error {
	c, err := s.imap(0)
	if err != nil {
		return err
	}
	defer c.Logout()
	c.Do(nil, fmt.Sprintf("CREATE %q", mailbox)) // it may exist
	box, err := c.Select(mailbox, "")
	if err != nil {
		return err
	}
	per := 1
	if c.Has("MULTIAPPEND") {
		per = 50
	}
	for seq := box.Exists; seq < n; seq += per {
		var batch [][]byte
		for k := seq; k < min(seq+per, n); k++ {
			batch = append(batch, letter(k))
		}
		if _, _, err := c.Append(mailbox, "()", batch...); err != nil {
			return err
		}
	}
	return nil
}

// appendOneByOne stores n letters over four connections into one new mailbox.
func appendOneByOne(s *Server, n int) (Result, error) {
	const connections = 4
	mailbox := "Append" + strconv.FormatInt(time.Now().UnixNano(), 36)
	conns := make([]*wire.IMAP, connections)
	for i := range conns {
		c, err := s.imap(0)
		if err != nil {
			return nil, err
		}
		defer c.Logout()
		conns[i] = c
	}
	if err := conns[0].Do(nil, fmt.Sprintf("CREATE %q", mailbox)); err != nil {
		return nil, err
	}
	var next atomic.Int64
	var took latency
	var wg sync.WaitGroup
	errs := make(chan error, connections)
	cpu, start := s.cpu(), time.Now()
	for _, c := range conns {
		wg.Go(func() {
			for seq := int(next.Add(1)) - 1; seq < n; seq = int(next.Add(1)) - 1 {
				begin := time.Now()
				if _, _, err := c.Append(mailbox, "()", letter(seq)); err != nil {
					errs <- err
					return
				}
				took.add(time.Since(begin))
			}
		})
	}
	wg.Wait()
	close(errs)
	if err := <-errs; err != nil {
		return nil, err
	}
	r := Result{
		"append_per_s": float64(n) / time.Since(start).Seconds(),
		"cpu_s_per_1k": (s.cpu() - cpu) / float64(n) * 1000,
	}
	took.into(r, "append")
	box, err := conns[0].Select(mailbox, "")
	if err == nil && box.Exists != n {
		err = fmt.Errorf("%d of %d messages are there", box.Exists, n)
	}
	return r, err
}

package main

import (
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"tram/bench/wire"
)

// fill makes a mailbox of the first user hold n letters of the corpus and returns how many it lacked.
func fill(s *Server, mailbox string, n int) (int, error) {
	return fillWith(s, mailbox, n, func(int) string { return "()" }, letter)
}

// fillWith is fill with messages of any kind; flags, which is what stands before the first message of
// a hundred in APPEND, is for all of them.
func fillWith(s *Server, mailbox string, n int, flags func(seq int) string, message func(seq int) []byte) (int, error) {
	c, err := s.imap(0)
	if err != nil {
		return 0, err
	}
	defer c.Logout()
	c.Do(nil, fmt.Sprintf("CREATE %q", mailbox)) // it may exist
	box, err := c.Select(mailbox, "")
	if err != nil {
		return 0, err
	}
	per := 1
	if c.Has("MULTIAPPEND") {
		per = 100
	}
	for seq := box.Exists; seq < n; seq += per {
		var batch [][]byte
		for k := seq; k < min(seq+per, n); k++ {
			batch = append(batch, message(k))
		}
		if _, _, err := c.Append(mailbox, flags(seq), batch...); err != nil {
			return 0, err
		}
	}
	return max(n-box.Exists, 0), nil
}

// fillCorpus fills the mailbox for the sync and search tests, and waits until what the server does
// with new text in the background is done.
func fillCorpus(s *Server, n int) (Result, error) {
	cpu, start := s.cpu(), time.Now()
	added, err := fill(s, corpus(n), n)
	if err != nil {
		return nil, err
	}
	took, filling := time.Since(start).Seconds(), s.cpu()-cpu
	cpu = s.cpu()
	index, err := s.quiet(20 * time.Minute)
	if err != nil {
		return nil, err
	}
	r := Result{"index_s": index.Seconds(), "index_cpu_s": s.cpu() - cpu}
	if added > 0 {
		r["fill_per_s"], r["cpu_s_per_1k"] = float64(added)/took, filling/float64(added)*1000
		r["cpu_settled_s_per_1k"] = (filling + r["index_cpu_s"]) / float64(added) * 1000
	}
	return r, nil
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
	if err := s.settle(r, cpu, n); err != nil {
		return nil, err
	}
	box, err := conns[0].Select(mailbox, "")
	if err == nil && box.Exists != n {
		err = fmt.Errorf("%d of %d messages are there", box.Exists, n)
	}
	conns[0].Do(nil, "CLOSE")
	return r, errors.Join(err, conns[0].Do(nil, fmt.Sprintf("DELETE %q", mailbox)))
}

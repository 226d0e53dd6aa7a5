package main

import (
	"bytes"
	"errors"
	"fmt"
	"sync"
	"time"

	"tram/bench/wire"
)

// What one client's large change costs, and what others notice of it; and a LIST of very many
// mailboxes.

const movedBox = "Moved"

// neighbour is a client that asks again and again while another is at work.
type neighbour struct {
	c          *wire.IMAP
	noop, read latency
}

// newNeighbour logs a user in whose mailbox has a few letters.
func newNeighbour(s *Server, user int) (*neighbour, error) {
	c, err := s.imap(user)
	if err != nil {
		return nil, err
	}
	n := &neighbour{c: c}
	c.Do(nil, "CREATE Beside") // it may exist
	box, err := c.Select("Beside", "")
	for seq := box.Exists; err == nil && seq < 20; seq++ {
		_, _, err = c.Append("Beside", "()", letter(seq))
	}
	if err == nil {
		err = c.Do(nil, "NOOP")
	}
	if err != nil {
		c.Close()
	}
	return n, err
}

// ask asks until end is closed: whether there is news, and for one message.
func (n *neighbour) ask(end <-chan struct{}) error {
	for k := 0; ; k++ {
		select {
		case <-end:
			return nil
		default:
		}
		start := time.Now()
		if err := n.c.Do(nil, "NOOP"); err != nil {
			return err
		}
		n.noop.add(time.Since(start))
		start = time.Now()
		if err := n.c.Do(nil, fmt.Sprintf("FETCH %d (UID FLAGS BODY.PEEK[])", 1+k%20)); err != nil {
			return err
		}
		n.read.add(time.Since(start))
		time.Sleep(2 * time.Millisecond) // a crowd is not what is measured
	}
}

// bulk moves the second half of n notes into another mailbox, marks them there as deleted and expunges
// them, while a client of the same account and one of another are served.
func bulk(s *Server, n int) (Result, error) {
	c, box, err := notes(s, n)
	if err != nil {
		return nil, err
	}
	defer c.Logout()
	half := box.Exists / 2
	if err := c.Do(nil, fmt.Sprintf("CREATE %q", movedBox)); err != nil {
		return nil, err
	}
	r := Result{}
	for _, step := range []struct {
		name, command string
		replies       string // what each message is answered with
	}{
		{"move", fmt.Sprintf("MOVE %d:* %s", box.Exists-half+1, movedBox), " EXPUNGE"},
		{"", "SELECT " + movedBox, ""},
		{"mark", `STORE 1:* +FLAGS.SILENT (\Deleted)`, ""},
		{"expunge", "EXPUNGE", " EXPUNGE"},
	} {
		if step.name == "" {
			err = c.Do(nil, step.command)
		} else {
			err = bulkStep(s, c, r, step.name, step.command, step.replies, half)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", step.command, err)
		}
	}
	return r, errors.Join(c.Do(nil, "CLOSE"), c.Do(nil, fmt.Sprintf("DELETE %q", movedBox)))
}

// bulkStep runs one command beside the neighbours.
func bulkStep(s *Server, c *wire.IMAP, r Result, name, command, reply string, want int) error {
	var neighbours []*neighbour
	for user := range 2 {
		n, err := newNeighbour(s, user)
		if err != nil {
			return err
		}
		defer n.c.Logout()
		neighbours = append(neighbours, n)
	}
	end := make(chan struct{})
	errs := make(chan error, len(neighbours))
	var wg sync.WaitGroup
	for _, n := range neighbours {
		wg.Go(func() { errs <- n.ask(end) })
	}
	got, cpu, start := 0, s.cpu(), time.Now()
	err := c.Do(func(resp wire.Response) {
		if reply != "" && bytes.HasSuffix(resp.Text, []byte(reply)) {
			got++
		}
	}, command)
	r[name+"_ms"] = float64(time.Since(start).Microseconds()) / 1000
	r[name+"_cpu_s"] = s.cpu() - cpu
	close(end)
	wg.Wait()
	for i, whose := range []string{"own", "other"} {
		err = errors.Join(err, <-errs)
		neighbours[i].noop.into(r, name+"_"+whose+"_noop")
		neighbours[i].read.into(r, name+"_"+whose+"_fetch")
	}
	if err == nil && reply != "" && got != want {
		err = fmt.Errorf("%d messages, want %d", got, want)
	}
	return err
}

// mailboxes lists an account of n mailboxes, in trees of ten levels: what is made by one CREATE each.
func mailboxes(s *Server, n int) (Result, error) {
	const levels, connections = 10, 4
	user := s.Users - 1 // the other tests' mailboxes are the first users'
	made, err := countMailboxes(s, user)
	if err != nil {
		return nil, err
	}
	r := Result{}
	if trees := n / levels; made < n {
		start := time.Now()
		errs := make(chan error, connections)
		for w := range connections {
			go func() { errs <- plantTrees(s, user, w, trees, connections) }()
		}
		for range connections {
			err = errors.Join(err, <-errs)
		}
		if err != nil {
			return nil, err
		}
		r["create_per_s"] = float64(trees*levels) / time.Since(start).Seconds()
		if err := s.settled(); err != nil {
			return nil, err
		}
	}
	c, err := s.imap(user)
	if err != nil {
		return nil, err
	}
	defer c.Logout()
	before := s.pss()
	for _, name := range []string{"list", "list_again"} {
		got, cpu, start := 0, s.cpu(), time.Now()
		if err := c.Do(func(wire.Response) { got++ }, `LIST "" "*"`); err != nil {
			return nil, err
		}
		r[name+"_ms"] = float64(time.Since(start).Microseconds()) / 1000
		r[name+"_cpu_s"] = s.cpu() - cpu
		if got < n {
			return nil, fmt.Errorf("%d of %d mailboxes listed", got, n)
		}
	}
	r["growth_mib"] = (s.pss() - before) / 1024
	return r, nil
}

func countMailboxes(s *Server, user int) (int, error) {
	c, err := s.imap(user)
	if err != nil {
		return 0, err
	}
	defer c.Logout()
	n := 0
	err = c.Do(func(wire.Response) { n++ }, `LIST "" "*"`)
	return n, err
}

// plantTrees makes every step-th of the trees from first on.
func plantTrees(s *Server, user, first, trees, step int) error {
	c, err := s.imap(user)
	if err != nil {
		return err
	}
	defer c.Logout()
	for k := first; k < trees; k += step {
		if err := c.Do(nil, fmt.Sprintf("CREATE Tree%05d/2/3/4/5/6/7/8/9/Letters", k)); err != nil {
			return err
		}
	}
	return nil
}

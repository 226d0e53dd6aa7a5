package main

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"tram/bench/wire"
)

// stopwatch enters the milliseconds since it was last read.
type stopwatch struct {
	r    Result
	last time.Time
}

func (w *stopwatch) lap(name string) {
	now := time.Now()
	w.r[name+"_ms"] = float64(now.Sub(w.last).Microseconds()) / 1000
	w.last = now
}

func corpus(n int) string { return fmt.Sprintf("Corpus%d", n) }

// imapSync is what a mail program does with a mailbox that it sees for the first time, and again
// after another program has changed a little.
func imapSync(s *Server, n int) (Result, error) {
	if _, err := fill(s, corpus(n), n); err != nil {
		return nil, fmt.Errorf("fill: %w", err)
	}
	if err := s.settled(); err != nil {
		return nil, err
	}
	r := Result{}
	w := &stopwatch{r: r, last: time.Now()}
	c, err := s.imap(0)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	w.lap("login")
	box, err := c.Select(corpus(n), "")
	if err != nil {
		return nil, err
	}
	w.lap("select")
	if err := syncList(s, c, box, w); err != nil {
		return nil, err
	}
	// The first program to read the mail since the server was started, and the next one.
	for _, name := range []string{"bodies", "bodies_again"} {
		if err := syncBodies(s, c, min(box.Exists, 20_000), name, w); err != nil {
			return nil, err
		}
	}
	box, err = change(s, corpus(n))
	if err != nil {
		return nil, err
	}
	w.last = time.Now()
	return r, resync(s, corpus(n), box, w)
}

func syncList(s *Server, c *wire.IMAP, box wire.Box, w *stopwatch) error {
	got, cpu := 0, s.cpu()
	err := c.Do(func(resp wire.Response) {
		if bytes.Contains(resp.Text, []byte("ENVELOPE")) {
			got++
		}
	}, "FETCH 1:* (UID FLAGS INTERNALDATE RFC822.SIZE ENVELOPE)")
	if err == nil && got != box.Exists {
		err = fmt.Errorf("listed %d of %d", got, box.Exists)
	}
	w.lap("list")
	w.r["list_cpu_s"] = s.cpu() - cpu
	return err
}

func syncBodies(s *Server, c *wire.IMAP, n int, name string, w *stopwatch) error {
	const batch = 500
	got, size, cpu := 0, 0, s.cpu()
	for k := 1; k <= n; k += batch {
		err := c.Do(func(resp wire.Response) {
			for _, lit := range resp.Literals {
				got++
				size += len(lit)
			}
		}, fmt.Sprintf("FETCH %d:%d (UID BODY.PEEK[])", k, min(k+batch-1, n)))
		if err != nil {
			return err
		}
	}
	took := time.Since(w.last).Seconds()
	w.lap(name)
	w.r[name+"_per_s"], w.r[name+"_mb_per_s"] = float64(got)/took, float64(size)/1e6/took
	w.r[name+"_cpu_s"] = s.cpu() - cpu
	if got != n {
		return fmt.Errorf("read %d of %d bodies", got, n)
	}
	return nil
}

// change is another program: ten flags, five new messages, four of them removed again. It returns
// where the mailbox stood before.
func change(s *Server, mailbox string) (wire.Box, error) {
	c, err := s.imap(0)
	if err != nil {
		return wire.Box{}, err
	}
	defer c.Logout()
	params := ""
	if c.Has("CONDSTORE") {
		params = " (CONDSTORE)"
	}
	box, err := c.Select(mailbox, params)
	if err != nil {
		return box, err
	}
	rnd := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 1))
	var errs []error
	for k := range 10 {
		sign := string("+-"[k%2])
		errs = append(errs, c.Do(nil, fmt.Sprintf(`STORE %d %sFLAGS (\Flagged)`, 1+rnd.IntN(box.Exists), sign)))
	}
	for k := range 5 {
		_, _, err := c.Append(mailbox, "()", letter(1_000_000+k))
		errs = append(errs, err)
	}
	errs = append(errs, c.Do(nil, "NOOP"),
		c.Do(nil, fmt.Sprintf(`STORE %d:%d +FLAGS (\Deleted)`, box.Exists+1, box.Exists+4)),
		c.Do(nil, "EXPUNGE"))
	return box, errors.Join(errs...)
}

// resync logs in anew and catches up by the best means the server offers.
func resync(s *Server, mailbox string, box wire.Box, w *stopwatch) error {
	c, err := s.imap(0)
	if err != nil {
		return err
	}
	defer c.Logout()
	w.lap("login_again")
	news := 0
	count := func(resp wire.Response) {
		if bytes.Contains(resp.Text, []byte(" FETCH ")) || bytes.Contains(resp.Text, []byte("VANISHED")) {
			news++
		}
	}
	var commands []string
	switch {
	case c.Has("QRESYNC") && box.ModSeq > 0:
		commands = []string{"ENABLE QRESYNC", fmt.Sprintf("SELECT %q (QRESYNC (%d %d))", mailbox,
			box.UIDValidity, box.ModSeq)}
	case c.Has("CONDSTORE") && box.ModSeq > 0:
		commands = []string{fmt.Sprintf("SELECT %q (CONDSTORE)", mailbox),
			fmt.Sprintf("FETCH 1:* (UID FLAGS) (CHANGEDSINCE %d)", box.ModSeq), "UID SEARCH ALL"}
	default:
		commands = []string{fmt.Sprintf("SELECT %q", mailbox), "FETCH 1:* (UID FLAGS)"}
	}
	for _, command := range commands {
		if err := c.Do(count, command); err != nil {
			return err
		}
	}
	w.lap("resync")
	if news == 0 {
		return errors.New("the resync told nothing new")
	}
	return nil
}

// imapSearch looks for rare words whose hits are known, passes times, in a mailbox whose text the
// server has had time to index.
func imapSearch(s *Server, n, passes int) (Result, error) {
	if _, err := fill(s, corpus(n), n); err != nil {
		return nil, fmt.Errorf("fill: %w", err)
	}
	if err := s.settled(); err != nil {
		return nil, err
	}
	c, err := s.imap(0)
	if err != nil {
		return nil, err
	}
	defer c.Logout()
	box, err := c.Select(corpus(n), "")
	if err != nil {
		return nil, err
	}
	r, cpu := Result{}, s.cpu()
	for _, pass := range []string{"first", "again"}[:passes] {
		for i, q := range rares {
			took, hits, err := search(c, q, fmt.Sprintf("UID 1:%d ", box.UIDNext))
			if err != nil {
				return nil, err
			}
			r[fmt.Sprintf("%s_%d_%s_ms", pass, i+1, strings.ToLower(q.key))] = took
			if want := q.hits(n); hits < want || hits > want+1 { // a run of sync leaves a letter more
				return nil, fmt.Errorf("%s %q: %d hits, want %d", q.key, q.term, hits, want)
			}
		}
	}
	r["cpu_s"] = s.cpu() - cpu
	return r, nil
}

// search returns the milliseconds that a search took and its hits; within, when not empty, narrows it.
func search(c *wire.IMAP, q rare, within string) (float64, int, error) {
	start, hits := time.Now(), 0
	tag, err := c.Send(fmt.Sprintf("UID SEARCH CHARSET UTF-8 %s%s \"%s\"", within, q.key, q.term))
	if err != nil {
		return 0, 0, err
	}
	_, err = c.Wait(tag, func(resp wire.Response) {
		if bytes.HasPrefix(resp.Text, []byte("* SEARCH")) {
			hits += len(bytes.Fields(resp.Text)) - 2
		}
	})
	return float64(time.Since(start).Microseconds()) / 1000, hits, err
}

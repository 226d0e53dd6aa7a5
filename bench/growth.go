package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"
)

// curve is how cost grows with one thing.
type curve struct {
	Subject string
	When    time.Time
	Points  []point
}

// point is what was measured at one size.
type point struct {
	X       float64
	Figures Result
}

// growth measures curves of Trạm, each on a server and a folder of its own.
type growth struct {
	o      options
	s      *Server
	empty  float64 // bytes that the store takes with nobody's mail in it
	points []point
}

// subjects are what cost may grow with, in the order of the report.
var subjects = []struct {
	name, what string
	run        func(*growth) error
}{
	{"mailbox", "messages in one mailbox", (*growth).mailbox},
	{"accounts", "accounts", (*growth).accounts},
	{"store", "gigabytes delivered into the store", (*growth).store},
	{"queue", "messages waiting in the queue", (*growth).queue},
	{"connections", "connections at work", (*growth).connections},
}

// measureGrowth measures the curves. Those of an earlier record that are not asked for stay in it.
func measureGrowth(o options) (*record, error) {
	rec, err := readRecord(o.folder, "growth")
	if err != nil {
		return nil, err
	}
	var old []curve
	if rec != nil && o.only != "" {
		old = rec.Curves
	}
	var failed []error
	rec = nil
	for _, subject := range subjects {
		if o.only != "" && !slices.Contains(strings.Split(o.only, ","), subject.name) {
			continue
		}
		s, err := openTram(o)
		if err != nil {
			return nil, err
		}
		if rec == nil {
			rec = newRecord("growth", 1, s)
		}
		g := &growth{o: o, s: s, empty: diskUse(s.life.folder())}
		if err := errors.Join(subject.run(g), s.down()); err != nil {
			fmt.Fprintf(os.Stderr, "bench: %s: %v\n", subject.name, err)
			failed = append(failed, fmt.Errorf("%s: %w", subject.name, err))
		} else { // half a curve does not take the place of an earlier whole one
			rec.replace(curve{subject.name, time.Now(), g.points})
		}
		rec.join(old)
		rec.Minutes = time.Since(rec.When).Minutes()
		if o.keep { // these take long: what is there is not lost when a later one fails
			failed = append(failed, rec.save(o.folder))
		}
		if err := s.remove(); err != nil {
			return rec, err
		}
	}
	if rec == nil {
		return nil, fmt.Errorf("there is no subject %q", o.only)
	}
	return rec, errors.Join(failed...)
}

// replace enters a curve, in the place of an earlier one.
func (rec *record) replace(c curve) {
	rec.Curves = slices.DeleteFunc(rec.Curves, func(old curve) bool { return old.Subject == c.Subject })
	rec.Curves = append(rec.Curves, c)
}

// join puts in the curves of an earlier record that were not measured anew.
func (rec *record) join(old []curve) {
	for _, c := range old {
		if !slices.ContainsFunc(rec.Curves, func(n curve) bool { return n.Subject == c.Subject }) {
			rec.Curves = append(rec.Curves, c)
		}
	}
	slices.SortFunc(rec.Curves, func(a, b curve) int { return at(a.Subject) - at(b.Subject) })
}

// beside delivers the same load to the grown server and to one that has just been made, in turn, and
// enters the grown one's figures and how they stand to those of the fresh one: on a machine with
// other work a rate alone says little. Each run begins when both servers are quiet.
func (g *growth) beside(r Result, load smtpLoad) (err error) {
	o := g.o
	o.base += 2000
	ref, err := openTram(o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, ref.down(), ref.remove()) }()
	if err := ref.up(); err != nil {
		return err
	}
	fresh := load
	if len(load.users) > 1 {
		fresh.users = nil
	}
	pairs := outcome{Runs: make([][]Result, 2)}
	for range 3 {
		for i, side := range []struct {
			s *Server
			l smtpLoad
		}{{g.s, load}, {ref, fresh}} {
			in, err := smtpIn(side.s, side.l)
			if err != nil {
				return err
			}
			if err := side.s.settled(); err != nil {
				return err
			}
			pairs.Runs[i] = append(pairs.Runs[i], in)
		}
	}
	for _, in := range pairs.Runs[0] {
		r["beside_bytes"] += in["bytes"]
	}
	for _, k := range strings.Fields("delivered_per_s ack_p50_ms ack_p99_ms cpu_s_per_1k") {
		_, r[k], _, _ = pairs.stat(0, k)
		_, r["fresh_"+k], _, _ = pairs.stat(1, k)
		if r["fresh_"+k] > 0 {
			r[k+"_of_fresh"] = r[k] / r["fresh_"+k]
		}
	}
	return nil
}

// at is the place of a subject in the report.
func at(name string) int {
	for i, s := range subjects {
		if s.name == name {
			return i
		}
	}
	return len(subjects)
}

// sizes are the powers of ten from least to most, or to large with -large.
func (g *growth) sizes(least, most, large int) []int {
	if g.o.large {
		most = large
	}
	var all []int
	for n := least; n <= most; n *= 10 {
		all = append(all, n)
	}
	return all
}

func (g *growth) add(x float64, r Result) error {
	g.points = append(g.points, point{x, r})
	line, err := json.Marshal(r)
	fmt.Printf("%10g  %s\n", x, line)
	return err
}

// restart ends the server and enters how long it takes to end and to be back.
func (g *growth) restart(r Result) error {
	start := time.Now()
	if err := g.s.down(); err != nil {
		return err
	}
	r["stop_ms"] = milliseconds(time.Since(start))
	start = time.Now()
	if err := g.s.up(); err != nil {
		return err
	}
	r["start_ms"] = milliseconds(time.Since(start))
	return nil
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// timed returns the median milliseconds of n calls.
func timed(n int, fn func(k int) error) (float64, error) {
	var took []float64
	for k := range n {
		start := time.Now()
		if err := fn(k); err != nil {
			return 0, err
		}
		took = append(took, milliseconds(time.Since(start)))
	}
	slices.Sort(took)
	return middle(took), nil
}

// with enters the figures of r that are named, under names that begin with prefix.
func (r Result) with(prefix string, from Result, keys ...string) {
	for _, k := range keys {
		r[prefix+k] = from[k]
	}
}

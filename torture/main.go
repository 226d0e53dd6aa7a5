// Command torture makes the faults that a mail server has to survive, one after the other, and
// counts what is missing afterwards. It answers "is what was acknowledged still there, once, with
// its bytes?" for a process that is killed, a machine that loses power, a disk that is full, slow,
// failing or lying, and for clients and neighbours that behave badly.
//
//	torture -tram bin/tram                    the short form: minutes become seconds
//	torture -tram bin/tram -long              what `make torture` runs: at most half an hour
//	torture -tram bin/tram -full              the rounds of the specification: many hours
//	torture -faults D1,D5 -rounds 200         some faults, with rounds of your choice
//	torture -markdown docs/reliability.md …   puts the table into a document, between two marks
//	torture -list                             what there is, and what is not there yet
//
// Each fault runs against the real binary on loopback, with a data folder of its own. The load comes
// from bench/ledger, which writes each outcome to a file before it goes on; afterwards everything is
// read back over IMAP and at the next hop, compared by checksum, the server is stopped, and
// `tram check --deep` must find nothing. Every load is bounded in number and time. Some faults need
// root, strace, loop devices or FUSE; what a machine does not have is listed as not run.
//
// What must never happen: that a fault which could not be made is counted as survived.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

func main() {
	var o options
	var long, full, list bool
	flag.StringVar(&o.tram, "tram", "bin/tram", "binary to torture")
	flag.StringVar(&o.faults, "faults", "", "faults to make, by id; empty: all")
	flag.IntVar(&o.rounds, "rounds", 0, "rounds of each fault; 0: as the form says")
	flag.BoolVar(&long, "long", false, "the long form, at most half an hour")
	flag.BoolVar(&full, "full", false, "the rounds of the specification, many hours")
	flag.StringVar(&o.markdown, "markdown", "", "document that the table is put into")
	flag.StringVar(&o.work, "work", os.TempDir(), "folder for data; not a tmpfs, or syncs prove nothing")
	flag.Uint64Var(&o.seed, "seed", 0, "seed of what is random; 0: another each time")
	flag.DurationVar(&o.limit, "limit", 28*time.Minute, "no fault begins after this time; -full has no limit")
	flag.BoolVar(&list, "list", false, "list the faults")
	flag.Parse()
	o.form = short
	switch {
	case full:
		o.form, o.limit = fullForm, 0
	case long:
		o.form = longForm
	}
	if list {
		fmt.Print(listing())
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "torture:", err)
		os.Exit(1)
	}
}

// run makes the faults and prints the table. Its error says which targets were missed.
func run(ctx context.Context, o options) error {
	chosen, err := choose(o.faults)
	if err != nil {
		return err
	}
	o.tram, err = absolute(o.tram)
	if err != nil {
		return err
	}
	start := time.Now()
	var done []*Trial
	for _, f := range chosen {
		t := newTrial(f, o)
		if ctx.Err() != nil {
			break // the table of what was made is printed all the same
		}
		if o.limit > 0 && time.Since(start) > o.limit {
			t.Missing = "no time was left: run it alone with -faults " + f.ID
		} else {
			t.run(ctx)
		}
		fmt.Println(t.line())
		for _, why := range t.Missed {
			fmt.Println("     " + why)
		}
		done = append(done, t)
	}
	fmt.Printf("\n%s", table(done))
	if o.markdown != "" {
		err := insert(o.markdown, func(old string) string { return fragment(done, o, old) })
		if err != nil {
			return err
		}
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	var missed []string
	for _, t := range done {
		if len(t.Missed) > 0 {
			missed = append(missed, t.ID)
		}
	}
	if len(missed) > 0 {
		return fmt.Errorf("targets missed: %s", strings.Join(missed, ", "))
	}
	return nil
}

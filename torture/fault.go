package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"strings"
	"time"
)

// Fault is one thing that goes wrong.
type Fault struct {
	ID, Name string
	Target   string // what passes, beside "lost 0, torn 0, check finds nothing"
	Needs    []need
	Rounds   rounds
	Run      func(context.Context, *Trial) error
}

// rounds are how often a fault is made in each form.
type rounds struct{ Short, Long, Full int }

type form int

const (
	short form = iota
	longForm
	fullForm
)

type options struct {
	tram, faults, markdown, work string
	rounds                       int
	form                         form
	seed                         uint64
	limit                        time.Duration
	patient                      bool // times are not judged
}

// need is what a machine must have for a fault; its error says what is missing.
type need func() error

func root() error {
	if os.Getuid() != 0 {
		return errors.New("it needs root, for mounts")
	}
	return nil
}

func strace() error {
	out, err := exec.Command("strace", "-qq", "-e", "trace=none", "-e", "inject=fsync:error=EIO", "true").
		CombinedOutput()
	if err != nil {
		return fmt.Errorf("it needs strace and the right to trace: %w %s", err, out)
	}
	return nil
}

func loopDevices() error {
	for _, file := range []string{"/dev/loop-control", "/usr/sbin/mkfs.ext4"} {
		if _, err := os.Stat(file); err != nil {
			return fmt.Errorf("it needs loop devices and ext4: %w", err)
		}
	}
	return nil
}

func fuse() error {
	f, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("it needs FUSE: %w", err)
	}
	return f.Close()
}

// Trial is a fault being made, and what came of it.
type Trial struct {
	Fault
	Count int // of rounds
	Form  form
	Seed  uint64
	Rnd   *rand.Rand
	Dir   string

	Done                                     int // rounds that were made
	Acked, Unknown, Refused, Lost, Dup, Torn int
	Compared                                 bool // the ledger was compared: the counts above mean something
	Recovery                                 time.Duration
	Took                                     time.Duration
	Missing                                  string   // why it was not made
	Missed                                   []string // targets, each in a sentence
	Notes                                    []string // further figures

	tram    string
	patient bool
	cleanup []func()
}

func newTrial(f Fault, o options) *Trial {
	t := &Trial{Fault: f, Form: o.form, Seed: o.seed, tram: o.tram, patient: o.patient}
	if t.Seed == 0 {
		t.Seed = rand.Uint64()
	}
	t.Rnd = rand.New(rand.NewPCG(t.Seed, 0))
	t.Count = []int{f.Rounds.Short, f.Rounds.Long, f.Rounds.Full}[o.form]
	if o.rounds > 0 {
		t.Count = o.rounds
	}
	t.Dir = o.work
	return t
}

// run makes the fault. Whatever it started or mounted is gone when it returns.
func (t *Trial) run(ctx context.Context) {
	for _, missing := range t.Needs {
		if err := missing(); err != nil {
			t.Missing = err.Error()
			return
		}
	}
	dir, err := os.MkdirTemp(t.Dir, "tram-torture-"+t.ID+"-")
	if err != nil {
		t.Missing = err.Error()
		return
	}
	t.Dir = dir
	start := time.Now()
	defer func() {
		if p := recover(); p != nil {
			t.Miss("the test itself failed: %v\n%s", p, debug.Stack())
		}
		for i := len(t.cleanup) - 1; i >= 0; i-- {
			t.cleanup[i]()
		}
		t.Took = time.Since(start)
		if len(t.Missed) == 0 {
			os.RemoveAll(dir)
		} else {
			t.Missed = append(t.Missed, "what is left is in "+dir)
		}
	}()
	if err := t.Run(ctx, t); err != nil {
		t.Miss("%v", err)
	}
}

// Miss notes that a target was missed.
func (t *Trial) Miss(format string, args ...any) {
	if len(t.Missed) < 20 {
		t.Missed = append(t.Missed, fmt.Sprintf(format, args...))
	}
}

// Late notes that a target was missed which is a time or a rate. A test that shares a busy machine is
// patient: it measures what is lost, not how long things take.
func (t *Trial) Late(format string, args ...any) {
	if t.patient {
		t.Note("late: "+format, args...)
		return
	}
	t.Miss(format, args...)
}

// Note keeps a figure for the table.
func (t *Trial) Note(format string, args ...any) {
	t.Notes = append(t.Notes, fmt.Sprintf(format, args...))
}

// OnEnd has fn called when the fault is over.
func (t *Trial) OnEnd(fn func()) { t.cleanup = append(t.cleanup, fn) }

// Pick is one of three by the form.
func pick[T any](t *Trial, short, long, full T) T { return []T{short, long, full}[t.Form] }

// recovered keeps the longest time to be ready again.
func (t *Trial) recovered(d time.Duration) { t.Recovery = max(t.Recovery, d) }

func absolute(path string) (string, error) {
	path, err := filepath.Abs(path)
	if err == nil {
		_, err = os.Stat(path)
	}
	if err != nil {
		return "", fmt.Errorf("%w: make build builds it", err)
	}
	return path, nil
}

// choose returns the faults with these ids, all when there are none.
func choose(ids string) ([]Fault, error) {
	all := faults()
	if ids == "" {
		return all, nil
	}
	var chosen []Fault
	for id := range strings.SplitSeq(ids, ",") {
		found := false
		for _, f := range all {
			if strings.EqualFold(f.ID, strings.TrimSpace(id)) {
				chosen, found = append(chosen, f), true
			}
		}
		if why := notHere[strings.ToUpper(id)]; !found && why != "" {
			return nil, fmt.Errorf("%s is not made here: %s", id, why)
		}
		if !found {
			return nil, fmt.Errorf("there is no fault %q; -list lists them", id)
		}
	}
	return chosen, nil
}

// until polls ok until it holds; the error says what did not come.
func until(ctx context.Context, limit time.Duration, what string, ok func() bool) error {
	end := time.NewTimer(limit)
	defer end.Stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-end.C:
			return fmt.Errorf("not within %v: %s", limit, what)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// pause waits; false when ctx ended.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

package main

import (
	"context"
	"fmt"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"tram/bench/ledger"
	"tram/bench/wire"
)

var killAtRandom = Fault{
	ID: "D1", Name: "kill -9 at random", Target: "ready again within 5 s, none doubled",
	Rounds: rounds{3, 60, 1000}, Run: runKillAtRandom,
}

// runKillAtRandom kills the server after 0.05 to 2 s of load from every side.
func runKillAtRandom(ctx context.Context, t *Trial) error {
	w, err := t.started(ctx)
	if err != nil {
		return err
	}
	t.Recovery = 0 // the first start is none
	l, err := w.ledger()
	if err != nil {
		return err
	}
	stop := load(ctx, l, 32, 8, 4)
	defer stop()
	for range t.Count {
		if !pause(ctx, between(t.Rnd, 50*time.Millisecond, 2*time.Second)) {
			return ctx.Err()
		}
		w.Kill()
		if err := w.Start(ctx); err != nil {
			return err
		}
		t.Done++
	}
	if err := acked(ctx, l, 20); err != nil {
		return err
	}
	stop()
	if t.Recovery > 5*time.Second {
		t.Late("ready again only after %v", t.Recovery)
	}
	return w.Verify(ctx, l)
}

var killAtSyscall = Fault{
	ID: "D2", Name: "kill at a system call", Target: "none doubled at any call", Needs: []need{strace},
	Rounds: rounds{6, 100, 2500}, Run: runKillAtSyscall,
}

// diskCalls are the calls at which the process dies, and how many of each it makes: in a start, which
// reads the logs again, writes tables and a new list of files and removes what it has replaced; and
// for a dozen messages. The log is written with write, the mark of what is acknowledged with pwrite64.
var diskCalls = []struct {
	name            string
	start, messages int
}{
	{"openat", 100, 0}, {"fdatasync", 6, 12}, {"unlinkat", 10, 0}, {"write", 120, 60}, {"fsync", 14, 0},
	{"pwrite64", 4, 12}, {"renameat", 3, 0},
}

// runKillAtSyscall has the process killed at its n-th call of one kind: counted from the start of the
// process, or from the first byte of a message.
func runKillAtSyscall(ctx context.Context, t *Trial) error {
	w, err := t.started(ctx)
	if err != nil {
		return err
	}
	l, err := w.ledger()
	if err != nil {
		return err
	}
	died := 0
	for i := range t.Count {
		call := diskCalls[i%len(diskCalls)]
		at := deadly{call: call.name, n: 1 + t.Rnd.IntN(call.start)}
		if i/len(diskCalls)%2 == 0 && call.messages > 0 {
			at.attached, at.n = true, 1+t.Rnd.IntN(call.messages)
		}
		killed, err := w.killedAt(ctx, l, at)
		if err != nil {
			return fmt.Errorf("%s %d: %w", at.call, at.n, err)
		}
		if killed {
			died++
		}
		t.Done++
	}
	t.Note("%d died at the call", died)
	if died < t.Count/3 {
		t.Miss("only %d of %d died: the calls were not reached", died, t.Count)
	}
	return w.Verify(ctx, l)
}

// deadly is a system call that kills: the n-th of its kind, counted from the start of the process or,
// attached, from when the tracer took hold of one that runs.
type deadly struct {
	call     string
	n        int
	attached bool
}

// killedAt runs the server with a deadly call under a small load, and starts it again without. It
// reports whether the server died of it.
func (w *World) killedAt(ctx context.Context, l *ledger.Ledger, at deadly) (bool, error) {
	inject := fmt.Sprintf("inject=%s:signal=KILL:when=%d", at.call, at.n)
	var tracer *tracer
	if at.attached {
		var err error
		if tracer, err = w.trace(ctx, "trace="+at.call, inject); err != nil {
			return false, err
		}
	} else {
		w.Kill()
		w.wrap = []string{"strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=" + at.call, "-e", inject}
		err := w.launch()
		w.wrap = nil
		if err != nil {
			return false, err
		}
		select {
		case <-w.proc.ready:
		case <-w.proc.done:
			return true, w.Start(ctx)
		case <-time.After(time.Minute):
			return false, fmt.Errorf("not ready under strace: %s", w.said)
		}
	}
	for range 4 {
		w.oneOfEach(l)
	}
	killed := !w.alive()
	if !killed {
		// The server has what it was sent and goes on: the fault of this round is a kill at rest.
		w.Kill()
	}
	if tracer != nil {
		tracer.end()
	}
	return killed, w.Start(ctx)
}

// oneOfEach sends one message by each protocol; errors are what it is about.
func (w *World) oneOfEach(l *ledger.Ledger) {
	at := w.where()
	if s, err := wire.DialSMTP(at.SMTP, "", ""); err == nil {
		l.Send(s, alice)
		s.Close()
	}
	if c, err := w.read(bob); err == nil {
		l.Append(c, bob)
		c.Close()
	}
	if s, err := w.submit(alice); err == nil {
		l.Submit(s, alice)
		s.Close()
	}
}

// tracer is an strace on a server that runs.
type tracer struct {
	what string
	cmd  *exec.Cmd
	done chan struct{}
	said *transcript
}

// trace attaches strace with expressions (-e) and waits until it holds every thread.
func (w *World) trace(ctx context.Context, expressions ...string) (*tracer, error) {
	return w.traceTo(ctx, "/dev/null", expressions...)
}

func (w *World) traceTo(ctx context.Context, log string, expressions ...string) (*tracer, error) {
	args := []string{"-f", "-o", log, "-s", "1000", "-ttt", "-yy", "-p", fmt.Sprint(w.pid())}
	for _, e := range expressions {
		args = append(args, "-e", e)
	}
	tr := &tracer{what: strings.Join(expressions, " "), cmd: exec.Command("strace", args...),
		done: make(chan struct{}), said: &transcript{}}
	tr.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	pipe, err := tr.cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	if err := tr.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		tr.said.read(pipe, nil)
		tr.cmd.Wait()
		close(tr.done)
	}()
	w.t.OnEnd(tr.end)
	return tr, until(ctx, 20*time.Second, "strace is attached", func() bool { return tr.said.lines.Load() > 0 })
}

// end detaches and waits.
func (tr *tracer) end() {
	select {
	case <-tr.done:
		return
	default:
	}
	tr.cmd.Process.Signal(syscall.SIGINT)
	select {
	case <-tr.done:
	case <-time.After(10 * time.Second):
		tr.cmd.Process.Kill()
		<-tr.done
	}
}

var killBigStore = Fault{
	ID: "D1B", Name: "kill -9 on a big store", Target: "ready again within 5 s; 10 GB in the full form",
	Rounds: rounds{8, 150, 1000}, Run: runKillBigStore,
}

// runKillBigStore fills in as many messages of 10 MB as there are rounds, and kills the server among
// the last of them.
func runKillBigStore(ctx context.Context, t *Trial) error {
	const size, kills = 10 << 20, 3
	w, err := t.started(ctx)
	if err != nil {
		return err
	}
	t.Recovery = 0
	block := base64Block(t.Rnd)
	for ; t.Done < t.Count && ctx.Err() == nil; t.Done++ {
		if code, err := w.sendLarge(t.Done, size, block); code != 250 {
			return fmt.Errorf("message %d: %d %w", t.Done, code, err)
		}
	}
	for i := range kills {
		timer := time.AfterFunc(between(t.Rnd, 10*time.Millisecond, 200*time.Millisecond), w.Kill9)
		w.sendLarge(t.Count+i, size, block)
		timer.Stop()
		w.Kill()
		if err := w.Start(ctx); err != nil {
			return err
		}
	}
	c, err := w.read(bob)
	if err != nil {
		return err
	}
	box, err := c.Select("INBOX", "")
	c.Close()
	if err != nil {
		return err
	}
	if box.Exists < t.Count || box.Exists > t.Count+kills {
		t.Miss("%d messages are there of %d", box.Exists, t.Count)
	}
	t.Note("%.1f GB, %d kills", float64(t.Count)*size/1e9, kills)
	if t.Recovery > 5*time.Second {
		t.Late("ready again only after %v", t.Recovery)
	}
	if err := w.Stop(); err != nil {
		return err
	}
	return w.Check()
}

package e2e

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"tram/bench/ledger"
	"tram/bench/wire"
)

// ledger returns a ledger whose clients talk to s.
func (s *server) ledger(seed uint64) *ledger.Ledger {
	return ledger.New(ledger.Server{
		SMTP: wire.Target{Addr: s.addr(25)}, IMAP: wire.Target{Addr: s.addr(993), Security: wire.TLS},
		Users: []string{alice, bob}, Password: password,
	}, seed)
}

// load runs SMTP and APPEND clients until the returned function is called.
func load(l *ledger.Ledger, smtp, append int) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	for range smtp {
		wg.Go(func() { l.RunSMTP(ctx) })
	}
	for range append {
		wg.Go(func() { l.RunAppend(ctx) })
	}
	return func() { cancel(); wg.Wait() }
}

func (s *server) waitAcked(l *ledger.Ledger, n int) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), 2*time.Minute)
	defer cancel()
	if err := l.WaitAcked(ctx, n); err != nil {
		s.t.Fatalf("waiting for %d acknowledgements: %v\n%s", n, err, s.out)
	}
}

// compare reads everything back, and has the server check itself.
func (s *server) compare(l *ledger.Ledger) ledger.Report {
	s.t.Helper()
	report, err := l.Compare()
	if err != nil {
		s.t.Fatal(err)
	}
	if err := report.Err(); err != nil {
		s.t.Error(err)
	}
	if out, err := try(s.t, "", tramBinary, "check", "--deep", "--data", s.dir); err != nil {
		s.t.Errorf("tram check --deep: %v\n%s", err, out)
	}
	return report
}

// TestKillAtRandom is D1: kill -9 under load, again and again; whatever was acknowledged is there
// once, with its bytes.
func TestKillAtRandom(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	s := start(t, "--measure")
	l := s.ledger(seed)
	stop := load(l, 8, 3)
	defer stop()
	rounds := 12
	if long() {
		rounds = 1000
	}
	for range rounds {
		s.waitAcked(l, 1+rnd.IntN(300))
		s.kill(syscall.SIGKILL)
		s.start()
	}
	s.waitAcked(l, 50)
	stop()
	r := s.compare(l)
	t.Logf("%d kills, %d acknowledged, %d unknown: lost %d, doubled %d, torn %d", rounds, r.Acked,
		r.Unknown, len(r.Lost), len(r.Dup), len(r.Torn))
}

// TestKillAtSyscall is D2: the process dies at the n-th call of a system call that touches the
// disk, for calls and n spread over the life of a message.
func TestKillAtSyscall(t *testing.T) {
	t.Parallel()
	strace := need(t, "strace", "strace")
	s := start(t, "--measure")
	l := s.ledger(rand.Uint64())
	s.stop()
	points := []string{
		"fdatasync:signal=KILL:when=5", "fdatasync:signal=KILL:when=17", "fsync:signal=KILL:when=3",
		"write:signal=KILL:when=90", "write:signal=KILL:when=141", "write:signal=KILL:when=333",
		"renameat:signal=KILL:when=1", "unlinkat:signal=KILL:when=1",
	}
	if long() {
		for n := 1; n <= 500; n++ {
			points = append(points, fmt.Sprintf("fsync,fdatasync,write,renameat,unlinkat:signal=KILL:when=%d", n))
		}
	}
	for _, at := range points {
		s.killedAt(strace, at, l)
	}
	s.start()
	r := s.compare(l)
	if r.Acked == 0 {
		t.Error("no message was acknowledged: the kills came too early to prove anything")
	}
	t.Logf("%d acknowledged, %d unknown: lost %d, doubled %d, torn %d", r.Acked, r.Unknown,
		len(r.Lost), len(r.Dup), len(r.Torn))
}

// TestSyncFails is D6: the disk refuses a sync. The server acknowledges nothing more and ends: what
// the kernel has thrown away, no later sync brings back. What was acknowledged before is there.
func TestSyncFails(t *testing.T) {
	t.Parallel()
	strace := need(t, "strace", "strace")
	s := start(t, "--measure")
	l := s.ledger(rand.Uint64())
	stop := load(l, 2, 1)
	s.waitAcked(l, 50)
	stop()
	s.stop()
	calls := []int{2, 4, 6} // of one thread of many: strace counts for each
	if long() {
		calls = []int{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}
	}
	for _, n := range calls {
		if !s.killedAt(strace, fmt.Sprintf("fdatasync:error=EIO:when=%d", n), l) {
			t.Errorf("the server went on after sync %d had failed", n)
		}
	}
	s.start()
	r := s.compare(l)
	t.Logf("%d failed syncs, %d acknowledged, %d unknown: lost %d", len(calls), r.Acked, r.Unknown, len(r.Lost))
}

// killedAt runs the server under strace with a fault injected, under load, until it dies or has
// taken 100 messages without reaching the fault. It reports whether it died.
func (s *server) killedAt(strace, inject string, l *ledger.Ledger) (died bool) {
	s.t.Helper()
	call, _, _ := strings.Cut(inject, ":")
	s.cmd = exec.Command(strace, "-f", "-qq", "-o", "/dev/null", "-e", "trace="+call, "-e", "inject="+inject,
		tramBinary, "demo", "--data", s.dir, "--port-base", fmt.Sprint(s.base), "--measure")
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	s.cmd.Stdout, s.cmd.Stderr = io.Discard, io.Discard
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { s.cmd.Wait(); close(ended) }()
	stop := load(l, 2, 1)
	ctx, cancel := context.WithTimeout(s.t.Context(), 30*time.Second)
	enough := make(chan struct{})
	go func() { l.WaitAcked(ctx, 100); close(enough) }()
	select {
	case <-ended:
		died = true
	case <-enough:
		syscall.Kill(-s.cmd.Process.Pid, syscall.SIGKILL)
		<-ended
	}
	cancel()
	stop()
	<-enough
	s.cmd = nil
	return died
}

var (
	straceSync  = regexp.MustCompile(`(fsync|fdatasync|sync_file_range)(\(.*| resumed>.*)\)? += 0`)
	straceReply = regexp.MustCompile(`write\(\d+, "(?:[^"]*\\n)?(354|250 2\.0\.0 Ok: delivered)`)
)

// TestAckAfterSync is D3: between a message's last byte and its 250 stands a sync of the log that
// has returned.
func TestAckAfterSync(t *testing.T) {
	t.Parallel()
	strace := need(t, "strace", "strace")
	s := start(t, "--measure")
	log := filepath.Join(t.TempDir(), "strace")
	tracer := exec.Command(strace, "-f", "-qq", "-o", log, "-s", "200", "-e",
		"trace=fsync,fdatasync,sync_file_range,write,sendto", "-p", fmt.Sprint(s.cmd.Process.Pid))
	var said transcript
	pipe, err := tracer.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := tracer.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		for sc := bufio.NewScanner(pipe); sc.Scan(); {
			said.add(sc.Text())
		}
	}()
	client, err := wire.DialSMTP(wire.Target{Addr: s.addr(25)}, "", "")
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "strace is attached", func() bool {
		client.Command('2', "NOOP")
		info, err := os.Stat(log)
		return err == nil && info.Size() > 0
	})
	const messages = 200
	for i := range messages {
		msg := fmt.Sprintf("Subject: %d\r\nMessage-ID: <sync%d@x>\r\n\r\nbody\r\n", i, i)
		if ack, _, err := client.Send("a@load.test", alice, wire.Stuff([]byte(msg))); ack != wire.Acked {
			t.Fatal(err)
		}
		if i%50 == 49 { // a session of a stranger ends after a hundred
			client.Quit()
			if client, err = wire.DialSMTP(wire.Target{Addr: s.addr(25)}, "", ""); err != nil {
				t.Fatal(err)
			}
		}
	}
	client.Close()
	tracer.Process.Signal(syscall.SIGINT)
	tracer.Wait()
	checkSyncOrder(t, log, messages, &said)
}

func checkSyncOrder(t *testing.T, log string, messages int, said *transcript) {
	t.Helper()
	f, err := os.Open(log)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	synced, open, acks, early := false, false, 0, 0
	for sc := bufio.NewScanner(f); sc.Scan(); {
		line := sc.Text()
		if straceSync.MatchString(line) {
			synced = true
		}
		m := straceReply.FindStringSubmatch(line)
		switch {
		case m == nil:
		case m[1] == "354":
			open, synced = true, false
		case open:
			acks++
			if !synced {
				early++
			}
			open = false
		}
	}
	if acks < messages {
		t.Fatalf("saw %d acknowledgements of %d in the trace; strace said %s", acks, messages, said)
	}
	if early > 0 {
		t.Errorf("%d of %d acknowledgements left before a sync had returned", early, acks)
	}
}

// TestDrain is O14: SIGTERM under load loses nothing and ends in time.
func TestDrain(t *testing.T) {
	t.Parallel()
	s := start(t, "--measure")
	l := s.ledger(rand.Uint64())
	stop := load(l, 6, 2)
	defer stop()
	for range 3 {
		s.waitAcked(l, 100)
		if err := s.kill(syscall.SIGTERM); err != nil {
			t.Errorf("the server ended with %v\n%s", err, s.out)
		}
		s.start()
	}
	s.waitAcked(l, 50)
	stop()
	s.compare(l)
}

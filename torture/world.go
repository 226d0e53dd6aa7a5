package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"tram/bench/ledger"
	"tram/bench/wire"
)

const (
	domain      = "example.test"
	alice       = "alice@" + domain
	bob         = "bob@" + domain
	password    = "tram-demo-mail"
	ownPassword = "four lanterns by the relay road" // of a server that was set up
	outside     = "outside.test"
)

// World is a server on a data folder of its own, and what it talks to. It is started, killed and
// started again many times.
type World struct {
	t    *Trial
	base int
	data string
	// wrap stands before the server's command line: a tracer, or a shell that sets limits.
	wrap []string
	args []string // of the demo
	file string   // configuration of a server that was set up; "": the demo
	sink *sink

	proc *process
	said *transcript
}

// process is one run of the server.
type process struct {
	cmd   *exec.Cmd
	ready chan struct{}
	done  chan struct{}
	err   error // once done is closed
}

// transcript keeps the last lines that were printed, and counts them.
type transcript struct {
	mu    sync.Mutex
	last  []string
	lines atomic.Int64
	bytes atomic.Int64
}

func (o *transcript) add(line string) {
	o.lines.Add(1)
	o.bytes.Add(int64(len(line)) + 1)
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.last = append(o.last, line); len(o.last) > 60 {
		o.last = o.last[1:]
	}
}

func (o *transcript) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return strings.Join(o.last, "\n")
}

var nextBase atomic.Int64

// freeBase returns a port base whose ports are free, below those that other tests here use.
func freeBase() (int, error) {
	const first, blocks = 3000, 7
	for range 2 * blocks {
		base := first + int(nextBase.Add(1)+int64(os.Getpid()))%blocks*1000
		if portsFree(base) {
			return base, nil
		}
	}
	return 0, errors.New("found no port base that is free")
}

func portsFree(base int) bool {
	for _, p := range []int{25, 80, 110, 143, 443, 465, 587, 600, 601, 602, 993, 995} {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", base+p))
		if err != nil {
			return false
		}
		l.Close()
	}
	return true
}

// demo makes a world of the demo server, whose mail for elsewhere goes to a sink. It is not started.
func (t *Trial) demo() (*World, error) {
	base, err := freeBase()
	if err != nil {
		return nil, err
	}
	w := &World{t: t, base: base, data: filepath.Join(t.Dir, fmt.Sprint("data", base)), said: &transcript{}}
	if w.sink, err = openSink(w.addr(600)); err != nil {
		return nil, err
	}
	w.args = []string{"--measure", "--smarthost", w.addr(600)}
	t.OnEnd(func() { w.Kill(); w.sink.close() })
	return w, nil
}

// started is demo with the server running.
func (t *Trial) started(ctx context.Context) (*World, error) {
	w, err := t.demo()
	if err != nil {
		return nil, err
	}
	return w, w.Start(ctx)
}

// installed makes a world of a server that was set up as an operator does, with its limits in force.
// Each of settings is a line "section.key = value" of limits, or of another table with its name.
func (t *Trial) installed(settings ...string) (*World, error) {
	base, err := freeBase()
	if err != nil {
		return nil, err
	}
	w := &World{t: t, base: base, data: filepath.Join(t.Dir, "data"), said: &transcript{},
		file: filepath.Join(t.Dir, "tram.toml")}
	t.OnEnd(func() { w.Kill() })
	out, err := w.command(ownPassword+"\n", "setup", "--hostname", "mail."+domain, "--domain", domain, "--admin",
		alice, "--data", w.data, "--config", w.file, "--password-stdin")
	if err != nil {
		return nil, fmt.Errorf("%w: %s", err, out)
	}
	return w, os.WriteFile(w.file, []byte(w.config(settings)), 0o600)
}

func (w *World) config(settings []string) string {
	tables := map[string][]string{}
	for _, s := range settings {
		name, rest, _ := strings.Cut(s, ".")
		if name != "log" && name != "dns" {
			name = "limits." + name
		}
		tables[name] = append(tables[name], rest)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "hostname = %q\ndata = %q\n[listen]\n", "mail."+domain, w.data)
	for door, port := range map[string]int{"smtp": 25, "submission": 587, "submissions": 465, "imap": 143,
		"imaps": 993, "pop3": 110, "pop3s": 995, "http": 80, "https": 443, "metrics": 601} {
		fmt.Fprintf(&b, "%s = [%q]\n", door, w.addr(port))
	}
	b.WriteString("[certificates]\nsource = \"self-made\"\nnames = [\"localhost\"]\n")
	fmt.Fprintf(&b, "[admin]\nsocket = %q\n", filepath.Join(w.t.Dir, "admin.sock"))
	if tables["dns"] == nil {
		tables["dns"] = []string{`servers = ["127.0.0.1:9"]`} // nobody answers there
	}
	for name, lines := range tables {
		fmt.Fprintf(&b, "[%s]\n%s\n", name, strings.Join(lines, "\n"))
	}
	return b.String()
}

func (w *World) addr(port int) string { return fmt.Sprintf("127.0.0.1:%d", w.base+port) }

// Start starts the server and waits until it is ready.
func (w *World) Start(ctx context.Context) error {
	start := time.Now()
	if err := w.launch(); err != nil {
		return err
	}
	select {
	case <-w.proc.ready:
		w.t.recovered(time.Since(start))
		return nil
	case <-w.proc.done:
		return fmt.Errorf("the server ended before it was ready: %v: %s", w.proc.err, lastLine(w.said.String()))
	case <-time.After(time.Minute):
		return fmt.Errorf("the server was not ready after a minute: %s", w.said)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// launch starts the server and does not wait.
func (w *World) launch() error {
	line := append([]string{}, w.wrap...)
	if w.file != "" {
		line = append(line, w.t.tram, "serve", "--config", w.file)
	} else {
		line = append(line, w.t.tram, "demo", "--data", w.data, "--port-base", fmt.Sprint(w.base))
		line = append(line, w.args...)
	}
	p := &process{cmd: exec.Command(line[0], line[1:]...), ready: make(chan struct{}), done: make(chan struct{})}
	// A group of its own, so that a tracer and the server end together, and Ctrl-C reaches only us.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		return err
	}
	stderr, err := p.cmd.StderrPipe()
	if err != nil {
		return err
	}
	if err := p.cmd.Start(); err != nil {
		return err
	}
	w.proc = p
	var once sync.Once
	var readers sync.WaitGroup
	for _, r := range []io.Reader{stdout, stderr} {
		readers.Go(func() { w.listen(r, func() { once.Do(func() { close(p.ready) }) }) })
	}
	go func() {
		readers.Wait()
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	return nil
}

func (w *World) listen(r io.Reader, ready func()) {
	w.said.read(r, func(line string) {
		if line = strings.TrimSpace(line); line == "ready" || strings.Contains(line, `"msg":"ready"`) {
			ready()
		}
	})
}

// read adds what r has, and gives each line to see unless that is nil.
func (o *transcript) read(r io.Reader, see func(line string)) {
	sc := bufio.NewScanner(r)
	sc.Buffer(nil, 1<<20)
	for sc.Scan() {
		o.add(sc.Text())
		if see != nil {
			see(sc.Text())
		}
	}
}

// pid is the server's own process: below a wrapper its child.
func (w *World) pid() int {
	pid := w.proc.cmd.Process.Pid
	for range len(w.wrap) {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
		if err != nil || len(bytes.TrimSpace(b)) == 0 {
			break
		}
		fmt.Sscan(string(b), &pid)
	}
	return pid
}

// alive reports whether the server runs.
func (w *World) alive() bool {
	if w.proc == nil {
		return false
	}
	select {
	case <-w.proc.done:
		return false
	default:
		return true
	}
}

// Kill ends the server as kill -9 does.
func (w *World) Kill() {
	if w.proc == nil {
		return
	}
	syscall.Kill(-w.proc.cmd.Process.Pid, syscall.SIGKILL)
	<-w.proc.done
	w.proc = nil
}

// Stop ends the server as an operator does; it must end by itself and well.
func (w *World) Stop() error {
	if !w.alive() {
		return errors.New("the server ended by itself: " + lastLine(w.said.String()))
	}
	syscall.Kill(w.pid(), syscall.SIGTERM)
	defer w.Kill()
	select {
	case <-w.proc.done:
		if w.proc.err != nil {
			return fmt.Errorf("the server ended with %w: %s", w.proc.err, lastLine(w.said.String()))
		}
		return nil
	case <-time.After(30 * time.Second):
		return errors.New("the server did not end within 30 s of SIGTERM")
	}
}

// command runs a command of the binary.
func (w *World) command(input string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, w.t.tram, args...)
	cmd.Stdin = strings.NewReader(input)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// tram runs a command about this server.
func (w *World) tram(args ...string) (string, error) {
	if w.file != "" {
		return w.command("", append(args, "--config", w.file)...)
	}
	return w.command("", append(args, "--data", w.data)...)
}

// Check has the data checked, by the server when it runs.
func (w *World) Check() error {
	out, err := w.tram("check", "--deep")
	if err != nil {
		return fmt.Errorf("check --deep: %w: %s", err, out)
	}
	return nil
}

// queued is the number of messages in the queue.
func (w *World) queued() (int, error) {
	out, err := w.tram("queue", "list", "--json")
	if err != nil {
		return 0, fmt.Errorf("queue list: %w: %s", err, out)
	}
	var items []any
	err = json.Unmarshal([]byte(out), &items)
	return len(items), err
}

// where are the ports of the world for the ledger's clients.
func (w *World) where() ledger.Server {
	s := ledger.Server{Users: []string{alice, bob}, Password: password, Outside: outside, SMTP: w.smtp(),
		IMAP: w.imap(), Submit: wire.Target{Addr: w.addr(587)}}
	if w.file != "" {
		s.Users, s.Password = s.Users[:1], ownPassword
		s.Submit = wire.Target{Addr: w.addr(465), Security: wire.TLS}
	}
	return s
}

func (w *World) smtp() wire.Target { return wire.Target{Addr: w.addr(25)} }

func (w *World) imap() wire.Target {
	if w.file != "" {
		return wire.Target{Addr: w.addr(993), Security: wire.TLS}
	}
	return wire.Target{Addr: w.addr(143)} // --measure
}

// read opens an IMAP session, submit one that hands in mail.
func (w *World) read(user string) (*wire.IMAP, error) {
	return wire.DialIMAP(w.imap(), user, w.where().Password)
}

func (w *World) submit(user string) (*wire.SMTP, error) {
	at := w.where()
	return wire.DialSMTP(at.Submit, user, at.Password)
}

// ledger begins a ledger with a journal; what arrives at the sink is entered too.
func (w *World) ledger() (*ledger.Ledger, error) {
	seed := w.t.Rnd.Uint64()
	l := ledger.New(w.where(), seed)
	if w.sink != nil {
		w.sink.take(l.Arrived)
	}
	w.t.OnEnd(func() { l.Close() })
	return l, l.Record(w.journal(l))
}

func (w *World) journal(l *ledger.Ledger) string {
	return filepath.Join(w.t.Dir, fmt.Sprintf("journal-%p", l))
}

// load runs clients until the returned function is called.
func load(ctx context.Context, l *ledger.Ledger, smtp, appends, submits int) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	for range smtp {
		wg.Go(func() { l.RunSMTP(ctx) })
	}
	for range appends {
		wg.Go(func() { l.RunAppend(ctx) })
	}
	for i := range submits {
		wg.Go(func() { l.RunSubmit(ctx, i) })
	}
	return func() { cancel(); wg.Wait() }
}

// acked waits for n more acknowledgements.
func acked(ctx context.Context, l *ledger.Ledger, n int) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if err := l.WaitAcked(ctx, n); err != nil {
		return fmt.Errorf("waiting for %d acknowledgements: %w", n, err)
	}
	return nil
}

// between is a random time.
func between(rnd *rand.Rand, least, most time.Duration) time.Duration {
	return least + time.Duration(rnd.Int64N(int64(most-least)))
}

// Verify compares all that the journal says with all that the server and the sink have, stops the
// server, and has its data checked.
func (w *World) Verify(ctx context.Context, l *ledger.Ledger) error {
	if w.sink != nil {
		err := until(ctx, time.Minute, "everything that was queued has left", func() bool {
			n, err := w.queued()
			return err == nil && n == 0
		})
		if err != nil {
			w.t.Miss("%v", err)
		}
	}
	kept, err := ledger.Load(w.where(), w.journal(l))
	if err != nil {
		return err
	}
	kept.Outside(l)
	r, err := kept.Compare()
	if err != nil {
		return fmt.Errorf("compare: %w", err)
	}
	w.count(r)
	if err := w.Stop(); err != nil {
		w.t.Miss("%v", err)
	}
	return w.Check()
}

func (w *World) count(r ledger.Report) {
	t := w.t
	t.Compared = true
	t.Acked, t.Unknown, t.Refused = t.Acked+r.Acked, t.Unknown+r.Unknown, t.Refused+r.Refused
	t.Lost, t.Dup, t.Torn = t.Lost+len(r.Lost), t.Dup+len(r.Dup), t.Torn+len(r.Torn)
	if err := r.Err(); err != nil {
		t.Miss("%v", err)
	}
	if len(r.Twice) > 0 {
		t.Note("%d reached the next hop twice", len(r.Twice))
	}
}

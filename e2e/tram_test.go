package e2e

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

const (
	password = "tram-demo-mail"
	alice    = "alice@example.test"
	bob      = "bob@example.test"
)

var tramBinary string

// TestMain builds the binary as `make build` does: static, without cgo.
func TestMain(m *testing.M) {
	os.Exit(buildAndRun(m))
}

func buildAndRun(m *testing.M) int {
	dir, err := os.MkdirTemp("", "tram-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	tramBinary = filepath.Join(dir, "tram")
	build := exec.Command("go", "build", "-o", tramBinary, "tram/cmd/tram")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	build.Stdout, build.Stderr = os.Stdout, os.Stderr
	if err := build.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "build tram:", err)
		return 1
	}
	return m.Run()
}

// server is one running `tram demo`, or what command runs.
type server struct {
	t       testing.TB
	command []string // nil: the demo on dir and base
	cmd     *exec.Cmd
	dir     string
	base    int
	args    []string
	done    chan error
	out     *transcript
}

// transcript keeps what a process printed, for the report of a test that fails.
type transcript struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *transcript) add(line string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.b.WriteString(line + "\n")
}

func (o *transcript) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

var nextBase atomic.Int64

// demoPorts are what `tram demo` listens on, less its base.
var demoPorts = []int{25, 80, 110, 143, 443, 465, 587, 993, 995}

// freeBase returns a port base whose demo ports are free, for this test alone. It stays below the
// range from which the kernel takes ephemeral ports.
//
// Several runs of these tests may want ports at the same time. So a base is taken by listening on
// the port that has its number, which no server uses, until the test ends: the demo's ports below it
// may then be looked at, closed again and given to a server without another run taking them.
func freeBase(t testing.TB) int {
	t.Helper()
	// Five bases share a thousand: no two of the demo's ports lie 4, 8, 12 or 16 apart.
	const first, thousands, each, step = 10_000, 22, 5, 4
	for range 3 * thousands * each {
		n := int(nextBase.Add(1)+int64(os.Getpid())*7) % (thousands * each)
		base := first + n%thousands*1000 + n/thousands*step
		lock, err := listenLocal(base)
		if err != nil {
			continue
		}
		if portsFree(base) {
			t.Cleanup(func() { lock.Close() })
			return base
		}
		lock.Close()
	}
	t.Fatal("found no port base that is free")
	return 0
}

func listenLocal(port int) (net.Listener, error) {
	return net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
}

func portsFree(base int) bool {
	for _, p := range demoPorts {
		l, err := listenLocal(base + p)
		if err != nil {
			return false
		}
		l.Close()
	}
	return true
}

// start runs `tram demo` with args in a new data directory and waits until it is ready. A program
// that knows nothing of freeBase may have taken one of the ports meanwhile: then others are tried.
func start(t testing.TB, args ...string) *server {
	t.Helper()
	s := &server{t: t, dir: filepath.Join(t.TempDir(), "data"), base: freeBase(t), args: args}
	s.cleanup()
	const tries = 3
	for n := 1; ; n++ {
		err := s.tryStart()
		if err == nil {
			return s
		}
		if n == tries || !strings.Contains(s.out.String(), "another program has the port") {
			t.Fatal(err)
		}
		s.base = freeBase(t)
	}
}

// run starts s, and ends it with the test.
func (s *server) run() {
	s.t.Helper()
	s.cleanup()
	s.start()
}

func (s *server) cleanup() {
	s.t.Cleanup(func() {
		if s.cmd != nil {
			s.kill(syscall.SIGKILL)
		}
		if s.t.Failed() {
			s.t.Logf("the server printed:\n%s", s.out)
		}
	})
}

// start starts s and waits until it is ready.
func (s *server) start() {
	s.t.Helper()
	if err := s.tryStart(); err != nil {
		s.t.Fatal(err)
	}
}

// tryStart is start for a server that may refuse: the error holds what it printed.
func (s *server) tryStart() error {
	s.t.Helper()
	command := s.command
	if command == nil {
		command = []string{tramBinary, "demo", "--data", s.dir, "--port-base", fmt.Sprint(s.base)}
		command = append(command, s.args...)
	}
	s.cmd = exec.Command(command[0], command[1:]...)
	stdout, err := s.cmd.StdoutPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	if s.out == nil {
		s.out = &transcript{}
	}
	stderr, err := s.cmd.StderrPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	ready := make(chan struct{})
	var readers sync.WaitGroup
	var once sync.Once
	accepts := func() { once.Do(func() { close(ready) }) }
	readers.Go(func() { s.read(stdout, accepts) })
	readers.Go(func() { s.read(stderr, accepts) })
	s.done = make(chan error, 1)
	go func() {
		readers.Wait()
		s.done <- s.cmd.Wait()
	}()
	select {
	case <-ready:
		return nil
	case err := <-s.done:
		s.cmd = nil
		return fmt.Errorf("the server ended before it was ready: %w\n%s", err, s.out)
	case <-time.After(60 * time.Second):
		return fmt.Errorf("the server was not ready after a minute:\n%s", s.out)
	}
}

// read keeps what the server prints and calls ready when it says that it accepts: the demo on its
// screen, the server in its log.
func (s *server) read(r io.Reader, ready func()) {
	sc := bufio.NewScanner(r)
	sc.Buffer(nil, 1<<20)
	for sc.Scan() {
		s.out.add(sc.Text())
		line := strings.TrimSpace(sc.Text())
		if line == "ready" || strings.Contains(line, `"msg":"ready"`) {
			ready()
		}
	}
}

// stop ends the server as Ctrl-C does and checks that it drained cleanly.
func (s *server) stop() {
	s.t.Helper()
	if err := s.kill(syscall.SIGINT); err != nil {
		s.t.Errorf("the server ended with %v\n%s", err, s.out)
	}
}

// kill sends sig and waits for the end.
func (s *server) kill(sig syscall.Signal) error {
	s.t.Helper()
	s.cmd.Process.Signal(sig)
	defer func() { s.cmd = nil }()
	select {
	case err := <-s.done:
		return err
	case <-time.After(30 * time.Second):
		s.cmd.Process.Kill()
		return fmt.Errorf("did not end within 30 s of %v: %w", sig, <-s.done)
	}
}

// addr is the loopback address of a standard port.
func (s *server) addr(port int) string { return fmt.Sprintf("127.0.0.1:%d", s.base+port) }

// ca is the demo's own certificate authority.
func (s *server) ca() string {
	s.t.Helper()
	matches, err := filepath.Glob(filepath.Join(s.dir, "*", "ca.pem"))
	if err != nil || len(matches) == 0 {
		matches, err = filepath.Glob(filepath.Join(s.dir, "ca.pem"))
	}
	if err != nil || len(matches) == 0 {
		s.t.Fatalf("no ca.pem below %s: %v", s.dir, err)
	}
	return matches[0]
}

// tram runs a command of the binary against the server's data directory.
func (s *server) tram(args ...string) string {
	s.t.Helper()
	return run(s.t, "", tramBinary, append(args, "--data", s.dir)...)
}

// need fails the test when a program is missing, with the package that has it.
func need(t testing.TB, program, pkg string) string {
	t.Helper()
	path, err := exec.LookPath(program)
	if err != nil {
		for _, dir := range []string{"/usr/sbin", "/sbin"} {
			if _, err := os.Stat(filepath.Join(dir, program)); err == nil {
				return filepath.Join(dir, program)
			}
		}
		t.Fatalf("%s is not installed: apt-get install %s (make test does)", program, pkg)
	}
	return path
}

// run runs a program with input and returns what it printed; it fails the test when the program
// fails.
func run(t testing.TB, input, name string, args ...string) string {
	t.Helper()
	out, err := try(t, input, name, args...)
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return out
}

// try is run for a program that may fail.
func try(t testing.TB, input, name string, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stdin = strings.NewReader(input)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// eventually waits until ok holds: for what a real program does in its own time.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(60 * time.Second)
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("not after a minute: %s", what)
		}
	}
}

func write(t testing.TB, path, content string) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

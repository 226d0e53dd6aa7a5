package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"tram/bench/peers"
)

const (
	domain   = "example.test"
	password = "benchpass-1234"
	people   = 10
)

// tram is a demo server in a folder of its own.
type tram struct {
	args []string
	dir  string
	cmd  *exec.Cmd
}

// durable says what Trạm's 250 promises.
const durable = "the message is in its recipient's mailbox, visible to every client, and synced: body, mailbox " +
	"entry and counters in one transaction, whose log is synced once for all that wait at the same time"

// freeBase returns a port base, wanted or a little above, with nobody on the ports that a server and
// the sink take: other programs have ports in that range too.
func freeBase(wanted int) int {
	for base := wanted; base < wanted+900; base += 10 {
		free := true
		for _, port := range []int{25, 80, 110, 143, 443, 465, 587, 600, 993} {
			l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", base+port))
			if err != nil {
				free = false
				break
			}
			l.Close()
		}
		if free {
			return base
		}
	}
	return wanted // whoever listens there is told with the port
}

// newTram describes a Trạm in a new folder. Nothing runs yet.
func newTram(o options) (*Server, error) {
	dir, err := o.guests.folder("tram-bench-")
	if err != nil {
		return nil, err
	}
	base := freeBase(o.base)
	at := func(port int) string { return fmt.Sprintf("127.0.0.1:%d", base+port) }
	s := &Server{
		Name: "Trạm", SMTP: at(25), Submit: at(587), IMAP: at(143), IMAPS: at(993), POP3: at(110),
		Sink:   at(600),
		Domain: domain, Users: people, Password: password, Durable: durable, scale: o.scale,
		Settings: []string{"`tram demo --measure`: log-in without TLS allowed, limits per address lifted; " +
			"all else as by default, the full-text index included"},
	}
	if o.checks {
		s.checks = true
	} else {
		s.Settings = append(s.Settings, "`--no-checks`: nobody asks who sent a message or whether it is junk")
	}
	args := []string{
		o.tram, "demo", "--measure", "--data", filepath.Join(dir, "data"),
		"--port-base", strconv.Itoa(base), "--smarthost", s.Sink, "--no-checks=" + strconv.FormatBool(!o.checks),
	}
	if o.names.IsValid() {
		args = append(args, "--dns", o.names.String())
		s.Settings = append(s.Settings, "`--dns`: a name server on loopback that answers from memory")
	}
	s.life = &tram{dir: dir, args: args}
	version, err := exec.Command(o.tram, "version").Output()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s version: %w", o.tram, err), os.RemoveAll(dir))
	}
	o.guests.add(s)
	s.Version, _, _ = strings.Cut(strings.TrimSpace(string(version)), "\n")
	return s, nil
}

// addPeople makes the accounts while the server runs.
func addPeople(s *Server, o options) error {
	for i := range s.Users {
		add := exec.Command(o.tram, "account", "add", s.user(i), "--password-stdin", "--data", s.life.folder())
		add.Stdin = strings.NewReader(s.Password + "\n")
		if out, err := add.CombinedOutput(); err != nil {
			return fmt.Errorf("add account: %w: %s", err, out)
		}
	}
	return nil
}

// openTram makes a Trạm with people in it, not running.
func openTram(o options) (*Server, error) {
	s, err := newTram(o)
	if err != nil {
		return nil, err
	}
	if err := s.up(); err != nil {
		return nil, errors.Join(err, s.remove())
	}
	if err := errors.Join(addPeople(s, o), s.down()); err != nil {
		return nil, errors.Join(err, s.remove())
	}
	return s, nil
}

// remove takes away what the server kept.
func (s *Server) remove() error {
	if s.life == nil {
		return nil
	}
	return os.RemoveAll(filepath.Dir(s.life.folder()))
}

func (t *tram) folder() string { return filepath.Join(t.dir, "data") }

func (t *tram) start(wrap ...string) error {
	args := append(append([]string{}, wrap...), t.args...)
	t.cmd = exec.Command(args[0], args[1:]...)
	log, err := os.OpenFile(filepath.Join(t.dir, "log"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	t.cmd.Stderr = log
	out, err := t.cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := t.cmd.Start(); err != nil {
		return err
	}
	sc := bufio.NewScanner(out)
	for sc.Scan() {
		if strings.TrimSpace(sc.Text()) == "ready" {
			go func() {
				for sc.Scan() { // keep the pipe empty
				}
			}()
			return nil
		}
	}
	return fmt.Errorf("it ended before it was ready: %s", t.log())
}

// stop ends it as an operator does.
func (t *tram) stop(ctx context.Context) error {
	if t.cmd == nil || t.cmd.Process == nil {
		return nil
	}
	cmd := t.cmd
	t.cmd = nil
	cmd.Process.Signal(syscall.SIGTERM)
	stop := context.AfterFunc(ctx, func() { cmd.Process.Kill() })
	defer stop()
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("end the server: %w: %s", err, t.log())
	}
	return nil
}

func (t *tram) pids() []int {
	if t.cmd == nil || t.cmd.Process == nil {
		return nil
	}
	return []int{t.cmd.Process.Pid}
}

func (t *tram) log() string {
	b, _ := os.ReadFile(filepath.Join(t.dir, "log"))
	return string(bytes.TrimSpace(b[max(0, len(b)-1000):]))
}

// pair is Postfix with Dovecot as a life.
type pair struct {
	*peers.Pair
	dir string
}

func (p pair) start(wrap ...string) error     { return p.Start(wrap...) }
func (p pair) stop(ctx context.Context) error { return p.Stop(ctx) }
func (p pair) pids() []int                    { return p.PIDs() }
func (p pair) folder() string                 { return p.dir }
func (p pair) log() string                    { return p.Log() }

// openPair prepares Postfix and Dovecot in a new folder, not running.
func openPair(o options) (*Server, error) {
	parent, err := o.guests.folder("bench-peer-")
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(parent, 0o755); err != nil { // Postfix' own user must get through
		return nil, err
	}
	base := freeBase(o.base + 1000)
	at := func(port int) string { return fmt.Sprintf("127.0.0.1:%d", base+port) }
	s := &Server{
		Name: "Postfix + Dovecot", SMTP: at(25), Submit: at(587), IMAP: at(143), IMAPS: at(993),
		POP3: at(110), Domain: domain,
		Users: people, Password: password, Sink: at(600), Durable: peers.Durable, scale: o.scale,
		Version: peers.Version(), Settings: peers.Settings(),
	}
	var users []string
	for i := range people {
		users = append(users, s.user(i))
	}
	dir := filepath.Join(parent, "data")
	p, err := peers.Prepare(peers.Options{
		Dir: dir, Domain: domain, Users: users, Password: password,
		Ports: peers.Ports{SMTP: base + 25, Submit: base + 587, IMAP: base + 143, IMAPS: base + 993, POP3: base + 110,
			Sink: base + 600},
	})
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(parent))
	}
	s.life = pair{p, dir}
	o.guests.add(s)
	return s, nil
}

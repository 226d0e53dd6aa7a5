package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"tram/bench/wire"
)

// Server is the server under test. As JSON (-server FILE) it describes one that runs already, with
// the accounts user1 to user<Users>@<Domain>.
type Server struct {
	Name     string
	SMTP     string // host:port of port 25's stand-in
	Submit   string // 587's, with STARTTLS
	IMAP     string // 143's, log-in without TLS allowed
	IMAPS    string // 993's
	Domain   string
	Users    int
	Password string
	PIDs     []int // root processes; their children are found
	PIDFile  string
	Sink     string // where the server relays mail for other domains: the generator listens there
	Start    string // command that starts it again, for the startup test
	Spread   bool   // dial from many loopback addresses, for servers that limit connections by address

	cmd  *exec.Cmd
	args []string
	dir  string
	sink *sink
	dial int
}

func openServer(o options) (*Server, error) {
	if o.server != "" {
		b, err := os.ReadFile(o.server)
		if err != nil {
			return nil, err
		}
		s := &Server{}
		return s, json.Unmarshal(b, s)
	}
	return startTram(o)
}

// startTram starts a demo server in a folder of its own and makes its accounts.
func startTram(o options) (*Server, error) {
	base, err := strconv.Atoi(o.base)
	if err != nil {
		return nil, fmt.Errorf("port base %q: %w", o.base, err)
	}
	dir, err := os.MkdirTemp("", "tram-bench-")
	if err != nil {
		return nil, err
	}
	at := func(port int) string { return fmt.Sprintf("127.0.0.1:%d", base+port) }
	s := &Server{
		Name: "tram", SMTP: at(25), Submit: at(587), IMAP: at(143), IMAPS: at(993),
		Domain: "example.test", Users: 10, Password: "benchpass-1234", Sink: at(600), dir: dir,
	}
	s.args = []string{
		o.tram, "demo", "--measure", "--data", filepath.Join(dir, "data"),
		"--port-base", o.base, "--smarthost", s.Sink,
	}
	if err := s.startProcess(); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	for i := range s.Users {
		add := exec.Command(o.tram, "account", "add", s.user(i), "--password-stdin",
			"--data", filepath.Join(dir, "data"))
		add.Stdin = strings.NewReader(s.Password + "\n")
		if out, err := add.CombinedOutput(); err != nil {
			s.Stop()
			return nil, fmt.Errorf("add account: %w: %s", err, out)
		}
	}
	return s, nil
}

// startProcess starts the server and waits until it says that it is ready.
func (s *Server) startProcess() error {
	s.cmd = exec.Command(s.args[0], s.args[1:]...)
	log, err := os.Create(filepath.Join(s.dir, "log"))
	if err != nil {
		return err
	}
	defer log.Close()
	s.cmd.Stderr = log
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := s.cmd.Start(); err != nil {
		return err
	}
	s.PIDs = []int{s.cmd.Process.Pid}
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
	return fmt.Errorf("the server ended before it was ready: see %s", log.Name())
}

// Stop ends the server that was started, and removes its folder.
func (s *Server) Stop() error {
	if s.sink != nil {
		s.sink.close()
	}
	if s.cmd == nil {
		return nil
	}
	s.cmd.Process.Signal(terminate)
	err := s.cmd.Wait()
	return errors.Join(err, os.RemoveAll(s.dir))
}

func (s *Server) user(i int) string {
	return fmt.Sprintf("user%d@%s", i%s.Users+1, s.Domain)
}

// target returns a port with the source addresses that the server needs.
func (s *Server) target(addr string, sec wire.Security) wire.Target {
	t := wire.Target{Addr: addr, Security: sec}
	if s.Spread {
		s.dial++
		i := s.dial
		t.Source = func() net.Addr {
			return &net.TCPAddr{IP: net.IPv4(127, byte(1+i/32%250), byte(i%32*8), byte(1+i/8000%250))}
		}
	}
	return t
}

func (s *Server) imap(user int) (*wire.IMAP, error) {
	return wire.DialIMAP(s.target(s.IMAP, wire.Clear), s.user(user), s.Password)
}

// until polls ok until it holds or the time is over.
func until(limit time.Duration, ok func() (bool, error)) error {
	end := time.Now().Add(limit)
	for {
		done, err := ok()
		if err != nil || done {
			return err
		}
		if time.Now().After(end) {
			return fmt.Errorf("not after %v", limit)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// terminate ends a server as an operator does.
const terminate = syscall.SIGTERM

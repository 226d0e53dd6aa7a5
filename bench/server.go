package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"sync/atomic"
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
	POP3     string // 110's, log-in without TLS allowed
	Domain   string
	Users    int
	Password string
	PIDs     []int // root processes; their children are found
	PIDFile  string
	Sink     string // where the server relays mail for other domains: the generator listens there
	Start    string // command that starts it again, for the startup test
	Spread   bool   // dial from many loopback addresses, for servers that limit connections by address

	Version  string
	Settings []string
	Durable  string // what is on disk when a message is acknowledged

	checks bool    // looks at mail from outside; then every message that was signed must be found genuine
	signer *signer // of the loads that are signed

	life  life    // nil: it runs already, and is left alone
	scale float64 // of the amounts of work; 1 as documented
	dials atomic.Int64
}

// life is how a server of our own lives: it is started for each measurement and ended after it, so
// that one stands alone on the machine and all meet a fresh process.
type life interface {
	// start starts it; the words of wrap stand before its command. It may return before it answers.
	start(wrap ...string) error
	stop(ctx context.Context) error
	pids() []int
	folder() string // everything that it keeps
	log() string    // the end of what it wrote, for an error message
}

func readServer(file string) (*Server, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	s := &Server{scale: 1}
	if err := json.Unmarshal(b, s); err != nil {
		return nil, fmt.Errorf("read %s: %w", file, err)
	}
	return s, nil
}

// stopTime bounds how long a server may take to end.
const stopTime = time.Minute

// up starts the server and waits until it answers.
func (s *Server) up(wrap ...string) error {
	if s.life == nil {
		return nil
	}
	if err := s.life.start(wrap...); err != nil {
		return fmt.Errorf("start %s: %w", s.Name, err)
	}
	err := until(time.Minute, func() (bool, error) { return s.greetsSMTP() == nil && s.greetsIMAP() == nil, nil })
	if err != nil {
		err = fmt.Errorf("%s does not answer: %w\n%s", s.Name, err, s.life.log())
		s.down()
	}
	return err
}

// down ends it.
func (s *Server) down() error {
	if s.life == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), stopTime)
	defer cancel()
	return s.life.stop(ctx)
}

func (s *Server) greetsSMTP() error {
	c, err := wire.DialSMTP(s.target(s.SMTP, wire.Clear), "", "")
	if err == nil {
		c.Close()
	}
	return err
}

func (s *Server) greetsIMAP() error {
	c, err := wire.DialIMAP(s.target(s.IMAP, wire.Clear), "", "")
	if err == nil {
		c.Close()
	}
	return err
}

func (s *Server) user(i int) string {
	return fmt.Sprintf("user%d@%s", i%s.Users+1, s.Domain)
}

// count scales an amount of work.
func (s *Server) count(n int) int { return max(int(float64(n)*s.scale), 10) }

// target returns a port with the source addresses that the server needs.
func (s *Server) target(addr string, sec wire.Security) wire.Target {
	t := wire.Target{Addr: addr, Security: sec}
	if s.Spread {
		t.Source = s.source
	}
	return t
}

// source is a loopback address, another for each few connections.
func (s *Server) source() net.Addr {
	i := s.dials.Add(1)
	return &net.TCPAddr{IP: net.IPv4(127, byte(1+i/32%250), byte(i%32*8), byte(1+i/8000%250))}
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
		time.Sleep(5 * time.Millisecond)
	}
}

// A server counts as quiet when it used next to no CPU for quietFor: longer than the two seconds
// after which Trạm looks for new text to index.
const (
	quietStep = 250 * time.Millisecond
	quietFor  = 2250 * time.Millisecond
	quietMost = 0.015 // seconds of CPU in one step: the kernel counts hundredths
)

// quiet waits until the server has done what it does in the background, and returns how long after
// the call it last worked.
func (s *Server) quiet(limit time.Duration) (time.Duration, error) {
	begun := time.Now()
	busy, cpu := begun, s.cpu()
	for time.Since(busy) < quietFor {
		if time.Since(begun) > limit {
			return 0, fmt.Errorf("%s is still busy after %v", s.Name, limit)
		}
		time.Sleep(quietStep)
		now := s.cpu()
		if now-cpu > quietMost {
			busy = time.Now()
		}
		cpu = now
	}
	return busy.Sub(begun), nil
}

// settled waits until a server of our own is quiet.
func (s *Server) settled() error {
	if s.life == nil {
		return nil // others may be at work on it
	}
	_, err := s.quiet(10 * time.Minute)
	return err
}

// settle waits until the server is quiet and enters what n pieces of work cost altogether since the
// CPU stood at cpu: an index that is fed in the background is not left out.
func (s *Server) settle(r Result, cpu float64, n int) error {
	took, err := s.quiet(5 * time.Minute)
	if err != nil {
		return err
	}
	r["cpu_settled_s_per_1k"] = (s.cpu() - cpu) / float64(n) * 1000
	r["settle_s"] = took.Seconds()
	return nil
}

// raiseFiles lets this process and its children open many files; what is not allowed is not raised.
func raiseFiles() {
	const enough = 65536
	if syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: enough, Max: enough}) == nil {
		return
	}
	var l syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l) == nil {
		syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: l.Max, Max: l.Max})
	}
}

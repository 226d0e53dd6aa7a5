package queue

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"

	"tram/internal/smtp"
)

// network is the outside world: sinks by the addresses that the DNS names.
type network struct {
	mu    sync.Mutex
	hosts map[string]*sink // by "address:port"
	dials map[string]int
}

func newNetwork() *network {
	return &network{hosts: map[string]*sink{}, dials: map[string]int{}}
}

// DialContext implements smtp.Dialer.
func (n *network) DialContext(ctx context.Context, netw, addr string) (net.Conn, error) {
	n.mu.Lock()
	n.dials[addr]++
	s := n.hosts[addr]
	n.mu.Unlock()
	if s == nil || s.isDown() {
		return nil, fmt.Errorf("dial %s: connection refused", addr)
	}
	return (&net.Dialer{}).DialContext(ctx, netw, s.l.Addr().String())
}

func (n *network) dialled(addr string) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.dials[addr]
}

// mail is a message that a sink took.
type mail struct {
	from, body string
	rcpts      []string
	params     string // what followed the path of MAIL
}

// sink is a server that takes mail and does at each step as it is told.
type sink struct {
	l    net.Listener
	name string

	mu      sync.Mutex
	ehlo    []string
	tls     *tls.Config
	reply   func(stage, arg string) string // "" for the usual, "CUT" hangs up
	gate    chan struct{}                  // if set, each stage named stall waits for it
	stall   string
	down    bool
	mails   []mail
	conns   int
	secured int
	now     int // connections open
	peak    int
	logged  []string
	got     chan mail
	cut     func() // hangs up on everybody
}

// listen adds a sink at addr ("192.0.2.1") to the network.
func (n *network) listen(t testing.TB, addr string, ehlo ...string) *sink {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &sink{l: l, name: "mx" + strings.ReplaceAll(addr, ":", "-") + ".test", ehlo: ehlo,
		got: make(chan mail, 100000)}
	n.mu.Lock()
	n.hosts[net.JoinHostPort(addr, "25")] = s
	n.mu.Unlock()
	var wg sync.WaitGroup
	conns := map[net.Conn]bool{}
	var mu sync.Mutex
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			conns[c] = true
			mu.Unlock()
			wg.Go(func() {
				s.serve(c)
				c.Close()
				mu.Lock()
				delete(conns, c)
				mu.Unlock()
			})
		}
	})
	s.cut = func() {
		mu.Lock()
		defer mu.Unlock()
		for c := range conns {
			c.Close()
		}
	}
	t.Cleanup(func() {
		l.Close()
		s.cut()
		wg.Wait()
	})
	return s
}

func (s *sink) isDown() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.down
}

func (s *sink) setDown(down bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.down = down
}

// on sets what is replied at a stage from now on.
func (s *sink) on(reply func(stage, arg string) string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reply = reply
}

// at replies with reply at one stage.
func at(stage, reply string) func(string, string) string {
	return func(s, _ string) string {
		if s == stage {
			return reply
		}
		return ""
	}
}

func (s *sink) taken() []mail {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]mail(nil), s.mails...)
}

func (s *sink) log() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(s.logged, "\n")
}

// talk is one connection.
type talk struct {
	s    *sink
	conn net.Conn
	r    *bufio.Reader
	m    mail
	part strings.Builder
	left bool
}

func (s *sink) serve(c net.Conn) {
	s.mu.Lock()
	s.conns++
	s.now++
	s.peak = max(s.peak, s.now)
	s.mu.Unlock()
	k := &talk{s: s, conn: c, r: bufio.NewReader(c)}
	defer k.leave()
	if !k.say("greeting", "", "220 "+s.name+" ESMTP") {
		return
	}
	for {
		line, err := k.r.ReadString('\n')
		if err != nil {
			return
		}
		line = strings.TrimSuffix(line, "\r\n")
		s.mu.Lock()
		s.logged = append(s.logged, line)
		s.mu.Unlock()
		verb, arg, _ := strings.Cut(line, " ")
		if !k.handle(strings.ToUpper(verb), arg) {
			return
		}
	}
}

// leave takes the connection off those that count, once.
func (k *talk) leave() {
	k.s.mu.Lock()
	defer k.s.mu.Unlock()
	if !k.left {
		k.left = true
		k.s.now--
	}
}

func (k *talk) handle(verb, arg string) bool {
	switch verb {
	case "EHLO":
		k.s.mu.Lock()
		lines := append([]string{k.s.name}, k.s.ehlo...)
		k.s.mu.Unlock()
		return k.say("EHLO", arg, strings.TrimSuffix(
			string(smtp.Reply{Code: 250, Lines: lines}.AppendWire(nil)), "\r\n"))
	case "STARTTLS":
		reply := k.s.choose("STARTTLS", arg, "220 go")
		if !k.write(reply) || !strings.HasPrefix(reply, "220") {
			return !strings.HasSuffix(reply, "CUT")
		}
		k.s.mu.Lock()
		cfg := k.s.tls
		k.s.mu.Unlock()
		t := tls.Server(k.conn, cfg)
		if t.Handshake() != nil {
			return false
		}
		k.conn, k.r = t, bufio.NewReader(t)
		k.s.mu.Lock()
		k.s.secured++
		k.s.mu.Unlock()
		return true
	case "MAIL":
		path, params, _ := strings.Cut(strings.TrimPrefix(arg, "FROM:"), " ")
		k.m = mail{from: path, params: params}
		return k.say("MAIL", arg, "250 2.1.0 ok")
	case "RCPT":
		path, params, _ := strings.Cut(strings.TrimPrefix(arg, "TO:"), " ")
		reply := k.s.choose("RCPT", arg, "250 2.1.5 ok")
		if strings.HasPrefix(reply, "2") {
			k.m.rcpts = append(k.m.rcpts, strings.TrimSpace(path+" "+params))
		}
		return k.write(reply)
	case "DATA":
		if len(k.m.rcpts) == 0 {
			return k.write("503 5.5.1 no recipients")
		}
		reply := k.s.choose("DATA", "", "354 go")
		if !k.write(reply) || !strings.HasPrefix(reply, "354") {
			return !strings.HasSuffix(reply, "CUT")
		}
		if k.s.choose("HALF", "", "") == "CUT" { // in the middle of a message
			_, _ = io.CopyN(io.Discard, k.r, 100<<10)
			return false
		}
		if _, err := smtp.NewDataReader(k.r, 0).WriteTo(&k.part); err != nil {
			return false
		}
		return k.done()
	case "BDAT":
		return k.chunk(strings.Fields(arg))
	case "QUIT":
		reply := k.s.choose("QUIT", "", "221 bye")
		k.leave()
		k.write(reply)
		return false
	}
	return k.say(verb, arg, "250 ok")
}

func (k *talk) chunk(words []string) bool {
	n, _ := strconv.ParseInt(words[0], 10, 64)
	if _, err := io.CopyN(&k.part, k.r, n); err != nil {
		return false
	}
	if len(words) == 1 {
		return k.write("250 ok")
	}
	if len(k.m.rcpts) == 0 {
		k.part.Reset()
		return k.write("503 5.5.1 no recipients")
	}
	return k.done()
}

// done ends a message.
func (k *talk) done() bool {
	k.m.body = k.part.String()
	k.part.Reset()
	reply := k.s.choose("DOT", k.m.from, "250 2.0.0 taken")
	if strings.HasPrefix(reply, "2") || reply == "TAKE-CUT" {
		k.s.mu.Lock()
		k.s.mails = append(k.s.mails, k.m)
		k.s.mu.Unlock()
		k.s.got <- k.m
	}
	return k.write(reply)
}

func (s *sink) choose(stage, arg, usual string) string {
	s.mu.Lock()
	reply, gate, stall := s.reply, s.gate, s.stall
	s.mu.Unlock()
	if gate != nil && stall == stage {
		<-gate
	}
	if reply != nil {
		if r := reply(stage, arg); r != "" {
			return r
		}
	}
	return usual
}

// say replies, and reports whether the session goes on.
func (k *talk) say(stage, arg, usual string) bool {
	return k.write(k.s.choose(stage, arg, usual))
}

func (k *talk) write(reply string) bool {
	if strings.HasSuffix(reply, "CUT") {
		return false
	}
	_, err := io.WriteString(k.conn, reply+"\r\n")
	return err == nil && !strings.HasPrefix(reply, "421")
}

package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"tram/bench/wire"
)

// sink is the world that the server relays to: it takes everything and counts it by its id.
type sink struct {
	listener net.Listener
	mu       sync.Mutex
	sessions map[net.Conn]bool // nil: closed
	seen     map[string]int
	altered  int
	arrivals []time.Time
	// expect returns the text that a message with this id ends in; it is told what came.
	expect func(id string, got []byte) []byte
	gate   chan struct{} // greets nobody before it is closed; nil: open
}

// openSink listens at addr; with a gate, nobody is greeted before that is closed.
func openSink(addr string, gate chan struct{}) (*sink, error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, err
	}
	k := &sink{listener: l, seen: map[string]int{}, sessions: map[net.Conn]bool{}, gate: gate}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go k.session(c)
		}
	}()
	return k, nil
}

// close ends the sessions too: the server keeps some open for its next message, which would go to a
// sink that nobody asks any more.
func (k *sink) close() {
	k.listener.Close()
	k.mu.Lock()
	defer k.mu.Unlock()
	for c := range k.sessions {
		c.Close()
	}
	k.sessions = nil
}

// enter notes a session; it is false when the sink is closed.
func (k *sink) enter(c net.Conn) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.sessions != nil {
		k.sessions[c] = true
	}
	return k.sessions != nil
}

func (k *sink) leave(c net.Conn) {
	c.Close()
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.sessions, c)
}

func (k *sink) session(c net.Conn) {
	defer k.leave(c)
	if !k.enter(c) {
		return
	}
	r := bufio.NewReaderSize(c, 64<<10)
	say := func(s string) { io.WriteString(c, s+"\r\n") }
	if k.gate != nil {
		<-k.gate
	}
	say("220 sink.test ESMTP")
	for {
		c.SetDeadline(time.Now().Add(5 * time.Minute))
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		switch verb := strings.ToUpper(line[:min(4, len(line))]); verb {
		case "EHLO":
			say("250-sink.test\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 SMTPUTF8")
		case "DATA":
			say("354 go on")
			if !k.take(r) {
				return
			}
			say("250 taken")
		case "QUIT":
			say("221 bye")
			return
		default:
			say("250 ok")
		}
	}
}

func (k *sink) take(r *bufio.Reader) bool {
	var text bytes.Buffer
	for {
		line, err := r.ReadSlice('\n')
		if err != nil && err != bufio.ErrBufferFull {
			return false
		}
		if string(line) == ".\r\n" {
			break
		}
		text.Write(bytes.TrimPrefix(line, []byte("."))) // only a line that was stuffed begins with one
	}
	_, rest, _ := bytes.Cut(text.Bytes(), []byte("\r\nX-Bench-Id: "))
	id, _, _ := bytes.Cut(rest, []byte("\r\n"))
	k.mu.Lock()
	defer k.mu.Unlock()
	k.seen[string(id)]++
	k.arrivals = append(k.arrivals, time.Now())
	if k.expect != nil && !bytes.HasSuffix(text.Bytes(), k.expect(string(id), text.Bytes())) {
		k.altered++
	}
	return true
}

func (k *sink) count() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(k.arrivals)
}

// outgoing is a load of submissions to twenty domains elsewhere.
type outgoing struct {
	smtpLoad
	run string
}

func newOutgoing(n int) outgoing {
	return outgoing{smtpLoad{messages: n, mix: sizes4k}, "s" + strconv.FormatInt(time.Now().UnixNano(), 36)}
}

func (o outgoing) rcpt(seq int) string { return fmt.Sprintf("rcpt%d@dest%d.test", seq, seq%20+1) }

// text is what the message of an id ends in; its head may have been completed and signed on the way.
func (o outgoing) text(id string, got []byte) []byte {
	seq, err := strconv.Atoi(strings.TrimPrefix(id, o.run+"."))
	if err != nil {
		return []byte("no message of this load has the id " + id)
	}
	_, from, _ := bytes.Cut(got, []byte("\r\nFrom: ")) // the sender is the session's, its length counts
	from, _, _ = bytes.Cut(from, []byte("\r\n"))
	return parcel(o.run, seq, o.mix[seq%len(o.mix)], string(from), o.rcpt(seq))
}

// send submits with AUTH and STARTTLS.
func (o outgoing) send(s *Server, ack *latency) (map[int]sent, error) {
	login := func(worker int) (string, string, string) { return s.user(worker), s.Password, s.user(worker) }
	acked, _, err := o.inject(s.target(s.Submit, wire.StartTLS), login, o.rcpt, o.run, ack)
	return acked, err
}

// check compares what the sink has with what was acknowledged.
func (o outgoing) check(k *sink, acked map[int]sent, r Result) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	lost, doubled := 0, 0
	for seq := range acked {
		switch n := k.seen[fmt.Sprintf("%s.%d", o.run, seq)]; {
		case n == 0:
			lost++
		case n > 1:
			doubled++
		}
	}
	r["lost"], r["doubled"], r["altered"] = float64(lost), float64(doubled), float64(k.altered)
	if lost+doubled+k.altered > 0 {
		return fmt.Errorf("of %d messages %d are lost, %d came more than once, %d altered", len(acked), lost,
			doubled, k.altered)
	}
	return nil
}

// warm logs each user in, so that what follows does not measure the hashing of passwords.
func warm(s *Server) error {
	for u := range min(s.Users, people) {
		c, err := wire.DialSMTP(s.target(s.Submit, wire.StartTLS), s.user(u), s.Password)
		if err != nil {
			return fmt.Errorf("log in as %s: %w", s.user(u), err)
		}
		c.Quit()
	}
	return nil
}

// relay submits messages and waits until the sink has them.
func relay(s *Server, n int) (Result, error) {
	k, err := openSink(s.Sink, nil)
	if err != nil {
		return nil, err
	}
	defer k.close()
	if err := warm(s); err != nil {
		return nil, err
	}
	load := newOutgoing(n)
	k.expect = load.text
	var ack latency
	cpu, start := s.cpu(), time.Now()
	acked, err := load.send(s, &ack)
	if err != nil {
		return nil, err
	}
	accepted := time.Since(start)
	err = until(3*time.Minute, func() (bool, error) { return k.count() >= len(acked), nil })
	if err != nil {
		return nil, fmt.Errorf("the sink has %d of %d: %w", k.count(), len(acked), err)
	}
	k.mu.Lock()
	last := k.arrivals[len(acked)-1]
	k.mu.Unlock()
	r := Result{
		"messages":       float64(len(acked)),
		"accepted_per_s": float64(len(acked)) / accepted.Seconds(),
		"relayed_per_s":  float64(len(acked)) / last.Sub(start).Seconds(),
		"cpu_s_per_1k":   (s.cpu() - cpu) / float64(len(acked)) * 1000,
	}
	ack.into(r, "ack")
	if err := s.settle(r, cpu, len(acked)); err != nil {
		return nil, err
	}
	return r, load.check(k, acked, r)
}

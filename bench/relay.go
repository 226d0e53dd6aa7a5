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
	seen     map[string]int
	total    int
	last     time.Time
}

func openSink(addr string) (*sink, error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, err
	}
	k := &sink{listener: l, seen: map[string]int{}}
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

func (k *sink) close() { k.listener.Close() }

func (k *sink) session(c net.Conn) {
	defer c.Close()
	r := bufio.NewReaderSize(c, 64<<10)
	say := func(s string) { io.WriteString(c, s+"\r\n") }
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
	id, header := "", true
	for {
		line, err := r.ReadSlice('\n')
		if err == bufio.ErrBufferFull {
			continue
		}
		if err != nil {
			return false
		}
		if string(line) == ".\r\n" {
			break
		}
		if len(line) == 2 {
			header = false
		}
		if rest, ok := bytes.CutPrefix(line, []byte("X-Bench-Id: ")); ok && header {
			id = string(bytes.TrimSpace(rest))
		}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.seen[id]++
	k.total++
	k.last = time.Now()
	return true
}

func (k *sink) count() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.total
}

// relay submits a thousand messages with AUTH and STARTTLS to twenty domains elsewhere, and waits
// until the sink has them.
func relay(s *Server) (Result, error) {
	const domains = 20
	if s.sink == nil {
		var err error
		if s.sink, err = openSink(s.Sink); err != nil {
			return nil, err
		}
	}
	load := smtpLoad{messages: 1000, mix: sizes4k}
	run := "s" + strconv.FormatInt(time.Now().UnixNano(), 36)
	rcpt := func(seq int) string { return fmt.Sprintf("rcpt%d@dest%d.test", seq, seq%domains+1) }
	login := func(worker int) (string, string, string) { return s.user(worker), s.Password, s.user(worker) }
	var ack latency
	before := s.sink.count()
	cpu, start := s.cpu(), time.Now()
	acked, _, err := load.inject(s.target(s.Submit, wire.StartTLS), login, rcpt, run, &ack)
	if err != nil {
		return nil, err
	}
	accepted := time.Since(start)
	err = until(3*time.Minute, func() (bool, error) { return s.sink.count()-before >= len(acked), nil })
	if err != nil {
		return nil, fmt.Errorf("the sink has %d of %d: %w", s.sink.count()-before, len(acked), err)
	}
	s.sink.mu.Lock()
	defer s.sink.mu.Unlock()
	r := Result{
		"accepted_per_s": float64(len(acked)) / accepted.Seconds(),
		"relayed_per_s":  float64(len(acked)) / s.sink.last.Sub(start).Seconds(),
		"cpu_s_per_1k":   (s.cpu() - cpu) / float64(len(acked)) * 1000,
	}
	ack.into(r, "ack")
	for seq := range acked {
		switch n := s.sink.seen[fmt.Sprintf("%s.%d", run, seq)]; {
		case n == 0:
			r["lost"]++
		case n > 1:
			r["doubled"]++
		}
	}
	return r, nil
}

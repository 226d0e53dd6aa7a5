package main

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// sink is the next hop: an SMTP server that takes everything. It can be told to misbehave.
type sink struct {
	listener net.Listener
	sessions atomic.Int64 // that were begun
	taken    atomic.Int64 // messages

	mu    sync.Mutex
	taker func(raw []byte)
	// answer replaces the reply to the final dot; it is called before the reply leaves. An answer of
	// "" closes the connection instead.
	answer func(raw []byte) string
	// greeting replaces the greeting, and ends the session.
	greeting string
	// stall makes every session silent after the greeting, until it returns.
	stall func()
}

func openSink(addr string) (*sink, error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, err
	}
	k := &sink{listener: l}
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

// take has fn called with each message that was acknowledged here.
func (k *sink) take(fn func(raw []byte)) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.taker = fn
}

func (k *sink) session(c net.Conn) {
	defer c.Close()
	k.sessions.Add(1)
	r := bufio.NewReaderSize(c, 64<<10)
	say := func(s string) error { _, err := io.WriteString(c, s+"\r\n"); return err }
	k.mu.Lock()
	stall, greeting := k.stall, k.greeting
	k.mu.Unlock()
	if greeting != "" {
		say(greeting)
		return
	}
	say("220 sink.test ESMTP")
	if stall != nil {
		stall()
	}
	for {
		c.SetDeadline(time.Now().Add(5 * time.Minute))
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		switch strings.ToUpper(line[:min(4, len(line))]) {
		case "EHLO":
			say("250-sink.test\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 SMTPUTF8")
		case "DATA":
			say("354 go on")
			if !k.message(r, say) {
				return
			}
		case "QUIT":
			say("221 bye")
			return
		default:
			say("250 ok")
		}
	}
}

// message reads one message and answers for it.
func (k *sink) message(r *bufio.Reader, say func(string) error) bool {
	var raw bytes.Buffer
	for {
		line, err := r.ReadSlice('\n')
		if err != nil && err != bufio.ErrBufferFull {
			return false
		}
		if string(line) == ".\r\n" {
			break
		}
		if len(line) > 1 && line[0] == '.' {
			line = line[1:]
		}
		raw.Write(line)
	}
	k.mu.Lock()
	taker, answer := k.taker, k.answer
	k.mu.Unlock()
	reply := "250 taken"
	if answer != nil {
		reply = answer(raw.Bytes())
	}
	if strings.HasPrefix(reply, "250") {
		k.taken.Add(1)
		if taker != nil {
			taker(raw.Bytes())
		}
	}
	return reply != "" && say(reply) == nil
}

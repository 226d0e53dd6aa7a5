package main

import (
	"bytes"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"tram/bench/wire"
)

// cut is how a proxy ends a connection that it passes on.
type cut int

const (
	cutReply  cut = iota // the final dot passes, the server answers, the answer is lost
	cutDot               // the connection ends as soon as the final dot has passed
	cutAtByte            // after some byte of the client's
	cutHalf              // the client's side is closed after the final dot, the answer is lost
	cutReset             // like cutReply, with RST to both
	cuts
)

// proxy stands between clients and a port of the server and makes the network fail.
type proxy struct {
	listener net.Listener
	to       string
	how      atomic.Int64 // the cut of the next connection
	at       atomic.Int64 // for cutAtByte
	delay    atomic.Int64 // of each piece the client sends
	sessions sync.WaitGroup
}

func openProxy(addr, to string) (*proxy, error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, err
	}
	p := &proxy{listener: l, to: to}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			p.sessions.Go(func() { p.session(c.(*net.TCPConn), cut(p.how.Load())) })
		}
	}()
	return p, nil
}

func (p *proxy) close() {
	p.listener.Close()
	p.sessions.Wait()
}

func (p *proxy) target() wire.Target { return wire.Target{Addr: p.listener.Addr().String()} }

func (p *proxy) session(client *net.TCPConn, how cut) {
	defer client.Close()
	c, err := net.Dial("tcp", p.to)
	if err != nil {
		return
	}
	server := c.(*net.TCPConn)
	defer server.Close()
	if how == cutReset {
		client.SetLinger(0)
		server.SetLinger(0)
	}
	var dot atomic.Bool
	answered := make(chan struct{})
	go func() {
		defer close(answered)
		buf := make([]byte, 32<<10)
		for {
			n, err := server.Read(buf)
			if err != nil || dot.Load() {
				return // the answer to the dot goes nowhere
			}
			if _, err := client.Write(buf[:n]); err != nil {
				return
			}
		}
	}()
	p.upstream(client, server, how, &dot)
	if how == cutReply || how == cutReset || how == cutHalf {
		if how == cutHalf {
			server.CloseWrite()
		}
		select {
		case <-answered:
		case <-time.After(10 * time.Second):
		}
	}
}

// upstream passes the client's bytes on, to the end that how wants.
func (p *proxy) upstream(client io.Reader, server io.Writer, how cut, dot *atomic.Bool) {
	const final = "\r\n.\r\n"
	buf, passed := make([]byte, 4096), int64(0)
	tail := []byte{}
	for {
		n, err := client.Read(buf)
		piece := buf[:n]
		if how == cutAtByte && passed+int64(n) > p.at.Load() {
			piece = piece[:max(0, p.at.Load()-passed)]
			err = io.EOF
		}
		tail = append(tail, piece...)
		if len(tail) > len(final) {
			tail = tail[len(tail)-len(final):]
		}
		if bytes.Equal(tail, []byte(final)) {
			dot.Store(true)
		}
		if d := p.delay.Load(); d > 0 {
			time.Sleep(time.Duration(d))
		}
		if _, werr := server.Write(piece); werr != nil || err != nil || dot.Load() {
			return
		}
		passed += int64(n)
	}
}

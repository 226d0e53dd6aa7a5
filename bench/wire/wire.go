// Package wire holds the smallest SMTP and IMAP clients that a load generator needs. They share no
// code with the server, so that what they see is what a stranger sees.
//
// They are quick rather than complete: no retry, no parsing beyond what a measurement reads, one
// goroutine per connection. An error ends the connection's use.
package wire

import (
	"crypto/tls"
	"fmt"
	"net"
	"time"
)

// Security says how a connection is encrypted.
type Security int

// The ways.
const (
	Clear Security = iota
	StartTLS
	TLS
)

// Target is a port of the server under test. Only loopback addresses are dialled.
type Target struct {
	Addr     string // host:port
	Security Security
	Config   *tls.Config // nil trusts any certificate: the server is our own
	// Source, when not nil, gives the local address of each connection, for servers that limit
	// connections per address.
	Source func() net.Addr
	// Timeout bounds each exchange; 0 is a minute.
	Timeout time.Duration
}

func (t Target) timeout() time.Duration {
	if t.Timeout > 0 {
		return t.Timeout
	}
	return time.Minute
}

func (t Target) config() *tls.Config {
	if t.Config != nil {
		return t.Config
	}
	return &tls.Config{InsecureSkipVerify: true} // loopback, and the server is under test
}

func (t Target) dial() (net.Conn, error) {
	host, _, err := net.SplitHostPort(t.Addr)
	if err != nil {
		return nil, fmt.Errorf("dial %s: %w", t.Addr, err)
	}
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return nil, fmt.Errorf("dial %s: not a loopback address", t.Addr)
	}
	d := net.Dialer{Timeout: t.timeout()}
	if t.Source != nil {
		d.LocalAddr = t.Source()
	}
	c, err := d.Dial("tcp", t.Addr)
	if err != nil {
		return nil, err
	}
	if t.Security == TLS {
		return tls.Client(c, t.config()), nil
	}
	return c, nil
}

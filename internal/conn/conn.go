// Package conn answers "who is on the line, and may they speak?" for every line protocol: what SMTP,
// IMAP, POP3 and ManageSieve share below their grammar.
//
// A [Server] accepts, counts, refuses, reads PROXY headers, shakes hands, runs one handler per
// connection and drains at shutdown. A [Conn] reads lines and bytes, coalesces output, and holds to
// deadlines.
//
// It promises that an idle connection holds no read or write buffer; that nothing sent in the clear
// is ever read as if it had come under TLS (RFC 3207 §4.2), nor the other way round; that every wait
// for a client has an end; and that a handler's panic ends that one session only.
//
// Socket deadlines run on the machine's clock, because the kernel's poller does; everything else
// that looks at the time (rates, history, the drain) uses the clock that is given.
package conn

import (
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"
)

// Errors of reading and of the session's end. Anything else that reading or writing returns comes
// from the network and means that the client is gone.
var (
	// ErrLineTooLong: the line was consumed up to its LF and dropped; the session may go on.
	ErrLineTooLong = errors.New("line too long")
	// ErrFlood: no LF came even far beyond the limit. The session must end.
	ErrFlood = errors.New("endless line")
	// ErrBareLF: the line ended in LF without CR. It is consumed and returned with the error.
	ErrBareLF = errors.New("line ends in a bare LF")
	// ErrBareCR: the line has a CR in its middle. It is consumed and returned with the error.
	ErrBareCR = errors.New("line has a bare CR")
	// ErrInjected: plaintext followed the command that asked for TLS. The session must end.
	ErrInjected = errors.New("plaintext after STARTTLS")
	// ErrNoTLS: there is no TLS configuration, or TLS is on already.
	ErrNoTLS = errors.New("TLS is not available")
	// ErrDraining: the server shuts down. Only Wait returns it: say 421 or BYE and return.
	ErrDraining = errors.New("server is shutting down")
	// ErrInterrupted: Interrupt was called. Only Wait returns it.
	ErrInterrupted = errors.New("wait interrupted")
	// ErrLeft: the client went away while the session worked for it. It is the cause with which
	// the context of Attend ends.
	ErrLeft = errors.New("client has left")
	// ErrTimeout: the idle, absolute or data-rate deadline passed.
	ErrTimeout = errors.New("time-out waiting for the client")
)

// Conn is one session's connection. Its methods belong to the handler's goroutine, except
// Interrupt, Draining, Stressed and Close, which any may call.
type Conn struct {
	// ID names the session in logs, traces and Received fields: 13 characters, never repeated.
	ID string

	server *Server
	nc     net.Conn           // what is read and written: the socket, or TLS over it
	base   net.Conn           // the socket
	rc     syscall.RawConn    // of the socket while in the clear; nil: nc has no descriptor
	peek   syscall.RawConn    // of the socket, under TLS too
	try    func(uintptr) bool // c.readReady, bound once
	remote netip.AddrPort
	local  netip.AddrPort
	sits   seat // what it is counted as
	tls    *tls.Conn
	below  *transport // of tls, where the socket has a descriptor

	in      []byte // borrowed while bytes move; in[r:w] is buffered input
	r, w    int
	bulk    bool    // the last read filled its buffer: borrow large ones
	one     [1]byte // what a connection without descriptor waits with
	got     []byte  // readReady's results
	readN   int
	readErr error

	out  []byte // borrowed; pending output
	werr error  // sticky

	z *compression // nil: what is read and written goes as it is

	idle      time.Duration
	deadline  time.Time // of the session
	rate      int       // bytes per second, 0: none
	rateFrom  time.Time // when the grace ends
	rateBytes int64     // received since MinRate
	armedR    time.Time // the read deadline that is set
	armedW    time.Time
	nin, nout int64

	mu          sync.Mutex // guards what Interrupt and Shutdown look at
	waiting     bool
	interrupted bool
}

// Remote returns the client's address: the true one when a trusted proxy told it, and the zero
// value for a unix socket.
func (c *Conn) Remote() netip.AddrPort { return c.remote }

// Local returns the address the client connected to; the zero value for a unix socket.
func (c *Conn) Local() netip.AddrPort { return c.local }

// TLS returns the state of TLS, nil in the clear. It is built anew on each call.
func (c *Conn) TLS() *tls.ConnectionState {
	if c.tls == nil {
		return nil
	}
	state := c.tls.ConnectionState()
	return &state
}

// Secure reports whether TLS is on.
func (c *Conn) Secure() bool { return c.tls != nil }

// Logger returns the server's logger with the session's id and the client's address. It is built
// anew on each call, so that idle sessions need not hold one.
func (c *Conn) Logger() *slog.Logger {
	l := c.server.o.Logger.With("listener", c.server.o.Name, "session", c.ID)
	if c.remote.IsValid() {
		l = l.With("remote", c.remote.Addr().String())
	}
	return l
}

// MayComplain reports whether the log may have one more line about what this client does wrong. Its
// network gets sixty a minute, however many sessions it opens.
func (c *Conn) MayComplain() bool { return c.server.gate.mayComplain(c.remote.Addr()) }

// Traffic returns the bytes received and sent so far, as the protocol sees them (inside TLS).
func (c *Conn) Traffic() (in, out int64) { return c.nin, c.nout }

// Draining is closed when the server begins to shut down.
func (c *Conn) Draining() <-chan struct{} { return c.server.draining }

// Stressed reports whether four fifths of the listener's slots are taken: time to be less patient.
func (c *Conn) Stressed() bool { return c.server.stressed() }

// Good remembers the client's network as one that behaved: to be called after a log-in or an
// accepted message. Such sources may use the reserved slots.
func (c *Conn) Good() {
	if c.remote.IsValid() {
		c.server.shared.Good(c.remote.Addr())
	}
}

// Close ends the session at once, dropping pending output. The handler's return ends it too, after
// a flush.
func (c *Conn) Close() error { return c.base.Close() }

// finish is the orderly end: what is pending goes out, TLS says its close_notify, and a client that
// is still talking gets the chance to read our last words before the reset.
func (c *Conn) finish() {
	var err error
	if c.Compressing() {
		err = c.endStream()
	} else {
		err = c.Flush()
	}
	talking := c.tls == nil && c.Arrived()
	c.releaseIn()
	c.releaseOut()
	c.endCompression()
	if err == nil && talking {
		c.linger()
	}
	// A TLS close_notify is sent by tls.Conn.Close; both close the socket.
	_ = c.nc.Close()
}

// linger half-closes and drops the client's late input for a moment: closing a socket with unread
// input sends a reset, which can overtake the 421 or 554 that explains it.
func (c *Conn) linger() {
	half, ok := c.base.(interface{ CloseWrite() error })
	if !ok || half.CloseWrite() != nil {
		return
	}
	// The first refusal to set a deadline or to read ends it: there is nobody to be kind to.
	if c.base.SetReadDeadline(time.Now().Add(lingerTime)) != nil {
		return
	}
	buf := borrow(smallBuffer)
	defer giveBack(buf)
	for total := 0; total < lingerBytes; {
		n, err := c.base.Read(buf)
		if err != nil {
			return
		}
		total += n
	}
}

const (
	lingerTime  = 500 * time.Millisecond
	lingerBytes = 256 << 10
)

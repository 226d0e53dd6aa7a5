package conn

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/base32"
	"encoding/binary"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"tram/internal/clock"
	"tram/internal/limits"
	"tram/internal/metrics"
)

var (
	connections = metrics.CounterVec("connections_total",
		"Connections accepted, by listener and what became of them at the door.",
		"listener", "result")
	open = metrics.GaugeVec("connections_open", "Connections being served.", "listener")
	died = metrics.CounterVec("connection_panics_total",
		"Sessions that ended in a panic of the server's.", "listener")
)

// Options configures a Server. The zero value of every field but Handler is usable.
type Options struct {
	// Name is the listener's, in logs and metrics: "mx", "imaps".
	Name string
	// TLS is the configuration for implicit TLS and STARTTLS; nil: neither.
	TLS *tls.Config
	// Implicit means TLS from the first byte, RFC 8314 §3.
	Implicit bool
	// Handler serves one connection and returns when it is over; the connection is then flushed
	// and closed. Its context ends when the time to drain is up.
	Handler func(ctx context.Context, c *Conn)
	// Limits: a zero number or time means no limit.
	Limits limits.Conn
	// ProxyNetworks must send a PROXY header, versions 1 or 2; nobody else may.
	ProxyNetworks []netip.Prefix
	Logger        *slog.Logger
	Clock         clock.Clock
	// Refuse returns the protocol's line, with CRLF, for those there is no room for.
	Refuse func() []byte
	// WriteStall is how long a write may make no progress; 0 means a minute.
	WriteStall time.Duration
	// Shared is what all listeners of the process share; nil: a private one.
	Shared *Shared
}

// Server accepts the connections of one protocol and runs Options.Handler for each.
type Server struct {
	o      Options
	tls    *tls.Config // Options.TLS with our hooks
	shared *Shared
	gate   gate

	ctx      context.Context // the handlers'
	cancel   context.CancelFunc
	draining chan struct{}
	running  sync.WaitGroup
	active   atomic.Int64

	mu        sync.Mutex
	listeners map[net.Listener]struct{}
	conns     map[*Conn]struct{}
}

// New returns a Server that serves nothing yet.
func New(o Options) *Server {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Clock == nil {
		o.Clock = clock.System
	}
	if o.WriteStall <= 0 {
		o.WriteStall = time.Minute
	}
	if o.Shared == nil {
		o.Shared = NewShared(SharedOptions{Clock: o.Clock})
	}
	s := &Server{
		o: o, shared: o.Shared,
		draining:  make(chan struct{}),
		listeners: map[net.Listener]struct{}{},
		conns:     map[*Conn]struct{}{},
	}
	s.gate = gate{limits: o.Limits, clock: o.Clock, shared: o.Shared, sources: map[source]*visits{}}
	if o.TLS != nil {
		s.tls = hookTLS(o.TLS, o.Shared)
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s
}

// Listen opens a listener whose connections are probed when they are silent for minutes, not every
// 15 seconds as is Go's default: ten thousand idle people should cost nothing.
func Listen(ctx context.Context, network, address string) (net.Listener, error) {
	lc := net.ListenConfig{KeepAliveConfig: net.KeepAliveConfig{
		Enable: true, Idle: 3 * time.Minute, Interval: 30 * time.Second, Count: 4,
	}}
	return lc.Listen(ctx, network, address)
}

// Serve accepts connections of l until Shutdown, and returns nil then. It may be called for several
// listeners. Running out of descriptors or memory slows it down and does not end it.
func (s *Server) Serve(l net.Listener) error {
	if !s.adopt(l) {
		return l.Close()
	}
	defer s.forget(l)
	pause := time.Duration(0)
	for {
		nc, err := l.Accept()
		switch {
		case err == nil:
			pause = 0
			s.accept(nc)
		case s.isDraining():
			return nil
		case errors.Is(err, net.ErrClosed):
			return err
		case errors.Is(err, syscall.ECONNABORTED):
			// The client left while it waited to be accepted: nothing is wrong here.
		default:
			pause = min(max(2*pause, 5*time.Millisecond), time.Second)
			s.o.Logger.Error("accept failed, pausing", "listener", s.o.Name,
				"error", err, "pause", pause)
			if clock.Sleep(s.ctx, s.o.Clock, pause) != nil {
				return nil
			}
		}
	}
}

func (s *Server) adopt(l net.Listener) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.isDraining() {
		return false
	}
	s.listeners[l] = struct{}{}
	return true
}

func (s *Server) forget(l net.Listener) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.listeners, l)
}

// accept takes a slot for nc and serves it in a goroutine, or refuses it at once: a flood of
// connections costs no goroutines.
func (s *Server) accept(nc net.Conn) {
	addr := addrOf(nc.RemoteAddr())
	if err := s.take(addr); err != nil {
		s.refuse(nc, addr.Addr(), err)
		return
	}
	go s.serve(nc, addr)
}

// ServeConn serves one connection to its end, as Serve does in a goroutine of its own.
func (s *Server) ServeConn(nc net.Conn) {
	addr := addrOf(nc.RemoteAddr())
	if err := s.take(addr); err != nil {
		s.refuse(nc, addr.Addr(), err)
		return
	}
	s.serve(nc, addr)
}

// take counts a connection in. What a trusted proxy brings is counted for the proxy's client, when
// the header has told who that is.
func (s *Server) take(addr netip.AddrPort) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.isDraining() {
		return ErrDraining
	}
	if err := s.shared.enter(); err != nil {
		return err
	}
	if err := s.gate.enter(addr.Addr(), s.fromProxy(addr)); err != nil {
		s.shared.leave()
		return err
	}
	s.running.Add(1)
	s.active.Add(1)
	return nil
}

func (s *Server) fromProxy(addr netip.AddrPort) bool {
	for _, p := range s.o.ProxyNetworks {
		if p.Contains(addr.Addr()) {
			return true
		}
	}
	return false
}

// refuse says the protocol's refusal and closes. The line goes into an empty socket buffer, so it
// does not block the accept loop; the deadline is for the impossible.
func (s *Server) refuse(nc net.Conn, addr netip.Addr, why error) {
	connections.WithLabelValues(s.o.Name, "refused").Inc()
	s.o.Logger.Debug("connection refused", "listener", s.o.Name, "remote", addr, "reason", why)
	if s.o.Refuse != nil && !s.o.Implicit && nc.SetWriteDeadline(time.Now().Add(refuseTime)) == nil {
		if _, err := nc.Write(s.o.Refuse()); err == nil {
			if half, ok := nc.(interface{ CloseWrite() error }); ok {
				_ = half.CloseWrite() // the close that follows says the same, less kindly
			}
		}
	}
	_ = nc.Close() // nothing of ours is left in it
}

const refuseTime = 100 * time.Millisecond

// seat is what a connection is counted as: in the total, and for a source unless it is a proxy's
// whose client is not known yet.
type seat struct {
	addr    netip.Addr
	counted bool
}

// serve runs a connection that take has counted in.
func (s *Server) serve(nc net.Conn, addr netip.AddrPort) {
	c := s.newConn(nc, addr)
	s.enroll(c)
	defer s.countOut(c)
	defer c.end()
	if s.begin(c) {
		// Nothing but this is on the stack while the session waits, see awaitTLS.
		s.o.Handler(s.ctx, c)
	}
}

// newConn returns a connection that has not begun.
func (s *Server) newConn(nc net.Conn, addr netip.AddrPort) *Conn {
	c := &Conn{
		ID: newID(), server: s, nc: nc, base: nc,
		remote: addr, local: addrOf(nc.LocalAddr()),
	}
	c.try = c.readReady
	if sc, ok := nc.(syscall.Conn); ok {
		if rc, err := sc.SyscallConn(); err == nil {
			c.rc, c.peek = rc, rc
		}
	}
	c.sits = seat{addr: addr.Addr(), counted: !s.fromProxy(addr)}
	return c
}

// countOut undoes take.
func (s *Server) countOut(c *Conn) {
	s.dismiss(c)
	s.gate.leave(c.sits)
	s.shared.leave()
	s.active.Add(-1)
	s.running.Done()
}

// begin does what comes before the protocol, and reports whether there is to be one.
func (s *Server) begin(c *Conn) bool {
	if !c.sits.counted && s.introduce(c, &c.sits) != nil {
		return false
	}
	if s.o.Implicit {
		if err := c.handshake(); err != nil {
			c.Logger().Debug("connection without TLS", "error", err)
			return false
		}
	}
	connections.WithLabelValues(s.o.Name, "served").Inc()
	return true
}

// introduce reads the PROXY header and counts the connection for the client it names.
func (s *Server) introduce(c *Conn, sits *seat) error {
	proxy := c.remote
	if err := c.readProxyHeader(); err != nil {
		connections.WithLabelValues(s.o.Name, "bad_proxy_header").Inc()
		if c.MayComplain() {
			c.Logger().Warn("connection from a proxy without a good PROXY header", "error", err)
		}
		return err
	}
	if c.remote == proxy {
		return nil // the proxy speaks for itself: a health check
	}
	if err := s.gate.move(c.remote.Addr()); err != nil {
		connections.WithLabelValues(s.o.Name, "refused").Inc()
		if s.o.Refuse != nil && !s.o.Implicit {
			_, _ = c.Write(s.o.Refuse()) // it is flushed, or lost, at the end
		}
		return err
	}
	*sits = seat{addr: c.remote.Addr(), counted: true}
	return nil
}

func (s *Server) enroll(c *Conn) {
	open.WithLabelValues(s.o.Name).Inc()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conns[c] = struct{}{}
}

func (s *Server) dismiss(c *Conn) {
	open.WithLabelValues(s.o.Name).Dec()
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
}

// end closes the connection, and is the one place where a panic ends: such a session gets no last
// word, since nobody knows what it was in the middle of, and the house goes on.
func (c *Conn) end() {
	p := recover()
	if p == nil {
		c.finish()
		return
	}
	c.panicked(p)
	_ = c.base.Close() // the session is lost either way
}

func (c *Conn) panicked(p any) {
	died.WithLabelValues(c.server.o.Name).Inc()
	c.Logger().Error("session panicked", "panic", p, "stack", string(debug.Stack()))
}

// Shutdown stops accepting, wakes idle sessions, lets busy ones finish their command for
// Limits.Drain or until ctx ends, and closes what is left then. It returns when no handler runs,
// or ctx's error when they still do at its end.
func (s *Server) Shutdown(ctx context.Context) error {
	s.beginDrain()
	done := make(chan struct{})
	go func() {
		s.running.Wait()
		close(done)
	}()
	patience := s.o.Clock.NewTimer(s.o.Limits.Drain)
	defer patience.Stop()
	select {
	case <-done:
		s.cancel()
		return nil
	case <-patience.C():
	case <-ctx.Done():
	}
	s.cancel()
	s.closeAll()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *Server) beginDrain() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.isDraining() {
		return
	}
	close(s.draining)
	for l := range s.listeners {
		_ = l.Close() // Accept returns in any case
	}
	for c := range s.conns {
		c.mu.Lock()
		c.wake()
		c.mu.Unlock()
	}
}

func (s *Server) closeAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := len(s.conns); n > 0 {
		s.o.Logger.Warn("closing sessions that did not end in time", "listener", s.o.Name, "count", n)
	}
	for c := range s.conns {
		_ = c.base.Close() // its reads and writes fail now, which is the aim
	}
}

func (s *Server) isDraining() bool {
	select {
	case <-s.draining:
		return true
	default:
		return false
	}
}

// stressed: four fifths of the slots are taken.
func (s *Server) stressed() bool {
	total := s.o.Limits.Total
	return total > 0 && s.active.Load()*5 >= int64(total)*4
}

// Open returns the number of connections being served.
func (s *Server) Open() int { return int(s.active.Load()) }

// addrOf returns the address of a TCP peer, IPv4 unmapped; the zero value for other networks.
func addrOf(a net.Addr) netip.AddrPort {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	ap := tcp.AddrPort()
	return netip.AddrPortFrom(ap.Addr().Unmap().WithZone(""), ap.Port())
}

var (
	idEncoding = base32.NewEncoding("0123456789abcdefghjkmnpqrstvwxyz").WithPadding(base32.NoPadding)
	idCounter  atomic.Uint64
	idStart    = idSeed()
)

// idSeed makes ids of different runs differ; it need not be secret.
func idSeed() uint64 {
	var b [8]byte
	_, _ = rand.Read(b[:]) // crypto/rand.Read never fails
	return binary.BigEndian.Uint64(b[:])
}

// newID returns 13 characters: a counter from a random start, scattered by an odd multiplier so that
// neighbours look different. It repeats after 2^64 connections.
func newID() string {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], (idStart+idCounter.Add(1))*0x9E3779B97F4A7C15)
	return idEncoding.EncodeToString(b[:])
}

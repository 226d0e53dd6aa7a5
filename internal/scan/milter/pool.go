package milter

import (
	"errors"
	"net/netip"
	"slices"
	"sync"
	"syscall"
	"time"

	"tram/internal/clock"
	"tram/internal/scan/filter"
)

// caller is all that a milter is told before the first message: what is the same may share a connection.
// User is part of it although it is told with each message, as a milter may remember it for the session.
type caller struct {
	addr                            netip.Addr
	helo, name, tls, user, hostname string
}

func callerOf(m *filter.Message) caller {
	return caller{m.Addr, m.HELO, m.Name, m.TLS, m.User, m.Hostname}
}

// pool keeps connections between the messages of one client. The connections that are in use and those
// that are kept are never more than Options.Conns together, unless more than that are in use.
type pool struct {
	idle  time.Duration
	most  int
	clock clock.Clock

	mu     sync.Mutex
	kept   []*session // the one that has been kept longest is first
	inUse  int
	closed bool
}

// enter counts one more in use, and makes room for it; leave must follow.
func (p *pool) enter() {
	p.mu.Lock()
	p.inUse++
	n := min(max(len(p.kept)+p.inUse-p.most, 0), len(p.kept))
	surplus := slices.Clone(p.kept[:n])
	p.kept = slices.Delete(p.kept, 0, n)
	p.mu.Unlock()
	for _, s := range surplus {
		s.dismiss()
	}
}

// leave is for one that was in use and is closed or kept now.
func (p *pool) leave() {
	p.mu.Lock()
	p.inUse--
	p.mu.Unlock()
}

// take is enter, and returns a connection that was kept for a caller, nil if there is none.
func (p *pool) take(who caller) *session {
	for {
		p.mu.Lock()
		// The youngest is the likeliest to be open still.
		i := len(p.kept) - 1
		for i >= 0 && p.kept[i].who != who {
			i--
		}
		if i < 0 {
			p.mu.Unlock()
			p.enter()
			return nil
		}
		s := p.kept[i]
		p.kept = slices.Delete(p.kept, i, i+1)
		p.inUse++
		p.mu.Unlock()
		s.timer.Stop()
		// A milter that restarts, or that has its own idea of how long to wait, has ended it by now.
		if s.quiet() {
			s.heard = false
			return s
		}
		_ = s.conn.Close()
		p.leave()
	}
}

// keep takes over a connection that is in use and has no message on it; leave follows all the same.
func (p *pool) keep(s *session) {
	p.mu.Lock()
	// This one is counted among those in use still, so that it fits if they are not more than may be.
	full := p.closed || len(p.kept)+p.inUse > p.most
	if !full {
		s.timer = p.clock.AfterFunc(p.idle, func() { p.expire(s) })
		p.kept = append(p.kept, s)
	}
	p.mu.Unlock()
	if full {
		s.quit()
		_ = s.conn.Close()
	}
}

// expire ends a connection whose time is over, if nobody took it meanwhile.
func (p *pool) expire(s *session) {
	p.mu.Lock()
	i := slices.Index(p.kept, s)
	if i >= 0 {
		p.kept = slices.Delete(p.kept, i, i+1)
	}
	p.mu.Unlock()
	if i >= 0 {
		s.dismiss()
	}
}

// close ends all that are kept; none is kept after it.
func (p *pool) close() {
	p.mu.Lock()
	kept := p.kept
	p.kept, p.closed = nil, true
	p.mu.Unlock()
	for _, s := range kept {
		s.dismiss()
	}
}

// quiet reports whether a connection that was kept can be used: nothing has come since, not even the end.
// What has come would be taken for the answer to a message that the milter has not seen.
func (s *session) quiet() bool {
	// A read with a deadline that is over would not do: it reports the deadline without having looked.
	c, ok := s.conn.(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return false
	}
	var got error
	err = raw.Read(func(fd uintptr) bool {
		var b [1]byte
		_, _, got = syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		return true
	})
	// Nothing to read is the only good news: zero bytes without an error are the end.
	return err == nil && (errors.Is(got, syscall.EAGAIN) || errors.Is(got, syscall.EINTR))
}

// dismiss ends a connection that was kept.
func (s *session) dismiss() {
	s.timer.Stop()
	s.quit()
	_ = s.conn.Close()
}

// quit says good-bye, which nothing depends on: the few bytes fit into any buffer, so that nobody waits.
func (s *session) quit() {
	_ = s.put(cmdQuit)
	_ = s.out.Flush()
}

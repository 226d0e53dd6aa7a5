package conn

import (
	"errors"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"tram/internal/clock"
	"tram/internal/limits"
)

// Reasons to refuse a connection.
var (
	errFull      = errors.New("all slots are taken")
	errReserved  = errors.New("the slots that are left are for known sources")
	errPerSource = errors.New("too many connections from the source")
	errTooFast   = errors.New("the source connects too often")
	errProcess   = errors.New("the process has no room")
)

// source is a client network: an IPv4 address, or the /64 of an IPv6 one, which is what one
// customer is given. The zero source (a unix socket) is not limited.
type source netip.Addr

func sourceOf(a netip.Addr) source {
	if !a.Is6() {
		return source(a)
	}
	// 64 is a valid length for every IPv6 address.
	p, _ := a.Prefix(64)
	return source(p.Addr())
}

// visits is what a gate knows of a source.
type visits struct {
	active int
	minute int64 // that recent and lines are counted in
	recent int
	lines  int
}

// gate counts the connections of one listener and decides who may come in.
type gate struct {
	limits limits.Conn
	clock  clock.Clock
	shared *Shared

	mu      sync.Mutex
	total   int
	sources map[source]*visits
	swept   int64 // the minute in which sources was last cleared of those gone
}

// enter counts a connection in, or says why not. Of a trusted proxy only the total is counted.
func (g *gate) enter(addr netip.Addr, proxy bool) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.limits.Total > 0 && g.total >= g.limits.Total {
		return errFull
	}
	if !proxy {
		if err := g.count(addr); err != nil {
			return err
		}
	}
	g.total++
	return nil
}

// move counts for its client a connection that came in as a proxy's.
func (g *gate) move(addr netip.Addr) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.total--
	defer func() { g.total++ }()
	return g.count(addr)
}

// leave counts a connection out.
func (g *gate) leave(sits seat) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.total--
	if !sits.counted || !sits.addr.IsValid() {
		return
	}
	key := sourceOf(sits.addr)
	v := g.sources[key] // there is one while connections are counted in it
	v.active--
	if v.active == 0 && v.minute != g.minute() {
		delete(g.sources, key)
	}
}

// count checks and counts addr's source; g.mu is held and g.total is without this connection.
func (g *gate) count(addr netip.Addr) error {
	if !addr.IsValid() {
		return nil
	}
	if free := int(g.limits.Reserved * float64(g.limits.Total)); free > 0 &&
		g.total >= g.limits.Total-free && !g.shared.Known(addr) {
		return errReserved
	}
	v := g.visitsOf(sourceOf(addr))
	v.recent++
	if g.limits.NewPerMinute > 0 && v.recent > g.limits.NewPerMinute {
		return errTooFast
	}
	if g.limits.PerIP > 0 && v.active >= g.limits.PerIP {
		return errPerSource
	}
	v.active++
	return nil
}

// maxSources bounds the memory a flood from many networks can take: about 8 MiB.
const maxSources = 1 << 16

// visitsOf returns what is known of a source in this minute.
func (g *gate) visitsOf(s source) *visits {
	minute := g.minute()
	v := g.sources[s]
	if v == nil {
		if g.swept != minute || len(g.sources) >= maxSources {
			g.sweep()
		}
		v = &visits{}
		g.sources[s] = v
	}
	if v.minute != minute {
		v.minute, v.recent, v.lines = minute, 0, 0
	}
	return v
}

// complaints is how many lines of the log a source gets in a minute for what it does wrong. What it
// goes on doing is in the counters, and a flood does not drown what else the log has to say.
const complaints = 60

// mayComplain counts a line about a source.
func (g *gate) mayComplain(addr netip.Addr) bool {
	if !addr.IsValid() {
		return true
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	v := g.visitsOf(sourceOf(addr))
	v.lines++
	return v.lines <= complaints
}

// sweep forgets sources without connections: those of past minutes, and when that leaves too many,
// those of this one too. A flood from that many networks is not stopped by counting each.
func (g *gate) sweep() {
	g.swept = g.minute()
	for s, v := range g.sources {
		if v.active == 0 && v.minute != g.swept {
			delete(g.sources, s)
		}
	}
	if len(g.sources) < maxSources {
		return
	}
	for s, v := range g.sources {
		if v.active == 0 {
			delete(g.sources, s)
		}
	}
}

func (g *gate) minute() int64 { return g.clock.Now().Unix() / 60 }

// Shared is what the listeners of a process share: which sources behaved well, how many TLS
// handshakes compute at once, and how many connections there are in all.
type Shared struct {
	clock      clock.Clock
	handshakes chan struct{}
	maxConns   int64
	conns      atomic.Int64

	mu   sync.Mutex
	good map[source]int64 // unix hour of the last good deed
}

// SharedOptions configures NewShared; the zero value is usable.
type SharedOptions struct {
	// Handshakes may compute at once; 0 means one per CPU.
	Handshakes int
	// MaxConns bounds the connections of all listeners together, so that storage keeps the
	// descriptors it needs; 0 means no bound. See DescriptorRoom.
	MaxConns int
	Clock    clock.Clock
}

// NewShared returns what several Servers share.
func NewShared(o SharedOptions) *Shared {
	if o.Handshakes <= 0 {
		o.Handshakes = runtime.GOMAXPROCS(0)
	}
	if o.Clock == nil {
		o.Clock = clock.System
	}
	return &Shared{
		clock: o.Clock, handshakes: make(chan struct{}, o.Handshakes),
		maxConns: int64(o.MaxConns), good: map[source]int64{},
	}
}

// Good remembers addr's network for a month as one that behaved.
func (s *Shared) Good(addr netip.Addr) {
	if !addr.IsValid() {
		return
	}
	hour := s.hour()
	s.mu.Lock()
	defer s.mu.Unlock()
	key := sourceOf(addr)
	if _, ok := s.good[key]; !ok && len(s.good) >= maxGood {
		s.forgetOldest()
	}
	s.good[key] = hour
}

// Known reports whether Good was called for addr's network within the month.
func (s *Shared) Known(addr netip.Addr) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	at, ok := s.good[sourceOf(addr)]
	return ok && s.hour()-at <= goodHours
}

const (
	maxGood   = 1 << 16
	goodHours = 30 * 24
)

// forgetOldest makes room for half of what is remembered, keeping the younger part; s.mu is held.
func (s *Shared) forgetOldest() {
	var sum int64
	for _, at := range s.good {
		sum += at
	}
	mean := sum / int64(len(s.good))
	for key, at := range s.good {
		if at <= mean && len(s.good) > maxGood/2 {
			delete(s.good, key)
		}
	}
}

func (s *Shared) hour() int64 { return s.clock.Now().Unix() / int64(time.Hour/time.Second) }

func (s *Shared) enter() error {
	if n := s.conns.Add(1); s.maxConns > 0 && n > s.maxConns {
		s.conns.Add(-1)
		return errProcess
	}
	return nil
}

func (s *Shared) leave() { s.conns.Add(-1) }

// reservedDescriptors are left to storage, look-ups and outgoing mail (fault O3 of the reliability
// table asks for 64).
const reservedDescriptors = 192

// DescriptorRoom returns how many connections the process's descriptor limit leaves room for: for
// SharedOptions.MaxConns. 0 when it cannot be known.
func DescriptorRoom() int {
	var lim syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &lim); err != nil || lim.Cur > 1<<30 {
		return 0
	}
	return max(int(lim.Cur)-reservedDescriptors, int(lim.Cur)/2)
}

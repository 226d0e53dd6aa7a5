package mailtest

import (
	"context"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tram/internal/clock"
	"tram/internal/dns"
)

// Start is when every world begins.
var Start = time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC)

// World is everything outside the houses, and the houses.
type World struct {
	T     testing.TB
	Clock *Clock
	DNS   *dns.Fake

	mu     sync.Mutex
	hosts  map[string]func() string // by "address:port": where it is in truth
	dials  map[string]int
	houses int
}

// Clock is a clock on the wall. Advance lets time pass; Jump sets the clock, and timers, which do not
// look at walls, run on as they did.
type Clock struct {
	*clock.Fake
	ahead atomic.Int64
}

// Now is what the clock shows.
func (c *Clock) Now() time.Time { return c.Fake.Now().Add(time.Duration(c.ahead.Load())) }

// Jump moves the hands.
func (c *Clock) Jump(d time.Duration) { c.ahead.Add(int64(d)) }

// New makes an empty world.
func New(t testing.TB) *World {
	t.Helper()
	return &World{
		T: t, Clock: &Clock{Fake: clock.NewFake(Start)}, DNS: dns.NewFake(""),
		hosts: map[string]func() string{}, dials: map[string]int{},
	}
}

// DialContext implements smtp.Dialer for the houses: each public address is a listener of loopback,
// or refuses.
func (w *World) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	w.mu.Lock()
	w.dials[address]++
	where := w.hosts[address]
	w.mu.Unlock()
	if where == nil {
		return nil, fmt.Errorf("dial %s: connection refused", address)
	}
	return (&net.Dialer{}).DialContext(ctx, network, where())
}

// Dialled is how often the mail port of an address was called.
func (w *World) Dialled(address string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.dials[net.JoinHostPort(address, "25")]
}

// connect makes address answer on its mail port, where being a loopback address; nil makes it refuse.
func (w *World) connect(address string, where func() string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.hosts[net.JoinHostPort(address, "25")] = where
}

// publish gives a domain one mail exchanger at address.
func (w *World) publish(domain, address string) {
	w.DNS.Add(fmt.Sprintf("%s. IN MX 10 mx.%s.\nmx.%s. IN A %s\n", domain, domain, domain, address))
}

const (
	// tick is how far Until moves the clock between two looks.
	tick = time.Second
	// patience is how long it looks, by the machine's clock: a busy machine needs some.
	patience = time.Minute
)

// Until lets time pass by the second until cond holds.
func (w *World) Until(what string, cond func() bool) {
	w.T.Helper()
	w.until(what, tick, cond)
}

func (w *World) until(what string, step time.Duration, cond func() bool) {
	w.T.Helper()
	again := time.NewTicker(2 * time.Millisecond)
	defer again.Stop()
	late := time.After(patience)
	for !cond() {
		select {
		case <-again.C:
			w.Clock.Advance(step)
		case <-late:
			w.T.Fatalf("not in time: %s", what)
		}
	}
}

// Pass lets d pass in steps, looking after each whether the houses are done with what was due.
func (w *World) Pass(d, step time.Duration, houses ...*House) {
	w.T.Helper()
	for ; d > 0; d -= step {
		w.Clock.Advance(min(d, step))
		for _, h := range houses {
			h.Settle()
		}
	}
}

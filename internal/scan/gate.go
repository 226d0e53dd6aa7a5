package scan

import (
	"context"
	"errors"
	"sync"
	"time"

	"tram/internal/clock"
	"tram/internal/limits"
)

// errOpen is the answer of a gate that is shut because its filter failed again and again.
var errOpen = errors.New("it failed again and again and is left alone for a while")

// gate lets so many questions through to one filter, and none for a while once it has failed so often in
// a row. Then one goes through to see whether it is back.
type gate struct {
	clock  clock.Clock
	limits limits.Scan
	// slots has a value for each question that is on its way.
	slots chan struct{}
	told  func(open bool) // hears when it shuts and opens

	mu sync.Mutex
	// failures are counted in a row only: a filter that fails now and then is of more use than none.
	failures int
	until    time.Time     // shut at least until then; zero: not shut
	probing  bool          // one question is on its way meanwhile
	shut     chan struct{} // closed when it shuts: who waits for a slot need not
}

func newGate(c clock.Clock, l limits.Scan, told func(open bool)) *gate {
	return &gate{
		clock: c, limits: l, slots: make(chan struct{}, max(l.Connections, 1)), told: told,
		shut: make(chan struct{}),
	}
}

// enter waits for a slot. Who gets none gets an error; who gets one must leave. A wait that ctx ended is
// told with note: a filter with no slot free in time is no faster than one that hangs.
func (g *gate) enter(ctx context.Context) (probe bool, err error) {
	g.mu.Lock()
	if !g.until.IsZero() {
		defer g.mu.Unlock()
		// One at a time goes to see: if it still hangs, only one sender waits for it.
		left := g.until.Sub(g.clock.Now())
		// A clock that was set back must not keep it shut for longer than the pause.
		if g.probing || left > 0 && left <= g.limits.Pause {
			return false, errOpen
		}
		select {
		case g.slots <- struct{}{}:
			g.probing = true
			return true, nil
		default: // those that hang have all slots still
			return false, errOpen
		}
	}
	shut := g.shut
	g.mu.Unlock()
	// A free slot goes first: of several cases that are ready, select takes any, and who needs not wait must
	// not be told that it was too late.
	select {
	case g.slots <- struct{}{}:
		return false, nil
	default:
	}
	select {
	case g.slots <- struct{}{}:
		return false, nil
	case <-shut:
		return false, errOpen
	case <-ctx.Done():
		return false, context.Cause(ctx)
	}
}

// What a question came to, for the gate.
type experience int

const (
	answered experience = iota // whatever it said of the message
	failed
	abandoned // it was not waited for: that says nothing of the filter
)

// leave gives the slot of a question back, with what the question came to.
func (g *gate) leave(e experience, probe bool) {
	<-g.slots
	g.note(e, probe)
}

// note counts failures in a row and shuts the gate, or opens it at the first answer. A failure of a gate
// that is shut already, as of the one that went to see, begins the pause again.
func (g *gate) note(e experience, probe bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	wasShut := !g.until.IsZero()
	if probe {
		g.probing = false
	}
	switch e {
	case abandoned:
	case answered:
		g.failures, g.until = 0, time.Time{}
		if wasShut {
			g.shut = make(chan struct{})
			g.told(true)
		}
	case failed:
		g.failures++
		if !wasShut && g.failures < g.limits.Failures {
			return
		}
		g.until = g.clock.Now().Add(g.limits.Pause)
		if !wasShut {
			close(g.shut)
			g.told(false)
		}
	}
}

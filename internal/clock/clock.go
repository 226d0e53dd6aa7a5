// Package clock answers "what time is it, and when will it be later?".
//
// Every room that looks at the time is given a [Clock], so that retries, expiry and throttling are
// tested in microseconds and crash tests can be replayed. No room calls time.Now for a decision.
package clock

import (
	"context"
	"time"
)

// Clock tells the time and makes timers. Implementations are safe for concurrent use.
type Clock interface {
	// Now returns the wall-clock time. It may jump in both directions, as real clocks do.
	Now() time.Time
	// NewTimer returns a timer that fires once after d.
	NewTimer(d time.Duration) Timer
	// AfterFunc calls fn in a goroutine of its own after d. The timer has no channel; Reset has fn
	// called again. Until it fires nothing waits: it is for what is nearly always stopped before.
	AfterFunc(d time.Duration, fn func()) Timer
}

// Timer is a single-shot timer; its channel holds at most one value.
type Timer interface {
	C() <-chan time.Time
	// Stop prevents the timer from firing and reports whether it did.
	Stop() bool
	// Reset arms the timer again for d from now and reports whether it had been armed.
	Reset(d time.Duration) bool
}

// System is the machine's clock.
var System Clock = system{}

type system struct{}

func (system) Now() time.Time                 { return time.Now() }
func (system) NewTimer(d time.Duration) Timer { return systemTimer{time.NewTimer(d)} }

func (system) AfterFunc(d time.Duration, fn func()) Timer {
	return systemTimer{time.AfterFunc(d, fn)}
}

type systemTimer struct{ t *time.Timer }

func (t systemTimer) C() <-chan time.Time        { return t.t.C }
func (t systemTimer) Stop() bool                 { return t.t.Stop() }
func (t systemTimer) Reset(d time.Duration) bool { return t.t.Reset(d) }

// Sleep waits until d has passed on c or ctx is done, whichever is first, and returns ctx's error
// in the second case.
func Sleep(ctx context.Context, c Clock, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	t := c.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C():
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

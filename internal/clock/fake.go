package clock

import (
	"sync"
	"time"
)

// Fake is a clock that moves only when told to. Timers fire inside Advance and Set, in the order
// of their due times.
type Fake struct {
	mu     sync.Mutex
	now    time.Time
	timers map[*fakeTimer]struct{}
	armed  chan struct{} // closed and replaced whenever a timer is armed
}

// NewFake returns a clock that stands at t.
func NewFake(t time.Time) *Fake {
	return &Fake{now: t, timers: map[*fakeTimer]struct{}{}, armed: make(chan struct{})}
}

// Now returns the time the clock was last set to.
func (f *Fake) Now() time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.now
}

// Advance moves the clock forward by d and fires what falls due.
func (f *Fake) Advance(d time.Duration) { f.Set(f.Now().Add(d)) }

// Set moves the clock to t, which may be earlier than now, and fires what falls due.
func (f *Fake) Set(t time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.now = t
	for {
		var next *fakeTimer
		for timer := range f.timers {
			if !timer.due.After(t) && (next == nil || timer.due.Before(next.due)) {
				next = timer
			}
		}
		if next == nil {
			return
		}
		delete(f.timers, next)
		next.fire(t)
	}
}

// Armed reports how many timers wait, and returns a channel that is closed when the next one is
// armed: a test waits for the code under test to go to sleep without sleeping itself.
func (f *Fake) Armed() (int, <-chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.timers), f.armed
}

// NewTimer returns a timer that fires when the clock has been moved by d.
func (f *Fake) NewTimer(d time.Duration) Timer {
	t := &fakeTimer{f: f, c: make(chan time.Time, 1)}
	t.Reset(d)
	return t
}

// AfterFunc calls fn when the clock has been moved by d.
func (f *Fake) AfterFunc(d time.Duration, fn func()) Timer {
	t := &fakeTimer{f: f, fn: fn}
	t.Reset(d)
	return t
}

type fakeTimer struct {
	f   *Fake
	c   chan time.Time
	fn  func() // instead of c
	due time.Time
}

func (t *fakeTimer) fire(now time.Time) {
	if t.fn != nil {
		go t.fn()
		return
	}
	select {
	case t.c <- now:
	default:
	}
}

func (t *fakeTimer) C() <-chan time.Time { return t.c }

func (t *fakeTimer) Stop() bool {
	t.f.mu.Lock()
	defer t.f.mu.Unlock()
	_, armed := t.f.timers[t]
	delete(t.f.timers, t)
	t.drain()
	return armed
}

func (t *fakeTimer) Reset(d time.Duration) bool {
	t.f.mu.Lock()
	defer t.f.mu.Unlock()
	_, armed := t.f.timers[t]
	t.drain()
	t.due = t.f.now.Add(d)
	if d <= 0 {
		delete(t.f.timers, t)
		t.fire(t.f.now)
		return armed
	}
	t.f.timers[t] = struct{}{}
	close(t.f.armed)
	t.f.armed = make(chan struct{})
	return armed
}

// drain discards a value nobody received, as time.Timer does since Go 1.23.
func (t *fakeTimer) drain() {
	select {
	case <-t.c:
	default:
	}
}

package pebblekv

import "github.com/cockroachdb/pebble/v2"

// quietScheduler decides when compactions run. It is Pebble's own without the clock that wakes it
// ten times a second to see whether more of them may run: an idle server sleeps. It looks when a
// compaction ends, as Pebble's does, and when a flush has ended, which is what can make one more
// necessary.
type quietScheduler struct {
	*pebble.ConcurrencyLimitScheduler
}

func newQuietScheduler() quietScheduler {
	// The constructor's name says what Pebble uses it for; what it makes is the ordinary scheduler.
	return quietScheduler{pebble.NewConcurrencyLimitSchedulerWithNoPeriodicGrantingForTest()}
}

// UpdateGetAllowedWithoutPermission is called after flushes, with Pebble's lock held.
func (s quietScheduler) UpdateGetAllowedWithoutPermission() {
	s.ConcurrencyLimitScheduler.UpdateGetAllowedWithoutPermission()
	go func() {
		// A permission that is taken and given back makes the scheduler look for who waits.
		if ok, permission := s.TrySchedule(); ok {
			permission.Done()
		}
	}()
}

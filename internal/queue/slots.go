package queue

import (
	"time"

	"tram/internal/limits"
)

// slots shares the workers out. A session holds a slot while it works. Half of the slots are kept
// from destinations that have not greeted us lately, and a session whose other side has been silent
// for a while gives its slot up and goes on beside the others: so hosts that accept and then stall
// cost the healthy ones nothing (there may be SlowSessions of them; then they keep their slots).
// The engine's lock guards it.
type slots struct {
	busy    int // slots in use
	unknown int // of them by destinations that have not greeted us lately
	slow    int // sessions without a slot
	all     map[*session]*slot
}

// slot is one session's.
type slot struct {
	class int
	slow  bool
}

func (s *slots) inUse() int { return len(s.all) }

// free reports whether a session of a class may start.
func (s *slots) free(class int, l *limits.Queue) bool {
	if s.busy >= max(l.Workers, 1) {
		return false
	}
	return class == known || s.unknown < max(l.Workers/2, 1)
}

func (s *slots) take(who *session, class int, now time.Time) {
	if s.all == nil {
		s.all = map[*session]*slot{}
	}
	s.all[who] = &slot{class: class}
	s.busy++
	if class == unknown {
		s.unknown++
	}
	who.touch(now)
	metricSessions.Set(float64(len(s.all)))
}

// release gives up the slot proper.
func (s *slots) release(slot *slot) {
	if slot.slow {
		s.slow--
		return
	}
	s.busy--
	if slot.class == unknown {
		s.unknown--
	}
}

func (s *slots) give(who *session) {
	if slot := s.all[who]; slot != nil {
		s.release(slot)
		delete(s.all, who)
	}
	metricSessions.Set(float64(len(s.all)))
}

// greeted notes that a session's destination has shown to be alive.
func (s *slots) greeted(who *session) {
	slot := s.all[who]
	if slot == nil || slot.class == known {
		return
	}
	if !slot.slow {
		s.unknown--
	}
	slot.class = known
}

// sweep takes the slots from sessions whose other side is silent.
func (s *slots) sweep(now time.Time) {
	for who, slot := range s.all {
		l := &who.q.o.Limits
		if slot.slow || s.slow >= l.SlowSessions || now.Sub(who.touched()) < l.Slow {
			continue
		}
		s.release(slot)
		slot.slow = true
		s.slow++
	}
}

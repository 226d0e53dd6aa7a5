package queue

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"tram/internal/smtp"
)

// session is one worker at a destination: it takes items, brings them there over one connection,
// and records what became of them.
type session struct {
	q    *Queue
	d    *destination
	way  *route
	next int // the host of the way that is tried next
	host host
	c    *smtp.Client // nil: not connected
	addr string       // whom c talks to
	used int          // transactions on c

	verified bool          // c's certificate proves the host's name
	marked   map[ID]bool   // items whose attempt is noted on disk
	confirm  []func()      // to be called when what was delivered is recorded
	hungry   bool          // it was begun and took nothing yet
	wake     chan struct{} // closed when an idle session gets work
	last     atomic.Int64  // when the other side was heard of, Unix nanoseconds
}

func (s *session) touch(now time.Time) { s.last.Store(now.UnixNano()) }
func (s *session) touched() time.Time  { return time.Unix(0, s.last.Load()) }

// run works until there is nothing to do, the destination fails, or the queue closes.
func (s *session) run(ctx context.Context) {
	defer s.hangUp(ctx)
	if !s.q.mayTry(ctx, s) {
		return
	}
	for {
		if s.stopping() {
			s.q.mu.Lock()
			s.q.end(s)
			s.q.mu.Unlock()
			return
		}
		legs := s.q.take(ctx, s)
		if len(legs) > 0 {
			s.work(ctx, legs)
			continue
		}
		if s.q.leave(ctx, s) && !s.idle(ctx) {
			return
		}
	}
}

func (s *session) stopping() bool {
	select {
	case <-s.q.leaving:
		return true
	default:
		return false
	}
}

// work brings a batch to the destination. What it does not get to is given back.
func (s *session) work(ctx context.Context, legs []legRef) {
	for len(legs) > 0 && !s.stopping() {
		if err := s.deliver(ctx, legs[0], legs[1:]); err != nil {
			s.trouble(ctx, legs[0], err)
			break
		}
		s.unmark(ctx, legs[:1]) // there was nothing to send
		s.q.release(s.d, legs[0])
		legs = legs[1:]
	}
	s.unmark(ctx, legs)
	s.q.putBackAll(s.d, legs)
}

// trouble is what happens when an item could not be dealt with: the destination is down, or what
// was done could not be recorded. In both cases nothing is tried there for a while.
func (s *session) trouble(ctx context.Context, ref legRef, err error) {
	if ctx.Err() != nil {
		return
	}
	var down *destFailure
	if !errors.As(err, &down) {
		s.q.log.Error("delivery not recorded", "id", ref.id, "error", err)
		down = &destFailure{err: err}
	}
	s.q.failed(ctx, s, down)
}

// idle waits with an open connection for the destination's next item, without a slot. It reports
// whether one came; the session then has a slot again.
func (s *session) idle(ctx context.Context) bool {
	q, d := s.q, s.d
	if s.c == nil || s.c.Err() != nil || s.full() || q.o.Limits.Reuse <= 0 {
		return false
	}
	timer := q.o.Clock.NewTimer(q.o.Limits.Reuse)
	defer timer.Stop()
	q.mu.Lock()
	if !q.open || len(d.idle) >= q.o.Limits.DestMin || q.waiting >= q.o.Limits.Workers/2 {
		q.mu.Unlock()
		return false
	}
	q.waiting++
	s.wake = make(chan struct{})
	d.idle = append(d.idle, s)
	q.mu.Unlock()
	select {
	case <-s.wake:
		return true
	case <-timer.C():
	case <-q.leaving:
	case <-ctx.Done():
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	for i, other := range d.idle {
		if other == s {
			d.idle = append(d.idle[:i], d.idle[i+1:]...)
			q.waiting--
			return false
		}
	}
	return true // somebody was quicker than the timer
}

// full reports whether the connection has carried as much as it should.
func (s *session) full() bool {
	most := s.q.o.Limits.PerSession
	if s.c != nil && s.c.Extensions().MaxMail > 0 {
		most = min(most, s.c.Extensions().MaxMail)
	}
	return s.used >= most
}

// hangUp says goodbye, in the background: nothing waits for that.
func (s *session) hangUp(ctx context.Context) {
	if s.c == nil {
		return
	}
	c := s.c
	s.c, s.used, s.verified = nil, 0, false
	if c.Err() != nil {
		c.Close()
		return
	}
	s.q.wg.Go(func() { c.Quit(ctx) })
}

// destFailure is the error of a destination that could not be reached at all, or would not talk:
// its items wait until it is tried again.
type destFailure struct {
	err  error
	host string
}

// Error says why.
func (f *destFailure) Error() string {
	if f.host == "" {
		return f.err.Error()
	}
	return fmt.Sprintf("%s: %v", f.host, f.err)
}

// Unwrap returns the cause.
func (f *destFailure) Unwrap() error { return f.err }

// connected makes sure that there is a connection with room for a transaction. Its error is a
// destFailure or permanent.
func (s *session) connected(ctx context.Context) error {
	if s.c != nil && (s.c.Err() != nil || s.full()) {
		s.hangUp(ctx)
		s.next = 0
	}
	if s.c != nil {
		return nil
	}
	if s.way == nil {
		way, err := s.q.findRoute(ctx, s.d.name)
		if err != nil {
			return asFailure(err, "")
		}
		s.way = way
	}
	return s.nextHost(ctx)
}

// asFailure makes err a destFailure, unless it is permanent.
func asFailure(err error, host string) error {
	var p permanent
	if errors.As(err, &p) {
		return p
	}
	return &destFailure{err: err, host: host}
}

// nextHost connects to the next host of the way that will talk to us.
func (s *session) nextHost(ctx context.Context) error {
	s.hangUp(ctx)
	var why failures
	for s.next < len(s.way.hosts) {
		h := s.way.hosts[s.next]
		s.next++
		err := s.tryHost(ctx, h)
		if err == nil {
			return nil
		}
		why.add(h, err)
		if errors.Is(err, errSelf) {
			break // RFC 5321 §5.1: what comes after us is not nearer
		}
		if ctx.Err() != nil {
			break
		}
	}
	s.next = 0
	return why.verdict(s.d.name)
}

// more reports whether the way has hosts that were not tried.
func (s *session) more() bool { return s.way != nil && s.next < len(s.way.hosts) }

package queue

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"tram/internal/smtp"
	"tram/internal/tlspolicy"
)

// session is one worker at a destination: it takes items, brings them there over one connection,
// and records what became of them.
type session struct {
	q      *Queue
	d      *destination
	way    *route
	next   int // the host of the way that is tried next
	host   host
	dials  int          // addresses of the way that were tried
	c      *smtp.Client // nil: not connected
	addr   string       // whom c talks to
	beside int          // connections to the destination when this one began to connect
	used   int          // transactions on c

	policy   tlspolicy.Policy // that c was made under
	verified bool             // c's certificate proves the host's name
	marked   map[ID]bool      // items whose attempt is noted on disk
	confirm  []func()         // of what was just delivered, to be called when it is recorded
	hungry   bool             // it was begun and took nothing yet
	surplus  bool             // the destination has had enough of us: this session ends
	missed   error            // why a host that is preferred to this one did not do, if it may later
	rested   bool             // c waited for work, and may have died meanwhile
	wake     chan struct{}    // closed when an idle session gets work
	last     atomic.Int64     // when the other side was heard of, Unix nanoseconds
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
		if s.surplus || s.stopping() {
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
	if errors.As(err, &down) {
		s.q.failed(ctx, s, down)
		return
	}
	s.q.log.Error("delivery not recorded", "id", ref.id, "error", err)
	s.q.rest(ctx, s.d, &destFailure{err: err})
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
	s.rested = true
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
	s.c, s.used, s.verified, s.rested = nil, 0, false, false
	if c.Err() != nil {
		c.Close()
		s.q.mu.Lock()
		s.d.conns--
		s.q.mu.Unlock()
		return
	}
	s.q.partFrom(s.d)
	s.q.wg.Go(func() {
		c.Quit(ctx)
		s.q.partedFrom(s.d)
	})
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
	if s.c != nil && (s.c.Err() != nil || s.full() || s.rested && (s.outdated(ctx) || s.c.Reset(ctx) != nil)) {
		s.restart(ctx)
	}
	// A connection that waited was asked whether it still lives: else a small message might go out
	// whole into one that does not, and nobody could tell whether it was taken.
	s.rested = false
	if s.c != nil {
		return nil
	}
	if s.way == nil {
		way, err := s.q.findRoute(ctx, s.d.name)
		if err != nil {
			return asFailure(err, "")
		}
		s.way, s.missed, s.dials = way, nil, 0
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

// maxDials is how many addresses of a destination are tried at a time. A domain may name any number
// of them that all say nothing.
const maxDials = 20

// nextHost connects to the next host of the way that will talk to us.
func (s *session) nextHost(ctx context.Context) error {
	s.hangUp(ctx)
	s.q.mu.Lock()
	s.beside = s.d.conns
	s.q.mu.Unlock()
	var why failures
	for s.next < len(s.way.hosts) && s.dials < maxDials {
		h := s.way.hosts[s.next]
		s.next++
		err := s.tryHost(ctx, h)
		if err == nil {
			s.missed = cmp.Or(s.missed, why.first)
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
	s.next, s.way, s.missed = 0, nil, cmp.Or(s.missed, why.first)
	domain, _ := domainOf(s.d.name)
	return why.verdict(domain)
}

// more reports whether the way has hosts that were not tried.
func (s *session) more() bool {
	return s.way != nil && s.next < len(s.way.hosts) && s.dials < maxDials
}

// Package trace answers "what happened to that message?": at each step of its way a room adds an
// [Event], and [Log.Find] tells the story by trail, Message-ID or address.
//
// Add promises never to wait: events go to a bounded buffer and are written behind, unsynced,
// several hundred at a time. So the newest fifth of a second may be missing after a crash, and
// under a burst that storage cannot take the oldest events of the buffer are dropped and counted.
// A trace is a tale about mail, never a record that mail depends on. It must never hold a body, a
// subject or a secret.
package trace

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"tram/internal/clock"
	"tram/internal/kv"
	"tram/internal/metrics"
)

// Event is one step of one message's way. Empty fields mean "not known at this step".
type Event struct {
	Time      time.Time `json:"time"`                 // zero: the time of Add
	ID        string    `json:"id"`                   // the trail, the same at every step
	Step      string    `json:"step"`                 // what was tried, e.g. "received", "filed", "relayed"
	MessageID string    `json:"message_id,omitempty"` // with or without <>
	From      string    `json:"from,omitempty"`       // reverse-path; "<>" for the null sender
	To        string    `json:"to,omitempty"`         // one recipient
	Remote    string    `json:"remote,omitempty"`     // the other side: address or host
	Result    string    `json:"result,omitempty"`     // e.g. "accepted", "deferred", "refused"
	Code      int       `json:"code,omitempty"`       // SMTP reply code, 0 when there is none
	Detail    string    `json:"detail,omitempty"`     // why, in words; long ones are cut
}

// Options say where a Log writes. DB is required; zero values of the rest take defaults.
type Options struct {
	DB        kv.Database
	Clock     clock.Clock
	Logger    *slog.Logger
	Retention time.Duration // how long events are kept at least; Prune removes older days
	Buffer    int           // events that may wait to be written
}

const (
	defaultBuffer = 8192
	batchEvents   = 1000                   // this many wake the writer at once
	batchDelay    = 200 * time.Millisecond // fewer are written after this
	maxText       = 1000                   // bytes of one field; the rest is cut
)

var (
	eventsWritten = metrics.Counter("trace_events_total", "Trace events written.")
	eventsDropped = metrics.Counter("trace_dropped_total",
		"Trace events lost because storage did not take them in time.")
)

// Log collects events. A nil *Log is valid and does nothing.
type Log struct {
	db        kv.Database
	clock     clock.Clock
	logger    *slog.Logger
	retention time.Duration

	first chan struct{} // an event waits
	many  chan struct{} // a whole batch waits
	quit  chan struct{}
	done  chan struct{}
	close sync.Once

	mu   sync.Mutex // guards the ring
	ring []Event
	head int // index of the oldest
	size int

	writing sync.Mutex // one writer: events reach storage in the order they were added
	batch   []Event
	ids     idSource
}

// Open returns a Log that writes to o.DB until Close.
func Open(o Options) *Log {
	if o.Clock == nil {
		o.Clock = clock.System
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Buffer <= 0 {
		o.Buffer = defaultBuffer
	}
	l := &Log{
		db: o.DB, clock: o.Clock, logger: o.Logger, retention: o.Retention,
		first: make(chan struct{}, 1), many: make(chan struct{}, 1),
		quit: make(chan struct{}), done: make(chan struct{}),
		ring: make([]Event, o.Buffer), ids: newIDSource(),
	}
	go l.run()
	return l
}

// Add records e. It copies e into the buffer and returns: it does not wait for storage, and it
// keeps e's strings until they are written.
func (l *Log) Add(e Event) {
	if l == nil {
		return
	}
	if e.Time.IsZero() {
		e.Time = l.clock.Now()
	}
	l.mu.Lock()
	dropped := l.size == len(l.ring)
	if dropped {
		l.head = (l.head + 1) % len(l.ring)
		l.size--
	}
	l.ring[(l.head+l.size)%len(l.ring)] = e
	l.size++
	n := l.size
	l.mu.Unlock()
	if dropped {
		eventsDropped.Inc()
	}
	switch n {
	case 1:
		signal(l.first)
	case batchEvents, len(l.ring):
		signal(l.many)
	}
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// run writes behind: it sleeps without a timer while nothing waits.
func (l *Log) run() {
	defer close(l.done)
	timer := l.clock.NewTimer(time.Hour)
	timer.Stop()
	for {
		select {
		case <-l.first:
		case <-l.many:
		case <-l.quit:
			return
		}
		timer.Reset(batchDelay)
		select {
		case <-timer.C():
		case <-l.many:
		case <-l.quit:
			return
		}
		timer.Stop()
		if err := l.Flush(context.Background()); err != nil {
			l.logger.Warn("trace events lost", "err", err)
		}
	}
}

// take moves up to a batch of the oldest events into l.batch. l.writing is held.
func (l *Log) take() []Event {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := min(l.size, batchEvents)
	l.batch = l.batch[:0]
	for range n {
		l.batch = append(l.batch, l.ring[l.head])
		l.ring[l.head] = Event{}
		l.head = (l.head + 1) % len(l.ring)
	}
	l.size -= n
	return l.batch
}

// Flush writes every event added before the call. Events that storage refuses are dropped and
// counted: a full disk must not fill the memory too.
func (l *Log) Flush(ctx context.Context) error {
	if l == nil {
		return nil
	}
	l.writing.Lock()
	defer l.writing.Unlock()
	for {
		batch := l.take()
		if len(batch) == 0 {
			return nil
		}
		err := l.db.Full()
		if err == nil {
			err = l.db.Stage(ctx, l.encode(batch)...)
		}
		n := float64(len(batch))
		clear(batch)
		if err != nil {
			eventsDropped.Add(n)
			return err
		}
		eventsWritten.Add(n)
	}
}

// Close writes what waits and ends the writer. Events added afterwards are lost.
func (l *Log) Close() error {
	if l == nil {
		return nil
	}
	l.close.Do(func() { close(l.quit) })
	<-l.done
	return l.Flush(context.Background())
}

package queue

import (
	"container/list"
	"context"
	"sync"
	"time"

	"tram/internal/kv"
)

// engine is the part of a Queue that lives in memory: which destinations have work, and who works.
// Everything in it can be forgotten; what is owed is in the shards.
type engine struct {
	alarm     alarm // wakes the search for due destinations
	keepAlarm alarm // wakes the keeper

	mu      sync.Mutex // guards what follows, and every destination
	dests   map[string]*destination
	old     *list.List // destinations without work, longest unused first
	active  int        // destinations with work
	backlog bool       // due destinations were left in the index for want of room
	ready   [2]list.List
	slots   slots
	waiting int              // sessions that wait with an open connection, without a slot
	running map[ID]int       // items that sessions have in hand, at how many destinations
	claimed map[ID][]string  // items that no session may take, with where one was passed over
	awaited map[ID]bool      // items that the keeper wants as soon as no session has them
	owed    map[string]*deed // what attempts came to that could not be recorded, by deedKey
	open    bool             // Run goes on and takes new work
	cursor  []qtime          // per shard: wakes before it were seen
	wg      sync.WaitGroup
	ctx     context.Context // of the work; outlives Run's by the drain
	leaving chan struct{}   // closed when no new work is taken
}

func (e *engine) init() {
	e.alarm, e.keepAlarm = make(alarm, 1), make(alarm, 1)
	e.dests = map[string]*destination{}
	e.old = list.New()
	e.running = map[ID]int{}
	e.claimed = map[ID][]string{}
	e.awaited = map[ID]bool{}
	e.owed = map[string]*deed{}
	e.leaving = make(chan struct{})
}

// alarm wakes a loop that sleeps; rings before it listens are heard once.
type alarm chan struct{}

func (a alarm) ring() {
	select {
	case a <- struct{}{}:
	default:
	}
}

// destination is what is known of a destination at the moment.
type destination struct {
	name   string
	loaded bool // fails and probe were read from the shards
	old    *list.Element

	active   bool // it has work, and stands in ready or has sessions
	queued   bool // it stands in ready for another session
	sessions int  // that work
	hungry   int  // of them, those that were just begun and took nothing yet
	limit    int  // sessions it may have
	enough   int  // the limit that was too much for it was above this one; 0: none was yet
	grown    int  // messages taken at that limit since it was changed
	proven   bool // it has greeted us lately
	idle     []*session
	conns    int           // connections to it, those that say goodbye included
	parting  int           // of them, those that say goodbye
	parted   chan struct{} // closed when none of them is left; nil: none was

	feed    []legRef      // due items that no session has taken yet
	cursor  []legRef      // per shard: where reading the feed goes on
	rewound bool          // cursor was set back during the read that goes on
	running map[ID]bool   // items that sessions have in hand
	reading chan struct{} // closed when the read that goes on ends
	more    bool          // something may be due that was not read

	fails  int   // failed probes in a row; while above 0 it is tried once per wait
	probe  qtime // when it is tried again
	since  time.Time
	last   string // why it failed
	soft   int    // transactions in a row that ended at MAIL
	passed bool   // an item was passed over because it is claimed

	clear map[string]qtime // hosts whose TLS failed: until when they are spoken to in the clear
}

// legRef is an item that waits for a destination, as its index names it.
type legRef struct {
	s    shard
	prio byte
	due  qtime
	id   ID
}

// tick is how often the queue looks around unasked: it keeps queue time going and finds what a
// race has hidden. It must be shorter than minStep.
const tick = time.Minute

// Run attempts deliveries until ctx ends. Then it takes no new work, lets running transactions end
// for as long as Options.Drain, breaks off what is left and returns nil: nothing of it is lost. A
// Queue runs once.
func (q *Queue) Run(ctx context.Context) error {
	work, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	q.mu.Lock()
	q.ctx, q.open = work, true
	q.cursor = make([]qtime, q.shards)
	q.mu.Unlock()
	var keeper sync.WaitGroup
	keeper.Go(func() { q.keep(ctx) })
	for ctx.Err() == nil {
		next := q.pass(ctx)
		q.sleep(ctx, next)
	}
	keeper.Wait()
	q.drain(cancel)
	return q.saveTime(context.WithoutCancel(ctx))
}

// sleep waits until next, the alarm or the next round of looking after the slow sessions.
func (q *Queue) sleep(ctx context.Context, next qtime) {
	wait := min(next.sub(q.time.Now()), tick)
	q.mu.Lock()
	if q.slots.inUse() > 0 && q.o.Limits.Slow > 0 {
		wait = min(wait, q.o.Limits.Slow/2)
	}
	q.mu.Unlock()
	timer := q.o.Clock.NewTimer(max(wait, 0))
	defer timer.Stop()
	select {
	case <-timer.C():
		q.mu.Lock()
		q.slots.sweep(q.o.Clock.Now())
		q.dispatch()
		clear(q.cursor)
		q.mu.Unlock()
		if err := q.saveTime(ctx); err != nil && ctx.Err() == nil {
			q.log.Error("queue time not saved", "error", err)
		}
	case <-q.alarm:
	case <-ctx.Done():
	}
}

// saveTime stores queue time, unsynced: the next start goes on from it.
func (q *Queue) saveTime(ctx context.Context) error {
	return q.o.DB.Stage(kv.Freeing(ctx), kv.Pair{Key: timeKey, Value: q.time.appendBinary(nil)})
}

// drain ends the work: sessions that wait go at once, running transactions get their time.
func (q *Queue) drain(cancel context.CancelFunc) {
	q.mu.Lock()
	q.open = false
	close(q.leaving)
	q.mu.Unlock()
	done := make(chan struct{})
	go func() { q.wg.Wait(); close(done) }()
	timer := q.o.Clock.NewTimer(q.o.Drain)
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C():
		cancel()
		<-done
	}
}

// pass activates destinations that are due, as many as there is room for, and returns when the next
// one is.
func (q *Queue) pass(ctx context.Context) qtime {
	next := never
	for s := range q.eachShard() {
		n, err := q.passShard(ctx, s)
		if err != nil && ctx.Err() == nil {
			q.log.Error("queue shard not read", "shard", s, "error", err)
			n = q.time.Now().add(tick)
		}
		next = min(next, n)
	}
	return next
}

func (q *Queue) passShard(ctx context.Context, s shard) (next qtime, err error) {
	now := q.time.Now()
	q.mu.Lock()
	from := q.cursor[s]
	q.backlog = q.backlog && s > 0
	q.mu.Unlock()
	next = never
	prefix := s.prefix(wakeSub)
	rng := kv.Range{Start: s.wakeKey(from, ""), End: kv.PrefixEnd(prefix), KeysOnly: true}
	err = q.o.DB.View(ctx, s.scope(), func(r kv.Reader) error {
		return r.Scan(rng, func(key, _ []byte) error {
			at, dest, err := parseTimed(key)
			if err != nil {
				return err
			}
			if qtime(at) > now {
				next = qtime(at)
				return kv.Stop
			}
			from = qtime(at)
			if !q.offer(dest) {
				return kv.Stop
			}
			return nil
		})
	})
	q.mu.Lock()
	q.cursor[s] = from
	q.mu.Unlock()
	return next, err
}

// offer activates a destination that the index says is due. It returns false when there is no room.
func (q *Queue) offer(dest string) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if d := q.dests[dest]; d != nil && d.active {
		return true
	}
	if q.active >= q.o.Limits.Active {
		q.backlog = true
		return false
	}
	q.activate(q.destination(dest))
	return true
}

// hint says that an item which is due now waits for dest: it is found at once, without a pass. An
// urgent one comes before those that were read already.
func (q *Queue) hint(dest string, prio int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.open {
		return
	}
	if d := q.dests[dest]; (d == nil || !d.active) && q.active >= q.o.Limits.Active {
		q.backlog = true
		return
	}
	d := q.destination(dest)
	if prio > 0 {
		d.feed = nil
		d.rewind()
	}
	q.activate(d)
}

// rewind makes reading the feed begin anew: something came in before where it goes on.
func (d *destination) rewind() {
	clear(d.cursor)
	d.rewound = true
}

// destination returns what is known of a destination, or a fresh one.
func (q *Queue) destination(name string) *destination {
	if d := q.dests[name]; d != nil {
		return d
	}
	d := &destination{name: name, limit: 1, cursor: make([]legRef, q.shards),
		running: map[ID]bool{}}
	q.dests[name] = d
	d.old = q.old.PushBack(d)
	for q.old.Len() > max(q.o.Limits.Remembered, 1) {
		front := q.old.Front()
		victim := q.old.Remove(front).(*destination)
		victim.old = nil
		delete(q.dests, victim.name)
	}
	return d
}

// activate gives a destination a place among those with work. One that fails waits for its time:
// what came in for it meanwhile is parked when a worker gets to it.
func (q *Queue) activate(d *destination) {
	d.more = true
	if !d.active {
		d.active = true
		q.active++
		if d.old != nil {
			q.old.Remove(d.old)
			d.old = nil
		}
	}
	q.want(d)
	q.dispatch()
}

// want puts a destination into the line for another session if it can use one: there is more to do
// than those at work have in hand.
func (q *Queue) want(d *destination) {
	more := len(d.feed) > 0 || d.more && d.reading == nil
	if !d.active || d.queued || d.sessions >= d.limit || d.hungry > 0 || d.sessions > 0 && !more {
		return
	}
	d.queued = true
	q.ready[d.class()].PushBack(d)
}

// The two lines of destinations that want a session.
const (
	unknown = iota // it has not greeted us lately
	known
)

func (d *destination) class() int {
	if d.proven || d.name == destLocal {
		return known
	}
	return unknown
}

// dispatch starts sessions while there are destinations that want one and slots for them. Those
// that have greeted us lately go first in turn with those that have not, of which only so many may
// hold slots: a hundred hosts that accept and say nothing delay none of the others.
func (q *Queue) dispatch() {
	for q.open {
		var d *destination
		for _, class := range [...]int{known, unknown} {
			if front := q.ready[class].Front(); front != nil && q.slots.free(class, &q.o.Limits) {
				d = q.ready[class].Remove(front).(*destination)
				break
			}
		}
		if d == nil {
			return
		}
		d.queued = false
		q.begin(d)
		q.want(d)
	}
}

// begin starts a session, or wakes one that waits with an open connection.
func (q *Queue) begin(d *destination) {
	d.sessions++
	d.hungry++
	now := q.o.Clock.Now()
	if n := len(d.idle); n > 0 {
		s := d.idle[n-1]
		d.idle = d.idle[:n-1]
		s.hungry = true
		q.waiting--
		q.slots.take(s, d.class(), now)
		close(s.wake)
		return
	}
	s := &session{q: q, d: d, hungry: true}
	q.slots.take(s, d.class(), now)
	q.wg.Add(1)
	go func() {
		defer q.wg.Done()
		s.run(q.ctx)
	}()
}

// fed says that a session is at work, or never will be.
func (s *session) fed() {
	if s.hungry {
		s.hungry = false
		s.d.hungry--
	}
}

// end takes a session off its destination. Whoever is last turns the light off.
func (q *Queue) end(s *session) {
	d := s.d
	d.sessions--
	s.fed()
	q.slots.give(s)
	if d.sessions == 0 && len(d.feed) == 0 && !d.more {
		q.deactivate(d)
	} else {
		q.want(d)
	}
	q.dispatch()
	if q.backlog && q.active <= q.o.Limits.Active/2 {
		clear(q.cursor)
		q.alarm.ring()
	}
}

// deactivate takes a destination off those with work.
func (q *Queue) deactivate(d *destination) {
	if !d.active {
		return
	}
	d.active = false
	q.active--
	d.old = q.old.PushBack(d)
	clear(d.cursor)
}

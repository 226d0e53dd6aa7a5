package queue

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"tram/internal/envelope"
	"tram/internal/kv"
	"tram/internal/smtp"
)

// State of an item or of one recipient.
type State string

// The states. An item is waiting, running or held; a recipient can be delivered or failed too.
const (
	StateWaiting   State = "waiting"
	StateRunning   State = "running"
	StateHeld      State = "held"
	StateDelivered State = "delivered"
	StateFailed    State = "failed"
)

// Filter selects items. Zero fields select all.
type Filter struct {
	Sender    string // a part of the sender's address, in any case; "<>" for the null sender
	Recipient string // a part of a recipient's address, in any case
	Domain    string // a recipient's domain
	State     State
	// After is where the page before has ended: the next that List gave with it, or the ID of an item.
	After string
	Limit int // items at most; 0: 100
}

// Item is an item as it is shown.
type Item struct {
	ID         ID
	From       smtp.Address
	Recipients []RecipientStatus
	Size       int64
	Account    uint64
	Origin     envelope.Origin
	MessageID  string
	Created    time.Time
	Next       time.Time // the next attempt; zero when held
	Expires    time.Time // when it is given up; zero when held
	State      State
	HeldReason string // why, for people
}

// RecipientStatus is one recipient's state.
type RecipientStatus struct {
	Address   smtp.Address
	State     State
	Attempts  int // made for this recipient; those of a destination that is down do not count
	Next      time.Time
	LastReply string // the last reply, or why there was none
	LastHost  string // who gave it; "" for this server
	LastTried time.Time
}

func (f *Filter) matches(r *record, state State) bool {
	if f.State != "" && f.State != state {
		return false
	}
	if f.Sender != "" && !strings.Contains(strings.ToLower(r.from.Path()), f.Sender) {
		return false
	}
	if f.Recipient == "" && f.Domain == "" {
		return true
	}
	for i := range r.rcpts {
		a := r.rcpts[i].Address
		if (f.Domain == "" || a.Domain == f.Domain) &&
			(f.Recipient == "" || strings.Contains(strings.ToLower(a.String()), f.Recipient)) {
			return true
		}
	}
	return false
}

func (q *Queue) stateOf(r *record) State {
	switch {
	case !r.parked():
		return StateHeld
	case q.isRunning(r.id):
		return StateRunning
	}
	return StateWaiting
}

// show makes an item presentable. Recipients whose destination is down have its next probe and its
// reason; dests keeps what was read of destinations.
func (q *Queue) show(r kv.Reader, s shard, rec *record, state State, dests map[string]destRow) (
	Item, error) {
	item := Item{
		ID: rec.id, From: rec.from, Size: rec.body.Size, Account: rec.account, Origin: rec.origin,
		MessageID: rec.messageID, Created: rec.created, State: state, HeldReason: rec.reason,
	}
	if rec.parked() {
		item.Expires = q.time.wallTime(q.expires(rec))
	}
	for i := range rec.rcpts {
		rcpt := &rec.rcpts[i]
		rs := RecipientStatus{Address: rcpt.Address, Attempts: rcpt.attempts,
			LastReply: rcpt.diagnosis(), LastHost: rcpt.host, LastTried: rcpt.tried}
		switch {
		case rcpt.state == delivered:
			rs.State = StateDelivered
		case rcpt.state == failed:
			rs.State = StateFailed
		default:
			rs.State = state
			l := &rec.legs[rcpt.leg]
			row, err := readDest(r, s, l.dest, dests)
			if err != nil {
				return item, err
			}
			if rec.parked() {
				due := l.due
				if row.fails > 0 {
					due, rs.LastReply, rs.LastHost = max(due, row.wake), row.last, ""
				}
				rs.Next = q.time.wallTime(due)
			}
			if item.Next.IsZero() || rs.Next.Before(item.Next) {
				item.Next = rs.Next
			}
		}
		item.Recipients = append(item.Recipients, rs)
	}
	return item, nil
}

func readDest(r kv.Reader, s shard, dest string, known map[string]destRow) (destRow, error) {
	row, ok := known[dest]
	if ok {
		return row, nil
	}
	b, err := r.Get(s.destKey(dest))
	if err == nil {
		row, err = decodeDest(b)
	}
	if errors.Is(err, kv.ErrNotFound) {
		err = nil
	}
	if len(known) < 10000 {
		known[dest] = row
	}
	return row, err
}

// Show returns one item. ErrNotFound when it is not, or no longer, in the queue.
func (q *Queue) Show(ctx context.Context, id ID) (Item, error) {
	s, rec, err := q.find(ctx, id)
	if err != nil {
		return Item{}, err
	}
	var item Item
	err = q.o.DB.View(ctx, s.scope(), func(r kv.Reader) (err error) {
		item, err = q.show(r, s, rec, q.stateOf(rec), map[string]destRow{})
		return err
	})
	return item, err
}

// Retry makes an item due now, and its destinations too if they are down. One that is held stays so.
func (q *Queue) Retry(ctx context.Context, id ID) error {
	s, _, err := q.find(ctx, id)
	if err != nil {
		return err
	}
	var after *record
	err = q.update(kv.Freeing(ctx), s, func(t *tx) error {
		r, err := t.item(id)
		if err != nil {
			return err
		}
		after = r
		if !r.parked() {
			return nil
		}
		for i := range r.legs {
			if err := t.hurry(r, &r.legs[i]); err != nil {
				return err
			}
		}
		return t.put(r)
	})
	if err != nil {
		return fmt.Errorf("retry %s: %w", id, err)
	}
	if !after.parked() {
		return nil
	}
	q.log.Info("retry asked for", "id", id)
	for i := range after.legs {
		if !after.legs[i].done {
			q.forgive(after.legs[i].dest)
			q.hint(after.legs[i].dest, after.prio)
		}
	}
	return nil
}

// hurry makes a leg due now.
func (t *tx) hurry(r *record, l *leg) error {
	if l.done {
		return nil
	}
	if err := t.unpark(r, l); err != nil {
		return err
	}
	l.due = t.now
	if err := t.park(r, l); err != nil {
		return err
	}
	d, err := t.dest(l.dest)
	if err == nil {
		d.wake = min(d.wake, t.now)
	}
	return err
}

// forgive lets a destination that is down be probed now.
func (q *Queue) forgive(dest string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if d := q.dests[dest]; d != nil {
		d.probe = min(d.probe, q.time.Now())
		clear(d.cursor)
	}
}

// Hold stops attempts for an item until it is released; reason is for people. An attempt that runs
// is finished.
func (q *Queue) Hold(ctx context.Context, id ID, reason string) error {
	s, _, err := q.find(ctx, id)
	if err != nil {
		return err
	}
	err = q.setHold(ctx, s, id, func(r *record) {
		r.held, r.drop, r.reason = true, false, clip(reason, maxReplyText)
	})
	if err != nil {
		return fmt.Errorf("hold %s: %w", id, err)
	}
	return nil
}

// Release ends whatever hold an item is under and makes it due now; its age counts from now on.
func (q *Queue) Release(ctx context.Context, id ID) error {
	s, _, err := q.find(ctx, id)
	if err != nil {
		return err
	}
	err = q.setHold(ctx, s, id, func(r *record) {
		r.held, r.drop, r.reason, r.holdUntil = false, false, "", time.Time{}
		r.junk = false // somebody has looked at it
	})
	if err != nil {
		return fmt.Errorf("release %s: %w", id, err)
	}
	return nil
}

// dropped is what the recipients of an item that an operator removes are said to have got.
var dropped = smtp.NewReply(550, smtp.Enhanced{5, 7, 0}, "Removed from the queue by the administrator")

// dropTries is how often Drop begins again because the item changed under its hands.
const dropTries = 10

// Drop removes an item. With notify its sender is told, as far as anybody may be. If it is being
// tried, it is held, and what is left of it removed as soon as that has ended: nobody is told that a
// message was removed which has just been delivered. Release takes such a removal back.
func (q *Queue) Drop(ctx context.Context, id ID, notify bool) error {
	err := errChanged
	for n := 0; errors.Is(err, errChanged) && n < dropTries; n++ {
		err = q.tryDrop(ctx, id, notify)
	}
	if err != nil {
		return fmt.Errorf("drop %s: %w", id, err)
	}
	return nil
}

func (q *Queue) tryDrop(ctx context.Context, id ID, notify bool) error {
	if !q.claim(id) {
		return q.dropLater(ctx, id, notify)
	}
	defer q.unclaim(id)
	s, _, err := q.find(ctx, id)
	if err != nil {
		return err
	}
	if err := q.concludeAll(ctx, s, id); err != nil {
		return err
	}
	_, rec, err := q.find(ctx, id)
	if err != nil {
		return err
	}
	return q.giveUp(ctx, s, rec, dropped, notify)
}

// dropLater leaves an item that is being tried to the keeper.
func (q *Queue) dropLater(ctx context.Context, id ID, notify bool) error {
	s, _, err := q.find(ctx, id)
	if err != nil {
		return err
	}
	err = q.setHold(ctx, s, id, func(r *record) {
		r.held, r.drop, r.dropTell = true, true, notify
		r.reason = "removed as soon as the attempt under way has ended"
	})
	q.await(id)
	q.keepAlarm.ring()
	return err
}

// Stats are the queue's figures.
type Stats struct {
	Waiting, Held, Running int64
	Oldest                 time.Time // when the oldest waiting item came; zero for an empty queue
	// Destinations are those with the most items, at most 20 of the first 10,000 of each shard.
	Destinations []DestinationStats
}

// DestinationStats are one destination's figures.
type DestinationStats struct {
	Name      string // a domain, "=local" or "=smarthost"
	Waiting   int64
	Sessions  int
	Failing   bool
	NextProbe time.Time
	LastError string
}

// The bounds of Stats.
const (
	statsRead  = 10000
	statsShown = 20
)

// Stats returns the queue's figures. It reads counters, never items in number.
func (q *Queue) Stats(ctx context.Context) (Stats, error) {
	c, err := q.totals(ctx)
	if err != nil {
		return Stats{}, fmt.Errorf("queue figures: %w", err)
	}
	st := Stats{Waiting: int64(c.waiting), Held: int64(c.held)}
	dests := map[string]*DestinationStats{}
	for s := range q.eachShard() {
		if err := q.destStats(ctx, s, dests); err != nil {
			return Stats{}, fmt.Errorf("queue figures: %w", err)
		}
		oldest, err := q.oldest(ctx, s)
		if err != nil {
			return Stats{}, fmt.Errorf("queue figures: %w", err)
		}
		if !oldest.IsZero() && (st.Oldest.IsZero() || oldest.Before(st.Oldest)) {
			st.Oldest = oldest
		}
	}
	q.mu.Lock()
	st.Running = int64(len(q.running))
	for name, d := range dests {
		if known := q.dests[name]; known != nil {
			d.Sessions = known.sessions
		}
		st.Destinations = append(st.Destinations, *d)
	}
	q.mu.Unlock()
	slices.SortFunc(st.Destinations, func(a, b DestinationStats) int {
		return cmp.Or(cmp.Compare(b.Waiting, a.Waiting), cmp.Compare(a.Name, b.Name))
	})
	st.Destinations = st.Destinations[:min(len(st.Destinations), statsShown)]
	return st, nil
}

func (q *Queue) destStats(ctx context.Context, s shard, dests map[string]*DestinationStats) error {
	prefix := s.prefix(destSub)
	rng := kv.Prefix(prefix)
	rng.Limit = statsRead
	return q.o.DB.View(ctx, s.scope(), func(r kv.Reader) error {
		return r.Scan(rng, func(key, value []byte) error {
			row, err := decodeDest(value)
			if err != nil {
				return err
			}
			name := string(key[len(prefix):])
			d := dests[name]
			if d == nil {
				d = &DestinationStats{Name: name}
				dests[name] = d
			}
			d.Waiting += int64(row.count)
			if row.fails > 0 {
				d.Failing, d.LastError = true, row.last
				d.NextProbe = q.time.wallTime(row.wake)
			}
			return nil
		})
	})
}

// oldest returns when the oldest item of a shard came: the first to expire, or the first whose
// delay is to be told.
func (q *Queue) oldest(ctx context.Context, s shard) (time.Time, error) {
	var oldest time.Time
	for _, sub := range [...]byte{endSub, warnSub} {
		refs, err := q.timed(ctx, s, s.prefix(sub), sub, never, 1)
		if err != nil || len(refs) == 0 {
			if err != nil {
				return oldest, err
			}
			continue
		}
		err = q.o.DB.View(ctx, s.scope(), func(r kv.Reader) error {
			rec, err := readItem(r, s, refs[0].id)
			if err == nil && (oldest.IsZero() || rec.created.Before(oldest)) {
				oldest = rec.created
			}
			return err
		})
		if err != nil && !errors.Is(err, ErrNotFound) {
			return oldest, err
		}
	}
	return oldest, nil
}

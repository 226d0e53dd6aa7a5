package queue

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"strings"

	"tram/internal/kv"
	"tram/internal/smtp"
	"tram/internal/trace"
)

// outcome is what became of one recipient in an attempt.
type outcome struct {
	k       int // index of the recipient
	reply   smtp.Reply
	host    string // who said it; "" for us
	relayed bool   // taken by a server that will not tell the sender of success
	untimed bool   // and that does not watch the time a sender has set
	over    string // how the connection was secured, in words; "" for none
}

// deliver does what it can for one item: it is attempted at this destination, and what became of
// each recipient is recorded. rest are the items the session has in hand behind it. The error is a
// destFailure, with which the item stays as it is, or says that nothing could be recorded.
func (s *session) deliver(ctx context.Context, ref legRef, rest []legRef) error {
	if d := s.q.takeDeed(ref.id, s.d.name); d != nil {
		if err := s.record(ctx, ref, d); err != nil {
			return err
		}
	}
	for again := true; again; {
		rec, i, err := s.pick(ctx, ref)
		if err != nil || rec == nil {
			return err
		}
		d := &deed{rec: rec}
		d.outs, d.again, err = s.attempt(ctx, ref, rest, rec, i)
		if err != nil {
			s.traceWait(ctx, rec, i, err)
			return err
		}
		again, d.confirm, s.confirm = d.again, s.confirm, nil
		if err := s.record(ctx, ref, d); err != nil {
			return err
		}
	}
	return nil
}

// traceWait tells the trail of the message that was at hand why its destination is left alone.
func (s *session) traceWait(ctx context.Context, rec *record, i int, err error) {
	var down *destFailure
	if ctx.Err() != nil || !errors.As(err, &down) {
		return
	}
	rec.waitingOn(i, func(_ int, rcpt *recipient) {
		s.q.trace(rec, rcpt, trace.Event{Step: "deliver", Remote: down.host, Result: "deferred",
			Detail: clip(down.err.Error(), maxReplyText)})
	})
}

// record makes a deed durable.
func (s *session) record(ctx context.Context, ref legRef, d *deed) error {
	delete(s.marked, ref.id) // the mark goes with the record, or stays to tell of it
	return s.q.conclude(ctx, ref, s.d.name, d)
}

// conclude makes a deed durable. That is not broken off when the queue closes: a message that was
// taken would come again. If it cannot be done, the deed is kept, and when the item is taken up
// again it is recorded, not repeated.
func (q *Queue) conclude(ctx context.Context, ref legRef, dest string, d *deed) error {
	err := q.record(context.WithoutCancel(ctx), ref, dest, d.rec, d.outs, d.again)
	if err != nil {
		q.keepDeed(ref.id, dest, d)
		return fmt.Errorf("record %s: %w", ref.id, err)
	}
	for _, seen := range d.confirm {
		seen()
	}
	return nil
}

// deed is what an attempt came to.
type deed struct {
	rec     *record
	outs    []outcome
	again   bool
	confirm []func() // to be called when it is recorded
}

func deedKey(id ID, dest string) string { return string(id) + "\x00" + dest }

// keepDeed keeps what could not be recorded. There are few: a destination rests after each.
func (q *Queue) keepDeed(id ID, dest string, d *deed) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.owed[deedKey(id, dest)] = d
}

// concludeAll records what is kept of an item: before anybody is told that it has failed, what it
// came to must count.
func (q *Queue) concludeAll(ctx context.Context, s shard, id ID) error {
	q.mu.Lock()
	kept := map[string]*deed{}
	for key, d := range q.owed {
		if dest, ok := strings.CutPrefix(key, deedKey(id, "")); ok {
			kept[dest] = d
			delete(q.owed, key)
		}
	}
	q.mu.Unlock()
	var first error
	for dest, d := range kept {
		first = cmp.Or(first, q.conclude(ctx, legRef{s: s, id: id}, dest, d))
	}
	return first
}

// takeDeed returns what was kept, nil for nothing.
func (q *Queue) takeDeed(id ID, dest string) *deed {
	q.mu.Lock()
	defer q.mu.Unlock()
	d := q.owed[deedKey(id, dest)]
	delete(q.owed, deedKey(id, dest))
	return d
}

// attempt brings an item to some or all of its recipients here. A panic on the way is the message's
// doing, and must not end the server, now and after every restart: the item is tried later.
func (s *session) attempt(ctx context.Context, ref legRef, rest []legRef, rec *record, i int) (
	outs []outcome, again bool, err error) {
	defer func() {
		if p := recover(); p != nil {
			s.q.log.Error("panic in delivery", "id", rec.id, "panic", p, "stack", string(debug.Stack()))
			metricPanics.Inc()
			s.restart(ctx)
			reply := smtp.NewReply(451, smtp.Enhanced{4, 3, 0}, "Internal error")
			outs, again, err = allOf(rec, i, reply, ""), false, nil
		}
	}()
	if s.d.name == destLocal {
		outs, err = s.deliverLocal(ctx, rec, i)
	} else {
		outs, again, err = s.transact(ctx, ref, rest, rec, i)
	}
	var p permanent
	if errors.As(err, &p) {
		return allOf(rec, i, p.reply, p.host), false, nil
	}
	return outs, again, err
}

// pick reads an item and finds its leg to this destination. No record: there is nothing to do, and
// if the index said otherwise that is mended.
func (s *session) pick(ctx context.Context, ref legRef) (*record, int, error) {
	var rec *record
	err := s.q.o.DB.View(ctx, ref.s.scope(), func(r kv.Reader) (err error) {
		rec, err = readItem(r, ref.s, ref.id)
		return err
	})
	if errors.Is(err, kv.ErrCorrupt) {
		s.q.log.Error("queue item is damaged", "id", ref.id, "error", err)
		return nil, 0, s.q.setAside(ctx, ref, s.d.name)
	}
	if err != nil && !errors.Is(err, ErrNotFound) {
		return nil, 0, err
	}
	if rec == nil || !rec.parked() || rec.legTo(s.d.name) < 0 {
		return nil, 0, s.q.mend(ctx, ref, s.d.name)
	}
	i := rec.legTo(s.d.name)
	if rec.legs[i].due > s.q.time.Now() { // somebody was quicker
		return nil, 0, s.q.mend(ctx, ref, s.d.name)
	}
	stray := false
	rec.waitingOn(i, func(_ int, r *recipient) {
		stray = stray || s.q.destOf(r.Address, rec.tlsOptional) != s.d.name
	})
	if stray {
		return nil, 0, s.q.reroute(ctx, ref)
	}
	return rec, i, nil
}

// mend takes an entry out of a destination's index that no item stands behind.
func (q *Queue) mend(ctx context.Context, ref legRef, dest string) error {
	return q.update(kv.Freeing(ctx), ref.s, func(t *tx) error {
		r, err := t.item(ref.id)
		if err != nil && !errors.Is(err, ErrNotFound) {
			return err
		}
		if r != nil && r.parked() {
			if i := r.legTo(dest); i >= 0 && r.legs[i].due == ref.due {
				return nil // it has come back meanwhile
			}
		}
		key := t.s.legKey(dest, 9-int(ref.prio), ref.due, ref.id)
		if _, err := t.Get(key); err != nil {
			if errors.Is(err, kv.ErrNotFound) {
				return nil
			}
			return err
		}
		d, err := t.dest(dest)
		if err != nil {
			return err
		}
		d.count = max(d.count-1, 0)
		return t.Delete(key)
	})
}

// setAside makes an item whose row cannot be read wait, so that others are not kept from their
// destination by it. It stays in the index and in listings until somebody has looked at it.
func (q *Queue) setAside(ctx context.Context, ref legRef, dest string) error {
	return q.update(kv.Freeing(ctx), ref.s, func(t *tx) error {
		prio := 9 - int(ref.prio)
		key := t.s.legKey(dest, prio, ref.due, ref.id)
		if _, err := t.Get(key); err != nil {
			if errors.Is(err, kv.ErrNotFound) {
				return nil
			}
			return err
		}
		if err := t.Delete(key); err != nil {
			return err
		}
		return t.Set(t.s.legKey(dest, prio, t.now.add(q.o.Limits.MaxRetry), ref.id), nil)
	})
}

// reroute sorts an item's waiting recipients anew: a domain has become local or foreign, or a
// smarthost was added or taken away since it came.
func (q *Queue) reroute(ctx context.Context, ref legRef) error {
	var rec *record
	err := q.update(kv.Freeing(ctx), ref.s, func(t *tx) error {
		r, err := t.item(ref.id)
		rec = r
		if err != nil || !r.parked() {
			return err
		}
		for i := range r.legs {
			if !r.legs[i].done {
				if err := t.unpark(r, &r.legs[i]); err != nil {
					return err
				}
			}
		}
		r.regroup(q, t.now)
		for i := range r.legs {
			if err := t.park(r, &r.legs[i]); err != nil {
				return err
			}
		}
		return t.put(r)
	})
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	if err == nil {
		for i := range rec.legs {
			q.hint(rec.legs[i].dest, rec.prio)
		}
	}
	return err
}

// regroup makes new legs for the recipients that wait. Those that are served hang on the first one:
// nothing asks for theirs any more.
func (r *record) regroup(q *Queue, now qtime) {
	r.legs = nil
	for k := range r.rcpts {
		rcpt := &r.rcpts[k]
		if rcpt.state != waiting {
			rcpt.leg = 0
			continue
		}
		dest := q.destOf(rcpt.Address, r.tlsOptional)
		if rcpt.leg = r.legTo(dest); rcpt.leg < 0 {
			rcpt.leg = len(r.legs)
			r.legs = append(r.legs, leg{dest: dest, due: now})
		}
	}
}

// allOf gives every waiting recipient of a leg the same outcome.
func allOf(r *record, i int, reply smtp.Reply, host string) []outcome {
	var outs []outcome
	r.waitingOn(i, func(k int, _ *recipient) {
		outs = append(outs, outcome{k: k, reply: reply, host: host})
	})
	return outs
}

// ownReply tells an error of ours in the form of a reply, as DSNs and listings have it.
func ownReply(code int, e smtp.Enhanced, err error) smtp.Reply {
	return smtp.NewReply(code, e, clip(err.Error(), maxReplyText))
}

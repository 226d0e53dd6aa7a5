package queue

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"

	"tram/internal/kv"
	"tram/internal/smtp"
)

// outcome is what became of one recipient in an attempt.
type outcome struct {
	k       int // index of the recipient
	reply   smtp.Reply
	host    string // who said it; "" for us
	relayed bool   // taken by a server that will not tell the sender of success
	untimed bool   // and that does not watch the time a sender has set
}

// deliver does what it can for one item: it is attempted at this destination, and what became of
// each recipient is recorded. rest are the items the session has in hand behind it. The error is a
// destFailure, with which the item stays as it is, or says that nothing could be recorded.
func (s *session) deliver(ctx context.Context, ref legRef, rest []legRef) error {
	for again := true; again; {
		rec, i, err := s.pick(ctx, ref)
		if err != nil || rec == nil {
			return err
		}
		var outs []outcome
		outs, again, err = s.attempt(ctx, ref, rest, rec, i)
		if err != nil {
			return err
		}
		if err := s.q.record(ctx, ref, s.d.name, rec, outs, again); err != nil {
			return fmt.Errorf("record %s: %w", ref.id, err)
		}
		delete(s.marked, ref.id)
		for _, seen := range s.confirm {
			seen()
		}
		s.confirm = nil
	}
	return nil
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
	if err != nil && !errors.Is(err, ErrNotFound) {
		return nil, 0, err
	}
	if rec == nil || !rec.parked() || rec.legTo(s.d.name) < 0 {
		return nil, 0, s.q.mend(ctx, ref, s.d.name)
	}
	i := rec.legTo(s.d.name)
	if rec.legs[i].due > s.q.time.Now() {
		return nil, 0, nil // somebody was quicker
	}
	stray := false
	rec.waitingOn(i, func(_ int, r *recipient) {
		stray = stray || s.q.destOf(r.Address) != s.d.name
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
		dest := q.destOf(rcpt.Address)
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

package queue

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"tram/internal/blob"
	"tram/internal/kv"
	"tram/internal/smtp"
	"tram/internal/trace"
)

// notice is a DSN that is composed and waits to be queued along with what it tells of.
type notice struct {
	rec  *record
	body *blob.Pending
}

// record makes the outcomes of an attempt durable, with the notices they cause, in one transaction:
// no recipient is served without its notice, and no notice is sent twice. again: the item has more
// recipients at this destination that are tried at once; else those who wait, wait for a retry.
func (q *Queue) record(ctx context.Context, ref legRef, dest string, rec *record, outs []outcome,
	again bool) error {
	ctx = kv.Freeing(ctx)
	notices, err := q.notices(ctx, ref.s, rec, outs)
	if err != nil {
		return err
	}
	var after *record
	err = q.update(ctx, ref.s, func(t *tx) error {
		after = nil
		r, err := t.item(ref.id)
		if errors.Is(err, ErrNotFound) {
			return t.Delete(t.s.markKey(ref.id, dest)) // dropped while it was tried
		}
		if err != nil {
			return err
		}
		after = r
		if err := q.apply(t, r, dest, outs, again); err != nil {
			return err
		}
		if err := t.Delete(t.s.markKey(r.id, dest)); err != nil {
			return err
		}
		return t.insertNotices(q, notices)
	})
	if err != nil || after == nil {
		discard(notices)
		return err
	}
	q.told(ref.s, notices)
	q.tell(after, outs)
	return nil
}

// apply changes an item by the outcomes of an attempt at dest.
func (q *Queue) apply(t *tx, r *record, dest string, outs []outcome, again bool) error {
	was := append([]leg(nil), r.legs...)
	now := q.o.Clock.Now()
	for _, o := range outs {
		rcpt := &r.rcpts[o.k]
		if rcpt.state != waiting {
			continue
		}
		rcpt.attempts++
		rcpt.reply, rcpt.host, rcpt.tried = o.reply, o.host, now
		switch {
		case o.reply.OK():
			rcpt.state = delivered
		case o.reply.Permanent():
			rcpt.state = failed
		}
	}
	if i := r.legTo(dest); i >= 0 && !again {
		r.legs[i].attempts++
		r.legs[i].due = t.now.add(q.backoff(r.legs[i].attempts))
	}
	return q.rewrite(t, r, was)
}

// rewrite stores an item whose recipients have changed; was are its legs as they are in the indexes.
// An item that has nothing left to wait for is removed.
func (q *Queue) rewrite(t *tx, r *record, was []leg) error {
	r.closeLegs()
	if r.parked() {
		for i := range was {
			if was[i] == r.legs[i] || was[i].done {
				continue
			}
			if err := t.unpark(r, &was[i]); err != nil {
				return err
			}
			if r.legs[i].done {
				continue
			}
			if err := t.park(r, &r.legs[i]); err != nil {
				return err
			}
		}
	}
	if !r.finished() {
		return t.put(r)
	}
	return q.remove(t, r)
}

// remove takes an item out of the queue. Its legs are out of the indexes already.
func (q *Queue) remove(t *tx, r *record) error {
	if r.parked() {
		if err := t.timers(q, r, false); err != nil {
			return err
		}
		if err := t.tally(-1, 0); err != nil {
			return err
		}
	} else if err := t.tally(0, -1); err != nil {
		return err
	}
	if err := t.wallTimer(r, false); err != nil {
		return err
	}
	if err := t.Delete(t.s.itemKey(r.id)); err != nil {
		return err
	}
	if err := t.Delete(t.s.cameKey(r)); err != nil {
		return err
	}
	return q.o.Blobs.Unlink(t.Txn, r.body, owner(r.id))
}

func (t *tx) insertNotices(q *Queue, notices []notice) error {
	for _, n := range notices {
		n.rec.started = t.now
		for i := range n.rec.legs {
			n.rec.legs[i].due = t.now
		}
		if err := t.insert(q, n.rec, n.body); err != nil {
			return err
		}
	}
	return nil
}

func discard(notices []notice) {
	for _, n := range notices {
		n.body.Discard()
	}
}

// told follows notices that are durable now.
func (q *Queue) told(s shard, notices []notice) {
	for _, n := range notices {
		n.body.Committed()
		q.submitted(s, n.rec)
	}
}

// tell reports each outcome: one log line, one trace event, one count.
func (q *Queue) tell(r *record, outs []outcome) {
	for _, o := range outs {
		rcpt := &r.rcpts[o.k]
		word := "deferred"
		switch rcpt.state {
		case delivered:
			word = "delivered"
			if r.legs[rcpt.leg].dest != destLocal {
				word = "relayed"
			}
		case failed:
			word = "failed"
			if q.o.Failed != nil && o.host != "" && r.legs[rcpt.leg].dest != destLocal {
				q.o.Failed(context.Background(), r.origin, rcpt.Address, o.reply)
			}
		}
		metricOutcomes.WithLabelValues(word).Inc()
		q.log.Info(word, "id", r.id, "from", r.from.Path(), "to", rcpt.Address.Path(),
			"host", o.host, "attempts", rcpt.attempts, "reply", o.reply.String(),
			"age", q.o.Clock.Now().Sub(r.created).Round(time.Second), "over", o.over)
		q.trace(r, rcpt, trace.Event{Step: "deliver", Remote: o.host, Result: word,
			Code: o.reply.Code, Detail: o.detail()})
	}
	if r.finished() {
		if r.parked() {
			metricWaiting.Dec()
		} else {
			metricHeld.Dec()
		}
		q.log.Debug("done", "id", r.id)
	}
}

// detail is what the trail of a message says of an outcome.
func (o *outcome) detail() string {
	if o.over == "" {
		return o.reply.String()
	}
	return o.reply.String() + " (" + o.over + ")"
}

// mark notes on disk that a session begins to send the items it has in hand. One sync covers the
// whole batch. After a crash the marks that are left tell which message may come twice (RFC 1047):
// of each batch the first one whose mark is left, for a session records each message before it
// begins the next. A mark's value: place in the batch:1, name of the batch.
func (s *session) mark(ctx context.Context, ref legRef, rest []legRef) error {
	if s.marked[ref.id] {
		return nil
	}
	batch, err := s.q.newID()
	if err != nil {
		return err
	}
	ctx = kv.Freeing(ctx)
	pairs := make([]kv.Pair, 0, len(rest))
	if s.marked == nil {
		s.marked = map[ID]bool{}
	}
	s.marked[ref.id] = true
	for i, r := range rest {
		value := append([]byte{byte(i + 1)}, batch...)
		pairs = append(pairs, kv.Pair{Key: r.s.markKey(r.id, s.d.name), Value: value})
		s.marked[r.id] = true
	}
	if len(pairs) > 0 {
		if err := s.q.o.DB.Stage(ctx, pairs...); err != nil {
			return err
		}
	}
	return s.q.update(ctx, ref.s, func(t *tx) error {
		return t.Set(t.s.markKey(ref.id, s.d.name), append([]byte{0}, batch...))
	})
}

// unmark takes back the marks of items that were not sent after all.
func (s *session) unmark(ctx context.Context, legs []legRef) {
	byShard := map[shard][]legRef{}
	for _, l := range legs {
		if s.marked[l.id] {
			byShard[l.s] = append(byShard[l.s], l)
			delete(s.marked, l.id)
		}
	}
	for sh, legs := range byShard {
		err := s.q.update(kv.Freeing(context.WithoutCancel(ctx)), sh, func(t *tx) error {
			for _, l := range legs {
				if err := t.Delete(t.s.markKey(l.id, s.d.name)); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			s.q.log.Error("marks not removed", "error", err)
		}
	}
}

// countMarks counts and removes the marks that an unclean end has left.
func (q *Queue) countMarks(ctx context.Context) error {
	first := map[string]ID{}
	place := map[string]byte{}
	for s := range q.eachShard() {
		prefix := s.prefix(markSub)
		err := q.o.DB.View(ctx, s.scope(), func(r kv.Reader) error {
			return r.Scan(kv.Prefix(prefix), func(key, value []byte) error {
				id, _, _ := bytes.Cut(key[len(prefix):], []byte{0})
				if len(value) == 0 {
					return fmt.Errorf("mark of %q: %w", id, kv.ErrCorrupt)
				}
				batch := string(value[1:])
				if _, ok := first[batch]; !ok || value[0] < place[batch] {
					first[batch], place[batch] = ID(id), value[0]
				}
				return nil
			})
		})
		if err != nil {
			return err
		}
	}
	for _, id := range first {
		metricDuplicates.WithLabelValues("crash").Inc()
		q.log.Warn("attempt was cut short: the message may be delivered twice", "id", id)
		q.o.Trace.Add(trace.Event{ID: string(id), Step: "deliver", Result: "unknown",
			Detail: "the server ended during the attempt; it is made again"})
	}
	return q.clearMarks(ctx)
}

func (q *Queue) clearMarks(ctx context.Context) error {
	for s := range q.eachShard() {
		prefix := s.prefix(markSub)
		err := q.o.DB.Update(kv.Freeing(ctx), s.scope(), func(txn kv.Txn) error {
			return txn.DeleteRange(prefix, kv.PrefixEnd(prefix))
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// diagnosis is what a recipient's last attempt said, for people and DSNs.
func (r *recipient) diagnosis() string {
	if r.reply.Code == 0 {
		return r.reply.Text()
	}
	return r.reply.String()
}

// statusOf returns the enhanced status of a reply, made up from its class if it has none.
func statusOf(r smtp.Reply) smtp.Enhanced {
	if r.Enhanced != (smtp.Enhanced{}) {
		return r.Enhanced
	}
	return smtp.Enhanced{r.Code / 100, 0, 0}
}

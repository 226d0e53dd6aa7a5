package queue

import (
	"bytes"
	"context"
	"errors"

	"tram/internal/kv"
	"tram/internal/message"
	"tram/internal/smtp"
)

// keepSize is how many items whose time has come are read at once.
const keepSize = 64

// keep does what time brings, beside deliveries: it tells senders of delays, gives up what is too
// old, and ends holds and deadlines that are set by the wall clock.
func (q *Queue) keep(ctx context.Context) {
	for ctx.Err() == nil {
		for s := range q.eachShard() {
			now := int64(q.time.Now())
			q.keepShard(ctx, s, warnSub, now)
			q.keepShard(ctx, s, endSub, now)
			q.keepShard(ctx, s, wallSub, q.o.Clock.Now().Unix())
		}
		q.keepSleep(ctx)
	}
}

// keepSleep waits until the next item's time comes, or a while.
func (q *Queue) keepSleep(ctx context.Context) {
	wait := tick
	for s := range q.eachShard() {
		for _, sub := range [...]byte{warnSub, endSub, wallSub} {
			keys, err := q.timed(ctx, s, s.prefix(sub), sub, never, 1)
			if err != nil || len(keys) == 0 {
				continue
			}
			left := keys[0].at.sub(q.time.Now())
			if sub == wallSub {
				left = fromUnix(int64(keys[0].at)).Sub(q.o.Clock.Now())
			}
			// One that is overdue is in somebody's hand, or has failed: it has time.
			if left > 0 {
				wait = min(wait, left)
			}
		}
	}
	timer := q.o.Clock.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C():
	case <-q.keepAlarm:
	case <-ctx.Done():
	}
}

// timedRef is an entry of a time index.
type timedRef struct {
	at  qtime // or wall seconds, in wallSub
	id  ID
	key []byte
}

// timed reads up to max entries of a time index from start on that are not after until.
func (q *Queue) timed(ctx context.Context, s shard, start []byte, sub byte, until qtime, max int) (
	refs []timedRef, err error) {
	rng := kv.Range{Start: start, End: kv.PrefixEnd(s.prefix(sub)), KeysOnly: true, Limit: max}
	err = q.o.DB.View(ctx, s.scope(), func(r kv.Reader) error {
		refs = nil
		return r.Scan(rng, func(key, _ []byte) error {
			at, id, err := parseTimed(key)
			if err == nil && qtime(at) > until {
				return kv.Stop
			}
			refs = append(refs, timedRef{qtime(at), ID(id), append([]byte(nil), key...)})
			return err
		})
	})
	return refs, err
}

// keepShard deals with the entries of a time index whose time has come, in windows. What a session
// has in hand is left for the next round.
func (q *Queue) keepShard(ctx context.Context, s shard, sub byte, now int64) {
	start := s.prefix(sub)
	for {
		refs, err := q.timed(ctx, s, start, sub, qtime(now), keepSize)
		if err != nil && ctx.Err() == nil {
			q.log.Error("queue shard not kept", "shard", s, "error", err)
		}
		for _, ref := range refs {
			if ctx.Err() != nil || !q.claim(ref.id) {
				continue
			}
			// One that cannot be dealt with does not keep the others from it.
			err := q.expire(ctx, s, sub, ref)
			q.unclaim(ref.id)
			if err != nil && !errors.Is(err, errChanged) && ctx.Err() == nil {
				q.log.Error("queue item not kept", "id", ref.id, "error", err)
			}
		}
		if err != nil || ctx.Err() != nil || len(refs) < keepSize {
			return
		}
		start = append(refs[len(refs)-1].key, 0)
	}
}

// expire deals with one entry of a time index.
func (q *Queue) expire(ctx context.Context, s shard, sub byte, ref timedRef) error {
	if err := q.concludeAll(ctx, s, ref.id); err != nil {
		return err
	}
	var rec *record
	err := q.o.DB.View(ctx, s.scope(), func(r kv.Reader) (err error) {
		rec, err = readItem(r, s, ref.id)
		return err
	})
	if err != nil && !errors.Is(err, ErrNotFound) {
		return err
	}
	switch {
	case rec == nil || string(ref.key) != string(q.timedKeyOf(s, sub, rec)):
		return q.mendTimed(ctx, s, ref)
	case sub == warnSub:
		return q.delayed(ctx, s, rec, true)
	case sub == endSub:
		return q.expired(ctx, s, rec)
	case rec.drop:
		return q.giveUp(ctx, s, rec, dropped, rec.dropTell)
	case !rec.holdUntil.IsZero():
		return q.releaseHold(ctx, s, rec)
	case rec.by.Return:
		return q.expired(ctx, s, rec)
	}
	return q.delayed(ctx, s, rec, false)
}

// timedKeyOf returns the entry that an item should have in a time index; nil for none.
func (q *Queue) timedKeyOf(s shard, sub byte, r *record) []byte {
	if sub == wallSub {
		if at := r.wallEvent(); at != 0 {
			return s.timedKey(wallSub, at, r.id)
		}
		return nil
	}
	if !r.parked() {
		return nil
	}
	return q.ageKey(s, r)
}

// mendTimed replaces an entry that no item stands behind: a limit was changed in the configuration
// since it was made, or the item has gone.
func (q *Queue) mendTimed(ctx context.Context, s shard, ref timedRef) error {
	return q.update(kv.Freeing(ctx), s, func(t *tx) error {
		if err := t.Delete(ref.key); err != nil {
			return err
		}
		r, err := t.item(ref.id)
		if errors.Is(err, ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := t.wallTimer(r, true); err != nil || !r.parked() {
			return err
		}
		return t.timers(q, r, true)
	})
}

// delayed tells an item's sender that it waits, and does so once. The deadline of a DELIVERBY with
// notification is such an occasion too (RFC 2852 §4).
func (q *Queue) delayed(ctx context.Context, s shard, rec *record, age bool) error {
	ctx = kv.Freeing(ctx)
	status := smtp.Enhanced{4, 4, 7}
	var fates []fate
	for i := range rec.rcpts {
		if rcpt := rec.rcpts[i]; rcpt.state == waiting {
			q.explain(ctx, s, rec, &rcpt)
			fates = append(fates, fate{rcpt, message.ActionDelayed, status})
		}
	}
	n, err := q.compose(ctx, rec, fates)
	if err != nil {
		return err
	}
	var notices []notice
	if n != nil {
		notices = append(notices, *n)
	}
	err = q.change(ctx, s, rec, notices, func(t *tx, r *record) error {
		if err := t.wallTimer(r, false); err != nil {
			return err
		}
		if err := t.timers(q, r, false); err != nil {
			return err
		}
		if age {
			r.warned = true
		} else {
			r.byDone = true
		}
		if err := t.timers(q, r, true); err != nil {
			return err
		}
		if err := t.wallTimer(r, true); err != nil {
			return err
		}
		return t.put(r)
	})
	if err == nil {
		q.log.Info("delayed", "id", rec.id, "from", rec.from.Path(), "recipients", len(fates))
	}
	return err
}

// errChanged says that an item is not any more what was to be changed.
var errChanged = errors.New("item has changed meanwhile")

// change runs fn on an item in a transaction that also queues notices. They tell of the item as it
// was when rec was read: if it is another now, nothing is done, and the error is errChanged. An item
// that is gone is no error; its notices go too.
func (q *Queue) change(ctx context.Context, s shard, rec *record, notices []notice,
	fn func(*tx, *record) error) error {
	was := rec.appendBinary(nil)
	gone := false
	err := q.update(ctx, s, func(t *tx) error {
		r, err := t.item(rec.id)
		if gone = errors.Is(err, ErrNotFound); gone {
			return nil
		}
		if err != nil {
			return err
		}
		if !bytes.Equal(was, r.appendBinary(nil)) {
			return errChanged
		}
		if err := fn(t, r); err != nil {
			return err
		}
		return t.insertNotices(q, notices)
	})
	if err != nil || gone {
		discard(notices)
		return err
	}
	q.told(s, notices)
	return nil
}

// explain gives a recipient that was never asked about by itself the reason why: its destination's.
func (q *Queue) explain(ctx context.Context, s shard, rec *record, rcpt *recipient) {
	dest := rec.legs[rcpt.leg].dest
	err := q.o.DB.View(ctx, s.scope(), func(r kv.Reader) error {
		b, err := r.Get(s.destKey(dest))
		if err != nil {
			return err
		}
		row, err := decodeDest(b)
		if err == nil && row.fails > 0 && row.last != "" {
			rcpt.reply = smtp.Reply{Lines: []string{row.last}}
			rcpt.host = ""
		}
		return err
	})
	if err != nil && !errors.Is(err, kv.ErrNotFound) {
		q.log.Error("destination not read", "destination", dest, "error", err)
	}
}

// expired gives up on whom an item still waits for. RFC 3463 §3.5: X.4.7, delivery time expired.
func (q *Queue) expired(ctx context.Context, s shard, rec *record) error {
	reply := smtp.NewReply(550, smtp.Enhanced{5, 4, 7}, "Delivery time expired")
	return q.giveUp(ctx, s, rec, reply, true)
}

// giveUp fails every waiting recipient of an item with a reply of ours, and what is known of the
// reason, and removes the item.
func (q *Queue) giveUp(ctx context.Context, s shard, rec *record, reply smtp.Reply, notify bool) error {
	ctx = kv.Freeing(ctx)
	var fates []fate
	var outs []outcome
	for i := range rec.rcpts {
		rcpt := rec.rcpts[i]
		if rcpt.state != waiting {
			continue
		}
		q.explain(ctx, s, rec, &rcpt)
		if why := rcpt.diagnosis(); why != "" {
			rcpt.reply.Lines = []string{clip(reply.Text()+"; last: "+why, maxReplyText)}
		} else {
			rcpt.reply.Lines = reply.Lines
		}
		rcpt.reply.Code, rcpt.reply.Enhanced = reply.Code, reply.Enhanced
		fates = append(fates, fate{rcpt, message.ActionFailed, reply.Enhanced})
		outs = append(outs, outcome{k: i, reply: rcpt.reply, host: rcpt.host})
	}
	var notices []notice
	if notify {
		n, err := q.compose(ctx, rec, fates)
		if err != nil {
			return err
		}
		if n != nil {
			notices = append(notices, *n)
		}
	}
	var after *record
	err := q.change(ctx, s, rec, notices, func(t *tx, r *record) error {
		was := append([]leg(nil), r.legs...)
		for _, o := range outs {
			if rcpt := &r.rcpts[o.k]; rcpt.state == waiting {
				rcpt.state, rcpt.reply = failed, o.reply
			}
		}
		after = r
		return q.rewrite(t, r, was)
	})
	if err == nil && after != nil {
		q.tell(after, outs)
	}
	return err
}

// releaseHold lets an item go whose hold was until now.
func (q *Queue) releaseHold(ctx context.Context, s shard, rec *record) error {
	return q.setHold(ctx, s, rec.id, func(r *record) {
		r.holdUntil = fromUnix(0)
		if !r.held {
			r.reason = ""
		}
	})
}

// setHold changes whether an item is held, and everything that depends on it.
func (q *Queue) setHold(ctx context.Context, s shard, id ID, set func(*record)) error {
	var after *record
	var was bool
	err := q.update(kv.Freeing(ctx), s, func(t *tx) error {
		r, err := t.item(id)
		if err != nil {
			return err
		}
		after, was = r, r.parked()
		if err := t.wallTimer(r, false); err != nil {
			return err
		}
		if was {
			if err := t.parkAll(q, r, false); err != nil {
				return err
			}
		}
		set(r)
		if r.parked() && !was {
			r.started = t.now
			for i := range r.legs {
				r.legs[i].due = t.now
			}
		}
		if r.parked() {
			if err := t.parkAll(q, r, true); err != nil {
				return err
			}
		}
		if err := t.wallTimer(r, true); err != nil {
			return err
		}
		if err := t.moveTally(was, r.parked()); err != nil {
			return err
		}
		return t.put(r)
	})
	if err != nil {
		return err
	}
	q.holdChanged(after, was)
	return nil
}

// moveTally counts an item as waiting rather than held, or the other way round.
func (t *tx) moveTally(was, is bool) error {
	switch {
	case was && !is:
		return t.tally(-1, 1)
	case is && !was:
		return t.tally(1, -1)
	}
	return nil
}

// holdChanged tells the world and the engine.
func (q *Queue) holdChanged(r *record, was bool) {
	switch is := r.parked(); {
	case was && !is:
		metricWaiting.Dec()
		metricHeld.Inc()
		q.log.Info("held", "id", r.id, "reason", r.reason)
	case is && !was:
		metricWaiting.Inc()
		metricHeld.Dec()
		q.log.Info("released", "id", r.id)
		for i := range r.legs {
			if !r.legs[i].done {
				q.hint(r.legs[i].dest, r.prio)
			}
		}
	}
	q.keepAlarm.ring()
}

package queue

import (
	"context"
	"errors"
	"time"

	"tram/internal/smtp"
)

// perTransaction is how many recipients a transaction has at most: what every server takes
// (RFC 5321 §4.5.3.1.8).
const perTransaction = 100

// transact brings an item to its recipients at the session's destination, in one transaction on the
// first host that will have it. again: there are more recipients, to be tried at once.
//
// The error is permanent (none of the recipients can be reached this way), a destFailure (the
// destination is down, the item untouched), or the context's.
func (s *session) transact(ctx context.Context, ref legRef, rest []legRef, rec *record, i int) (
	outs []outcome, again bool, err error) {
	var busy *outcome // what a host said that would rather be asked later
	moved := false    // another host was chosen for this message's sake
	for {
		if err := s.connected(ctx); err != nil {
			if busy != nil && errors.As(err, new(*destFailure)) {
				return allOf(rec, i, busy.reply, busy.host), false, nil
			}
			return nil, false, err
		}
		job, err := s.newJob(ctx, rec, i)
		if err != nil {
			return unreadable(ctx, rec, i, err)
		}
		if job.wrongHost != nil {
			job.close()
			if moved = true; s.more() && s.nextHost(ctx) == nil {
				continue
			}
			if ctx.Err() != nil {
				return nil, false, context.Cause(ctx)
			}
			o := s.wrong(job, busy)
			s.restart(ctx)
			return append(job.outs, job.all(o.reply, o.host)...), job.left > 0 && !o.reply.Temporary(), nil
		}
		if len(job.mail.Recipients) == 0 {
			job.close()
			return job.outs, job.left > 0, nil
		}
		if err := s.mark(ctx, ref, rest); err != nil {
			job.close()
			return nil, false, err
		}
		fresh := s.used == 0
		s.used++
		res, err := s.c.Send(ctx, job.mail, job.body)
		job.close()
		switch s.judge(ctx, res, err, fresh) {
		case stale: // the connection had died of old age
			s.restart(ctx)
			continue
		case elsewhere:
			o := s.firstWord(res, err)
			busy = &o
			if s.nextHost(ctx) != nil {
				return append(job.outs, job.all(o.reply, o.host)...), false, nil
			}
			continue
		case down:
			return nil, false, s.asDown(res, err)
		}
		if ctx.Err() != nil && err != nil && !res.Unknown && res.Stage != smtp.StageDone {
			return nil, false, context.Cause(ctx) // broken off by us: as if it had not been
		}
		outs, again = s.outcomes(job, res, err)
		if moved {
			s.restart(ctx) // others have no reason to prefer this host
		}
		return append(job.outs, outs...), again || job.left > 0, nil
	}
}

// unreadable tries an item later whose message cannot be read now. That is not the destination's
// fault, so it is the item that waits.
func unreadable(ctx context.Context, rec *record, i int, err error) ([]outcome, bool, error) {
	if ctx.Err() != nil {
		return nil, false, context.Cause(ctx)
	}
	if errors.As(err, new(permanent)) {
		return nil, false, err
	}
	return allOf(rec, i, ownReply(451, smtp.Enhanced{4, 3, 0}, err), ""), false, nil
}

// What to do after a transaction.
type advice int

const (
	conclude  advice = iota // it says something about each recipient
	stale                   // it says nothing: the connection was gone before
	elsewhere               // another host may be readier
	down                    // nobody here is ready for anything
)

// judge decides that. A message that may have been delivered is never sent elsewhere at once.
func (s *session) judge(ctx context.Context, res smtp.Result, err error, fresh bool) advice {
	if res.Unknown || res.Stage != smtp.StageMail || errors.Is(err, smtp.ErrBody) || ctx.Err() != nil {
		return conclude
	}
	code := res.Replies[0].Code
	switch {
	case code == 0 && err != nil && s.c.Err() == nil:
		return conclude // nothing was sent: it is the message that does not do
	case code == 0 && err != nil && !fresh:
		return stale
	case (code == 0 && err != nil || code/100 == 4) && s.more():
		return elsewhere
	case code == 0 && err != nil || code == 421:
		return down
	case code/100 == 4 && s.q.refusedAtMail(s.d):
		return down
	}
	return conclude
}

// wrong is what becomes of a message that no host which can be reached may have, for what it
// requires: RFC 8689 §4.2.1. It waits if there is one that cannot be reached just now.
func (s *session) wrong(job *job, busy *outcome) outcome {
	switch {
	case busy != nil:
		return *busy
	case s.missed != nil && !errors.As(s.missed, new(permanent)):
		o := outcome{reply: ownReply(451, job.wrongHost.Enhanced, s.missed)}
		o.reply.Enhanced[0] = 4
		return o
	}
	return outcome{reply: *job.wrongHost}
}

// firstWord is what a host answered to MAIL, as an outcome.
func (s *session) firstWord(res smtp.Result, err error) outcome {
	o := outcome{reply: res.Replies[0], host: s.host.name}
	if o.reply.Code == 0 {
		o.reply = ownReply(451, smtp.Enhanced{4, 4, 2}, err)
	}
	return o
}

func (s *session) asDown(res smtp.Result, err error) error {
	if res.Replies[0].Code != 0 {
		err = res.Replies[0]
	}
	return &destFailure{err: err, host: s.host.name}
}

// restart closes the connection. The next one begins with the most preferred host, and asks the DNS
// again which that is: a session may go on for hours.
func (s *session) restart(ctx context.Context) {
	s.hangUp(ctx)
	s.next, s.way, s.missed = 0, nil, nil
}

// outcomes reads the result of a transaction, recipient by recipient.
func (s *session) outcomes(job *job, res smtp.Result, err error) (outs []outcome, again bool) {
	took := res.Stage == smtp.StageDone
	if took {
		s.q.succeeded(s.d)
	}
	if res.Unknown {
		metricDuplicates.WithLabelValues("connection").Inc()
	}
	e := s.c.Extensions()
	for n, k := range job.index {
		o := outcome{k: k, reply: res.Replies[n], host: s.host.name,
			relayed: !e.DSN, untimed: !e.DeliverBy, over: s.secrecy()}
		switch {
		case o.reply.Code == 0 && err != nil:
			o.reply = ownReply(451, smtp.Enhanced{4, 4, 2}, err)
			o.host = ""
		case o.reply.Code == 0:
			o.reply = smtp.NewReply(451, smtp.Enhanced{4, 5, 0}, "No answer")
		case o.reply.Code == 452 && took && isTooMany(o.reply):
			// RFC 5321 §4.5.3.1.10: the rest may go in another transaction, at once.
			again = true
			continue
		}
		outs = append(outs, o)
	}
	return outs, again
}

// isTooMany tells "too many recipients" from "mailbox full", which some servers answer alike: only
// the status 4.5.3, or none at all, means that the next transaction may have them.
func isTooMany(r smtp.Reply) bool {
	return r.Enhanced == (smtp.Enhanced{4, 5, 3}) || r.Enhanced == (smtp.Enhanced{})
}

// remaining is what is left of a DELIVERBY time, for the next server.
func (r *record) remaining(now time.Time) smtp.By {
	if !r.bySet {
		return smtp.By{}
	}
	left := r.by.Deadline.Sub(now).Truncate(time.Second)
	return smtp.By{Set: true, Time: left, Return: r.by.Return, Trace: r.by.Trace}
}

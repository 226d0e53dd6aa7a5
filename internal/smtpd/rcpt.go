package smtpd

import (
	"context"

	"tram/internal/deliver"
	"tram/internal/envelope"
	"tram/internal/smtp"
	"tram/internal/trace"
)

// rcpt is RCPT, RFC 5321 §4.1.1.3. Everything that can be known of a recipient is found out here:
// what is refused now needs no bounce later.
func (x *session) rcpt(ctx context.Context, args string) {
	if x.tx == nil || x.tx.begun() {
		x.fail(ctx, 503, smtp.Enhanced{5, 5, 1}, "Not in this place")
		return
	}
	to, p, err := smtp.ParseRcpt(args)
	if err != nil {
		x.failWith(ctx, refusal(err))
		return
	}
	if to.Domain == "" {
		// <Postmaster>, RFC 5321 §4.5.1. Domains come and go while the server runs.
		if to.Domain, err = x.o.Directory.OwnDomain(ctx, x.o.Hostname); err != nil {
			x.failWith(ctx, deliver.ReplyOf(err))
			return
		}
	}
	if r := x.refuseRcpt(ctx, to); r.Code != 0 {
		x.m.rcptRefused.Inc()
		x.traceRcpt(to, r)
		x.refusedRcpt(ctx, r)
		return
	}
	x.m.rcptTaken.Inc()
	x.tx.env.Recipients = append(x.tx.env.Recipients, envelope.Recipient{
		Address: to, Notify: envelope.Notify(p.Notify), ORCPT: p.ORCPT,
	})
	x.say(250, smtp.Enhanced{2, 1, 5}, "Ok")
}

// refuseRcpt says why a recipient is not taken; a reply without Code: he is.
func (x *session) refuseRcpt(ctx context.Context, to smtp.Address) smtp.Reply {
	switch {
	case to.NeedsUTF8() && !x.tx.env.UTF8:
		return smtp.NewReply(553, smtp.Enhanced{5, 6, 7}, "Address needs SMTPUTF8")
	case len(x.tx.env.Recipients) >= x.maxRecipients():
		return smtp.NewReply(452, smtp.Enhanced{4, 5, 3}, "Too many recipients")
	case smtp.IsReturnAddress(to.Local) && !x.tx.env.From.IsNull() && x.o.Directory.IsLocal(to.Domain):
		return smtp.NewReply(550, smtp.Enhanced{5, 7, 1}, "Only notices of failed delivery may go to this address")
	case x.o.Directory.IsLocal(to.Domain):
		if r := x.o.Deliver.CheckRecipient(ctx, to, x.tx.size); r.Code != 0 {
			return r
		}
		return x.takeReturn(to)
	case x.account.ID == 0:
		return smtp.NewReply(550, smtp.Enhanced{5, 7, 1}, "Relaying denied")
	default:
		return x.refuseOutside(ctx, to)
	}
}

func (s *Server) maxRecipients() int {
	if s.o.Mode == MX {
		return s.o.Limits.SMTP.Recipients
	}
	return s.o.Limits.SMTP.SubmitRecipients
}

// refusedRcpt answers, and ends a session that tries out addresses. A person's mistyped addresses do
// not count: he has logged in.
func (x *session) refusedRcpt(ctx context.Context, r smtp.Reply) {
	if r.Permanent() && x.o.Mode == MX {
		x.badRcpt++
		if limit := x.o.Limits.SMTP.InvalidRcpt; limit > 0 && x.badRcpt > limit {
			x.abuse("harvesting", 421, "Too many unknown recipients")
			return
		}
	}
	x.sayReply(r)
}

func (x *session) traceRcpt(to smtp.Address, r smtp.Reply) {
	result := "refused"
	if r.Temporary() {
		result = "deferred"
	}
	x.o.Trace.Add(trace.Event{
		ID: x.tx.env.ID, Step: "recipient", From: x.tx.env.From.Path(), To: to.String(),
		Remote: x.remote(), Result: result, Code: r.Code, Detail: r.Text(),
	})
}

// remote is the client's address for logs and traces.
func (x *session) remote() string {
	if a := x.c.Remote(); a.IsValid() {
		return a.Addr().String()
	}
	return "local"
}

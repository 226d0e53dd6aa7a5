package smtpd

import (
	"cmp"
	"context"

	"tram/internal/clock"
	"tram/internal/deliver"
	"tram/internal/envelope"
	"tram/internal/smtp"
	"tram/internal/spam/sign"
)

// slowDown decides, once in a session, whether its client is one of those that are made to wait: so
// many bad messages came from its address that each costs it time, and us a sleeping session.
func (x *session) slowDown(ctx context.Context) {
	if x.o.Judge == nil || x.o.Mode != MX || x.release != nil {
		return
	}
	x.delay, x.release = x.o.Judge.Tarpit(ctx, x.c.Remote().Addr())
}

// dawdle is what such a client waits before a reply.
func (x *session) dawdle(ctx context.Context) {
	if x.delay > 0 {
		// If the server stops meanwhile the reply comes early.
		_ = clock.Sleep(ctx, x.o.Clock, x.delay)
	}
}

// refuseOutside says why mail of our own people for an address elsewhere is not taken; a reply without
// Code: it is.
func (x *session) refuseOutside(ctx context.Context, to smtp.Address) smtp.Reply {
	if x.o.Judge != nil && x.o.Mode == Submission {
		if r := x.o.Judge.CheckOutgoing(ctx, to); r.Code != 0 {
			return r
		}
	}
	return x.o.Deliver.CheckRoom()
}

// judge looks at what one of our people sends. What looks like the work of a thief of his password is
// taken, and held for an administrator. found are the signs of the filters outside this server.
func (x *session) judge(ctx context.Context, env *envelope.Envelope, found []sign.Sign) smtp.Reply {
	if x.o.Judge == nil {
		return smtp.Reply{}
	}
	body := env.Body.Open(ctx)
	defer body.Close()
	reason, err := x.o.Judge.Outgoing(ctx, env, body, found)
	if err != nil {
		x.log().Error("submission not judged", "id", env.ID, "error", err)
		return deliver.ReplyOf(err)
	}
	env.HoldReason = cmp.Or(env.HoldReason, reason)
	return smtp.Reply{}
}

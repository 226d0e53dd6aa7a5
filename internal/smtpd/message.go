package smtpd

import (
	"context"
	"log/slog"
	"time"

	"tram/internal/deliver"
	"tram/internal/envelope"
	"tram/internal/smtp"
	"tram/internal/trace"
)

// commitTime bounds the work between the final dot and its reply. Senders wait for ten minutes (RFC
// 5321 §4.5.3.2.6); a server that takes that long has trouble that waiting does not mend.
const commitTime = time.Minute

// maxUnseen bounds the deliveries that wait for proof in a session that never stops talking. The
// protection of the others ends by itself, after limits.Storage.Dedupe.
const maxUnseen = 1000

// complete takes a message that was read to its end, or refuses it, and ends the transaction.
// broken, with a Code, is what was wrong with it on the way.
func (x *session) complete(ctx context.Context, broken smtp.Reply) {
	ctx, cancel := context.WithTimeout(ctx, commitTime)
	defer cancel()
	defer x.reset()
	if broken.Code == 0 {
		broken = x.finish(ctx)
	}
	env := x.tx.env
	if broken.Code != 0 {
		for range x.repliesOwed() {
			x.sayReply(broken)
		}
		x.record(env, broken)
		return
	}
	switch x.o.Mode {
	case LMTP:
		// RFC 2033 §4.2: a reply for each recipient that was taken, in their order.
		for _, out := range x.o.Deliver.Deliver(ctx, env) {
			x.outcome(env, out)
		}
	case Submission:
		x.outcome(env, x.submit(ctx, env))
	default:
		x.outcome(env, x.o.Deliver.DeliverAll(ctx, env))
	}
}

// repliesOwed is the number of replies to one message.
func (x *session) repliesOwed() int {
	if x.o.Mode == LMTP {
		return len(x.tx.env.Recipients)
	}
	return 1
}

// finish ends the body and says what is wrong with the message; a reply without Code: nothing.
func (x *session) finish(ctx context.Context) smtp.Reply {
	body := x.tx.body
	x.tx.body = nil
	if err := body.Finish(); err != nil {
		reply := deliver.ReplyOf(err)
		if reply.Temporary() {
			x.log().Error("message not stored", "id", x.tx.env.ID, "error", err)
		}
		return reply
	}
	env := x.tx.env
	m := env.Message
	switch {
	case m.NUL && !env.Binary:
		return smtp.NewReply(550, smtp.Enhanced{5, 6, 0}, "Message holds NUL octets")
	case (m.BareCR || m.BareLF) && !env.Binary:
		return replyBareEnds // by BDAT: DATA has been checked
	}
	env.EightBit = env.EightBit || m.EightBit
	if x.o.Mode == Submission {
		if r := x.refuseSubmission(ctx, env); r.Code != 0 {
			return r
		}
		// The filters first: what they refuse, a virus above all, is not counted among what somebody sends,
		// and what they find is weighed with the rest.
		found, r := x.o.Deliver.Screen(ctx, env)
		if r.Code != 0 {
			return r
		}
		return x.judge(ctx, env, found)
	}
	return smtp.Reply{}
}

// submit hands a submission to the queue.
func (x *session) submit(ctx context.Context, env *envelope.Envelope) envelope.Outcome {
	if err := x.o.Queue.Forward(ctx, env); err != nil {
		reply := deliver.ReplyOf(err)
		if !reply.Permanent() {
			x.log().Error("message not queued", "id", env.ID, "error", err)
		}
		return envelope.Outcome{Reply: reply}
	}
	return envelope.Outcome{
		Reply: smtp.NewReply(250, smtp.Enhanced{2, 0, 0}, "Ok: queued as "+env.ID),
	}
}

// outcome tells the client what became of its message.
func (x *session) outcome(env *envelope.Envelope, out envelope.Outcome) {
	if out.OK() {
		x.accepted++
		x.tx.taken = true
		x.c.Good()
		x.m.bytes.Add(float64(env.Message.Size))
		if out.Confirm != nil && len(x.unseen) < maxUnseen {
			x.unseen = append(x.unseen, out.Confirm)
			x.provable = false
		}
	}
	x.sayReply(out.Reply)
	x.record(env, out.Reply)
}

// record tells log, metrics and trace: one event for each outcome.
func (x *session) record(env *envelope.Envelope, r smtp.Reply) {
	result, event, count := "accepted", "message accepted", x.m.accepted
	switch {
	case r.Temporary():
		result, event, count = "deferred", "message deferred", x.m.deferred
	case r.Permanent():
		result, event, count = "refused", "message refused", x.m.refused
	}
	count.Inc()
	x.traceMessage("received", result, r.Code, r.Text())
	size, id := int64(0), ""
	if m := env.Message; m != nil {
		size, id = m.Size, m.MessageID
	}
	x.o.Logger.LogAttrs(context.Background(), slog.LevelInfo, event,
		slog.String("id", env.ID), slog.String("mode", string(x.o.Mode)),
		slog.String("remote", x.remote()), slog.String("helo", x.helo),
		slog.String("account", x.account.Address.String()),
		slog.String("from", env.From.Path()), slog.Int("recipients", len(env.Recipients)),
		slog.String("message_id", id), slog.Int64("size", size),
		slog.String("tls", env.Client.TLS), slog.String("reply", r.String()))
}

func (x *session) traceMessage(step, result string, code int, detail string) {
	if x.o.Trace == nil {
		return
	}
	env := x.tx.env
	e := trace.Event{
		ID: env.ID, Step: step, From: env.From.Path(), Remote: x.remote(), Result: result,
		Code: code, Detail: detail,
	}
	if env.Message != nil {
		e.MessageID = env.Message.MessageID
	}
	if len(env.Recipients) == 1 {
		e.To = env.Recipients[0].Address.String()
	}
	x.o.Trace.Add(e)
}

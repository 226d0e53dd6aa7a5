package deliver

import (
	"cmp"
	"context"
	"fmt"
	"strings"

	"tram/internal/envelope"
	"tram/internal/scan"
	"tram/internal/smtp"
	"tram/internal/spam/sign"
	"tram/internal/trace"
)

// scan asks the filters outside this server, once for all recipients. What they say of the message goes
// to the steps that judge it; what they refuse is refused in the session.
func (r *delivery) scan(ctx context.Context) (smtp.Reply, error) {
	if r.o.Scan == nil || !atDoor(r.env) {
		return smtp.Reply{}, nil
	}
	f := r.o.Scan.Scan(ctx, r.env)
	r.verdict.Signs = append(r.verdict.Signs, f.Signs...)
	r.verdict.Reasons = append(r.verdict.Reasons, f.Reasons...)
	r.heldBy = f.Hold
	for _, field := range f.Fields {
		r.addTop(field)
	}
	r.tellScan(r.env, f)
	return f.Refuse, nil
}

// atDoor reports whether somebody hands env over just now. What comes out of the queue has no client: it
// was scanned before it went in, and is not refused to somebody who has gone.
func atDoor(env *envelope.Envelope) bool {
	return (env.Origin == envelope.Inbound || env.Origin == envelope.LMTP) && env.Client.HELO != ""
}

// heed marks all deliveries of a message that a filter wants held.
func (r *delivery) heed(context.Context) (smtp.Reply, error) {
	if r.heldBy == "" {
		return smtp.Reply{}, nil
	}
	for _, l := range r.legs {
		l.verdict.Quarantine = true
	}
	return smtp.Reply{}, nil
}

// Screen asks the filters outside this server about a submission, before the queue takes it: the person
// who sends a virus, or whose program does, hears so at once. A reply with a Code is what he is told.
// The signs are for who judges it next. The body of env may be replaced, by one with the fields on top
// that the filters add.
func (d *Deliverer) Screen(ctx context.Context, env *envelope.Envelope) ([]sign.Sign, smtp.Reply) {
	if d.o.Scan == nil {
		return nil, smtp.Reply{}
	}
	f := d.o.Scan.Scan(ctx, env)
	d.tellScan(env, f)
	if f.Refuse.Code != 0 {
		return f.Signs, f.Refuse
	}
	env.HoldReason = cmp.Or(env.HoldReason, f.Hold)
	if err := d.addFields(ctx, env, f.Fields); err != nil {
		d.o.Logger.Error("filter's fields not added", "id", env.ID, "error", err)
		return f.Signs, ReplyOf(err)
	}
	return f.Signs, smtp.Reply{}
}

// addFields puts fields on top of a message that is in hand, below its Return-Path field.
func (d *Deliverer) addFields(ctx context.Context, env *envelope.Envelope, fields []string) error {
	if len(fields) == 0 {
		return nil
	}
	r := &delivery{Deliverer: d, env: env}
	top := append(appendReturnPath(nil, env), strings.Join(fields, "")...)
	made, err := r.remake(ctx, top)
	if err != nil {
		return fmt.Errorf("add fields: %w", err)
	}
	env.Body.Discard()
	env.Body, env.Message = made.body, made.message
	return nil
}

// tellScan adds what the filters said to the message's trace.
func (d *Deliverer) tellScan(env *envelope.Envelope, f scan.Finding) {
	if d.o.Trace == nil {
		return
	}
	result := "accepted"
	switch {
	case f.Refuse.Temporary():
		result = "deferred"
	case f.Refuse.Permanent():
		result = "refused"
	case f.Hold != "":
		result = "held"
	}
	e := trace.Event{
		ID: env.ID, Step: "scan", MessageID: messageID(env), From: env.From.Path(), Result: result,
		Code: f.Refuse.Code, Detail: strings.Join(f.Reasons, "; "),
	}
	if env.Client.Addr.IsValid() {
		e.Remote = env.Client.Addr.String()
	}
	d.o.Trace.Add(e)
}

package deliver

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"

	"tram/internal/blob"
	"tram/internal/directory"
	"tram/internal/envelope"
	"tram/internal/message"
	"tram/internal/smtp"
)

var errNoForwarder = errors.New("mail for elsewhere is not configured")

// bound is a body that was made for a forward, with its parse.
type bound struct {
	body    *blob.Pending
	message *message.Message
}

// forward hands what leads elsewhere to the queue: one message for each recipient of ours that
// leads there, since each says in a Delivered-To field that it passed here, which is how a loop is
// found when it comes back. A DSN for a forward that fails is owed to the sender, as he wished (RFC
// 3461 §5.2.1): the address elsewhere cannot be asked at RCPT.
func (r *delivery) forward(ctx context.Context) (smtp.Reply, error) {
	for i := range r.env.Recipients {
		var legs []*leg
		for _, l := range r.legs {
			if l.account == 0 && l.by == i && l.reply.Code == 0 {
				legs = append(legs, l)
			}
		}
		if len(legs) == 0 {
			continue
		}
		err := r.forwardFrom(ctx, i, legs)
		if err != nil {
			r.o.Logger.Error("message not forwarded", "id", r.env.ID, "error", err)
		}
		for _, l := range legs {
			if l.reply, l.handed = r.ok, l.to; err != nil {
				l.reply = ReplyOf(err)
			}
			r.tell("forwarded", l.to, l.reply, "by "+r.env.Recipients[i].Address.String())
		}
	}
	return smtp.Reply{}, nil
}

func (r *delivery) forwardFrom(ctx context.Context, by int, legs []*leg) error {
	if r.o.Forwarder == nil {
		return errNoForwarder
	}
	via := r.env.Recipients[by].Address
	top := "Delivered-To: " + via.String() + "\r\n"
	made, err := r.remake(ctx, []byte(r.seal(ctx, via, top)+top))
	if err != nil {
		return fmt.Errorf("forward: %w", err)
	}
	out := r.handOver(".f")
	out.From = r.forwardedFrom(via)
	out.Origin, out.Body, out.Message = envelope.Forward, made.body, made.message
	out.HoldReason = r.heldBy
	for _, l := range legs {
		orcpt := r.env.Recipients[by].ORCPT
		if orcpt == "" {
			orcpt = "rfc822;" + via.String() // RFC 3461 §5.2.1: the address the sender knows
		}
		out.Recipients = append(out.Recipients, envelope.Recipient{
			Address: l.to, Notify: r.env.Recipients[by].Notify, ORCPT: orcpt,
		})
	}
	return r.o.Forwarder.HandOver(ctx, out)
}

// handOver returns env for the queue, without recipients: ".f" for forwards, ".w" for what waits.
func (r *delivery) handOver(suffix string) *envelope.Envelope {
	out := *r.env
	out.Recipients = nil
	out.ID = r.env.ID + suffix
	out.Known = r.verdict.Authenticated && r.env.Origin == envelope.Inbound
	out.ContentHash = contentOf(r.env)
	out.Handing = envelope.Handing{Key: r.handing(), For: r.o.Limits.Storage.Dedupe}
	return &out
}

// handing is the key of what this delivery hands to the queue: that of the message. What an item of the
// queue hands over is another message than the one that the item was made of, and the same one when
// the item is delivered again.
func (r *delivery) handing() (key [16]byte) {
	copy(key[:], r.key)
	if r.env.Queued {
		sum := sha256.Sum256(append(key[:], r.env.ID...))
		copy(key[:], sum[:])
	}
	return key
}

// recognise finds the legs that the queue has taken over already, in an earlier delivery of the message
// whose reply may have been lost. They are not delivered again, even if that would now be done otherwise:
// there may be room by now in a mailbox that was full.
func (r *delivery) recognise(ctx context.Context) (smtp.Reply, error) {
	if r.o.Forwarder == nil {
		return smtp.Reply{}, nil
	}
	handed, err := r.o.Forwarder.HandedOver(ctx, r.env.Account, r.handing())
	if err != nil || len(handed) == 0 {
		return smtp.Reply{}, err
	}
	for _, l := range r.legs {
		if l.reply.Code != 0 || l.desk {
			continue
		}
		to := l.to
		if l.account != 0 {
			account, err := r.o.Directory.Account(ctx, directory.AccountID(l.account))
			if err != nil {
				return smtp.Reply{}, fmt.Errorf("find account %d: %w", l.account, err)
			}
			to = account.Address
		}
		if slices.Contains(handed, to.String()) {
			l.reply, l.duplicate, l.handed = r.ok, true, to
			r.tell("queued", to, l.reply, "which was done already")
		}
	}
	return smtp.Reply{}, nil
}

// postpone gives the queue the local deliveries that may succeed later, those that go to junk mail and
// those that do not, and all or none of them. The bytes are the same, so the body is not stored again.
func (r *delivery) postpone(ctx context.Context, legs []*leg) error {
	if r.o.Forwarder == nil {
		return errNoForwarder
	}
	var envs []*envelope.Envelope
	for _, junk := range []bool{false, true} {
		out, err := r.postponed(ctx, legs, junk)
		if err != nil {
			return err
		}
		if len(out.Recipients) > 0 {
			envs = append(envs, out)
		}
	}
	return r.o.Forwarder.HandOver(ctx, envs...)
}

// postponed is what the queue is given of those legs that go to junk mail, or do not.
func (r *delivery) postponed(ctx context.Context, legs []*leg, junk bool) (*envelope.Envelope, error) {
	out := r.handOver(".w")
	out.Junk = junk
	for _, l := range legs {
		if l.verdict.Junk != junk {
			continue
		}
		if l.account == 0 {
			return nil, fmt.Errorf("forward to %s: the queue has refused it already", l.to)
		}
		account, err := r.o.Directory.Account(ctx, directory.AccountID(l.account))
		if err != nil {
			return nil, fmt.Errorf("find account %d: %w", l.account, err)
		}
		l.handed = account.Address
		out.Recipients = append(out.Recipients, envelope.Recipient{
			Address: account.Address, Notify: r.notify(l.by), ORCPT: r.env.Recipients[l.by].ORCPT,
		})
	}
	return out, nil
}

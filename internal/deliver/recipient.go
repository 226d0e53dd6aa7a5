package deliver

import (
	"context"
	"errors"
	"slices"

	"tram/internal/directory"
	"tram/internal/envelope"
	"tram/internal/smtp"
	"tram/internal/store"
)

// CheckRecipient says whether mail of the announced size (0: unknown) for a recipient would be
// taken now. A Reply without Code means yes: what can be refused is refused at RCPT, in the
// session, and no bounce is owed afterwards.
func (d *Deliverer) CheckRecipient(ctx context.Context, to smtp.Address, size int64) smtp.Reply {
	if err := d.o.Full(); err != nil {
		return replyFull
	}
	if d.atDesk(to) {
		return smtp.Reply{}
	}
	res, err := d.o.Directory.Resolve(ctx, to)
	if err != nil {
		return d.unresolved(to, err)
	}
	if len(res.Remote) > 0 {
		return smtp.Reply{}
	}
	worst := replyNoUser
	for i, t := range res.Local {
		reply := d.checkRoom(ctx, store.AccountID(t.Account), size)
		if reply.Code == 0 {
			return reply // an alias is worth while when one target is
		}
		if i == 0 || reply.Temporary() {
			worst = reply
		}
	}
	return worst
}

// CheckRoom says whether storage takes anything at all: for MAIL. A Reply without Code means yes.
func (d *Deliverer) CheckRoom() smtp.Reply {
	if err := d.o.Full(); err != nil {
		return replyFull
	}
	return smtp.Reply{}
}

// checkRoom compares an account's usage with its quota.
func (d *Deliverer) checkRoom(ctx context.Context, id store.AccountID, size int64) smtp.Reply {
	usage, quota, err := d.o.Store.Account(id).Usage(ctx)
	if err != nil {
		d.o.Logger.Error("quota cannot be read", "account", id, "error", err)
		return ReplyOf(err)
	}
	return overQuota(usage, quota, size)
}

// overQuota tells a mailbox that is full for now from one that can never hold the message.
func overQuota(u store.Usage, q store.Quota, size int64) smtp.Reply {
	switch {
	case q.Bytes > 0 && size > q.Bytes:
		return replyTooLarge
	case q.Bytes > 0 && (u.Bytes >= q.Bytes || u.Bytes+size > q.Bytes),
		q.Messages > 0 && u.Messages >= q.Messages:
		return replyQuota
	default:
		return smtp.Reply{}
	}
}

// unresolved maps the directory's errors.
func (d *Deliverer) unresolved(to smtp.Address, err error) smtp.Reply {
	switch {
	case errors.Is(err, directory.ErrNotLocal):
		return replyRelay
	case errors.Is(err, directory.ErrNoUser):
		return replyNoUser
	case errors.Is(err, directory.ErrDisabled):
		return replyDisabled
	case errors.Is(err, directory.ErrLoop):
		return replyLoop
	default:
		d.o.Logger.Error("recipient cannot be resolved", "to", to.String(), "error", err)
		return replyTemporary
	}
}

// resolve turns recipients into legs: each account once, whichever of its addresses were named.
func (r *delivery) resolve(ctx context.Context) (smtp.Reply, error) {
	r.routes = make([]route, len(r.env.Recipients))
	for i := range r.env.Recipients {
		to := r.env.Recipients[i].Address
		res, err := r.o.Directory.Resolve(ctx, to)
		if errors.Is(err, directory.ErrNoUser) && r.atDesk(to) {
			r.addDesk(i)
			continue
		}
		if err == nil && res.Return && !r.env.From.IsNull() {
			err = directory.ErrNoUser
		}
		if err != nil {
			r.routes[i].reply = r.unresolved(to, err)
			r.tell("recipients", to, r.routes[i].reply, "")
			continue
		}
		for _, t := range res.Local {
			r.addAccount(i, store.AccountID(t.Account))
		}
		for _, remote := range res.Remote {
			r.addForward(i, remote)
		}
		r.addDesk(i)
	}
	return smtp.Reply{}, nil
}

func (r *delivery) addAccount(by int, id store.AccountID) {
	i := slices.IndexFunc(r.legs, func(l *leg) bool { return l.account == id })
	if i < 0 {
		r.legs = append(r.legs, &leg{account: id, by: by, verdict: r.verdict})
		i = len(r.legs) - 1
	}
	r.routes[by].legs = append(r.routes[by].legs, r.legs[i])
}

func (r *delivery) addForward(by int, to smtp.Address) {
	i := slices.IndexFunc(r.legs, func(l *leg) bool { return l.account == 0 && l.to == to })
	if i < 0 {
		l := &leg{to: to, by: by, verdict: r.verdict}
		if r.passedAlias(r.env.Recipients[by].Address) {
			l.reply = replyLoop
			r.tell("forwarded", to, l.reply, "")
		}
		r.legs = append(r.legs, l)
		i = len(r.legs) - 1
	}
	r.routes[by].legs = append(r.routes[by].legs, r.legs[i])
}

// notify is a recipient's wish for notices about a local delivery that waits: none, if they would
// go to a stranger.
func (r *delivery) notify(by int) envelope.Notify {
	if strangers(r.env, r.verdict) {
		return envelope.NotifyNever
	}
	return r.env.Recipients[by].Notify
}

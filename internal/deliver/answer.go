package deliver

import (
	"context"
	"slices"
	"strconv"

	"tram/internal/envelope"
	"tram/internal/smtp"
	"tram/internal/store"
)

// decision is what one reply for several deliveries comes to.
type decision int

const (
	takeAll  decision = iota // all are safe: 2xx
	refuse                   // none is: the sender keeps the message
	postpone                 // some are: the rest becomes ours too, then 2xx
)

// settle is the rule for several deliveries and one reply: the recipients of a DATA command, or the
// targets of one recipient's alias. reply is what the sender is told if the decision is refuse.
//
//	all safe                        2xx
//	none safe                       4xx if one of them may succeed later, else 5xx
//	some safe, others may be later  the others are queued here, then 2xx
//	some safe, others never         2xx; see below
//
// None safe, some temporary: the most hopeful reply wins, because the sender will come again for
// all of them, and each then gets what it deserves. Some safe: neither a 4xx nor a 5xx would be true
// for those who have the message; the sender would send it to them twice. So what may still succeed
// is taken into our own queue, durably, before the reply.
//
// Some safe, others never: what is refused for good at RCPT never gets this far, so here somebody
// was disabled within these seconds, or the message has outgrown a whole quota without its size
// having been announced. A bounce would go to a reverse-path that anybody can forge (P22), and a
// 5xx would tell the sender that nobody has what some have. The failure is told to the
// administrator, in log, trace and metric. Where the sender is known (the queue's own deliveries,
// LMTP) each recipient has a reply of its own and this case is a DSN or a reply.
func settle(replies []smtp.Reply) (decision, smtp.Reply) {
	var safe, later, never int
	var temporary, permanent smtp.Reply
	for _, r := range replies {
		switch {
		case r.OK():
			safe++
		case r.Permanent():
			if never++; never == 1 {
				permanent = r
			}
		default:
			if later++; later == 1 {
				temporary = r
			}
		}
	}
	switch {
	case safe == 0 && later > 0:
		return refuse, temporary
	case safe == 0 && never > 0:
		return refuse, permanent
	case later > 0:
		return postpone, temporary
	default:
		return takeAll, smtp.Reply{}
	}
}

// of returns the deliveries of one recipient.
func (r *delivery) of(i int) []route { return r.routes[i : i+1] }

// all returns those of all recipients.
func (r *delivery) all() []route { return r.routes }

// outcome applies the rule to the deliveries of some recipients.
func (r *delivery) outcome(ctx context.Context, routes []route) envelope.Outcome {
	legs, replies := gather(routes)
	decided, reply := settle(replies)
	if decided == postpone {
		var late []*leg
		for _, l := range legs {
			if l.reply.Temporary() {
				late = append(late, l)
			}
		}
		if err := r.postpone(ctx, late); err != nil {
			// The sender comes again; those who have the message are protected by their dedupe
			// rows for a while.
			r.o.Logger.Error("message not postponed", "id", r.env.ID, "error", err)
			return envelope.Outcome{Reply: reply}
		}
		for _, l := range late {
			r.tell("queued", r.env.Recipients[l.by].Address, r.ok, l.reply.Text())
			l.reply = r.ok
		}
	}
	if decided == refuse {
		return envelope.Outcome{Reply: reply}
	}
	return r.success(legs, replies)
}

// gather returns the legs of the routes, each once, and the replies of all.
func gather(routes []route) (legs []*leg, replies []smtp.Reply) {
	for _, route := range routes {
		if len(route.legs) == 0 {
			replies = append(replies, route.reply)
		}
		for _, l := range route.legs {
			if !slices.Contains(legs, l) {
				legs, replies = append(legs, l), append(replies, l.reply)
			}
		}
	}
	return legs, replies
}

// success is the outcome of deliveries of which some at least are safe.
func (r *delivery) success(legs []*leg, replies []smtp.Reply) envelope.Outcome {
	out := envelope.Outcome{Reply: r.ok, Duplicate: true}
	c := confirmation{Deliverer: r.Deliverer, trail: r.env.ID, key: r.key, sender: r.env.Account,
		handing: r.handing()}
	for _, l := range legs {
		if l.email != 0 {
			c.filed = append(c.filed, l.account)
			out.EmailIDs = append(out.EmailIDs, strconv.FormatUint(uint64(l.email), 10))
		}
		if l.handed != (smtp.Address{}) && l.reply.OK() {
			c.handed = append(c.handed, l.handed)
		}
		out.Duplicate = out.Duplicate && l.duplicate
	}
	for _, reply := range replies {
		if reply.Permanent() {
			unreported.Inc()
			r.o.Logger.Warn("message refused for one recipient after others had it",
				"id", r.env.ID, "reply", reply.String())
		}
	}
	if len(c.filed)+len(c.handed) > 0 {
		out.Confirm = c.confirm
	}
	return out
}

// confirmation is what ends the protection against repetitions, once the sender has seen the reply. It
// outlives the delivery, in sessions that may be idle for long, and holds nothing of the message.
type confirmation struct {
	*Deliverer
	trail   string
	key     []byte
	filed   []store.AccountID
	sender  uint64 // the account, or 0
	handing [16]byte
	handed  []smtp.Address
}

func (c *confirmation) confirm() {
	// The session that delivered may be over; the rows must go all the same.
	ctx := context.Background()
	for _, id := range c.filed {
		if err := c.o.Store.AckDedupe(ctx, id, c.key); err != nil {
			c.o.Logger.Warn("delivery stays protected against repetition",
				"id", c.trail, "account", id, "error", err)
		}
	}
	if len(c.handed) == 0 {
		return
	}
	if err := c.o.Forwarder.Seen(ctx, c.sender, c.handing, c.handed...); err != nil {
		c.o.Logger.Warn("message in the queue stays protected against repetition",
			"id", c.trail, "error", err)
	}
}

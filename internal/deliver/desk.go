package deliver

import (
	"context"

	"tram/internal/envelope"
	"tram/internal/smtp"
)

// Desk takes the mail that programs read: reports about our domains, whose addresses nobody needs to
// have. Whoever has such an address all the same gets the mail too.
type Desk interface {
	// Takes reports whether mail for an address of a domain of ours is read.
	Takes(to smtp.Address) bool
	// Take reads a message. When it returns nil, what the message says is durable. An error that is an
	// smtp.Reply is what the sender is told; with another he may try again.
	Take(ctx context.Context, env *envelope.Envelope) error
}

// atDesk reports whether mail for an address is for the desk.
func (d *Deliverer) atDesk(to smtp.Address) bool { return d.o.Desk != nil && d.o.Desk.Takes(to) }

// addDesk makes the desk one of the places that a recipient leads to; a message goes there once.
func (r *delivery) addDesk(by int) {
	to := r.env.Recipients[by].Address
	if !r.atDesk(to) {
		return
	}
	for _, l := range r.legs {
		if l.desk {
			r.routes[by].legs = append(r.routes[by].legs, l)
			return
		}
	}
	l := &leg{to: to, by: by, desk: true}
	r.legs = append(r.legs, l)
	r.routes[by].legs = append(r.routes[by].legs, l)
}

// read brings the message to the desk. It comes after filing: what the desk cannot make sense of is no
// failure for the sender when a person has it.
func (r *delivery) read(ctx context.Context) (smtp.Reply, error) {
	for _, l := range r.legs {
		if !l.desk || l.reply.Code != 0 {
			continue
		}
		l.reply = r.ok
		detail := "as a report"
		if err := r.o.Desk.Take(ctx, r.env); err != nil {
			if detail = err.Error(); !r.someoneHas(l) {
				l.reply = ReplyOf(err)
			}
		}
		r.tell("read", l.to, l.reply, detail)
	}
	return smtp.Reply{}, nil
}

// someoneHas reports whether one of the desk's recipients has, or will have, the message anyway.
func (r *delivery) someoneHas(desk *leg) bool {
	for _, route := range r.routes {
		if len(route.legs) < 2 || route.legs[len(route.legs)-1] != desk {
			continue
		}
		for _, l := range route.legs {
			if l != desk && !l.reply.Permanent() {
				return true
			}
		}
	}
	return false
}

package deliver

import (
	"bytes"
	"context"
	"strings"

	"tram/internal/message"
	"tram/internal/smtp"
)

// checkLoops refuses a message that has travelled too far, RFC 5321 §6.3, or that has passed this
// server too often: two servers that forward to each other are found in half the time.
func (r *delivery) checkLoops(context.Context) (smtp.Reply, error) {
	m, l := r.env.Message, r.o.Limits.SMTP
	if m == nil {
		return smtp.Reply{}, nil // from our own queue: it was checked when it came in
	}
	if l.Hops > 0 && m.Received > l.Hops {
		return replyLoop, nil
	}
	// Few messages have more fields than the limit of our own hops: only those are looked into.
	if l.OwnHops > 0 && m.Received > l.OwnHops && r.ownHops(m.Header) > l.OwnHops {
		return replyLoop, nil
	}
	return smtp.Reply{}, nil
}

// ownHops counts the Received fields that this server wrote, or that claim it.
func (r *delivery) ownHops(header []byte) int {
	by := []byte(" by " + r.o.Hostname + " ")
	n := 0
	for f := range message.Header(header) {
		if f.Is("Received") && bytes.Contains(message.Unfold(nil, f.Body), by) {
			n++
		}
	}
	return n
}

// passedAlias reports whether the message was forwarded by the address before: the forward step
// says so in a Delivered-To field.
func (r *delivery) passedAlias(a smtp.Address) bool {
	if r.env.Message == nil {
		return false
	}
	for _, v := range r.env.Message.DeliveredTo {
		if strings.EqualFold(strings.Trim(strings.TrimSpace(v), "<>"), a.String()) {
			return true
		}
	}
	return false
}

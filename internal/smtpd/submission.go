package smtpd

import (
	"context"

	"tram/internal/envelope"
	"tram/internal/message"
	"tram/internal/smtp"
)

// ambiguous are the oddities in a header that make one reader see another author than the next:
// tricks of this kind get past a check of the From field that a recipient then sees differently.
const ambiguous = message.FlawDoubleFrom | message.FlawSpaceBeforeColon | message.FlawLateFold |
	message.FlawNameCharacter | message.FlawNoColon

// refuseSubmission checks that the message says it is from who sends it (RFC 6409 §6.1, A16): one
// From field with one address, which belongs to the account, as does the Sender field's if there is
// one. Several authors or groups, which RFC 5322 §3.6.2 would allow, are how others' names are
// smuggled in.
func (x *session) refuseSubmission(ctx context.Context, env *envelope.Envelope) smtp.Reply {
	m := env.Message
	switch {
	case x.o.Limits.SMTP.Hops > 0 && m.Received > x.o.Limits.SMTP.Hops:
		return smtp.NewReply(554, smtp.Enhanced{5, 4, 6}, "Message loops") // RFC 5321 §6.3
	case m.Flaws.Has(ambiguous), x.unread(m):
		return smtp.NewReply(550, smtp.Enhanced{5, 6, 0}, "Header is malformed or ambiguous")
	case m.FromCount != 1 || len(m.Envelope.From) != 1:
		return smtp.NewReply(550, smtp.Enhanced{5, 6, 0}, "One From field with one address is wanted")
	case !x.owns(ctx, m.Envelope.From[0]):
		return smtp.NewReply(550, smtp.Enhanced{5, 7, 1}, "From address is not yours")
	}
	return x.refuseSender(ctx, m)
}

// unread reports whether a limit of the parser has left out a part of the header that decides who the
// author is. A longer list of recipients than it reads, or a limit inside of something attached, is
// no matter.
func (x *session) unread(m *message.Message) bool {
	if !m.Flaws.Has(message.FlawHeaderLimit) {
		return false
	}
	if int64(len(m.Header)) < m.HeaderSize {
		return true
	}
	limits, n := &x.o.Limits.Message, 0
	for f := range message.Header(m.Header) {
		if n++; n > limits.Fields || f.Is("From") && len(f.Body) > limits.FieldBytes {
			return true
		}
	}
	return false
}

// refuseSender checks the Sender field. The parser's Envelope has From in its place when there is
// none, so the header itself is asked.
func (x *session) refuseSender(ctx context.Context, m *message.Message) smtp.Reply {
	for f := range message.Header(m.Header) {
		if !f.Is("Sender") && !f.Is("Resent-From") && !f.Is("Resent-Sender") {
			continue
		}
		list := message.ParseAddressList(f.Value())
		if len(list) != 1 || !x.owns(ctx, list[0]) {
			return smtp.NewReply(550, smtp.Enhanced{5, 7, 1}, "Sender address is not yours")
		}
	}
	return smtp.Reply{}
}

// owns reports whether an address of the header is one the account may send as.
func (x *session) owns(ctx context.Context, a message.Address) bool {
	if !a.Is() || a.Group != message.NoGroup || a.Route != "" {
		return false
	}
	domain, err := smtp.ParseDomain(a.Host)
	if err != nil {
		return false
	}
	return x.o.Directory.MayUse(ctx, x.account.ID, smtp.Address{Local: a.Mailbox, Domain: domain})
}

package deliver

import (
	"context"
	"errors"
	"strings"

	"tram/internal/envelope"
	"tram/internal/mailauth"
	"tram/internal/mailauth/authres"
	"tram/internal/mailauth/check"
	"tram/internal/message"
	"tram/internal/metrics"
	"tram/internal/smtp"
	"tram/internal/trace"
)

// Origins says what follows from who vouches for a message that comes from outside. The zero value
// records everything and refuses only what has no author.
type Origins struct {
	// Checker looks; nil: nobody does, and messages are taken without an author too.
	Checker *check.Checker
	// EnforceDMARC refuses what a domain wants refused; else it is junk.
	EnforceDMARC bool
	// EnforceSPF refuses, of mail that nothing else vouches for, what the SPF record of its reverse-path
	// says is forged.
	EnforceSPF bool
}

var dmarcResults = metrics.CounterVec("dmarc_results_total",
	"Messages from outside by their DMARC result and what the domain asks for.", "result", "policy")

var (
	replyDMARC = smtp.Enhanced{5, 7, 26} // RFC 7372 §3.3
	replySPF   = smtp.Enhanced{5, 7, 23} // RFC 7372 §3.2
)

// authenticate finds out who vouches for a message from outside, writes it on top of the message, and
// does what the author's domain asks for.
func (r *delivery) authenticate(ctx context.Context) (smtp.Reply, error) {
	if r.env.Origin == envelope.Inbound && r.env.Check != nil {
		return r.vouch(ctx), nil
	}
	return smtp.Reply{}, nil
}

func (r *delivery) vouch(ctx context.Context) smtp.Reply {
	look := r.env.Check
	r.env.Check = nil // it holds the header
	author, err := authorOf(look.Header(), r.env.Message)
	if err != nil {
		r.note("refused", err.Error())
		return smtp.NewReply(550, smtp.Enhanced{5, 7, 1},
			"A message must say who wrote it, in one From field with one address: "+err.Error())
	}
	found := look.Finish(ctx, check.Session{
		Addr: r.env.Client.Addr, HELO: r.env.Client.HELO, From: r.env.From, Author: author,
	})
	r.env.Auth = found
	r.verdict.Authenticated = found.Sender(r.env.From.String())
	client := authres.Client{Addr: r.env.Client.Addr, From: r.env.From.String()}
	r.addTop(string(authres.Of(r.o.Hostname, found, client).Append(nil)))
	dmarcResults.WithLabelValues(string(found.DMARC.Status), found.DMARC.Policy).Inc()
	reply := r.obey(found)
	result := "accepted"
	if reply.Code != 0 {
		result = "refused"
	}
	r.note(result, describe(found))
	return reply
}

// authorOf is the author on whom every reader of the header agrees. A limit that some other header of the
// message has reached, or one field of many, is no matter here: check.Author reads all of this one.
func authorOf(header []byte, m *message.Message) (smtp.Address, error) {
	if int64(len(m.Header)) < m.HeaderSize {
		return smtp.Address{}, errLongHeader
	}
	author, err := check.Author(header)
	if err == nil && !check.Agrees(m, author) {
		err = check.ErrAddress
	}
	return author, err
}

var errLongHeader = errors.New("the header is too long to be read as a whole")

// obey does what the author's domain asks for. What could not be checked is neither believed nor refused
// (RFC 9989 §4.10.1 leaves that open): if the domain is known to want forgeries kept out, it is junk.
func (r *delivery) obey(found *mailauth.Results) smtp.Reply {
	d := &found.DMARC
	enforced := d.Policy == mailauth.PolicyReject || d.Policy == mailauth.PolicyQuarantine
	switch {
	case d.Status == mailauth.Pass, d.ARC:
		return smtp.Reply{}
	case d.Status == mailauth.Fail && d.Policy == mailauth.PolicyReject && r.o.Origins.EnforceDMARC:
		return smtp.NewReply(550, replyDMARC, "Nothing shows that "+d.Domain+
			" has sent this message, and the domain wants such mail refused (DMARC)")
	case d.Status == mailauth.Fail && enforced:
		r.junk("DMARC: nothing shows that " + d.Domain + " has sent it, and its policy is " + d.Policy)
	case d.Status == mailauth.TempError && enforced:
		r.junk("DMARC: it could not be checked that " + d.Domain + " has sent it: " + d.Reason)
	}
	if s := &found.SPF; s.Status == mailauth.Fail && r.o.Origins.EnforceSPF && !signedByAuthor(found) {
		text := "The SPF record of " + s.Domain + " does not allow mail from " + r.env.Client.Addr.String()
		if s.Explanation != "" {
			text += "; it says: " + s.Explanation[:min(len(s.Explanation), 200)]
		}
		return smtp.NewReply(550, replySPF, text)
	}
	return smtp.Reply{}
}

// signedByAuthor reports whether the author's domain, or one above it, has signed the message: it may have
// been forwarded, which SPF does not survive.
func signedByAuthor(found *mailauth.Results) bool {
	for _, d := range found.DKIM {
		if d.Status == mailauth.Pass && strings.HasSuffix("."+found.FromDomain, "."+d.Domain) {
			return true
		}
	}
	return false
}

func (r *delivery) junk(reason string) {
	r.verdict.Junk = true
	r.verdict.Reasons = append(r.verdict.Reasons, reason)
}

// note adds a line about the whole message to its trace.
func (r *delivery) note(result, detail string) {
	if r.o.Trace == nil {
		return
	}
	r.o.Trace.Add(trace.Event{
		ID: r.env.ID, Step: "authenticate", MessageID: messageID(r.env), From: r.env.From.Path(),
		Result: result, Detail: detail,
	})
}

// describe says in words who vouches for a message: "DMARC pass for example.com by DKIM; SPF pass for
// example.com by ip4:192.0.2.1; DKIM pass for example.com".
func describe(found *mailauth.Results) string {
	var parts []string
	d := &found.DMARC
	text := "from " + found.From + ": DMARC " + string(d.Status)
	switch {
	case d.Status == mailauth.Pass && d.DKIM && d.SPF:
		text += " by SPF and DKIM"
	case d.Status == mailauth.Pass && d.DKIM:
		text += " by DKIM"
	case d.Status == mailauth.Pass:
		text += " by SPF"
	case d.Policy != "":
		text += ", policy " + d.Policy + " of " + d.Record
	}
	if d.ARC {
		text += ", which a trusted forwarder saw pass"
	}
	parts = append(parts, with(text, d.Reason))
	s := &found.SPF
	text = "SPF " + string(s.Status) + " for " + s.Domain
	if s.Mechanism != "" {
		text += " by " + s.Mechanism
	}
	parts = append(parts, with(text, s.Reason))
	for i := range found.DKIM {
		k := &found.DKIM[i]
		parts = append(parts, with("DKIM "+string(k.Status)+" for "+k.Domain, k.Reason))
	}
	if found.ARC.Status != mailauth.None {
		parts = append(parts, with("ARC "+string(found.ARC.Status), found.ARC.Reason))
	}
	if found.IPRev.Status == mailauth.Pass {
		parts = append(parts, "client "+found.IPRev.Name)
	}
	return strings.Join(parts, "; ")
}

func with(text, reason string) string {
	if reason == "" {
		return text
	}
	return text + " (" + reason + ")"
}

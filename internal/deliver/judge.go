package deliver

import (
	"cmp"
	"context"
	"fmt"
	"strings"

	"tram/internal/directory"
	"tram/internal/envelope"
	"tram/internal/smtp"
	"tram/internal/spam"
	"tram/internal/store"
	"tram/internal/trace"
)

// judged is what the spam room says of one leg.
type judged struct {
	person   spam.Person
	decision spam.Decision
	done     spam.Verdict // what is done with it; "": the leg was not judged
}

// judges reports whether the message is to be judged: once, when it comes in. What comes out of the
// queue was judged before it went in, and only its verdict came along.
func (r *delivery) judges() bool {
	switch {
	case r.o.Judge == nil:
		return false
	case r.env.Origin == envelope.Inbound:
		return r.session
	default:
		return r.env.Origin == envelope.LMTP && !r.env.Queued
	}
}

// examine gathers the evidence, once for all recipients.
func (r *delivery) examine(ctx context.Context) (smtp.Reply, error) {
	if !r.judges() || r.env.Message == nil {
		return smtp.Reply{}, nil
	}
	body := r.env.Body.Open(ctx)
	defer body.Close()
	r.evidence = r.o.Judge.Examine(ctx, spam.Source{Env: r.env, Body: body, Signs: r.verdict.Signs})
	r.verdict.Score = r.evidence.Score()
	r.addTop(r.o.Judge.Status(r.evidence))
	return smtp.Reply{}, nil
}

// judge asks what the message is to each person, and then what can be done with one reply for all.
func (r *delivery) judge(ctx context.Context) (smtp.Reply, error) {
	if r.evidence == nil {
		for _, l := range r.legs {
			l.verdict.Junk = l.verdict.Junk || r.env.Junk
		}
		return smtp.Reply{}, nil
	}
	for _, l := range r.legs {
		if l.reply.Code != 0 || l.desk {
			continue
		}
		to := spam.Person{Account: uint64(l.account), Address: r.env.Recipients[l.by].Address}
		d, err := r.o.Judge.Decide(ctx, r.evidence, to)
		if err != nil {
			return smtp.Reply{}, fmt.Errorf("account %d: %w", l.account, err)
		}
		l.judged = judged{to, d, d.Verdict}
	}
	if err := r.harmonize(ctx); err != nil {
		return smtp.Reply{}, err
	}
	var refused []spam.Person
	var worst spam.Decision
	for _, l := range r.legs {
		if l.judged.done == "" {
			continue
		}
		r.apply(ctx, l)
		if l.judged.done == spam.Reject {
			refused, worst = append(refused, l.judged.person), l.judged.decision
		}
	}
	if len(refused) > 0 {
		r.o.Judge.Refuse(r.evidence, refused, worst)
	}
	return smtp.Reply{}, nil
}

// harmonize makes verdicts of several people fit one reply. A message is refused, or its sender asked
// to come again, only when that is what everybody wants: the sender can be told one thing, and a
// bounce to him may go to somebody whose name he borrowed (P22). Else those who want it refused get
// it as junk, and nobody waits for the others.
func (r *delivery) harmonize(ctx context.Context) error {
	refuse, again := r.session, r.session
	for _, route := range r.routes {
		// Who is no recipient any more takes nothing, and is no reason to take the message.
		for _, l := range route.legs {
			refuse = refuse && l.judged.done == spam.Reject
			again = again && (l.judged.done == spam.Reject || l.judged.decision.Doubtful)
		}
	}
	if again && !refuse {
		waits := false
		for _, l := range r.legs {
			if l.judged.decision.Doubtful {
				wait, err := r.o.Judge.Grey(ctx, r.evidence, l.judged.person)
				if err != nil {
					return err
				}
				waits = waits || wait
			}
		}
		again = waits
	}
	for _, l := range r.legs {
		switch {
		case l.judged.done == "":
		case again && !refuse:
			l.judged.done = spam.ComeAgain
		case l.judged.done == spam.Reject && !refuse:
			l.judged.done = spam.Junk
		}
		// What a person sent on to elsewhere cannot be held or filed here.
		if l.account == 0 && (l.judged.done == spam.Junk || l.judged.done == spam.Quarantine) {
			l.judged.done = spam.Accept
		}
	}
	return nil
}

// apply makes a leg's verdict of what was decided, and writes down why.
func (r *delivery) apply(ctx context.Context, l *leg) {
	j, to := &l.judged, r.env.Recipients[l.by].Address
	l.verdict.Score = j.decision.Score
	l.reply = r.evidence.Reply(j.done)
	switch {
	case j.decision.Bomb:
		l.verdict.Junk = true
		l.verdict.Keywords = append(l.verdict.Keywords, spam.KeywordBomb)
	case j.done == spam.Junk:
		l.verdict.Junk = true
		l.verdict.Keywords = append(l.verdict.Keywords, keywordJunk)
	case j.done == spam.Quarantine:
		l.verdict.Quarantine = true
	}
	r.o.Judge.Concluded(r.evidence, j.person, j.decision, j.done)
	if l.reply.Code != 0 {
		r.tell("filed", to, l.reply, "")
	}
	if r.o.Trace != nil {
		r.o.Trace.Add(trace.Event{
			ID: r.env.ID, Step: "spam", MessageID: messageID(r.env), From: r.env.From.Path(),
			To: to.String(), Remote: r.remote(), Result: string(j.done), Detail: j.decision.Record(),
		})
	}
	if j.decision.BombBegins && r.o.Bombed != nil {
		r.o.Bombed(ctx, l.account, to)
	}
}

func (r *delivery) remote() string {
	if a := r.env.Client.Addr; a.IsValid() {
		return a.String()
	}
	return "local"
}

// keywordJunk is how mail programs mark junk, RFC 9051 §2.3.2.
const keywordJunk = "$Junk"

// quarantine hands the legs that are to be held to the queue, each by itself: an administrator lets go
// one person's and not another's. When nobody has looked for limits.Spam.Quarantine, it goes to that
// person's junk mail.
func (r *delivery) quarantine(ctx context.Context) (smtp.Reply, error) {
	for _, l := range r.legs {
		if l.account == 0 || l.reply.Code != 0 || !l.verdict.Quarantine {
			continue
		}
		to := r.env.Recipients[l.by].Address
		err := r.detain(ctx, l)
		if l.reply = r.ok; err != nil {
			r.o.Logger.Error("message not quarantined", "id", r.env.ID, "error", err)
			l.reply = ReplyOf(err)
		}
		r.tell("quarantined", to, l.reply, strings.Join(l.verdict.Reasons, "; "))
	}
	return smtp.Reply{}, nil
}

func (r *delivery) detain(ctx context.Context, l *leg) error {
	if r.o.Forwarder == nil {
		return errNoForwarder
	}
	account, err := r.o.Directory.Account(ctx, directory.AccountID(l.account))
	if err != nil {
		return fmt.Errorf("find account %d: %w", l.account, err)
	}
	out := r.handOver(".q")
	out.Junk = true
	out.HoldReason = "quarantine: " + cmp.Or(r.heldBy, l.judged.decision.Record())
	out.HoldUntil = r.env.Received.Add(r.o.Limits.Spam.Quarantine)
	out.Recipients = []envelope.Recipient{{Address: account.Address, Notify: envelope.NotifyNever,
		ORCPT: r.env.Recipients[l.by].ORCPT}}
	l.handed = account.Address
	return r.o.Forwarder.HandOver(ctx, out)
}

// Bombed is told when a list bomb on a person begins.
type Bombed func(ctx context.Context, account store.AccountID, to smtp.Address)

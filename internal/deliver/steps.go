package deliver

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"tram/internal/envelope"
	"tram/internal/smtp"
	"tram/internal/spam"
	"tram/internal/store"
)

// steps is what happens to a message, in order. A step that returns a reply with a Code ends the
// delivery for all recipients with it.
var steps = []struct {
	name string
	do   func(*delivery, context.Context) (smtp.Reply, error)
}{
	{"loops", (*delivery).checkLoops},
	{"authenticate", (*delivery).authenticate},
	{"scan", (*delivery).scan},
	{"examine", (*delivery).examine},
	{"finish", (*delivery).finalForm},
	{"recipients", (*delivery).resolve},
	{"repetition", (*delivery).recognise},
	{"judge", (*delivery).judge},
	{"classify", (*delivery).classify},
	{"filter", (*delivery).filter},
	{"heed", (*delivery).heed},
	{"quarantine", (*delivery).quarantine},
	{"file", (*delivery).file},
	{"read", (*delivery).read},
	{"forward", (*delivery).forward},
}

// delivery is one message on its way through the steps.
type delivery struct {
	*Deliverer
	env     *envelope.Envelope
	verdict Verdict
	ok      smtp.Reply
	key     []byte   // of the store's dedupe rows
	routes  []route  // of each recipient
	legs    []*leg   // each account once, each forward once
	made    []*bound // bodies made on the way, besides env's
	// session: the sender's server waits for the one reply to all of it.
	session  bool
	evidence *spam.Evidence // nil: the message is not judged
	heldBy   string         // why a filter wants the message held; "": none does
	top      []string       // fields that go to the top of the message, each with its CRLF
}

// route is where one recipient's mail goes: over some legs, or nowhere.
type route struct {
	legs  []*leg
	reply smtp.Reply // with a Code when there are no legs
}

// leg is one delivery: to an account of ours, or to an address elsewhere.
type leg struct {
	account store.AccountID // 0: elsewhere
	to      smtp.Address    // elsewhere
	by      int             // the first recipient that leads here
	desk    bool            // to the desk, whatever account and to say
	verdict Verdict
	judged  judged

	reply     smtp.Reply // what became of it
	email     store.EmailID
	duplicate bool
	handed    smtp.Address // as whom the queue has it; zero: it does not
}

// run takes env through all steps. The legs and routes tell what happened.
func (d *Deliverer) run(ctx context.Context, env *envelope.Envelope, session bool) *delivery {
	run := &delivery{Deliverer: d, env: env, session: session}
	run.ok = smtp.NewReply(250, smtp.Enhanced{2, 0, 0}, "Ok: delivered as "+env.ID)
	for _, step := range steps {
		reply, err := step.do(run, ctx)
		if err != nil {
			d.o.Logger.Error("delivery failed", "id", env.ID, "step", step.name, "error", err)
			reply = ReplyOf(err)
		}
		if reply.Code != 0 {
			run.refuseAll(reply, step.name)
			break
		}
	}
	run.observe()
	return run
}

// addTop puts a field, with its CRLF, on top of the message as it will be filed.
func (r *delivery) addTop(field string) { r.top = append(r.top, field) }

// refuseAll gives every recipient the same reply.
func (r *delivery) refuseAll(reply smtp.Reply, step string) {
	r.routes, r.legs = make([]route, len(r.env.Recipients)), nil
	for i := range r.routes {
		r.routes[i] = route{reply: reply}
		r.tell(step, r.env.Recipients[i].Address, reply, "")
	}
}

// end gives back the bodies that were made and that nobody refers to.
func (r *delivery) end() {
	for _, b := range r.made {
		b.body.Discard()
	}
}

func (r *delivery) classify(ctx context.Context) (smtp.Reply, error) {
	if r.o.Classify == nil {
		return smtp.Reply{}, nil
	}
	return smtp.Reply{}, r.eachAccount(func(l *leg) (err error) {
		l.verdict, err = r.o.Classify(ctx, r.env, l.account, r.verdict)
		return err
	})
}

func (r *delivery) filter(ctx context.Context) (smtp.Reply, error) {
	if r.o.Filter == nil {
		return smtp.Reply{}, nil
	}
	return smtp.Reply{}, r.eachAccount(func(l *leg) (err error) {
		l.verdict, err = r.o.Filter(ctx, r.env, l.account, l.verdict)
		return err
	})
}

// eachAccount calls fn for the legs to accounts; what fn decides there ends or adds legs.
func (r *delivery) eachAccount(fn func(*leg) error) error {
	for _, l := range r.legs {
		if l.account == 0 || l.reply.Code != 0 {
			continue
		}
		if err := fn(l); err != nil {
			return fmt.Errorf("account %d: %w", l.account, err)
		}
		if l.reply = l.verdict.Refuse; l.reply.Code != 0 {
			r.tell("filed", r.env.Recipients[l.by].Address, l.reply,
				strings.Join(l.verdict.Reasons, "; "))
		}
		for _, to := range l.verdict.Forward {
			r.addForward(l.by, to)
		}
		l.verdict.Forward = nil
	}
	return nil
}

// ReplyOf maps an error of storage or of another room to what the sender is told.
func ReplyOf(err error) smtp.Reply {
	var reply smtp.Reply
	switch {
	case errors.As(err, &reply):
		return reply
	case errors.Is(err, store.ErrFull):
		return replyFull
	case errors.Is(err, store.ErrOverQuota):
		return replyQuota
	case errors.Is(err, store.ErrBusy):
		return replyBusy
	default:
		return replyTemporary
	}
}

package scan

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"

	"tram/internal/scan/filter"
	"tram/internal/scan/milter"
	"tram/internal/scan/rspamd"
	"tram/internal/scan/spamd"
	"tram/internal/smtp"
	"tram/internal/spam/sign"
)

// Rspamd configures rspamd.
type Rspamd struct {
	Address  string
	Password string
	Timeout  time.Duration
	Accept   bool
	// Obey rejects and greylists as it says. Else its rules count with our own, and only their sum decides.
	Obey bool
}

// Filter makes it one of a Scanner's.
func (c Rspamd) Filter() Filter {
	return Filter{name: "rspamd", timeout: c.Timeout, accept: c.Accept, build: func(o *Options) asker {
		l := o.Limits.Scan
		return &rspamdFilter{c, rspamd.New(rspamd.Options{
			Address: filter.ParseAddress(c.Address), Password: c.Password, Conns: l.Connections,
			Answer: l.Answer, Signs: l.Signs,
		})}
	}}
}

// rspamdFilter turns rspamd's answers into opinions.
type rspamdFilter struct {
	c      Rspamd
	client *rspamd.Client
}

func (f *rspamdFilter) close() { f.client.Close() }

func (f *rspamdFilter) greet(ctx context.Context) (string, error) { return f.client.Ping(ctx) }

// ask takes all rules as signs. Of the actions only those are obeyed that end in a reply: "add header" and
// "rewrite subject" say what the score says, and messages are not rewritten.
func (f *rspamdFilter) ask(ctx context.Context, m *mail) (opinion, error) {
	r, err := f.client.Check(ctx, &m.Message)
	if err != nil {
		return opinion{}, err
	}
	o := opinion{signs: r.Signs}
	o.words = fmt.Sprintf("%s, %.1f of %.1f", r.Action, r.Score, r.Required)
	if !f.c.Obey {
		return o, nil
	}
	switch r.Action {
	case rspamd.Reject:
		o.refuse = smtp.NewReply(550, smtp.Enhanced{5, 7, 1}, cmp.Or(r.Message, "Message refused as spam"))
	case rspamd.SoftReject, rspamd.Greylist:
		o.refuse = smtp.NewReply(451, smtp.Enhanced{4, 7, 1}, cmp.Or(r.Message, "Try again later"))
	}
	return o, nil
}

// Spamd configures SpamAssassin's daemon.
type Spamd struct {
	Address string
	User    string
	Timeout time.Duration
	Accept  bool
	MaxSize int64 // larger messages are not asked about; 0: all are
}

// Filter makes it one of a Scanner's.
func (c Spamd) Filter() Filter {
	return Filter{name: "spamd", timeout: c.Timeout, accept: c.Accept, build: func(o *Options) asker {
		return &spamdFilter{c, spamd.New(spamd.Options{
			Address: filter.ParseAddress(c.Address), User: c.User, Answer: o.Limits.Scan.Answer,
			Rules: o.Limits.Scan.Signs,
		})}
	}}
}

// spamdFilter turns spamd's answers into opinions.
type spamdFilter struct {
	c      Spamd
	client *spamd.Client
}

// close has nothing to do, as each question has a connection of its own.
func (f *spamdFilter) close() {}

func (f *spamdFilter) greet(ctx context.Context) (string, error) { return f.client.Ping(ctx) }

// ask turns the answer into one sign with the score, as spamd tells no more, and one for each rule that
// only names it: exceptions and lists may refer to it.
func (f *spamdFilter) ask(ctx context.Context, m *mail) (opinion, error) {
	// SpamAssassin's rules take seconds for megabytes; spamc leaves such messages out by itself.
	if f.c.MaxSize > 0 && m.Size > f.c.MaxSize {
		return opinion{words: "not asked: the message is too large"}, nil
	}
	r, err := f.client.Check(ctx, &m.Message)
	if err != nil {
		return opinion{}, err
	}
	o := opinion{words: fmt.Sprintf("%.1f of %.1f", r.Score, r.Required)}
	const junk, most = 5, 20
	// Operators set the threshold as they like; its share of it is what can be compared.
	score := r.Score
	if r.Required > 0 {
		score = r.Score / r.Required * junk
	}
	// A score of a thousand (GTUBE) must not outweigh what a person allowed for ever.
	score = max(min(score, most), -most)
	o.signs = append(o.signs, sign.Sign{
		Name: SignAssassin, Score: score, Detail: filter.Clean(strings.Join(r.Rules, ", ")),
	})
	// They weigh nothing, as the score above has them in it already.
	for _, rule := range r.Rules {
		o.signs = append(o.signs, sign.Sign{Name: filter.SignName(prefixAssassin, rule)})
	}
	return o, nil
}

// Milter configures a program of the milter protocol.
type Milter struct {
	Name    string // in the log, in metrics and in the trace
	Address string
	Timeout time.Duration // 0: limits.Scan.Timeout, as for the others
	Accept  bool          // mail goes on when it does not answer
}

// Filter makes it one of a Scanner's.
func (c Milter) Filter() Filter {
	return Filter{name: c.Name, timeout: c.Timeout, accept: c.Accept, build: func(o *Options) asker {
		l := o.Limits.Scan
		return &milterFilter{milter.New(milter.Options{
			Address: filter.ParseAddress(c.Address), Answer: l.Answer, Fields: l.Fields,
			FieldBytes: l.FieldBytes, Header: o.Limits.Message.HeaderBytes,
			Idle: l.MilterIdle, Messages: l.MilterMails, Conns: l.Connections, Clock: o.Clock,
		})}
	}}
}

// milterFilter turns what a milter decided into opinions.
type milterFilter struct{ client *milter.Client }

func (f *milterFilter) close() { f.client.Close() }

// greet has no name to tell: the protocol knows none.
func (f *milterFilter) greet(ctx context.Context) (string, error) {
	return "milter", f.client.Ping(ctx)
}

func (f *milterFilter) ask(ctx context.Context, m *mail) (opinion, error) {
	r, err := f.client.Check(ctx, &m.Message)
	if err != nil {
		return opinion{}, err
	}
	// A milter has no score to give: what it is not content with it refuses or has held.
	o := opinion{refuse: r.Refuse, hold: r.Hold, fields: r.Fields, words: "passed"}
	switch {
	case r.Refuse.Code != 0:
		o.words = "refused: " + r.Refuse.String()
	case r.Hold != "":
		o.words = "held: " + r.Hold
	}
	return o, nil
}

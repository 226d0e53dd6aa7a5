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
	Obey     bool // reject and greylist as it says
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

type rspamdFilter struct {
	c      Rspamd
	client *rspamd.Client
}

func (f *rspamdFilter) close() { f.client.Close() }

func (f *rspamdFilter) greet(ctx context.Context) (string, error) { return f.client.Ping(ctx) }

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

type spamdFilter struct {
	c      Spamd
	client *spamd.Client
}

func (f *spamdFilter) close() {}

func (f *spamdFilter) greet(ctx context.Context) (string, error) { return f.client.Ping(ctx) }

// ask turns the answer into one sign with the score, as spamd tells no more, and one for each rule that
// only names it: exceptions and lists may refer to it.
func (f *spamdFilter) ask(ctx context.Context, m *mail) (opinion, error) {
	if f.c.MaxSize > 0 && m.Size > f.c.MaxSize {
		return opinion{words: "not asked: the message is too large"}, nil
	}
	r, err := f.client.Check(ctx, &m.Message)
	if err != nil {
		return opinion{}, err
	}
	o := opinion{words: fmt.Sprintf("%.1f of %.1f", r.Score, r.Required)}
	const junk, most = 5, 20
	score := r.Score
	if r.Required > 0 {
		score = r.Score / r.Required * junk
	}
	// A score of a thousand (GTUBE) must not outweigh what a person allowed for ever.
	score = max(min(score, most), -most)
	o.signs = append(o.signs, sign.Sign{
		Name: SignAssassin, Score: score, Detail: filter.Clean(strings.Join(r.Rules, ", ")),
	})
	for _, rule := range r.Rules {
		o.signs = append(o.signs, sign.Sign{Name: filter.SignName("SPAMASSASSIN_", rule)})
	}
	return o, nil
}

// Milter configures a program of the milter protocol.
type Milter struct {
	Name    string
	Address string
	Timeout time.Duration
	Accept  bool
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

type milterFilter struct{ client *milter.Client }

func (f *milterFilter) close() { f.client.Close() }

func (f *milterFilter) greet(ctx context.Context) (string, error) {
	return "milter", f.client.Ping(ctx)
}

func (f *milterFilter) ask(ctx context.Context, m *mail) (opinion, error) {
	r, err := f.client.Check(ctx, &m.Message)
	if err != nil {
		return opinion{}, err
	}
	o := opinion{refuse: r.Refuse, hold: r.Hold, fields: r.Fields, words: "passed"}
	switch {
	case r.Refuse.Code != 0:
		o.words = "refused: " + r.Refuse.String()
	case r.Hold != "":
		o.words = "held: " + r.Hold
	}
	return o, nil
}

package scan

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"tram/internal/limits"
	"tram/internal/scan/clamd"
	"tram/internal/scan/filter"
	"tram/internal/smtp"
	"tram/internal/spam/content"
	"tram/internal/spam/sign"
)

// Clamd configures ClamAV's daemon.
type Clamd struct {
	Address string
	Timeout time.Duration
	Accept  bool // mail goes on when it does not answer
	// RefuseUnscannable refuses bombs and what is larger than clamd takes; else they have a sign.
	RefuseUnscannable bool
	// RefuseEncrypted does so with what it cannot look into because it is encrypted.
	RefuseEncrypted bool
}

// Filter makes it one of a Scanner's.
func (c Clamd) Filter() Filter {
	return Filter{name: "clamd", timeout: c.Timeout, accept: c.Accept, build: func(o *Options) asker {
		client := clamd.New(filter.ParseAddress(c.Address), o.Limits.Scan.Answer)
		return &virusScanner{c: c, client: client, limits: o.Limits.Content}
	}}
}

// virusScanner asks clamd, and turns its answers into opinions by the policy of Clamd.
type virusScanner struct {
	c      Clamd
	client *clamd.Client
	limits limits.Content
}

// close has nothing to do: a connection to clamd lives as long as the question.
func (v *virusScanner) close() {}

func (v *virusScanner) greet(ctx context.Context) (string, error) {
	if err := v.client.Ping(ctx); err != nil {
		return "", err
	}
	return v.client.Version(ctx)
}

// ask sends every reading of the message, each as a stream of its own, since clamd decides by a stream's
// first bytes what it is (M10: what one program passes over, another one opens). The first virus ends it.
func (v *virusScanner) ask(ctx context.Context, m *mail) (opinion, error) {
	body := m.env.Body.Open(ctx)
	defer body.Close()
	session := v.client.Begin(ctx)
	defer session.End()
	// An error is no answer for the whole message, however many readings were clean before.
	o, readings := opinion{}, 0
	for reading, err := range content.Readings(body, m.env.Message, content.Options{Limits: v.limits}) {
		if errors.Is(err, content.ErrTooManyReadings) {
			// Nobody builds such a message by mistake. To leave the rest unread would be the hole that its
			// maker looks for.
			v.judge(&o, clamd.Result{Kind: clamd.Unscannable, Name: err.Error()})
			break
		}
		if err != nil {
			return opinion{}, &storageError{fmt.Errorf("read message: %w", err)}
		}
		result, err := session.Scan(marked{reading.Open()})
		if err != nil && readings > 0 && errors.Is(context.Cause(ctx), errLate) {
			// It answers: it is this message that takes too long in all its readings. Were that a failure of
			// clamd, a few such messages would have it left alone, and nobody's mail would get through.
			err = fmt.Errorf("%w: %d readings took too long: %w", filter.ErrMessage, readings, err)
		}
		if err != nil {
			return opinion{}, fmt.Errorf("%s: %w", filter.Clean(reading.Name), err)
		}
		// Whole streams one after the other: clamd takes no two at once in a session, and most messages have
		// one reading.
		readings++
		if v.judge(&o, result); o.virus != "" {
			return o, nil
		}
	}
	if o.words == "" {
		o.words = fmt.Sprintf("clean in %d readings", readings)
	}
	return o, nil
}

// marked is stored for readers without Close.
type marked struct{ r io.Reader }

func (r marked) Read(p []byte) (int, error) {
	n, err := r.r.Read(p)
	if err != nil && err != io.EOF {
		err = &storageError{err}
	}
	return n, err
}

// judge applies the policy to what clamd said of one reading. A virus is always refused. For the rest the
// first refusal stands, and all of it counts: what one reading hides must not excuse another.
func (v *virusScanner) judge(o *opinion, r clamd.Result) {
	refusal := func(text string) smtp.Reply {
		return smtp.NewReply(550, smtp.Enhanced{5, 7, 1}, text+" ("+r.Name+")")
	}
	s := sign.Sign{Detail: r.Name}
	switch r.Kind {
	case clamd.Clean:
		return
	case clamd.Infected:
		o.virus, o.words = r.Name, "infected: "+r.Name
		o.refuse = refusal("Message refused: it carries a virus")
		return
	case clamd.Suspect:
		s.Name = SignSuspect
	case clamd.Encrypted:
		s.Name = SignEncrypted
		if v.c.RefuseEncrypted && o.refuse.Code == 0 {
			o.refuse = refusal("Message refused: it is encrypted, so that it cannot be checked for viruses")
		}
	case clamd.Unscannable:
		s.Name = SignUnscannable
		if v.c.RefuseUnscannable && o.refuse.Code == 0 {
			o.refuse = refusal("Message refused: it cannot be checked for viruses")
		}
	}
	s.Score = scoreOf(s.Name)
	for _, known := range o.signs {
		if known.Name == s.Name {
			return // several readings show the same
		}
	}
	o.signs = append(o.signs, s)
	if o.words != "" {
		o.words += "; "
	}
	o.words += s.Name + ": " + r.Name
}

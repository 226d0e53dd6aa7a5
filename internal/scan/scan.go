// Package scan answers "what do the filters outside this server say of a message?": ClamAV's clamd,
// rspamd, SpamAssassin's spamd and milters, asked at the same time once the message has come.
//
// It promises that a message which a configured filter did not answer for is not taken, where the policy
// is to wait for it: the sender is asked to come again (451). A filter that fails again and again is left
// alone for a while, so that mail does not wait for it in vain, and asked again by one message after that.
// A virus is refused in the session, under its name, whoever sends it.
//
// What must never happen: an error, a time-out or half an answer counts as clean; a message is dropped
// without a word; a filter that hangs holds the server up.
package scan

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"time"

	"tram/internal/clock"
	"tram/internal/envelope"
	"tram/internal/limits"
	"tram/internal/metrics"
	"tram/internal/scan/filter"
	"tram/internal/smtp"
	"tram/internal/spam/sign"
)

var (
	scans = metrics.CounterVec("scans_total",
		"Questions to filters outside this server, by filter and by what became of them.", "filter", "result")
	scanTime = metrics.Seconds("scan_seconds", "Time until a filter outside this server answered.", "filter")
	scanShut = metrics.GaugeVec("scan_filter_failing",
		"1 while a filter outside this server is left alone because it failed again and again.", "filter")
)

// Finding is what all filters together say of a message.
type Finding struct {
	// Refuse, if its Code is set, is what the sender is told.
	Refuse smtp.Reply
	Virus  string // its name, when that is why
	Hold   string // why the message is to be held; "": it is not
	Signs  []sign.Sign
	Fields []string // header fields for the top, each ending in CRLF
	// Reasons say what each filter said, for the trace.
	Reasons []string
}

// Options configure a Scanner.
type Options struct {
	Filters  []Filter
	Hostname string
	Limits   limits.Set
	Clock    clock.Clock
	Logger   *slog.Logger
	// User names the account that submits a message; nil: nobody does.
	User func(ctx context.Context, account uint64) string
}

// Filter is one that was configured: see Clamd, Rspamd, Spamd and Milter.
type Filter struct {
	name    string
	timeout time.Duration // 0: limits.Scan.Timeout
	accept  bool          // a message goes on without it
	build   func(o *Options) asker
}

// asker is a filter that can be asked.
type asker interface {
	// ask returns an error when the filter gave no answer, whatever the reason.
	ask(ctx context.Context, m *mail) (opinion, error)
	// greet asks whether it is there, and returns how it calls itself.
	greet(ctx context.Context) (string, error)
	close()
}

// opinion is what one filter says.
type opinion struct {
	refuse smtp.Reply
	virus  string
	hold   string
	signs  []sign.Sign
	fields []string
	words  string // for the trace
}

// mail is a message with what the clients need of it.
type mail struct {
	filter.Message
	env *envelope.Envelope
}

// Scanner asks all filters. It is safe for concurrent use.
type Scanner struct {
	o       Options
	filters []*watched
}

// watched is a filter with its gate.
type watched struct {
	Filter
	asker
	gate *gate
}

// New returns a Scanner.
func New(o Options) *Scanner {
	if o.Clock == nil {
		o.Clock = clock.System
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Scanner{o: o}
	for _, f := range o.Filters {
		w := &watched{Filter: f, asker: f.build(&s.o)}
		if w.timeout <= 0 {
			w.timeout = o.Limits.Scan.Timeout
		}
		shut := scanShut.WithLabelValues(f.name)
		w.gate = newGate(o.Clock, o.Limits.Scan, func(open bool) {
			if open {
				shut.Set(0)
				o.Logger.Info("filter answers again", "filter", f.name)
				return
			}
			shut.Set(1)
			o.Logger.Error("filter failed again and again and is left alone for a while",
				"filter", f.name, "pause", o.Limits.Scan.Pause, "mail goes on without it", f.accept)
		})
		s.filters = append(s.filters, w)
	}
	return s
}

// Close ends the connections that are kept.
func (s *Scanner) Close() error {
	for _, f := range s.filters {
		f.close()
	}
	return nil
}

// greetTime is how long a filter may take to say that it is there.
const greetTime = 5 * time.Second

// Greet asks each filter whether it is there and logs what it says. Nothing depends on it.
func (s *Scanner) Greet(ctx context.Context) {
	var wait sync.WaitGroup
	for _, f := range s.filters {
		wait.Go(func() {
			ctx, stop := s.within(ctx, greetTime)
			defer stop()
			who, err := f.greet(ctx)
			if err != nil {
				s.o.Logger.Warn("filter does not answer", "filter", f.name, "error", err,
					"mail goes on without it", f.accept)
				return
			}
			s.o.Logger.Info("filter answers", "filter", f.name, "version", who)
		})
	}
	wait.Wait()
}

var (
	errLate    = errors.New("no answer in time")
	errSettled = errors.New("another filter has found enough")
)

// within is context.WithTimeout by the clock of the house.
func (s *Scanner) within(ctx context.Context, d time.Duration) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	timer := s.o.Clock.AfterFunc(d, func() { cancel(errLate) })
	return ctx, func() {
		timer.Stop()
		cancel(nil)
	}
}

// Scan asks all filters about env and returns when all have answered or their time is over; a virus ends
// it early.
func (s *Scanner) Scan(ctx context.Context, env *envelope.Envelope) Finding {
	m := s.describe(ctx, env)
	all, settle := context.WithCancelCause(ctx)
	defer settle(nil)
	// Each writes into a place of its own, so that what is said does not depend on who was first.
	answers := make([]reply, len(s.filters))
	var wait sync.WaitGroup
	for i, f := range s.filters {
		wait.Go(func() {
			answers[i] = s.consult(all, f, m)
			if answers[i].virus != "" {
				// What the others would say changes nothing any more.
				settle(errSettled)
			}
		})
	}
	wait.Wait()
	return s.combine(answers, env.ID)
}

// reply is an opinion, or why there is none.
type reply struct {
	opinion
	err error
}

// consult asks one filter.
func (s *Scanner) consult(ctx context.Context, f *watched, m *mail) (r reply) {
	ctx, stop := s.within(ctx, f.timeout)
	defer stop()
	begun := s.o.Clock.Now()
	result := "error"
	defer func() {
		if bug := recover(); bug != nil {
			// What a message does to a client must not end the house: it counts as no answer.
			r = reply{err: fmt.Errorf("panic: %v", bug)}
			s.o.Logger.Error("filter's client failed", "filter", f.name, "id", m.ID, "panic", bug)
		}
		scans.WithLabelValues(f.name, result).Inc()
	}()
	probe, err := f.gate.enter(ctx)
	if err != nil {
		if errors.Is(err, errLate) {
			// All its slots were taken for so long: it hangs, and whoever holds them may not know that yet.
			f.gate.note(failed, false)
		}
		result = "skipped"
		return reply{err: err}
	}
	became := failed
	defer func() { f.gate.leave(became, probe) }()
	o, err := f.ask(ctx, m)
	var storage *storageError
	switch {
	case err == nil:
		became, result = answered, o.result()
		scanTime.WithLabelValues(f.name).Observe(s.o.Clock.Now().Sub(begun).Seconds())
	case errors.Is(err, filter.ErrMessage):
		// It lives. Were this its failure, five such messages would shut it off for all the others.
		became = answered
	// Our storage, a header that is not shown, a sender who has gone or another filter's virus: none of them
	// says anything of this filter, good or bad.
	case errors.As(err, &storage), errors.Is(err, filter.ErrHeader),
		ctx.Err() != nil && !errors.Is(context.Cause(ctx), errLate):
		became, result = abandoned, "abandoned"
	}
	return reply{o, err}
}

// result is the metric's label.
func (o opinion) result() string {
	switch {
	case o.virus != "":
		return "infected"
	case o.refuse.Code != 0:
		return "refused"
	case o.hold != "":
		return "held"
	}
	return "passed"
}

// storageError is an error of reading the message: no fault of the filter.
type storageError struct{ err error }

func (e *storageError) Error() string { return e.err.Error() }
func (e *storageError) Unwrap() error { return e.err }

var replyUnchecked = smtp.NewReply(451, smtp.Enhanced{4, 7, 1},
	"Message cannot be checked at the moment, try again later")

// rank orders what is said to the sender: what will not change by coming again goes first.
func rank(r smtp.Reply) int {
	switch {
	case r.Permanent():
		return 2
	case r.Code != 0:
		return 1
	}
	return 0
}

// combine makes one finding of what the filters said, in the order of the configuration. Their fields and
// signs all stand; of their replies the one with the highest rank does, and a virus before any.
func (s *Scanner) combine(answers []reply, id string) Finding {
	var f Finding
	refuse := func(r smtp.Reply) {
		if rank(r) > rank(f.Refuse) {
			f.Refuse = r
		}
	}
	for i, a := range answers {
		w := s.filters[i]
		if a.virus != "" && f.Virus == "" {
			f.Virus, f.Refuse = a.virus, a.refuse
		}
		if a.err != nil {
			if errors.Is(a.err, errSettled) {
				// It was not let finish. The message is refused for the virus, so nothing is missing.
				continue
			}
			f.Reasons = append(f.Reasons, w.name+": no answer: "+filter.Clean(a.err.Error()))
			if !errors.Is(a.err, errOpen) { // that was logged when it shut, once for all messages
				s.o.Logger.Warn("filter did not answer", "filter", w.name, "id", id, "error", a.err,
					"mail goes on without it", w.accept)
			}
			if !w.accept {
				refuse(replyUnchecked)
			}
			continue
		}
		if f.Virus == "" {
			refuse(a.refuse)
		}
		if a.hold != "" && f.Hold == "" {
			f.Hold = w.name + ": " + a.hold
		}
		f.Signs = append(f.Signs, a.signs...)
		f.Fields = append(f.Fields, a.fields...)
		f.Reasons = append(f.Reasons, w.name+": "+a.words)
	}
	return f
}

// describe makes what the clients need.
func (s *Scanner) describe(ctx context.Context, env *envelope.Envelope) *mail {
	// Envelope.Recipients are those who were taken: whom we refused, the filters need not know.
	m := &mail{env: env}
	m.ID, m.Hostname = env.ID, s.o.Hostname
	m.From = strings.TrimSuffix(strings.TrimPrefix(env.From.Path(), "<"), ">")
	for _, r := range env.Recipients {
		m.Recipients = append(m.Recipients, r.Address.String())
	}
	if env.Account != 0 && s.o.User != nil {
		m.User = s.o.User(ctx, env.Account)
	}
	m.Addr, m.HELO = env.Client.Addr, env.Client.HELO
	m.Name, m.TLS = env.Client.Name, env.Client.TLS
	skip := ownReturnPath(env)
	m.Size = env.Body.Ref().Size - skip
	m.Open = func() io.ReadCloser {
		// The filters read at the same time, each at its own speed: everyone has a reader of his own.
		r := env.Body.Open(ctx)
		if _, err := io.CopyN(io.Discard, r, skip); err != nil {
			return failing{r, &storageError{err}}
		}
		return stored{r}
	}
	return m
}

// ownReturnPath is the length of our Return-Path field on top of a message: what filters see of a message
// is what was sent, and the reverse-path they are told.
func ownReturnPath(env *envelope.Envelope) int64 {
	if env.Message == nil || !bytes.HasPrefix(env.Message.Header, []byte("Return-Path: ")) {
		return 0
	}
	return int64(bytes.IndexByte(env.Message.Header, '\n') + 1)
}

// stored marks errors of our storage.
type stored struct{ io.ReadCloser }

func (r stored) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p)
	if err != nil && err != io.EOF {
		err = &storageError{err}
	}
	return n, err
}

// failing is a reader that could not begin.
type failing struct {
	io.Closer
	err error
}

func (r failing) Read([]byte) (int, error) { return 0, r.err }

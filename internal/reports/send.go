package reports

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"tram/internal/envelope"
	"tram/internal/message"
	"tram/internal/reports/aggregate"
	"tram/internal/reports/tlsrpt"
)

// attachment is a report ready to be sent.
type attachment struct {
	name string // RFC 7489 §7.2.1.1, RFC 8460 §5.1
	kind string // media type
	data []byte // packed
	id   string
}

// compose writes a report's file.
func (s *Reports) compose(p *parcel, c *content) (attachment, error) {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	span := fmt.Sprintf("%s!%s!%d!%d", p.own, p.domain, p.begin().Unix(), p.end().Unix())
	a := attachment{id: s.reportID(p), name: span + ".xml.gz", kind: "application/gzip"}
	var err error
	if p.kind == TLS {
		a.name, a.kind = span+".json.gz", "application/tlsrpt+gzip"
		err = tlsrpt.Write(z, c.tls)
	} else {
		err = aggregate.Write(z, c.dmarc)
	}
	if err = errors.Join(err, z.Close()); err != nil {
		return a, fmt.Errorf("compose report: %w", err)
	}
	a.data = b.Bytes()
	return a, nil
}

// nothingButOurs reports whether there is nothing to tell but that our own reports arrived: those would
// else be an occasion for one report a day, for ever.
func (c *content) nothingButOurs(p *parcel) bool { return ownOnly(c.tls, p.head.Own) }

func ownOnly(r *tlsrpt.Report, own int) bool {
	var good, bad int64
	for _, p := range r.Policies {
		good, bad = good+p.Summary.Successes, bad+p.Summary.Failures
	}
	return bad == 0 && good <= int64(own)
}

// mail sends a report by mail: one message to all addresses that take one of its size.
func (s *Reports) mail(ctx context.Context, p *parcel, a attachment, to []goal) error {
	out := s.o.Blobs.Create(ctx)
	d, err := s.draft(p, a, to)
	if err == nil {
		_, err = d.WriteTo(out)
	}
	if err != nil {
		out.Abort()
		return fmt.Errorf("compose report: %w", err)
	}
	body, err := out.Finish()
	if err != nil {
		return fmt.Errorf("compose report: %w", err)
	}
	size := body.Ref().Size
	to = slices.DeleteFunc(slices.Clone(to), func(g goal) bool { return g.most > 0 && size > g.most })
	if len(to) == 0 {
		body.Discard()
		return s.finish(ctx, p, "too large")
	}
	env := &envelope.Envelope{ID: s.trail(p), Origin: envelope.Notice, Body: body, Received: s.o.Clock.Now(),
		Message: &message.Message{MessageID: d.MessageID}}
	for _, g := range to {
		env.Recipients = append(env.Recipients,
			envelope.Recipient{Address: g.mail, Notify: envelope.NotifyNever})
	}
	return s.handOver(ctx, p, env)
}

// handOver gives the message to the queue, by the rule of sending once.
func (s *Reports) handOver(ctx context.Context, p *parcel, env *envelope.Envelope) error {
	ours, err := s.move(ctx, p, func(d *domainRow) bool {
		was := d.State
		d.State = sending
		return was == open
	})
	if err != nil || !ours {
		env.Body.Discard()
		return err
	}
	if err := s.o.Queue.Forward(ctx, env); err != nil {
		// The queue may have it all the same, when only the answer of its disk was lost.
		held, unsure := s.o.Queue.Holds(context.WithoutCancel(ctx), env.ID)
		if !held && unsure == nil {
			env.Body.Discard()
			return s.later(context.WithoutCancel(ctx), p, err)
		}
		s.o.Logger.Warn("report may not have been sent", "id", env.ID, "error", err)
	}
	for _, r := range env.Recipients {
		s.tls.addOwn(dayOf(s.o.Clock.Now()), r.Address.Domain)
	}
	return s.finish(context.WithoutCancel(ctx), p, "sent")
}

// draft is the message that carries a report. Its sender is the null one: what becomes of it is told to
// nobody, and no report can come of it.
func (s *Reports) draft(p *parcel, a attachment, to []goal) (*message.Draft, error) {
	id, err := message.NewMessageID(s.o.Rand, p.own)
	if err != nil {
		return nil, err
	}
	d := &message.Draft{
		From:    []message.Address{{Name: s.org(p), Mailbox: "postmaster", Host: p.own}},
		Subject: fmt.Sprintf("Report Domain: %s Submitter: %s Report-ID: <%s>", p.domain, p.own, a.id),
		Date:    s.o.Clock.Now(), MessageID: id, AutoSubmitted: "auto-generated", Rand: s.o.Rand,
	}
	for _, g := range to {
		d.To = append(d.To, message.Address{Mailbox: g.mail.Local, Host: g.mail.Domain})
		d.UTF8 = d.UTF8 || g.mail.NeedsUTF8()
	}
	file := message.Content{Type: a.kind, Disposition: "attachment", FileName: a.name,
		Body: bytes.NewReader(a.data)}
	text := message.Content{Text: s.text(p)}
	d.Content = message.Content{Type: "multipart/mixed", Parts: []message.Content{text, file}}
	if p.kind == TLS {
		// RFC 8460 §5.3. The report must arrive where TLS fails, which is what it tells of: RFC 8689 §5.
		d.Content.Type = "multipart/report"
		d.Content.Params = []message.Param{{Name: "report-type", Value: "tlsrpt"}}
		d.Extra = []message.Extra{{Name: "TLS-Report-Domain", Value: p.domain},
			{Name: "TLS-Report-Submitter", Value: p.own}, {Name: "TLS-Required", Value: "No"}}
	}
	return d, nil
}

// text is what a person reads.
func (s *Reports) text(p *parcel) string {
	what, about := "DMARC report", "mail in the name of "
	if p.kind == TLS {
		what, about = "report on TLS", "mail sent to "
	}
	return fmt.Sprintf("This is a %s about %s%s on %s (UTC), as its DNS record asks for.\n"+
		"It was written by a program for a program. Questions: %s\n",
		what, about, p.domain, p.begin().Format("2 January 2006"), s.contact(p))
}

// post sends a report over HTTPS to those addresses that have not had it, RFC 8460 §5.4.
func (s *Reports) post(ctx context.Context, p *parcel, a attachment, to []string) error {
	var errs []error
	for _, address := range to {
		if slices.Contains(p.head.Posted, address) {
			continue
		}
		if err := s.client.Post(ctx, address, a.kind, a.data); err != nil {
			errs = append(errs, err)
			continue
		}
		// Noted at once: whatever goes wrong from here on, this address has had it.
		p.head.Posted = append(p.head.Posted, address)
		if _, err := s.move(context.WithoutCancel(ctx), p, func(d *domainRow) bool {
			d.Posted = p.head.Posted
			return true
		}); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// Counted tells how many results wait in memory, for tests and figures.
func (s *Reports) Counted() int {
	n := 0
	for _, l := range []*ledger{&s.dmarc, &s.tls} {
		l.mu.Lock()
		n += l.rows
		l.mu.Unlock()
	}
	return n
}

// Close writes what was counted. Nothing may be observed afterwards.
func (s *Reports) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), closing)
	defer cancel()
	return s.Flush(ctx)
}

// closing is how long Close may take.
const closing = 5 * time.Second

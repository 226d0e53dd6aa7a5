package reports

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"time"

	"tram/internal/envelope"
	"tram/internal/limits"
	"tram/internal/mailauth"
	"tram/internal/message"
	"tram/internal/reports/aggregate"
	"tram/internal/reports/tlsrpt"
	"tram/internal/reports/unpack"
	"tram/internal/smtp"
)

// The local parts that reports about a domain of ours are sent to: what its records name in rua. No
// account is needed for them.
const (
	DMARCLocal = "dmarc-reports"
	TLSLocal   = "tls-reports"
)

// Takes reports whether mail for an address is read as reports.
func (s *Reports) Takes(to smtp.Address) bool {
	local := strings.ToLower(to.Local)
	return (local == DMARCLocal || local == TLSLocal) && s.o.Directory.IsLocal(to.Domain)
}

// Take reads the report in a message and keeps it. An error that is an smtp.Reply says why it cannot
// be taken, for the sender; others are storage's, and he may try again.
func (s *Reports) Take(ctx context.Context, env *envelope.Envelope) error {
	if err := s.place(ctx); err != nil {
		return err
	}
	defer func() { <-s.reading }()
	if env.Message == nil || env.Body == nil {
		return refused("the message cannot be read")
	}
	body := env.Body.Open(ctx)
	defer body.Close()
	source := &noting{r: body}
	found, err := find(source, env.Message, s.limits)
	switch {
	case err != nil && source.err != nil:
		return fmt.Errorf("read report: %w", source.err)
	case err != nil:
		received.WithLabelValues("any", "unreadable").Inc()
		s.o.Logger.Info("mail to the address of reports holds none that can be read", "id", env.ID,
			"sender", sender(env), "error", err)
		return refused(err.Error())
	case found.dmarc != nil:
		return s.takeDMARC(ctx, env, found.dmarc)
	default:
		return s.takeTLS(ctx, env, found.tls)
	}
}

// waitMost is how long a report waits for others that are being read; then its sender comes again.
const waitMost = time.Minute

// place waits until one more report may be read.
func (s *Reports) place(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, waitMost)
	defer cancel()
	select {
	case s.reading <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for reports that are being read: %w", ctx.Err())
	}
}

// noting remembers why a body could not be read: what unpacks it takes every error for damage of the
// report, and its sender must not be told to keep a report that our own disk did not give back.
type noting struct {
	r   io.ReaderAt
	err error
}

// ReadAt implements io.ReaderAt.
func (n *noting) ReadAt(p []byte, off int64) (int, error) {
	read, err := n.r.ReadAt(p, off)
	if err != nil && !errors.Is(err, io.EOF) {
		n.err = err
	}
	return read, err
}

func refused(why string) smtp.Reply {
	return smtp.NewReply(554, smtp.Enhanced{5, 6, 0}, "No report that can be read: "+printable(why))
}

// printable makes text fit for a reply line.
func printable(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, s)
	return s[:min(len(s), 200)]
}

// finding is what a message holds; one of the two is set.
type finding struct {
	dmarc *aggregate.Report
	tls   *tlsrpt.Report
}

// find looks through the parts of a message for a report: the first that can be read. Messages inside of
// it are not looked into: a notice of ours may return what a stranger wrote.
func find(r io.ReaderAt, m *message.Message, l limits.Reports) (finding, error) {
	var found finding
	last := errors.New("no attachment of a kind that reports have")
	tried := 0
	eachPart(m.Root, func(p *message.Part) {
		if found != (finding{}) || tried >= l.Files || !candidate(p) {
			return
		}
		tried++
		err := unpack.Each(message.Body(r, p), l, func(file io.Reader) error {
			var err error
			found, err = parse(file, l)
			return err
		})
		if err != nil {
			found, last = finding{}, err
		}
	})
	if found == (finding{}) {
		return found, last
	}
	return found, nil
}

// eachPart calls fn for a part and those below it, but for messages inside.
func eachPart(p *message.Part, fn func(*message.Part)) {
	fn(p)
	for _, below := range p.Parts {
		eachPart(below, fn)
	}
}

// types are those of parts that may hold a report: of RFC 7489 §7.2.1.1 and RFC 8460 §5.3, and what
// real senders write instead.
var types = []string{
	"application/gzip", "application/x-gzip", "application/zip", "application/x-zip-compressed",
	"application/x-zip", "application/octet-stream", "application/xml", "text/xml", "application/json",
	"application/tlsrpt+gzip", "application/tlsrpt+json",
}

// candidate reports whether a part may hold a report.
func candidate(p *message.Part) bool {
	if len(p.Parts) > 0 || p.Embedded != nil {
		return false
	}
	if slices.Contains(types, p.Type+"/"+p.Subtype) {
		return true
	}
	switch strings.ToLower(path.Ext(p.FileName())) {
	case ".gz", ".zip", ".xml", ".json":
		return true
	}
	return false
}

// parse tells the two formats apart by their first character.
func parse(r io.Reader, l limits.Reports) (finding, error) {
	b := bufio.NewReader(r)
	head, err := b.Peek(64)
	if len(head) == 0 && err != nil && !errors.Is(err, io.EOF) {
		return finding{}, err
	}
	if strings.HasPrefix(strings.TrimLeft(strings.TrimPrefix(string(head), "\ufeff"), " \t\r\n"), "{") {
		if strings.HasPrefix(string(head), "\ufeff") {
			if _, err := b.Discard(len("\ufeff")); err != nil {
				return finding{}, err
			}
		}
		report, err := tlsrpt.Parse(b, l)
		return finding{tls: report}, err
	}
	report, err := aggregate.Parse(b, l)
	return finding{dmarc: report}, err
}

// sender is the domain of the message's author.
func sender(env *envelope.Envelope) string {
	if env.Auth != nil && env.Auth.FromDomain != "" {
		return env.Auth.FromDomain
	}
	if from := env.Message.Envelope.From; len(from) == 1 {
		return strings.ToLower(from[0].Host)
	}
	return env.From.Domain
}

// known reports whether the author of a report is who he says: he passed DMARC, signed it with his
// domain's key (RFC 8460 §5.3), or is this server.
func known(env *envelope.Envelope) bool {
	if env.Origin == envelope.Notice {
		return true
	}
	a := env.Auth
	if a == nil || a.FromDomain == "" {
		return false
	}
	return a.Passed() || slices.ContainsFunc(a.DKIM, func(d mailauth.DKIM) bool {
		return d.Status == mailauth.Pass && d.Domain == a.FromDomain
	})
}

// ours returns the domain of ours that a name is, or is below; "" for none.
func (s *Reports) ours(domain string) string {
	if len(domain) > 253 {
		return ""
	}
	for domain != "" {
		if s.o.Directory.IsLocal(domain) {
			return domain
		}
		_, domain, _ = strings.Cut(domain, ".")
	}
	return ""
}

func (s *Reports) takeDMARC(ctx context.Context, env *envelope.Envelope, r *aggregate.Report) error {
	h := &Received{Kind: DMARC, Domain: s.ours(r.Policy.Domain), Org: r.Org, ID: r.ID, Begin: r.Begin,
		End: r.End, Total: r.Messages(), Good: r.Passed()}
	records := r.Records
	head := *r
	head.Records = nil
	h.DMARC = &head
	return s.file(ctx, env, h, r.Policy.Domain, records)
}

func (s *Reports) takeTLS(ctx context.Context, env *envelope.Envelope, r *tlsrpt.Report) error {
	h := &Received{Kind: TLS, Org: r.Org, ID: r.ID, Begin: r.Range.Start, End: r.Range.End}
	// Policies of other domains than the first one of ours are left out: a report is filed once.
	var policies []tlsrpt.Policy
	about := ""
	for _, p := range r.Policies {
		about = p.Policy.Domain
		domain := s.ours(p.Policy.Domain)
		if domain == "" || h.Domain != "" && domain != h.Domain {
			continue
		}
		h.Domain = domain
		policies = append(policies, p)
		h.Good += p.Summary.Successes
		h.Total += p.Summary.Successes + p.Summary.Failures
	}
	return s.file(ctx, env, h, about, policies)
}

// file keeps a report that could be read.
func (s *Reports) file(
	ctx context.Context, env *envelope.Envelope, h *Received, about string, content any,
) error {
	kind := string(h.Kind)
	if h.Domain == "" {
		received.WithLabelValues(kind, "foreign").Inc()
		return refused("it is about " + about + ", which is not a domain of this server")
	}
	h.Received, h.Sender, h.Known = s.o.Clock.Now().UTC(), sender(env), known(env)
	// A report's time is its reporter's word: it must not make the report the newest for ever.
	if latest := h.Received.AddDate(0, 0, 1); h.End.After(latest) || h.End.Unix() <= 0 {
		h.End = h.Received
	}
	// Whose name says nothing about him shares it with all others like him.
	from := ""
	if h.Known {
		from = h.Sender
	}
	name := newReportID(kind, h.Domain, from, strings.ToLower(h.Org), h.ID, h.Begin.String())
	again, err := s.keep(ctx, h, name, content)
	if err != nil {
		return err
	}
	result := "kept"
	if again {
		result = "duplicate"
	}
	received.WithLabelValues(kind, result).Inc()
	s.o.Logger.Info("report received", "id", env.ID, "kind", kind, "domain", h.Domain, "org", h.Org,
		"name", name.String(), "known", h.Known, "result", result,
		"total", fmt.Sprint(h.Total), "good", fmt.Sprint(h.Good))
	return nil
}

// Package reports answers "how does mail in our name fare elsewhere, and what do we tell others of
// theirs?": DMARC aggregate reports (RFC 9990, RFC 7489) and TLS reports (RFC 8460), received and
// sent, and the icons that domains publish for their mail (BIMI).
//
// It promises: a received report is read within bounds, kept once, and marked with whether its sender
// is known; what is counted for others costs a delivery microseconds and never waits for the disk; a
// report is sent at most once; nothing is told of people, only of domains and networks. See out.go for
// the rule of sending once and count.go for what a crash may lose.
//
// What must never happen: a report brings the server to its knees; a forged report passes for a real
// one; reports about reports go back and forth; a stranger's record makes this server write to whom
// did not ask, or talk to a machine of its own network.
package reports

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"io"
	"log/slog"

	"tram/internal/blob"
	"tram/internal/clock"
	"tram/internal/directory"
	"tram/internal/dns"
	"tram/internal/envelope"
	"tram/internal/kv"
	"tram/internal/limits"
	"tram/internal/metrics"
	"tram/internal/reports/bimi"
	"tram/internal/reports/fetch"
)

var (
	received = metrics.CounterVec("reports_received_total",
		"Reports received about our domains, by kind and what became of them.", "kind", "result")
	sent = metrics.CounterVec("reports_sent_total",
		"Reports to other domains, by kind and what became of them.", "kind", "result")
	uncounted = metrics.CounterVec("reports_uncounted_total",
		"Results that were not counted for reports because there were too many different ones.", "kind")
	icons = metrics.CounterVec("reports_icons_total",
		"Look-ups of domains' icons (BIMI), by result.", "result")
)

// Kind is what a report is about.
type Kind string

// The kinds of reports.
const (
	DMARC Kind = "dmarc"
	TLS   Kind = "tls"
)

// letter stands for a kind in keys.
func (k Kind) letter() byte { return k[0] }

// Options configures Reports. DB, Directory, Limits and Hostname are required.
type Options struct {
	DB        kv.Database
	Blobs     *blob.Store          // of the messages that are sent
	Directory *directory.Directory // which domains are ours
	Resolver  dns.Resolver         // nil: nothing is sent, no icon is looked up
	Queue     Queue                // nil: nothing is sent
	Clock     clock.Clock
	Rand      io.Reader
	Logger    *slog.Logger
	Limits    limits.Set
	Hostname  string
	Org       string // the name that reports give; "": the domain that answers for Hostname
	Contact   string // where to ask about reports; "": postmaster of that domain

	SendDMARC, SendTLS, LookUpIcons bool

	Fetch fetch.Options  // of HTTPS; Resolver and Limits are filled in
	Marks *x509.CertPool // who may vouch for icons; nil: nobody is believed
}

// Queue takes the messages that carry reports.
type Queue interface {
	// Forward makes env durable for delivery and returns nil only then.
	Forward(ctx context.Context, env *envelope.Envelope) error
	// Holds reports whether the message with an identifier is in the queue.
	Holds(ctx context.Context, id string) (bool, error)
}

// Reports receives, counts and sends. It is safe for concurrent use.
type Reports struct {
	o       Options
	limits  limits.Reports
	reading chan struct{} // a place for each report that is read at the same time
	dmarc   ledger
	tls     ledger
	client  *fetch.Client
	icons   wanted
	marks   bimi.Options
}

// New returns Reports over what is stored.
func New(o Options) *Reports {
	if o.Clock == nil {
		o.Clock = clock.System
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Rand == nil {
		o.Rand = rand.Reader
	}
	l := o.Limits.Reports
	o.Fetch.Resolver, o.Fetch.Limits, o.Fetch.Now = o.Resolver, l, o.Clock.Now
	s := &Reports{o: o, limits: l, reading: make(chan struct{}, max(l.Parsing, 1)),
		client: fetch.New(o.Fetch)}
	s.dmarc.init(DMARC, l)
	s.tls.init(TLS, l)
	s.marks = bimi.Options{Limits: l, Roots: o.Marks, Fetch: s.client}
	return s
}

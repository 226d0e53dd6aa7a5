// Package deliver answers "what happens to a message for local people?".
//
// A delivery is a list of named steps (see steps): loops, authentication, final form, recipients,
// repetition, classification, filters, filing, forwarding. What the steps find out is a [Verdict], a
// value that later steps read; policy never hides in the order of if statements.
//
// It promises that an [envelope.Outcome] with a 2xx reply stands for a message that is on disk, in a
// mailbox or in the queue; that the same message handed over twice after a lost reply is stored, held
// or sent on once (RFC 1047); and that whoever is not known to be the sender hears of a failure in the
// session or not at all.
//
// What must never happen: a recipient gets a message twice because another one's mailbox was full,
// or a stranger's forged sender is sent a bounce.
package deliver

import (
	"context"
	"crypto/rand"
	"io"
	"log/slog"
	"sync"

	"tram/internal/clock"
	"tram/internal/directory"
	"tram/internal/envelope"
	"tram/internal/limits"
	"tram/internal/metrics"
	"tram/internal/scan"
	"tram/internal/smtp"
	"tram/internal/spam"
	"tram/internal/store"
	"tram/internal/trace"
)

var (
	deliveries = metrics.CounterVec("deliveries_total",
		"Deliveries to one account or forward, by what became of them.", "result")
	unreported = metrics.Counter("deliveries_unreported_total",
		"Recipients refused after others of the message had it, which the sender was not told.")

	deliveredOK      = deliveries.WithLabelValues("accepted")
	deliveredLater   = deliveries.WithLabelValues("deferred")
	deliveredRefused = deliveries.WithLabelValues("refused")
)

// Options configures a Deliverer. Store, Directory, Hostname and Limits are required.
type Options struct {
	Store     *store.Store
	Directory *directory.Directory
	// Forwarder takes mail for elsewhere and mail that must wait; nil: neither is possible, and
	// the sender is asked to try again.
	Forwarder Forwarder
	Hostname  string // our name in trace fields
	Limits    limits.Set
	Clock     clock.Clock
	Logger    *slog.Logger
	Trace     *trace.Log
	Rand      io.Reader // of message identifiers; nil: crypto/rand
	// Full returns an error while storage has no room (kv.Database's Full); nil: never.
	Full func() error

	// Origins says what is made of who vouches for mail from outside.
	Origins Origins

	// The steps that other rooms decide. A nil one is not configured: it finds nothing.
	Classify Classifier
	Filter   Filter
	// Desk takes mail that programs read; nil: there is none.
	Desk Desk
	// Observe hears what became of each inbound message whose sender was looked into, before the reply:
	// it must not block. nil: nobody counts.
	Observe func(env *envelope.Envelope, fate Fate)

	// Scan asks the filters outside this server; nil: there are none.
	Scan *scan.Scanner
	// Judge says what is wanted and what is not; nil: everything is.
	Judge *spam.Judge
	// Bombed hears of list bombs; nil: nobody is told.
	Bombed Bombed
}

// Forwarder takes over messages that leave or that wait: the queue, wired in cmd.
type Forwarder interface {
	// Forward makes env durable for later delivery and returns nil only then. An error that is an
	// smtp.Reply is what the sender is told.
	Forward(ctx context.Context, env *envelope.Envelope) error
	// HandOver is Forward for envelopes made of one message, all or none, that leaves out those for
	// whom it has taken the message before (envelope.Handing).
	HandOver(ctx context.Context, envs ...*envelope.Envelope) error
	// HandedOver returns those, by the account that sent the message and its key: smtp.Address.String.
	HandedOver(ctx context.Context, account uint64, key [16]byte) ([]string, error)
	// Seen says that the sender knows of it now: the same message again is a new one.
	Seen(ctx context.Context, account uint64, key [16]byte, to ...smtp.Address) error
}

// Deliverer delivers to local people. It is safe for concurrent use.
type Deliverer struct {
	o      Options
	bodies sync.Pool // *Body
}

// New returns a Deliverer.
func New(o Options) *Deliverer {
	if o.Clock == nil {
		o.Clock = clock.System
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Rand == nil {
		o.Rand = rand.Reader
	}
	if o.Full == nil {
		o.Full = func() error { return nil }
	}
	d := &Deliverer{o: o}
	d.bodies.New = func() any { return newBody() }
	return d
}

// IsLocal reports whether mail for domain is ours to deliver.
func (d *Deliverer) IsLocal(domain string) bool { return d.o.Directory.IsLocal(domain) }

// Deliver brings env to each of its recipients, of which all are local, and returns an outcome for
// each, in their order. What the outcomes say is durable. env.Body stays the caller's, to be
// discarded by him.
func (d *Deliverer) Deliver(ctx context.Context, env *envelope.Envelope) []envelope.Outcome {
	run := d.run(ctx, env, false)
	defer run.end()
	outcomes := make([]envelope.Outcome, len(env.Recipients))
	for i := range outcomes {
		outcomes[i] = run.outcome(ctx, run.of(i))
	}
	return outcomes
}

// DeliverAll is Deliver for a sender who gets one reply for all recipients: SMTP after DATA. The
// rule is at settle.
func (d *Deliverer) DeliverAll(ctx context.Context, env *envelope.Envelope) envelope.Outcome {
	run := d.run(ctx, env, true)
	defer run.end()
	return run.outcome(ctx, run.all())
}

// Reply texts that several places give.
var (
	replyTemporary = smtp.NewReply(451, smtp.Enhanced{4, 3, 0}, "Temporary failure, try again")
	replyBusy      = smtp.NewReply(451, smtp.Enhanced{4, 3, 2}, "Too busy for a message of this size, try again")
	replyFull      = smtp.NewReply(452, smtp.Enhanced{4, 3, 1}, "Out of storage, try again later")
	replyQuota     = smtp.NewReply(452, smtp.Enhanced{4, 2, 2}, "Mailbox is full, try again later")
	replyTooLarge  = smtp.NewReply(552, smtp.Enhanced{5, 2, 2},
		"Message is larger than the mailbox may become")
	replyNoUser   = smtp.NewReply(550, smtp.Enhanced{5, 1, 1}, "No such user here")
	replyRelay    = smtp.NewReply(550, smtp.Enhanced{5, 7, 1}, "Relaying denied")
	replyDisabled = smtp.NewReply(550, smtp.Enhanced{5, 2, 1}, "Mailbox is disabled")
	replyLoop     = smtp.NewReply(554, smtp.Enhanced{5, 4, 6}, "Message loops")
)

// Package smtpd answers "what does this mail client or server want, and may it?": the door for mail
// that comes in by SMTP (port 25), by submission (587, 465) and by LMTP (a unix socket), RFC 5321,
// RFC 6409 and RFC 2033. One file per verb.
//
// It promises that 250 after a message means the message is on disk; that a message ends at
// CR LF . CR LF and nowhere else, with no second message hidden in it; that a refusal comes in the
// session, so that nobody is sent a bounce he did not ask for; and that mail leaves for elsewhere
// only for accounts that logged in, under addresses that are theirs.
//
// What must never happen: a byte that came before TLS is obeyed after it, a recipient that is not
// ours is taken from a stranger, or one client's slowness or size costs another his turn.
package smtpd

import (
	"context"
	"log/slog"
	"time"

	"tram/internal/clock"
	"tram/internal/conn"
	"tram/internal/deliver"
	"tram/internal/directory"
	"tram/internal/dns"
	"tram/internal/limits"
	"tram/internal/metrics"
	"tram/internal/spam"
	"tram/internal/trace"
)

// Mode is which of the three kinds of door a Server is.
type Mode string

// The modes.
const (
	MX         Mode = "mx"         // port 25: from anybody, for local people
	Submission Mode = "submission" // ports 587 and 465: from our accounts, for anybody
	LMTP       Mode = "lmtp"       // a unix socket: from a trusted program, for local people
)

var (
	messages = metrics.CounterVec("smtp_messages_total",
		"Messages after DATA or BDAT, by door and what the client was told.", "mode", "result")
	messageBytes = metrics.CounterVec("smtp_message_bytes_total",
		"Bytes of accepted messages.", "mode")
	recipients = metrics.CounterVec("smtp_recipients_total",
		"Recipients, by door and whether they were taken.", "mode", "result")
	logins = metrics.CounterVec("smtp_logins_total", "AUTH commands, by outcome.", "result")
	abuses = metrics.CounterVec("smtp_abuse_total",
		"Sessions ended for breaking the protocol, by what they did.", "kind")
)

// Options configures a Server. Mode, Hostname, Directory, Deliver and Limits are required, Queue for
// submissions.
type Options struct {
	Mode      Mode
	Hostname  string // as the greeting and Received say it; <Postmaster> is that of its domain
	Directory *directory.Directory
	Deliver   *deliver.Deliverer
	Queue     deliver.Forwarder // takes submissions
	Limits    limits.Set
	Clock     clock.Clock
	Logger    *slog.Logger
	Trace     *trace.Log
	// Resolver finds the names of clients, for Received; nil: they stay unknown.
	Resolver dns.Resolver
	// Judge knows bad sources, and looks at what our own people send; nil: nobody does.
	Judge *spam.Judge
	// Measure announces AUTH in the clear to loopback clients; the Directory must agree.
	Measure bool
}

// Server speaks SMTP on connections it is given: its Handle and Refuse go into conn.Options. All it
// keeps between sessions is how many notices came back today.
type Server struct {
	o       Options
	m       meters
	offer   string // of EHLO
	returns *returns
}

// meters are the counters of the hot path, looked up once.
type meters struct {
	accepted, deferred, refused interface{ Inc() }
	bytes                       interface{ Add(float64) }
	rcptTaken, rcptRefused      interface{ Inc() }
}

// New returns a Server.
func New(o Options) *Server {
	if o.Clock == nil {
		o.Clock = clock.System
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	mode := string(o.Mode)
	s := &Server{o: o, returns: newReturns(), m: meters{
		accepted:    messages.WithLabelValues(mode, "accepted"),
		deferred:    messages.WithLabelValues(mode, "deferred"),
		refused:     messages.WithLabelValues(mode, "refused"),
		bytes:       messageBytes.WithLabelValues(mode),
		rcptTaken:   recipients.WithLabelValues(mode, "taken"),
		rcptRefused: recipients.WithLabelValues(mode, "refused"),
	}}
	s.offer = s.makeOffer()
	return s
}

// Refuse is the line for clients that there is no room for.
func (s *Server) Refuse() []byte {
	return []byte("421 4.3.2 " + s.o.Hostname + " has too many connections, try again later\r\n")
}

// Handle serves one session: it is the Handler of a conn.Server.
func (s *Server) Handle(ctx context.Context, c *conn.Conn) {
	x := &session{Server: s, c: c, born: s.o.Clock.Now(), arrivedAt: time.Now()}
	defer x.end()
	if x.greet() {
		x.serve(ctx)
	}
}

// Package popd is the POP3 door: it answers "which messages are there, and may I have them?" for
// programs that fetch their mail (RFC 1939), with CAPA, TOP, UIDL, STLS, SASL, response codes,
// pipelining, UTF8 and LANG (RFC 2449, 2595, 3206, 5034, 6856).
//
// A session sees the maildrop as it was at log-in and holds little of it but the lists that all
// sessions of the mailboxes share: STAT, LIST and UIDL of any number of messages open none, and several
// clients may be logged in at once. What a client deletes goes with its QUIT, in one transaction, and
// people in IMAP see it go.
//
// What an account shows, and what becomes of mail that was fetched, is set in the directory; Expire is
// the chore that removes what was to be kept for some days only.
//
// It promises that the unique identifier of a message never changes and never becomes another's, so
// that leaving mail on the server works for years, and that the size told is the size sent.
//
// What must never happen: a message deleted in a session that did not end with QUIT; a secret in a
// log, a log-in in the clear.
package popd

import (
	"context"
	"log/slog"

	"tram/internal/clock"
	"tram/internal/conn"
	"tram/internal/directory"
	"tram/internal/limits"
	"tram/internal/metrics"
	"tram/internal/store"
)

var (
	commandReplies = metrics.CounterVec("pop3_replies_total",
		"Replies by command and status.", "command", "status")
	sessionsOpen = metrics.Gauge("pop3_sessions_open", "Sessions that are logged in.")
)

// Options configures a Server. Store and Directory are required.
type Options struct {
	Store     *store.Store
	Directory *directory.Directory
	Limits    limits.POP3 // zero: limits.Default().POP3
	// Sessions counts the sessions of each account, together with other doors; nil: without bound.
	Sessions *conn.Sessions
	Clock    clock.Clock  // nil: clock.System
	Logger   *slog.Logger // nil: nothing is logged
}

// Server serves POP3 sessions.
type Server struct{ o Options }

// New returns a Server.
func New(o Options) *Server {
	if o.Limits == (limits.POP3{}) {
		o.Limits = limits.Default().POP3
	}
	if o.Clock == nil {
		o.Clock = clock.System
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Sessions == nil {
		o.Sessions = conn.NewSessions(limits.Conn{})
	}
	return &Server{o}
}

// Refuse is the line for clients there is no room for: conn.Options.Refuse.
func Refuse() []byte { return []byte("-ERR [SYS/TEMP] Too many connections, try again later\r\n") }

// Handle serves one connection: conn.Options.Handler.
func (s *Server) Handle(ctx context.Context, c *conn.Conn) { newSession(s, c).serve(ctx) }

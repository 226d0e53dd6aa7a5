// Package popd is the POP3 door: it answers "which messages are there, and may I have them?" for
// programs that fetch their mail (RFC 1939), with CAPA, TOP, UIDL, STLS, SASL, response codes,
// pipelining, UTF8 and LANG (RFC 2449, 2595, 3206, 5034, 6856).
//
// A session sees the maildrop as it was at log-in and holds nothing of it but the list that all
// sessions of the mailbox share: STAT, LIST and UIDL of any number of messages open none, and several
// clients may be logged in at once. What a client deletes goes with its QUIT, in one transaction, and
// people in IMAP see it go.
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
	"net/netip"
	"sync"

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
	// Conn bounds the sessions of one account (PerUser, PerUserIP); 0 means no bound.
	Conn   limits.Conn
	Clock  clock.Clock  // nil: clock.System
	Logger *slog.Logger // nil: nothing is logged
}

// Server serves POP3 sessions.
type Server struct {
	o Options

	mu    sync.Mutex
	count map[member]int
}

// member is who a session is counted for: an account, and an account from one address.
type member struct {
	account store.AccountID
	addr    netip.Addr // zero: from anywhere
}

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
	return &Server{o: o, count: map[member]int{}}
}

// Refuse is the line for clients there is no room for: conn.Options.Refuse.
func Refuse() []byte { return []byte("-ERR [SYS/TEMP] Too many connections, try again later\r\n") }

// Handle serves one connection: conn.Options.Handler.
func (s *Server) Handle(ctx context.Context, c *conn.Conn) { newSession(s, c).serve(ctx) }

// join counts a session, and reports whether the account may have one more.
func (s *Server) join(id store.AccountID, addr netip.Addr) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	all, here := member{account: id}, member{id, addr}
	if full(s.count[all], s.o.Conn.PerUser) || full(s.count[here], s.o.Conn.PerUserIP) {
		return false
	}
	s.count[all]++
	s.count[here]++
	sessionsOpen.Inc()
	return true
}

func full(n, limit int) bool { return limit > 0 && n >= limit }

// leave undoes join.
func (s *Server) leave(id store.AccountID, addr netip.Addr) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range []member{{account: id}, {id, addr}} {
		if s.count[m]--; s.count[m] == 0 {
			delete(s.count, m)
		}
	}
	sessionsOpen.Dec()
}

// Package imapd is the IMAP door: it answers "what does this client want, and what may it be told
// now?" for IMAP4rev2 and IMAP4rev1 (RFC 9051, RFC 3501) and the extensions listed in docs/imap.md.
//
// One goroutine serves one session, command after command: session.go has the loop, dispatch.go the
// table of commands, and each command a file of its own. What a client has been told of its selected
// mailbox is a view (view.go): an immutable list shared with other sessions, and the few messages
// that are gone without the client's knowing.
//
// It promises that sequence numbers never lie: a client hears of removals only where RFC 9051 §7.5.1
// allows it, and every number is resolved against what it has heard. A command's effect is on disk
// before its OK. A slow reader holds no snapshot and no lock, a long answer is made window by window
// in bounded memory, and an idle session holds no buffer.
//
// What must never happen: a secret or a message in a log, a log-in in the clear, bytes of a refused
// literal taken for a command, an OK for a change that could be lost.
package imapd

import (
	"context"
	"log/slog"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"

	"tram/internal/clock"
	"tram/internal/conn"
	"tram/internal/directory"
	"tram/internal/limits"
	"tram/internal/metrics"
	"tram/internal/store"
)

var (
	commandSeconds = metrics.Seconds("imap_command_seconds",
		"Time from a command's arrival to its tagged reply, by command.", "command")
	commandReplies = metrics.CounterVec("imap_replies_total",
		"Tagged replies by command and status.", "command", "status")
	sessionsOpen = metrics.Gauge("imap_sessions_open", "Sessions that are logged in.")
	idling       = metrics.Gauge("imap_idle_open", "Sessions waiting in IDLE.")
)

// Options configures a Server. Store and Directory are required.
type Options struct {
	Store     *store.Store
	Directory *directory.Directory
	Limits    limits.IMAP // zero: limits.Default().IMAP
	// Sessions counts the sessions of each account, together with other doors; nil: without bound.
	Sessions *conn.Sessions
	Clock    clock.Clock  // nil: clock.System
	Logger   *slog.Logger // nil: nothing is logged
	// Version is told to clients that ask with ID, after log-in; "" tells none.
	Version string
}

// Server serves IMAP sessions.
type Server struct {
	o       Options
	buffers sync.Pool // *[]byte, for replies
	room    room      // for full windows of FETCH

	mu       sync.Mutex
	accounts map[accountKey]*account
}

// New returns a Server.
func New(o Options) *Server {
	if o.Limits == (limits.IMAP{}) {
		o.Limits = limits.Default().IMAP
	}
	if o.Sessions == nil {
		o.Sessions = conn.NewSessions(limits.Conn{})
	}
	if o.Clock == nil {
		o.Clock = clock.System
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Server{o: o, accounts: map[accountKey]*account{}}
	s.room.left.Store(o.Limits.FetchMemory)
	return s
}

// Refuse is the line for clients there is no room for: conn.Options.Refuse.
func Refuse() []byte {
	return []byte("* BYE [UNAVAILABLE] Too many connections, try again later\r\n")
}

// Handle serves one connection: conn.Options.Handler.
func (s *Server) Handle(ctx context.Context, c *conn.Conn) {
	newSession(s, c).serve(ctx)
}

// accountKey names an account as somebody sees it: what others are shown of it is not what its owner
// is.
type accountKey struct {
	of, by store.AccountID
	admin  bool // by logged in as an administrator
}

// account is what the sessions of one account share. Another person's account, of which mailboxes are
// shared, has one for each person who looks into it.
type account struct {
	*store.Account
	key      accountKey
	prefix   string // of the names of its mailboxes; "" for one's own
	sessions int
	recent   recentClaims
	latest   latest
	boxes    sharedBoxes
	marks    sharedMarks
	windows  atomic.Int32 // full ones of FETCH, see room.go
	// searches holds a token for each search that runs: one person's searches take turns, so that
	// they leave the processors to others.
	searches chan struct{}
}

// searchesAtOnce is how many searches of one account run at the same time: half of the processors are
// for everybody else.
var searchesAtOnce = max(1, runtime.NumCPU()/2)

// join counts a new session; nil when the account has too many (RFC 5530 LIMIT).
func (s *Server) join(id store.AccountID, addr netip.Addr) *account {
	if !s.o.Sessions.Join(uint64(id), addr) {
		return nil
	}
	sessionsOpen.Inc()
	return s.hold(accountKey{of: id, by: id}, func() *account {
		return &account{Account: s.o.Store.Account(id), searches: make(chan struct{}, searchesAtOnce)}
	})
}

// hold counts one more session that uses an account, which open opens for the first.
func (s *Server) hold(key accountKey, open func() *account) *account {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.accounts[key]
	if a == nil {
		a = open()
		a.key = key
		s.accounts[key] = a
	}
	a.sessions++
	return a
}

// leave undoes join, and reports whether this was the account's last session.
func (s *Server) leave(a *account, addr netip.Addr) (last bool) {
	s.o.Sessions.Leave(uint64(a.ID()), addr)
	sessionsOpen.Dec()
	return s.release(a)
}

// release undoes hold, and reports whether this was the last session.
func (s *Server) release(a *account) (last bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if a.sessions--; a.sessions > 0 {
		return false
	}
	delete(s.accounts, a.key)
	return true
}

package imapd

import (
	"context"
	"errors"
	"io"
	"net/netip"
	"sync/atomic"
	"time"

	"tram/internal/conn"
	"tram/internal/imap"
	"tram/internal/store"
)

// session is one client. Its fields belong to the session's goroutine, but for revoked.
type session struct {
	srv *Server
	c   *conn.Conn
	ctx context.Context
	dec *imap.Decoder

	tag  string
	name string // of the running command, for logs and metrics
	uid  bool   // the running command has UID before it
	code string // response code of the tagged OK, without brackets
	text string // its text, "" for the usual one
	// toldModSeq: the running command sent a FETCH reply with MODSEQ.
	toldModSeq bool
	// cut is the lowest UID that the running command came to, if it was about too many messages (RFC
	// 9738); 0: it was not.
	cut store.UID

	out  *[]byte // borrowed while a command writes
	hold bool    // replies stay in memory: a transaction is open

	addr    netip.Addr
	revoked atomic.Bool

	person

	commands int // without log-in, before log-in
	bads     int // in a row
	ended    bool
	reason   string // why the session ended, for the log
}

// person is who the client is, and all that it has said since the session began or UNAUTHENTICATE
// ended the one before: what is in here is forgotten then (RFC 8437 §4.1).
type person struct {
	account    *account                     // nil before log-in
	guests     map[store.AccountID]*account // others' accounts that were looked into
	user       string
	domain     string // of the account
	admin      bool   // the account is an administrator
	stopRevoke func()

	sel   *view        // the selected mailbox, nil without one
	saved []imap.Range // UIDs of the saved search result, RFC 5182
	mode  mode
	lang  *conn.Language // nil: "i-default"

	metadata *metadataNews // nil: METADATA is not enabled
	notify   *notifying    // nil: NOTIFY was never used
	idle     *store.Watch  // nil: IDLE does not run
	idleOwn  *store.Watch  // and of the own account, when idle is of another
}

// mode is what the client has enabled (RFC 5161). Only UNAUTHENTICATE switches it off again.
type mode struct {
	rev2      bool // IMAP4rev2
	utf8      bool // UTF8=ACCEPT, implied by rev2
	condstore bool // the client is CONDSTORE-aware (RFC 7162 §3.1)
	qresync   bool
	// uidOnly: no message number goes either way any more (RFC 9586), see uidonly.go.
	uidOnly bool
	// uidsUsed: what was said since then is nothing that only message numbers would make sense of.
	uidsUsed bool
}

// newSession is not inlined: the copy of the limits would lie on the stack as long as the session lasts.
//
//go:noinline
func newSession(srv *Server, c *conn.Conn) *session {
	s := &session{srv: srv, c: c, addr: c.Remote().Addr()}
	s.dec = imap.NewDecoder(c, imap.BeforeLogin(srv.o.Limits))
	s.dec.Continue = s.proceed
	return s
}

// serve runs the session from the greeting to the end.
func (s *session) serve(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s.ctx = ctx
	defer s.close(s.srv.o.Clock.Now())
	s.greet()
	for !s.ended {
		s.tellNews()
		s.give()
		// All waiting is done here, IDLE's too: the less there is on the stack, the smaller the
		// collector makes it, and ten thousand sessions wait.
		s.goOn(s.c.Wait())
	}
}

// greet begins the conversation.
func (s *session) greet() {
	// The socket's deadline runs on the machine's clock, see package conn.
	s.c.SetDeadline(time.Now().Add(s.srv.o.Limits.PreAuthIdle))
	s.untagged("OK [CAPABILITY %s] Tram ready", s.capabilities())
}

// goOn does what the end of a wait is for: it hears news, or reads and runs a command.
func (s *session) goOn(err error) {
	if errors.Is(err, conn.ErrInterrupted) && !s.revoked.Load() {
		s.hearInIdle() // else it is for NOTIFY, or the last word of an IDLE's watch
		return
	}
	if err == nil && s.idle != nil {
		s.endIdle(s.done())
		return
	}
	if err == nil {
		err = s.dec.Next()
	}
	if err != nil {
		s.endWith(err)
		return
	}
	s.tellBefore()
	s.command()
	s.dec.Reset()
}

// proceed sends a continuation request: the decoder wants a literal.
func (s *session) proceed() error {
	s.printf("+ Ready\r\n")
	s.give()
	return s.c.Flush()
}

// endWith says goodbye where there is somebody to say it to.
func (s *session) endWith(err error) {
	switch {
	case errors.Is(err, conn.ErrDraining):
		s.bye("UNAVAILABLE", "Server is shutting down, please connect again")
	case errors.Is(err, conn.ErrInterrupted):
		s.bye("AUTHORIZATIONFAILED", "Log-in was revoked")
	case errors.Is(err, conn.ErrTimeout):
		s.bye("", "Autologout; idle for too long") // RFC 9051 §5.4
	case errors.Is(err, conn.ErrLineTooLong), errors.Is(err, conn.ErrFlood):
		s.bye("LIMIT", "Command line too long")
	case errors.Is(err, conn.ErrDeflate):
		s.bye("CLIENTBUG", "Compressed data is malformed")
	default:
		s.end("disconnected")
	}
}

// bye ends the session with an untagged BYE.
func (s *session) bye(code, text string) {
	if code != "" {
		code = "[" + code + "] "
	}
	s.untagged("BYE %s%s", code, s.translate(text))
	s.end(text)
}

// end makes the command loop stop after the running command; the first reason is the one logged.
func (s *session) end(reason string) {
	s.ended = true
	if s.reason == "" {
		s.reason = reason
	}
}

// close gives back what the session holds and tells the log.
func (s *session) close(began time.Time) {
	s.give()
	s.leaveIdle()
	s.leave()
	if s.account == nil {
		return
	}
	s.c.LogEnd("imap", s.user, s.reason, s.srv.o.Clock.Now().Sub(began))
}

// revokeGrace is how long a session may go on with what it is doing after its account was revoked.
const revokeGrace = 3 * time.Second

// revoke is the directory's hook: it ends the session from another goroutine. A session that waits
// says BYE; one that is stuck in a write, or in a long command, is cut after a moment.
func (s *session) revoke() {
	s.revoked.Store(true)
	s.c.Dismiss(s.ctx, s.srv.o.Clock, revokeGrace)
}

// view runs fn in a snapshot of the session's own account.
func (s *session) view(fn func(tx *store.Tx) error) error {
	return s.account.View(s.ctx, fn)
}

// viewSelected is view for the account that the selected mailbox is in.
func (s *session) viewSelected(fn func(tx *store.Tx) error) error {
	return s.sel.account.View(s.ctx, fn)
}

// update runs fn in a transaction of the session's own account; it is durable when update returns nil.
func (s *session) update(fn func(tx *store.Tx) error) error {
	return s.updateIn(s.account, fn)
}

// updateSelected is update for the account that the selected mailbox is in.
func (s *session) updateSelected(fn func(tx *store.Tx) error) error {
	return s.updateIn(s.sel.account, fn)
}

// updateIn is update for any account.
func (s *session) updateIn(a *account, fn func(tx *store.Tx) error) error {
	return s.change(s.ctx, a, fn)
}

// freeingSelected is updateSelected for what leaves less stored than before: it works on a full disk too.
func (s *session) freeingSelected(fn func(tx *store.Tx) error) error {
	return s.freeingIn(s.sel.account, fn)
}

// freeingIn is freeingSelected for any account.
func (s *session) freeingIn(a *account, fn func(tx *store.Tx) error) error {
	return s.change(store.Freeing(s.ctx), a, fn)
}

// sees reports whether the selected mailbox is in an account: its news are read with what changes
// there.
func (s *session) sees(a *account) bool { return s.sel != nil && s.sel.account == a }

// change runs a transaction of the session's own, which NOTIFY does not tell it of.
func (s *session) change(ctx context.Context, a *account, fn func(tx *store.Tx) error) error {
	ctx, stop := s.working(ctx)
	defer stop()
	var from, to store.ModSeq
	if s.sees(a) {
		fn = readAhead(fn)
	}
	err := a.Update(ctx, func(tx *store.Tx) error {
		from = tx.ModSeq()
		err := fn(tx)
		to = tx.ModSeq()
		return err
	})
	if err == nil {
		s.notify.did(a, from, to)
	}
	return err
}

// readAhead reads what the news of the selected mailbox need before fn writes: the first read after
// a write makes the transaction index all that it wrote.
func readAhead(fn func(tx *store.Tx) error) func(tx *store.Tx) error {
	return func(tx *store.Tx) error {
		if _, err := tx.Keywords(); err != nil {
			return err
		}
		return fn(tx)
	}
}

// lineAfterPlus reads what the client says to a continuation request outside of the command
// grammar: SASL responses and IDLE's DONE.
func (s *session) lineAfterPlus(max int) (string, error) {
	line, err := s.c.ReadLine(max)
	if err != nil && (len(line) > 0 || errors.Is(err, conn.ErrBareLF)) {
		return "", &imap.Error{Text: "Malformed line: " + err.Error()}
	}
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return string(line), err
}

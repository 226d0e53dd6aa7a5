package popd

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"tram/internal/conn"
	"tram/internal/store"
)

// session is one client. Its fields belong to the session's goroutine.
type session struct {
	srv  *Server
	c    *conn.Conn
	ctx  context.Context
	addr netip.Addr
	lang *conn.Language

	user       string // what USER said, "" before it
	utf8       bool   // UTF8 was said
	account    *store.Account
	name       string // the account's address
	stopRevoke func()

	drop    *maildrop // nil before log-in
	bads    int       // in a row
	strange int       // commands before log-in that lead nowhere
	ended   bool
	reason  string
}

func newSession(srv *Server, c *conn.Conn) *session {
	return &session{srv: srv, c: c, addr: c.Remote().Addr(), lang: conn.English}
}

// serve runs the session from the greeting to the end.
func (s *session) serve(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s.ctx = ctx
	began := s.srv.o.Clock.Now()
	defer s.close(began)
	// The socket's deadline runs on the machine's clock, see package conn.
	s.c.SetDeadline(time.Now().Add(s.srv.o.Limits.PreAuthIdle))
	s.ok("Tram ready")
	for !s.ended {
		if err := s.c.Wait(); err != nil {
			s.endWith(err)
			return
		}
		line, err := s.line()
		switch {
		case errors.Is(err, conn.ErrLineTooLong), errors.Is(err, conn.ErrBareLF), errors.Is(err, conn.ErrBareCR):
			s.bad("Malformed command line")
			continue
		case err != nil:
			s.endWith(err)
			return
		}
		s.command(string(line))
	}
}

// line reads a command line that has begun. After log-in, where the idle time is long, a line has its
// own: whoever sends a byte now and then would else hold a session for hours.
func (s *session) line() ([]byte, error) {
	if s.drop == nil {
		return s.c.ReadLine(s.srv.o.Limits.Line)
	}
	s.c.SetDeadline(time.Now().Add(s.srv.o.Limits.WriteStall))
	defer s.c.SetDeadline(time.Time{})
	return s.c.ReadLine(s.srv.o.Limits.Line)
}

// endWith says goodbye where there is somebody to say it to.
func (s *session) endWith(err error) {
	switch {
	case errors.Is(err, conn.ErrDraining):
		s.err("SYS/TEMP", "Server is shutting down, please connect again")
	case errors.Is(err, conn.ErrInterrupted):
		s.err("AUTH", "Log-in was revoked")
	case errors.Is(err, conn.ErrFlood):
		s.err("", "Command line too long")
	}
	s.end(err.Error())
}

// end makes the command loop stop; the first reason is the one logged. Nothing is deleted: only QUIT
// does that (RFC 1939 §6).
func (s *session) end(reason string) {
	s.ended = true
	if s.reason == "" {
		s.reason = reason
	}
}

// close gives back what the session holds and tells the log.
func (s *session) close(began time.Time) {
	if s.stopRevoke != nil {
		s.stopRevoke()
	}
	if s.account == nil {
		return
	}
	s.srv.o.Sessions.Leave(uint64(s.account.ID()), s.addr)
	sessionsOpen.Dec()
	s.c.LogEnd("pop3", s.name, s.reason, s.srv.o.Clock.Now().Sub(began))
}

// revokeGrace is how long a session may go on with what it is doing after its account was revoked.
const revokeGrace = 3 * time.Second

// revoke is the directory's hook: it ends the session from another goroutine.
func (s *session) revoke() { s.c.Dismiss(s.ctx, s.srv.o.Clock, revokeGrace) }

// Replies are kept until the session waits for the next command. Their texts are translated to the
// session's language; response codes (RFC 2449 §8) are not.

// ok sends a positive reply. args fill the verbs of the text, which stay the same in every language.
func (s *session) ok(text string, args ...any) {
	s.reply("+OK ", text, args...)
}

// err sends a negative reply with a response code, "" for none.
func (s *session) err(code, text string, args ...any) {
	status := "-ERR "
	if code != "" {
		status += "[" + code + "] "
	}
	s.reply(status, text, args...)
}

func (s *session) reply(status, text string, args ...any) {
	text = s.lang.Translate(vietnamese, text)
	if len(args) > 0 {
		text = fmt.Sprintf(text, args...)
	}
	// An error is the connection's end, which the next wait tells.
	_, _ = s.c.WriteString(status + text + "\r\n")
}

// bad answers what cannot be understood; too much of it in a row ends the session.
func (s *session) bad(text string) {
	s.err("", text)
	if s.bads++; s.bads >= s.srv.o.Limits.BadCommands {
		s.end("too many errors")
	}
}

// command runs one command line.
func (s *session) command(line string) {
	verb, args, _ := strings.Cut(line, " ")
	verb = strings.ToUpper(verb)
	cmd, known := commands[verb]
	if !known {
		commandReplies.WithLabelValues("unknown", "-ERR").Inc()
		s.bad("Unknown command")
		return
	}
	loggedIn := s.drop != nil
	if loggedIn && cmd.when == before || !loggedIn && cmd.when == after {
		commandReplies.WithLabelValues(verb, "-ERR").Inc()
		s.bad("Command is not possible now")
		return
	}
	if !loggedIn {
		if s.strange++; s.strange > s.srv.o.Limits.PreAuthCommands {
			s.err("", "Too many commands without log-in")
			s.end("too many commands without log-in")
			return
		}
	}
	if err := cmd.run(s, args); err != nil {
		commandReplies.WithLabelValues(verb, "-ERR").Inc()
		s.refuse(verb, err)
		return
	}
	s.bads = 0
	commandReplies.WithLabelValues(verb, "+OK").Inc()
}

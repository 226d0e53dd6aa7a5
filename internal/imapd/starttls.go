package imapd

import (
	"errors"
	"time"

	"tram/internal/conn"
	"tram/internal/imap"
)

// startTLS is STARTTLS, RFC 9051 §6.2.1. What was learned before is forgotten, and input that
// arrived with the command in the clear ends the session (§11.1, injection).
func (s *session) startTLS() error {
	if err := s.args(); err != nil {
		return err
	}
	if !s.c.CanStartTLS() {
		return &imap.Error{Text: "TLS is active already, or not available"}
	}
	s.tagged("OK", "", "Begin TLS negotiation now")
	s.give()
	err := s.c.StartTLS(s.ctx)
	switch {
	case errors.Is(err, conn.ErrInjected):
		s.end("plaintext after STARTTLS")
		return err
	case err != nil:
		s.end("TLS handshake failed")
		return err
	}
	s.commands, s.bads = 0, 0
	s.lang = nil // somebody on the way may have chosen it, RFC 5255 §3.1
	s.c.SetDeadline(time.Now().Add(s.srv.o.Limits.PreAuthIdle))
	return errReplied
}

var (
	// errReplied is returned by a command that has sent its tagged reply itself.
	errReplied = errors.New("replied already")
	// errEnded is returned by a command whose session ended while it ran.
	errEnded = errors.New("session ended")
)

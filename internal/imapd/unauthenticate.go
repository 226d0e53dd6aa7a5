package imapd

import (
	"time"

	"tram/internal/imap"
)

// unauthenticate is UNAUTHENTICATE, RFC 8437 §3: the connection is as it was before the log-in. It
// is never answered NO; where it cannot be done the session ends.
func (s *session) unauthenticate() error {
	if err := s.args(); err != nil {
		return err
	}
	s.c.Logger().Info("imap log-out", "account", s.user)
	s.leave()
	s.person = person{}
	s.dec.UTF8 = false
	s.dec.SetLimits(imap.BeforeLogin(s.srv.o.Limits))
	s.commands, s.bads = 0, 0
	s.c.SetIdle(0)
	s.c.SetDeadline(time.Now().Add(s.srv.o.Limits.PreAuthIdle))
	s.tagged("OK", "CAPABILITY "+s.capabilities(), "Logged out")
	s.give()
	// RFC 8437 §4.1: compression ends with the reply, and on the client's side with the command,
	// so that AUTHENTICATE may be on its way already.
	if err := s.c.StopCompression(); err != nil {
		s.endWith(err)
		return errEnded
	}
	return errReplied
}

// leave gives back what the session holds of its account.
func (s *session) leave() {
	s.stopNotifying()
	s.leaveGuests()
	if s.stopRevoke != nil {
		s.stopRevoke()
	}
	if s.account != nil && s.srv.leave(s.account, s.addr) {
		s.keepRecent()
	}
}

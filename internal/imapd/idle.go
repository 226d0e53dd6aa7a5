package imapd

import (
	"context"
	"errors"
	"strings"

	"tram/internal/conn"
	"tram/internal/imap"
)

// maxDone bounds the line that ends IDLE.
const maxDone = 64

// idle is IDLE, RFC 9051 §6.3.13 and RFC 2177: the session sleeps until the account changes or the
// client says DONE. Nothing is polled, and nothing is held but the watch.
func (s *session) idle() error {
	if err := s.args(); err != nil {
		return err
	}
	idling.Inc()
	defer idling.Dec()
	// The watch begins before the news are read: no change falls between the two.
	watch := s.account.Watch(context.WithoutCancel(s.ctx)) // closed below
	defer watch.Close()
	s.printf("+ idling\r\n")
	for {
		s.dec.Reset()
		if err := s.catchUp(mayExpunge); err != nil {
			return err
		}
		s.code = "" // a HIGHESTMODSEQ belongs to a command's end
		s.give()
		if s.ended {
			return errEnded
		}
		err := s.c.WaitOr(watch.C())
		if errors.Is(err, conn.ErrInterrupted) && !s.revoked.Load() {
			continue
		}
		if err != nil {
			s.endWith(err)
			return err
		}
		return s.done()
	}
}

// done reads the line that ends IDLE.
func (s *session) done() error {
	line, err := s.lineAfterPlus(maxDone)
	if err != nil {
		return s.lost(err)
	}
	if !strings.EqualFold(line, "DONE") {
		return &imap.Error{Text: "Expected DONE"}
	}
	return s.catchUp(mayExpunge)
}

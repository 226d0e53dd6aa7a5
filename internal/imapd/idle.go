package imapd

import (
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
	watch := s.account.OnChange(s.c.Interrupt)
	defer watch.Close()
	s.printf("+ idling\r\n")
	err := s.catchUp(mayExpunge)
	for {
		if err != nil {
			return err
		}
		s.dec.Reset()
		s.code = "" // a HIGHESTMODSEQ belongs to a command's end
		s.give()
		if s.ended {
			return errEnded
		}
		err = s.c.Wait()
		if errors.Is(err, conn.ErrInterrupted) && !s.revoked.Load() {
			err = s.hear(watch)
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

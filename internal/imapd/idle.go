package imapd

import (
	"errors"
	"strings"
	"time"

	"tram/internal/imap"
)

// maxDone bounds the line that ends IDLE.
const maxDone = 64

// errIdling is returned by a command that goes on: the client says DONE when it is over.
var errIdling = errors.New("idling")

// startIdle is IDLE, RFC 9051 §6.3.13 and RFC 2177: the session sleeps until the account changes or
// the client says DONE. Nothing is polled, and nothing is held but the watch. With NOTIFY the client is
// told what it asked for there, and no more (RFC 5465 §4).
func (s *session) startIdle() error {
	if err := s.args(); err != nil {
		return err
	}
	idling.Inc()
	// The watch begins before the news are read: no change falls between the two.
	s.watchIdle()
	s.printf("+ idling\r\n")
	if s.notify == nil {
		if err := s.catchUp(mayExpunge); err != nil {
			s.leaveIdle()
			return err
		}
	}
	return errIdling
}

// watchIdle begins the watches: of the account that the selected mailbox is in, and, where that is
// another's, of the own one for those who hear of annotations.
func (s *session) watchIdle() {
	at := s.account
	if s.sel != nil {
		at = s.sel.account
	}
	s.idle = at.OnChange(s.c.Interrupt)
	if at != s.account && s.metadata != nil {
		s.idleOwn = s.account.OnChange(s.c.Interrupt)
	}
}

// leaveIdle ends the watches.
func (s *session) leaveIdle() {
	if s.idleOwn != nil {
		s.idleOwn.Close()
		s.idleOwn = nil
	}
	if s.idle != nil {
		s.idle.Close()
		s.idle = nil
		idling.Dec()
	}
}

// hearInIdle tells the news that ended a wait. With NOTIFY, tellNews does.
func (s *session) hearInIdle() {
	if s.idle == nil || s.notify != nil {
		return
	}
	if err := s.hear(s.idle, mayExpunge); err != nil {
		s.endIdle(err)
	}
}

// tellNews tells what a session that waits is to hear before it does.
func (s *session) tellNews() {
	s.tellNotices(s.idle != nil)
	if s.idle != nil {
		s.updateContexts()
		s.code = "" // a HIGHESTMODSEQ belongs to a command's end
	}
}

// endIdle replies to IDLE.
func (s *session) endIdle(err error) {
	s.leaveIdle()
	if err == nil && s.notify == nil {
		err = s.catchUp(mayExpunge)
	}
	s.finish(err, time.Now()) // how long the client idled says nothing about the server
	s.dec.Reset()
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
	return nil
}

package imapd

import "fmt"

// RFC 9738 lets a server say how many messages one command may be about. FETCH, STORE, SEARCH, COPY,
// MOVE and EXPUNGE have no such limit here: a mailbox's list is in memory anyway, the rest is done a
// window at a time, and a client that does not know MESSAGELIMIT would take the part that it is given
// for the whole. MULTIAPPEND has one, so SAVELIMIT is what is told; a COPY of more messages is done
// all the same, as programs that know nothing of it ask for them.

// saveLimit is the SAVELIMIT capability with a space before it, "" without a limit.
func (s *session) saveLimit() string {
	if n := s.srv.o.Limits.AppendMessages; n > 0 {
		return fmt.Sprintf(" SAVELIMIT=%d", n)
	}
	return ""
}

// tooManyToSave refuses an APPEND of too many messages; nothing of it is stored, so there is no UID
// to name.
func (s *session) tooManyToSave() error {
	return &no{
		fmt.Sprintf("MESSAGELIMIT %d", s.srv.o.Limits.AppendMessages),
		"Too many messages in one APPEND",
	}
}

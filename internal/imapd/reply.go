package imapd

import (
	"context"
	"errors"

	"tram/internal/directory"
	"tram/internal/imap"
	"tram/internal/store"
)

// no is a NO with a response code of RFC 5530 or RFC 9051 §7.1.
type no struct{ code, text string }

// Error implements error.
func (e *no) Error() string { return e.text }

// refusals says how errors of the house are told to clients; the first that matches counts.
var refusals = []struct {
	err error
	no
}{
	{store.ErrNotFound, no{"NONEXISTENT", "No such mailbox"}},
	{store.ErrNoPermission, no{"NOPERM", "You have no right to do this here"}},
	{store.ErrExists, no{"ALREADYEXISTS", "Mailbox exists already"}},
	{store.ErrOverQuota, no{"OVERQUOTA", "Quota is exceeded"}},
	{store.ErrInvalidName, no{"CANNOT", "Not a valid mailbox name"}},
	{store.ErrHasChildren, no{"HASCHILDREN", "Mailbox has mailboxes below it"}},
	{store.ErrProtected, no{"CANNOT", "This mailbox cannot be removed or renamed"}},
	{store.ErrTooMany, no{"LIMIT", "A limit of this server is reached"}},
	{store.ErrTooOld, no{"UNAVAILABLE", "History was pruned"}},
	{store.ErrDamaged, no{"CORRUPTION", "Stored mail is damaged, the administrator was told"}},
	{store.ErrFull, no{"UNAVAILABLE", "Server has no room at the moment, try again later"}},
	{store.ErrBusy, no{"UNAVAILABLE", "Too many long messages at once, try again"}},
	{directory.ErrBadCredentials, no{"AUTHENTICATIONFAILED", "Invalid user name or password"}},
	{directory.ErrDisabled, no{"AUTHENTICATIONFAILED", "Invalid user name or password"}},
	{directory.ErrBusy, no{"UNAVAILABLE", "Too many log-ins at once, try again"}},
	{directory.ErrTLSRequired, no{"PRIVACYREQUIRED", "Log-in needs TLS"}},
	{directory.ErrMechanism, no{"CANNOT", "Unknown authentication mechanism"}},
	{context.DeadlineExceeded, no{"LIMIT", "The command took too long and was given up"}},
}

// reply sends the tagged reply for a command that ended with err, and returns its status. It is the
// one place where an error becomes a reply.
func (s *session) reply(err error) (status string) {
	switch {
	case err == nil && s.text == "":
		s.tagged("OK", s.code, s.name+" completed")
	case err == nil:
		s.tagged("OK", s.code, s.text)
	case errors.Is(err, errReplied):
	default:
		return s.failed(err)
	}
	return "OK"
}

// failed is reply for errors. A BAD is the client's fault, a NO is not; what is in no table is ours.
func (s *session) failed(err error) (status string) {
	var bad *imap.Error
	var refused *no
	var throttled directory.ErrThrottled
	switch {
	case errors.As(err, &bad):
		status := "BAD"
		if bad.No {
			status = "NO"
		}
		s.tagged(status, bad.Code, bad.Text)
		if bad.Close {
			s.bye(bad.Code, bad.Text)
		}
		return status
	case errors.As(err, &refused):
		s.tagged("NO", refused.code, refused.text)
	case errors.As(err, &throttled):
		s.tagged("NO", "UNAVAILABLE", "Too many failed log-ins, try again later")
	case errors.Is(err, directory.ErrMalformed):
		s.tagged("BAD", "", "Malformed authentication exchange")
		return "BAD"
	case s.ctx.Err() != nil:
		s.end("cancelled")
	default:
		s.refuse(err)
	}
	return "NO"
}

// refuse answers with the entry of the table, and with a confession if there is none.
func (s *session) refuse(err error) {
	for _, r := range refusals {
		if !errors.Is(err, r.err) {
			continue
		}
		if r.err == store.ErrDamaged || r.err == store.ErrFull {
			s.log("imap command failed", err)
		}
		s.tagged("NO", r.code, r.text)
		return
	}
	s.log("imap command failed", err)
	s.tagged("NO", "SERVERBUG", "Internal error, the administrator was told")
}

// log tells the operator of a failure that is not the client's.
func (s *session) log(event string, err error) {
	s.c.Logger().Error(event, "account", s.user, "command", s.name, "error", err)
}

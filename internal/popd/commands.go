package popd

import (
	"context"
	"errors"
	"strings"

	"tram/internal/directory"
	"tram/internal/store"
)

// when says in which state a command is possible (RFC 1939 §3).
type when uint8

const (
	always when = iota
	before      // AUTHORIZATION
	after       // TRANSACTION
)

// commands is the table of commands.
var commands = map[string]struct {
	when when
	run  func(s *session, args string) error
}{
	"CAPA": {always, none((*session).capa)},
	"NOOP": {after, none((*session).noop)},
	"QUIT": {always, none((*session).quit)},
	"LANG": {always, (*session).language},
	"UTF8": {before, none((*session).enableUTF8)},
	"STLS": {before, none((*session).startTLS)},
	"USER": {before, (*session).userName},
	"PASS": {before, (*session).password},
	"AUTH": {before, (*session).authenticate},
	"STAT": {after, none((*session).stat)},
	"LIST": {after, (*session).list},
	"UIDL": {after, (*session).uidl},
	"RETR": {after, (*session).retr},
	"TOP":  {after, (*session).top},
	"DELE": {after, (*session).dele},
	"RSET": {after, none((*session).rset)},
}

// refused is an error that is the client's: code and text of the -ERR.
type refused struct{ code, text string }

// Error implements error.
func (r *refused) Error() string { return r.text }

var errArguments = &refused{"", "Wrong arguments"}

// errGone: the client went away in the middle of a command. Nobody is answered, and it is no failure.
var errGone = errors.New("client is gone")

// refusals says how errors of the house are told to clients; the first that matches counts. AUTH is
// for what only other credentials, or a better connection, would change, SYS/TEMP for what passes,
// SYS/PERM for what an administrator must see to (RFC 3206 §§3 and 4). IN-USE and LOGIN-DELAY
// (RFC 2449 §8.1) never come: no session keeps another out, and none must wait.
var refusals = []struct {
	err error
	refused
}{
	{directory.ErrBadCredentials, refused{"AUTH", "Invalid user name or password"}},
	{directory.ErrDisabled, refused{"AUTH", "Invalid user name or password"}},
	{directory.ErrBusy, refused{"SYS/TEMP", "Too many log-ins at once, try again"}},
	{directory.ErrTLSRequired, refused{"AUTH", "Log-in needs TLS"}},
	{directory.ErrMechanism, refused{"", "Unknown authentication mechanism"}},
	{directory.ErrMalformed, refused{"", "Malformed authentication exchange"}},
	{directory.ErrBase64, refused{"", "Invalid base64"}},
	{directory.ErrCancelled, refused{"", "Authentication was cancelled"}}, // RFC 5034 §4
	{store.ErrDamaged, refused{"SYS/PERM", "Stored mail is damaged, the administrator was told"}},
	{store.ErrFull, refused{"SYS/TEMP", "Server has no room at the moment, try again later"}},
	{store.ErrNotFound, refused{"", "No such message"}},
	{context.DeadlineExceeded, refused{"SYS/TEMP", "The command took too long"}},
}

// refuse answers an error.
func (s *session) refuse(verb string, err error) {
	var r *refused
	var throttled directory.ErrThrottled
	switch {
	case errors.As(err, &r):
		if r == errArguments {
			s.bad(r.text)
			return
		}
		s.err(r.code, r.text)
		return
	case errors.As(err, &throttled):
		// RFC 3206 §3: AUTH would make programs ask for another password, and this one may be right.
		s.err("SYS/TEMP", "Too many failed log-ins, try again later")
		return
	case errors.Is(err, errGone):
		return
	case s.ctx.Err() != nil:
		s.end("cancelled")
		return
	}
	for _, known := range refusals {
		if errors.Is(err, known.err) {
			if known.err == store.ErrDamaged || known.err == store.ErrFull {
				s.log(verb, err)
			}
			s.err(known.code, known.text)
			return
		}
	}
	s.log(verb, err)
	s.err("SYS/TEMP", "Internal error, the administrator was told")
}

// log tells the operator of a failure that is not the client's.
func (s *session) log(verb string, err error) {
	s.c.Logger().Error("pop3 command failed", "account", s.name, "command", verb, "error", err)
}

// none runs a command without arguments.
func none(run func(s *session) error) func(*session, string) error {
	return func(s *session, args string) error {
		if strings.TrimSpace(args) != "" {
			return errArguments
		}
		return run(s)
	}
}

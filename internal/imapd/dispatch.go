package imapd

import (
	"errors"
	"time"

	"tram/internal/imap"
)

// state is a set of session states, RFC 9051 §3.
type state uint8

const (
	notAuthenticated state = 1 << iota
	authenticated
	selected

	loggedIn = authenticated | selected
	anyState = notAuthenticated | loggedIn
)

// A command's life: command notes the tag, run finds the function and calls it, the function reads
// its arguments to the end and acts, settle leaves the input at the next command, and reply answers.
// A function that fails half-way through its arguments need not care about the rest of them: settle
// drops it, with the literals that are on their way.

// command is an entry of the command table.
type command struct {
	in  state
	run func(*session) error
}

// commands is every command; an extension adds its line here and its file beside the others. run
// reads the arguments with s.dec up to End, acts, and returns what went wrong.
var commands = map[string]command{
	"CAPABILITY":     {anyState, (*session).capability},
	"ID":             {anyState, (*session).id},
	"LANGUAGE":       {anyState, (*session).language},
	"LOGOUT":         {anyState, (*session).logout},
	"NOOP":           {anyState, (*session).noop},
	"AUTHENTICATE":   {notAuthenticated, (*session).authenticate},
	"LOGIN":          {notAuthenticated, (*session).login},
	"STARTTLS":       {notAuthenticated, (*session).startTLS},
	"DELETEACL":      {loggedIn, (*session).deleteACL},
	"GETACL":         {loggedIn, (*session).getACL},
	"LISTRIGHTS":     {loggedIn, (*session).listRights},
	"MYRIGHTS":       {loggedIn, (*session).myRights},
	"SETACL":         {loggedIn, (*session).setACL},
	"APPEND":         {loggedIn, (*session).append},
	"COMPRESS":       {loggedIn, (*session).compress},
	"CREATE":         {loggedIn, (*session).create},
	"DELETE":         {loggedIn, (*session).delete},
	"ENABLE":         {loggedIn, (*session).enable},
	"ESEARCH":        {loggedIn, (*session).esearch},
	"EXAMINE":        {loggedIn, (*session).examine},
	"GETMETADATA":    {loggedIn, (*session).getMetadata},
	"GETQUOTA":       {loggedIn, (*session).getQuota},
	"GETQUOTAROOT":   {loggedIn, (*session).getQuotaRoot},
	"IDLE":           {loggedIn, (*session).startIdle},
	"LIST":           {loggedIn, (*session).list},
	"LSUB":           {loggedIn, (*session).lsub},
	"NAMESPACE":      {loggedIn, (*session).namespace},
	"NOTIFY":         {loggedIn, (*session).notifyCommand},
	"RENAME":         {loggedIn, (*session).rename},
	"SELECT":         {loggedIn, (*session).selectMailbox},
	"SETMETADATA":    {loggedIn, (*session).setMetadata},
	"SETQUOTA":       {loggedIn, (*session).setQuota},
	"STATUS":         {loggedIn, (*session).status},
	"SUBSCRIBE":      {loggedIn, (*session).subscribe},
	"UNAUTHENTICATE": {loggedIn, (*session).unauthenticate},
	"UNSUBSCRIBE":    {loggedIn, (*session).unsubscribe},
	"CANCELUPDATE":   {selected, (*session).cancelUpdate},
	"CHECK":          {selected, (*session).check},
	"CLOSE":          {selected, (*session).closeMailbox},
	"COPY":           {selected, (*session).copy},
	"EXPUNGE":        {selected, (*session).expunge},
	"FETCH":          {selected, (*session).fetch},
	"MOVE":           {selected, (*session).move},
	"REPLACE":        {selected, (*session).replace},
	"SEARCH":         {selected, (*session).search},
	"SORT":           {selected, (*session).sort},
	"STORE":          {selected, (*session).store},
	"THREAD":         {selected, (*session).thread},
	"UIDBATCHES":     {selected, (*session).uidBatches},
	"UNSELECT":       {selected, (*session).unselect},
}

// uidCommands may have UID before them.
var uidCommands = map[string]bool{
	"COPY": true, "EXPUNGE": true, "FETCH": true, "MOVE": true, "SEARCH": true, "STORE": true,
	"REPLACE": true, "SORT": true, "THREAD": true,
	"ESEARCH": true,
}

// state tells what the session may do now.
func (s *session) state() state {
	switch {
	case s.account == nil:
		return notAuthenticated
	case s.sel == nil:
		return authenticated
	}
	return selected
}

// command reads and runs one command and sends its tagged reply.
func (s *session) command() {
	began := time.Now()
	s.tag, s.name, s.uid, s.code, s.text, s.toldModSeq, s.cut = "*", "", false, "", "", false, 0
	s.finish(s.run(), began)
}

// finish ends the running command, which came at began, with err.
func (s *session) finish(err error, began time.Time) {
	err = s.settle(err)
	if s.ended && err != nil || errors.Is(err, errIdling) {
		return
	}
	s.updateContexts()
	s.guardModSeq()
	s.tellCut(err)
	status := s.reply(err)
	name := s.name
	if name == "" {
		name = "unknown"
	}
	commandReplies.WithLabelValues(name, status).Inc()
	commandSeconds.WithLabelValues(name).Observe(time.Since(began).Seconds())
	s.count(status)
}

// run reads the command's name and calls its function.
func (s *session) run() error {
	if tag := s.dec.Tag(); s.dec.Err() == nil {
		s.tag = tag
	}
	s.dec.SP()
	name := s.dec.Label()
	if name == "UID" {
		s.uid = true
		s.dec.SP()
		name = s.dec.Label()
		if s.dec.Err() == nil && !uidCommands[name] {
			return &imap.Error{Text: "Unknown UID command"}
		}
	}
	if err := s.dec.Err(); err != nil {
		return err
	}
	cmd, ok := commands[name]
	switch {
	case !ok:
		return &imap.Error{Text: "Unknown command"}
	case cmd.in&s.state() == 0:
		s.name = name
		return &imap.Error{Text: wrongState(cmd.in)}
	}
	s.name = name
	if err := s.keepToUIDs(name); err != nil {
		return err
	}
	return cmd.run(s)
}

// wrongState says what has to come before a command.
func wrongState(in state) string {
	switch {
	case in == notAuthenticated:
		return "Already logged in"
	case in == selected:
		return "No mailbox is selected"
	}
	return "Log in first"
}

// args ends the reading of arguments: it returns the client's error, if there was one.
func (s *session) args() error {
	s.dec.End()
	return s.dec.Err()
}

// settle leaves the input at the next command, and turns an error of the input into the end of the
// session.
func (s *session) settle(err error) error {
	if s.ended {
		return err
	}
	finish := s.dec.Finish()
	if finish == nil {
		return err
	}
	var e *imap.Error
	if errors.As(finish, &e) {
		if err != nil {
			s.reply(err)
		}
		s.bye(e.Code, e.Text)
	} else {
		s.endWith(finish)
	}
	return finish
}

// count ends sessions that make no progress.
func (s *session) count(status string) {
	if s.ended {
		return
	}
	limits := &s.srv.o.Limits
	if status == "BAD" {
		s.bads++
	} else {
		s.bads = 0
	}
	if limits.BadCommands > 0 && s.bads >= limits.BadCommands {
		s.bye("CLIENTBUG", "Too many bad commands")
		return
	}
	if s.account != nil {
		return
	}
	s.commands++
	if limits.PreAuthCommands > 0 && s.commands > limits.PreAuthCommands {
		s.bye("LIMIT", "Too many commands without log-in")
	}
}

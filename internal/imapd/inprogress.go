package imapd

import (
	"context"
	"fmt"
	"strings"
	"time"

	"tram/internal/conn"
	"tram/internal/store"
)

// progressCommands are those that may take long and say nothing meanwhile: their work is one
// transaction. FETCH is not among them, because its replies are its progress.
var progressCommands = map[string]bool{
	"APPEND": true, "CLOSE": true, "COPY": true, "ESEARCH": true, "EXPUNGE": true, "MOVE": true,
	"REPLACE": true, "SEARCH": true, "SORT": true, "STORE": true, "THREAD": true,
}

// progressEvery is how often a client hears of a command: often enough for one that gives up after
// half a minute of silence, and seldom enough to cost nothing.
const progressEvery = 10 * time.Second

// working tells the client from time to time that its command is still being worked on, RFC 9585,
// until stop is called: every progressEvery by the server's clock, so that a command that is done before
// is not mentioned, and nobody is told more often. ctx is for the command's transaction.
//
// While it runs the connection's output is the teller's: a transaction writes to memory only, for it
// must not wait for a client. stop waits for a line that is on its way.
func (s *session) working(ctx context.Context) (_ context.Context, stop func()) {
	if !progressCommands[s.name] {
		return ctx, func() {}
	}
	t := &teller{c: s.c, tag: progressTag(s.tag), text: s.translate("Still working")}
	timer := s.srv.o.Clock.NewTimer(progressEvery)
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case <-timer.C():
				if t.tell() != nil {
					return // the session finds out when it writes
				}
				timer.Reset(progressEvery)
			case <-done:
				return
			}
		}
	}()
	return store.WithProgress(ctx, &t.progress), func() {
		close(done)
		<-ended
		timer.Stop()
	}
}

// progressTag is a tag as it may stand in the response code, which a "]" would end.
func progressTag(tag string) string {
	if tag == "*" || strings.Contains(tag, "]") {
		return "NIL"
	}
	return `"` + tag + `"`
}

// teller says how far a command has come.
type teller struct {
	c         *conn.Conn
	tag, text string
	progress  store.Progress
}

// tell sends one line.
func (t *teller) tell() error {
	if _, err := t.c.WriteString(t.line()); err != nil {
		return err
	}
	return t.c.Flush()
}

// line is what to say now. Numbers are left out while there are none; the goal is above what is done
// as long as the command is not (RFC 9585).
func (t *teller) line() string {
	state := "NIL NIL"
	if done, goal := t.progress.Now(); goal > 0 {
		state = fmt.Sprintf("%d %d", min(done, goal-1), goal)
	}
	return fmt.Sprintf("* OK [INPROGRESS (%s %s)] %s\r\n", t.tag, state, t.text)
}

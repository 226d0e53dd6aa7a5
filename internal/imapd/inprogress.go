package imapd

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"tram/internal/clock"
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
	t.mu.Lock()
	t.timer = s.srv.o.Clock.AfterFunc(progressEvery, t.due)
	t.mu.Unlock()
	return store.WithProgress(ctx, &t.progress), t.stop
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

	mu      sync.Mutex
	timer   clock.Timer
	stopped bool
}

// due tells, and comes again. When that fails it does not: the session finds out when it writes.
func (t *teller) due() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.stopped && t.tell() == nil {
		t.timer.Reset(progressEvery)
	}
}

func (t *teller) stop() {
	t.timer.Stop()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.stopped = true
	t.timer.Stop() // it may have come again
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

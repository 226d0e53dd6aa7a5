package conn

import (
	"context"
	"time"
)

// attendEvery is how often Attend looks at the socket, and how soon it begins to: work that is
// shorter costs a timer and nothing else.
const attendEvery = 250 * time.Millisecond

// Attend returns a context for long work that is only worth doing while the client is there: it
// ends with ctx, or with the cause ErrLeft when the client has closed the connection or was cut
// off. The session may not see that by itself, as it does not read while it works. A client that
// closes only its sending side has left, too: there is nobody yet who does so and waits for an
// answer that takes long. stop ends the watching; it must be called.
//
// Input that waits to be read is left where it is. On connections without a descriptor the context
// ends with ctx only.
func (c *Conn) Attend(ctx context.Context) (_ context.Context, stop func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	if c.peek == nil {
		return ctx, func() { cancel(nil) }
	}
	a := &attendance{c: c, ctx: ctx, cancel: cancel}
	// The first look comes with the machine's clock, as all deadlines of sockets do.
	a.timer = time.AfterFunc(time.Hour, a.look)
	a.timer.Reset(attendEvery)
	return ctx, func() {
		a.timer.Stop() // a look that is under way finds the context ended
		cancel(nil)
	}
}

type attendance struct {
	c      *Conn
	ctx    context.Context
	cancel context.CancelCauseFunc
	timer  *time.Timer // set before its first look
}

func (a *attendance) look() {
	left := false
	err := a.c.peek.Control(func(fd uintptr) { left = hungUp(fd) })
	switch {
	case a.ctx.Err() != nil:
	case err != nil || left:
		a.cancel(ErrLeft)
	default:
		a.timer.Reset(attendEvery)
	}
}

package conn

import (
	"context"
	"time"

	"tram/internal/clock"
)

// Dismiss ends the session of somebody who may no longer be here: a session that waits hears of it
// (ErrInterrupted) and can say why, and one that is stuck in a write, or in a long command, is cut off
// after the grace, by the clock that is given. It returns when the session's context has ended or the
// connection is closed, and may be called from any goroutine.
func (c *Conn) Dismiss(session context.Context, cl clock.Clock, grace time.Duration) {
	c.Interrupt()
	if clock.Sleep(session, cl, grace) == nil {
		// There is nothing to do about an error of a socket that is closed.
		_ = c.Close()
	}
}

// LogEnd tells the log of the end of a session of an account: why, after how long, and how much went
// each way.
func (c *Conn) LogEnd(protocol, account, reason string, lasted time.Duration) {
	in, out := c.Traffic()
	c.Logger().Info(protocol+" session ended", "account", account, "reason", reason,
		"duration", lasted.Round(time.Millisecond), "bytes_in", in, "bytes_out", out)
}

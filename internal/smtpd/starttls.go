package smtpd

import (
	"context"
	"errors"

	"tram/internal/conn"
	"tram/internal/smtp"
)

// startTLS is STARTTLS, RFC 3207 §4. After it the client is a stranger again: what it said in the
// clear, anybody may have said.
func (x *session) startTLS(ctx context.Context, args string) {
	switch {
	case args != "":
		x.fail(ctx, 501, smtp.Enhanced{5, 5, 4}, "STARTTLS takes no argument")
		return
	case x.c.Secure():
		x.fail(ctx, 503, smtp.Enhanced{5, 5, 1}, "TLS is on already")
		return
	case !x.c.CanStartTLS():
		x.fail(ctx, 502, smtp.Enhanced{5, 5, 1}, "TLS is not available")
		return
	}
	x.say(220, smtp.Enhanced{2, 0, 0}, "Go ahead")
	if err := x.c.StartTLS(ctx); err != nil {
		x.over = true
		if errors.Is(err, conn.ErrInjected) {
			abuses.WithLabelValues("injection").Inc()
			if x.c.MayComplain() {
				x.log().Warn("session broken off", "reason", "plaintext after STARTTLS")
			}
		} else {
			x.log().Debug("TLS handshake failed", "error", err)
		}
		return
	}
	x.reset()
	x.helo, x.esmtp = "", false
}

package smtpd

import (
	"context"
	"errors"
	"strings"
	"time"

	"tram/internal/conn"
	"tram/internal/directory"
	"tram/internal/smtp"
)

// mechanisms lists what AUTH takes in this session now: nothing without TLS (RFC 8314 §3.3, A15),
// but for load generators.
func (x *session) mechanisms() []string {
	if x.account.ID != 0 || !x.c.Secure() && !(x.o.Measure && x.c.Remote().Addr().IsLoopback()) {
		return nil
	}
	return x.o.Directory.Mechanisms(x.c.Secure())
}

// auth is AUTH, RFC 4954 §4.
func (x *session) auth(ctx context.Context, args string) {
	if x.ahead() {
		return // AUTH is the last of a group, RFC 4954 §4
	}
	mechanism, initial, _ := strings.Cut(args, " ")
	switch {
	case x.o.Mode != Submission:
		x.fail(ctx, 502, smtp.Enhanced{5, 5, 1}, "There is nothing to log in to here")
		return
	case x.helo == "" || !x.esmtp:
		x.fail(ctx, 503, smtp.Enhanced{5, 5, 1}, "Say EHLO first")
		return
	case x.account.ID != 0 || x.tx != nil:
		x.fail(ctx, 503, smtp.Enhanced{5, 5, 1}, "Not in this place")
		return
	case mechanism == "":
		x.fail(ctx, 501, smtp.Enhanced{5, 5, 4}, "Which mechanism?")
		return
	}
	exchange, err := x.o.Directory.Start(ctx, mechanism, directory.SASLOptions{
		Protocol: directory.SMTP, Remote: x.c.Remote().Addr(), TLS: x.c.TLS(),
	})
	if err == nil {
		_, err = directory.Converse(exchange, initial, x.challenge)
	}
	x.loggedIn(ctx, exchange, err)
}

// challenge sends a challenge and reads the response.
func (x *session) challenge(challenge []byte) ([]byte, error) {
	b := append(append(x.c.AvailableBuffer(), "334 "...), challenge...)
	x.write(append(b, "\r\n"...))
	return x.c.ReadLine(x.o.Limits.SMTP.AuthLine)
}

// loggedIn answers the end of an exchange.
func (x *session) loggedIn(ctx context.Context, exchange directory.Exchange, err error) {
	if err != nil {
		logins.WithLabelValues("failed").Inc()
		x.notLoggedIn(ctx, err)
		return
	}
	logins.WithLabelValues("ok").Inc()
	x.account = exchange.Account()
	x.stop = x.o.Directory.OnRevoke(x.account, func() {
		x.revoked.Store(true)
		x.c.Interrupt()
	})
	x.c.SetDeadline(x.lifeEnd())
	x.c.Good()
	x.say(235, smtp.Enhanced{2, 7, 0}, "Welcome")
}

// notLoggedIn maps what an exchange failed with.
func (x *session) notLoggedIn(ctx context.Context, err error) {
	var throttled directory.ErrThrottled
	switch {
	case errors.Is(err, directory.ErrTLSRequired):
		x.fail(ctx, 538, smtp.Enhanced{5, 7, 11}, "Encryption required")
	case errors.Is(err, directory.ErrMechanism):
		x.fail(ctx, 504, smtp.Enhanced{5, 5, 4}, "Mechanism is not known")
	case errors.Is(err, directory.ErrBadCredentials):
		x.log().Info("log-in failed")
		x.fail(ctx, 535, smtp.Enhanced{5, 7, 8}, "Wrong user name or password")
	case errors.As(err, &throttled), errors.Is(err, directory.ErrBusy):
		x.log().Info("log-in throttled")
		x.fail(ctx, 454, smtp.Enhanced{4, 7, 0}, "Too many log-ins, try again later")
	case errors.Is(err, directory.ErrCancelled):
		x.fail(ctx, 501, smtp.Enhanced{5, 7, 0}, "Cancelled")
	case errors.Is(err, directory.ErrMalformed), errors.Is(err, directory.ErrBase64),
		errors.Is(err, conn.ErrBareLF), errors.Is(err, conn.ErrBareCR):
		x.fail(ctx, 501, smtp.Enhanced{5, 5, 2}, "Malformed response")
	case errors.Is(err, conn.ErrLineTooLong):
		x.fail(ctx, 500, smtp.Enhanced{5, 5, 6}, "Response is too long")
	case errors.Is(err, context.Canceled), isConnError(err):
		x.farewell(err)
	default:
		x.log().Error("log-in could not be checked", "error", err)
		x.fail(ctx, 454, smtp.Enhanced{4, 7, 0}, "Temporary failure, try again")
	}
}

// lifeEnd is when the session ends whatever it does; zero: never. Who has logged in is not hurried.
func (x *session) lifeEnd() time.Time {
	life := x.o.Limits.SMTP.SessionLife
	if life <= 0 || x.o.Mode == LMTP || x.account.ID != 0 {
		return time.Time{}
	}
	return x.arrivedAt.Add(life)
}

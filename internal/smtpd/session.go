package smtpd

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"strconv"
	"sync/atomic"
	"time"

	"tram/internal/clock"
	"tram/internal/conn"
	"tram/internal/directory"
	"tram/internal/smtp"
)

// session is one client's connection.
type session struct {
	*Server
	c    *conn.Conn
	born time.Time
	// arrivedAt is born on the machine's clock, which socket deadlines run on.
	arrivedAt time.Time
	over      bool // the last reply ends it

	helo    string // "" until the client has greeted
	esmtp   bool
	tls     string // version and cipher, once asked for
	tx      *transaction
	account directory.Account // who logged in, ID 0: nobody
	stop    func()            // ends the watch for revocation
	revoked atomic.Bool
	reverse *reverse      // nil: not asked
	delay   time.Duration // before each reply to a source of bad repute
	release func()        // gives its place back; nil: not asked

	transactions int // begun
	accepted     int // messages
	errors       int
	badRcpt      int

	// unseen are to be called when the client has shown that it read our replies: it speaks, and
	// nothing had come from it when the last of them was sent.
	unseen   []func()
	provable bool
}

// serve is the command loop.
func (x *session) serve(ctx context.Context) {
	for !x.over {
		x.c.SetIdle(x.patience())
		x.provable = x.provable || len(x.unseen) > 0 && !x.c.Arrived()
		if err := x.c.Wait(); err != nil {
			if x.farewell(err) {
				continue
			}
			return
		}
		x.seen()
		line, err := x.c.ReadLine(x.lineLimit())
		switch {
		case err == nil:
			x.command(ctx, line)
		case errors.Is(err, conn.ErrBareLF), errors.Is(err, conn.ErrBareCR):
			// RFC 5321 §2.3.8: a line ends in CRLF. Who counts lines otherwise sees other commands.
			x.fail(ctx, 500, smtp.Enhanced{5, 5, 2}, "Lines end in CR LF and hold neither alone")
		case errors.Is(err, conn.ErrLineTooLong):
			x.fail(ctx, 500, smtp.Enhanced{5, 5, 2}, "Line too long")
		default:
			x.farewell(err)
			return
		}
	}
}

// patience is how long the next command may take.
func (x *session) patience() time.Duration {
	if x.c.Stressed() && x.account.ID == 0 {
		return x.o.Limits.SMTP.IdleStress
	}
	return x.o.Limits.SMTP.Idle
}

// lineLimit is longer where an initial response of AUTH may come, RFC 4954 §4.
func (x *session) lineLimit() int {
	if x.o.Mode == Submission && x.account.ID == 0 {
		return max(x.o.Limits.SMTP.AuthLine, x.o.Limits.SMTP.CommandLine)
	}
	return x.o.Limits.SMTP.CommandLine
}

// seen confirms deliveries whose reply the client must have read. A connection that just ends
// proves nothing: it may have been cut before the reply arrived (RFC 1047).
func (x *session) seen() {
	if !x.provable {
		return
	}
	for _, confirm := range x.unseen {
		confirm()
	}
	x.unseen, x.provable = x.unseen[:0], false
}

// farewell says the last word where one can be said. It reports whether the session goes on after
// all: an interruption that means nothing here.
func (x *session) farewell(err error) bool {
	switch {
	case errors.Is(err, conn.ErrInterrupted):
		if !x.revoked.Load() {
			return true
		}
		x.say(421, smtp.Enhanced{4, 7, 0}, x.o.Hostname+" access was withdrawn, closing")
	case errors.Is(err, conn.ErrDraining):
		x.say(421, smtp.Enhanced{4, 3, 2}, x.o.Hostname+" is shutting down")
	case errors.Is(err, conn.ErrTimeout):
		x.say(421, smtp.Enhanced{4, 4, 2}, x.o.Hostname+" waited too long, closing")
	case errors.Is(err, conn.ErrFlood):
		abuses.WithLabelValues("endless line").Inc()
		x.say(500, smtp.Enhanced{5, 5, 2}, "Line too long, closing")
	}
	x.over = true
	return false
}

// end closes what the session holds.
func (x *session) end() {
	x.reset()
	if x.stop != nil {
		x.stop()
	}
	if x.reverse != nil {
		x.reverse.cancel()
	}
	if x.release != nil {
		x.release()
	}
	if x.o.Logger.Enabled(context.Background(), slog.LevelDebug) {
		in, out := x.c.Traffic()
		x.log().Debug("session ended", "helo", x.helo, "transactions", x.transactions,
			"accepted", x.accepted, "errors", x.errors, "in", in, "out", out,
			"seconds", x.o.Clock.Now().Sub(x.born).Seconds())
	}
}

func (x *session) log() *slog.Logger {
	l := x.o.Logger.With("session", x.c.ID, "mode", string(x.o.Mode))
	if a := x.c.Remote(); a.IsValid() {
		l = l.With("remote", a.Addr().String())
	}
	if x.account.ID != 0 {
		l = l.With("account", x.account.Address.String())
	}
	return l
}

// command runs one command line.
func (x *session) command(ctx context.Context, line []byte) {
	cmd, err := smtp.ParseCommand(line)
	if err != nil {
		x.failWith(ctx, refusal(err))
		return
	}
	if x.helo == "" && !ofTheWeb(cmd.Verb) && x.ahead() {
		return // nobody has offered PIPELINING yet, RFC 2920 §3.1 (P3)
	}
	x.dawdle(ctx)
	switch cmd.Verb {
	case "HELO", "EHLO", "LHLO":
		x.hello(ctx, cmd)
	case "MAIL":
		x.mail(ctx, cmd.Args)
	case "RCPT":
		x.rcpt(ctx, cmd.Args)
	case "DATA":
		x.data(ctx, cmd.Args)
	case "BDAT":
		x.bdat(ctx, cmd.Args)
	case "RSET":
		x.rset(ctx, cmd.Args)
	case "NOOP":
		x.say(250, smtp.Enhanced{2, 0, 0}, "Ok")
	case "QUIT":
		x.quit(ctx, cmd.Args)
	case "HELP":
		x.help()
	case "VRFY":
		x.vrfy(ctx, cmd.Args)
	case "EXPN", "ETRN", "TURN", "SEND", "SOML", "SAML":
		x.fail(ctx, 502, smtp.Enhanced{5, 5, 1}, "Command not implemented")
	case "STARTTLS":
		x.startTLS(ctx, cmd.Args)
	case "AUTH":
		x.auth(ctx, cmd.Args)
	default:
		x.unknown(ctx, cmd.Verb)
	}
}

// unknown refuses what is no command. A web browser made to post here (P17), and a PROXY header
// from a source that is not to send one, are cut at once: the rest of it would be more of the same.
func (x *session) unknown(ctx context.Context, verb string) {
	if ofTheWeb(verb) || verb == "PROXY" {
		x.abuse("not smtp", 554, "This is a mail server")
		return
	}
	x.fail(ctx, 500, smtp.Enhanced{5, 5, 1}, "Command not recognized")
}

func ofTheWeb(verb string) bool {
	switch verb {
	case "GET", "POST", "HEAD", "PUT", "CONNECT", "OPTIONS", "DELETE", "PATCH", "TRACE":
		return true
	}
	return false
}

// say sends a reply.
func (x *session) say(code int, e smtp.Enhanced, text string) {
	b := x.c.AvailableBuffer()
	b = strconv.AppendInt(b, int64(code), 10)
	b = append(b, ' ')
	b = strconv.AppendInt(b, int64(e[0]), 10)
	b = append(b, '.')
	b = strconv.AppendInt(b, int64(e[1]), 10)
	b = append(b, '.')
	b = strconv.AppendInt(b, int64(e[2]), 10)
	b = append(b, ' ')
	b = append(b, text...)
	x.write(append(b, "\r\n"...))
}

// sayReply sends a reply that another room has made.
func (x *session) sayReply(r smtp.Reply) { x.write(r.AppendWire(x.c.AvailableBuffer())) }

func (x *session) write(b []byte) {
	if _, err := x.c.Write(b); err != nil {
		x.over = true
	}
}

// fail sends a reply to a command that was an error of the client's.
func (x *session) fail(ctx context.Context, code int, e smtp.Enhanced, text string) {
	if x.mayErr(ctx) {
		x.say(code, e, text)
	}
}

// failWith is fail for a reply that another room has made.
func (x *session) failWith(ctx context.Context, r smtp.Reply) {
	if x.mayErr(ctx) {
		x.sayReply(r)
	}
}

// mayErr counts an error: the first few are free, then each costs a second, then the session is
// over.
func (x *session) mayErr(ctx context.Context) bool {
	x.errors++
	l := x.o.Limits.SMTP
	if l.ErrorsClose > 0 && x.errors >= l.ErrorsClose {
		abuses.WithLabelValues("errors").Inc()
		x.say(421, smtp.Enhanced{4, 7, 0}, x.o.Hostname+" too many errors, closing")
		x.over = true
		return false
	}
	if l.ErrorsDelay > 0 && x.errors > l.ErrorsDelay {
		// If the server stops meanwhile the reply comes early.
		_ = clock.Sleep(ctx, x.o.Clock, time.Second)
	}
	return true
}

// abuse ends a session that breaks the protocol in a way no honest client does.
func (x *session) abuse(kind string, code int, text string) {
	abuses.WithLabelValues(kind).Inc()
	if x.c.MayComplain() {
		x.log().Warn("session broken off", "reason", kind)
	}
	enhanced := smtp.Enhanced{5, 5, 1}
	if code < 500 { // the class is the code's, RFC 2034 §4
		enhanced = smtp.Enhanced{4, 7, 0}
	}
	x.say(code, enhanced, text+", closing")
	x.over = true
}

// ahead reports whether the client has sent more than the command that must be the last of its
// group (RFC 2920 §3.1), and ends the session if so: what follows was written for somebody else's
// ears, or before it could know our answer.
func (x *session) ahead() bool {
	if x.c.Buffered() == 0 {
		return false
	}
	x.abuse("pipelining", 503, "Command pipelined where a reply must be awaited")
	return true
}

// refusal is the reply in a parser's error.
func refusal(err error) smtp.Reply {
	var r smtp.Reply
	if !errors.As(err, &r) {
		r = smtp.NewReply(501, smtp.Enhanced{5, 5, 4}, "Syntax error")
	}
	return r
}

// isConnError reports whether the session's input has ended or broken.
func isConnError(err error) bool {
	var network net.Error
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, conn.ErrTimeout) || errors.Is(err, conn.ErrFlood) || errors.As(err, &network)
}

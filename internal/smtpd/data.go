package smtpd

import (
	"context"
	"errors"

	"tram/internal/conn"
	"tram/internal/smtp"
)

// data is DATA, RFC 5321 §4.1.1.4.
func (x *session) data(ctx context.Context, args string) {
	if x.ahead() {
		return // the message came before we agreed to take it
	}
	switch tx := x.tx; {
	case args != "":
		x.fail(ctx, 501, smtp.Enhanced{5, 5, 4}, "DATA takes no argument")
		return
	case tx == nil || tx.begun():
		x.fail(ctx, 503, smtp.Enhanced{5, 5, 1}, "Not in this place")
		return
	case len(tx.env.Recipients) == 0:
		code := 554
		if x.o.Mode == LMTP {
			code = 503 // RFC 2033 §4.2 wants this one
		}
		x.fail(ctx, code, smtp.Enhanced{5, 5, 1}, "No valid recipients")
		return
	case tx.binary:
		x.fail(ctx, 503, smtp.Enhanced{5, 5, 1}, "BINARYMIME needs BDAT") // RFC 3030 §3
		return
	}
	x.open(ctx)
	x.write([]byte("354 Go ahead, end with a line that is a dot\r\n"))
	broken, err := x.readData()
	if err != nil {
		x.gone(err)
		return
	}
	if broken.Enhanced == replyBareEnds.Enhanced {
		// The client's idea of where the message ended may not be ours. What it sends next would be
		// taken for commands, and may be the rest of the message: it is not read.
		x.over = true
	}
	x.complete(ctx, broken)
}

// open begins the message of the transaction.
func (x *session) open(ctx context.Context) {
	x.tx.body = x.o.Deliver.NewBody(ctx, x.tx.env, x.received(nil, x.tx.env))
}

// readData streams the message to its end: each slice of the read buffer goes through dot-unstuffing
// straight into the body. It returns what is wrong with the message, or an error when its end was
// not reached.
func (x *session) readData() (smtp.Reply, error) {
	x.streaming(true)
	defer x.streaming(false)
	limit := x.o.Limits.SMTP.MessageSize
	in := smtp.NewDataReader(nil, limit)
	for total := int64(0); ; {
		p, err := x.c.Peek()
		if err != nil {
			return smtp.Reply{}, err
		}
		n, done := in.Feed(x.tx.body, p)
		x.c.Discard(n)
		if total += int64(n); done {
			return dataFault(in, x.o.Limits.SMTP.TextLine), nil
		}
		if limit > 0 && total > farBeyond(limit) {
			return smtp.Reply{}, errFarTooLarge
		}
	}
}

var (
	errFarTooLarge = errors.New("message is far over the limit")
	replyTooLarge  = smtp.NewReply(552, smtp.Enhanced{5, 3, 4}, "Message is too large")
	replyBareEnds  = smtp.NewReply(550, smtp.Enhanced{5, 6, 11},
		"Lines end in CR LF and hold neither alone")
)

// farBeyond is how much of a message over the limit is read only to be dropped, so that the client
// gets to hear why. More is not worth the wire.
func farBeyond(limit int64) int64 { return 2*limit + 1<<20 }

// dataFault maps what the reader found.
func dataFault(in *smtp.DataReader, longest int) smtp.Reply {
	switch err := in.Err(); {
	case errors.Is(err, smtp.ErrTooLarge):
		return replyTooLarge
	case errors.Is(err, smtp.ErrBareCR), errors.Is(err, smtp.ErrBareLF):
		// RFC 5321 §2.3.8. Other servers see the end of the message in some of these (P1,
		// CVE-2023-51764): refused, and never passed on.
		return replyBareEnds
	case longest > 0 && in.Longest() > int64(longest):
		return smtp.NewReply(550, smtp.Enhanced{5, 6, 0}, "Message has an endless line")
	}
	return smtp.Reply{}
}

// streaming sets the deadlines of reading a message, and sets them back.
func (x *session) streaming(on bool) {
	l := x.o.Limits.SMTP
	if on {
		x.c.SetIdle(l.DataBlock)
		x.c.SetDeadline(x.dataDeadline())
		x.c.MinRate(l.DataRate, l.DataGrace)
		return
	}
	x.c.MinRate(0, 0)
	x.c.SetDeadline(x.lifeEnd())
}

// gone ends the session in the middle of a message, of which nothing is kept.
func (x *session) gone(err error) {
	x.over = true
	switch {
	case errors.Is(err, errFarTooLarge):
		x.sayReply(replyTooLarge)
	case errors.Is(err, conn.ErrTimeout):
		x.say(421, smtp.Enhanced{4, 4, 2}, x.o.Hostname+" message came too slowly, closing")
	}
	x.log().Info("message broken off", "id", x.tx.env.ID, "from", x.tx.env.From.Path(),
		"recipients", len(x.tx.env.Recipients), "error", err)
	x.traceMessage("received", "broken off", 0, err.Error())
	x.reset()
}

package smtpd

import (
	"context"
	"strconv"
	"time"

	"tram/internal/deliver"
	"tram/internal/envelope"
	"tram/internal/smtp"
)

// transaction is one message on its way in: from MAIL to the reply after the message.
type transaction struct {
	env    *envelope.Envelope
	size   int64 // announced; 0: not
	binary bool  // BODY=BINARYMIME
	body   *deliver.Body
	sent   int64      // bytes of BDAT chunks so far
	broken smtp.Reply // with a Code: what BDAT has failed with
	until  time.Time  // the message must be here; zero before its first byte

	returns []uint64 // counted for its recipients
	taken   bool     // somebody has the message: they stay counted
}

// begun reports whether the message itself has begun: no recipients are taken any more.
func (tx *transaction) begun() bool { return tx.body != nil || tx.broken.Code != 0 }

// mail is MAIL, RFC 5321 §4.1.1.2.
func (x *session) mail(ctx context.Context, args string) {
	if !x.mayMail(ctx) {
		return
	}
	from, p, err := smtp.ParseMail(args)
	if err != nil {
		x.failWith(ctx, refusal(err))
		return
	}
	if r := x.refuseMail(ctx, from, p); r.Code != 0 {
		x.failWith(ctx, r)
		return
	}
	x.transactions++
	x.tx = x.begin(from, p)
	x.say(250, smtp.Enhanced{2, 1, 0}, "Ok")
}

// mayMail checks that this is the time for MAIL.
func (x *session) mayMail(ctx context.Context) bool {
	switch limit := x.o.Limits.SMTP.Transactions; {
	case x.helo == "":
		x.fail(ctx, 503, smtp.Enhanced{5, 5, 1}, "Say EHLO first")
	case x.tx != nil:
		x.fail(ctx, 503, smtp.Enhanced{5, 5, 1}, "A transaction has begun already")
	case x.o.Mode == Submission && x.account.ID == 0:
		x.fail(ctx, 530, smtp.Enhanced{5, 7, 0}, "Authentication required") // RFC 4954 §6
	case x.o.Mode == MX && limit > 0 && x.transactions >= limit:
		x.say(421, smtp.Enhanced{4, 7, 0}, x.o.Hostname+" enough for one session, come again")
		x.over = true
	default:
		return true
	}
	return false
}

// refuseMail says what is wrong with a sender and his wishes; a reply without Code: nothing.
func (x *session) refuseMail(ctx context.Context, from smtp.Address, p smtp.MailParams) smtp.Reply {
	if r := x.refuseParams(p); r.Code != 0 {
		return r
	}
	switch {
	case from.NeedsUTF8() && !p.UTF8:
		return smtp.NewReply(553, smtp.Enhanced{5, 6, 7}, "Address needs SMTPUTF8")
	case x.o.Limits.SMTP.MessageSize > 0 && p.Size > x.o.Limits.SMTP.MessageSize:
		return smtp.NewReply(552, smtp.Enhanced{5, 3, 4}, "Message is too large") // RFC 1870 §6.1
	case x.o.Mode == Submission && !from.IsNull() &&
		!x.o.Directory.MayUse(ctx, x.account.ID, from):
		// A null reverse-path is allowed: RFC 8098 §3 wants one for read receipts. The From field
		// must be the account's all the same.
		return smtp.NewReply(553, smtp.Enhanced{5, 7, 1}, "Sender address is not yours")
	}
	return x.o.Deliver.CheckRoom()
}

// refuseParams refuses parameters of extensions that were not offered in this session.
func (x *session) refuseParams(p smtp.MailParams) smtp.Reply {
	hold := p.HoldFor > 0 || !p.HoldUntil.IsZero()
	now := x.o.Clock.Now()
	late := now.Add(x.o.Limits.SMTP.HoldMax)
	switch {
	case p.RequireTLS && !x.c.Secure():
		return smtp.NewReply(530, smtp.Enhanced{5, 7, 10}, "REQUIRETLS needs TLS") // RFC 8689 §2
	case x.o.Mode != Submission && (hold || p.By.Set || p.HasPriority || p.Auth != ""):
		return smtp.NewReply(555, smtp.Enhanced{5, 5, 4}, "Parameter is not supported here")
	case now.Add(p.HoldFor).After(late) || p.HoldUntil.After(late):
		return smtp.NewReply(501, smtp.Enhanced{5, 5, 4}, "Held too long") // RFC 4865 §5.2
	case hold && p.By.Return && !release(now, p).Before(now.Add(p.By.Time)):
		// It could do nothing but come back.
		return smtp.NewReply(501, smtp.Enhanced{5, 5, 4}, "Held beyond its time of delivery")
	}
	return smtp.Reply{}
}

// release is when a message that is to be held may leave.
func release(now time.Time, p smtp.MailParams) time.Time {
	if p.HoldFor > 0 {
		return now.Add(p.HoldFor)
	}
	return p.HoldUntil
}

// begin makes the transaction.
func (x *session) begin(from smtp.Address, p smtp.MailParams) *transaction {
	now := x.o.Clock.Now()
	env := &envelope.Envelope{
		ID:     x.c.ID + "-" + strconv.Itoa(x.transactions),
		Origin: x.origin(), From: from, Received: now,
		Client: envelope.Client{
			Addr: x.c.Remote().Addr(), HELO: x.helo, TLS: x.tlsInfo(), ESMTP: x.esmtp,
		},
		Account: uint64(x.account.ID),
		Return:  p.Ret, EnvelopeID: p.EnvID, UTF8: p.UTF8,
		EightBit: p.Body == smtp.Body8Bit, Binary: p.Body == smtp.BodyBinary,
		RequireTLS: p.RequireTLS, Priority: p.Priority, HoldUntil: release(now, p),
	}
	if p.By.Set {
		env.DeliverBy = envelope.DeliverBy{
			Deadline: now.Add(p.By.Time), Return: p.By.Return, Trace: p.By.Trace,
		}
	}
	return &transaction{env: env, size: p.Size, binary: env.Binary}
}

func (x *session) origin() envelope.Origin {
	switch x.o.Mode {
	case Submission:
		return envelope.Submission
	case LMTP:
		return envelope.LMTP
	default:
		return envelope.Inbound
	}
}

// reset ends the transaction, if there is one.
func (x *session) reset() {
	tx := x.tx
	x.tx = nil
	if tx == nil {
		return
	}
	if tx.body != nil {
		tx.body.Abort()
	}
	if tx.env.Body != nil {
		tx.env.Body.Discard()
	}
	if !tx.taken {
		x.returns.giveBack(tx.returns)
	}
}

// rset is RSET, RFC 5321 §4.1.1.5.
func (x *session) rset(ctx context.Context, args string) {
	if args != "" {
		x.fail(ctx, 501, smtp.Enhanced{5, 5, 4}, "RSET takes no argument")
		return
	}
	x.reset()
	x.say(250, smtp.Enhanced{2, 0, 0}, "Ok")
}

// dataDeadline is the deadline of reading a message: the same for all of its chunks.
func (x *session) dataDeadline() time.Time {
	d := x.o.Limits.SMTP.DataTotal
	switch {
	case d <= 0:
		return time.Time{}
	case x.tx == nil: // a chunk that belongs to none
		return time.Now().Add(d)
	case x.tx.until.IsZero():
		x.tx.until = time.Now().Add(d)
	}
	return x.tx.until
}

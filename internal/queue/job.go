package queue

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"

	"tram/internal/envelope"
	"tram/internal/message"
	"tram/internal/smtp"
)

// job is one transaction as it is prepared for the server at hand.
type job struct {
	s     *session
	rec   *record
	mail  *smtp.Mail
	plain *original // the message as it is
	body  io.Reader // and as this server gets it
	index []int     // the recipients of mail, as indexes of the item's
	left  int       // recipients that had no room in it

	outs      []outcome        // of recipients that this server cannot be asked about
	wrongHost *smtp.Reply      // why another host might do
	parsed    *message.Message // nil until it is needed
}

// newJob prepares an item for the server the session is connected to: what the server lacks the
// extensions for is converted, or refused on its behalf. The error is permanent, or that of a
// message that cannot be read.
func (s *session) newJob(ctx context.Context, rec *record, i int) (*job, error) {
	plain, err := s.q.original(ctx, rec.body)
	if err != nil {
		return nil, err
	}
	j := &job{s: s, rec: rec, plain: plain, body: plain, mail: &smtp.Mail{
		From: rec.from, Size: plain.Size(), UTF8: rec.utf8, RequireTLS: rec.requireTLS,
		Ret: rec.ret, EnvID: rec.envID, By: rec.remaining(s.q.o.Clock.Now()),
		Priority: rec.prio, HasPriority: rec.prio != 0,
	}}
	switch {
	case rec.binary:
		j.mail.Body = smtp.BodyBinary
	case rec.eightBit:
		j.mail.Body = smtp.Body8Bit
	}
	j.choose(i)
	for _, step := range []func(context.Context) error{
		j.deadline, j.secrecy, j.characters, j.octets, j.sign, j.size,
	} {
		if err := step(ctx); err != nil {
			j.close()
			return nil, err
		}
		if j.wrongHost != nil {
			break
		}
	}
	return j, nil
}

// close gives the message's memory back.
func (j *job) close() { j.plain.Close() }

// choose takes as many waiting recipients as one transaction may have.
func (j *job) choose(i int) {
	most := perTransaction
	if n := j.s.c.Extensions().MaxRcpt; n > 0 {
		most = min(most, n)
	}
	j.rec.waitingOn(i, func(k int, r *recipient) {
		if len(j.index) == most {
			j.left++
			return
		}
		j.index = append(j.index, k)
		j.mail.Recipients = append(j.mail.Recipients,
			smtp.Rcpt{Address: r.Address, Notify: smtp.Notify(r.Notify), ORCPT: r.ORCPT})
	})
}

// all gives each recipient of the transaction the same reply.
func (j *job) all(reply smtp.Reply, host string) []outcome {
	var outs []outcome
	for _, k := range j.index {
		outs = append(outs, outcome{k: k, reply: reply, host: host})
	}
	return outs
}

// drop takes a recipient off the transaction with a reply on the server's behalf.
func (j *job) drop(n int, reply smtp.Reply) {
	j.outs = append(j.outs, outcome{k: j.index[n], reply: reply})
	j.index = append(j.index[:n], j.index[n+1:]...)
	j.mail.Recipients = append(j.mail.Recipients[:n], j.mail.Recipients[n+1:]...)
}

// deadline refuses what the sender wants returned rather than late (RFC 2852 §4): when the time is
// over or too short for the server, or the server would not watch it.
func (j *job) deadline(context.Context) error {
	by, e := j.mail.By, j.s.c.Extensions()
	switch {
	case !by.Set || !by.Return:
		return nil
	case by.Time <= 0 || e.DeliverBy && by.Time < e.DeliverByMin:
		return never5(550, smtp.Enhanced{5, 4, 7}, "Delivery time expired")
	case !e.DeliverBy:
		return never5(550, smtp.Enhanced{5, 3, 3}, "DELIVERBY support required")
	}
	return nil
}

// secrecy sees to REQUIRETLS, RFC 8689 §4.2.1: a name that is worth checking, a certificate that
// proves it, and a server that asks the same of the next one. Notices go without if they must (§5).
func (j *job) secrecy(context.Context) error {
	if !j.rec.requireTLS {
		return nil
	}
	able := j.s.vouched() && j.s.verified
	wrong := smtp.NewReply(550, smtp.Enhanced{5, 7, 10}, "Encryption needed")
	if able && !j.s.c.Extensions().RequireTLS {
		able, wrong = false, smtp.NewReply(550, smtp.Enhanced{5, 7, 30}, "REQUIRETLS support required")
	}
	switch {
	case able:
	case j.rec.from.IsNull():
		j.mail.RequireTLS = false
	default:
		j.wrongHost = &wrong
	}
	return nil
}

// characters sees to SMTPUTF8, RFC 6531 §3.5: a server without it can still have a message that
// turns out not to need it, for those of its recipients who do not.
func (j *job) characters(ctx context.Context) error {
	if j.s.c.Extensions().UTF8 {
		return nil
	}
	lacking := smtp.NewReply(553, smtp.Enhanced{5, 6, 7}, "SMTPUTF8 support required")
	if j.rec.from.NeedsUTF8() {
		return permanent{reply: lacking}
	}
	for n := len(j.index) - 1; n >= 0; n-- {
		if j.mail.Recipients[n].Address.NeedsUTF8() {
			j.drop(n, lacking)
		}
	}
	if !j.rec.utf8 || len(j.index) == 0 {
		return nil
	}
	m, err := j.parse(ctx)
	if err != nil {
		return err
	}
	if m.EightBitHeader {
		return permanent{reply: lacking}
	}
	j.mail.UTF8 = false
	return nil
}

// octets sees to 8BITMIME and BINARYMIME. RFC 6152 §3 lets us convert or refuse: we convert each
// part to quoted-printable or base64, as RFC 3030 §3 says for binary, and refuse what cannot be.
func (j *job) octets(ctx context.Context) error {
	e := j.s.c.Extensions()
	binary := j.rec.binary && !(e.Binary && e.Chunking)
	if !binary && (!j.rec.eightBit || e.EightBit) {
		return nil
	}
	m, err := j.parse(ctx)
	if err != nil {
		return err
	}
	if !binary && !m.EightBit {
		j.mail.Body = smtp.Body7Bit
		return nil
	}
	size, err := downgradedSize(j.plain, m)
	if errors.Is(err, errNoDowngrade) {
		return never5(554, smtp.Enhanced{5, 6, 3}, "8BITMIME support required")
	}
	if err != nil {
		return err
	}
	j.mail.Body, j.mail.Size = smtp.Body7Bit, size
	j.body = &downgrade{r: j.plain, m: m}
	metricDowngraded.Inc()
	return nil
}

// size refuses what the server said is too big for it, RFC 1870 §6.1.
func (j *job) size(context.Context) error {
	if most := j.s.c.Extensions().Size; most > 0 && j.mail.Size > most {
		return never5(552, smtp.Enhanced{5, 3, 4}, "Message too big for the server")
	}
	return nil
}

// parse reads the message once; what a server lacks is rare.
func (j *job) parse(ctx context.Context) (*message.Message, error) {
	if j.parsed != nil {
		return j.parsed, nil
	}
	m, err := j.s.q.parseOriginal(ctx, j.rec.body)
	j.parsed = m
	return m, err
}

// deliverLocal brings an item to people of this house, with all that is stored: they get the
// Return-Path field too.
func (s *session) deliverLocal(ctx context.Context, rec *record, i int) ([]outcome, error) {
	r := s.q.o.Blobs.Open(ctx, rec.body)
	defer r.Close()
	m, err := s.q.parse(r)
	if err != nil {
		outs, _, err := unreadable(ctx, rec, i, err)
		return outs, err
	}
	content := rec.content
	if content == [sha256.Size]byte{} {
		content = rec.body.SHA256 // our Received field included, which names the submission
	}
	e := &envelope.Envelope{
		ID: string(rec.id), Origin: rec.origin, From: rec.from, Body: s.q.o.Blobs.Attach(rec.body),
		Queued: true, Message: m, ContentHash: content, Received: rec.created, Account: rec.account,
		Return: rec.ret, EnvelopeID: rec.envID, UTF8: rec.utf8, EightBit: rec.eightBit,
		Binary: rec.binary, RequireTLS: rec.requireTLS, DeliverBy: rec.by, Priority: rec.prio,
		Junk: rec.junk,
	}
	var index []int
	rec.waitingOn(i, func(k int, r *recipient) {
		index = append(index, k)
		e.Recipients = append(e.Recipients, r.Recipient)
	})
	results := s.q.o.Local.Deliver(ctx, e)
	var outs []outcome
	for n, k := range index {
		if n >= len(results) {
			break
		}
		o := outcome{k: k, reply: results[n].Reply}
		if o.reply.Permanent() || o.reply.OK() || o.reply.Temporary() {
			outs = append(outs, o)
		}
		if c := results[n].Confirm; c != nil && o.reply.OK() {
			s.confirm = append(s.confirm, c)
		}
	}
	s.q.greeted(s)
	s.q.succeeded(s.d)
	return outs, nil
}

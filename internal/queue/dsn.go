package queue

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"tram/internal/envelope"
	"tram/internal/message"
	"tram/internal/smtp"
)

// Who is told what. A sender is told of a recipient's failure and delay unless it asked otherwise
// (RFC 3461 §4.1), and of success where it asked. Nobody is told of what happens to a notice: the
// null sender gets nothing (RFC 5321 §4.5.5), so there is no notice of a notice. And nobody is told
// whose name may be borrowed: notices go to authenticated senders, to those who came by the local socket,
// and to those outside whose mail was sent on and who have shown that the address is theirs (SPF, or a
// signature of its domain); never to a stranger. What fails then is logged and counted, for
// an operator (RFC 3461 §5.2 asks for "some appropriate mechanism").

// mayNotify reports whether the item's sender is one who may be sent notices.
func mayNotify(r *record) bool {
	if r.from.IsNull() {
		return false
	}
	return r.account != 0 || r.origin == envelope.Submission || r.origin == envelope.LMTP || r.known
}

// sender is who is told of an item: of what was sent on, he whose return address it leaves under.
func (q *Queue) sender(r *record) smtp.Address {
	if q.o.Sender == nil {
		return r.from
	}
	return q.o.Sender(r.from)
}

// wants reports whether the sender wants to hear of action about a recipient.
func (r *recipient) wants(action message.Action) bool {
	switch action {
	case message.ActionFailed:
		return r.Notify == 0 || r.Notify&envelope.NotifyFailure != 0
	case message.ActionDelayed:
		return r.Notify == 0 || r.Notify&envelope.NotifyDelay != 0
	}
	return r.Notify&envelope.NotifySuccess != 0
}

// notices composes what the sender is to be told of the outcomes: one message for failures, one for
// successes. They are queued in the shard of the item they are about.
func (q *Queue) notices(ctx context.Context, s shard, rec *record, outs []outcome) ([]notice, error) {
	byAction := map[message.Action][]fate{}
	for _, o := range outs {
		rcpt := rec.rcpts[o.k]
		rcpt.reply, rcpt.host, rcpt.tried = o.reply, o.host, q.o.Clock.Now()
		switch {
		case o.reply.Permanent():
			byAction[message.ActionFailed] = append(byAction[message.ActionFailed],
				fate{rcpt, message.ActionFailed, statusOf(o.reply)})
		case o.reply.OK():
			action := q.successOf(rec, &rcpt, o)
			if action != "" {
				byAction[message.ActionDelivered] = append(byAction[message.ActionDelivered],
					fate{rcpt, action, statusOf(o.reply)})
			}
		}
	}
	var all []notice
	for _, action := range [...]message.Action{message.ActionFailed, message.ActionDelivered} {
		n, err := q.compose(ctx, rec, byAction[action])
		if err != nil {
			discard(all)
			return nil, err
		}
		if n != nil {
			all = append(all, *n)
		}
	}
	return all, nil
}

// successOf returns what a success is called, or "" if the next server will tell of it, or nobody
// is to be told. A server without DSN ends what can be known: "relayed" (RFC 3461 §5.2.2). So does
// one without DELIVERBY for a sender who set a time, and any for one who wants a trace (RFC 2852 §4).
func (q *Queue) successOf(rec *record, rcpt *recipient, o outcome) message.Action {
	local := rec.legs[rcpt.leg].dest == destLocal
	switch {
	case local && rcpt.wants(message.ActionDelivered):
		return message.ActionDelivered
	case local:
		return ""
	case o.relayed && rcpt.wants(message.ActionRelayed):
		return message.ActionRelayed
	case rec.bySet && (rec.by.Trace || o.untimed) && rcpt.Notify&envelope.NotifyNever == 0:
		return message.ActionRelayed
	}
	return ""
}

// fate is one recipient in a notice.
type fate struct {
	recipient
	action message.Action
	status smtp.Enhanced
}

// compose makes a notice of the fates that the sender wants to hear of; nil if there is none.
func (q *Queue) compose(ctx context.Context, rec *record, fates []fate) (*notice, error) {
	var told []fate
	for _, f := range fates {
		if f.action == message.ActionRelayed || f.wants(f.action) {
			told = append(told, f)
		}
	}
	if len(told) == 0 {
		return nil, nil
	}
	if !mayNotify(rec) {
		metricNotices.WithLabelValues("none").Inc()
		q.log.Warn("nobody may be told", "id", rec.id, "from", rec.from.Path(),
			"to", told[0].Address.Path(), "action", told[0].action, "status", told[0].status.String())
		return nil, nil
	}
	id, err := q.newID()
	if err != nil {
		return nil, err
	}
	r, err := q.report(ctx, rec, told)
	if err != nil {
		return nil, err
	}
	defer r.close()
	w := q.o.Blobs.Create(ctx)
	if _, err := r.WriteTo(w); err != nil {
		w.Abort()
		return nil, fmt.Errorf("compose notice: %w", err)
	}
	body, err := w.Finish()
	if err != nil {
		return nil, fmt.Errorf("compose notice: %w", err)
	}
	metricNotices.WithLabelValues(string(told[0].action)).Inc()
	n := &record{id: id, body: body.Ref(), created: q.o.Clock.Now(), origin: envelope.Notice,
		messageID: r.MessageID, requireTLS: rec.requireTLS, utf8: r.UTF8, eightBit: r.UTF8 || r.EightBit,
		warned: true, prio: max(rec.prio, 0)}
	// RFC 3461 §6.1: a notice asks for none.
	to := q.sender(rec)
	n.add(Recipient{Address: to, Notify: envelope.NotifyNever}, q.destOf(to, false))
	return &notice{n, body}, nil
}

// report is a message.Report with what must be closed after it is written.
type report struct {
	*message.Report
	close func() error
}

// report fills a report in, RFC 3464.
func (q *Queue) report(ctx context.Context, rec *record, told []fate) (*report, error) {
	action := told[0].action
	m, err := q.parseOriginal(ctx, rec.body)
	if err != nil {
		// The message is not readable, and somebody must be told just the same.
		m = &message.Message{}
	}
	msgID, err := q.newID()
	if err != nil {
		return nil, err
	}
	to := q.sender(rec)
	r := &message.Report{
		From: message.Address{Name: "Mail Delivery System", Mailbox: "MAILER-DAEMON",
			Host: q.o.Hostname},
		To:      message.Address{Mailbox: to.Local, Host: smtp.UnicodeDomain(to.Domain)},
		Subject: subjects[action], Date: q.o.Clock.Now(),
		MessageID: "<" + string(msgID) + "@" + q.o.Hostname + ">",
		Text:      q.text(rec, action, told), Language: []string{"en", "vi"},
		MTA: q.o.Hostname, EnvelopeID: rec.envID, Arrival: rec.created,
		UTF8:     rec.utf8 && m.EightBitHeader || to.NeedsUTF8(),
		EightBit: m.EightBit, Rand: lockedRand{q},
	}
	if !r.UTF8 {
		r.To.Host = to.Domain
	}
	if rec.messageID != "" {
		r.References = []string{rec.messageID}
	}
	for i := range told {
		r.Recipients = append(r.Recipients, q.reportRecipient(rec, &told[i]))
	}
	if m.Root == nil {
		return &report{r, func() error { return nil }}, nil
	}
	// RFC 3461 §4.3: the whole message comes back only where that was asked for and something
	// failed; RFC 8689 §5: never one that required TLS. Nor one in BINARYMIME: the notice would have
	// to be that too, and could not be delivered where the message could not (RFC 3030 §3).
	r.HeaderOnly = action != message.ActionFailed || rec.ret != "FULL" || rec.requireTLS || rec.binary
	if r.HeaderOnly {
		r.EightBit = m.EightBitHeader
	}
	original, err := q.original(ctx, rec.body)
	if err != nil {
		return nil, err
	}
	r.Original = original
	return &report{r, original.Close}, nil
}

func (q *Queue) reportRecipient(rec *record, f *fate) message.ReportRecipient {
	rr := message.ReportRecipient{
		Original: f.ORCPT, Final: f.Address.String(), Action: f.action, Status: f.status.String(),
		Last: f.tried, LogID: string(rec.id),
	}
	if f.host != "" {
		rr.RemoteMTA = f.host
		rr.Diagnostic = f.diagnosis()
	}
	if f.action == message.ActionDelayed {
		rr.Until = q.time.wallTime(q.expires(rec))
	}
	return rr
}

// lockedRand lets the composer read the queue's randomness.
type lockedRand struct{ q *Queue }

// Read implements io.Reader.
func (r lockedRand) Read(p []byte) (int, error) {
	r.q.rand.Lock()
	defer r.q.rand.Unlock()
	return io.ReadFull(r.q.o.Rand, p)
}

// subjects and texts of notices. They are said in both languages of the house, because it does not
// know which one the sender reads.
var subjects = map[message.Action]string{
	message.ActionFailed:    "Undelivered mail / Thư không gửi được",
	message.ActionDelayed:   "Delayed mail / Thư bị chậm",
	message.ActionDelivered: "Delivered mail / Thư đã được chuyển",
	message.ActionRelayed:   "Relayed mail / Thư đã được chuyển tiếp",
}

// phrase is a text in both languages.
type phrase struct{ en, vi string }

var texts = map[message.Action]phrase{
	message.ActionFailed: {
		"Your message could not be delivered to these recipients, and no more attempts are made:",
		"Thư của bạn không gửi được tới những người nhận sau đây và sẽ không được gửi lại nữa:"},
	message.ActionDelayed: {
		"Your message has not been delivered to these recipients yet. You need not send it again: " +
			"attempts go on until %s.",
		"Thư của bạn chưa tới được những người nhận sau đây. Bạn không cần gửi lại: hệ thống tiếp " +
			"tục thử tới %s."},
	message.ActionDelivered: {
		"Your message was delivered to these recipients, as you asked to be told:",
		"Thư của bạn đã tới những người nhận sau đây, theo yêu cầu được báo của bạn:"},
	message.ActionRelayed: {
		"Your message was handed over for these recipients to a server that does not tell what " +
			"becomes of it:",
		"Thư của bạn gửi tới những người nhận sau đây đã được giao cho một máy chủ không báo kết quả:"},
}

// text is what a person reads: the recipients with what was said about them.
func (q *Queue) text(rec *record, action message.Action, told []fate) string {
	var b strings.Builder
	p := texts[action]
	if action == message.ActionDelayed {
		until := q.time.wallTime(q.expires(rec)).UTC().Format(time.RFC1123)
		p.en, p.vi = fmt.Sprintf(p.en, until), fmt.Sprintf(p.vi, until)
	}
	fmt.Fprintf(&b, "%s\n\n%s\n", p.en, p.vi)
	for i := range told {
		f := &told[i]
		fmt.Fprintf(&b, "\n%s\n", f.Address.Unicode())
		if f.host != "" {
			fmt.Fprintf(&b, "    %s: %s\n", f.host, f.diagnosis())
		} else if s := f.diagnosis(); s != "" {
			fmt.Fprintf(&b, "    %s\n", s)
		}
	}
	fmt.Fprintf(&b, "\nMessage / Thư: %s %s\n", rec.id, rec.messageID)
	return b.String()
}

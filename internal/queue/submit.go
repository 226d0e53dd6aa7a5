package queue

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"tram/internal/blob"
	"tram/internal/envelope"
	"tram/internal/kv"
	"tram/internal/smtp"
	"tram/internal/trace"
)

// Recipient is one forward-path of a Submission.
type Recipient = envelope.Recipient

// Submission is a message to be delivered: an envelope without what only the way in needs.
type Submission struct {
	ID         ID           // the trail; "" makes one
	From       smtp.Address // zero for the null sender
	Recipients []Recipient  // at least one
	Body       *blob.Pending
	Ret        string // RET: "FULL", "HDRS" or ""
	EnvID      string
	EightBit   bool // BODY=8BITMIME
	Binary     bool // BODY=BINARYMIME
	UTF8       bool // SMTPUTF8
	RequireTLS bool
	Known      bool // From is the sender's own, and may be told: see envelope.Envelope
	// TLSOptional: what the recipients' domains ask of connections is to be ignored, as the field
	// "TLS-Required: No" says (RFC 8689 §3). RequireTLS prevails.
	TLSOptional bool
	HoldUntil   time.Time          // FUTURERELEASE; zero for now
	DeliverBy   envelope.DeliverBy // DELIVERBY
	MTPriority  int                // MT-PRIORITY, -9 to 9
	Account     uint64             // directory.AccountID of the authenticated sender; 0: none
	Origin      envelope.Origin
	MessageID   string   // of the header, for the trace
	ContentHash [32]byte // of what is handed over: see envelope.Envelope; zero for submissions
	// HoldReason keeps the item until HoldUntil, or where that is zero until it is released.
	HoldReason string
	// Junk: local people get it as junk mail, unless it is released by hand.
	Junk bool
}

// SubmissionOf makes a Submission of an envelope.
func SubmissionOf(e *envelope.Envelope) Submission {
	s := Submission{
		ID: ID(e.ID), From: e.From, Recipients: e.Recipients, Body: e.Body, Ret: e.Return,
		EnvID: e.EnvelopeID, EightBit: e.EightBit, Binary: e.Binary, UTF8: e.UTF8,
		RequireTLS: e.RequireTLS, HoldUntil: e.HoldUntil, DeliverBy: e.DeliverBy,
		MTPriority: e.Priority, Account: e.Account, Origin: e.Origin,
		HoldReason: e.HoldReason, Junk: e.Junk, Known: e.Known,
	}
	if e.Message != nil {
		s.MessageID = e.Message.MessageID
		s.EightBit = s.EightBit || e.Message.EightBit
		s.TLSOptional = tlsOptional(e.Message.Header)
	}
	return s
}

// Forward takes over an envelope: a submission, or what this server writes. With HandOver, HandedOver and
// Seen it makes a Queue what deliver calls a Forwarder. ErrLoop: the message has been through too many
// servers (RFC 5321 §6.3).
func (q *Queue) Forward(ctx context.Context, e *envelope.Envelope) error {
	if e.Message != nil && e.Message.Received > q.o.Hops {
		return fmt.Errorf("forward %s after %d hops: %w", e.ID, e.Message.Received, ErrLoop)
	}
	_, err := q.Submit(ctx, SubmissionOf(e))
	return err
}

// Submit makes the queue owe a message to its recipients. It is one transaction: when Submit
// returns nil the message is safe, and otherwise the queue has no part of it. The body is linked
// and Committed; discarding it on error is the caller's.
//
// An ID that is in use already (a message that is forwarded twice) gets a suffix; the ID returned
// is the one to ask for.
func (q *Queue) Submit(ctx context.Context, s Submission) (ID, error) {
	rec, err := q.newRecord(&s)
	if err != nil {
		return "", fmt.Errorf("submit: %w", err)
	}
	base := rec.id
	sh := q.shardFor(base, s.Account)
	err = q.update(ctx, sh, func(t *tx) error {
		rec.id = base
		return q.accept(t, rec, &s)
	})
	if err != nil {
		return "", fmt.Errorf("submit %s: %w", base, err)
	}
	s.Body.Committed()
	q.submitted(sh, rec)
	return rec.id, nil
}

// newRecord makes the item of a submission, with a leg for each destination.
func (q *Queue) newRecord(s *Submission) (*record, error) {
	if len(s.Recipients) == 0 {
		return nil, ErrEmpty
	}
	id := s.ID
	if id == "" {
		var err error
		if id, err = q.newID(); err != nil {
			return nil, err
		}
	}
	if !id.valid() {
		return nil, fmt.Errorf("queue id %q is not printable", id)
	}
	r := &record{
		id: id, body: s.Body.Ref(), eightBit: s.EightBit, binary: s.Binary, utf8: s.UTF8,
		requireTLS: s.RequireTLS, tlsOptional: s.TLSOptional && !s.RequireTLS,
		by: s.DeliverBy, bySet: !s.DeliverBy.Deadline.IsZero(),
		created: q.o.Clock.Now(), prio: min(max(s.MTPriority, -9), 9), account: s.Account,
		from: s.From, origin: s.Origin, messageID: clip(s.MessageID, 998), ret: s.Ret, envID: s.EnvID,
		junk: s.Junk, known: s.Known, content: s.ContentHash,
	}
	// Whom nothing may be told is not warned.
	r.warned = !mayNotify(r)
	for _, rcpt := range s.Recipients {
		r.add(rcpt, q.destOf(rcpt.Address, r.tlsOptional))
	}
	return r, nil
}

// add appends a recipient, and a leg if it is the first one of its destination.
func (r *record) add(rcpt Recipient, dest string) {
	i := r.legTo(dest)
	if i < 0 {
		i = len(r.legs)
		r.legs = append(r.legs, leg{dest: dest})
	}
	r.rcpts = append(r.rcpts, recipient{Recipient: rcpt, leg: i})
}

// uniqueID gives the item a suffix if another one has its ID.
func (t *tx) uniqueID(r *record) error {
	base := r.id
	for n := 2; ; n++ {
		_, err := t.Get(t.s.itemKey(r.id))
		if errors.Is(err, kv.ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		r.id = base + ID("-"+strconv.Itoa(n))
	}
}

// insert writes a new item with everything that leads to it.
func (t *tx) insert(q *Queue, r *record, body *blob.Pending) error {
	if err := body.Link(t.Txn, owner(r.id)); err != nil {
		return err
	}
	if err := t.put(r); err != nil {
		return err
	}
	if err := t.Set(t.s.cameKey(r), nil); err != nil {
		return err
	}
	if err := t.wallTimer(r, true); err != nil {
		return err
	}
	if !r.parked() {
		return t.tally(0, 1)
	}
	if err := t.tally(1, 0); err != nil {
		return err
	}
	return t.parkAll(q, r, true)
}

// submitted tells the world and the engine of an item that is now durable.
func (q *Queue) submitted(s shard, r *record) {
	metricSubmitted.WithLabelValues(string(r.origin)).Inc()
	q.log.Info("queued", "id", r.id, "from", r.from.Path(), "recipients", len(r.rcpts),
		"size", r.body.Size, "origin", r.origin, "account", r.account, "held", r.reason)
	result := "queued"
	if !r.parked() {
		result = "held"
		metricHeld.Inc()
	} else {
		metricWaiting.Inc()
	}
	for i := range r.rcpts {
		q.trace(r, &r.rcpts[i], trace.Event{Step: "queue", Result: result, Detail: r.reason})
	}
	if r.wallEvent() != 0 {
		q.keepAlarm.ring()
	}
	if r.held && q.o.Held != nil {
		it := Item{ID: r.id, From: r.from, Size: r.body.Size, Account: r.account, Origin: r.origin,
			MessageID: r.messageID, Created: r.created, State: StateHeld, HeldReason: r.reason}
		for i := range r.rcpts {
			it.Recipients = append(it.Recipients, RecipientStatus{Address: r.rcpts[i].Address, State: StateHeld})
		}
		q.o.Held(it)
	}
	for i := range r.legs {
		if r.parked() {
			q.hint(r.legs[i].dest, r.prio)
		}
	}
}

// trace adds an event about one recipient.
func (q *Queue) trace(r *record, rcpt *recipient, e trace.Event) {
	e.ID, e.MessageID, e.From = string(r.id), r.messageID, r.from.Path()
	e.To = rcpt.Address.String()
	e.Time = q.o.Clock.Now()
	q.o.Trace.Add(e)
}

// Package envelope holds what the rooms that move mail say to each other: smtpd to deliver and
// queue, queue to deliver for local people, deliver to queue for forwards.
//
// It decides nothing. An Envelope travels with its body, which is stored once whoever refers to it;
// what a room learned about the message (where it came from, how it was authenticated) travels in
// it as values, so that no later room has to parse a header to know.
package envelope

import (
	"net/netip"
	"time"

	"tram/internal/blob"
	"tram/internal/mailauth"
	"tram/internal/mailauth/check"
	"tram/internal/message"
	"tram/internal/smtp"
)

// Origin says by which door a message came.
type Origin string

// The doors a message comes by.
const (
	Inbound    Origin = "inbound"    // port 25: from anybody, for local people
	LMTP       Origin = "lmtp"       // the unix socket: from a trusted local program
	Submission Origin = "submission" // from an account of ours, for anybody
	Forward    Origin = "forward"    // sent on by an alias or a filter
	Notice     Origin = "notice"     // written by this server: DSNs and the like
)

// Envelope is a message on its way, with everything that is known beside its bytes.
type Envelope struct {
	// ID is the message's trail: unique per accepted message, shown in the Received field, the
	// logs, the 250 reply and `tram trace`.
	ID         string
	Origin     Origin
	From       smtp.Address // reverse-path; the zero Address is the null sender <>
	Recipients []Recipient
	Body       *blob.Pending    // header and body as stored, trace fields included
	Message    *message.Message // the parse of Body, made while it streamed in
	// ContentHash identifies the content as the client sent it, without our own trace fields:
	// SHA-256. It tells a repeated delivery after a lost 250 from a new message (RFC 1047).
	ContentHash [32]byte
	Received    time.Time
	// Handing lets the queue recognise the message when deliver hands it over again; zero: it does not look.
	Handing Handing
	// Queued: the queue delivers it, as its item ID. It was judged before it waited.
	Queued bool

	Client Client
	// Check is what has looked at the bytes as the client sent them, and can say who vouches for them;
	// nil: nobody has, or it has been asked.
	Check *check.Check
	// Auth is who vouches for the sender; nil: nobody was asked (a submission, a local program).
	Auth *mailauth.Results
	// Known: the reverse-path was shown to be the sender's own when the message came from outside, so that
	// notices may go there.
	Known bool
	// Account is the authenticated sender of a submission, 0 otherwise.
	Account uint64

	// The sender's wishes, RFC 3461 and the submission extensions. Zero values mean "not asked".
	Return     string // RET: "FULL", "HDRS" or ""
	EnvelopeID string // ENVID, decoded from xtext
	UTF8       bool   // SMTPUTF8, RFC 6531
	EightBit   bool   // BODY=8BITMIME, RFC 6152
	Binary     bool   // BODY=BINARYMIME, RFC 3030
	RequireTLS bool   // REQUIRETLS, RFC 8689
	HoldUntil  time.Time
	DeliverBy  DeliverBy
	Priority   int // MT-PRIORITY, RFC 6710: -9 to 9

	// HoldReason keeps a message that is handed to the queue there, until HoldUntil or, where that is
	// zero, until an administrator lets it go; it says why, for people.
	HoldReason string
	// Junk: the message was judged before it waited, and goes to the junk mail of its recipients.
	Junk bool
}

// Handing names a message that is handed to the queue. Whom the queue has taken it for, it does not take
// it for again within For, unless its sender has seen meanwhile that it was taken (RFC 1047).
type Handing struct {
	Key [16]byte
	For time.Duration
}

// Client is who handed the message over.
type Client struct {
	Addr  netip.Addr // the true client: after PROXY, never the proxy; invalid for a unix socket
	HELO  string
	Name  string // reverse name, "" when there is none
	TLS   string // version and cipher for the Received field, "" in the clear
	ESMTP bool
}

// DeliverBy is the DELIVERBY extension's wish, RFC 2852.
type DeliverBy struct {
	Deadline time.Time // zero: not asked
	Return   bool      // true: return after the deadline (R); false: notify and go on (N)
	Trace    bool
}

// Notify is when the sender wants to hear of a recipient, RFC 3461 §4.1.
type Notify uint8

// The bits of Notify; zero means the default, failure and delay.
const (
	NotifyNever Notify = 1 << iota
	NotifySuccess
	NotifyFailure
	NotifyDelay
)

// Recipient is one forward-path with the sender's wishes for it.
type Recipient struct {
	Address smtp.Address
	Notify  Notify
	ORCPT   string // "type;address" as given, xtext decoded; "" when not given
}

// Outcome is what became of one recipient.
type Outcome struct {
	// Reply is what the sender is told: 2xx filed or taken over, 4xx try again, 5xx never.
	Reply smtp.Reply
	// EmailIDs are the stored emails, in the accounts they went to.
	EmailIDs []string
	// Duplicate is set when the message was already there (a repetition after a lost 250).
	Duplicate bool
	// Confirm, when not nil, is called once the sender is known to have seen the reply; until
	// then the same message from the same sender is taken for a repetition.
	Confirm func()
}

// OK reports whether the recipient's message is safe in this house.
func (o Outcome) OK() bool { return o.Reply.Code/100 == 2 }

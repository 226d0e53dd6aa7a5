package deliver

import (
	"context"

	"tram/internal/envelope"
	"tram/internal/smtp"
	"tram/internal/spam/sign"
	"tram/internal/store"
)

// Verdict is what the steps have found out about a message. The zero Verdict is neutral: nobody
// vouches for the sender, nothing speaks against the message, it goes to the INBOX.
type Verdict struct {
	// Authenticated: the reverse-path is known to be the sender's own (SPF, or DKIM in alignment).
	// Only such senders are ever told of a failure after the session.
	Authenticated bool
	// Refuse, if its Code is set, is what the sender is told instead of a delivery.
	Refuse smtp.Reply
	// Junk files the message as junk.
	Junk bool
	// Discard takes the message and drops it: a person's own wish (RFC 5228 §4.4).
	Discard bool
	// Forward sends a copy to these addresses (RFC 5228 §4.2).
	Forward []smtp.Address
	// Keywords are set on the stored message.
	Keywords []string
	// Reasons say in words why, for the trace.
	Reasons []string

	// Signs speak for or against the message, whoever found them.
	Signs []sign.Sign
	// Score is what the signs come to, for one person once he was asked for.
	Score float64
	// Quarantine takes the message and holds it where an administrator sees it.
	Quarantine bool
}

// Classifier finds out what a message is to one person, given what is known of its sender.
type Classifier func(
	ctx context.Context, env *envelope.Envelope, to store.AccountID, v Verdict,
) (Verdict, error)

// Filter applies one person's own rules.
type Filter func(
	ctx context.Context, env *envelope.Envelope, to store.AccountID, v Verdict,
) (Verdict, error)

// strangers reports whether nobody vouches for the sender of env: then no notice may ever be sent
// to the reverse-path, which anybody can have written there (fault P22, backscatter).
func strangers(env *envelope.Envelope, v Verdict) bool {
	return env.Origin == envelope.Inbound && !v.Authenticated
}

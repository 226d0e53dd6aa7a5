// Package dkim answers "did this domain put its name to these bytes?": DomainKeys Identified Mail,
// RFC 6376, with the algorithms of RFC 8301 and RFC 8463, both ways.
//
// A [Verifier] takes the header when it is whole and the body as it comes: one hash for each distinct
// canonicalisation and length, however many signatures there are. Keys are looked up after the end.
// [Sign] makes the field for a message whose body was hashed in the same way.
//
// It promises that only a signature of the whole body with a key that is neither weak, revoked nor
// made for something else is a pass; that a message of any shape costs one pass and a bounded number
// of checks. What must never happen: text that the signer did not see is shown under his name.
package dkim

import (
	"context"
	"time"

	"tram/internal/dns"
	"tram/internal/limits"
)

// TXTResolver is what a verifier needs of the DNS.
type TXTResolver interface {
	// TXT is that of dns.Resolver.
	TXT(ctx context.Context, name string) ([]string, dns.Result, error)
}

// Options are what a verifier works with.
type Options struct {
	Limits limits.MailAuth
	Now    time.Time
	// Bodies, when set, are hashes shared with other verifiers of the same message: the caller writes the
	// body to them once, and the Write of each verifier does nothing.
	Bodies *Bodies
}

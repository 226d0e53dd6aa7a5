// Package dns answers "what does the DNS say, and can it be trusted?": a stub resolver with a cache,
// and a fake of it for tests.
//
// It promises: "there is no such name", "there is no such record" and "nobody knows right now" are
// never mixed up; an answer is taken only from the server that was asked, for the question that was
// asked; the DNSSEC bit is passed on only from servers on this machine or ones the operator named,
// for the way to the others is open to everybody; every look-up ends, in bounded time and memory,
// whatever the answers are.
//
// What must never happen: a time-out or a broken server makes mail bounce; an answer somebody else
// slipped in is kept; a loop of aliases is followed for ever.
package dns

import (
	"context"
	"errors"
	"net/netip"
	"time"
)

// What a look-up ends with when it has no answer. Every other error wraps ErrTemporary.
var (
	// ErrNoDomain is NXDOMAIN: the name, and all below it, do not exist (RFC 8020 §2).
	ErrNoDomain = errors.New("domain does not exist")
	// ErrNoRecord is NODATA: the name exists without a record of the type (RFC 2308 §2.2).
	ErrNoRecord = errors.New("domain has no such record")
	// ErrTemporary is a failure that says nothing about the name: a server that failed, refused,
	// answered nonsense or not in time. Try again later.
	ErrTemporary = errors.New("name resolution failed for now")
	// ErrNullMX says that the domain exists and takes no mail, RFC 7505 §3.
	ErrNullMX = errors.New("domain takes no mail")
)

// MX is a mail exchanger.
type MX struct {
	Preference uint16 // the lowest is tried first
	Host       string // lower case, without trailing dot
}

// TLSA is a TLSA record, RFC 6698 §2.1.
type TLSA struct {
	Usage, Selector, Matching uint8
	Data                      []byte
}

// Result is what an answer is worth.
type Result struct {
	// Authentic: DNSSEC vouches for every step of the answer, or of its denial, and the servers
	// that say so are trusted.
	Authentic bool
	TTL       time.Duration // how long the answer may be kept, 0 for not at all
	// Name is where aliases led, in lower case without trailing dot; the name that was asked for
	// when there are none (RFC 7672 §2.2.2 needs it).
	Name string
}

// Resolver looks names up. Names are absolute, with or without the trailing dot, in A-labels or in
// Unicode. Errors: ErrNoDomain, ErrNoRecord, ErrNullMX, or one that wraps ErrTemporary; the Result
// is valid for the first three too.
type Resolver interface {
	// MX returns the exchangers of a domain by preference, in random order among equals (RFC 5321
	// §5.1). The implicit exchanger of a domain without any is left to the caller: ErrNoRecord.
	MX(ctx context.Context, domain string) ([]MX, Result, error)
	// Addrs returns the addresses of a host, IPv6 before IPv4.
	Addrs(ctx context.Context, host string) ([]netip.Addr, Result, error)
	// Family returns all addresses of one family: what a rule about a client's own address needs (RFC
	// 7208 §5), where an error of the other family must neither help nor harm.
	Family(ctx context.Context, host string, six bool) ([]netip.Addr, Result, error)
	// TXT returns one string for each record, its parts joined (RFC 7208 §3.3).
	TXT(ctx context.Context, name string) ([]string, Result, error)
	// PTR returns the names of an address, in lower case without trailing dot.
	PTR(ctx context.Context, addr netip.Addr) ([]string, Result, error)
	// TLSA takes the whole name: _25._tcp.mx.example.com.
	TLSA(ctx context.Context, name string) ([]TLSA, Result, error)
}

var (
	_ Resolver = (*Client)(nil)
	_ Resolver = (*Fake)(nil)
)

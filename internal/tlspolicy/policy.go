package tlspolicy

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"

	"tram/internal/dns"
)

// Level is how much a connection must prove before mail goes over it.
type Level int

// The levels, from the least to the most.
const (
	// Opportunistic: TLS where it is offered, whoever answers; else in the clear (RFC 7435).
	Opportunistic Level = iota
	// Encrypted: TLS, whoever answers (RFC 7672 §2.2: TLSA records of which none is usable).
	Encrypted
	// Verified: TLS with a certificate that the policy accepts.
	Verified
)

// String names a level for people.
func (l Level) String() string {
	switch l {
	case Encrypted:
		return "encrypted"
	case Verified:
		return "verified"
	}
	return "opportunistic"
}

// Domain is a destination as it was looked up.
type Domain struct {
	Name string // A-labels, lower case
	// Authentic: DNSSEC vouches for the MX records, or for there being none.
	Authentic bool
	STS       *STS // nil: none
}

// Host is one exchanger of a domain as it was looked up.
type Host struct {
	Name   string
	Result dns.Result // of its addresses
}

// Policy says how one exchanger of one domain must be spoken to. The zero Policy is opportunistic.
type Policy struct {
	Domain, Host string
	Type         PolicyType // what Level comes from
	Level        Level
	// Testing: what fails is reported, and mail goes just the same (RFC 8461 §5).
	Testing bool
	// Refused, if set, is why the exchanger must not get the domain's mail at all.
	Refused ResultType
	// Unusable: TLSA records are there, and none of them can be used.
	Unusable bool

	STS  *STS
	TLSA []dns.TLSA // as they were found
	// Base is the name that the TLSA records are of, RFC 7672 §2.2.2: the server is asked for it.
	Base string

	usable []dns.TLSA
	names  []string // that a certificate under DANE-TA may be for
}

// Why says in words what the policy asks and where that comes from.
func (p *Policy) Why() string {
	switch {
	case p.Type == TypeTLSA && p.Unusable:
		return "DANE: TLSA records of " + p.Base + " are not usable, so TLS is required"
	case p.Type == TypeTLSA:
		return "DANE: TLSA records of " + p.Base
	case p.Type == TypeSTS:
		return fmt.Sprintf("MTA-STS policy of %s (%s)", p.Domain, p.STS.Mode)
	}
	return "no policy"
}

// Key is the same for policies that ask the same: a connection made under one serves the other.
func (p *Policy) Key() string {
	h := sha256.New()
	fmt.Fprintf(h, "%s %s %d %t %s %s", p.Type, p.Host, p.Level, p.Testing, p.Refused, p.Base)
	if p.STS != nil && p.Type == TypeSTS {
		fmt.Fprintf(h, "%q", p.STS.Lines)
	}
	for _, t := range p.TLSA {
		fmt.Fprintf(h, " %d %d %d %x", t.Usage, t.Selector, t.Matching, t.Data)
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// Event begins the report of a session under the policy.
func (p *Policy) Event() Event {
	e := Event{Domain: p.Domain, Type: p.Type, MX: p.Host}
	switch p.Type {
	case TypeSTS:
		e.Policy, e.MXPatterns = p.STS.Lines, p.STS.MX
	case TypeTLSA:
		for _, t := range p.TLSA {
			e.Policy = append(e.Policy, fmt.Sprintf("%d %d %d %s", t.Usage, t.Selector, t.Matching,
				strings.ToUpper(hex.EncodeToString(t.Data))))
		}
	case "":
		e.Type = TypeNone
	}
	return e
}

// Unknown is the error of a host of which nobody can say now how it must be spoken to: it is not to
// be used, and asked about later.
type Unknown struct {
	Policy Policy // what is known, for the report
	Result ResultType
	Err    error
}

// Error says why.
func (u *Unknown) Error() string { return u.Err.Error() }

// Unwrap returns the cause.
func (u *Unknown) Unwrap() error { return u.Err }

// Policy joins what DANE and MTA-STS ask about one host of a domain. RFC 8461 §2: where usable TLSA
// records are, they decide, and MTA-STS cannot override their failure. The error is *Unknown, or the
// context's.
func (f *Finder) Policy(ctx context.Context, d Domain, h Host) (Policy, error) {
	p := Policy{Domain: d.Name, Host: h.Name, Type: TypeNone, STS: d.STS}
	if err := f.dane(ctx, d, h, &p); err != nil {
		return p, err
	}
	if d.STS != nil && p.Level < Verified {
		p.withSTS()
	}
	testing := ""
	if p.Testing {
		testing = " (testing)"
	}
	metricPolicies.WithLabelValues(string(p.Type), p.Level.String()+testing).Inc()
	return p, nil
}

// withSTS applies the domain's MTA-STS policy. One in testing does not take the place of what TLSA
// records ask.
func (p *Policy) withSTS() {
	testing := p.STS.Mode != ModeEnforce
	if testing && p.Level > Opportunistic {
		return
	}
	p.Type, p.Level, p.Testing = TypeSTS, Verified, testing
	if !p.STS.Matches(p.Host) {
		p.Refused = ValidationFailure
	}
}

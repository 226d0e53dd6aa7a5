// Package mailauth answers "who vouches for this message?": what SPF, DKIM, ARC, DMARC and the
// reverse name of the client say about a message, as values.
//
// The inner rooms do the work, each for one standard: spf, dkim, arc, dmarc, authres. Another, check,
// runs them over a message while it streams in: one pass over the bytes, however many signatures there
// are, and look-ups in the DNS only after its end. This package holds what they find out.
//
// It promises that nothing is a pass that was not checked: a look-up that failed is "temperror", a
// limit that was reached is "permerror" or "policy", a signature of a part of the message is never a
// pass. What must never happen: a message that says it is from somebody, and is believed, because two
// readers of its header saw two authors.
package mailauth

import (
	"net/netip"
	"strings"
	"time"
)

// Status is a result as Authentication-Results writes it, RFC 8601 §2.7.
type Status string

// The results. Not every method has all of them.
const (
	None      Status = "none"      // nothing to check
	Pass      Status = "pass"      // checked and true
	Fail      Status = "fail"      // checked and false
	SoftFail  Status = "softfail"  // SPF: probably false
	Neutral   Status = "neutral"   // says nothing, or cannot be used
	Policy    Status = "policy"    // true by the letter, and not accepted here: a weak key, a part of the body
	TempError Status = "temperror" // could not be checked now
	PermError Status = "permerror" // can never be checked: a record or a signature is broken
)

// Results are what all methods found out about one message. They are values: nothing in them refers
// to the connection or the resolver.
type Results struct {
	// Client.
	IPRev IPRev
	HELO  SPF // of the EHLO name
	SPF   SPF // of the reverse-path; of the EHLO name when that is null (RFC 7208 §2.4)

	DKIM  []DKIM // in the order of the header, at most limits.MailAuth.Signatures
	ARC   ARC
	DMARC DMARC

	// From is the one address of the one From field; "" when there is not exactly one.
	From string
	// FromDomain is its domain in A-labels, lower case.
	FromDomain string
}

// IPRev is what the reverse name of a client says, RFC 8601 §3.
type IPRev struct {
	Status Status
	Name   string // of the PTR record that leads back to the address; for other results the first one
}

// SPF is a result of RFC 7208.
type SPF struct {
	Status Status
	Domain string // that was asked about, A-labels
	// Helo: the identity is the EHLO name, not the reverse-path.
	Helo        bool
	Mechanism   string // as in the record, that decided: "ip4:192.0.2.0/24"; "default" for none
	Explanation string // of a fail, RFC 7208 §6.2; only printable ASCII
	Reason      string // of an error
	// Range is the widest network that the mechanism which passed authorises, by its shortest prefix: see
	// Wide. Zero where the mechanism names no network.
	Range netip.Prefix
	// Lookups and Voids are the DNS terms that were counted, RFC 7208 §4.6.4.
	Lookups, Voids int
}

// DKIM is the result of one signature, RFC 6376 §6.
type DKIM struct {
	Status    Status
	Domain    string // d=, A-labels, lower case
	Selector  string // s=
	Identity  string // i=, as written or its default
	Algorithm string // a=
	KeyBits   int    // of an RSA key; 256 for Ed25519
	Signature string // b=, without white space: its start is header.b, all of it tells replays
	Headers   []string
	Signed    time.Time // t=; zero: not said
	Expires   time.Time // x=; zero: not said
	// Part: l= left out a part of the body; such a signature is never a Pass.
	Part    bool
	Testing bool   // the key's t=y
	Strict  bool   // the key's t=s
	Reason  string // why it is not a Pass
}

// ARC is the result of the chain, RFC 8617 §5.2.
type ARC struct {
	Status    Status // None, Pass or Fail
	Instances int
	Sets      []ARCSet // from the first sealer to the last; empty unless Status is Pass or Fail
	Reason    string
	// Trusted: the chain passed, and every sealer from the last one down to Authority is in the list of
	// those whose word counts here; Authority is the oldest of that unbroken run, whose results are
	// believed.
	Trusted   bool
	Authority int // instance, 0: none
}

// ARCSet is one hop of a chain.
type ARCSet struct {
	Instance int
	Domain   string // d= of the seal
	Selector string
	Chain    Status // cv= of the seal
	// Results is the ARC-Authentication-Results field without its instance, as written.
	Results string
}

// DMARC policies, RFC 9989 §4.7.
const (
	PolicyNone       = "none"
	PolicyQuarantine = "quarantine"
	PolicyReject     = "reject"
)

// DMARC is the result for the author's domain, RFC 9989 §5.
type DMARC struct {
	Status Status
	Domain string // of the From field
	// Record is where the policy record was found; Organizational the organisational domain.
	Record         string
	Organizational string
	// Policy is what the domain asks for in this message's case (p, sp or np; one step less with t=y):
	// "", PolicyNone, PolicyQuarantine or PolicyReject. "" when there is no record.
	Policy    string
	Testing   bool   // t=y
	SPF, DKIM bool   // passed in alignment
	Aligned   string // the domain that passed in alignment
	// ARC: Status was Fail, and a trusted chain says that it passed before: Policy is not applied.
	ARC bool
	// Published is the record as it was read, for reports; nil when there was none.
	Published *DMARCRecord
	Reason    string
}

// DMARCRecord is a policy record, RFC 9989 §4.7, with the defaults filled in.
type DMARCRecord struct {
	P, SP, NP   string
	ADKIM, ASPF string // "r" or "s"
	PSD         string // "y", "n" or "u"
	Testing     bool
	FO          string
	RUA, RUF    []string // URIs as written
}

// The widest networks from which an SPF pass says who sent a message: one organisation's. A larger one is
// that of a cloud whose machines anybody rents (M8).
const (
	widest4 = 16
	widest6 = 32
)

// Wide reports whether very many could have this pass: it is worth little.
func (s *SPF) Wide() bool {
	switch p := s.Range; {
	case s.Status != Pass || !p.IsValid():
		return false
	case p.Addr().Is4():
		return p.Bits() < widest4
	default:
		return p.Bits() < widest6
	}
}

// Passed reports whether the author's domain vouches for the message: DMARC passed, and not only by an
// SPF pass that very many could have.
func (r *Results) Passed() bool { return r != nil && r.DMARC.Status == Pass && !r.OnlyWide() }

// OnlyWide reports whether SPF passed, very many could have that pass, and no signature in alignment
// with the author's domain stands beside it. Where there is no DMARC record to say what alignment is, the
// author's domain and those above it are in alignment.
func (r *Results) OnlyWide() bool {
	if r == nil || !r.SPF.Wide() || r.DMARC.DKIM {
		return false
	}
	for i := range r.DKIM {
		d := &r.DKIM[i]
		if r.DMARC.Status == None && d.Status == Pass && strings.HasSuffix("."+r.FromDomain, "."+d.Domain) {
			return false
		}
	}
	return true
}

// Sender reports whether an address, the reverse-path as a rule, is the sender's own: SPF passed for its
// domain from a network that is not wide, or a signature of that very domain did. A signature counts for
// the author it was made for only: who has an address at a large provider could bring his own signed
// message again under the path of any other customer (M5), who would get the notices (P22).
func (r *Results) Sender(address string) bool {
	domain := address[strings.LastIndexByte(address, '@')+1:]
	if r == nil || domain == "" {
		return false
	}
	if r.SPF.Status == Pass && !r.SPF.Helo && r.SPF.Domain == domain && !r.SPF.Wide() {
		return true
	}
	if !strings.EqualFold(r.From, address) {
		return false
	}
	for i := range r.DKIM {
		if r.DKIM[i].Status == Pass && r.DKIM[i].Domain == domain {
			return true
		}
	}
	return false
}

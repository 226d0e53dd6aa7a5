// Package spf answers "may this host send mail for that domain?", RFC 7208, to the letter.
//
// It reports more than the result: which mechanism decided, how wide the network is that it
// authorises, and what was asked of the DNS. A domain that authorises half of the Internet says
// nothing with its pass, and whoever weighs results must be able to see that.
//
// It promises that a check ends: at most 10 terms that ask the DNS, each with a bounded number of
// questions, and never later than its context. What must never happen: a record of a stranger makes
// this server ask and ask, or an error of the DNS becomes a pass or a fail.
package spf

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"time"

	"tram/internal/dns"
	"tram/internal/limits"
	"tram/internal/mailauth"
	"tram/internal/smtp"
)

// Resolver is the part of dns.Resolver that SPF asks.
type Resolver interface {
	TXT(ctx context.Context, name string) ([]string, dns.Result, error)
	MX(ctx context.Context, domain string) ([]dns.MX, dns.Result, error)
	PTR(ctx context.Context, addr netip.Addr) ([]string, dns.Result, error)
	Family(ctx context.Context, host string, six bool) ([]netip.Addr, dns.Result, error)
}

// Options are the same for every check.
type Options struct {
	Limits   limits.MailAuth
	Hostname string    // ours, for the macro r
	Now      time.Time // for the macro t
}

// Query is who is asked about.
type Query struct {
	Addr netip.Addr // of the client
	HELO string     // as it said
	// Local and Domain are the reverse-path. Both empty: the null reverse-path, for which the HELO name
	// stands (RFC 7208 §2.4). Local alone empty: postmaster (§4.3).
	Local, Domain string
	// ByHELO asks about the HELO identity (RFC 7208 §2.3), whatever the reverse-path is.
	ByHELO bool
}

// Bounds of one term, RFC 7208 §4.6.4.
const (
	maxMX  = 10
	maxPTR = 10
)

// Check is the function check_host of RFC 7208 §4 with the identities of §2.
func Check(ctx context.Context, r Resolver, q Query, o Options) mailauth.SPF {
	if q.ByHELO || q.Domain == "" && q.Local == "" {
		q.Local, q.Domain, q.ByHELO = "postmaster", q.HELO, true
	}
	if q.Local == "" {
		q.Local = "postmaster"
	}
	out := mailauth.SPF{Status: mailauth.None, Domain: canonical(q.Domain), Helo: q.ByHELO}
	if !wellFormed(out.Domain) || !q.Addr.IsValid() {
		return out
	}
	q.Domain = out.Domain
	q.Addr = q.Addr.Unmap().WithZone("")
	e := &evaluation{r: r, q: q, o: o}
	found := e.checkHost(ctx, out.Domain)
	out.Status, out.Mechanism, out.Reason = found.status, found.mechanism, found.reason
	out.Lookups, out.Voids = e.lookups, e.voids
	if out.Status == mailauth.Pass {
		out.Range = found.network
	}
	if out.Status == mailauth.Fail && found.record != nil {
		out.Explanation = e.explain(ctx, found.record, found.domain)
	}
	return out
}

// canonical is a domain as the DNS is asked for it; what is no domain stays as it is.
func canonical(domain string) string {
	if d, err := smtp.ParseDomain(strings.TrimSuffix(domain, ".")); err == nil {
		return d
	}
	return strings.ToLower(domain)
}

// wellFormed reports whether a name can have a record, RFC 7208 §4.3: two labels or more, each of 1
// to 63 octets, no address literal.
func wellFormed(domain string) bool {
	domain = strings.TrimSuffix(domain, ".")
	if len(domain) > 253 || !strings.Contains(domain, ".") || strings.HasPrefix(domain, "[") {
		return false
	}
	for label := range strings.SplitSeq(domain, ".") {
		if label == "" || len(label) > 63 {
			return false
		}
	}
	for i := range len(domain) {
		if domain[i] < ' ' || domain[i] >= 0x7f {
			return false // RFC 8616 §4: of a local part in UTF-8, which never matches
		}
	}
	return true
}

// evaluation is one check with what it has used up.
type evaluation struct {
	r Resolver
	q Query
	o Options

	lookups, voids int
	names          []string // of the client, confirmed; for the mechanism ptr and the macro p
	named          bool     // names have been asked for
	namesErr       error    // and failed
}

// finding is the result of checkHost.
type finding struct {
	status    mailauth.Status
	mechanism string
	network   netip.Prefix
	reason    string
	record    *record // whose exp= explains a fail; nil without one
	domain    string  // of the record
}

func problem(status mailauth.Status, reason string) finding {
	return finding{status: status, reason: reason}
}

// errLimit ends an evaluation with permerror, RFC 7208 §4.6.4.
type errLimit string

func (e errLimit) Error() string { return string(e) }

// failed is the finding for an error of a look-up or of a limit.
func failed(err error) finding {
	var limit errLimit
	if errors.As(err, &limit) {
		return problem(mailauth.PermError, limit.Error())
	}
	return problem(mailauth.TempError, "DNS: "+err.Error())
}

// checkHost evaluates the record of a domain, RFC 7208 §4.4 to §4.7.
func (e *evaluation) checkHost(ctx context.Context, domain string) finding {
	if !wellFormed(domain) {
		return finding{status: mailauth.None}
	}
	texts, _, err := e.r.TXT(ctx, domain)
	if temporary(err) {
		return failed(err)
	}
	text, n := selectRecord(texts)
	switch {
	case n == 0:
		return finding{status: mailauth.None}
	case n > 1:
		return problem(mailauth.PermError, "more than one record at "+domain) // §4.5
	case len(text) > e.o.Limits.KeyRecord:
		return problem(mailauth.PermError, "record is too long at "+domain)
	}
	rec, err := parse(text)
	if err != nil {
		return problem(mailauth.PermError, err.Error()+" at "+domain)
	}
	for i := range rec.mechanisms {
		m := &rec.mechanisms[i]
		hit, end := e.match(ctx, m, domain)
		if end != nil {
			return *end
		}
		if hit.matched {
			return finding{
				status: m.qualifier, mechanism: hit.mechanism, network: hit.network, record: rec, domain: domain,
			}
		}
	}
	if rec.redirect == "" {
		return finding{status: mailauth.Neutral, mechanism: "default"}
	}
	return e.follow(ctx, rec.redirect, domain)
}

// follow evaluates redirect=, RFC 7208 §6.1.
func (e *evaluation) follow(ctx context.Context, spec, domain string) finding {
	if err := e.count(); err != nil {
		return failed(err)
	}
	target, err := e.expand(ctx, spec, domain, false)
	if err != nil {
		return failed(err)
	}
	f := e.checkHost(ctx, target)
	if f.status == mailauth.None {
		return problem(mailauth.PermError, "redirect to "+target+", which has no record")
	}
	return f
}

// count counts a term that asks the DNS.
func (e *evaluation) count() error {
	e.lookups++
	if e.lookups > e.o.Limits.SPFLookups {
		return errLimit("more than the allowed terms that ask the DNS")
	}
	return nil
}

// void counts a look-up without an answer; err is what the look-up ended with. The error it returns
// ends the evaluation.
func (e *evaluation) void(err error) error {
	switch {
	case err == nil:
		return nil
	case temporary(err):
		return err
	}
	e.voids++
	if e.voids > e.o.Limits.SPFVoids {
		return errLimit("more than the allowed look-ups without an answer")
	}
	return nil
}

// temporary reports whether an error of the resolver says nothing about the name.
func temporary(err error) bool {
	return err != nil && !errors.Is(err, dns.ErrNoDomain) && !errors.Is(err, dns.ErrNoRecord) &&
		!errors.Is(err, dns.ErrNullMX)
}

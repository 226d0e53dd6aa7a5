// Package dmarc answers "what does the author's domain ask for, and did it vouch for this message?",
// RFC 9989.
//
// The organisational domain is found by walking up the DNS, with at most eight questions for a name;
// no list of public suffixes is needed. What RFC 7489 had and RFC 9989 left (the meaning of a record,
// alignment, several records being none) is the same in both.
//
// It promises that a pass is only what passed SPF or DKIM in alignment, and that an error of the DNS
// is an error: not a pass, and not a fail either. What must never happen: a message is refused because
// a name server was slow.
package dmarc

import (
	"context"
	"errors"
	"strings"

	"tram/internal/dns"
	"tram/internal/limits"
	"tram/internal/mailauth"
)

// Options are the same for every check.
type Options struct{ Limits limits.MailAuth }

// Query is what is known of a message.
type Query struct {
	From string       // domain of the author, A-labels in lower case
	SPF  mailauth.SPF // of the reverse-path, or of the HELO name when that is null
	DKIM []mailauth.DKIM
}

// Check is the evaluation of RFC 9989 §5.3.
func Check(ctx context.Context, r Resolver, q Query, o Options) mailauth.DMARC {
	out := mailauth.DMARC{Status: mailauth.None, Domain: q.From}
	if q.From == "" || q.From[0] == '[' {
		out.Reason = "no author domain"
		return out
	}
	w := &walker{r: r, limit: o.Limits.KeyRecord, seen: map[string]answer{}}
	policy, err := w.discover(ctx, q.From, &out)
	if err != nil {
		out.Status, out.Reason = mailauth.TempError, "DNS: "+err.Error()
		return out
	}
	if policy.record == nil || !policy.usable {
		if policy.record != nil {
			out.Reason = "record at " + policy.domain + " names no policy that can be read"
		}
		return out
	}
	out.Record, out.Published, out.Testing = policy.domain, policy.record, policy.record.Testing
	unsure := w.align(ctx, q, policy.record, &out)
	switch {
	case out.SPF || out.DKIM:
		out.Status = mailauth.Pass
	case unsure != "":
		out.Status, out.Reason = mailauth.TempError, unsure
	default:
		out.Status = mailauth.Fail
	}
	out.Policy, err = w.policy(ctx, q.From, policy)
	if err != nil && out.Status == mailauth.Fail {
		out.Status, out.Reason = mailauth.TempError, "DNS: "+err.Error()
	}
	if out.Organizational == "" { // nobody had to know: RFC 9989 §4.10.2, the first note
		out.Organizational = policy.domain
	}
	return out
}

// discover finds the policy record, RFC 9989 §4.10.1: the author domain's own, else that of its
// organisational domain, else that of the public suffix above it.
func (w *walker) discover(ctx context.Context, from string, out *mailauth.DMARC) (found, error) {
	own, err := w.at(ctx, from)
	if err != nil || own.record != nil {
		return own, err // the organisational domain is looked for when alignment needs it
	}
	all, err := w.walk(ctx, from)
	if err != nil {
		return found{}, err
	}
	out.Organizational = organizational(from, all)
	for _, f := range all {
		if f.domain == out.Organizational {
			return f, nil
		}
	}
	for _, f := range all {
		if f.record.PSD == "y" {
			return f, nil
		}
	}
	return found{}, nil
}

// policy is what the domain asks for in this message's case, RFC 9989 §4.7 p, sp, np and t. The error
// says that it could not be found out whether the domain exists: then the weaker one holds.
func (w *walker) policy(ctx context.Context, from string, f found) (string, error) {
	r := f.record
	policy := r.P
	var unknown error
	if f.domain != from {
		if r.SP != "" {
			policy = r.SP
		}
		if r.NP != "" && r.NP != policy {
			exists, err := w.exists(ctx, from)
			if err != nil {
				unknown = err
				policy = weaker(policy, r.NP)
			} else if !exists {
				policy = r.NP
			}
		}
	}
	if !r.Testing {
		return policy, unknown
	}
	switch policy {
	case mailauth.PolicyReject:
		return mailauth.PolicyQuarantine, unknown
	default:
		return mailauth.PolicyNone, unknown
	}
}

func weaker(a, b string) string {
	for _, p := range []string{mailauth.PolicyNone, mailauth.PolicyQuarantine} {
		if a == p || b == p {
			return p
		}
	}
	return a
}

// exists reports whether there is anything at a name or below it, RFC 8020 §2.
func (w *walker) exists(ctx context.Context, domain string) (bool, error) {
	_, _, err := w.r.TXT(ctx, domain)
	switch {
	case errors.Is(err, dns.ErrNoDomain):
		return false, nil
	case errors.Is(err, dns.ErrNoRecord):
		return true, nil
	}
	return err == nil, err
}

// align looks for what passed in alignment with the author's domain, RFC 9989 §4.4. What it returns,
// if not "", is why a fail would not be sure: an identifier in alignment could not be checked now.
func (w *walker) align(
	ctx context.Context, q Query, r *mailauth.DMARCRecord, out *mailauth.DMARC,
) (unsure string) {
	// Sure passes first: an error of the DNS on the way to another one does not matter then.
	for _, status := range []mailauth.Status{mailauth.Pass, mailauth.TempError} {
		for i := range q.DKIM {
			d := &q.DKIM[i]
			if d.Status != status || out.DKIM {
				continue
			}
			aligned, err := w.aligned(ctx, q.From, d.Domain, r.ADKIM, out)
			switch {
			case err != nil:
				unsure = "DNS: " + err.Error()
			case aligned && status == mailauth.Pass:
				out.DKIM, out.Aligned = true, d.Domain
			case aligned:
				unsure = "signature of " + d.Domain + " could not be checked: " + d.Reason
			}
		}
		if q.SPF.Status != status {
			continue
		}
		aligned, err := w.aligned(ctx, q.From, q.SPF.Domain, r.ASPF, out)
		switch {
		case err != nil:
			unsure = "DNS: " + err.Error()
		case aligned && status == mailauth.Pass:
			out.SPF = true
			if out.Aligned == "" {
				out.Aligned = q.SPF.Domain
			}
		case aligned:
			unsure = "SPF of " + q.SPF.Domain + " could not be checked: " + q.SPF.Reason
		}
		if out.SPF || out.DKIM {
			return ""
		}
	}
	return unsure
}

// aligned compares a domain that authenticated with the author's, RFC 9989 §4.4.1 and §4.10.2.
func (w *walker) aligned(
	ctx context.Context, from, domain, mode string, out *mailauth.DMARC,
) (bool, error) {
	if domain == from {
		return true, nil
	}
	// The organisational domain of a name is the name itself or above it: two names with the same one
	// end alike. This saves most questions about strangers' domains.
	if mode == "s" || domain == "" || !related(from, domain) {
		return false, nil
	}
	if out.Organizational == "" {
		all, err := w.walk(ctx, from)
		if err != nil {
			return false, err
		}
		out.Organizational = organizational(from, all)
	}
	if !atOrBelow(domain, out.Organizational) {
		return false, nil
	}
	all, err := w.walk(ctx, domain)
	if err != nil {
		return false, err
	}
	return organizational(domain, all) == out.Organizational, nil
}

// related reports whether two names have their last label in common.
func related(a, b string) bool {
	return a[strings.LastIndexByte(a, '.')+1:] == b[strings.LastIndexByte(b, '.')+1:]
}

func atOrBelow(name, domain string) bool {
	return name == domain || strings.HasSuffix(name, "."+domain)
}

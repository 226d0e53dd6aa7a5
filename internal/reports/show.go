package reports

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"tram/internal/kv"
	"tram/internal/reports/aggregate"
	"tram/internal/reports/tlsrpt"
)

// sourcesMost is how many sources a summary tells apart; the messages of others are summed up.
const sourcesMost = 5000

// namesMost is how many organisations or domains are listed of one source.
const namesMost = 5

// DMARCSummary is what reports of a time say about mail in a domain's name.
type DMARCSummary struct {
	Domain string    `json:"domain"`
	Since  time.Time `json:"since"`
	// Reports are those that were counted; Unknown those of senders who were not authenticated, which
	// are left out unless asked for.
	Reports     int      `json:"reports"`
	Unknown     int      `json:"unknown"`
	Damaged     int      `json:"damaged,omitempty"` // cannot be read any more
	Orgs        []string `json:"orgs,omitempty"`
	Messages    int64    `json:"messages"`
	Passed      int64    `json:"passed"`
	Quarantined int64    `json:"quarantined"`
	Rejected    int64    `json:"rejected"`
	// Policy is the published policy of the newest report.
	Policy  aggregate.Policy `json:"policy"`
	Sources []Source         `json:"sources,omitempty"`
	Advice  []string         `json:"advice,omitempty"`
	List    []Listed         `json:"list,omitempty"` // newest first
}

// Source is an address that sent mail in a domain's name.
type Source struct {
	Address     netip.Addr `json:"address"`
	Messages    int64      `json:"messages"`
	Passed      int64      `json:"passed"`
	DKIM        int64      `json:"dkim"` // aligned passes
	SPF         int64      `json:"spf"`
	Quarantined int64      `json:"quarantined"`
	Rejected    int64      `json:"rejected"`
	Overridden  int64      `json:"overridden"` // another policy was applied than the published one
	From        []string   `json:"from,omitempty"`
	// Signers and Senders are the domains that DKIM or SPF passed for, aligned or not.
	Signers []string `json:"signers,omitempty"`
	Senders []string `json:"senders,omitempty"`
	Orgs    []string `json:"orgs,omitempty"` // who reported it
	Advice  string   `json:"advice"`
}

// Query says what a summary is of.
type Query struct {
	Domain string
	Since  time.Time // reports that end after it
	All    bool      // reports of unauthenticated senders too
}

// DMARC sums up the DMARC reports about a domain of ours.
func (s *Reports) DMARC(ctx context.Context, q Query) (DMARCSummary, error) {
	sum := DMARCSummary{Domain: q.Domain, Since: q.Since}
	bySource := map[netip.Addr]*Source{}
	var newest time.Time
	for _, known := range []bool{true, false} {
		damaged, err := s.each(ctx, DMARC, q.Domain, known, q.Since, func(r kv.Reader, key []byte, l Listed) error {
			if !known && !q.All {
				sum.Unknown++
				sum.List = append(sum.List, l)
				return nil
			}
			var records []aggregate.Record
			if _, err := s.load(r, key, &records); err != nil {
				return err
			}
			sum.List = append(sum.List, l)
			sum.Reports++
			if !known {
				sum.Unknown++
			}
			sum.Orgs = note(sum.Orgs, l.Org)
			if l.DMARC != nil {
				sum.Messages += l.DMARC.LeftMessages
				sum.Passed += l.DMARC.LeftPassed
				if !l.End.Before(newest) {
					newest, sum.Policy = l.End, l.DMARC.Policy
				}
			}
			for i := range records {
				sum.add(bySource, &records[i], l.Org)
			}
			return nil
		})
		sum.Damaged += damaged
		if err != nil {
			return sum, fmt.Errorf("sum up reports about %s: %w", q.Domain, err)
		}
	}
	for _, src := range slices.Collect(maps.Values(bySource)) {
		src.Advice = src.advise(q.Domain)
		sum.Sources = append(sum.Sources, *src)
	}
	slices.SortFunc(sum.Sources, func(a, b Source) int {
		return cmp.Or(cmp.Compare(b.Messages, a.Messages), a.Address.Compare(b.Address))
	})
	newestFirst(sum.List)
	sum.Advice = sum.advise()
	return sum, nil
}

func newestFirst(list []Listed) {
	slices.SortStableFunc(list, func(a, b Listed) int { return b.End.Compare(a.End) })
}

// note appends what is not there yet, up to a bound.
func note(list []string, s string) []string {
	if s == "" || len(list) >= namesMost || slices.Contains(list, s) {
		return list
	}
	return append(list, s)
}

func (sum *DMARCSummary) add(by map[netip.Addr]*Source, r *aggregate.Record, org string) {
	sum.Messages += r.Count
	at := r.Source
	if by[at] == nil && len(by) >= sourcesMost {
		at = netip.Addr{}
	}
	src := by[at]
	if src == nil {
		src = &Source{Address: at}
		by[at] = src
	}
	src.Messages += r.Count
	if r.Passed() {
		sum.Passed += r.Count
		src.Passed += r.Count
	}
	if r.DKIM == "pass" {
		src.DKIM += r.Count
	}
	if r.SPF == "pass" {
		src.SPF += r.Count
	}
	switch r.Disposition {
	case "quarantine":
		sum.Quarantined, src.Quarantined = sum.Quarantined+r.Count, src.Quarantined+r.Count
	case "reject":
		sum.Rejected, src.Rejected = sum.Rejected+r.Count, src.Rejected+r.Count
	}
	if len(r.Reasons) > 0 {
		src.Overridden += r.Count
	}
	src.From, src.Orgs = note(src.From, r.HeaderFrom), note(src.Orgs, org)
	for _, a := range r.Signatures {
		if a.Result == "pass" {
			src.Signers = note(src.Signers, a.Domain)
		}
	}
	for _, a := range r.Senders {
		if a.Result == "pass" {
			src.Senders = note(src.Senders, a.Domain)
		}
	}
}

// advise says in plain words what to do about a source.
func (src *Source) advise(domain string) string {
	failed := src.Messages - src.Passed
	switch {
	case src.Messages == 0:
		return "Nothing was counted."
	case failed == 0 && src.DKIM == src.Messages && src.SPF == src.Messages:
		return "Fine: signed, and listed in SPF."
	case failed == 0 && src.DKIM == src.Messages:
		return "Fine: signed. SPF does not list it, or it was forwarded, which does no harm."
	case failed == 0:
		return "Passes by SPF alone, which forwarding breaks: have it sign with DKIM for " + domain + "."
	case src.Passed > 0:
		return "Some of it fails: forwarded by lists that change it, or one of several programs there " +
			"does not sign."
	case len(src.Signers) > 0:
		return "Signed for " + strings.Join(src.Signers, ", ") + ", not for " + domain +
			": if it is a service of yours, set up DKIM for " + domain + " there; if not, it is a list or a forger."
	case len(src.Senders) > 0:
		return "SPF passes for " + strings.Join(src.Senders, ", ") + ", not for " + domain +
			": if it is a service of yours, set up DKIM there; if not, it is a forger or a forwarder."
	default:
		return "Neither signed nor listed in SPF: if it is yours, sign with DKIM; if you do not know it, " +
			"it is a forger."
	}
}

// strangers says what reports of unauthenticated senders are worth.
func strangers(n int) string {
	what := fmt.Sprintf("The senders of %d reports", n)
	if n == 1 {
		what = "The sender of 1 report"
	}
	return what + " could not be verified: anybody can have written that. It counts only when you ask for all."
}

// When a stricter policy is safe to recommend.
const (
	enoughMessages = 100
	enoughPassed   = 0.98
)

// advise says in plain words what to do about the domain.
func (sum *DMARCSummary) advise() []string {
	var advice []string
	if sum.Reports == 0 {
		advice = append(advice, "No reports yet. They come about a day after the first mail, if the DMARC record of "+
			sum.Domain+" has rua=mailto:"+DMARCLocal+"@"+sum.Domain+".")
	}
	if sum.Unknown > 0 {
		advice = append(advice, strangers(sum.Unknown))
	}
	if sum.Damaged > 0 {
		advice = append(advice, fmt.Sprintf("%d of the stored reports cannot be read any more: see the log.",
			sum.Damaged))
	}
	if sum.Messages == 0 {
		return advice
	}
	share := float64(sum.Passed) / float64(sum.Messages)
	switch p := sum.Policy.P; {
	case sum.Messages < enoughMessages:
		advice = append(advice, "Too few messages to judge by: leave the policy as it is for now.")
	case share < enoughPassed && p == "none":
		advice = append(advice, fmt.Sprintf("%.1f %% of the mail fails. See to the sources below that are yours "+
			"before you make the policy stricter.", 100*(1-share)))
	case share < enoughPassed:
		advice = append(advice, fmt.Sprintf("%.1f %% of the mail fails and meets p=%s. That is right for forgers; "+
			"see to the sources below that are yours.", 100*(1-share), p))
	case p == "none":
		advice = append(advice, "Nearly all mail passes: p=quarantine is the next step, and p=reject after some weeks.")
	case p == "quarantine":
		advice = append(advice, "Nearly all mail passes: p=reject is the next step.")
	case p == "reject":
		advice = append(advice, "All is well: forgeries are refused, and your own mail passes.")
	default:
		advice = append(advice, "Nearly all mail passes. The reports do not say which policy they found: see that "+
			"the DMARC record is right, with \"tram doctor "+sum.Domain+"\".")
	}
	return advice
}

// TLSSummary is what reports of a time say about the transport of mail to a domain.
type TLSSummary struct {
	Domain    string       `json:"domain"`
	Since     time.Time    `json:"since"`
	Reports   int          `json:"reports"`
	Unknown   int          `json:"unknown"`
	Damaged   int          `json:"damaged,omitempty"`
	Orgs      []string     `json:"orgs,omitempty"`
	Successes int64        `json:"successes"`
	Failures  int64        `json:"failures"`
	Details   []TLSFailure `json:"details,omitempty"`
	Advice    []string     `json:"advice,omitempty"`
	List      []Listed     `json:"list,omitempty"`
}

// TLSFailure is one way in which sessions with an exchanger failed.
type TLSFailure struct {
	Type     string   `json:"type"`
	Policy   string   `json:"policy"`
	MX       string   `json:"mx,omitempty"`
	Sessions int64    `json:"sessions"`
	Orgs     []string `json:"orgs,omitempty"`
	Code     string   `json:"code,omitempty"` // of one of them
	Advice   string   `json:"advice"`
}

// TLS sums up the TLS reports about a domain of ours.
func (s *Reports) TLS(ctx context.Context, q Query) (TLSSummary, error) {
	sum := TLSSummary{Domain: q.Domain, Since: q.Since}
	type way struct{ kind, policy, mx string }
	ways := map[way]*TLSFailure{}
	for _, known := range []bool{true, false} {
		damaged, err := s.each(ctx, TLS, q.Domain, known, q.Since, func(r kv.Reader, key []byte, l Listed) error {
			if !known && !q.All {
				sum.Unknown++
				sum.List = append(sum.List, l)
				return nil
			}
			var policies []tlsrpt.Policy
			if _, err := s.load(r, key, &policies); err != nil {
				return err
			}
			sum.List = append(sum.List, l)
			sum.Reports++
			if !known {
				sum.Unknown++
			}
			sum.Orgs = note(sum.Orgs, l.Org)
			for _, p := range policies {
				sum.Successes += p.Summary.Successes
				sum.Failures += p.Summary.Failures
				for _, f := range p.Failures {
					w := way{f.Type, p.Policy.Type, f.MX}
					if ways[w] == nil && len(ways) >= sourcesMost {
						w = way{kind: "others"}
					}
					if ways[w] == nil {
						ways[w] = &TLSFailure{Type: w.kind, Policy: w.policy, MX: w.mx, Advice: adviceOf(w.kind)}
					}
					t := ways[w]
					t.Sessions += f.Count
					t.Orgs, t.Code = note(t.Orgs, l.Org), cmp.Or(t.Code, f.Code)
				}
			}
			return nil
		})
		sum.Damaged += damaged
		if err != nil {
			return sum, fmt.Errorf("sum up reports about %s: %w", q.Domain, err)
		}
	}
	for _, f := range slices.Collect(maps.Values(ways)) {
		sum.Details = append(sum.Details, *f)
	}
	slices.SortFunc(sum.Details, func(a, b TLSFailure) int {
		return cmp.Or(cmp.Compare(b.Sessions, a.Sessions), cmp.Compare(a.Type, b.Type), cmp.Compare(a.MX, b.MX))
	})
	newestFirst(sum.List)
	sum.Advice = sum.advise()
	return sum, nil
}

func (sum *TLSSummary) advise() []string {
	var advice []string
	if sum.Reports == 0 {
		advice = append(advice, "No reports yet. They come about a day after the first mail, if _smtp._tls."+sum.Domain+
			` has the TXT record "v=TLSRPTv1; rua=mailto:`+TLSLocal+"@"+sum.Domain+`".`)
	}
	if sum.Unknown > 0 {
		advice = append(advice, strangers(sum.Unknown))
	}
	if sum.Damaged > 0 {
		advice = append(advice, fmt.Sprintf("%d of the stored reports cannot be read any more: see the log.",
			sum.Damaged))
	}
	switch {
	case sum.Failures > 0:
		advice = append(advice, "Some servers could not deliver as your policy asks: see the ways below.")
	case sum.Successes > 0:
		advice = append(advice, "All is well: every reported session was encrypted as your policy asks.")
	}
	return advice
}

// adviceOf says in plain words what a result type of RFC 8460 §4.3 means for the one reported on.
func adviceOf(kind string) string {
	switch kind {
	case "starttls-not-supported":
		return "The server did not offer STARTTLS: something between took it away, or it was switched off."
	case "certificate-host-mismatch":
		return "The certificate does not name the MX: add the MX's name to the certificate."
	case "certificate-expired":
		return "The certificate had run out: see why it was not renewed."
	case "certificate-not-trusted":
		return "The certificate's authority is not trusted: use a public one, with its whole chain."
	case "tlsa-invalid":
		return "The TLSA records do not match the certificate: publish those of the key that is in use."
	case "dnssec-invalid":
		return "DNSSEC of the domain or the MX does not validate: have the zone's signatures looked at."
	case "dane-required":
		return "The sender insists on DANE and found no usable TLSA records: publish them, or ask him why."
	case "sts-policy-fetch-error":
		return "The MTA-STS policy could not be fetched: see that https://mta-sts.… answers from outside."
	case "sts-policy-invalid":
		return "The MTA-STS policy could not be read: see that it is the one this server serves."
	case "sts-webpki-invalid":
		return "The web server of the MTA-STS policy has no valid certificate for mta-sts.…: renew it."
	case "validation-failure":
		return "TLS failed for another reason: the code beside it says more."
	}
	return "Ask the reporter what this means: his report names a contact."
}

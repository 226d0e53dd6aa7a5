package reports

import (
	"cmp"
	"encoding/json"
	"strings"

	"tram/internal/envelope"
	"tram/internal/mailauth"
	"tram/internal/reports/aggregate"
	"tram/internal/reports/tlsrpt"
	"tram/internal/tlspolicy"
)

// Fate is what became of a message.
type Fate int

// The fates that reports tell apart.
const (
	Delivered Fate = iota
	Junked         // filed as junk, or held back
	Refused        // in the session
)

// about is what is kept of a domain whose mail was counted.
type about struct {
	Record         string                `json:"record"` // where the policy was found
	Organizational string                `json:"organizational"`
	Published      *mailauth.DMARCRecord `json:"published"`
}

// MarshalJSON implements json.Marshaler.
func (a *about) MarshalJSON() ([]byte, error) {
	type plain about
	return json.Marshal((*plain)(a))
}

// signaturesMost is how many signatures of one message a report names; RFC 9990 asks for 100 at most.
const signaturesMost = 8

// Observe counts an inbound message, once its verdict is known, for the domain of its author when that
// asks for reports. It does not block. Messages that carry reports to us are not counted: each report
// would be an occasion for the next.
func (s *Reports) Observe(env *envelope.Envelope, fate Fate) {
	a := env.Auth
	if a == nil || env.Origin != envelope.Inbound {
		return
	}
	if s.o.LookUpIcons {
		s.wantIcon(a)
	}
	if !s.o.SendDMARC || a.DMARC.Published == nil || len(a.DMARC.Published.RUA) == 0 ||
		a.DMARC.Status == mailauth.TempError || !env.Client.Addr.IsValid() || s.onlyReports(env) {
		return
	}
	row, err := json.Marshal(recordOf(env, fate))
	if err != nil {
		return // nothing in it cannot be encoded
	}
	d := &a.DMARC
	s.dmarc.add(dayOf(s.o.Clock.Now()), cmp.Or(d.Record, d.Domain),
		&about{Record: d.Record, Organizational: d.Organizational, Published: d.Published}, string(row), 1)
}

// onlyReports reports whether a message is for nobody but the address of reports.
func (s *Reports) onlyReports(env *envelope.Envelope) bool {
	for i := range env.Recipients {
		if !s.Takes(env.Recipients[i].Address) {
			return false
		}
	}
	return len(env.Recipients) > 0
}

// recordOf says what a report says of a message, with a count of 0. Nothing in it is about the
// recipients.
func recordOf(env *envelope.Envelope, fate Fate) *aggregate.Record {
	a := env.Auth
	r := &aggregate.Record{
		Source: env.Client.Addr.Unmap().WithZone(""), HeaderFrom: a.FromDomain,
		EnvelopeFrom: strings.ToLower(env.From.Domain),
		DKIM:         passOrFail(a.DMARC.DKIM), SPF: passOrFail(a.DMARC.SPF),
	}
	r.Disposition, r.Reasons = disposition(&a.DMARC, fate)
	passes := func(want bool) {
		for i := range a.DKIM {
			d := &a.DKIM[i]
			if d.Domain == "" || (d.Status == mailauth.Pass) != want || len(r.Signatures) >= signaturesMost {
				continue
			}
			r.Signatures = append(r.Signatures, aggregate.Auth{Domain: d.Domain, Selector: bounded(d.Selector),
				Result: string(d.Status)})
		}
	}
	passes(true) // RFC 9990: those that passed come first
	passes(false)
	if a.SPF.Status != "" {
		spf := aggregate.Auth{Domain: a.SPF.Domain, Result: string(a.SPF.Status)}
		if !a.SPF.Helo { // RFC 9990 knows no other scope
			spf.Scope = "mfrom"
		}
		r.Senders = []aggregate.Auth{spf}
	}
	return r
}

func passOrFail(b bool) string {
	if b {
		return "pass"
	}
	return "fail"
}

// disposition is what was done because of the policy, and why that is not what it asks for.
func disposition(d *mailauth.DMARC, fate Fate) (string, []aggregate.Reason) {
	asked := d.Policy == mailauth.PolicyReject || d.Policy == mailauth.PolicyQuarantine
	switch {
	case d.Status == mailauth.Pass && asked:
		return "pass", nil
	case d.Status != mailauth.Fail || !asked && !d.Testing:
		return "none", nil
	case fate == Refused && d.Policy == mailauth.PolicyReject:
		return "reject", nil
	}
	var reasons []aggregate.Reason
	switch {
	case d.Testing:
		reasons = []aggregate.Reason{{Type: "policy_test_mode"}}
	case d.ARC:
		reasons = []aggregate.Reason{{Type: "trusted_forwarder", Comment: "arc=pass"}}
	}
	done := map[Fate]string{Delivered: "none", Junked: "quarantine", Refused: "reject"}[fate]
	if reasons == nil && done != d.Policy {
		reasons = []aggregate.Reason{{Type: "local_policy"}}
	}
	return done, reasons
}

// tlsRow is a result of one session: a success when Failure has no type.
type tlsRow struct {
	Policy  tlsrpt.PolicyText `json:"policy"`
	Failure tlsrpt.Failure    `json:"failure"`
}

var _ tlspolicy.Reporter = (*Reports)(nil)

// Result counts a session with another server; it implements tlspolicy.Reporter and does not block.
func (s *Reports) Result(e tlspolicy.Event) {
	if !s.o.SendTLS || e.Domain == "" {
		return
	}
	row := tlsRow{Policy: tlsrpt.PolicyText{Type: string(e.Type), Domain: e.Domain, Text: fewLines(e.Policy),
		MXHosts: fewLines(e.MXPatterns)}}
	if e.Result != tlspolicy.Success {
		row.Failure = tlsrpt.Failure{Type: string(e.Result), MX: e.MX, HELO: bounded(e.ReceivingHELO),
			Code: bounded(e.Code)}
		if e.SendingIP.IsValid() {
			row.Failure.SendingIP = e.SendingIP.Unmap().String()
		}
		if e.ReceivingIP.IsValid() {
			row.Failure.ReceivingIP = e.ReceivingIP.Unmap().String()
		}
	}
	b, err := json.Marshal(row)
	if err != nil {
		return // nothing in it cannot be encoded
	}
	at := e.Time
	if at.IsZero() {
		at = s.o.Clock.Now()
	}
	s.tls.add(dayOf(at), e.Domain, nil, string(b), 1)
}

// linesMost is how many lines of a policy are told, the first ones.
const linesMost = 15

// fewLines cuts what a domain has published.
func fewLines(lines []string) []string {
	var few []string
	for _, line := range lines[:min(len(lines), linesMost)] {
		few = append(few, bounded(line))
	}
	return few
}

// bounded cuts what a server said of itself.
func bounded(s string) string { return strings.ToValidUTF8(s[:min(len(s), 200)], "") }

// Package aggregate answers "what does this DMARC aggregate report say?", and writes the like: the XML
// of RFC 9990 and that of RFC 7489 appendix C, which differ in a namespace and some elements.
//
// It promises to be generous with values and strict with bounds: a report of a sender who has his own
// idea of the schema is read as far as it makes sense; depth, length, number and time are bounded,
// and a document type declaration is refused, so that no entity is ever expanded. What [Write] writes
// [Parse] reads to the same value.
//
// What must never happen: memory or time that grows faster than the input; a row that is counted
// under a domain or an address it does not name.
package aggregate

import (
	"net/netip"
	"time"
)

// Namespace is that of RFC 9990; reports of RFC 7489 have none, or one of many.
const Namespace = "urn:ietf:params:xml:ns:dmarc-2.0"

// Report is an aggregate report. Text is as the reporter wrote it, cut to a bound.
type Report struct {
	Version   string    `json:"version,omitempty"`
	Org       string    `json:"org"`
	Email     string    `json:"email"`
	Contact   string    `json:"contact,omitempty"`
	ID        string    `json:"id"` // unique among the reports of Org
	Begin     time.Time `json:"begin"`
	End       time.Time `json:"end"`
	Errors    []string  `json:"errors,omitempty"`
	Generator string    `json:"generator,omitempty"`
	Policy    Policy    `json:"policy"`
	Records   []Record  `json:"-"`
	// Left is the number of records beyond the limit, LeftMessages that of their messages, and LeftPassed
	// that of those which passed.
	Left         int   `json:"left,omitempty"`
	LeftMessages int64 `json:"left_messages,omitempty"`
	LeftPassed   int64 `json:"left_passed,omitempty"`
}

// Policy is what the domain had published, as the reporter saw it.
type Policy struct {
	Domain    string `json:"domain"` // where the record was found; lower case
	Discovery string `json:"discovery,omitempty"`
	P         string `json:"p,omitempty"`
	SP        string `json:"sp,omitempty"`
	NP        string `json:"np,omitempty"`
	ADKIM     string `json:"adkim,omitempty"`
	ASPF      string `json:"aspf,omitempty"`
	FO        string `json:"fo,omitempty"`
	Testing   string `json:"testing,omitempty"` // "y" or "n"
	Percent   string `json:"pct,omitempty"`     // RFC 7489 only
}

// Record is a number of messages with the same source and the same results.
type Record struct {
	Source      netip.Addr `json:"source"`
	Count       int64      `json:"count"`
	Disposition string     `json:"disposition"` // none, pass, quarantine, reject
	// DKIM and SPF are "pass" or "fail": whether they passed in alignment.
	DKIM    string   `json:"dkim"`
	SPF     string   `json:"spf"`
	Reasons []Reason `json:"reasons,omitempty"`

	HeaderFrom   string `json:"header_from"`
	EnvelopeFrom string `json:"envelope_from,omitempty"`
	EnvelopeTo   string `json:"envelope_to,omitempty"`

	Signatures []Auth `json:"signatures,omitempty"`
	Senders    []Auth `json:"senders,omitempty"` // SPF
}

// Passed reports whether the messages passed DMARC.
func (r *Record) Passed() bool { return r.DKIM == "pass" || r.SPF == "pass" }

// Reason is why another policy was applied than the published one.
type Reason struct {
	Type    string `json:"type"`
	Comment string `json:"comment,omitempty"`
}

// Auth is a result of DKIM or SPF by itself.
type Auth struct {
	Domain   string `json:"domain"`
	Selector string `json:"selector,omitempty"` // DKIM
	Scope    string `json:"scope,omitempty"`    // SPF: "mfrom" or "helo"
	Result   string `json:"result"`
	Human    string `json:"human,omitempty"`
}

// Passed is the number of messages that passed.
func (r *Report) Passed() int64 {
	n := r.LeftPassed
	for i := range r.Records {
		if r.Records[i].Passed() {
			n += r.Records[i].Count
		}
	}
	return n
}

// Messages is the number of messages that the report is about.
func (r *Report) Messages() int64 {
	n := r.LeftMessages
	for i := range r.Records {
		n += r.Records[i].Count
	}
	return n
}

package tlspolicy

import (
	"net/netip"
	"time"
)

// PolicyType names where a policy came from, in the words of RFC 8460 §4.4.
type PolicyType string

// The policy types of a report.
const (
	TypeSTS  PolicyType = "sts"
	TypeTLSA PolicyType = "tlsa"
	TypeNone PolicyType = "no-policy-found"
)

// ResultType is what went wrong with a session, in the words of RFC 8460 §4.3.
type ResultType string

// The result types of RFC 8460 §4.3. The empty one is a session that did all that was asked.
const (
	Success            ResultType = ""
	STARTTLSUnoffered  ResultType = "starttls-not-supported"
	HostMismatch       ResultType = "certificate-host-mismatch"
	CertificateExpired ResultType = "certificate-expired"
	NotTrusted         ResultType = "certificate-not-trusted"
	ValidationFailure  ResultType = "validation-failure"
	TLSAInvalid        ResultType = "tlsa-invalid"
	DNSSECInvalid      ResultType = "dnssec-invalid"
	DANERequired       ResultType = "dane-required"
	STSFetch           ResultType = "sts-policy-fetch-error"
	STSInvalid         ResultType = "sts-policy-invalid"
	STSWebPKI          ResultType = "sts-webpki-invalid"
)

// Event is the outcome of one connection attempt to a mail exchanger, for the reports that RFC 8460
// asks for. There is exactly one for each attempt that got far enough to say something about TLS.
type Event struct {
	Time   time.Time
	Domain string // the recipients' domain that the policy is of, A-labels in lower case

	Type PolicyType
	// Policy is the policy as it was found: the lines of an MTA-STS policy, or TLSA records in
	// presentation form ("3 1 1 0123…"); nil for TypeNone.
	Policy []string
	// MXPatterns are the mx lines of an MTA-STS policy, nil for the others.
	MXPatterns []string

	MX     string     // the exchanger's name; "" when it did not come to one
	Result ResultType // what went wrong; Success when nothing did

	SendingIP     netip.Addr // ours; not valid when it did not come to a connection
	ReceivingIP   netip.Addr // theirs; the same
	ReceivingHELO string     // how the server named itself, "" when it did not
	Code          string     // more about the failure in words, "" for a success
}

// Reporter takes the outcomes of sessions. Result must not block: it is called between the
// connection and the mail.
type Reporter interface {
	Result(Event)
}

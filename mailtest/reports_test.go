package mailtest

import (
	"strings"
	"testing"
	"time"

	"tram/internal/admin"
	"tram/internal/reports"
)

// reportRecords has a domain that asks for reports, and one that sends them. SPF vouches for neither: a
// report is known by its signature alone, as RFC 8460 §5.3 has it.
const reportRecords = `
b.test. IN TXT "v=spf1 -all"
_dmarc.b.test. IN TXT "v=DMARC1; p=reject; rua=mailto:dmarc-reports@b.test"
_smtp._tls.b.test. IN TXT "v=TLSRPTv1; rua=mailto:tls-reports@b.test"
a.test. IN TXT "v=spf1 -all"
mx.a.test. IN TXT "v=spf1 -all"
_dmarc.a.test. IN TXT "v=DMARC1; p=none"
`

// TestReports is the way of a report from house to house: somebody forges mail of b.test to a.test, which
// refuses it; alice of a.test writes to b.test. On the next day a.test sends reports about both, and
// b.test, where nobody has the addresses of reports, has read them.
func TestReports(t *testing.T) {
	t.Parallel()
	w, a, b, alice, bob := two(t)
	a.sign()
	w.DNS.Remove("a.test")
	w.DNS.Remove("mx.a.test")
	w.DNS.Add(reportRecords)
	for i := range 3 {
		s := a.raw(t)
		letter := Letter("ceo@b.test", alice.Address, "forged"+string(rune('a'+i)))
		if r := s.send("<ceo@b.test>", alice.Address, letter); !strings.HasPrefix(r, "550") {
			t.Fatalf("the forged message was answered %s", r)
		}
		s.Close()
	}
	alice.Submit(Letter(alice.Address, bob.Address, "hello"), bob.Address)
	a.Emptied()
	if n := len(alice.Inbox()); n != 0 {
		t.Errorf("alice has %d messages", n)
	}
	w.Pass(24*time.Hour, 10*time.Minute, a, b)
	var dmarc reports.DMARCSummary
	var tls reports.TLSSummary
	w.Until("both reports have arrived", func() bool {
		var err error
		q := admin.ReportQuery{Domain: "b.test", All: true}
		if dmarc, err = b.Admin.DMARCReports(t.Context(), q); err != nil {
			t.Fatal(err)
		}
		if tls, err = b.Admin.TLSReports(t.Context(), q); err != nil {
			t.Fatal(err)
		}
		return dmarc.Reports > 0 && tls.Reports > 0
	})
	if dmarc.Reports != 1 || dmarc.Unknown != 0 || dmarc.Messages != 3 || dmarc.Rejected != 3 || dmarc.Passed != 0 ||
		dmarc.Policy.P != "reject" || len(dmarc.Sources) != 1 || !dmarc.Sources[0].Address.IsLoopback() {
		t.Errorf("%+v", dmarc)
	}
	if tls.Reports != 1 || tls.Unknown != 0 || tls.Successes+tls.Failures == 0 {
		t.Errorf("%+v", tls)
	}
	whole, err := b.Admin.Report(t.Context(), dmarc.List[0].Name)
	if err != nil || len(whole.Records) != 1 || whole.Records[0].HeaderFrom != "b.test" || whole.Sender != "a.test" {
		t.Errorf("%+v, %v", whole, err)
	}
	// Nobody but the reader of reports has heard of it, and nothing comes back.
	if n := len(bob.Inbox()); n != 1 {
		t.Errorf("bob has %d messages", n)
	}
	// The reports were sent once, and are no occasion for others, though a.test asks for none itself.
	w.Pass(3*24*time.Hour, time.Hour, a, b)
	later, err := b.Admin.DMARCReports(t.Context(), admin.ReportQuery{Domain: "b.test", All: true})
	if err != nil || later.Reports != 1 {
		t.Errorf("%d reports, %v", later.Reports, err)
	}
	after, err := b.Admin.TLSReports(t.Context(), admin.ReportQuery{Domain: "b.test", All: true})
	if err != nil || after.Reports != 1 {
		t.Errorf("%d TLS reports, %v", after.Reports, err)
	}
	if n := len(a.Queued()) + len(b.Queued()); n != 0 {
		t.Errorf("%d messages wait", n)
	}
}

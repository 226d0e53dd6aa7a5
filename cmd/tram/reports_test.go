package main

import (
	"bytes"
	"net/netip"
	"strings"
	"testing"
	"time"

	"tram/internal/reports"
	"tram/internal/reports/aggregate"
	"tram/internal/reports/tlsrpt"
)

func TestReportQuery(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 31, 12, 0, 0, 0, time.Local)
	for since, days := range map[string]int{
		"30d": 30, "30": 30, "8w": 56, "2026-03-30": 2, "2026-03-31": 1, "2027-01-01": 1,
		"": 0, "x": 0, "-3d": 0, "0d": 0, "3m": 0, "99999d": 0, "2026-13-01": 0,
	} {
		f := reportFlags{since: since}
		q, err := f.query("example.com", now)
		if (err == nil) != (days > 0) || q.Days != days {
			t.Errorf("%q: %d days, %v", since, q.Days, err)
		}
	}
}

// TestPrintReports: what others have written stays in its place and cannot act on the terminal.
func TestPrintReports(t *testing.T) {
	t.Parallel()
	var out, errs bytes.Buffer
	a := &app{out: &out, errs: &errs}
	head := reports.Received{Kind: reports.DMARC, Domain: "example.com", Org: "Evil\x1b[2J", Sender: "a.example",
		Known: true, DMARC: &aggregate.Report{Errors: []string{"odd"}, Left: 3, LeftMessages: 9}}
	list := []reports.Listed{{Name: "0123456789abcdef", Received: head}}
	sources := make([]reports.Source, shownMost+2)
	for i := range sources {
		sources[i] = reports.Source{Address: netip.MustParseAddr("192.0.2.1"), Messages: 1, Advice: "Look.\r\n"}
	}
	sources[1].Address = netip.Addr{}
	whole := reports.Whole{Listed: list[0], Records: []aggregate.Record{{Count: 4, DKIM: "pass",
		Reasons: []aggregate.Reason{{Type: "other", Comment: "a\x1bb"}}}}}
	tls := reports.Whole{Listed: list[0], Policies: []tlsrpt.Policy{{
		Policy: tlsrpt.PolicyText{Type: "sts"}, Failures: []tlsrpt.Failure{{Type: "certificate-expired", Count: 2}}}}}
	tls.Kind = reports.TLS
	for _, err := range []error{
		a.printDMARC(reports.DMARCSummary{Domain: "example.com", Reports: 1, Messages: 8, Passed: 6,
			Advice: []string{"Do this."}, Sources: sources, List: list}),
		a.listDMARC([]reports.DMARCSummary{{Domain: "example.com"}}),
		a.printTLS(reports.TLSSummary{Domain: "example.com", Details: []reports.TLSFailure{{Type: "x", Sessions: 1}},
			List: list}),
		a.listTLS(nil), a.printReport(whole), a.printReport(tls),
	} {
		if err != nil {
			t.Error(err)
		}
	}
	for _, want := range []string{"8 messages in 1 report, 75.0 % passed", "Do this.", "others", "0123456789abcdef",
		"3 rows with 9 messages", "other a b", "certificate-expired"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the output lacks %q:\n%s", want, out.String())
		}
	}
	if strings.ContainsRune(out.String(), 0x1b) || strings.Contains(out.String(), "\r") {
		t.Error("the output holds what a stranger wrote for the terminal")
	}
	for _, want := range []string{"2 more sources", "There are no domains."} {
		if !strings.Contains(errs.String(), want) {
			t.Errorf("standard error lacks %q: %s", want, errs.String())
		}
	}
}

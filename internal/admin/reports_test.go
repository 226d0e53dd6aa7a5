package admin_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"tram/internal/admin"
	"tram/internal/envelope"
	"tram/internal/server"
	"tram/internal/smtp"
)

// report delivers a message with a report as it is, to an address that nobody has.
func report(t *testing.T, s *server.Server, kind, text string) {
	t.Helper()
	env := &envelope.Envelope{ID: "trail", Origin: envelope.LMTP, Received: time.Now(),
		Recipients: []envelope.Recipient{{Address: smtp.Address{Local: "dmarc-reports", Domain: "example.com"}}}}
	b := s.Deliver.NewBody(t.Context(), env, []byte("Received: by mail.example.com; now\r\n"))
	fmt.Fprintf(b, "From: noreply@reporter.example\r\nContent-Type: %s\r\n\r\n%s\r\n", kind, text)
	if err := b.Finish(); err != nil {
		t.Fatal(err)
	}
	if out := s.Deliver.DeliverAll(t.Context(), env); !out.OK() {
		t.Fatal(out.Reply)
	}
}

// TestReports shows received reports through the socket.
func TestReports(t *testing.T) {
	t.Parallel()
	s, c := open(t)
	must[admin.Domain](t)(c.AddDomain(t.Context(), "example.com"))
	now := time.Now().Unix()
	report(t, s, "text/xml", fmt.Sprintf("<feedback><report_metadata><org_name>Reporter</org_name><report_id>1</report_id>"+
		"<date_range><begin>%d</begin><end>%d</end></date_range></report_metadata><policy_published><domain>example.com"+
		"</domain><p>none</p></policy_published><record><row><source_ip>192.0.2.1</source_ip><count>5</count>"+
		"<policy_evaluated><disposition>none</disposition><dkim>pass</dkim><spf>fail</spf></policy_evaluated></row>"+
		"</record></feedback>", now-86400, now))
	report(t, s, "application/tlsrpt+json", fmt.Sprintf(`{"organization-name":"Reporter","report-id":"2","date-range":`+
		`{"start-datetime":%q,"end-datetime":%q},"policies":[{"policy":{"policy-type":"sts","policy-domain":"example.com"},`+
		`"summary":{"total-successful-session-count":7,"total-failure-session-count":0}}]}`,
		time.Unix(now-86400, 0).UTC().Format(time.RFC3339), time.Unix(now, 0).UTC().Format(time.RFC3339)))
	q := admin.ReportQuery{Domain: "EXAMPLE.com"}
	dmarc, err := c.DMARCReports(t.Context(), q)
	if err != nil || dmarc.Reports != 0 || dmarc.Unknown != 1 || !strings.Contains(dmarc.Advice[1], "1 report ") {
		t.Errorf("%+v, %v", dmarc, err)
	}
	q.All = true
	dmarc, err = c.DMARCReports(t.Context(), q)
	if err != nil || dmarc.Reports != 1 || dmarc.Messages != 5 || dmarc.Passed != 5 || dmarc.Sources[0].DKIM != 5 {
		t.Errorf("%+v, %v", dmarc, err)
	}
	tls, err := c.TLSReports(t.Context(), q)
	if err != nil || tls.Reports != 1 || tls.Successes != 7 {
		t.Errorf("%+v, %v", tls, err)
	}
	for _, name := range []string{dmarc.List[0].Name, tls.List[0].Name} {
		if w, err := c.Report(t.Context(), name); err != nil || w.Org != "Reporter" || len(w.Records)+len(w.Policies) != 1 {
			t.Errorf("%+v, %v", w, err)
		}
	}
	if b, err := c.BIMI(t.Context(), "bank.example"); err != nil || b.Known {
		t.Errorf("%+v, %v", b, err)
	}
	kind := func(err error) string {
		var f *admin.Fault
		if !errors.As(err, &f) {
			return fmt.Sprint(err)
		}
		return f.Kind
	}
	_, err = c.DMARCReports(t.Context(), admin.ReportQuery{Domain: "other.example"})
	if kind(err) != admin.KindNotFound {
		t.Errorf("another domain: %v", err)
	}
	if _, err = c.TLSReports(t.Context(), admin.ReportQuery{Domain: "example.com", Days: 1e6}); kind(err) != admin.KindInvalid {
		t.Errorf("too many days: %v", err)
	}
	if _, err = c.Report(t.Context(), "0123456789abcdef"); kind(err) != admin.KindNotFound {
		t.Errorf("no such report: %v", err)
	}
}

package message

import (
	"bytes"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func sampleReport() *Report {
	return &Report{
		From: Address{Name: "Mail Delivery System", Mailbox: "MAILER-DAEMON", Host: "mx.example.test"},
		To:   Address{Mailbox: "an", Host: "example.com"}, Subject: "Không gửi được: Báo cáo",
		Date: composeDate, MessageID: "<r1@mx.example.test>", References: []string{"<1@example.com>"},
		Text: "Your message could not be delivered.\n\nThư của bạn không gửi được.\n", Language: []string{"en", "vi"},
		MTA: "mx.example.test", ReceivedFrom: "mail.example.com", EnvelopeID: "QQ314159",
		Arrival: composeDate.Add(-time.Hour),
		Recipients: []ReportRecipient{
			{
				Original: "rfc822;Nobody+x@example.org", Final: "nobody@example.org", Action: ActionFailed,
				Status: "5.1.1", RemoteMTA: "mx.example.org", Last: composeDate,
				Diagnostic: "550-5.1.1 The email account\r\n550 5.1.1 does not exist " + strings.Repeat("y", 900),
			},
			{
				Final: "slow@example.net", Action: ActionDelayed, Status: "4.4.1",
				Until: composeDate.Add(96 * time.Hour), LogID: "01J8ZK",
			},
		},
		Original: strings.NewReader(crlf("From: an@example.com\nSubject: =?utf-8?q?B=C3=A1o?=\n\nbody\n")),
		Rand:     zeros{},
	}
}

// TestReport compares a whole report with testdata/report.eml.txt: RFC 3464, RFC 6522.
func TestReport(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	if _, err := sampleReport().WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	m := checkComposed(t, b.Bytes())
	got := strings.ReplaceAll(b.String(), "\r\n", "\n")
	if *update {
		if err := os.WriteFile("testdata/report.eml.txt", []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile("testdata/report.eml.txt")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(got, "\n")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	p := m.Root.Parts
	if m.Root.Subtype != "report" || m.Root.Param("report-type") != "delivery-status" || len(p) != 3 {
		t.Fatalf("%+v", m.Root)
	}
	if p[1].Subtype != "delivery-status" || p[2].Embedded == nil || p[2].Embedded.Envelope.Subject == "" {
		t.Errorf("%+v %+v", p[1], p[2])
	}
}

func TestReportParts(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name       string
		change     func(*Report)
		types      string
		last       string // the third part
		recipients string // a line of the second
	}{
		{"header only", func(r *Report) { r.HeaderOnly = true }, "plain delivery-status rfc822-headers",
			"From: an@example.com\r\nSubject: =?utf-8?q?B=C3=A1o?=\r\n", "Action: failed\r\n"},
		{"nothing returned", func(r *Report) { r.Original = nil }, "plain delivery-status", "",
			"Action: delayed\r\n"},
		{"RFC 6533", func(r *Report) {
			r.UTF8, r.EightBit, r.Recipients[0].Final = true, true, "đỗ@ví-dụ.vn"
			r.Original = strings.NewReader("Subject: thư\n\nx")
		}, "plain global-delivery-status global", "Subject: thư\r\n\r\nx", "Final-Recipient: utf-8;đỗ@ví-dụ.vn\r\n"},
		{"RFC 6533 header", func(r *Report) { r.UTF8, r.HeaderOnly = true, true },
			"plain global-delivery-status global-headers", "From: an@example.com\r\nSubject: =?utf-8?q?B=C3=A1o?=\r\n",
			"Action: failed\r\n"},
		{"UTF-8 address in a 7-bit report", func(r *Report) {
			r.Recipients[0].Original = "utf-8;đỗ@x"
		}, "plain delivery-status rfc822", "*", `Original-Recipient: utf-8;\x{111}\x{1ED7}@x` + "\r\n"},
		{"strange values", func(r *Report) {
			r.EnvelopeID, r.MTA = "a\r\nX-Evil: 1", "đ"
			r.Recipients[0].Diagnostic = "đ\r\n\r\nAction: delivered"
		}, "plain delivery-status rfc822", "*", "Diagnostic-Code: smtp; ? Action: delivered\r\n"},
	} {
		r := sampleReport()
		tt.change(r)
		var b bytes.Buffer
		if _, err := r.WriteTo(&b); err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		m := checkComposed(t, b.Bytes())
		var types []string
		for _, p := range m.Root.Parts {
			types = append(types, p.Subtype)
		}
		if got := strings.Join(types, " "); got != tt.types {
			t.Errorf("%s: parts %s", tt.name, got)
			continue
		}
		status, _ := io.ReadAll(Body(bytes.NewReader(b.Bytes()), m.Root.Parts[1]))
		if !bytes.Contains(status, []byte(tt.recipients)) || bytes.Contains(status, []byte("\r\nX-Evil")) {
			t.Errorf("%s: status %q", tt.name, status)
		}
		if !r.UTF8 && m.EightBit {
			t.Errorf("%s: 8-bit", tt.name)
		}
		if len(m.Root.Parts) < 3 || tt.last == "*" {
			continue
		}
		last, _ := io.ReadAll(Body(bytes.NewReader(b.Bytes()), m.Root.Parts[2]))
		if string(last) != tt.last {
			t.Errorf("%s: returned %q", tt.name, last)
		}
	}
}

// TestReturnedHeaderIsBounded: a header without end is not returned without end.
func TestReturnedHeaderIsBounded(t *testing.T) {
	t.Parallel()
	r := sampleReport()
	r.HeaderOnly = true
	r.Original = strings.NewReader(strings.Repeat("X-Long: "+strings.Repeat("x", 5000)+"\r\n", 1000))
	var b bytes.Buffer
	if _, err := r.WriteTo(&b); err != nil || b.Len() > returnedHeader+20000 {
		t.Errorf("%d bytes, %v", b.Len(), err)
	}
}

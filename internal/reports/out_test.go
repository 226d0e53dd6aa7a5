package reports

import (
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"tram/internal/envelope"
	"tram/internal/limits"
	"tram/internal/mailauth"
	"tram/internal/message"
	"tram/internal/reports/aggregate"
	"tram/internal/reports/fetch"
	"tram/internal/reports/tlsrpt"
	"tram/internal/smtp"
	"tram/internal/tlspolicy"
)

// published is a policy record that asks for reports.
func published(p string) *mailauth.DMARCRecord {
	return &mailauth.DMARCRecord{P: p, ADKIM: "r", ASPF: "r", PSD: "u", FO: "0",
		RUA: []string{"mailto:reports@" + forger}}
}

// forger is the domain in whose name mail comes; it is not ours.
const forger = "bank.example"

// mail is an inbound message in the name of bank.example, or of a domain below it.
func mail(from, ip, p string, pass bool) *envelope.Envelope {
	a := &mailauth.Results{FromDomain: from, From: "ceo@" + from,
		SPF:  mailauth.SPF{Status: mailauth.Fail, Domain: "sender.example"},
		DKIM: []mailauth.DKIM{{Status: mailauth.Fail, Domain: from, Selector: "s1"}, {Status: mailauth.PermError}},
		DMARC: mailauth.DMARC{Status: mailauth.Fail, Domain: from, Record: forger, Organizational: forger,
			Policy: p, Published: published(p)}}
	if pass {
		a.DKIM[0].Status, a.DMARC.Status, a.DMARC.DKIM = mailauth.Pass, mailauth.Pass, true
	}
	return &envelope.Envelope{ID: "t", Origin: envelope.Inbound, Auth: a,
		From:       smtp.Address{Local: "bounce", Domain: "Sender.example"},
		Client:     envelope.Client{Addr: netip.MustParseAddr(ip)},
		Recipients: []envelope.Recipient{{Address: smtp.Address{Local: "alice", Domain: "boat.example"}}}}
}

// sentReport parses what was sent last, and gives back the message with it.
func (w *world) sentReport(i int) (*envelope.Envelope, *message.Message, finding) {
	w.t.Helper()
	raw := w.queue.text[i]
	m := message.Parse(raw, limits.Default().Message)
	found, err := find(strings.NewReader(string(raw)), m, w.limits)
	if err != nil {
		w.t.Fatalf("what was sent cannot be read: %v\n%s", err, raw)
	}
	return w.queue.sent[i], m, found
}

// tomorrow is a time by which every report about the first day is due, and no other.
var tomorrow = start.Truncate(24*time.Hour).AddDate(0, 0, 1).Add(5 * time.Hour)

const bankRecord = `_dmarc.bank.example. IN TXT "v=DMARC1; p=reject; rua=mailto:reports@bank.example"` + "\n"

// TestDMARCReport counts mail of a day and sends the report on the next one, RFC 9990.
func TestDMARCReport(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.dns.Add(bankRecord)
	for range 3 {
		w.Observe(mail(forger, "192.0.2.66", mailauth.PolicyReject, false), Refused)
	}
	w.Observe(mail("mail."+forger, "192.0.2.66", mailauth.PolicyReject, false), Junked)
	w.Observe(mail(forger, "192.0.2.7", mailauth.PolicyReject, true), Delivered)
	w.send(start.Add(time.Hour))
	if len(w.queue.sent) != 0 {
		t.Fatal("a report was sent before the day's end")
	}
	w.Observe(mail(forger, "192.0.2.7", mailauth.PolicyReject, true), Delivered) // adds to what is written
	w.send(start.Add(2 * time.Hour))
	// At the change of the day: one second before, and one after.
	midnight := start.Truncate(24*time.Hour).AddDate(0, 0, 1)
	w.clock.Set(midnight.Add(-time.Second))
	w.Observe(mail(forger, "192.0.2.8", mailauth.PolicyReject, true), Delivered)
	w.clock.Set(midnight.Add(time.Second))
	w.Observe(mail(forger, "192.0.2.9", mailauth.PolicyReject, true), Delivered)
	w.send(midnight.Add(late - time.Second))
	if len(w.queue.sent) != 0 {
		t.Fatal("a report was sent before the day's last counts were written")
	}
	w.send(tomorrow)
	if len(w.queue.sent) != 1 {
		t.Fatalf("%d reports were sent", len(w.queue.sent))
	}
	env, m, found := w.sentReport(0)
	if !env.From.IsNull() || env.Origin != envelope.Notice || len(env.Recipients) != 1 ||
		env.Recipients[0].Address.String() != "reports@bank.example" || env.Recipients[0].Notify != envelope.NotifyNever {
		t.Errorf("%+v", env)
	}
	id := found.dmarc.ID
	if want := "Report Domain: bank.example Submitter: boat.example Report-ID: <" + id + ">"; m.Subject != want {
		t.Errorf("subject %q, want %q", m.Subject, want)
	}
	if from := m.Envelope.From[0]; from.Mailbox != "postmaster" || from.Host != "boat.example" {
		t.Errorf("from %+v", from)
	}
	name := m.Root.Parts[1].FileName()
	if want := fmt.Sprintf("boat.example!bank.example!%d!%d.xml.gz", midnight.AddDate(0, 0, -1).Unix(),
		midnight.Unix()-1); name != want || m.Root.Parts[1].Subtype != "gzip" {
		t.Errorf("file %q, want %q", name, want)
	}
	r := found.dmarc
	if r.Policy.Domain != forger || r.Policy.P != "reject" || r.Messages() != 7 || len(r.Records) != 4 ||
		r.Email != "postmaster@boat.example" || r.Org != "boat.example" || r.End.Sub(r.Begin) != 24*time.Hour-time.Second {
		t.Errorf("%+v", r)
	}
	rows := map[string]aggregate.Record{}
	for _, rec := range r.Records {
		rows[rec.Source.String()+" "+rec.HeaderFrom] = rec
	}
	refused, below := rows["192.0.2.66 bank.example"], rows["192.0.2.66 mail.bank.example"]
	if refused.Count != 3 || refused.Disposition != "reject" || refused.DKIM != "fail" || len(refused.Reasons) != 0 ||
		refused.EnvelopeFrom != "sender.example" || refused.EnvelopeTo != "" || len(refused.Signatures) != 1 {
		t.Errorf("%+v", refused)
	}
	if below.Disposition != "quarantine" || len(below.Reasons) != 1 || below.Reasons[0].Type != "local_policy" {
		t.Errorf("%+v", below)
	}
	if ok := rows["192.0.2.7 bank.example"]; ok.Count != 2 || ok.Disposition != "pass" || ok.DKIM != "pass" || ok.SPF != "fail" {
		t.Errorf("%+v", ok)
	}
	if strings.Contains(string(w.queue.text[0]), "alice") {
		t.Error("the report names a recipient")
	}
	w.send(tomorrow.Add(time.Hour))
	w.restart()
	w.send(tomorrow.Add(2 * time.Hour))
	if len(w.queue.sent) != 1 {
		t.Errorf("the report was sent %d times", len(w.queue.sent))
	}
	w.send(tomorrow.AddDate(0, 0, 1))
	if len(w.queue.sent) != 2 {
		t.Fatalf("the second day's report was not sent")
	}
	if _, _, next := w.sentReport(1); next.dmarc.Messages() != 1 || next.dmarc.ID == id {
		t.Errorf("%+v", next.dmarc)
	}
	w.send(tomorrow.AddDate(0, 0, 9))
	w.restart()
	if n := w.rows(); n != 0 {
		t.Errorf("%d rows are left", n)
	}
}

// TestDisposition is what a report says was done, and why not what the domain asks for.
func TestDisposition(t *testing.T) {
	t.Parallel()
	none, quarantine, reject := mailauth.PolicyNone, mailauth.PolicyQuarantine, mailauth.PolicyReject
	for _, tc := range []struct {
		d      mailauth.DMARC
		fate   Fate
		want   string
		reason string
	}{
		{mailauth.DMARC{Status: mailauth.Pass, Policy: reject}, Delivered, "pass", ""},
		{mailauth.DMARC{Status: mailauth.Pass, Policy: none}, Delivered, "none", ""},
		{mailauth.DMARC{Status: mailauth.Pass, Policy: reject}, Refused, "pass", ""}, // for another reason
		{mailauth.DMARC{Status: mailauth.Fail, Policy: none}, Delivered, "none", ""},
		{mailauth.DMARC{Status: mailauth.Fail, Policy: none}, Junked, "none", ""},
		{mailauth.DMARC{Status: mailauth.Fail, Policy: reject}, Refused, "reject", ""},
		{mailauth.DMARC{Status: mailauth.Fail, Policy: reject}, Delivered, "none", "local_policy"},
		{mailauth.DMARC{Status: mailauth.Fail, Policy: reject, ARC: true}, Delivered, "none", "trusted_forwarder"},
		{mailauth.DMARC{Status: mailauth.Fail, Policy: quarantine}, Junked, "quarantine", ""},
		{mailauth.DMARC{Status: mailauth.Fail, Policy: quarantine, Testing: true}, Junked, "quarantine", "policy_test_mode"},
		{mailauth.DMARC{Status: mailauth.PermError, Policy: reject}, Delivered, "none", ""},
	} {
		got, reasons := disposition(&tc.d, tc.fate)
		reason := ""
		if len(reasons) > 0 {
			reason = reasons[0].Type
		}
		if got != tc.want || reason != tc.reason {
			t.Errorf("%+v, %v: %s %s, want %s %s", tc.d, tc.fate, got, reason, tc.want, tc.reason)
		}
	}
}

// TestNotCounted: nobody who did not ask is told; what carries reports to us is no occasion for one.
func TestNotCounted(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	for name, change := range map[string]func(*envelope.Envelope){
		"not looked into": func(e *envelope.Envelope) { e.Auth = nil },
		"submission":      func(e *envelope.Envelope) { e.Origin = envelope.Submission },
		"no record":       func(e *envelope.Envelope) { e.Auth.DMARC.Published = nil },
		"no address":      func(e *envelope.Envelope) { e.Auth.DMARC.Published.RUA = nil },
		"temperror":       func(e *envelope.Envelope) { e.Auth.DMARC.Status = mailauth.TempError },
		"no client":       func(e *envelope.Envelope) { e.Client.Addr = netip.Addr{} },
		"a report": func(e *envelope.Envelope) {
			e.Recipients[0].Address = smtp.Address{Local: TLSLocal, Domain: "shop.example"}
		},
	} {
		e := mail(forger, "192.0.2.66", mailauth.PolicyReject, false)
		change(e)
		w.Observe(e, Delivered)
		if n := w.Counted(); n != 0 {
			t.Errorf("%s: %d results were counted", name, n)
			w.dmarc.take()
		}
	}
}

// TestBounds: neither a flood of sources nor of domains fills memory or disk.
func TestBounds(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(o *Options) {
		o.Limits.Reports.Memory, o.Limits.Reports.DomainRows, o.Limits.Reports.DayRows = 50, 20, 30
	})
	w.dns.Add(bankRecord)
	for round := range 3 {
		for i := range 100 {
			ip := fmt.Sprintf("192.0.%d.%d", round, i)
			w.Observe(mail(forger, ip, mailauth.PolicyReject, false), Refused)
		}
		if n := w.Counted(); n > 50 {
			t.Errorf("%d results are in memory", n)
		}
		if err := w.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	other := mail("other.example", "192.0.2.1", mailauth.PolicyReject, false)
	other.Auth.DMARC.Record = "other.example"
	for i := range 20 {
		other.Client.Addr = netip.AddrFrom4([4]byte{10, 0, 0, byte(i)})
		w.Observe(other, Refused)
	}
	if err := w.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := w.rows(); n != 1+2+30 {
		t.Errorf("%d rows", n)
	}
	w.send(tomorrow)
	if _, _, found := w.sentReport(0); len(found.dmarc.Records) != 20 {
		t.Errorf("%d records", len(found.dmarc.Records))
	}
}

// TestLost: what could not be written is counted again, and written when there is room.
func TestLost(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.dns.Add(bankRecord)
	for i := range flushBatch + 100 {
		ip := netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}).String()
		w.Observe(mail(forger, ip, mailauth.PolicyReject, false), Refused)
	}
	before := w.Counted()
	w.db.SetFull(true)
	if err := w.Flush(t.Context()); err == nil {
		t.Error("a full disk took the counts")
	}
	if n := w.Counted(); n != before {
		t.Errorf("%d results are left of %d", n, before)
	}
	w.db.SetFull(false)
	w.db.SetTwice(true) // transactions that run twice count once
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	w.restart()
	w.send(tomorrow)
	if _, _, found := w.sentReport(0); found.dmarc.Messages() != flushBatch+100 {
		t.Errorf("%d messages", found.dmarc.Messages())
	}
}

// TestAddresses is who gets a report: RFC 7489 §6.2 and §7.1, RFC 9990.
func TestAddresses(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		zone string
		want string // recipients
	}{
		"own":       {bankRecord, "reports@bank.example"},
		"below":     {rua("mailto:r@deep.mail.bank.example"), "r@deep.mail.bank.example"},
		"two":       {rua("mailto:a@bank.example,mailto:b@bank.example"), "a@bank.example b@bank.example"},
		"same":      {rua("mailto:a@bank.example,mailto:a@bank.example"), "a@bank.example"},
		"gone":      {"", ""},
		"opted out": {`_dmarc.bank.example. IN TXT "v=DMARC1; p=reject"`, ""},
		"several":   {bankRecord + bankRecord, ""},
		"https":     {rua("https://bank.example/r"), ""},
		"broken":    {rua("mailto:,nonsense,mailto:@bank.example,mailto:x@[192.0.2.1]"), ""},
		"escaped":   {rua("mailto:a%2Bb@bank.example?subject=x"), "a+b@bank.example"},
		"small":     {rua("mailto:a@bank.example!1k,mailto:b@bank.example!1m"), "b@bank.example"},
		"too small": {rua("mailto:a@bank.example!1k"), ""},
		"bad size":  {rua("mailto:a@bank.example!x"), ""},
		"external":  {rua("mailto:a@third.test"), ""},
		"agreed": {rua("mailto:a@third.test") + agreed(`"v=DMARC1"`) + agreed(`"something else"`),
			"a@third.test"},
		"agreed elsewhere": {rua("mailto:a@third.test") + agreed(`"v=DMARC1; rua=mailto:b@third.test"`), "b@third.test"},
		"led astray":       {rua("mailto:a@third.test") + agreed(`"v=DMARC1; rua=mailto:b@victim.test"`), "a@third.test"},
		"wildcard": {rua("mailto:a@third.test") + `bank.example._report._dmarc.third.test. IN CNAME any.third.test.
any.third.test. IN TXT "v=DMARC1"`, "a@third.test"},
		"sibling name": {rua("mailto:a@notbank.example"), ""},
		"many": {rua("mailto:a@bank.example,mailto:b@bank.example,mailto:c@bank.example,mailto:d@bank.example," +
			"mailto:e@bank.example,mailto:f@bank.example"),
			"a@bank.example b@bank.example c@bank.example d@bank.example e@bank.example"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, nil)
			w.dns.Add(tc.zone + "\n")
			w.Observe(mail(forger, "192.0.2.66", mailauth.PolicyReject, false), Refused)
			w.send(start)
			w.send(tomorrow)
			var got []string
			for _, e := range w.queue.sent {
				for _, r := range e.Recipients {
					got = append(got, r.Address.String())
				}
			}
			if strings.Join(got, " ") != tc.want {
				t.Errorf("sent to %q, want %q", got, tc.want)
			}
			w.send(tomorrow.Add(2 * time.Hour))
			if len(w.queue.sent) > 1 {
				t.Error("sent again")
			}
		})
	}
}

func rua(uris string) string {
	return `_dmarc.bank.example. IN TXT "v=DMARC1; p=reject; rua=` + uris + "\"\n"
}

func agreed(text string) string {
	return "bank.example._report._dmarc.third.test. IN TXT " + text + "\n"
}

// TestDNSLater: while the DNS fails, nothing is given up and nothing is sent; after some days it is.
func TestDNSLater(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.dns.Add(rua("mailto:a@third.test") + agreed(`"v=DMARC1"`))
	broken := errors.New("broken")
	for _, name := range []string{"_dmarc.bank.example", "bank.example._report._dmarc.third.test"} {
		w.dns.Fail(name, broken)
	}
	w.Observe(mail(forger, "192.0.2.66", mailauth.PolicyReject, false), Refused)
	w.send(start)
	w.send(tomorrow)
	w.dns.Fail("_dmarc.bank.example", nil)
	w.send(tomorrow.Add(retryAfter + time.Minute))
	if len(w.queue.sent) != 0 {
		t.Fatal("sent to an address that has not agreed")
	}
	w.dns.Fail("bank.example._report._dmarc.third.test", nil)
	w.send(tomorrow.Add(retryAfter + 2*time.Minute)) // too soon
	if len(w.queue.sent) != 0 {
		t.Error("tried again too soon")
	}
	w.send(tomorrow.Add(2*retryAfter + 5*time.Minute))
	if len(w.queue.sent) != 1 {
		t.Fatal("not sent when the DNS was back")
	}
	w.dns.Fail("_dmarc.bank.example", broken)
	w.Observe(mail(forger, "192.0.2.66", mailauth.PolicyReject, false), Refused)
	w.send(tomorrow.AddDate(0, 0, 1))
	w.send(tomorrow.AddDate(0, 0, 8))
	if n := w.rows(); n != 0 {
		t.Errorf("%d rows are left of what was given up", n)
	}
}

// TestOnce is the rule of sending once, with a crash or an error at each point of the hand-over.
func TestOnce(t *testing.T) {
	t.Parallel()
	prepare := func(t *testing.T) *world {
		w := newWorld(t, nil)
		w.dns.Add(bankRecord)
		w.Observe(mail(forger, "192.0.2.66", mailauth.PolicyReject, false), Refused)
		w.send(start)
		return w
	}
	t.Run("refused, then taken", func(t *testing.T) {
		t.Parallel()
		w := prepare(t)
		w.queue.fail = errors.New("queue is full")
		w.send(tomorrow)
		w.queue.fail = nil
		w.send(tomorrow.Add(time.Minute))
		if len(w.queue.sent) != 0 {
			t.Error("tried again too soon")
		}
		w.send(tomorrow.Add(2 * time.Hour))
		if len(w.queue.sent) != 1 {
			t.Errorf("sent %d times", len(w.queue.sent))
		}
	})
	t.Run("taken, answer lost", func(t *testing.T) {
		t.Parallel()
		w := prepare(t)
		w.queue.fail, w.queue.after = errors.New("the disk's answer was lost"), true
		w.send(tomorrow)
		w.queue.fail = nil
		w.send(tomorrow.Add(2 * time.Hour))
		if len(w.queue.sent) != 1 {
			t.Errorf("sent %d times", len(w.queue.sent))
		}
	})
	t.Run("crash after the mark", func(t *testing.T) {
		t.Parallel()
		w := prepare(t)
		p := parcel{kind: DMARC, day: dayOf(start), domain: forger}
		if _, err := w.move(t.Context(), &p, func(d *domainRow) bool { d.State = sending; return true }); err != nil {
			t.Fatal(err)
		}
		w.restart()
		w.send(tomorrow)
		if len(w.queue.sent) != 0 {
			t.Error("a report that may have been sent was sent again")
		}
	})
	t.Run("two machines", func(t *testing.T) {
		t.Parallel()
		w := prepare(t)
		w.clock.Set(tomorrow)
		other := New(w.o)
		var wait sync.WaitGroup
		for _, s := range []*Reports{w.Reports, other} {
			wait.Go(func() {
				if err := s.Send(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		wait.Wait()
		if len(w.queue.sent) != 1 {
			t.Errorf("sent %d times", len(w.queue.sent))
		}
	})
}

// session is a TLS event at a time.
func session(domain string, result tlspolicy.ResultType) tlspolicy.Event {
	return tlspolicy.Event{Time: start, Domain: domain, Type: tlspolicy.TypeSTS,
		Policy: []string{"version: STSv1", "mode: enforce"}, MXPatterns: []string{"mx.bank.example"},
		MX: "mx.bank.example", Result: result, ReceivingIP: netip.MustParseAddr("192.0.2.25"), Code: "why"}
}

// TestTLSReport counts sessions of a day and sends the report on the next one, RFC 8460 §4 and §5.3.
func TestTLSReport(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.dns.Add(`_smtp._tls.bank.example. IN TXT "v=TLSRPTv1; rua=mailto:tls@elsewhere.test"` + "\n")
	for range 4 {
		w.Result(session(forger, tlspolicy.Success))
	}
	w.Result(session(forger, tlspolicy.CertificateExpired))
	w.Result(session(forger, tlspolicy.CertificateExpired))
	none := session(forger, tlspolicy.Success)
	none.Type, none.Policy, none.MXPatterns = tlspolicy.TypeNone, nil, nil
	w.Result(none)
	w.Result(session("silent.example", tlspolicy.Success)) // publishes nothing
	w.send(start)
	w.send(tomorrow)
	if len(w.queue.sent) != 1 {
		t.Fatalf("%d reports were sent", len(w.queue.sent))
	}
	env, m, found := w.sentReport(0)
	r := found.tls
	if len(r.Policies) != 2 || r.Contact != "postmaster@boat.example" {
		t.Fatalf("%+v", r)
	}
	for _, p := range r.Policies {
		want := map[string]tlsrpt.Summary{"sts": {Successes: 4, Failures: 2}, "no-policy-found": {Successes: 1}}
		if p.Policy.Domain != forger || p.Summary != want[p.Policy.Type] {
			t.Errorf("%+v", p)
		}
		if p.Policy.Type == "sts" && (len(p.Failures) != 1 || p.Failures[0].Count != 2 ||
			p.Failures[0].Type != "certificate-expired" || p.Policy.MXHosts[0] != "mx.bank.example") {
			t.Errorf("%+v", p.Failures)
		}
	}
	head := string(m.Header)
	for _, want := range []string{"TLS-Report-Domain: bank.example\r\n", "TLS-Report-Submitter: boat.example\r\n",
		"TLS-Required: No\r\n", "Content-Type: multipart/report;"} {
		if !strings.Contains(head, want) {
			t.Errorf("the header lacks %q:\n%s", want, head)
		}
	}
	if m.Root.Param("report-type") != "tlsrpt" || m.Root.Parts[1].Subtype != "tlsrpt+gzip" {
		t.Errorf("%+v", m.Root)
	}
	if got := env.Recipients[0].Address.String(); got != "tls@elsewhere.test" {
		t.Errorf("sent to %s", got)
	}
	// The sessions in which our own report was handed over are no occasion for the next report.
	w.dns.Add(`_smtp._tls.elsewhere.test. IN TXT "v=TLSRPTv1; rua=mailto:tls@elsewhere.test"` + "\n")
	own := session("elsewhere.test", tlspolicy.Success)
	own.Time = tomorrow
	w.Result(own)
	w.send(tomorrow.Add(time.Hour))
	w.send(tomorrow.AddDate(0, 0, 1))
	if len(w.queue.sent) != 1 {
		t.Error("a report about our own report was sent")
	}
}

// portOf is where a server of this test listens, and who vouches for it.
func portOf(t *testing.T, web *httptest.Server) (int, *x509.CertPool) {
	t.Helper()
	_, port, err := net.SplitHostPort(web.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	number, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(web.Certificate())
	return number, roots
}

// servedBy is a client for which example.com is a server of this test.
func servedBy(t *testing.T, h http.HandlerFunc, w *world) *fetch.Client {
	t.Helper()
	web := httptest.NewTLSServer(h)
	t.Cleanup(web.Close)
	o := fetch.Options{Resolver: w.dns, Limits: w.limits, AllowPrivate: true}
	o.Port, o.Roots = portOf(t, web)
	w.dns.Add("example.com. IN A 127.0.0.1\n")
	return fetch.New(o)
}

// TestPost sends a TLS report over HTTPS, RFC 8460 §5.4: no redirect, no inner address, once.
func TestPost(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var bodies [][]byte
	answer := http.StatusInternalServerError
	web := httptest.NewTLSServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		b, err := io.ReadAll(r.Body)
		if err != nil || r.Method != http.MethodPost || r.Header.Get("Content-Type") != "application/tlsrpt+gzip" {
			t.Errorf("%s %v %v", r.Method, r.Header, err)
		}
		bodies = append(bodies, b)
		if answer == http.StatusFound {
			rw.Header().Set("Location", "https://inside.example/")
		}
		rw.WriteHeader(answer)
	}))
	defer web.Close()
	number, roots := portOf(t, web)
	allow := func(o *Options) {
		o.Fetch.AllowPrivate, o.Fetch.Port, o.Fetch.Roots = true, number, roots
	}
	w := newWorld(t, allow)
	w.clock.Set(start)
	zone := `_smtp._tls.bank.example. IN TXT "v=TLSRPTv1;rua=https://example.com/report"
example.com. IN A 127.0.0.1` + "\n"
	w.dns.Add(zone)
	w.Result(session(forger, tlspolicy.Success))
	w.send(start)
	codes := []int{http.StatusInternalServerError, http.StatusFound, http.StatusCreated, http.StatusCreated}
	for i, code := range codes {
		mu.Lock()
		answer = code
		mu.Unlock()
		w.send(tomorrow.Add(time.Duration(i) * 2 * time.Hour))
	}
	if len(bodies) != 3 {
		t.Errorf("posted %d times", len(bodies))
	}
	// Nothing inside is asked, whatever the DNS says.
	w = newWorld(t, func(o *Options) { allow(o); o.Fetch.AllowPrivate = false })
	w.dns.Add(zone)
	w.Result(session(forger, tlspolicy.Success))
	w.send(start)
	w.send(tomorrow)
	if len(bodies) != 3 {
		t.Error("a report was posted to this machine")
	}
}

// TestRoundTrip: what one house sends another one reads.
func TestRoundTrip(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.dns.Add(`_dmarc.shop.example. IN TXT "v=DMARC1; p=reject; rua=mailto:dmarc-reports@shop.example"
_smtp._tls.shop.example. IN TXT "v=TLSRPTv1; rua=mailto:tls-reports@shop.example"` + "\n")
	e := mail("shop.example", "192.0.2.66", mailauth.PolicyReject, false)
	e.Auth.DMARC.Record, e.Auth.DMARC.Organizational = "shop.example", "shop.example"
	w.Observe(e, Refused)
	w.Result(session("shop.example", tlspolicy.CertificateExpired))
	w.send(start)
	w.send(tomorrow)
	if len(w.queue.sent) != 2 {
		t.Fatalf("%d reports were sent", len(w.queue.sent))
	}
	for i, raw := range w.queue.text {
		in := w.envelope(raw, nil)
		in.Origin, in.Recipients = envelope.Notice, w.queue.sent[i].Recipients
		if !w.Takes(in.Recipients[0].Address) {
			t.Errorf("sent to %s", in.Recipients[0].Address)
		}
		if err := w.Take(t.Context(), in); err != nil {
			t.Error(err)
		}
	}
	if s := w.dmarcOf("shop.example", false); s.Reports != 1 || s.Rejected != 1 || s.Policy.P != "reject" {
		t.Errorf("%+v", s)
	}
	if s := w.tlsOf("shop.example"); s.Reports != 1 || s.Failures != 1 || s.Details[0].Type != "certificate-expired" {
		t.Errorf("%+v", s)
	}
}

// TestIdentifiers are dot-atoms, as RFC 9990 has it, and the queue's may be printed.
func TestIdentifiers(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	p := &parcel{kind: DMARC, day: dayOf(start), domain: forger, own: "boat.example"}
	if id := w.reportID(p); !regexp.MustCompile(`^20260302\.[0-9a-f]{16}@boat\.example$`).MatchString(id) {
		t.Error(id)
	}
	if id := w.trail(p); !regexp.MustCompile(`^report-dmarc-20260302-[0-9a-f]{16}$`).MatchString(id) {
		t.Error(id)
	}
}

func BenchmarkObserve(b *testing.B) {
	e := mail(forger, "192.0.2.66", mailauth.PolicyReject, false)
	l := limits.Default()
	s := New(Options{Limits: l, SendDMARC: true, Hostname: "mx.boat.example"})
	e.Recipients = nil
	b.ReportAllocs()
	for b.Loop() {
		s.Observe(e, Refused)
	}
}

package reports

import (
	"archive/zip"
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"tram/internal/envelope"
	"tram/internal/kv"
	"tram/internal/limits"
	"tram/internal/message"
	"tram/internal/smtp"
)

const google, microsoft, yahoo = "aggregate/testdata/01-google.xml", "aggregate/testdata/02-microsoft.xml",
	"aggregate/testdata/03-yahoo.xml"

func zipOf(t testing.TB, name string, data []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	f, err := z.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	f.Write(data)
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestTake reads reports from messages as real senders shape them: zip, gzip, plain, with types and
// names of all kinds.
func TestTake(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	g, m, y := fixtureFile(t, google), fixtureFile(t, microsoft), fixtureFile(t, yahoo)
	w.take(letter(t, "google.com", "application/zip", "google.com!boat.example!1!2.zip", zipOf(t, "r.xml", g)),
		authentic("google.com"))
	w.take(letter(t, "microsoft.com", "application/gzip", "microsoft.com!boat.example!1!2.xml.gz", pack2(t, m)),
		authentic("microsoft.com"))
	w.take(letter(t, "yahooinc.com", "application/octet-stream", "report.xml", y), authentic("yahooinc.com"))
	s := w.dmarcOf("boat.example", false)
	if s.Reports != 3 || s.Unknown != 0 || s.Messages != 53 || s.Passed != 44 || s.Rejected != 7 ||
		len(s.Sources) != 3 || len(s.List) != 3 {
		t.Errorf("%+v", s)
	}
	best := s.Sources[0]
	if best.Address.String() != "192.0.2.25" || best.Messages != 44 || best.DKIM != 44 || best.SPF != 41 ||
		len(best.Orgs) != 2 || !strings.HasPrefix(best.Advice, "Fine: signed. SPF does not") {
		t.Errorf("%+v", best)
	}
	for _, src := range s.Sources[1:] {
		want := map[string]string{"198.51.100.9": "Neither signed nor", "2001:db8:5::7": "Signed for list.example"}
		if !strings.HasPrefix(src.Advice, want[src.Address.String()]) {
			t.Errorf("%s: %s", src.Address, src.Advice)
		}
	}
	whole, err := w.Report(t.Context(), s.List[2].Name)
	if err != nil || len(whole.Records) == 0 || whole.Domain != "boat.example" || !whole.Known ||
		whole.DMARC.Policy.Domain != "boat.example" {
		t.Errorf("%+v, %v", whole, err)
	}
	for _, name := range []string{"", "x", "0000000000000000", s.List[0].Name + "0"} {
		if _, err := w.Report(t.Context(), name); !errors.Is(err, kv.ErrNotFound) {
			t.Errorf("report %q: %v", name, err)
		}
	}
	if s := w.dmarcOf("shop.example", true); s.Reports != 0 || len(s.Advice) != 1 ||
		!strings.Contains(s.Advice[0], "rua=mailto:dmarc-reports@shop.example") {
		t.Errorf("%+v", s)
	}
}

// TestTakeTLS does the same for TLS reports; policies of other domains are left out.
func TestTakeTLS(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	for i, name := range []string{"01-google.json", "02-microsoft.json"} {
		b := fixtureFile(t, "tlsrpt/testdata/"+name)
		kind := "application/tlsrpt+json"
		if i == 0 {
			b, kind = pack2(t, b), "application/tlsrpt+gzip"
		}
		w.take(letter(t, "google.com", kind, "", b), authentic("google.com"))
	}
	w.take(letter(t, "x.example", "application/tlsrpt+json", "", []byte(`{"report-id":"mixed","policies":[
		{"policy":{"policy-domain":"elsewhere.example"},"summary":{"total-successful-session-count":1000}},
		{"policy":{"policy-domain":"boat.example"},"summary":{"total-successful-session-count":1}}]}`)),
		authentic("x.example"))
	s := w.tlsOf("boat.example")
	if s.Reports != 3 || s.Successes != 128+17+4+1 || s.Failures != 3 || len(s.Details) != 2 {
		t.Errorf("%+v", s)
	}
	if d := s.Details[0]; d.Type != "certificate-expired" || d.Sessions != 2 || d.MX != "mx.boat.example" ||
		!strings.HasPrefix(d.Advice, "The certificate had run out") {
		t.Errorf("%+v", d)
	}
	whole, err := w.Report(t.Context(), s.List[0].Name)
	if err != nil || len(whole.Policies) == 0 || whole.Kind != TLS {
		t.Errorf("%+v, %v", whole, err)
	}
}

// TestTwice: the same report is kept once. A forged one neither replaces it nor keeps it out, is marked,
// and is not counted unless asked for.
func TestTwice(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	raw := letter(t, "google.com", "application/gzip", "r.xml.gz", pack2(t, fixtureFile(t, google)))
	w.take(raw, forged("google.com"))
	w.take(raw, nil)
	if s := w.dmarcOf("boat.example", false); s.Reports != 0 || s.Unknown != 1 || s.Messages != 0 {
		t.Errorf("%+v", s)
	}
	w.take(raw, authentic("google.com"))
	w.take(raw, authentic("google.com"))
	// Another domain with a good signature cannot take its place either.
	w.take(raw, authentic("evil.example"))
	if s := w.dmarcOf("boat.example", false); s.Reports != 2 || s.Unknown != 1 || s.Messages != 86 {
		t.Errorf("%+v", s)
	}
	if s := w.dmarcOf("boat.example", true); s.Reports != 3 {
		t.Errorf("%+v", s)
	}
}

// TestNoReport: what is no report, or about nobody of ours, is refused in the session with a reason.
func TestNoReport(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	other := bytes.ReplaceAll(fixtureFile(t, google), []byte("boat.example"), []byte("elsewhere.test"))
	bomb := pack2(t, append([]byte("<feedback>"), bytes.Repeat([]byte("<a></a>"), 1<<20)...))
	for name, tc := range map[string]struct {
		kind string
		file []byte
		want string
	}{
		"foreign": {"application/gzip", pack2(t, other), "not a domain of this server"},
		"html":    {"text/html", []byte("<p>Hello</p>"), "no attachment"},
		"garbage": {"application/gzip", []byte("nonsense here"), "not an aggregate report"},
		"bomb":    {"application/gzip", bomb, "suspiciously"},
		"dtd":     {"text/xml", []byte("<!DOCTYPE a><feedback/>"), "document type"},
	} {
		got := w.refused(letter(t, "google.com", tc.kind, "", tc.file), authentic("google.com"))
		if !strings.Contains(got, tc.want) {
			t.Errorf("%s: %q", name, got)
		}
	}
	env := w.envelope([]byte("Subject: x\r\n\r\nHello\r\n"), nil)
	env.Message = nil
	if err := w.Take(t.Context(), env); err == nil {
		t.Error("a message that is not parsed was taken")
	}
	sub := bytes.ReplaceAll(fixtureFile(t, google), []byte("boat.example"), []byte("mail.boat.example"))
	w.take(letter(t, "google.com", "text/xml", "", sub), authentic("google.com"))
	if s := w.dmarcOf("boat.example", false); s.Reports != 1 || s.Policy.Domain != "mail.boat.example" {
		t.Errorf("a report about a subdomain: %+v", s)
	}
}

func TestTakes(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	for address, want := range map[string]bool{
		"dmarc-reports@boat.example": true, "TLS-Reports@shop.example": true, "dmarc-reports@elsewhere.test": false,
		"reports@boat.example": false, "dmarc-reports+x@boat.example": false,
	} {
		a, err := smtp.ParseAddress(address)
		if err != nil {
			t.Fatal(err)
		}
		if got := w.Takes(a); got != want {
			t.Errorf("%s: %v", address, got)
		}
	}
}

// reportNumber is a small report that differs from others.
func reportNumber(n int, end time.Time) []byte {
	return fmt.Appendf(nil, "<feedback><report_metadata><org_name>x</org_name><report_id>%d</report_id><date_range>"+
		"<begin>%d</begin><end>%d</end></date_range></report_metadata><policy_published><domain>boat.example</domain>"+
		"</policy_published><record><row><source_ip>192.0.2.1</source_ip><count>1</count></row></record></feedback>",
		n, end.Unix()-86399, end.Unix())
}

// TestRoom: each domain has so much room, of which unauthenticated senders get a part, and the oldest
// reports go first.
func TestRoom(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(o *Options) { o.Limits.Reports.PerDomain = 8 })
	for i := range 12 {
		end := start.AddDate(0, 0, i-20)
		w.take(letter(t, "a.example", "text/xml", "", reportNumber(i, end)), authentic("a.example"))
		w.take(letter(t, "b.example", "text/xml", "", reportNumber(100+i, end)), forged("b.example"))
	}
	s := w.dmarcOf("boat.example", false)
	if s.Reports != 8 || s.Unknown != 2 || s.List[0].ID != "11" && s.List[0].ID != "111" {
		t.Errorf("%d reports, %d of strangers, newest %s", s.Reports, s.Unknown, s.List[0].ID)
	}
	w = newWorld(t, func(o *Options) { o.Limits.Reports.DomainSize = 1000 })
	for i := range 30 {
		w.take(letter(t, "a.example", "text/xml", "", reportNumber(i, start)), authentic("a.example"))
	}
	var bytes int64
	s = w.dmarcOf("boat.example", false)
	for _, l := range s.List {
		bytes += l.Size
	}
	if len(s.List) < 3 || bytes > 1000 {
		t.Errorf("%d reports of %d bytes", len(s.List), bytes)
	}
}

// TestExpire: reports go half a year after they came, with everything that belongs to them.
func TestExpire(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	for i := range 3 {
		w.take(letter(t, "a.example", "text/xml", "", reportNumber(i, start)), authentic("a.example"))
		w.clock.Advance(24 * time.Hour)
	}
	w.clock.Set(start.Add(limits.Default().Reports.Keep + 25*time.Hour))
	if err := w.Expire(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := w.rows(); n != 5 { // head, index, piece, expiry, tally
		t.Errorf("%d rows are left of one report", n)
	}
	w.clock.Advance(48 * time.Hour)
	if err := w.Expire(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := w.rows(); n != 0 {
		t.Errorf("%d rows are left of no report", n)
	}
}

// rows counts the rows of the room.
func (w *world) rows() int {
	w.t.Helper()
	n := 0
	err := w.db.View(w.t.Context(), scopeIn, func(r kv.Reader) error {
		n = 0
		return r.Scan(kv.Prefix([]byte{space}), func(_, _ []byte) error { n++; return nil })
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return n
}

// TestFuture: a report's own time does not make it the last one to be removed.
func TestFuture(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.take(letter(t, "a.example", "text/xml", "", reportNumber(1, start.AddDate(50, 0, 0))), authentic("a.example"))
	w.take(letter(t, "a.example", "text/xml", "", reportNumber(2, time.Unix(0, 0))), authentic("a.example"))
	for _, l := range w.dmarcOf("boat.example", false).List {
		if !l.End.Equal(start) {
			t.Errorf("it ends %v", l.End)
		}
	}
}

// TestBusy: no more reports are read at once than allowed; who waits in vain comes again.
func TestBusy(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(o *Options) { o.Limits.Reports.Parsing = 1 })
	w.reading <- struct{}{}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	raw := letter(t, "a.example", "text/xml", "", reportNumber(1, start))
	var reply smtp.Reply
	if err := w.Take(ctx, w.envelope(raw, nil)); err == nil || errors.As(err, &reply) {
		t.Errorf("a busy desk: %v", err)
	}
	<-w.reading
	w.take(raw, nil)
	w.db.SetFull(true)
	err := w.Take(t.Context(), w.envelopeWhenFull(letter(t, "a.example", "text/xml", "", reportNumber(2, start))))
	if !errors.Is(err, kv.ErrFull) {
		t.Errorf("a full disk: %v", err)
	}
}

// envelopeWhenFull makes a message as it was before the disk was full.
func (w *world) envelopeWhenFull(raw []byte) *envelope.Envelope {
	w.db.SetFull(false)
	defer w.db.SetFull(true)
	return w.envelope(raw, nil)
}

// FuzzFind goes through messages of any shape to the parsers behind them.
func FuzzFind(f *testing.F) {
	f.Add(letter(f, "a.example", "text/xml", "", reportNumber(1, start)))
	f.Add(letter(f, "a.example", "application/zip", "r.zip", zipOf(f, "r.xml", reportNumber(1, start))))
	f.Add(letter(f, "a.example", "application/gzip", "r.gz", pack2(f, reportNumber(1, start))))
	f.Add(letter(f, "a.example", "application/tlsrpt+json", "", fixtureFile(f, "tlsrpt/testdata/01-google.json")))
	l := limits.Default()
	l.Reports.Unpacked, l.Reports.Tokens = 1<<20, 10000
	f.Fuzz(func(t *testing.T, raw []byte) {
		found, err := find(bytes.NewReader(raw), message.Parse(raw, l.Message), l.Reports)
		if (err == nil) != (found.dmarc != nil || found.tls != nil) {
			t.Fatalf("%+v, %v", found, err)
		}
	})
}

// TestReturned: a report inside of a message that is returned or forwarded is not read: a notice of this
// server is trusted, and what it returns may be a stranger's.
func TestReturned(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	inner := letter(t, "google.com", "text/xml", "", reportNumber(1, start))
	outer := append([]byte("From: mailer-daemon@boat.example\r\nContent-Type: multipart/report; boundary=b\r\n\r\n"+
		"--b\r\n\r\nText.\r\n--b\r\nContent-Type: message/rfc822\r\n\r\n"), inner...)
	outer = append(outer, "\r\n--b--\r\n"...)
	env := w.envelope(outer, nil)
	env.Origin = envelope.Notice
	if err := w.Take(t.Context(), env); err == nil {
		t.Error("a report inside of a returned message was taken")
	}
}

// TestLeftOver: records beyond the limit are counted all the same.
func TestLeftOver(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(o *Options) { o.Limits.Reports.Rows = 1 })
	w.take(letter(t, "google.com", "text/xml", "", fixtureFile(t, google)), authentic("google.com"))
	if s := w.dmarcOf("boat.example", false); s.Messages != 43 || s.Passed != 41 || len(s.Sources) != 1 {
		t.Errorf("%+v", s)
	}
}

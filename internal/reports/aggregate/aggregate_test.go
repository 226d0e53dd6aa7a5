package aggregate

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
	"unicode/utf16"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"golang.org/x/text/unicode/norm"

	"tram/internal/limits"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func small() limits.Reports { return limits.Default().Reports }

func fixture(t testing.TB, name string) *Report {
	t.Helper()
	f, err := os.Open(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r, err := Parse(f, small())
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return r
}

var same = cmp.Options{cmp.Comparer(func(a, b netip.Addr) bool { return a == b }), cmpopts.EquateEmpty()}

// TestParse reads reports as large senders shape them, RFC 7489 appendix C.
func TestParse(t *testing.T) {
	t.Parallel()
	day := time.Unix(1772409600, 0).UTC()
	google := fixture(t, "01-google.xml")
	want := &Report{
		Version: "1.0", Org: "google.com", Email: "noreply-dmarc-support@google.com",
		Contact: "https://support.google.com/a/answer/2466580", ID: "10457632810945763281",
		Begin: day, End: day.Add(24*time.Hour - time.Second),
		Policy: Policy{Domain: "boat.example", P: "none", SP: "none", NP: "none", ADKIM: "r", ASPF: "r",
			Percent: "100"},
		Records: []Record{{
			Source: netip.MustParseAddr("192.0.2.25"), Count: 41, Disposition: "none", DKIM: "pass", SPF: "pass",
			HeaderFrom: "boat.example",
			Signatures: []Auth{{Domain: "boat.example", Selector: "s1", Result: "pass"}},
			Senders:    []Auth{{Domain: "boat.example", Result: "pass"}},
		}, {
			Source: netip.MustParseAddr("2001:db8:5::7"), Count: 2, Disposition: "none", DKIM: "fail", SPF: "fail",
			Reasons: []Reason{{Type: "local_policy", Comment: "arc=pass"}}, HeaderFrom: "boat.example",
			Signatures: []Auth{{Domain: "list.example", Selector: "m", Result: "pass"}},
			Senders:    []Auth{{Domain: "list.example", Result: "pass"}},
		}},
	}
	if d := cmp.Diff(want, google, same); d != "" {
		t.Error(d)
	}
	microsoft := fixture(t, "02-microsoft.xml").Records[0]
	if microsoft.EnvelopeFrom != "bounces.boat.example" || microsoft.EnvelopeTo != "outlook.example" ||
		microsoft.Senders[0].Scope != "mfrom" {
		t.Errorf("microsoft: %+v", microsoft)
	}
	yahoo := fixture(t, "03-yahoo.xml")
	if yahoo.Policy.Domain != "boat.example" || yahoo.Messages() != 7 || yahoo.Records[0].Passed() {
		t.Errorf("yahoo: %+v", yahoo)
	}
	broken := fixture(t, "04-broken.xml")
	if broken.Org != "Café & Sons" || broken.ID != "cafe-17" || broken.Begin != day ||
		len(broken.Records) != 2 || broken.Records[0].Count != 0 || broken.Records[0].Source.IsValid() ||
		broken.Records[1].Source != netip.MustParseAddr("192.0.2.25") ||
		broken.Records[1].HeaderFrom != "boat.example" || !broken.Records[0].Passed() {
		t.Errorf("broken: %+v", broken)
	}
}

func sample() *Report {
	day := time.Date(2026, 3, 2, 0, 0, 0, 0, time.UTC)
	return &Report{
		Version: "1.0", Org: `Boats & "Bridges" <Ltd>`, Email: "postmaster@mx.example", Contact: "https://mx.example",
		ID: "20260302.00ff@mx.example", Begin: day, End: day.Add(24*time.Hour - time.Second),
		Errors: []string{"sp cannot be read"}, Generator: "tram",
		Policy: Policy{Domain: "shop.example", Discovery: "treewalk", P: "reject", SP: "quarantine", NP: "reject",
			ADKIM: "s", ASPF: "r", FO: "1", Testing: "n"},
		Records: []Record{{
			Source: netip.MustParseAddr("2001:db8::1"), Count: 3, Disposition: "pass", DKIM: "pass", SPF: "fail",
			HeaderFrom: "shop.example", EnvelopeFrom: "list.example",
			Signatures: []Auth{{Domain: "shop.example", Selector: "a", Result: "pass"},
				{Domain: "list.example", Selector: "b", Result: "fail", Human: "body changed"}},
			Senders: []Auth{{Domain: "list.example", Scope: "mfrom", Result: "pass"}},
		}, {
			Source: netip.MustParseAddr("198.51.100.9"), Count: 1 << 40, Disposition: "none", DKIM: "fail", SPF: "fail",
			Reasons:    []Reason{{Type: "local_policy", Comment: "a list"}, {Type: "other"}},
			HeaderFrom: "mail.shop.example", Senders: []Auth{{Domain: "forger.example", Result: "softfail"}},
		}},
	}
}

// TestWrite is the XML of RFC 9990, to the byte, and that it is read to the same value.
func TestWrite(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	if err := Write(&b, sample()); err != nil {
		t.Fatal(err)
	}
	golden := filepath.Join("testdata", "05-written.want")
	if *update {
		if err := os.WriteFile(golden, b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), b.String()); d != "" {
		t.Error(d)
	}
	back, err := Parse(&b, small())
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(sample(), back, same); d != "" {
		t.Error(d)
	}
}

func TestWriteFails(t *testing.T) {
	t.Parallel()
	var whole bytes.Buffer
	if err := Write(&whole, sample()); err != nil {
		t.Fatal(err)
	}
	broken := errors.New("no more")
	for n := 0; n < whole.Len(); n += 97 {
		if err := Write(&failing{n, broken}, sample()); !errors.Is(err, broken) {
			t.Fatalf("after %d bytes: %v", n, err)
		}
	}
}

type failing struct {
	left int
	err  error
}

func (f *failing) Write(p []byte) (int, error) {
	if f.left -= len(p); f.left < 0 {
		return 0, f.err
	}
	return len(p), nil
}

// TestCharsets reads reports in other charsets than UTF-8, with a byte order mark and without.
func TestCharsets(t *testing.T) {
	t.Parallel()
	doc := `<?xml version="1.0" encoding="%s"?><feedback><report_metadata><org_name>Hồ</org_name></report_metadata>` +
		`<policy_published><domain>boat.example</domain></policy_published></feedback>`
	utf8Doc := fmt.Sprintf(doc, "utf-8")
	wide := []byte{0xff, 0xfe}
	for _, u := range utf16.Encode([]rune(fmt.Sprintf(doc, "UTF-16"))) {
		wide = append(wide, byte(u), byte(u>>8))
	}
	for name, text := range map[string]string{
		"utf-8": utf8Doc, "mark": "\ufeff" + utf8Doc, "utf-16": string(wide),
		"none":   strings.TrimPrefix(utf8Doc, `<?xml version="1.0" encoding="utf-8"?>`),
		"viscii": strings.Replace(fmt.Sprintf(doc, "windows-1258"), "ồ", "\xf4\xcc", 1),
	} {
		r, err := Parse(strings.NewReader(text), small())
		if err != nil {
			t.Errorf("%s: %v", name, err)
		} else if norm.NFC.String(r.Org) != "Hồ" {
			t.Errorf("%s: %q", name, r.Org)
		}
	}
}

// TestRefused is P15: what is no report, and what is made to hurt.
func TestRefused(t *testing.T) {
	t.Parallel()
	l := small()
	l.Tokens = 5000
	long := strings.Repeat("x", l.Token+1)
	for name, tc := range map[string]struct {
		text string
		want error
	}{
		"empty":     {"", ErrNotReport},
		"text":      {"Hello.", ErrNotReport},
		"other xml": {"<html></html>", ErrNotReport},
		"two roots": {"<feedback></feedback><feedback></feedback>", ErrNotReport},
		"no domain": {"<feedback></feedback>", ErrNotReport},
		"cut":       {"<feedback><record>", ErrNotReport},
		"charset":   {`<?xml version="1.0" encoding="nonsense"?><feedback/>`, ErrNotReport},
		"charsets": {strings.Repeat(`<?xml version="1.0" encoding="windows-1258"?>`, 200) + "<feedback>" +
			"<policy_published><domain>boat.example</domain></policy_published></feedback>", ErrNotReport},
		"dtd":        {"<!DOCTYPE feedback [<!ENTITY a \"b\">]><feedback>&a;</feedback>", ErrDTD},
		"laughs":     {laughs(), ErrDTD},
		"external":   {`<!DOCTYPE x SYSTEM "file:///etc/passwd"><feedback/>`, ErrDTD},
		"deep":       {"<feedback>" + strings.Repeat("<a>", l.Depth), ErrBounds},
		"text long":  {"<feedback>" + long, ErrBounds},
		"tag long":   {"<feedback><" + long, ErrBounds},
		"attributes": {"<feedback><a " + strings.Repeat(`b="c" `, l.Token/6+1), ErrBounds},
		"comment":    {"<feedback><!--" + long, ErrBounds},
		"cdata":      {"<feedback><![CDATA[" + long, ErrBounds},
		"tokens":     {"<feedback>" + strings.Repeat("<a></a>", l.Tokens), ErrBounds},
	} {
		if _, err := Parse(strings.NewReader(tc.text), l); !errors.Is(err, tc.want) {
			t.Errorf("%s: %v, want %v", name, err, tc.want)
		}
	}
	broken := errors.New("disk")
	_, err := Parse(io.MultiReader(strings.NewReader("<feedback>"), failed{broken}), l)
	if !errors.Is(err, broken) {
		t.Errorf("an error of the reader became %v", err)
	}
}

func laughs() string {
	return `<?xml version="1.0"?><!DOCTYPE lolz [<!ENTITY lol "lol"><!ENTITY lol2 "&lol;&lol;&lol;&lol;&lol;">]>` +
		"<feedback><report_metadata><org_name>&lol2;</org_name></report_metadata></feedback>"
}

// endless is a report with records for ever.
type endless struct {
	begun bool
	rest  string
	left  int
}

func (e *endless) Read(p []byte) (int, error) {
	if e.rest == "" {
		switch {
		case !e.begun:
			e.begun = true
			e.rest = "<feedback><policy_published><domain>boat.example</domain></policy_published>"
		case e.left == 0:
			e.left, e.rest = -1, "</feedback>"
		case e.left < 0:
			return 0, io.EOF
		default:
			e.left--
			e.rest = "<record><row><source_ip>192.0.2.1</source_ip><count>2</count></row></record>"
		}
	}
	n := copy(p, e.rest)
	e.rest = e.rest[n:]
	return n, nil
}

// TestRows keeps so many rows and counts the rest: 60,000 of them leave less than 8 MiB behind.
func TestRows(t *testing.T) {
	l := small()
	l.Rows = 100
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	r, err := Parse(&endless{left: 60000}, l)
	if err != nil {
		t.Fatal(err)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if len(r.Records) != 100 || r.Left != 59900 || r.Messages() != 120000 || r.Passed() != 0 {
		t.Errorf("%d kept, %d left, %d messages", len(r.Records), r.Left, r.Messages())
	}
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 8<<20 {
		t.Errorf("the report keeps %d bytes", grown)
	}
	runtime.KeepAlive(r)
}

// TestLongRows: rows whose texts are far longer than real ones are summed up before they fill the memory.
func TestLongRows(t *testing.T) {
	t.Parallel()
	l := small()
	l.Rows = 50
	auth := "<dkim><domain>" + strings.Repeat("d", 255) + "</domain><human_result>" + strings.Repeat("h", 255) +
		"</human_result></dkim>"
	record := "<record><row><count>2</count></row><auth_results>" + strings.Repeat(auth, 10) +
		"</auth_results></record>"
	r, err := Parse(strings.NewReader("<feedback><policy_published><domain>boat.example</domain></policy_published>"+
		strings.Repeat(record, 40)+"</feedback>"), l)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(r.Records); n == 0 || n > 50*rowMost/(10*510) || r.Left != 40-n || r.Messages() != 80 {
		t.Errorf("%d kept, %d left, %d messages", n, r.Left, r.Messages())
	}
}

func FuzzParse(f *testing.F) {
	files, err := filepath.Glob("testdata/*.xml")
	if err != nil || len(files) == 0 {
		f.Fatal(files, err)
	}
	for _, name := range append(files, "testdata/05-written.want") {
		b, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add([]byte(laughs()))
	l := small()
	l.Rows, l.Tokens, l.Token = 50, 5000, 4096
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := Parse(bytes.NewReader(b), l)
		if err != nil {
			return
		}
		if len(r.Records) > l.Rows || r.Messages() < 0 || r.Policy.Domain == "" {
			t.Fatalf("%d records, %d messages about %q", len(r.Records), r.Messages(), r.Policy.Domain)
		}
		// What was read can be written, and is then read to the same value.
		for i := range r.Records {
			if !r.Records[i].Source.IsValid() {
				r.Records[i].Source = netip.MustParseAddr("192.0.2.1")
			}
		}
		var out bytes.Buffer
		if err := Write(&out, r); err != nil {
			t.Fatal(err)
		}
		again, err := Parse(&out, small())
		if err != nil {
			t.Fatalf("what was written cannot be read: %v", err)
		}
		if len(again.Records) != len(r.Records) || again.Policy.Domain != r.Policy.Domain {
			t.Fatalf("%+v became %+v", r, again)
		}
	})
}

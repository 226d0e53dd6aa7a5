package tlsrpt

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"tram/internal/limits"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func small() limits.Reports { return limits.Default().Reports }

func fixture(t testing.TB, name string) *Report {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	r, err := Parse(bytes.NewReader(b), small())
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return r
}

var monday = time.Date(2026, 3, 2, 0, 0, 0, 0, time.UTC)

// TestParse reads reports as large senders shape them, RFC 8460 §4.4.
func TestParse(t *testing.T) {
	t.Parallel()
	want := &Report{
		Org: "Google Inc.", Contact: "smtp-tls-reporting@google.com", ID: "2026-03-02T00:00:00Z_boat.example",
		Range: DateRange{monday, monday.Add(24*time.Hour - time.Second)},
		Policies: []Policy{{
			Policy: PolicyText{Type: "sts", Domain: "boat.example", MXHosts: []string{"mx.boat.example"},
				Text: []string{"version: STSv1", "mode: enforce", "mx: mx.boat.example", "max_age: 604800"}},
			Summary: Summary{128, 2},
			Failures: []Failure{{Type: "certificate-expired", SendingIP: "198.51.100.4", ReceivingIP: "192.0.2.25",
				MX: "mx.boat.example", Count: 2}},
		}},
	}
	if d := cmp.Diff(want, fixture(t, "01-google.json"), cmpopts.EquateEmpty()); d != "" {
		t.Error(d)
	}
	microsoft := fixture(t, "02-microsoft.json")
	if len(microsoft.Policies) != 2 {
		t.Fatalf("%+v", microsoft)
	}
	first, second := microsoft.Policies[0], microsoft.Policies[1]
	if first.Summary.Successes != 17 || len(first.Policy.MXHosts) != 1 || len(first.Failures) != 0 {
		t.Errorf("%+v", first)
	}
	if second.Policy.Domain != "boat.example" || second.Policy.Type != "tlsa" || len(second.Failures) != 1 ||
		second.Failures[0].Type != "validation-failure" || second.Failures[0].Code != "x509: what is it" ||
		second.Failures[0].Count != 1 || second.Policy.Text[0] != "3 1 1 00ff" {
		t.Errorf("%+v", second)
	}
}

func sample() *Report {
	return &Report{
		Org: `Boats & "Bridges"`, Contact: "postmaster@mx.example", ID: "20260302.00ff@mx.example",
		Range: DateRange{monday, monday.Add(24*time.Hour - time.Second)},
		Policies: []Policy{{
			Policy:  PolicyText{Type: "tlsa", Domain: "shop.example", Text: []string{"3 1 1 00ff"}},
			Summary: Summary{5, 3},
			Failures: []Failure{
				{Type: "tlsa-invalid", SendingIP: "198.51.100.4", MX: "mx.shop.example", ReceivingIP: "2001:db8::1",
					HELO: "mx1.shop.example", Count: 2, Code: "no record matches"},
				{Type: "starttls-not-supported", MX: "mx.shop.example", Count: 1},
			},
		}, {
			Policy:  PolicyText{Type: "no-policy-found", Domain: "shop.example"},
			Summary: Summary{Successes: 1},
		}},
	}
}

// TestWrite is the JSON of RFC 8460, to the byte, and that it is read to the same value.
func TestWrite(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	if err := Write(&b, sample()); err != nil {
		t.Fatal(err)
	}
	golden := filepath.Join("testdata", "03-written.want")
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
	if d := cmp.Diff(sample(), back, cmpopts.EquateEmpty()); d != "" {
		t.Error(d)
	}
}

func TestRefused(t *testing.T) {
	t.Parallel()
	l := small()
	l.Tokens = 5000
	long := strings.Repeat("x", l.Token+5000)
	for name, tc := range map[string]struct {
		text string
		want error
	}{
		"empty":       {"", ErrNotReport},
		"text":        {"Hello.", ErrNotReport},
		"list":        {"[]", ErrNotReport},
		"no policy":   {"{}", ErrNotReport},
		"cut":         {`{"policies":[{`, ErrNotReport},
		"followed":    {`{"policies":[{}]}{}`, ErrNotReport},
		"deep lists":  {`{"a":` + strings.Repeat("[", l.Depth+1), ErrBounds},
		"deep":        {strings.Repeat(`{"a":`, l.Depth+1), ErrBounds},
		"long text":   {`{"a":"` + long, ErrBounds},
		"long key":    {`{"` + long, ErrBounds},
		"long number": {`{"a":` + strings.Repeat("1", l.Token+5000), ErrBounds},
		"white space": {`{` + strings.Repeat(" ", l.Token+5000), ErrBounds},
		"tokens":      {`{"a":[` + strings.Repeat("1,", l.Tokens), ErrBounds},
	} {
		if _, err := Parse(strings.NewReader(tc.text), l); !errors.Is(err, tc.want) {
			t.Errorf("%s: %v, want %v", name, err, tc.want)
		}
	}
	broken := errors.New("disk")
	r := io.MultiReader(strings.NewReader(`{"policies":`), failing{broken})
	if _, err := Parse(r, l); !errors.Is(err, broken) {
		t.Errorf("an error of the reader became %v", err)
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

// TestMany keeps so many policies and failures; the sums of a policy are what its reporter says.
func TestMany(t *testing.T) {
	t.Parallel()
	l := small()
	l.Rows = 10
	var b strings.Builder
	b.WriteString(`{"policies":[`)
	for i := range policyMost + 20 {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `{"failure-details":[{"failed-session-count":1}],"summary":{"total-failure-session-count":1}}`)
	}
	b.WriteString(`]}`)
	r, err := Parse(strings.NewReader(b.String()), l)
	if err != nil {
		t.Fatal(err)
	}
	failures := 0
	for _, p := range r.Policies {
		failures += len(p.Failures)
	}
	if len(r.Policies) != policyMost || failures != 10 || r.Left != 20+policyMost+20-10 {
		t.Errorf("%d policies, %d failures, %d left", len(r.Policies), failures, r.Left)
	}
}

func FuzzParse(f *testing.F) {
	files, err := filepath.Glob("testdata/0*")
	if err != nil || len(files) == 0 {
		f.Fatal(files, err)
	}
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	l := small()
	l.Rows, l.Tokens, l.Token = 50, 5000, 4096
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := Parse(bytes.NewReader(b), l)
		if err != nil {
			return
		}
		var out bytes.Buffer
		if err := Write(&out, r); err != nil {
			t.Fatal(err)
		}
		again, err := Parse(&out, small())
		if err != nil {
			t.Fatalf("what was written cannot be read: %v", err)
		}
		if len(again.Policies) != len(r.Policies) || again.ID != r.ID {
			t.Fatalf("%+v became %+v", r, again)
		}
	})
}

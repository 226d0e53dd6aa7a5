package authres

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tram/internal/mailauth"
)

// TestParse: the examples of RFC 8601 appendix B, and what others write.
func TestParse(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		text string
		want Field
	}{
		{"example.org 1; none", Field{ID: "example.org", Version: 1}},
		{"example.org", Field{ID: "example.org", Version: 1}},
		{"example.com;\r\n spf=pass smtp.mailfrom=example.net", Field{ID: "example.com", Version: 1, Results: []Result{
			{Method: "spf", Version: 1, Value: "pass", Props: []Prop{{"smtp", "mailfrom", "example.net"}}},
		}}},
		{"example.com;\r\n          auth=pass (cram-md5) smtp.auth=sender@example.net;\r\n" +
			"          spf=pass smtp.mailfrom=example.net", Field{ID: "example.com", Version: 1, Results: []Result{
			{Method: "auth", Version: 1, Value: "pass", Props: []Prop{{"smtp", "auth", "sender@example.net"}}},
			{Method: "spf", Version: 1, Value: "pass", Props: []Prop{{"smtp", "mailfrom", "example.net"}}},
		}}},
		{"example.com;\r\n dkim=pass reason=\"good signature\"\r\n   header.i=@mail-router.example.net;\r\n" +
			" dkim=fail reason=\"bad signature\"\r\n   header.i=@newyork.example.com",
			Field{ID: "example.com", Version: 1, Results: []Result{
				{Method: "dkim", Version: 1, Value: "pass", Reason: "good signature",
					Props: []Prop{{"header", "i", "@mail-router.example.net"}}},
				{Method: "dkim", Version: 1, Value: "fail", Reason: "bad signature",
					Props: []Prop{{"header", "i", "@newyork.example.com"}}},
			}}},
		// Appendix B.7, a field full of comments.
		{"foo.example.net (foobar) 1 (baz);\r\n dkim (Because I like it) / 1 (One yay) = (wait for it) fail\r\n" +
			"   policy (A dot can go here) . (like that) expired\r\n   (this surprised me) = (as I wasn't expecting it) 1362471462",
			Field{ID: "foo.example.net", Version: 1, Results: []Result{
				{Method: "dkim", Version: 1, Value: "fail", Props: []Prop{{"policy", "expired", "1362471462"}}},
			}}},
		{`"a b"; dkim=PASS header.b="x\"y" header.B=a/b+c==;`, Field{ID: "a b", Version: 1, Results: []Result{
			{Method: "dkim", Version: 1, Value: "pass", Props: []Prop{{"header", "b", `x"y`}, {"header", "b", "a/b+c=="}}},
		}}},
		{"mx; spf=pass smtp.mailfrom=\"a;b\"@example.net x.y=z", Field{ID: "mx", Version: 1, Results: []Result{
			{Method: "spf", Version: 1, Value: "pass",
				Props: []Prop{{"smtp", "mailfrom", "a;b@example.net"}, {"x", "y", "z"}}},
		}}},
	} {
		got, err := Parse(c.text)
		if err != nil {
			t.Errorf("%q: %v", c.text, err)
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%q: %s", c.text, diff)
		}
	}
	for _, bad := range []string{
		"", " ", "(x", "; spf=pass", "mx; spf", "mx; spf=", "mx; spf=pass x", "mx; spf=pass x.y", "mx; spf=pass x.y z",
		"mx; spf/x=pass", `mx; spf=pass reason="x`, "mx; spf=pass x=y", "mx spf=pass", "mx; =pass",
		"mx; a=b" + strings.Repeat("; a=b", maxResults), "mx; a=b" + strings.Repeat(" a.b=c", maxProps+1),
		strings.Repeat("(", 60) + strings.Repeat(")", 60) + "mx; none",
	} {
		if f, err := Parse(bad); err == nil {
			t.Errorf("%.60q: %+v", bad, f)
		}
	}
}

// TestClaims: no dress hides a field that claims our name (M6), and others' stay.
func TestClaims(t *testing.T) {
	t.Parallel()
	const id = "mx.example.test"
	for _, s := range []string{
		"mx.example.test; spf=pass", " mx.example.test;spf=pass", "MX.Example.TEST; spf=pass", "mx.example.test",
		"mx.example.test 1; spf=pass", "mx.example.test/1; spf=pass", "mx.example.test.; spf=pass",
		"(x) mx.example.test (y) ; spf=pass", "\"mx.example.test\"; spf=pass", `"mx\.example.test"; spf=pass`,
		"\r\n\tmx.example.test;\r\n\tspf=pass", "(a(b)c)mx.example.test(;)1; spf=pass", "mx.(x)example.test; spf=pass",
		"mx .example.test; spf=pass", `"mx.exam""ple.test"; spf=pass`, "(mx.example.test; spf=pass",
		`"mx.example.test; spf=pass`, "(\\) mx.example.test; spf=pass", "mx.example.test\x00; spf=pass",
		"mx.example.test\r\n 99; none", "mx.ｅxample.test; spf=pass",
		"=?utf-8?q?mx.example.test?=; spf=pass", "=?us-ascii?b?bXguZXhhbXBsZS50ZXN0OyBzcGY9cGFzcw==?=",
	} {
		if !Claims([]byte(s), id) {
			t.Errorf("%q is missed", s)
		}
	}
	for _, s := range []string{
		"example.test; spf=pass", "mx.example.test.evil.com; spf=pass", "amx.example.test; spf=pass", "", " ; x",
		"relay.test (for mx.example.test); spf=pass", "relay.test; spf=pass smtp.mailfrom=mx.example.test",
		"mx.example.tests; none", "mx2.example.test; none",
	} {
		if Claims([]byte(s), id) {
			t.Errorf("%q is not ours", s)
		}
	}
}

var full = &mailauth.Results{
	IPRev: mailauth.IPRev{Status: mailauth.Pass, Name: "mail.example.com"},
	HELO:  mailauth.SPF{Status: mailauth.None, Domain: "mail.example.com", Helo: true},
	SPF:   mailauth.SPF{Status: mailauth.Pass, Domain: "example.com"},
	DKIM: []mailauth.DKIM{
		{Status: mailauth.Pass, Domain: "example.com", Selector: "s1", Identity: "@example.com",
			Algorithm: "ed25519-sha256", KeyBits: 256, Signature: "abcd+/ghijkl"},
		{Status: mailauth.Policy, Domain: "esp.test", Selector: "k", Identity: "x@esp.test", Algorithm: "rsa-sha256",
			KeyBits: 512, Signature: "zz", Reason: "key of 512 bits\r\nX: \"y\""},
	},
	ARC: mailauth.ARC{Status: mailauth.Pass, Instances: 2},
	DMARC: mailauth.DMARC{
		Status: mailauth.Pass, Domain: "example.com", Policy: "reject", SPF: true, DKIM: true,
	},
}

// TestAppend: the field, with as much of each signature as RFC 6008 §4 wants.
func TestAppend(t *testing.T) {
	t.Parallel()
	c := Client{Addr: netip.MustParseAddr("192.0.2.1"), From: "a@example.com"}
	got := string(Of("mx.example.test", full, c).Append(nil))
	want := strings.ReplaceAll(`Authentication-Results: mx.example.test;
	dmarc=pass header.from=example.com policy.dmarc=reject;
	dkim=pass (256-bit key) header.d=example.com header.s=s1
		header.a=ed25519-sha256 header.b=abcd+/gh;
	dkim=policy (512-bit key)
		reason="key of 512 bits??X: \"y\"" header.d=esp.test header.i=x@esp.test header.s=k
		header.a=rsa-sha256 header.b=zz;
	spf=pass smtp.mailfrom=a@example.com;
	spf=none smtp.helo=mail.example.com;
	arc=pass (i=2);
	iprev=pass (mail.example.com) policy.iprev=192.0.2.1
`, "\n", "\r\n")
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	f, err := Parse(strings.TrimPrefix(got, Name+":"))
	if err != nil || len(f.Results) != 7 || f.Results[1].Props[3].Value != "abcd+/gh" {
		t.Errorf("%+v, %v", f, err)
	}
	if got := string((Field{ID: "mx"}).Append(nil)); got != "Authentication-Results: mx; none\r\n" {
		t.Errorf("%q", got)
	}
}

// TestInjection: nothing a stranger chooses makes a second result or a second field (espoofer's
// injections: quotes, comments and control characters in domains).
func TestInjection(t *testing.T) {
	t.Parallel()
	for _, evil := range []string{
		"legitimate.com(.attack.com", "legitimate.com'a.attack.com", "legitimate.com\x00.attack.com",
		"a;dkim=pass header.d=legitimate.com", "a\r\nAuthentication-Results: mx; dkim=pass", `a" dkim=pass "`, `a\`,
		"a b", strings.Repeat("x", 5000), "thú.vn", "any@legitimate.com'@a.attack.com",
	} {
		r := &mailauth.Results{
			SPF: mailauth.SPF{Status: mailauth.Fail, Domain: evil, Reason: evil},
			DKIM: []mailauth.DKIM{{
				Status: mailauth.Fail, Domain: evil, Selector: evil, Identity: evil, Signature: evil,
			}},
			ARC:   mailauth.ARC{Status: mailauth.Fail, Reason: evil},
			IPRev: mailauth.IPRev{Status: mailauth.Fail, Name: evil},
			DMARC: mailauth.DMARC{Status: mailauth.Fail, Domain: evil, Reason: evil},
		}
		c := Client{Addr: netip.MustParseAddr("192.0.2.1"), From: evil + "@" + evil}
		text := string(Of("mx.example.test", r, c).Append(nil))
		f, err := Parse(strings.TrimPrefix(text, Name+":"))
		if err != nil || len(f.Results) != 5 {
			t.Errorf("%.60q: %v of %s", evil, err, text)
		}
		for _, one := range f.Results {
			if one.Value != mailauth.Fail {
				t.Errorf("%.60q: %s=%s", evil, one.Method, one.Value)
			}
		}
		for line := range strings.SplitSeq(strings.TrimSuffix(text, "\r\n"), "\r\n") {
			if line == "" || line[0] != '\t' && !strings.HasPrefix(line, Name+": mx.") || len(line) > 998 {
				t.Errorf("%.60q: line %.100q", evil, line)
			}
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("mx.example.test 1; dkim/1=pass (x) reason=\"y\" header.d=z; spf=fail")
	f.Add("(\\()\"a\\\"b\" ; none")
	f.Add("mx;\r\n\ta=b c.d=\"e\"@f")
	f.Fuzz(func(t *testing.T, s string) {
		got, err := Parse(s)
		if len(got.Results) > maxResults {
			t.Fatal("unbounded")
		}
		if err == nil && got.ID != "" && !Claims([]byte(s), got.ID) {
			t.Fatalf("%q says %q and does not claim it", s, got.ID)
		}
		for i := range got.Results {
			if isToken(got.Results[i].Method) && isToken(string(got.Results[i].Value)) {
				continue
			}
			return // a quoted method is written by nobody
		}
		if err != nil || len(got.ID) > maxText {
			return
		}
		again, err := Parse(string(got.AppendValue(nil)))
		if err != nil || len(again.Results) != len(got.Results) {
			t.Fatalf("%q: %+v; written and read: %+v, %v", s, got, again, err)
		}
	})
}

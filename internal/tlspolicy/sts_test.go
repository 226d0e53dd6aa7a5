package tlspolicy

import (
	"slices"
	"strings"
	"testing"
	"time"
)

// RFC 8461 §3.2, with the example of the RFC first.
func TestParseSTS(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, text string
		mode       Mode
		mx         string
		age        time.Duration
		bad        bool
	}{
		{name: "the RFC's", text: "version: STSv1\r\nmode: enforce\r\nmx: mail.example.com\r\nmx: *.example.net\r\n" +
			"mx: backupmx.example.com\r\nmax_age: 604800\r\n",
			mode: ModeEnforce, mx: "mail.example.com *.example.net backupmx.example.com", age: 168 * time.Hour},
		{name: "LF, no end, blank lines", text: "\nversion:STSv1\nmode:\ttesting \n\nmx:A.Example.\nmax_age:0",
			mode: ModeTesting, mx: "a.example"},
		{name: "none without mx", text: "version: STSv1\nmode: none\nmax_age: 86400", mode: ModeNone, age: 24 * time.Hour},
		{name: "the first of two counts", text: "version: STSv1\nmode: testing\nmode: enforce\nmx: a.test\nmax_age: 1\nmax_age: 2",
			mode: ModeTesting, mx: "a.test", age: time.Second},
		{name: "extensions", text: "version: STSv1\nmode: enforce\nmx: a.test\nmax_age: 1\nx-1.y_z: anything: ü",
			mode: ModeEnforce, mx: "a.test", age: time.Second},
		{name: "other scripts", text: "version: STSv1\nmode: enforce\nmx: *.thú.vn\nmax_age: 1",
			mode: ModeEnforce, mx: "*.xn--th-ska.vn", age: time.Second},
		{name: "empty", bad: true},
		{name: "no version", text: "mode: enforce\nmx: a.test\nmax_age: 1", bad: true},
		{name: "another version", text: "version: STSv2\nmode: enforce\nmx: a.test\nmax_age: 1", bad: true},
		{name: "case of the version", text: "version: stsv1\nmode: enforce\nmx: a.test\nmax_age: 1", bad: true},
		{name: "another mode", text: "version: STSv1\nmode: Enforce\nmx: a.test\nmax_age: 1", bad: true},
		{name: "no mx", text: "version: STSv1\nmode: enforce\nmax_age: 1", bad: true},
		{name: "no age", text: "version: STSv1\nmode: enforce\nmx: a.test", bad: true},
		{name: "negative age", text: "version: STSv1\nmode: enforce\nmx: a.test\nmax_age: -1", bad: true},
		{name: "long age", text: "version: STSv1\nmode: enforce\nmx: a.test\nmax_age: 12345678901", bad: true},
		{name: "a star inside", text: "version: STSv1\nmode: enforce\nmx: a.*.test\nmax_age: 1", bad: true},
		{name: "only a star", text: "version: STSv1\nmode: enforce\nmx: *\nmax_age: 1", bad: true},
		{name: "an address", text: "version: STSv1\nmode: enforce\nmx: [192.0.2.1]\nmax_age: 1", bad: true},
		{name: "no colon", text: "version: STSv1\nmode: enforce\nmx: a.test\nmax_age: 1\nhello", bad: true},
		{name: "HTML", text: "<html><body>: x</body></html>", bad: true},
		{name: "NUL", text: "version: STSv1\nmode: enforce\nmx: a.test\nmax_age: 1\nx: \x00", bad: true},
	} {
		p, err := parseSTS(tt.text, 100)
		if tt.bad {
			if err == nil {
				t.Errorf("%s: %+v", tt.name, p)
			}
			continue
		}
		if err != nil || p.Mode != tt.mode || strings.Join(p.MX, " ") != tt.mx || p.MaxAge != tt.age {
			t.Errorf("%s: %+v, %v", tt.name, p, err)
		}
	}
	if p, err := parseSTS("version: STSv1\nmode: enforce\nmax_age: 1\n"+strings.Repeat("mx: a.test\n", 1000), 10); err != nil ||
		len(p.MX) != 10 {
		t.Errorf("a thousand mx: %v, %v", p, err)
	}
}

// RFC 8461 §4.1.
func TestMatches(t *testing.T) {
	t.Parallel()
	p := &STS{MX: []string{"mx.example.com", "*.example.net", "xn--th-ska.vn"}}
	for host, want := range map[string]bool{
		"mx.example.com": true, "MX.Example.COM.": true, "a.mx.example.com": false, "example.com": false,
		"a.example.net": true, "b.a.example.net": false, "example.net": false, "xexample.net": false,
		"thú.vn": true, "": false, "*.example.net": false, "a..example.net": false,
	} {
		if p.Matches(host) != want {
			t.Errorf("Matches(%q) = %v", host, !want)
		}
	}
}

// RFC 8461 §3.1.
func TestPolicyID(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		records []string
		id      string
	}{
		{[]string{"v=STSv1; id=20160831085700Z;"}, "20160831085700Z"},
		{[]string{"v=STSv1;id=1"}, "1"},
		{[]string{"v=STSv1 ;\tx=y ; id=aB9 ; "}, "aB9"},
		{[]string{"v=spf1 -all", "v=STSv1; id=1;", "v=STSv2; id=2;", "v=STSv10; id=3"}, "1"},
		{[]string{"v=STSv1; id=1;", "v=STSv1; id=1;"}, ""},
		{[]string{"v=STSv1; id=1;", "v=STSv1"}, "1"},
		{[]string{"v=STSv1;"}, ""},
		{[]string{"v=STSv1; id=;"}, ""},
		{[]string{"v=STSv1; id=a b;"}, ""},
		{[]string{"v=STSv1; id=a-b;"}, ""},
		{[]string{"v=STSv1; id=" + strings.Repeat("a", 33)}, ""},
		{[]string{"v=STSv1; ; id=1"}, ""},
		{[]string{"V=STSv1; id=1"}, ""},
		{[]string{" v=STSv1; id=1"}, ""},
		{nil, ""},
	} {
		if id, ok := policyID(tt.records); id != tt.id || ok != (tt.id != "") {
			t.Errorf("policyID(%q) = %q, %v", tt.records, id, ok)
		}
	}
}

// What we publish is what others read, and its identifier follows its text.
func TestOwnPolicy(t *testing.T) {
	t.Parallel()
	own := OwnPolicy{Mode: ModeEnforce, MX: []string{"mail.example.com", "*.example.net"}, MaxAge: 168 * time.Hour}
	p, err := parseSTS(own.Text(), 10)
	if err != nil || p.Mode != own.Mode || !slices.Equal(p.MX, own.MX) || p.MaxAge != own.MaxAge {
		t.Errorf("%+v, %v", p, err)
	}
	if id, ok := policyID([]string{own.TXT()}); !ok || id != own.ID() || len(id) > 32 {
		t.Errorf("%q, %v", own.TXT(), ok)
	}
	was := own.TXT()
	if own.TXT() != was {
		t.Error("the identifier changes by itself")
	}
	if own.Mode = ModeTesting; own.TXT() == was {
		t.Error("the identifier does not change with the mode")
	}
}

func FuzzParseSTS(f *testing.F) {
	for _, s := range []string{"version: STSv1\nmode: enforce\nmx: *.example.net\nmax_age: 604800\n", "mx:\n", "a:b", ":", "\x00"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		p, err := parseSTS(text, 10)
		if err != nil {
			return
		}
		again, err := parseSTS(strings.Join(p.Lines, "\n"), 10)
		if err != nil || !again.Same(p) || again.Mode != p.Mode || !slices.Equal(again.MX, p.MX) {
			t.Fatalf("%+v; again %+v, %v", p, again, err)
		}
		if len(p.MX) > 10 || p.MaxAge < 0 || p.Mode != ModeNone && len(p.MX) == 0 {
			t.Fatalf("%+v", p)
		}
		for _, mx := range p.MX {
			if host := strings.Replace(mx, "*", "a", 1); !p.Matches(host) {
				t.Fatalf("%q does not match %q", host, mx)
			}
		}
	})
}

func FuzzPolicyID(f *testing.F) {
	for _, s := range []string{"v=STSv1; id=1;", "v=STSv1;", "v=STSv1; a=b; id=x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if id, ok := policyID([]string{s}); ok != (id != "") || len(id) > 32 {
			t.Fatalf("policyID(%q) = %q, %v", s, id, ok)
		}
	})
}

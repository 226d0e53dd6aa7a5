package message

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestDecodeParams(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ in, want string }{
		{"attachment", "attachment"},
		{"ATTACHMENT; FileName=A.txt", "attachment filename=A.txt"},
		{`inline; filename="a \"b\".txt"`, `inline filename=a "b".txt`},
		{`attachment; filename="C:\temp\a.txt"`, `attachment filename=C:\temp\a.txt`},
		{"attachment; filename=My report (1).pdf; size=10", "attachment filename=My report (1).pdf size=10"},
		{"attachment (comment); (another) size = 10 (bytes)", "attachment size=10"},
		{"attachment; filename*=UTF-8''B%C3%A1o%20c%C3%A1o.pdf", "attachment filename*=Báo cáo.pdf"},
		{"attachment; filename=e.pdf; filename*=UTF-8''%C3%A9.pdf", "attachment filename*=é.pdf"},
		{"attachment; filename*=iso-8859-1'fr'%E9.pdf; filename=x", "attachment filename*=é.pdf"},
		// RFC 2231 §3, §4 and §4.1.
		{`x; url*0="ftp://"; url*1="cs.utk.edu/pub"`, "x url=ftp://cs.utk.edu/pub"},
		{"x; title*=us-ascii'en-us'This%20is%20%2A%2A%2Afun%2A%2A%2A", "x title*=This is ***fun***"},
		{`x; title*0*=us-ascii'en'This%20is%20even%20more%20; title*1*=%2A%2A%2Afun%2A%2A%2A%20; ` +
			`title*2="isn't it!"`, "x title*=This is even more ***fun*** isn't it!"},
		// A character cut between pieces; pieces out of order.
		{"x; n*0*=utf-8''%C3; n*1*=%A9", "x n*=é"},
		{"x; n*1=b; n*0=a", "x n=ab"},
		// The wild: no star, no charset, quotes around it, the charset repeated, 2047 inside.
		{"x; n*0=utf-8''%C3%A9; n*1=%C3%A8", "x n*=é%C3%A8"},
		{"x; n*=%C3%A9", "x n*=é"},
		{`x; n*="utf-8''%C3%A9"`, "x n*=é"},
		{`x; n*=utf-8''"a%20b"`, "x n*=a b"},
		{"x; n*0*=utf-8''%C3; n*1*=utf-8''%A9", "x n*=é"},
		{`x; name="=?utf-8?B?w6k=?="`, "x name=é raw =?utf-8?B?w6k=?="},
		{"x; name==?utf-8?Q?=C3=A9?= =?utf-8?Q?t?=", "x name=ét raw =?utf-8?Q?=C3=A9?= =?utf-8?Q?t?="},
		{`x; name*0="=?utf-8?Q?=C3"; name*1="=A9?="`, "x name=é raw =?utf-8?Q?=C3=A9?="},
		{`x; boundary="=?utf-8?q?b?="`, "x boundary==?utf-8?q?b?="},
		{"x; name=báo.txt", "x name=báo.txt"},
		{"x; name=\"d\xe9j\xe0\"", "x name=déjà"},
		{"x; a=1; a=2; A=3", "x a=1"},
		{"x; a=1 b=2", "x a=1 b=2"},
		{"x;; ; a=1;", "x a=1"},
		{`x; a="open`, "x a=open"},
		{"x; a; =b; c=d", "x c=d"},
		{"x; n*=utf-8''a%0D%0Ab", "x n*=a  b"},
		{"; a=b", " a=b"},
		{"x; a*99999999999=b", "x a=b"},
	} {
		token, params := DecodeParams(tt.in)
		var b strings.Builder
		b.WriteString(token)
		for _, p := range params {
			b.WriteString(" " + p.Name)
			if p.Extended {
				b.WriteString("*")
			}
			b.WriteString("=" + p.Value)
			if p.Raw != "" {
				b.WriteString(" raw " + p.Raw)
			}
		}
		if diff := cmp.Diff(tt.want, b.String()); diff != "" {
			t.Errorf("%q: got %q, want %q", tt.in, b.String(), tt.want)
		}
	}
}

func TestParseContentType(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		in, typ, boundary string
		flaws             Flaws
	}{
		{"text/plain", "text/plain", "", 0},
		{" Multipart / Mixed ; Boundary = \"a b\" ", "multipart/mixed", "a b", 0},
		{"multipart/mixed; boundary=\"foo\r\n bar\"", "multipart/mixed", "foo bar", 0},
		{"multipart/mixed; boundary=\"trailing  \"", "multipart/mixed", "trailing", 0},
		{"multipart/mixed; boundary=a; boundary=b", "multipart/mixed", "a", FlawDoubleParam},
		{"multipart/mixed; boundary*0=a; boundary*1=b", "multipart/mixed", "ab", 0},
		{"multipart/mixed; boundary=\"=?utf-8?q?a?=\"", "multipart/mixed", "=?utf-8?q?a?=", FlawEncodedParam},
		{"multipart/mixed; boundary=----=_Part(1)", "multipart/mixed", "----=_Part", 0},
		{"multipart/mixed; boundary=\"b\"x", "multipart/mixed", "b", FlawContentType},
		{"multipart/mixed boundary=b", "multipart/mixed", "b", 0},
		{"multipart/mixed; boundary=\xe9", "multipart/mixed", "\xe9", 0},
		{"text", "text/plain", "", FlawContentType},
		{"", "text/plain", "", FlawContentType},
		{"text/", "text/plain", "", FlawContentType},
		{"text/plain; charset", "text/plain", "", FlawContentType},
	} {
		ct := parseContentType(tt.in, maxParams, "")
		if got := ct.typ + "/" + ct.subtype; got != tt.typ || ct.boundary != tt.boundary || ct.flaws != tt.flaws {
			t.Errorf("%q: got %s %q %b", tt.in, got, ct.boundary, ct.flaws)
		}
	}
	if ct := parseContentType("a/b"+strings.Repeat(";x=y", 1000), 50, ""); !ct.flaws.Has(FlawHeaderLimit) {
		t.Error("a thousand parameters are not noted")
	}
}

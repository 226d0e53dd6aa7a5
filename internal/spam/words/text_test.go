package words

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tram/internal/limits"
	"tram/internal/message"
)

// TestTextOf: text parts are decoded, links are found in HTML, attachments are named and not read.
func TestTextOf(t *testing.T) {
	t.Parallel()
	raw := strings.ReplaceAll(`From: =?utf-8?q?Vay_ti=E1=BB=81n?= <a@b.example>
To: Bob <bob@c.example>
Subject: =?utf-8?q?Gi=E1=BA=A3i_ng=C3=A2n?=
MIME-Version: 1.0
Content-Type: multipart/mixed; boundary=x

--x
Content-Type: text/plain; charset=utf-8
Content-Transfer-Encoding: base64

WGluIGNow6Bv
--x
Content-Type: text/html; charset=utf-8

<p>Click <a href="https://user@evil.example:8443/x">here</a><img src='http://pic.example/1.png'>
--x
Content-Type: application/zip; name=a.exe
Content-Disposition: attachment; filename="b.exe"

PK
--x
Content-Type: text/plain
Content-Disposition: attachment; filename=notes.txt

not read
--x--
`, "\n", "\r\n")
	got, err := TextOf(strings.NewReader(raw), message.Parse([]byte(raw), limits.Default().Message), 10_000)
	if err != nil {
		t.Fatal(err)
	}
	got.Body = strings.Join(strings.Fields(got.Body), " ")
	want := Text{Subject: "Giải ngân", From: "Vay tiền <a@b.example>", To: "Bob", Body: "Xin chào Click here",
		Hosts: lines("evil.example", "pic.example"), Signs: lines("html"),
		Files: lines("application/zip", ".exe", "text/plain", ".txt")}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	short, err := TextOf(strings.NewReader(raw), message.Parse([]byte(raw), limits.Default().Message), 5)
	if err != nil || len(short.Body) > 6 {
		t.Errorf("%q, %v", short.Body, err)
	}
}

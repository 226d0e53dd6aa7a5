package message

import (
	"strings"
	"testing"
)

// sectionTests are those of RFC 9051 §6.4.5 in the form of imaptest: a message, a section, its
// bytes; "-" for none.
var sectionTests = []struct{ file, path, section, want string }{
	{"10-nested", "", "", "*"},
	{"10-nested", "1.1.1", "", "inner text"},
	{"10-nested", "1.1.2", "MIME", "Content-Type: text/html\r\n\r\n"},
	{"10-nested", "1.2", "", "iVBORw0KGgo="},
	{"10-nested", "2", "", "JVBERi0xLjQK"},
	{"10-nested", "3", "", "-"},
	{"10-nested", "0", "", "-"},
	{"10-nested", "2.1", "", "-"},
	{"10-nested", "1", "HEADER", "-"},
	{"10-nested", "", "MIME", "-"},
	{"01-plain", "1", "", "Hello there,\r\n*"},
	{"01-plain", "1.1", "", "-"},
	{"01-plain", "2", "", "-"},
	{"01-plain", "1", "TEXT", "-"},
	{"01-plain", "1", "MIME", "From: An Nguyen*"},
	{"01-plain", "", "TEXT", "Hello there,\r\n*"},
	{"11-rfc822", "2", "", "From: =?utf-8?q?=C4=90=E1=BB=97?= <do@example.org>\r\n*"},
	{"11-rfc822", "2", "HEADER", "From: =?utf-8?q?=C4=90=E1=BB=97?= <do@example.org>\r\n*"},
	{"11-rfc822", "2", "TEXT", "--c\r\n\r\ninner one\r\n--c*"},
	{"11-rfc822", "2.1", "", "inner one"},
	{"11-rfc822", "2.2", "HEADER", "Subject: innermost\r\n\r\n"},
	{"11-rfc822", "2.2.1", "", "deep"},
	{"11-rfc822", "2.2", "MIME", "Content-Type: message/rfc822\r\n\r\n"},
	{"11-rfc822", "2.2.1", "MIME", "Subject: innermost\r\n\r\n"},
	{"12-rfc822-root", "", "TEXT", "From: user2@domain.org\r\n*"},
	{"12-rfc822-root", "1", "", "From: user2@domain.org\r\n*"},
	{"12-rfc822-root", "1", "HEADER", "From: user2@domain.org\r\n*"},
	{"12-rfc822-root", "1", "TEXT", "From: sub@domain.org\r\n*"},
	{"12-rfc822-root", "1.1", "", "From: sub@domain.org\r\n*"},
	{"12-rfc822-root", "1.1", "HEADER", "From: sub@domain.org\r\nDate: Sun, 12 Aug 2012 12:34:56 +0300\r\n" +
		"Subject: submsg\r\n\r\n"},
	{"12-rfc822-root", "1.1", "TEXT", "Hello world\r\n"},
	{"12-rfc822-root", "1.1.1", "", "Hello world\r\n"},
	{"12-rfc822-root", "1.1.1.1", "", "-"},
	{"13-digest", "1", "MIME", "\r\n"},
	{"13-digest", "1", "HEADER", "From: m1@example.com\r\nSubject: m1\r\n\r\n"},
	{"13-digest", "2", "MIME", "X-Mime: m2 header\r\n\r\n"},
	{"13-digest", "2", "TEXT", "m2 body"},
	{"13-digest", "2.1", "", "m2 body"},
	{"13-digest", "3", "TEXT", "-"},
	{"13-digest", "3", "", "not a message"},
}

func TestSection(t *testing.T) {
	t.Parallel()
	kinds := map[string]Section{
		"": SectionAll, "HEADER": SectionHeader, "TEXT": SectionText, "MIME": SectionMIME,
	}
	for _, tt := range sectionTests {
		raw := golden(t, tt.file)
		m := Parse(raw, testLimits)
		var path []int
		for n := range strings.SplitSeq(tt.path, ".") {
			if n != "" {
				path = append(path, atoi(n))
			}
		}
		got := "-"
		if span, ok := m.Section(path, kinds[tt.section]); ok {
			got = string(raw[span.Start:span.End])
		}
		prefix, more := strings.CutSuffix(tt.want, "*")
		if got != tt.want && !(more && strings.HasPrefix(got, prefix)) {
			t.Errorf("%s BODY[%s %s]: got %q, want %q", tt.file, tt.path, tt.section, got, tt.want)
		}
	}
}

// TestPartIsDecodedAlike: a decoded tree answers as the parsed one does.
func TestPartIsDecodedAlike(t *testing.T) {
	t.Parallel()
	for _, tt := range sectionTests {
		m := Parse(golden(t, tt.file), testLimits)
		d, err := Decode(m.AppendBinary(nil))
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range [][]int{nil, {1}, {1, 1}, {2, 2}, {2, 2, 1}, {1, 1, 1}, {3}} {
			a, aok := m.Section(path, SectionAll)
			b, bok := d.Section(path, SectionAll)
			if a != b || aok != bok {
				t.Errorf("%s %v: %v %v, decoded %v %v", tt.file, path, a, aok, b, bok)
			}
		}
	}
}

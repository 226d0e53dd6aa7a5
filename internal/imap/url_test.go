package imap

import (
	"fmt"
	"testing"
)

// show prints a MessageURL compactly.
func (u MessageURL) show() string {
	s := fmt.Sprintf("%s %d %d", u.Mailbox, u.UIDValidity, u.UID)
	if u.Section != nil {
		s += " " + string(u.Section.Append(nil))
	}
	if u.Partial != nil {
		s += fmt.Sprintf(" <%d.%d>", u.Partial.Offset, u.Partial.Count)
	}
	return s
}

// TestMessageURL has the URLs of RFC 4469 appendix A, RFC 8508 §4.2 and the relative forms of
// RFC 5092 §7.
func TestMessageURL(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ raw, base, want string }{
		{"/Drafts;UIDVALIDITY=385759045/;UID=20/;section=HEADER", "", "Drafts 385759045 20 [HEADER]"},
		{"/Drafts;UIDVALIDITY=385759045/;UID=20/;Section=1.MIME", "x", "Drafts 385759045 20 [1.MIME]"},
		{"/Drafts;UIDVALIDITY=385759045/;UID=30", "", "Drafts 385759045 30"},
		{"/INBOX;UIDVALIDITY=785799047/;UID=113330/;section=1.5.9", "", "INBOX 785799047 113330 [1.5.9]"},
		{"/Drafts/;UID=3002", "", "Drafts 0 3002"},
		{"/inbox/;uid=1/;section=header.fields%20(to%20%22b%22)/;partial=3.4", "",
			"INBOX 0 1 [HEADER.FIELDS (to b)] <3.4>"},
		{"/a/b/;UID=1/;PARTIAL=7", "", "a/b 0 1 <7.-1>"},
		{"/Th%C6%B0%20r%C3%A1c/;UID=1", "", "Thư rác 0 1"},
		{"/Thư rác/;UID=1", "", "Thư rác 0 1"},
		{"/a%2Fb%25/;UID=1", "", "a/b% 0 1"},
		{";UID=5/;SECTION=1", "a/b", "a/b 0 5 [1]"},
		{";UIDVALIDITY=9/;UID=5", "a/Th c", "a/Th c 9 5"},
		{"Sent/;UID=5", "INBOX", "Sent 0 5"},
		{"c/;UID=5", "a/b", "a/c 0 5"},
		{"../c/;UID=5", "a/b/x", "a/c 0 5"},
		{"Sent/;UID=5", "", "Sent 0 5"},
		{"/x/../Sent/;UID=5", "", "Sent 0 5"},
		// What is no message of this account, or nothing at all.
		{"", "INBOX", ""}, {"/", "INBOX", ""}, {"/INBOX", "", ""}, {";UID=1", "", ""},
		{"imap://bob@example.test/INBOX/;UID=1", "INBOX", ""}, {"//host/INBOX/;UID=1", "INBOX", ""},
		{"imap:/INBOX/;UID=1", "INBOX", ""}, {"http://x/", "", ""}, {"/INBOX/;UID=0", "", ""},
		{"/INBOX/;UID=4294967296", "", ""}, {"/INBOX/;UID=1x", "", ""}, {"/INBOX/;UID=", "", ""},
		{"/INBOX;UIDVALIDITY=0/;UID=1", "", ""}, {"/INBOX/;UID=1/;SECTION=", "", ""},
		{"/INBOX/;UID=1/;SECTION=1.", "", ""}, {"/INBOX/;UID=1/;SECTION=MIME", "", ""},
		{"/INBOX/;UID=1/;SECTION=1]", "", ""}, {"/INBOX/;UID=1/;SECTION=HEADER.FIELDS%20({3+}", "", ""},
		{"/INBOX/;UID=1/;PARTIAL=1.0", "", ""}, {"/INBOX/;UID=1/;PARTIAL=", "", ""},
		{"/INBOX/;UID=1/;PARTIAL=99999999999999999999", "", ""}, {"/INBOX?SUBJECT%20x/;UID=1", "", ""},
		{"/INBOX/;UID=1;URLAUTH=anonymous:internal:1234", "", ""}, {"/%ff/;UID=1", "", ""},
		{"/%zz/;UID=1", "", ""}, {"/;UID=1", "", ""}, {"/INBOX/;UID=1#x", "", ""},
	} {
		got := ""
		if u, ok := ParseMessageURL(tt.raw, tt.base); ok {
			got = u.show()
		}
		if got != tt.want {
			t.Errorf("%q in %q: %q, want %q", tt.raw, tt.base, got, tt.want)
		}
	}
}

func FuzzMessageURL(f *testing.F) {
	for _, s := range []string{
		"/Drafts;UIDVALIDITY=385759045/;UID=20/;section=1.MIME", ";UID=5/;PARTIAL=1.2", "a/../b/;UID=1",
		"/x/;UID=1/;SECTION=HEADER.FIELDS%20(a%20%22b%22)", "//x", "imap://a/b", "%2e%2E/;UID=1",
	} {
		f.Add(s, "INBOX")
	}
	f.Fuzz(func(t *testing.T, raw, base string) {
		u, ok := ParseMessageURL(raw, base)
		if ok && (u.UID == 0 || u.Mailbox == "") {
			t.Fatalf("%q: %+v", raw, u)
		}
	})
}

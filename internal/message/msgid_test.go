package message

import (
	"fmt"
	"strings"
	"testing"
)

func TestMessageIDs(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ in, want string }{
		{"<a@b>", "<a@b>"},
		{" <a@b>\r\n\t<c@d> ", "<a@b> <c@d>"},
		{"<a@b><c@d>", "<a@b> <c@d>"},
		{"<a@b>, <c@d>", "<a@b> <c@d>"},
		{`Your message of "Mon, 1 Jan" <a@b>`, "<a@b>"},
		{"< a@b\r\n >", "<a@b>"},
		{"<<a@b>>", "<a@b>"},
		{"<a@b <c@d>", "<c@d>"},
		{"<a@b", "<a@b>"},
		{"a@b", "<a@b>"},
		{"a@b c@d", "<a@b> <c@d>"},
		{"nothing here", ""},
		{"<>", ""},
		{"<" + strings.Repeat("x", 1000) + ">", ""},
		{"<a@b> trailing@word", "<a@b>"},
		{"", ""},
	} {
		if got := strings.Join(MessageIDs(tt.in), " "); got != tt.want {
			t.Errorf("%q: got %q, want %q", tt.in, got, tt.want)
		}
	}
}

// TestNewestReferences: of a long References field the newest are kept.
func TestNewestReferences(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	for i := range 5000 {
		fmt.Fprintf(&b, "<%d@x>\r\n ", i)
	}
	m := Parse([]byte("References: "+b.String()+"\r\n\r\n"), testLimits)
	n := len(m.References)
	if n != testLimits.References || m.References[n-1] != "<4999@x>" || m.References[0] != "<4900@x>" {
		t.Errorf("%d references: %v", n, m.References)
	}
}

func TestNewMessageID(t *testing.T) {
	t.Parallel()
	id, err := NewMessageID(strings.NewReader("0123456789abcdef"), "ví-dụ.example")
	if err != nil || id != "<30313233343536373839616263646566@xn--v-d-rma6749a.example>" {
		t.Errorf("%q, %v", id, err)
	}
	if _, err := NewMessageID(strings.NewReader("short"), "x"); err == nil {
		t.Error("no error without randomness")
	}
}

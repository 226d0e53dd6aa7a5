package message

import (
	"strings"
	"testing"
)

// TestDelimiters: what is a delimiter line of a multipart and what is a line of text, and that the
// line end before a delimiter is not the part's (RFC 2046 §5.1.1).
func TestDelimiters(t *testing.T) {
	t.Parallel()
	const head = "Content-Type: multipart/mixed; boundary=\"ab\"\r\n\r\n"
	for _, tt := range []struct {
		body string
		want string // the parts' bytes
	}{
		{"--ab\r\n\r\none\r\n--ab\r\n\r\ntwo\r\n--ab--\r\n", "one|two"},
		{"--ab \t \r\n\r\none\r\n--ab\t\r\n\r\ntwo\r\n--ab-- \t\r\n", "one|two"}, // padding
		{"before\r\n--ab\r\n\r\none\r\n--ab--\r\nafter\r\n--ab\r\n\r\nthree\r\n", "one"},
		{"--ab\r\n\r\none\r\n --ab\r\n--a\r\n-ab\r\n--ab--", "one\r\n --ab\r\n--a\r\n-ab"},
		{"--ab\r\n\r\none\r\n\r\n--ab--", "one\r\n"},
		{"--ab\r\n\r\none\r\n--ab--x\r\n", "one\r\n--ab--x\r\n"},
	} {
		raw := []byte(head + tt.body)
		var parts []string
		m := Parse(raw, testLimits)
		for _, p := range m.Root.Parts {
			parts = append(parts, string(raw[p.Body.Start:p.Body.End]))
		}
		if got := strings.Join(parts, "|"); got != tt.want {
			t.Errorf("%q: parts %q, want %q", tt.body, got, tt.want)
		}
	}
}

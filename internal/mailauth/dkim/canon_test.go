package dkim

import (
	"crypto/sha256"
	"strings"
	"testing"
)

func sha(b []byte) []byte {
	sum := sha256.Sum256(b)
	return sum[:]
}

// TestCanonicalBody holds the rules of RFC 6376 §3.4.3 and §3.4.4, and its example of §3.4.5.
func TestCanonicalBody(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ body, simple, relaxed string }{
		{" C \r\nD \t E\r\n\r\n\r\n", " C \r\nD \t E\r\n", " C\r\nD E\r\n"},
		{"", "\r\n", ""},
		{"\r\n\r\n", "\r\n", ""},
		{" \r\n\t\r\n", " \r\n\t\r\n", ""},
		{"a", "a\r\n", "a\r\n"},
		{"a \t", "a \t\r\n", "a\r\n"},
		{"a\r\n\r\nb\r\n \r\n", "a\r\n\r\nb\r\n \r\n", "a\r\n\r\nb\r\n"},
		{"a\rb\nc\r\n", "a\rb\nc\r\n", "a\rb\nc\r\n"},
		{"a\r\r\nb\r", "a\r\r\nb\r\r\n", "a\r\r\nb\r\r\n"},
		{"a\r\n\r", "a\r\n\r\r\n", "a\r\n\r\r\n"},
		{"a \r \nb", "a \r \nb\r\n", "a \r \nb\r\n"},
		{"x  y\r\nz\r\n" + strings.Repeat("\r\n", 9000), "x  y\r\nz\r\n", "x y\r\nz\r\n"},
		{strings.Repeat("long line ", 1000) + "\r\n", strings.Repeat("long line ", 1000) + "\r\n",
			strings.TrimSpace(strings.Repeat("long line ", 1000)) + "\r\n"},
	} {
		for _, piece := range []int{1, 2, 3, 5, 100, 100000} {
			for _, relaxed := range []bool{false, true} {
				want := c.simple
				if relaxed {
					want = c.relaxed
				}
				b := NewBodies()
				h := b.Add(relaxed, -1)
				for rest := c.body; rest != ""; {
					n := min(piece, len(rest))
					_, _ = b.Write([]byte(rest[:n]))
					rest = rest[n:]
				}
				b.Close()
				if string(h.Sum()) != string(sha([]byte(want))) || h.seen != int64(len(want)) {
					t.Errorf("%.30q by %d, relaxed %t: %d octets, want %d", c.body, piece, relaxed, h.seen, len(want))
				}
			}
		}
	}
}

// TestCanonicalHeader is the example of RFC 6376 §3.4.5, and what it leaves out.
func TestCanonicalHeader(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ field, relaxed string }{
		{"A: X\r\n", "a:X\r\n"},
		{"B : Y\t\r\n\tZ  \r\n", "b:Y Z\r\n"},
		{"Subject:\r\n\r\n", "subject:\r\n"},
		{"Subject: \r\n  \r\n x \r\n", "subject:x\r\n"},
		{"X-Y:a\rb\r\n", "x-y:a\rb\r\n"},
		{"Last: without end", "last:without end\r\n"},
	} {
		f := ReadField(c.field)
		if got := string(AppendField(nil, f, true)); got != c.relaxed {
			t.Errorf("%q: %q, want %q", c.field, got, c.relaxed)
		}
		simple := strings.TrimSuffix(c.field, "\r\n") + "\r\n"
		if strings.HasPrefix(c.field, "Subject:\r\n") {
			simple = "Subject:\r\n"
		}
		if got := string(AppendField(nil, f, false)); got != simple {
			t.Errorf("%q: %q, want %q", c.field, got, simple)
		}
	}
}

func TestTags(t *testing.T) {
	t.Parallel()
	for list, want := range map[string]string{
		"a=1; b=2":              "a=1|b=2",
		"a=1;b = 2 ;":           "a=1|b=2",
		" a\r\n =\r\n\t1 2 ":    "a=1 2",
		"":                      "",
		" ":                     "",
		"a=":                    "a=",
		"a==;":                  "a==",
		"a=1;;b=2":              "!",
		";a=1":                  "!",
		"a=1; a=2":              "!",
		"a=1; A=2":              "a=1|A=2",
		"a":                     "!",
		"=1":                    "!",
		"1a=1":                  "!",
		"a-b=1":                 "!",
		"a=\x01":                "!",
		"a=\xc3\xa9":            "a=\xc3\xa9",
		strings.Repeat("; ", 9): "!",
	} {
		tags, err := ParseTags([]byte(list))
		var all []string
		for _, tag := range tags {
			all = append(all, tag.Name+"="+string(tag.Value))
		}
		got := strings.Join(all, "|")
		if err != nil {
			got = "!"
		}
		if got != want {
			t.Errorf("%q: %q (%v), want %q", list, got, err, want)
		}
	}
}

package message

import (
	"cmp"
	"testing"
)

// TestCasemap has the example of RFC 5051 §2 and what follows from its steps.
func TestCasemap(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ in, want string }{
		{"", ""},
		{"Hello, World_1", "HELLO, WORLD_1"},
		{"\u01c4", "Dz\u030c"}, // the RFC's: titlecase first, and what comes apart is not mapped again
		{"ế", "E\u0302\u0301"},
		{"Đỏ", "ĐO\u0309"}, // the stroke of đ is no mark
		{"ß", "ß"},
		{"ﬁ", "fi"},
		{"Ａ", "A"},
		{"한", "한"},
		{"a\xffb", "a\xffb"}, // invalid: the octets as they came
	} {
		if got := Casemap([]byte("x"), []byte(tc.in)); string(got) != "x"+tc.want {
			t.Errorf("%q gives %q, want %q", tc.in, got[1:], tc.want)
		}
	}
	for _, tc := range []struct {
		a, b string
		want int
	}{
		{"abc", "ABC", 0}, {"a", "B", -1}, {"_", "a", 1}, {"ez", "é", -1}, {"É", "e\u0301", 0},
	} {
		a, b := Casemap(nil, []byte(tc.a)), Casemap(nil, []byte(tc.b))
		if got := cmp.Compare(string(a), string(b)); got != tc.want {
			t.Errorf("%q and %q: %d, want %d", tc.a, tc.b, got, tc.want)
		}
	}
}

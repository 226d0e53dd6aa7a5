package store

import (
	"errors"
	"testing"
)

// TestRights reads and writes rights as RFC 4314 §2.1 and §2.1.1 have them.
func TestRights(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ in, out, virtual string }{
		{"", "", ""},
		{"lrswipkxtea", "lrswipkxtea", "lrswipkxteacd"},
		{"aetxkpiwsrl", "lrswipkxtea", "lrswipkxteacd"},
		{"lrswida", "lrswixtea", "lrswixtead"}, // the example of RFC 4314 §2.1.1, where x goes with d here
		{"lrswicda", "lrswikxtea", "lrswikxteacd"},
		{"c", "k", "kc"},
		{"t", "t", "td"},
		{"lll", "l", "l"},
	} {
		r, err := ParseRights(c.in)
		if err != nil || r.String() != c.out || r.Virtual() != c.virtual {
			t.Errorf("%q is %q, %q, %v; want %q, %q", c.in, r, r.Virtual(), err, c.out, c.virtual)
		}
	}
	for _, s := range []string{"L", "0", "lr s", "-l", "n", "ü"} {
		if _, err := ParseRights(s); !errors.Is(err, ErrInvalidRights) {
			t.Errorf("%q: %v", s, err)
		}
	}
	if all, err := ParseRights(rightLetters); err != nil || all != AllRights {
		t.Errorf("all rights are %v, %v", all, err)
	}
}

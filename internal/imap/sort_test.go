package imap

import (
	"fmt"
	"strings"
	"testing"
)

// TestPartialRange follows RFC 9394 §3.1 and §4.
func TestPartialRange(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		in       string
		n        int
		from, to int
	}{
		{"1:500", 23764, 0, 500}, {"501:1000", 23764, 500, 1000}, {"-1:-100", 23764, 23664, 23764},
		{"23500:24000", 23764, 23499, 23764}, {"24000:24500", 23764, 0, 0}, {"500:400", 450, 399, 450},
		{"-400:-500", 450, 0, 51}, {"-451:-500", 450, 0, 0}, {"1:1", 0, 0, 0}, {"-1:-1", 1, 0, 1},
		{"4294967295:4294967295", 10, 0, 0}, {"-1:-4294967295", 10, 0, 10},
	} {
		d := NewDecoder(newReader(strings.NewReader(tc.in+"\r\n")), after())
		if err := d.Next(); err != nil {
			t.Fatal(err)
		}
		r := d.PartialRange()
		if d.End(); d.Err() != nil {
			t.Errorf("%s: %v", tc.in, d.Err())
			continue
		}
		if from, to := r.Of(tc.n); from != tc.from || to != tc.to {
			t.Errorf("%s of %d: %d to %d, want %d to %d", tc.in, tc.n, from, to, tc.from, tc.to)
		}
		if got := string(r.Append(nil)); got != tc.in {
			t.Errorf("%s is written as %s", tc.in, got)
		}
	}
}

// TestOrderBuilder has the example of RFC 5267 §3.3.
func TestOrderBuilder(t *testing.T) {
	t.Parallel()
	var b OrderBuilder
	for _, n := range []uint32{23765, 23764, 23763, 1, 2, 3, 3, 5} {
		b.Add(n)
	}
	if got := string(AppendSet(nil, b.Ranges)); got != "23765,23764,23763,1:3,3,5" {
		t.Error(got)
	}
}

// FuzzSort reads what follows SORT (RFC 5256 §5) and RETURN (PARTIAL (RFC 9394 §4).
func FuzzSort(f *testing.F) {
	for _, s := range []string{
		"(SUBJECT REVERSE DATE)", "(ARRIVAL CC FROM SIZE TO DISPLAYFROM DISPLAYTO)", "()", "(REVERSE)",
		"(DATE DATE reverse date)", "(", "(REVERSE REVERSE DATE)", "1:2", "-5:-1", "-1:2", "0:1", "1:*",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		d := NewDecoder(newReader(strings.NewReader(s+"\r\n")), after())
		if d.Next() != nil {
			return
		}
		if keys := d.SortKeys(); d.Err() == nil && (len(keys) == 0 || len(keys) > len(sortKeys)) {
			t.Fatalf("%q gives %v", s, keys)
		}
		d = NewDecoder(newReader(strings.NewReader(s+"\r\n")), after())
		if d.Next() != nil {
			return
		}
		r := d.PartialRange()
		if d.End(); d.Err() != nil {
			return
		}
		for _, n := range []int{0, 1, 7, 1 << 30} {
			from, to := r.Of(n)
			if from < 0 || to < from || to > n {
				t.Fatal(fmt.Sprint(s, " of ", n, " is ", from, " to ", to))
			}
		}
	})
}

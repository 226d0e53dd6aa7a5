package main

import (
	"bytes"
	"testing"
)

func testChecker(t testing.TB) *checker {
	t.Helper()
	from, err := newSigner()
	if err != nil {
		t.Fatal(err)
	}
	c, err := newChecker(from)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.close)
	return c
}

// TestCheckedMessages of the benchmark are of the size they are said to be, are found to be genuine and
// are nobody's junk; a changed one is not genuine.
func TestCheckedMessages(t *testing.T) {
	t.Parallel()
	c := testChecker(t)
	for _, kind := range checkKinds {
		for seq := range 2 * rsaEvery {
			raw := kind.make(seq, size20k)
			if len(raw) < size20k*9/10 || len(raw) > size20k*11/10 {
				t.Errorf("%s: %d bytes", kind.name, len(raw))
			}
			m, err := c.sent(seq, raw)
			if err != nil {
				t.Fatal(err)
			}
			if err := c.look(m); err != nil {
				t.Errorf("%s %d: %v", kind.name, seq, err)
			}
		}
	}
	m, err := c.sent(1, checkedText(1, size20k))
	if err != nil {
		t.Fatal(err)
	}
	m.raw = append(bytes.TrimSuffix(m.raw, []byte("\r\n")), "one more word\r\n"...)
	if err := c.origin(m); err != nil {
		t.Fatal(err) // SPF still vouches for it
	}
	if d := m.env.Auth.DMARC; d.DKIM || !d.SPF {
		t.Errorf("of a changed message: %+v", d)
	}
}

// BenchmarkChecks is all built-in checks of a message of 20 kB: who vouches for it, content, words and
// names, for one person. The DNS answers from the resolver's memory.
func BenchmarkChecks(b *testing.B) {
	for _, kind := range checkKinds {
		b.Run(kind.name, func(b *testing.B) {
			c := testChecker(b)
			var mails []*looked
			for seq := range 64 {
				m, err := c.sent(seq, kind.make(seq, size20k))
				if err != nil {
					b.Fatal(err)
				}
				mails = append(mails, m)
			}
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if err := c.look(mails[i%len(mails)]); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

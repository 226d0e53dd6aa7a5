package message

import (
	"errors"
	"math/rand/v2"
	"testing"
	"time"
)

// TestDecodeDamage: no change of the stored form makes Decode panic, and every cut is noticed.
func TestDecodeDamage(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"10-nested", "11-rfc822", "25-groups", "21-8bit-header-raw"} {
		whole := Parse(golden(t, name), testLimits).AppendBinary(nil)
		for i := range whole {
			if _, err := Decode(whole[:i]); !errors.Is(err, ErrDamaged) {
				t.Errorf("%s cut at %d: %v", name, i, err)
			}
			for _, bit := range []byte{1, 0x80, 0xff} {
				b := append([]byte(nil), whole...)
				b[i] ^= bit
				m, err := Decode(b)
				if err != nil && !errors.Is(err, ErrDamaged) {
					t.Errorf("%s changed at %d: %v", name, i, err)
				}
				if err == nil {
					use(m)
				}
			}
		}
		if _, err := Decode(append(whole, 0)); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s with a byte behind it: %v", name, err)
		}
	}
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 20000 {
		b := make([]byte, rnd.IntN(100))
		for i := range b {
			b[i] = byte(rnd.Uint32())
		}
		if len(b) > 0 {
			b[0] = binaryVersion
		}
		if m, err := Decode(b); err == nil {
			use(m)
		}
	}
}

// use does with a decoded message what its readers do.
func use(m *Message) {
	m.Envelope.AppendIMAP(nil, false)
	m.Root.AppendIMAP(nil, true, false)
	m.Section([]int{1, 1}, SectionHeader)
	m.AppendBinary(nil)
}

func TestDecodeDepth(t *testing.T) {
	t.Parallel()
	root := &Part{Type: "multipart"}
	part := root
	for range 100_000 {
		child := &Part{Type: "multipart"}
		part.Parts = []*Part{child}
		part = child
	}
	m := Message{Root: root}
	if _, err := Decode(m.AppendBinary(nil)); !errors.Is(err, ErrDamaged) {
		t.Errorf("a tree of 100,000 levels: %v", err)
	}
}

func TestDecodeVersion(t *testing.T) {
	t.Parallel()
	b := Parse(typicalMessage(), testLimits).AppendBinary(nil)
	b[0]++
	if _, err := Decode(b); !errors.Is(err, ErrDamaged) {
		t.Errorf("another version: %v", err)
	}
	if _, err := Decode(nil); !errors.Is(err, ErrDamaged) {
		t.Errorf("nothing: %v", err)
	}
}

func TestDatesAreKept(t *testing.T) {
	t.Parallel()
	for _, date := range []string{
		"Tue, 18 Nov 2025 09:12:40 +0700", "Thu, 1 Jan 1970 00:00:00 +0000", "1 Jan 1901 00:00 -1200", "",
	} {
		want := Parse([]byte("Date: "+date+"\r\n\r\n"), testLimits)
		got, err := Decode(want.AppendBinary(nil))
		if err != nil || got.Date.Format(time.RFC3339) != want.Date.Format(time.RFC3339) {
			t.Errorf("%q: %v, %v", date, got.Date, err)
		}
	}
}

func BenchmarkAppendBinary(b *testing.B) {
	m := Parse(typicalMessage(), testLimits)
	var dst []byte
	b.ReportAllocs()
	defer reportCPU(b)()
	for b.Loop() {
		dst = m.AppendBinary(dst[:0])
	}
	b.ReportMetric(float64(len(dst)), "bytes")
}

func BenchmarkDecode(b *testing.B) {
	stored := Parse(typicalMessage(), testLimits).AppendBinary(nil)
	b.ReportAllocs()
	defer reportCPU(b)()
	for b.Loop() {
		if _, err := Decode(stored); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAppendIMAP(b *testing.B) {
	m := Parse(typicalMessage(), testLimits)
	var dst []byte
	b.ReportAllocs()
	defer reportCPU(b)()
	for b.Loop() {
		dst = m.Envelope.AppendIMAP(dst[:0], false)
		dst = m.Root.AppendIMAP(dst, true, false)
	}
}

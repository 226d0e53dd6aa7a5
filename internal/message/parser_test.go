package message

import (
	"reflect"
	"testing"
)

// TestReset: a parser that was used before finds the same, and does not touch what it gave away.
func TestReset(t *testing.T) {
	t.Parallel()
	p := NewParser(testLimits)
	var first []*Message
	names := []string{"01-plain", "11-rfc822", "16-never-closed", "25-groups", "08-alternative", "03-empty-raw"}
	for range 3 {
		for i, name := range names {
			raw := golden(t, name)
			want := Parse(raw, testLimits)
			p.Reset()
			p.Write(raw)
			got := p.Finish()
			if !reflect.DeepEqual(want, got) {
				t.Errorf("%s: %s", name, diffMessages(want, got))
			}
			if len(first) == len(names) && !reflect.DeepEqual(first[i], got) {
				t.Errorf("%s: the message of an earlier round has changed", name)
			}
			if len(first) < len(names) {
				first = append(first, got)
			}
		}
	}
	p.Reset() // in the middle of a message
	p.Write([]byte("Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nSubject: x\r\n\r\n--"))
	p.Reset()
	raw := golden(t, "10-nested")
	p.Write(raw)
	if got := p.Finish(); !reflect.DeepEqual(got, Parse(raw, testLimits)) {
		t.Error("what was there before Reset is still there")
	}
}

// TestHeaderIsKept: Message.Header is the header as it came, and the caller's to keep.
func TestHeaderIsKept(t *testing.T) {
	t.Parallel()
	raw := golden(t, "10-nested")
	p := NewParser(testLimits)
	p.Write(raw)
	m := p.Finish()
	if string(m.Header) != string(raw[:m.HeaderSize]) {
		t.Errorf("header %q", m.Header)
	}
	p.Reset()
	p.Write([]byte("X: y\r\n\r\n"))
	p.Finish()
	if string(m.Header) != string(raw[:m.HeaderSize]) {
		t.Error("the next message has overwritten the header")
	}
}

// TestAllocations: a typical message costs few allocations, a large body none.
func TestAllocations(t *testing.T) {
	p := NewParser(testLimits)
	parse := func(raw []byte) func() {
		return func() {
			p.Reset()
			p.Write(raw)
			p.Finish()
		}
	}
	if n := testing.AllocsPerRun(100, parse(typicalMessage())); n > 50 {
		t.Errorf("a typical message: %v allocations", n)
	}
	small, large := largeMessage(4<<10), largeMessage(4<<20)
	if a, b := testing.AllocsPerRun(10, parse(small)), testing.AllocsPerRun(10, parse(large)); b > a+1 {
		t.Errorf("4 kB: %v allocations, 4 MB: %v", a, b)
	}
}

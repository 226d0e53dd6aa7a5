package smtp

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

// decode runs a DataReader over in, in pieces of size n (0: all at once through a bufio.Reader),
// and returns the message, what was left over, and the error.
func decode(in string, n int, limit int64) (msg, rest string, err error) {
	var out bytes.Buffer
	if n == 0 {
		r := bufio.NewReader(strings.NewReader(in))
		_, err = NewDataReader(r, limit).WriteTo(&out)
		left, _ := io.ReadAll(r)
		return out.String(), string(left), err
	}
	d := NewDataReader(nil, limit)
	for pos := 0; pos < len(in); {
		used, done := d.Feed(&out, []byte(in[pos:min(len(in), pos+n)]))
		pos += used
		if done {
			return out.String(), in[pos:], d.Err()
		}
	}
	return out.String(), "", io.ErrUnexpectedEOF
}

func TestDataReader(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, in, msg, rest string
		err                 error
	}{
		{name: "empty", in: ".\r\nX", rest: "X"},
		{name: "one line", in: "a\r\n.\r\nX", msg: "a\r\n", rest: "X"},
		{name: "dots", in: "..\r\n.a\r\n...\r\na.\r\n.\r\n", msg: ".\r\na\r\n..\r\na.\r\n"},
		{name: "empty lines", in: "\r\n\r\n.\r\n", msg: "\r\n\r\n"},
		{name: "pipelined", in: "a\r\n.\r\n.\r\n", msg: "a\r\n", rest: ".\r\n"},
		{name: "nul at line start", in: "a\r\n\x00.\r\n.\r\n", msg: "a\r\n\x00.\r\n"},
		{name: "cut", in: "a\r\n.\r", msg: "a\r\n", err: io.ErrUnexpectedEOF},
		{name: "cut in line", in: "a", msg: "a", err: io.ErrUnexpectedEOF},
		{name: "nothing", in: "", err: io.ErrUnexpectedEOF},
		{name: "bare lf", in: "a\nb\r\n.\r\nX", rest: "X", err: ErrBareLF},
		{name: "bare cr", in: "a\rb\r\n.\r\nX", rest: "X", err: ErrBareCR},
		{name: "bare cr after dot", in: ".\rb\r\n.\r\nX", rest: "X", err: ErrBareCR},
		{name: "lf after dot", in: "a\r\n.\nb\r\n.\r\nX", rest: "X", err: ErrBareLF},
		{name: "cr cr lf", in: "a\r\r\n.\r\nX", rest: "X", err: ErrBareCR},
	}
	for _, tt := range tests {
		for _, n := range []int{0, 1, 2, 3, 5} {
			msg, rest, err := decode(tt.in, n, 0)
			bad := msg != tt.msg || rest != tt.rest
			if errors.Is(tt.err, ErrBareCR) || errors.Is(tt.err, ErrBareLF) {
				bad = rest != tt.rest // what was written before the fault does not count
			}
			if bad || !errors.Is(err, tt.err) {
				t.Errorf("%s by %d: %q, left %q, %v; want %q, %q, %v",
					tt.name, n, msg, rest, err, tt.msg, tt.rest, tt.err)
			}
		}
	}
}

// smuggles are the sequences of SMTP smuggling (P1; CVE-2023-51764, CVE-2023-51765 and
// CVE-2023-51766): each was the end of a message for one server and not for the next.
var smuggles = []string{
	"\n.\n", "\n.\r", "\r.\n", "\r.\r", "\n.\r\n", "\r.\r\n", "\r\n.\n", "\r\n.\r",
	"\r\n.\r\r\n", "\r\r\n.\r\r\n", "\r\n\x00.\r\n", "\r\n.\x00\r\n",
	"\n\n.\r\n", "\r\n\r.\r\n", "\r\n.\n\r\n", "\n.\n\n", "\r.\r\r", "\x00\r\n.\n",
}

// P1, inward: after any of them the message goes on to the true end, and with a bare CR or LF it is
// refused.
func TestSmugglingIsRefused(t *testing.T) {
	t.Parallel()
	const second = "MAIL FROM:<evil@x>\r\nRCPT TO:<victim@y>\r\nDATA\r\nboo\r\n.\r\n"
	for _, seq := range smuggles {
		if strings.Contains("x"+seq, "\r\n.\r\n") {
			t.Fatalf("%q is a true end", seq)
		}
		bare := hasBare("x" + seq + second)
		for _, n := range []int{0, 1, 2, 3, 4, 7} {
			msg, rest, err := decode("Subject: x\r\n\r\nx"+seq+second+"QUIT\r\n", n, 0)
			if rest != "QUIT\r\n" {
				t.Errorf("%q by %d: %q was left: a second message", seq, n, rest)
			}
			if refused := errors.Is(err, ErrBareCR) || errors.Is(err, ErrBareLF); refused != bare {
				t.Errorf("%q by %d: error %v", seq, n, err)
			}
			if err == nil && !strings.Contains(msg, "MAIL FROM:<evil@x>") {
				t.Errorf("%q by %d: the message lost its end: %q", seq, n, msg)
			}
		}
	}
}

// P1, outward: whatever a body holds, exactly one message leaves, and it is clean.
func TestSmugglingIsNotSent(t *testing.T) {
	t.Parallel()
	for _, seq := range smuggles {
		for _, n := range []int{1, 2, 3, 1000} {
			wire := stuff("a"+seq+"MAIL FROM:<evil@x>\r\n", n)
			if hasBare(wire) {
				t.Errorf("%q by %d leaves as %q", seq, n, wire)
			}
			if end := strings.Index(wire, "\r\n.\r\n"); end != len(wire)-5 {
				t.Errorf("%q by %d ends early in %q", seq, n, wire)
			}
		}
	}
}

// hasBare reports a CR or LF that is not of a CR LF.
func hasBare(s string) bool { return strings.ContainsAny(strings.ReplaceAll(s, "\r\n", ""), "\r\n") }

// stuff runs a DotWriter over s in pieces of n.
func stuff(s string, n int) string {
	var out strings.Builder
	w := NewDotWriter(&out)
	for len(s) > 0 {
		k := min(n, len(s))
		w.Write([]byte(s[:k]))
		s = s[k:]
	}
	w.Close()
	return out.String()
}

func TestDotWriter(t *testing.T) {
	t.Parallel()
	tests := []struct{ in, want string }{
		{"", ".\r\n"},
		{"a\r\n", "a\r\n.\r\n"},
		{"a", "a\r\n.\r\n"},
		{"a\r", "a\r\n.\r\n"},
		{"a\n", "a\r\n.\r\n"},
		{".", "..\r\n.\r\n"},
		{".\r\n..\r\na.b\r\n.c", "..\r\n...\r\na.b\r\n..c\r\n.\r\n"},
		{"a\n.\nb\r.\rc\r\n", "a\r\n..\r\nb\r\n..\r\nc\r\n.\r\n"},
		{"a\r\r\nb", "a\r\n\r\nb\r\n.\r\n"},
	}
	for _, tt := range tests {
		for _, n := range []int{1, 2, 3, 1000} {
			if got := stuff(tt.in, n); got != tt.want {
				t.Errorf("%q by %d: %q, want %q", tt.in, n, got, tt.want)
			}
		}
	}
}

func TestDotWriterPassesRunsOn(t *testing.T) {
	t.Parallel()
	p := []byte(strings.Repeat("a line of mail\r\n", 1000) + ".x\r\n")
	var runs [][]byte
	w := NewDotWriter(writerFunc(func(q []byte) (int, error) {
		runs = append(runs, q)
		return len(q), nil
	}))
	w.Write(p)
	if len(runs) != 2 || &runs[0][0] != &p[0] || &runs[1][0] != &p[16000] {
		t.Errorf("%d runs, copied", len(runs))
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

func TestDataReaderLimitAndErrors(t *testing.T) {
	t.Parallel()
	in := strings.Repeat("0123456789abcd\r\n", 10) + ".\r\nX"
	for _, n := range []int{0, 1, 7} {
		if _, rest, err := decode(in, n, 160); err != nil || rest != "X" {
			t.Errorf("at the limit: %v, left %q", err, rest)
		}
		msg, rest, err := decode(in, n, 159)
		if !errors.Is(err, ErrTooLarge) || rest != "X" || len(msg) > 159 {
			t.Errorf("over the limit: %v, left %q, %d octets", err, rest, len(msg))
		}
	}
	// A writer that fails does not stop the draining.
	full := errors.New("disk full")
	r := bufio.NewReader(strings.NewReader(in))
	_, err := NewDataReader(r, 0).WriteTo(writerFunc(func([]byte) (int, error) { return 0, full }))
	if rest, _ := io.ReadAll(r); !errors.Is(err, full) || string(rest) != "X" {
		t.Errorf("after a write error: %v, left %q", err, rest)
	}
	cut := errors.New("connection reset")
	r = bufio.NewReader(io.MultiReader(strings.NewReader("a\r\n"), iotest.ErrReader(cut)))
	if _, err := NewDataReader(r, 0).WriteTo(io.Discard); !errors.Is(err, cut) {
		t.Errorf("after a read error: %v", err)
	}
}

func TestDataReaderLongest(t *testing.T) {
	t.Parallel()
	in := "a\r\n" + strings.Repeat("b", 998) + "\r\n..cc\r\n.\r\n"
	for _, n := range []int{1, 2, 100, 5000} {
		d := NewDataReader(nil, 0)
		for pos := 0; pos < len(in); pos += n {
			d.Feed(io.Discard, []byte(in[pos:min(len(in), pos+n)]))
		}
		if d.Longest() != 998 || d.Size() != 3+1000+5 {
			t.Errorf("by %d: longest %d, size %d", n, d.Longest(), d.Size())
		}
	}
}

func FuzzDataReader(f *testing.F) {
	for _, s := range smuggles {
		f.Add("a"+s+"b\r\n.\r\n", uint8(3))
	}
	f.Add("..a\r\n.\r\nrest", uint8(1))
	f.Fuzz(func(t *testing.T, s string, n uint8) {
		msg, rest, err := decode(s, 0, 0)
		msg2, rest2, err2 := decode(s, int(n)+1, 0)
		if rest != rest2 || (err == nil) != (err2 == nil) || err == nil && msg != msg2 {
			t.Fatalf("%q whole: %q, %q, %v; by %d: %q, %q, %v",
				s, msg, rest, err, int(n)+1, msg2, rest2, err2)
		}
		if err == nil {
			if hasBare(msg) {
				t.Fatalf("%q gives %q", s, msg)
			}
			if wire := stuff(msg, int(n)+1); wire+rest != s && stuffed(s) {
				t.Fatalf("%q goes out as %q", s, wire)
			}
		}
		// unstuff(stuff(x)) is x with its line ends made whole.
		wire := stuff(s, int(n)+1)
		back, left, err := decode(wire+"X", int(n)+1, 0)
		if err != nil || left != "X" || back != whole(s) {
			t.Fatalf("%q goes out as %q, comes back as %q, %q, %v", s, wire, back, left, err)
		}
	})
}

// stuffed reports whether s is as a DotWriter would have written it: no dot stands alone before
// other text.
func stuffed(s string) bool {
	for line := range strings.SplitSeq(s, "\r\n") {
		if len(line) > 1 && line[0] == '.' && line[1] != '.' {
			return false
		}
	}
	return true
}

// whole is what lineWriter promises, said plainly.
func whole(s string) string {
	s = strings.ReplaceAll(s, "\r\n", "\n")
	s = strings.ReplaceAll(s, "\r", "\n")
	if s != "" && !strings.HasSuffix(s, "\n") {
		s += "\n"
	}
	return strings.ReplaceAll(s, "\n", "\r\n")
}

// mail76 is text in lines of 76 octets, every 40th of which starts with a dot.
func mail76(size int) []byte {
	var b bytes.Buffer
	for i := 0; b.Len() < size; i++ {
		line := strings.Repeat("x", 74) + "\r\n"
		if i%40 == 39 {
			line = "." + line[1:]
		}
		b.WriteString(line)
	}
	return b.Bytes()
}

func BenchmarkDataReader(b *testing.B) {
	p := mail76(256 << 10)
	b.SetBytes(int64(len(p)))
	b.ReportAllocs()
	d := NewDataReader(nil, 0)
	for b.Loop() {
		d.Feed(io.Discard, p)
	}
}

func BenchmarkDotWriter(b *testing.B) {
	p := mail76(256 << 10)
	b.SetBytes(int64(len(p)))
	b.ReportAllocs()
	w := NewDotWriter(io.Discard)
	for b.Loop() {
		w.Write(p)
	}
}

package message

import (
	"bytes"
	"encoding/base64"
	"errors"
	"io"
	"os"
	"strings"
	"testing"
	"testing/iotest"

	"pgregory.net/rapid"
)

// golden reads a message of testdata with the line ends of mail.
func golden(t testing.TB, name string) []byte {
	t.Helper()
	raw, err := os.ReadFile("testdata/" + name + ".eml")
	if err != nil {
		t.Fatal(err)
	}
	if strings.HasSuffix(name, "-raw") {
		return raw
	}
	return withCRLF(raw)
}

// decodeIn decodes in pieces of n bytes.
func decodeIn(d transferDecoder, s string, n int) string {
	var out []byte
	for len(s) > 0 {
		k := min(n, len(s))
		out = d.decode(out, []byte(s[:k]))
		s = s[k:]
	}
	return string(d.finish(out))
}

func TestQuotedPrintable(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ in, want string }{
		{"", ""},
		{"plain text\r\n", "plain text\r\n"},
		{"caf=C3=A9", "café"},
		{"=c3=a9", "é"},
		{"soft=\r\nbreak", "softbreak"},
		{"soft= \t\r\nbreak", "softbreak"},
		{"soft=\nbreak", "softbreak"},
		{"trailing \t \r\nnext  \n", "trailing\r\nnext\n"},
		{"inner  space kept", "inner  space kept"},
		{"a =20\r\nb", "a  \r\nb"},
		{"=", ""},
		{"=A", "=A"},
		{"=XY", "=XY"},
		{"=A\r\n", "=A\r\n"},
		{"= x", "= x"},
		{"==41", "=A"},
		{"a=3D=", "a="},
		{"8-bit \xe9", "8-bit \xe9"},
		{"end  ", "end"},
		// imaptest, fetch-binary-mime-qp.
		{"hello  \r\nbar=\r\n\r\nfoo\t=\r\nbar\r\nfoo\t \t= \r\n=62\r\nfoo = \t\r\nbar\r\nfoo =\r\n=62\r\n" +
			"foo  \r\nbar=\r\n\r\nfoo_bar\r\n",
			"hello\r\nbar\r\nfoo\tbar\r\nfoo\t \tb\r\nfoo bar\r\nfoo b\r\nfoo\r\nbar\r\nfoo_bar\r\n"},
	} {
		for _, n := range []int{1, 2, 3, 1000} {
			if got := decodeIn(&qpState{}, tt.in, n); got != tt.want {
				t.Errorf("%q in pieces of %d: got %q, want %q", tt.in, n, got, tt.want)
			}
		}
	}
}

func TestBase64(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ in, want string }{
		{"", ""},
		{"aGVsbG8gd29ybGQ=", "hello world"},
		{"aGVs\r\nbG8gd29y\r\nbGQ=\r\n", "hello world"},
		{"  aGVs    \r\n bG8g  \r\n   d29y  \t \r\n    bGQ= \r\n\r\n", "hello world"},
		{"aGk", "hi"},          // padding missing
		{"aGk=aGk=", "hihi"},   // two runs
		{"a*G!k", "hi"},        // junk
		{"_aGk-=", "hi"},       // the other alphabet
		{"a", ""},              // not a byte
		{"====", ""},           //
		{"aG\x00k=\xff", "hi"}, //
	} {
		for _, n := range []int{1, 2, 3, 5, 1000} {
			if got := decodeIn(&base64State{}, tt.in, n); got != tt.want {
				t.Errorf("%q in pieces of %d: got %q, want %q", tt.in, n, got, tt.want)
			}
		}
	}
}

func TestBase64AgreesWithTheStandardOne(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		want := rapid.SliceOf(rapid.Byte()).Draw(t, "data")
		s := base64.StdEncoding.EncodeToString(want)
		n := rapid.IntRange(1, 50).Draw(t, "piece")
		if got := decodeIn(&base64State{}, s, n); got != string(want) {
			t.Fatalf("%q: got %q", s, got)
		}
	})
}

// TestQuotedPrintableRoundTrip: what the composer writes is read back, in lines of at most 76.
func TestQuotedPrintableRoundTrip(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringMatching(`([ -~é\t]{0,90}\r\n){0,5}[ .a=F]{0,5}`).Draw(t, "text")
		enc := string(appendQuoted(nil, []byte(text)))
		for line := range strings.SplitSeq(enc, "\r\n") {
			if len(line) > 76 || strings.HasPrefix(line, ".") || strings.HasPrefix(line, "From ") {
				t.Fatalf("line %q", line)
			}
		}
		if got := decodeIn(&qpState{}, enc, 7); got != text {
			t.Fatalf("%q: %q came back as %q", text, enc, got)
		}
	})
}

func TestBody(t *testing.T) {
	t.Parallel()
	raw := golden(t, "26-encodings")
	m := Parse(raw, testLimits)
	want := []string{
		"soft break, =, =zz, trailing\r\né end", "é abc", "begin 644 a.txt\r\n#86)C\r\nend",
		"+AOkA6w- +- 1 +ZeVnLIqe-",
	}
	for i, p := range m.Root.Parts {
		got, err := io.ReadAll(iotest.OneByteReader(Body(bytes.NewReader(raw), p)))
		if err != nil || string(got) != want[i] {
			t.Errorf("part %d: %q, %v; want %q", i+1, got, err, want[i])
		}
		if p.KnownEncoding() != (i < 2) {
			t.Errorf("part %d: encoding %q known: %v", i+1, p.Encoding, p.KnownEncoding())
		}
	}
}

// broken is a ReaderAt that fails after some bytes.
type broken struct {
	b  []byte
	at int64
}

var errBroken = errors.New("broken")

func (r broken) ReadAt(p []byte, off int64) (int, error) {
	if off >= r.at {
		return 0, errBroken
	}
	n := copy(p, r.b[off:r.at])
	if n < len(p) {
		return n, errBroken
	}
	return n, nil
}

// TestReadErrors: an error of the storage is reported, by all readers.
func TestReadErrors(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"08-alternative", "26-encodings", "09-html-only"} {
		raw := golden(t, name)
		m := Parse(raw, testLimits)
		r := broken{raw, m.HeaderSize + 120}
		if err := SearchText(r, m, 1<<20, func([]byte) error { return nil }); !errors.Is(err, errBroken) {
			t.Errorf("%s: SearchText: %v", name, err)
		}
		seen := false
		m.Root.Walk(func(p *Part) {
			if p.Parts != nil || p.Body.End < r.at {
				return
			}
			seen = true
			if _, err := io.ReadAll(Text(r, p)); !errors.Is(err, errBroken) {
				t.Errorf("%s: Text: %v", name, err)
			}
			if _, err := io.ReadAll(Body(r, p)); !errors.Is(err, errBroken) {
				t.Errorf("%s: Body: %v", name, err)
			}
		})
		if !seen {
			t.Errorf("%s: no part was cut", name)
		}
	}
}

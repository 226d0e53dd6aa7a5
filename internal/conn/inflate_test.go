package conn

import (
	"bytes"
	"encoding/hex"
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"compress/flate"
)

// inflateAll feeds a stream in pieces of random sizes, into pieces of random sizes.
func inflateAll(r *rand.Rand, stream []byte, piece int) ([]byte, error) {
	var z inflater
	defer z.dropCodes()
	var out []byte
	for idle := 0; idle < 3; {
		src := stream[:min(len(stream), 1+r.IntN(piece))]
		dst := make([]byte, 1+r.IntN(piece))
		n, used, err := z.inflate(dst, src)
		out = append(out, dst[:n]...)
		stream = stream[used:]
		if err != nil {
			return out, err
		}
		if z.state == streamEnd {
			return out, io.EOF
		}
		if idle++; n > 0 || used > 0 {
			idle = 0
		}
	}
	return out, nil
}

// sample is text with repetition near and far, noise, and runs.
func sample(r *rand.Rand, n int) []byte {
	var b []byte
	for len(b) < n {
		switch r.IntN(4) {
		case 0:
			for range r.IntN(300) {
				b = append(b, byte(r.Uint32()))
			}
		case 1:
			b = append(b, bytes.Repeat([]byte{byte(r.IntN(256))}, r.IntN(1000))...)
		case 2:
			if len(b) > 0 {
				from := r.IntN(len(b))
				b = append(b, b[from:min(len(b), from+r.IntN(400))]...)
			}
		default:
			b = append(b, "* 12 FETCH (FLAGS (\\Seen) UID 4827313)\r\n"...)
		}
	}
	return b[:n]
}

// TestInflate decodes what the standard library's compressor writes, at each level, flushed at random
// places, however the stream is cut: RFC 1951.
func TestInflate(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(1, 2))
	for level := flate.HuffmanOnly; level <= flate.BestCompression; level++ {
		for _, piece := range []int{1, 7, 5000, 100_000} {
			want := sample(r, 1+r.IntN(150_000/(1+100/piece)))
			var b bytes.Buffer
			w, err := flate.NewWriter(&b, level)
			if err != nil {
				t.Fatal(err)
			}
			for rest := want; len(rest) > 0; {
				n := 1 + r.IntN(len(rest))
				w.Write(rest[:n])
				if rest = rest[n:]; r.IntN(2) == 0 {
					w.Flush()
				}
			}
			w.Close()
			got, err := inflateAll(r, b.Bytes(), piece)
			if err != io.EOF || !bytes.Equal(got, want) {
				t.Fatalf("level %d, pieces of %d: %d bytes of %d, %v", level, piece, len(got), len(want), err)
			}
		}
	}
}

// partial is what zlib 1.2.13 wrote for three commands, each with Z_PARTIAL_FLUSH behind it.
var partial = []struct{ hex, text string }{
	{"4a54f0f3f70fe0e50208", "a NOOP\r\n"},
	{"a024280d10", "b NOOP\r\n"},
	{"40c90a3efeeefea121bc5c0001", "c LOGOUT\r\n"},
}

// TestInflatePartialFlush proves that each command is there with the last of its bytes: a flush that
// does not end on a byte leaves the decoder nothing to wait for. RFC 4978 leaves the kind of flush to
// the client.
func TestInflatePartialFlush(t *testing.T) {
	t.Parallel()
	var z inflater
	for _, p := range partial {
		src, err := hex.DecodeString(p.hex)
		if err != nil {
			t.Fatal(err)
		}
		var got []byte
		for len(src) > 0 {
			dst := make([]byte, 100)
			n, used, err := z.inflate(dst, src)
			if err != nil {
				t.Fatal(err)
			}
			got, src = append(got, dst[:n]...), src[used:]
		}
		if string(got) != p.text || !z.atEdge() || z.codes != nil && z.codes != fixedCodes() {
			t.Errorf("got %q, want %q; at an edge: %v", got, p.text, z.atEdge())
		}
	}
}

// TestInflateWindow proves that the window costs what was said, and no more than RFC 1951 §2 asks for.
func TestInflateWindow(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	w, err := flate.NewWriter(&b, 6)
	if err != nil {
		t.Fatal(err)
	}
	var z inflater
	total := 0
	for _, n := range []int{100, 1000, 10_000, 100_000} {
		b.Reset()
		w.Write([]byte(strings.Repeat("0123456789", n/10)))
		w.Flush()
		for src := b.Bytes(); len(src) > 0; {
			var dst [8192]byte
			n, used, err := z.inflate(dst[:], src)
			if err != nil {
				t.Fatal(err)
			}
			src, total = src[used:], total+n
		}
		if c := cap(z.window); c > max(256, total+total/4) || c > windowSize {
			t.Errorf("the window takes %d bytes after %d", c, total)
		}
	}
	if total != 111_100 {
		t.Errorf("%d bytes came out", total)
	}
}

// TestInflateRefuses tells what is not DEFLATE from what is not all there yet, like the standard
// library does.
func TestInflateRefuses(t *testing.T) {
	t.Parallel()
	for name, stream := range map[string]string{
		"block type 3":              "\x07",
		"stored length":             "\x01\x01\x00\x00\x00",
		"distance before the start": "\x03\x02",
		"no code for a length":      "\x05\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
	} {
		if _, err := inflateAll(rand.New(rand.NewPCG(1, 2)), []byte(stream), 10); !errors.Is(err, ErrDeflate) {
			t.Errorf("%s: %v", name, err)
		}
	}
	checkInflate(t, []byte("\x05\xe0\x81\x08\x00\x00\x00\x00\x20\x7f\xeb\x0b\x00\x00"))
}

// checkInflate compares with the standard library.
func checkInflate(t *testing.T, stream []byte) {
	const most = 1 << 20
	want, wantErr := io.ReadAll(io.LimitReader(flate.NewReader(bytes.NewReader(stream)), most))
	got, err := inflateAll(rand.New(rand.NewPCG(uint64(len(stream)), 7)), stream, 50_000)
	var corrupt flate.CorruptInputError
	switch {
	case len(want) == most:
		if !bytes.HasPrefix(got, want) {
			t.Errorf("%x: other bytes", stream)
		}
	case wantErr == nil:
		if err != io.EOF || !bytes.Equal(got, want) {
			t.Errorf("%x: %d bytes, %v, want %d", stream, len(got), err, len(want))
		}
	case errors.As(wantErr, &corrupt):
		if !errors.Is(err, ErrDeflate) {
			t.Errorf("%x: %v, want %v", stream, err, wantErr)
		}
	default: // cut short: what is there may not be told by the other, or be found wrong at once
		if err == io.EOF || err == nil && !bytes.HasPrefix(got, want) {
			t.Errorf("%x: %d bytes, %v, want %d, %v", stream, len(got), err, len(want), wantErr)
		}
	}
}

func FuzzInflate(f *testing.F) {
	r := rand.New(rand.NewPCG(3, 4))
	for level := flate.HuffmanOnly; level <= flate.BestCompression; level += 3 {
		var b bytes.Buffer
		w, err := flate.NewWriter(&b, level)
		if err != nil {
			f.Fatal(err)
		}
		w.Write(sample(r, 2000))
		w.Flush()
		f.Add(bytes.Clone(b.Bytes()))
		w.Close()
		f.Add(b.Bytes())
	}
	for _, p := range partial {
		b, err := hex.DecodeString(p.hex)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(checkInflate)
}

func BenchmarkInflate(b *testing.B) {
	text := bytes.Repeat([]byte(strings.Repeat("* 12 FETCH (FLAGS (\\Seen) UID 4827313)\r\n", 3)+
		"From: Nguyen Van Hai <hai@example.com>, subject and so on 82734 98273\r\n"), 500)
	var s bytes.Buffer
	w, err := flate.NewWriter(&s, 6)
	if err != nil {
		b.Fatal(err)
	}
	w.Write(sample(rand.New(rand.NewPCG(1, 1)), 50_000))
	w.Write(text)
	w.Flush()
	b.SetBytes(int64(len(text) + 50_000))
	dst := make([]byte, 8192)
	for b.Loop() {
		var z inflater
		for src := s.Bytes(); len(src) > 0; {
			_, used, err := z.inflate(dst, src)
			if err != nil {
				b.Fatal(err)
			}
			src = src[used:]
		}
	}
}

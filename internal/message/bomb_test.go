package message

import (
	"bytes"
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"
	"time"

	"tram/internal/limits"
)

// fill repeats s to about n bytes.
func fill(s string, n int) string { return strings.Repeat(s, n/len(s)+1) }

// bombs are values on which parsers of headers have been quadratic or worse (reliability row P11).
var bombs = []struct {
	name string
	gen  func(n int) string
}{
	{"addresses", func(n int) string { return fill("a@b.example, ", n) }},
	{"no addresses", func(n int) string { return fill(",", n) }},
	{"phrase", func(n int) string { return fill("word ", n) + "<a@b>" }},
	{"dots", func(n int) string { return fill("a.", n) + "@b" }},
	{"at signs", func(n int) string { return fill("@", n) }},
	{"literals", func(n int) string { return fill("a@[", n) }},
	{"brackets", func(n int) string { return fill("<", n) }},
	{"closing brackets", func(n int) string { return "<a@b" + fill(">", n) }},
	{"colons", func(n int) string { return "a@b" + fill(":", n) }},
	{"groups", func(n int) string { return fill("g:a@b;", n) }},
	{"open groups", func(n int) string { return fill("g:", n) }},
	{"routes", func(n int) string { return "<" + fill("@a,", n) + ":b@c>" }},
	{"quotes", func(n int) string { return fill(`"`, n) }},
	{"quoted pairs", func(n int) string { return `"` + fill(`\"`, n) }},
	{"nested comments", func(n int) string { return fill("(", n) + fill(")", n) }},
	{"comments", func(n int) string { return fill("(c) ", n) }},
	{"encoded words", func(n int) string { return fill("=?utf-8?q?=C3=A9?= ", n) }},
	{"beginnings of words", func(n int) string { return fill("=?utf-8?q?", n) }},
	{"beginnings with text", func(n int) string { return fill("=?a?q?x", n) }},
	{"words and late ends", func(n int) string { return fill("=?a?q?x?=20", n) }},
	{"ends of words", func(n int) string { return fill("?=", n) }},
	{"charsets", func(n int) string { return fill("=?x-unknown-charset?b?4Q==?= ", n) }},
	{"two charsets", func(n int) string { return fill("=?koi8-r?q?=C1?= =?big5?b?pKQ=?= ", n) }},
	{"long word", func(n int) string { return "=?utf-8?b?" + fill("QUJD", n) + "?=" }},
	{"parameters", func(n int) string { return "text/plain" + fill("; a=b", n) }},
	{"continuations", func(n int) string {
		var b strings.Builder
		b.WriteString("text/plain")
		for i := 0; b.Len() < n; i++ {
			fmt.Fprintf(&b, ";a*%d*=%%41", i)
		}
		return b.String()
	}},
	{"semicolons", func(n int) string { return "text/plain" + fill("; ", n) }},
	{"junk parameters", func(n int) string { return "text/plain; " + fill("= ", n) }},
	{"percent", func(n int) string { return "a/b; n*=utf-8''" + fill("%", n) }},
	{"identifiers", func(n int) string { return fill("<a@b> ", n) }},
	{"open identifiers", func(n int) string { return fill("<a@b ", n) }},
	{"blobs", func(n int) string { return fill("[a]", n) }},
	{"open blobs", func(n int) string { return fill("[a", n) }},
	{"replies", func(n int) string { return fill("Re: ", n) }},
	{"tagged replies", func(n int) string { return fill("[a] Re [b]: ", n) }},
	{"forwards", func(n int) string { return fill("[fwd: ", n) + fill("]", n/6) }},
	{"forwards of blobs", func(n int) string { return fill("[fwd:[a]", n) + fill("]", n/8) }},
	{"trailers", func(n int) string { return "x" + fill(" (fwd)", n) }},
	{"folds", func(n int) string { return fill("a\r\n ", n) }},
	{"blank", func(n int) string { return fill(" ", n) }},
	{"NUL", func(n int) string { return fill("\x00", n) }},
	{"8-bit", func(n int) string { return fill("\xe9", n) }},
	{"marks", func(n int) string { return "e" + fill("\u0301", n) }},
	{"jamo", func(n int) string { return fill("\u1100\u1161\u11a8", n) }},
	{"ligature", func(n int) string { return fill("\ufdfa", n) }},
	{"tags", func(n int) string { return fill("<p>", n) }},
	{"open tag", func(n int) string { return "<p " + fill("a=b ", n) }},
	{"open comment", func(n int) string { return "<!--" + fill("-", n) }},
	{"raw text", func(n int) string { return "<script>" + fill("</scrip", n) }},
	{"references", func(n int) string { return fill("&", n) }},
	{"long reference", func(n int) string { return "&" + fill("a", n) }},
	{"shifts", func(n int) string { return fill("+AOk-", n) }},
	{"soft breaks", func(n int) string { return fill("= \t", n) }},
	{"base64 padding", func(n int) string { return fill("=", n) }},
}

// readers are all that read text from outside in one call.
var readers = map[string]func(s string){
	"DecodeHeader":     func(s string) { DecodeHeader(s) },
	"ParseAddressList": func(s string) { parseAddresses(s, 1<<30, "") },
	"DecodeParams":     func(s string) { DecodeParams(s) },
	"MessageIDs":       func(s string) { MessageIDs(s) },
	"newestIDs":        func(s string) { newestIDs(s, 100) },
	"BaseSubject":      func(s string) { BaseSubject(s) },
	"ParseDate":        func(s string) { ParseDate(s) },
	"Fold":             func(s string) { Fold(Fold(nil, []byte(s), false)[:0], []byte(s), true) },
	"HTMLText":         func(s string) { io.Copy(io.Discard, HTMLText(strings.NewReader(s))) },
	"utf-7":            func(s string) { decodeCharset("utf-7", []byte(s)) },
	"iso-2022-cn":      func(s string) { decodeCharset("iso-2022-cn", []byte(s)) },
	"windows-1258":     func(s string) { decodeCharset("windows-1258", []byte(s)) },
	"encodedWords":     func(s string) { encodedWords(s) },
	"quoted-printable": func(s string) { (&qpState{}).decode(nil, []byte(s)) },
	"base64":           func(s string) { appendBase64(nil, s) },
	"header":           func(s string) { AppendHeaderFields(nil, []byte(s), []string{"x"}, true) },
	"FieldWriter":      func(s string) { (&FieldWriter{}).Text("Subject", s) },
}

// cpuTimeBelow is 0 if fn takes less than limit (longer under the race detector) in one of five runs,
// else the least that it took: noise of other work goes away, a quadratic reader does not.
func cpuTimeBelow(t *testing.T, limit time.Duration, fn func()) time.Duration {
	t.Helper()
	least := time.Hour
	for range 5 {
		if least = min(least, cpuTime(t, 1, fn)); least <= slower*limit {
			return 0
		}
		runtime.GC()
	}
	return least
}

// TestLinear feeds every bomb to every reader. A quarter of a megabyte that takes less than 8 ms was
// read in linear time. Where it takes more, an eighth of it is read, too: what is linear takes eight
// times as long for the whole, what is quadratic 64 times; the line is drawn at 28.
func TestLinear(t *testing.T) {
	t.Parallel()
	const n = 32 << 10
	for name, read := range readers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, bomb := range bombs {
				value := bomb.gen(8 * n / smaller)
				long := cpuTime(t, 3, func() { read(value) })
				if long < slower*8*time.Millisecond {
					continue
				}
				part := bomb.gen(n / smaller)
				short := cpuTime(t, 3, func() { read(part) })
				// Another's noise, a garbage collection for one, may hit all three runs of the whole: what
				// is really quadratic stays so however often it is measured.
				for again := 0; long > 28*short && again < 5; again++ {
					runtime.GC()
					long = min(long, cpuTime(t, 3, func() { read(value) }))
				}
				if long > 28*short {
					t.Errorf("%s: %v for %d bytes, %v for eight times that", bomb.name, short, n, long)
				}
			}
		})
	}
}

// TestHeaderBombs proves reliability row P11: a message that is one bomb of 16 MB costs at most
// half a second, whichever field it is in.
func TestHeaderBombs(t *testing.T) {
	t.Parallel()
	for _, field := range []string{"From", "Subject", "Content-Type", "References", "Date"} {
		t.Run(field, func(t *testing.T) {
			t.Parallel()
			for _, bomb := range bombs {
				raw := []byte(field + ": " + bomb.gen(1<<20/smaller) + "\r\n\r\nx")
				if d := cpuTimeBelow(t, 500*time.Millisecond, func() { Parse(raw, testLimits) }); d > 0 {
					t.Errorf("%s: %v", bomb.name, d)
				}
				checkMessage(t, raw[:min(len(raw), 100<<10)], testLimits)
			}
		})
	}
}

// manyFields is a header of the same line again and again.
func manyFields(line string, n int) []byte { return []byte(fill(line, n) + "\r\nbody\r\n") }

func TestManyFields(t *testing.T) {
	t.Parallel()
	for _, line := range []string{
		"From: a@example.com\r\n", "To: " + fill("a@b,", 2000) + "\r\n", "X\r\n", ":\r\n", " x\r\n",
		"Content-Type: multipart/mixed; boundary=x\r\n", "References: <a@b>\r\n", "\x00: \r\n",
	} {
		raw := manyFields(line, 16<<20/smaller)
		var m *Message
		if d := cpuTimeBelow(t, 500*time.Millisecond, func() { m = Parse(raw, testLimits) }); d > 0 {
			t.Errorf("%.20q: %v", line, d)
		}
		if !m.Flaws.Has(FlawHeaderLimit) || len(m.Header) > testLimits.HeaderBytes {
			t.Errorf("%.20q: flaws %b, %d bytes kept", line, m.Flaws, len(m.Header))
		}
		if len(m.Envelope.From) > testLimits.Addresses || len(m.Envelope.To) > testLimits.Addresses+1 {
			t.Errorf("%.20q: %d and %d addresses", line, len(m.Envelope.From), len(m.Envelope.To))
		}
		if m.HeaderSize != int64(len(raw)-len("body\r\n")) {
			t.Errorf("%.20q: header of %d", line, m.HeaderSize)
		}
	}
}

// mimeBombs are messages of about n bytes that break parsers of MIME (reliability row P10).
var mimeBombs = []struct {
	name string
	gen  func(n int) []byte
}{
	{"nested multiparts", func(n int) []byte {
		var b bytes.Buffer
		for i := 0; b.Len() < n; i++ {
			fmt.Fprintf(&b, "Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n", i, i)
		}
		return b.Bytes()
	}},
	{"nested messages", func(n int) []byte {
		return []byte(fill("Content-Type: message/rfc822\r\n\r\n", n))
	}},
	{"messages in multiparts", func(n int) []byte { // the cycle of GHSA-jm95
		return []byte(fill("Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n"+
			"Content-Type: message/rfc822\r\n\r\n", n))
	}},
	{"digests", func(n int) []byte {
		return []byte(fill("Content-Type: multipart/digest; boundary=b\r\n\r\n--b\r\n\r\n", n))
	}},
	{"parts", func(n int) []byte {
		return []byte("Content-Type: multipart/mixed; boundary=b\r\n\r\n" + fill("--b\r\n\r\n", n))
	}},
	{"parts with headers", func(n int) []byte {
		return []byte("Content-Type: multipart/mixed; boundary=b\r\n\r\n" +
			fill("--b\r\nContent-Type: text/plain; name="+fill("x", 60000)+"\r\n\r\n", n))
	}},
	{"no boundary", func(n int) []byte {
		return []byte("Content-Type: multipart/mixed; boundary=b\r\n\r\n" + fill("x", n))
	}},
	{"hyphens", func(n int) []byte {
		return []byte("Content-Type: multipart/mixed; boundary=b\r\n\r\n" + fill("--\r\n", n))
	}},
	{"near misses", func(n int) []byte {
		var b bytes.Buffer
		for i := range 31 {
			fmt.Fprintf(&b, "Content-Type: multipart/mixed; boundary=%060d\r\n\r\n--%060d\r\n", i, i)
		}
		return append(b.Bytes(), fill("--"+strings.Repeat("0", 58)+"99\r\n", n)...)
	}},
	{"empty lines", func(n int) []byte { return []byte("\r\n" + fill("\r\n", n)) }},
	{"bare CR", func(n int) []byte { return []byte("\r\n" + fill("\r", n)) }},
	{"NUL", func(n int) []byte { return make([]byte, n) }},
	{"closing delimiters", func(n int) []byte {
		return []byte("Content-Type: multipart/mixed; boundary=b\r\n\r\n" + fill("--b--\r\n", n))
	}},
}

// TestMIMEBombs proves reliability row P10: 50 MB of any of them take less than a second and less
// than 64 MiB.
func TestMIMEBombs(t *testing.T) {
	for _, bomb := range mimeBombs {
		t.Run(bomb.name, func(t *testing.T) {
			raw := bomb.gen(50 << 20 / smaller)
			var m *Message
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			m = Parse(raw, testLimits)
			runtime.ReadMemStats(&after)
			if d := cpuTimeBelow(t, time.Second, func() { Parse(raw, testLimits) }); d > 0 {
				t.Errorf("it took %v", d)
			}
			if n := (after.TotalAlloc - before.TotalAlloc); n > 64<<20 {
				t.Errorf("%d bytes allocated", n)
			}
			parts := 0
			m.Root.Walk(func(*Part) { parts++ })
			if most := testLimits.Parts + testLimits.Depth + 1; parts > 2*most {
				t.Errorf("%d parts", parts)
			}
			if n := len(m.AppendBinary(nil)); n > 4<<20 {
				t.Errorf("stored form of %d bytes", n)
			}
			short := raw[:min(len(raw), 300<<10)]
			checkMessage(t, short, testLimits)
			checkSplit(t, short, testLimits, 3)
		})
	}
}

// TestLimitsGiveOpaqueLeaves looks at what a limit leaves behind.
func TestLimitsGiveOpaqueLeaves(t *testing.T) {
	t.Parallel()
	deep := Parse(mimeBombs[0].gen(20<<10), testLimits)
	part, depth := deep.Root, 0
	for len(part.Parts) > 0 {
		part, depth = part.Parts[0], depth+1
	}
	if depth != testLimits.Depth || !part.Opaque || part.Body.End != deep.Size {
		t.Errorf("depth %d ends in %+v", depth, part)
	}
	wide := Parse(mimeBombs[4].gen(20<<10), testLimits)
	n := len(wide.Root.Parts)
	last := wide.Root.Parts[n-1]
	if n != testLimits.Parts || !last.Opaque || last.Body.End != wide.Size || !wide.HasAttachment {
		t.Errorf("%d parts, the last %+v", n, last)
	}
	if !deep.Flaws.Has(FlawPartLimit) || !wide.Flaws.Has(FlawPartLimit) {
		t.Errorf("flaws %b, %b", deep.Flaws, wide.Flaws)
	}
	long := Parse([]byte("Content-Type: multipart/mixed; boundary="+fill("b", 80)+"\r\n\r\nx"), testLimits)
	if !long.Root.Opaque {
		t.Errorf("a boundary of 80: %+v", long.Root)
	}
}

// TestOneLeafForTheRest: when the parts run out inside a nested multipart, what follows it in the
// outer one is one leaf too, and the closing delimiters still close.
func TestOneLeafForTheRest(t *testing.T) {
	t.Parallel()
	lim := testLimits
	lim.Parts = 4
	raw := []byte(crlf("Content-Type: multipart/mixed; boundary=o\n\n--o\n" +
		"Content-Type: multipart/mixed; boundary=i\n\n--i\n\n1\n--i\n\n2\n--i\n\n3\n--i\n\n4\n--i--\n" +
		"--o\n\n5\n--o\n\n6\n--o--\nepilogue\n"))
	m := checkMessage(t, raw, lim)
	checkSplit(t, raw, lim, 1)
	var got []string
	m.Root.Walk(func(p *Part) {
		if p.Parts == nil {
			got = append(got, fmt.Sprintf("%v %q", p.Opaque, raw[p.Body.Start:p.Body.End]))
		}
	})
	want := []string{
		`false "1"`, `false "2"`, `true "\r\n3\r\n--i\r\n\r\n4"`, `true "\r\n5\r\n--o\r\n\r\n6"`,
	}
	if strings.Join(got, ",") != strings.Join(want, ",") {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestHardCaps runs the bombs with every limit at what an operator may raise it to.
func TestHardCaps(t *testing.T) {
	t.Parallel()
	caps := limits.Message{
		HeaderBytes: 4 << 20, FieldBytes: 1 << 20, Fields: 10000, Addresses: 10000,
		TotalAddresses: 20000, Depth: 100, Parts: 10000, Params: 1000, Boundary: 256,
		References: 10000, Preview: 1024, SearchText: 64 << 20,
	}
	for _, bomb := range mimeBombs {
		raw := bomb.gen(8 << 20 / smaller)
		if d := cpuTimeBelow(t, time.Second, func() { Parse(raw, caps) }); d > 0 {
			t.Errorf("%s: %v", bomb.name, d)
		}
		checkMessage(t, raw[:min(len(raw), 1<<20)], caps)
	}
}

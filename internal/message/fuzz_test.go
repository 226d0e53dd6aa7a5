package message

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"tram/internal/limits"
)

// smallLimits are limits that short inputs reach.
var smallLimits = limits.Message{
	HeaderBytes: 300, FieldBytes: 100, Fields: 8, Addresses: 4, TotalAddresses: 6, Depth: 3, Parts: 5,
	Params: 4, Boundary: 8, References: 2, Preview: 20, SearchText: 100,
}

// seedMessages gives a fuzz target every golden message.
func seedMessages(f *testing.F, add func(raw []byte)) {
	f.Helper()
	files, err := filepath.Glob("testdata/*.eml")
	if err != nil || len(files) == 0 {
		f.Fatalf("no seeds: %v", err)
	}
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		add(raw)
		add(withCRLF(raw))
	}
}

// FuzzParse asserts of any input that the tree is consistent, that slicing makes no difference,
// that the stored form comes back, and that what IMAP clients are told is grammatical (reliability
// rows P19, D19).
func FuzzParse(f *testing.F) {
	seedMessages(f, func(raw []byte) { f.Add(raw) })
	f.Fuzz(func(t *testing.T, raw []byte) {
		for _, lim := range []limits.Message{testLimits, smallLimits} {
			m := checkMessage(t, raw, lim)
			checkSplit(t, raw, lim, uint64(len(raw)))
			checkContent(t, raw, m)
		}
	})
}

func checkText(t *testing.T, in, out string) {
	t.Helper()
	if !utf8.ValidString(out) || strings.ContainsAny(out, "\r\n\x00") {
		t.Errorf("%q gave %q", in, out)
	}
}

func FuzzDecodeHeader(f *testing.F) {
	for _, s := range []string{
		"=?utf-8?q?=C3=A9?=", "=?iso-2022-jp?b?GyRCOzMbKEI=?=", "=?utf-8?Q?a?=20b?=", "a =?x?b?w6k?= b", "\xe9",
		"=?utf-7?q?+AOk-?=", "=?viscii*vi?Q?=AE?=",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		out := DecodeHeader(s)
		checkText(t, s, out)
		base, _ := BaseSubject(out)
		checkText(t, s, base)
		if again, _ := BaseSubject(base); again != base {
			t.Errorf("base subject of %q: %q, of that %q", out, base, again)
		}
		var w FieldWriter
		w.Text("Subject", out)
		if b, err := w.Bytes(); err != nil {
			t.Errorf("cannot write %q: %v", out, err)
		} else if f, ok := HeaderField(b, "Subject"); !ok || DecodeHeader(f.Value()) != strings.TrimRight(out, " ") &&
			trim(DecodeHeader(f.Value())) != trim(out) {
			t.Errorf("%q was written as %q", out, b)
		}
	})
}

func FuzzParseAddressList(f *testing.F) {
	for _, s := range []string{
		"A <a@b>, c@d", `"q \" x" <"l p"@[1.2.3.4]> (c)`, "g: a@b, c@d;", "<@r,@s:u@h>", "=?utf-8?q?a,b?= <c@d>", "a@b <c@d> <e",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		list := ParseAddressList(s)
		depth := 0
		for _, a := range list {
			checkText(t, s, a.Name)
			checkText(t, s, a.Mailbox+a.Host+a.Route+a.Raw)
			a.Display()
			switch a.Group {
			case GroupStart:
				depth++
			case GroupEnd:
				depth--
			}
			if depth < 0 || depth > 1 {
				t.Errorf("%q: groups are not closed: %+v", s, list)
			}
		}
		if depth != 0 || len(list) > maxAddresses+1 {
			t.Errorf("%q: %d addresses, %d open groups", s, len(list), depth)
		}
		var w FieldWriter
		w.UTF8 = true
		w.Addresses("To", list...)
		if b, err := w.Bytes(); err == nil {
			if fields := strings.Count(string(b), "\r\n") - strings.Count(string(b), "\r\n "); fields != 1 {
				t.Errorf("%q was written as %q", s, b)
			}
		}
	})
}

func FuzzDecodeParams(f *testing.F) {
	for _, s := range []string{
		"text/plain; charset=utf-8", `a; n*0*=utf-8''%C3; n*1*=%A9; n*2="x"`, `a; f="a\"b`, "a; b=c; b*=d", "multipart/x; boundary=(c)b",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		_, params := DecodeParams(s)
		params = append(params, parseContentType(s, 10, "big5").params...)
		for _, p := range params {
			checkText(t, s, p.Value)
			if p.Name == "" || p.Name != lower(p.Name) || !isASCII(p.Raw) {
				t.Errorf("%q: %+v", s, p)
			}
		}
	})
}

func FuzzParseDate(f *testing.F) {
	for _, s := range []string{
		"Fri, 21 Nov 1997 09:55:06 -0600", "2025-11-18T09:12:40.1Z", "Tue Nov 18 09:12:40 2025",
		"1/2/06 3:4 PM", "1 Jan 00 0:0 +0",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		d, ok := ParseDate(s)
		if !ok {
			return
		}
		again, ok := ParseDate(FormatDate(d))
		if !ok || !again.Equal(d) {
			t.Errorf("%q is %v, written and read %v", s, d.Format(time.RFC3339), again.Format(time.RFC3339))
		}
	})
}

func FuzzCharsets(f *testing.F) {
	for _, tt := range charsetTests {
		f.Add(tt.name, []byte(tt.in))
	}
	f.Fuzz(func(t *testing.T, name string, b []byte) {
		whole := decodeCharset(name, b)
		if !utf8.ValidString(whole) {
			t.Errorf("%s: %q gave %q", name, b, whole)
		}
		if strings.ContainsAny(name, "\"\\\r\n;") || !isASCII(name) {
			return
		}
		raw := append([]byte("Content-Type: text/plain; charset=\""+name+"\"\r\n\r\n"), b...)
		m := Parse(raw, testLimits)
		text, err := io.ReadAll(Text(bytes.NewReader(raw), m.Root))
		if err != nil || !utf8.Valid(text) {
			t.Errorf("%s: %q gave %q, %v", name, b, text, err)
		}
	})
}

// FuzzUTF7 cuts the text where it will.
func FuzzUTF7(f *testing.F) {
	f.Add([]byte("Hi Mom -+Jjo--!"), 5)
	f.Add([]byte("+2D3eAA-+-+"), 3)
	f.Fuzz(func(t *testing.T, b []byte, cut int) {
		want := decodeCharset("utf-7", b)
		d := runeDecoder{step: new(utf7)}
		dst := make([]byte, 4*len(b)+4)
		cut = min(max(cut, 0), len(b))
		n1, s1, _ := d.Transform(dst, b[:cut], false)
		n2, _, err := d.Transform(dst[n1:], b[s1:], true)
		if got := string(dst[:n1+n2]); got != want || err != nil {
			t.Errorf("%q cut at %d: %q, %v; whole %q", b, cut, got, err, want)
		}
	})
}

func FuzzHTMLText(f *testing.F) {
	for _, s := range []string{
		"<p class=a>b</p>", "<!-- x --!>a", "<script>a</script>b", "&eacute;&#x41;",
		"<a b='c\"d>e", "<blockquote>x", "<pre>\n a", "<a/b>",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		s = strings.ToValidUTF8(s, "")
		text := htmlText(t, s)
		if !utf8.ValidString(text) || len(text) > 4*len(s)+16 {
			t.Errorf("%q gave %q", s, text)
		}
		agree(t, s)
	})
}

func FuzzDecode(f *testing.F) {
	seedMessages(f, func(raw []byte) { f.Add(Parse(raw, testLimits).AppendBinary(nil)) })
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := Decode(b)
		if err != nil {
			return
		}
		use(m)
		stored := m.AppendBinary(nil)
		again, err := Decode(stored)
		if err != nil || !bytes.Equal(again.AppendBinary(nil), stored) {
			t.Errorf("%x: read and written %x, %v", b, stored, err)
		}
	})
}

func FuzzFold(f *testing.F) {
	for _, s := range []string{"Tiếng Việt", "e\u0301\u0323", "Straße", "한국", "ﬁ\xff", "\u0345\u0301α"} {
		f.Add(s, 3)
	}
	f.Fuzz(func(t *testing.T, s string, cut int) {
		for _, strip := range []bool{false, true} {
			want := Fold(nil, []byte(s), strip)
			if !utf8.Valid(want) {
				t.Errorf("%q gave %q", s, want)
			}
			n := FoldBoundary([]byte(s[:min(max(cut, 0), len(s))]))
			got := Fold(Fold(nil, []byte(s[:n]), strip), []byte(s[n:]), strip)
			if string(got) != string(want) {
				t.Errorf("%+q cut at %d: %+q, whole %+q", s, n, got, want)
			}
		}
	})
}

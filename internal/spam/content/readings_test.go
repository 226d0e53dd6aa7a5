package content

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"tram/internal/limits"
	"tram/internal/message"
)

// eicar is the harmless file that all virus scanners know, in two pieces so that this file is none.
const eicar = `X5O!P%@AP[4\PZX54(P^)7CC)7}$` + `EICAR-STANDARD-ANTIVIRUS-TEST-FILE!$H+H*`

// coded is a body with the name of its encoding.
type coded struct{ how, cte, body string }

// payloads encodes the test file in the ways that decoders differ about.
func payloads() []coded {
	b64 := base64.StdEncoding.EncodeToString([]byte(eicar))
	fold := func(s, with string, n int) string {
		var lines []string
		for len(s) > n {
			lines, s = append(lines, s[:n]), s[n:]
		}
		return strings.Join(append(lines, s), with)
	}
	pieces := func(with string, size int) string {
		var out []string
		for rest := eicar; rest != ""; {
			n := min(size, len(rest))
			out, rest = append(out, base64.StdEncoding.EncodeToString([]byte(rest[:n]))), rest[n:]
		}
		return strings.Join(out, with)
	}
	qp, low := "", ""
	for _, c := range []byte(eicar) {
		qp += fmt.Sprintf("=%02X", c)
		low += fmt.Sprintf("=%02x", c)
	}
	uu := "begin 644 eicar.com\r\n"
	for rest := eicar; rest != ""; {
		n := min(45, len(rest))
		uu += string(rune(' '+n)) + uuLine(rest[:n]) + "\r\n"
		rest = rest[n:]
	}
	const q = "quoted-printable"
	return []coded{
		{"clean base64", "base64", fold(b64, "\r\n", 76)},
		{"base64 in short lines", "base64", fold(b64, "\r\n", 8)},
		{"junk between characters", "base64", fold(b64, "!", 1)},
		{"junk in the lines", "base64", fold(b64, "\r\n#~#", 20)},
		{"high bytes as junk", "base64", fold(b64, "\xe9\xff", 7)},
		{"junk lines", "base64", fold(b64, "\r\n!! this is not base64 !!\r\n", 40)},
		{"spaces", "base64", fold(b64, " \t", 13)},
		{"padded pieces", "base64", pieces("\r\n", 40)},
		{"padded pieces on one line", "base64", pieces("", 34)},
		{"stray padding", "base64", fold(b64, "=", 6)},
		{"text after the padding", "base64", b64 + "\r\nand more words, to confuse\r\n"},
		{"data after the padding", "base64", b64 + "==" + b64[:30]},
		{"quoted-printable", q, fold(qp, "=\r\n", 60)},
		{"small letters", q, fold(low, "=\r\n", 60)},
		{"soft breaks with spaces", q, fold(qp, "= \t\r\n", 60)},
		{"bare soft breaks", q, fold(qp, "=\n", 60)},
		{"uuencode", "x-uuencode", uu + "`\r\nend\r\n"},
		{"uuencode without end", "7bit", uu},
		{"as it is", "7bit", eicar},
	}
}

// uuLine encodes a line of uuencode.
func uuLine(s string) string {
	var out []byte
	for len(s)%3 != 0 {
		s += "\x00"
	}
	for i := 0; i < len(s); i += 3 {
		v := uint32(s[i])<<16 | uint32(s[i+1])<<8 | uint32(s[i+2])
		for j := 18; j >= 0; j -= 6 {
			out = append(out, " "[0]+byte(v>>j&0x3f))
		}
	}
	return string(out)
}

const top = "From: a@example.com\r\nTo: b@example.com\r\nSubject: x\r\nDate: Mon, 2 Nov 2026 10:00:00 +0000\r\n" +
	"Message-ID: <1@example.com>\r\nMIME-Version: 1.0\r\n"

// wraps are messages around an encoded file that programs read differently, after the classes of "Inbox
// Invasion" (Zhang et al., CCS 2024) and reports about scanners that were led past.
func wraps() map[string]func(coded) string {
	file := func(p coded, header string) string {
		return "Content-Type: application/octet-stream; name=eicar.com\r\n" + header + "\r\n" + p.body + "\r\n"
	}
	cte := func(p coded) string { return "Content-Transfer-Encoding: " + p.cte + "\r\n" }
	// multi makes a multipart: the field as it is declared, and the boundary as it is used.
	multi := func(declared, used string) func(coded) string {
		return func(p coded) string {
			return top + "Content-Type: multipart/mixed" + declared + "\r\n\r\n--" + used +
				"\r\nContent-Type: text/plain\r\n\r\nHello\r\n--" + used + "\r\n" + file(p, cte(p)) + "--" + used + "--\r\n"
		}
	}
	fields := func(h func(p coded) string) func(coded) string {
		return func(p coded) string {
			return top + "Content-Type: multipart/mixed; boundary=b1\r\n\r\n--b1\r\nContent-Type: text/plain\r\n\r\nHello\r\n--b1\r\n" +
				file(p, h(p)) + "--b1--\r\n"
		}
	}
	w := map[string]func(coded) string{
		"plain":          multi("; boundary=b1", "b1"),
		"single":         func(p coded) string { return top + file(p, cte(p)) },
		"text":           func(p coded) string { return top + "Content-Type: text/plain\r\n" + cte(p) + "\r\n" + p.body },
		"no MIME":        func(p coded) string { return "From: a@example.com\r\n" + cte(p) + "\r\n" + p.body },
		"encoding twice": fields(func(p coded) string { return "Content-Transfer-Encoding: 7bit\r\n" + cte(p) }),
		"encoding first": fields(func(p coded) string { return cte(p) + "Content-Transfer-Encoding: 8bit\r\n" }),
		"three encodings": fields(func(p coded) string {
			return "Content-Transfer-Encoding: quoted-printable\r\n" + cte(p) + "Content-Transfer-Encoding: base64\r\n"
		}),
		"no encoding":         fields(func(coded) string { return "" }),
		"wrong encoding":      fields(func(coded) string { return "Content-Transfer-Encoding: binary\r\n" }),
		"unknown encoding":    fields(func(p coded) string { return "Content-Transfer-Encoding: x-" + p.cte + "\r\n" }),
		"comment":             fields(func(p coded) string { return "Content-Transfer-Encoding: (7bit) " + p.cte + "\r\n" }),
		"nested comments":     fields(func(p coded) string { return "Content-Transfer-Encoding: (a (b (c) \\) ) d) " + p.cte + " (7bit)\r\n" }),
		"open comment":        fields(func(p coded) string { return "Content-Transfer-Encoding: " + p.cte + " (7bit\r\n" }),
		"encoding in quotes":  fields(func(p coded) string { return "Content-Transfer-Encoding: \"" + p.cte + "\"\r\n" }),
		"encoding in a word":  fields(func(p coded) string { return "Content-Transfer-Encoding: =?us-ascii?Q?" + p.cte + "?=\r\n" }),
		"encoding and more":   fields(func(p coded) string { return "Content-Transfer-Encoding: " + p.cte + "; charset=x\r\n" }),
		"folded encoding":     fields(func(p coded) string { return "Content-Transfer-Encoding:\r\n \r\n " + p.cte + "\r\n" }),
		"space before colon":  fields(func(p coded) string { return "Content-Transfer-Encoding : " + p.cte + "\r\n" }),
		"odd field name":      fields(func(p coded) string { return "Content_Transfer_Encoding: " + p.cte + "\r\n" }),
		"line without colon":  fields(func(p coded) string { return "this is no field\r\n" + cte(p) }),
		"blank line of space": fields(func(p coded) string { return " \t\r\n" + cte(p) }),
		"header after a gap":  fields(func(p coded) string { return "\r\n" + cte(p) }),
		"two types": func(p coded) string {
			return top + "Content-Type: text/plain\r\n" + multi("; boundary=b1", "b1")(p)[len(top):]
		},
		"two types reversed": func(p coded) string {
			m := multi("; boundary=b1", "b1")(p)
			return strings.Replace(m, "\r\n\r\n", "\r\nContent-Type: text/plain\r\n\r\n", 1)
		},
		"two multiparts": func(p coded) string {
			return strings.Replace(multi("; boundary=b1", "b1")(p), "\r\n\r\n", "\r\nContent-Type: multipart/mixed; boundary=b2\r\n\r\n--b2\r\n\r\nno\r\n--b2--\r\n", 1)
		},
		"no final": func(p coded) string { return strings.ReplaceAll(multi("; boundary=b1", "b1")(p), "--b1--\r\n", "") },
		"after the end": func(p coded) string {
			return strings.Replace(multi("; boundary=b1", "b1")(p), "--b1\r\nContent-Type: app", "--b1--\r\n--b1\r\nContent-Type: app", 1)
		},
		"epilogue": func(p coded) string { return multi("; boundary=b1", "b1")(coded{"", "7bit", "x"}) + file(p, cte(p)) },
		"preamble": func(p coded) string {
			return strings.Replace(multi("; boundary=b1", "b1")(coded{"", "7bit", "x"}), "\r\n\r\n--b1", "\r\n\r\n"+file(p, cte(p))+"--b1", 1)
		},
		"CR line ends": func(p coded) string {
			return top + "Content-Type: multipart/mixed; boundary=b1\r\n\r\n" + strings.ReplaceAll("--b1\r\n"+file(p, cte(p))+"--b1--\r\n", "\r\n", "\r")
		},
		"LF line ends": func(p coded) string { return strings.ReplaceAll(multi("; boundary=b1", "b1")(p), "\r\n", "\n") },
		"NUL": func(p coded) string {
			return strings.ReplaceAll(multi("; boundary=b1", "b1")(p), "\r\n--b1", "\r\n-\x00-b\x001")
		},
		"no blank line": func(p coded) string {
			return top + "Content-Type: application/octet-stream\r\n" + cte(p) + p.body + "\r\n"
		},
		"blank of space": func(p coded) string { return top + strings.Replace(file(p, cte(p)), "\r\n\r\n", "\r\n \t \r\n", 1) },
		"message in base64": func(p coded) string {
			return top + "Content-Type: message/rfc822\r\nContent-Transfer-Encoding: base64\r\n\r\n" +
				base64.StdEncoding.EncodeToString([]byte(multi("; boundary=b1", "b1")(p))) + "\r\n"
		},
		"multipart in base64": func(p coded) string {
			return top + "Content-Type: multipart/mixed; boundary=b1\r\nContent-Transfer-Encoding: base64\r\n\r\n" +
				base64.StdEncoding.EncodeToString([]byte("--b1\r\n"+file(p, cte(p))+"--b1--\r\n")) + "\r\n"
		},
		"forwarded": func(p coded) string {
			return top + "Content-Type: message/rfc822\r\n\r\n" + multi("; boundary=b1", "b1")(p)
		},
		"partial": func(p coded) string {
			return top + "Content-Type: message/partial; id=x@y; number=1; total=2\r\n\r\n" + multi("; boundary=b1", "b1")(p)
		},
		"same boundary": func(p coded) string {
			return top + "Content-Type: multipart/mixed; boundary=b1\r\n\r\n--b1\r\nContent-Type: multipart/mixed; boundary=b1\r\n\r\n--b1\r\n" +
				file(p, cte(p)) + "--b1--\r\n--b1--\r\n"
		},
	}
	for name, b := range boundaries() {
		w["boundary: "+name] = multi(b[0], b[1])
	}
	return w
}

// boundaries are ways to declare a boundary, each with the boundary that some program makes of it.
func boundaries() map[string][2]string {
	long := strings.Repeat("0123456789", 8)
	return map[string][2]string{
		"quoted boundary":     {`; boundary="b1"`, "b1"},
		"single quotes":       {`; boundary='b1'`, "b1"},
		"quotes are part":     {`; boundary='b1'`, "'b1'"},
		"escapes":             {`; boundary="b\1\2"`, "b12"},
		"escapes are part":    {`; boundary="b\1"`, `b\1`},
		"comment before":      {`; boundary=(x)b1`, "b1"},
		"comment inside":      {`; boundary=b(x)1`, "b1"},
		"comment after":       {`; boundary=b1(x)`, "b1"},
		"comment is part":     {`; boundary=b1(x)`, "b1(x)"},
		"nested comment":      {`; (a(b)c) boundary=b1`, "b1"},
		"commented boundary":  {` (; boundary=no); boundary=b1`, "b1"},
		"boundary in comment": {` (; boundary=b1); boundary=no`, "b1"},
		"space around":        {`; boundary = b1`, "b1"},
		"space after":         {`; boundary="b1 "`, "b1"},
		"two boundaries":      {`; boundary=b0; boundary=b1`, "b1"},
		"two, the first":      {`; boundary=b1; boundary=b0`, "b1"},
		"pieces":              {`; boundary*0=b; boundary*1=1`, "b1"},
		"pieces and whole":    {`; boundary=no; boundary*0=b; boundary*1=1`, "b1"},
		"percent":             {`; boundary*=us-ascii''b%31`, "b1"},
		"word":                {`; boundary="=?us-ascii?Q?b1?="`, "b1"},
		"word in base64":      {`; boundary="=?utf-8?B?YjE=?="`, "b1"},
		"no end quote":        {`; boundary="b1`, "b1"},
		"junk after quote":    {`; boundary="b1"x`, "b1"},
		"empty":               {`; boundary=""`, ""},
		"none":                {``, "b1"},
		"capitals":            {`; boundary=B1`, "b1"},
		"too long":            {`; boundary=` + long, long},
		"cut":                 {`; boundary=` + long, long[:70]},
		"prefix":              {`; boundary=bound`, "boundary"},
		"folded":              {";\r\n\tboundary\r\n =\r\n b1", "b1"},
		"no semicolon":        {` boundary=b1`, "b1"},
		"comma":               {`, boundary=b1`, "b1"},
		"equals twice":        {`; boundary==b1`, "b1"},
		"equals is part":      {`; boundary==b1`, "=b1"},
		"space in it":         {`; boundary=b1 x`, "b1 x"},
	}
}

// union reads all readings of a message.
func union(t testing.TB, raw string, o Options) (all map[string]string, err error) {
	t.Helper()
	r := strings.NewReader(raw)
	m := message.Parse([]byte(raw), limits.Default().Message)
	all = map[string]string{}
	seen := map[string]bool{}
	for rd, err := range Readings(r, m, o) {
		if err != nil {
			return all, err
		}
		b, err := io.ReadAll(rd.Open())
		if err != nil {
			t.Fatal(err)
		}
		if seen[string(b)] {
			t.Errorf("%q comes again as %q", b, rd.Name)
		}
		seen[string(b)] = true
		all[fmt.Sprintf("%d %s", len(all), rd.Name)] = string(b)
	}
	return all, nil
}

// unread are the payloads that no program decodes when nothing says that they are encoded.
var unread = map[string]bool{
	"base64 in short lines": true, "junk between characters": true, "junk in the lines": true,
	"high bytes as junk": true, "spaces": true, "stray padding": true, "data after the padding": true,
	"quoted-printable": true, "small letters": true, "soft breaks with spaces": true, "bare soft breaks": true,
}

// TestUnionFindsTheFile: whatever a program must do to find the test file in an ambiguous message, one of
// the readings has done it (M10).
func TestUnionFindsTheFile(t *testing.T) {
	t.Parallel()
	n, found := 0, 0
	w := wraps()
	for _, name := range slices.Sorted(maps.Keys(w)) {
		for _, p := range payloads() {
			if strings.HasSuffix(name, " encoding") && unread[p.how] && (strings.HasPrefix(name, "no") || strings.HasPrefix(name, "wrong")) {
				continue
			}
			n++
			all, err := union(t, w[name](p), Options{})
			if err != nil {
				t.Errorf("%s, %s: %v", name, p.how, err)
				continue
			}
			ok := false
			for _, b := range all {
				ok = ok || strings.Contains(b, eicar)
			}
			if !ok {
				t.Errorf("%s, %s: not in any of %d readings: %q", name, p.how, len(all), slices.Sorted(maps.Keys(all)))
				continue
			}
			found++
		}
	}
	t.Logf("found in %d of %d messages", found, n)
	if n < 200 {
		t.Errorf("only %d messages", n)
	}
}

// TestPlainMessageHasNoOtherReadings: each part comes once.
func TestPlainMessageHasNoOtherReadings(t *testing.T) {
	t.Parallel()
	raw := top + "Content-Type: multipart/mixed; boundary=\"=_(b)1 x\"\r\n\r\nThis is a multi-part message.\r\n--=_(b)1 x\r\n" +
		"Content-Type: multipart/alternative; boundary=b2\r\n\r\n--b2\r\nContent-Type: text/plain; charset=utf-8\r\n" +
		"Content-Transfer-Encoding: quoted-printable\r\n\r\nXin ch=C3=A0o, this is a=\r\n text\r\n--b2\r\n" +
		"Content-Type: text/html\r\n\r\n<p>Hello</p>\r\n-- \r\nme\r\n--b2--\r\n--=_(b)1 x\r\nContent-Type: image/png; name=\"a (1).png\"\r\n" +
		"Content-Transfer-Encoding: base64\r\n\r\niVBORw0KGgo=\r\n--=_(b)1 x--\r\n"
	raw = strings.ReplaceAll(raw, "=_(b)1 x", "=_b1/x")
	all, err := union(t, raw, Options{})
	want := []string{"0 message", "1 part 1.1", "2 part 1.2", "3 part 2"}
	if got := slices.Sorted(maps.Keys(all)); err != nil || !slices.Equal(got, want) {
		t.Errorf("%q, %v", got, err)
	}
	if all["3 part 2"] != "\x89PNG\r\n\x1a\n" {
		t.Errorf("%q", all["3 part 2"])
	}
}

// TestReadingsAreBounded: a message made of boundaries, and one that is too much to read in every way, end
// in an error that says so.
func TestReadingsAreBounded(t *testing.T) {
	t.Parallel()
	l := limits.Default().Content
	l.Readings, l.ReadingBytes, l.Delimiters = 100, 1<<20, 10
	var b strings.Builder
	b.WriteString(top + "Content-Type: multipart/mixed; boundary=\"a\\b\"\r\n\r\n")
	for i := range 2000 {
		fmt.Fprintf(&b, "--b%d\r\nContent-Type: multipart/mixed; boundary=b%d\r\n\r\n", i, i+1)
	}
	all, err := union(t, b.String(), Options{Limits: l})
	if !errors.Is(err, ErrTooManyReadings) || len(all) > l.Readings {
		t.Errorf("%d readings, %v", len(all), err)
	}
	big := top + "Content-Transfer-Encoding: base64\r\n\r\n" + strings.Repeat("QUJD!\r\n", 100000)
	if all, err := union(t, big, Options{Limits: l}); !errors.Is(err, ErrTooManyReadings) {
		t.Errorf("%d readings, %v", len(all), err)
	}
	for range Readings(strings.NewReader(top), message.Parse([]byte(top), limits.Default().Message), Options{}) {
		break // a consumer that has seen enough
	}
}

// TestDisputes: the decoders that are left out could not have made anything else.
func TestDisputes(t *testing.T) {
	t.Parallel()
	every := map[string]func([]byte) []byte{
		"tolerant": func(b []byte) []byte { return undo("base64", b) },
		"pad":      func(b []byte) []byte { return decode64(b, stopAtPad) },
		"junk":     func(b []byte) []byte { return decode64(b, stopAtJunk) },
		"no pad":   func(b []byte) []byte { return decode64(b, skipPad) },
		"URL":      func(b []byte) []byte { return decode64(b, urlAlphabet) },
		"lines":    lines64,
		"pure":     func(b []byte) []byte { b, _ = pureLines64(b); return b },
	}
	rnd := rand.New(rand.NewPCG(1, 2))
	pieces := []string{"QUJD", "RUZH", "Qw==", "QWI=", "=", "x", "yz", "\r\n", "\n", "\r", " ", "-", "_", "!", "\x00", "\xff"}
	s := &readings{base64: true, quoted: true}
	for range 20_000 {
		var body []byte
		for range 1 + rnd.IntN(12) {
			body = append(body, pieces[rnd.IntN(len(pieces))]...)
		}
		made := map[string]bool{"": true}
		for d := range s.decodings(body, ways{all: true, amid: true}) {
			made[string(d.b)] = true
		}
		for name, decode := range every {
			if got := string(decode(body)); !made[got] {
				t.Fatalf("%q: no reading is %q, which %s makes of it", body, got, name)
			}
		}
	}
}

// TestReadingsDoNotRepeat: what pieces of a message share is decoded once, so that a large file in an
// ambiguous message is far from what the limit takes for an attack.
func TestReadingsDoNotRepeat(t *testing.T) {
	t.Parallel()
	e := base64.StdEncoding.EncodeToString(bytes.Repeat([]byte("A file of some size. "), 3000))
	var file strings.Builder
	for ; len(e) > 76; e = e[76:] {
		file.WriteString(e[:70] + "=!\r\n")
	}
	w := wraps()
	for _, name := range []string{"NUL", "two multiparts", "line without colon", "boundary: word"} {
		raw := w[name](coded{cte: "base64", body: file.String()})
		const room = 1 << 40
		s := &readings{r: strings.NewReader(raw), m: message.Parse([]byte(raw), limits.Default().Message),
			lim: limits.Default().Content, left: room, seen: sums{}, apart: sums{}, buf: make([]byte, 4096),
			yield: func(Reading, error) bool { return true }}
		if err := s.all(); err != nil {
			t.Fatal(err)
		}
		if times := (room - s.left) / int64(len(raw)); times > s.lim.ReadingTimes*4/5 {
			t.Errorf("%s: %d times the message", name, times)
		}
	}
}

// TestManyFilesInOneText: the last of many files in a text is seen, or it is said that there are too many.
func TestManyFilesInOneText(t *testing.T) {
	t.Parallel()
	uu, run := "", ""
	for _, p := range payloads() {
		switch p.how {
		case "uuencode without end":
			uu = p.body
		case "clean base64":
			run = p.body + "\r\n\r\nand\r\n\r\n"
		}
	}
	head := top + "Content-Type: text/plain\r\n\r\n"
	for name, tc := range map[string]struct {
		raw  string
		seen bool
	}{
		"files":          {strings.Repeat("begin 644 a\r\n#86)C\r\nend\r\n", mostFiles-1) + uu, true},
		"too many files": {strings.Repeat("begin 644 a\r\n#86)C\r\nend\r\n", mostFiles) + uu, false},
		"runs":           {strings.Repeat("QUJDREVGR0hJSktMTU5PUFFS\r\n-\r\n", mostRuns-1) + run, true},
		"too many runs":  {strings.Repeat("QUJDREVGR0hJSktMTU5PUFFS\r\n-\r\n", mostRuns) + run, false},
	} {
		all, err := union(t, head+tc.raw, Options{})
		found := false
		for _, b := range all {
			found = found || strings.HasPrefix(b, eicar)
		}
		if tc.seen && (err != nil || !found) || !tc.seen && !errors.Is(err, ErrTooManyReadings) {
			t.Errorf("%s: found %v, %v", name, found, err)
		}
	}
}

// broken is a message whose storage fails.
type broken struct{ err error }

func (b broken) ReadAt([]byte, int64) (int, error) { return 0, b.err }

func TestReadingsReportTheReader(t *testing.T) {
	t.Parallel()
	lost := errors.New("lost")
	m := message.Parse([]byte(top+"\r\nhello"), limits.Default().Message)
	for _, err := range Readings(broken{lost}, m, Options{}) {
		if !errors.Is(err, lost) {
			t.Errorf("a broken reader gives %v", err)
		}
	}
}

func FuzzReadings(f *testing.F) {
	for _, w := range wraps() {
		f.Add([]byte(w(payloads()[5])))
	}
	l := limits.Default().Content
	l.ReadingBytes = 4 << 20
	f.Fuzz(func(t *testing.T, b []byte) {
		m := message.Parse(b, limits.Default().Message)
		n := 0
		for rd, err := range Readings(bytes.NewReader(b), m, Options{Limits: l}) {
			if err != nil && !errors.Is(err, ErrTooManyReadings) {
				t.Fatal(err)
			}
			if n++; n > l.Readings+1 || err == nil && rd.Name == "" {
				t.Fatalf("reading %d is %+v", n, rd)
			}
		}
	})
}

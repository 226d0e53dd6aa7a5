package content

import (
	"archive/zip"
	"bytes"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"tram/internal/limits"
	"tram/internal/message"
	"tram/internal/spam/unpack"
)

var arrived = time.Date(2026, 11, 2, 10, 5, 0, 0, time.UTC)

// examine runs Examine over a message.
func examine(t testing.TB, raw string, o Options) *Report {
	t.Helper()
	if o.Now.IsZero() {
		o.Now = arrived
	}
	m := message.Parse([]byte(raw), limits.Default().Message)
	return Examine(t.Context(), strings.NewReader(raw), m, o)
}

// signsOf lists the names of a report's signs.
func signsOf(r *Report) []string {
	var names []string
	for _, s := range r.Signs {
		names = append(names, s.Name)
	}
	return names
}

// plain is a message with nothing to it but a text, and attached one with a file.
func plain(text string) string {
	return top + "Content-Type: text/plain; charset=utf-8\r\n\r\n" + text + "\r\n"
}

func page1(body string) string {
	return top + "Content-Type: text/html; charset=utf-8\r\n\r\n<html><body>" + body + "</body></html>\r\n"
}

func attached(name, typ string, content []byte) string {
	return attachedText("Please see the file that I send you with this message.", name, typ, content)
}

func attachedText(text, name, typ string, content []byte) string {
	var lines strings.Builder
	for b := base64.StdEncoding.EncodeToString(content); b != ""; {
		n := min(76, len(b))
		lines.WriteString(b[:n] + "\r\n")
		b = b[n:]
	}
	return top + "Content-Type: multipart/mixed; boundary=b1\r\n\r\n--b1\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n" + text +
		"\r\n--b1\r\nContent-Type: " + typ + "\r\nContent-Disposition: attachment; filename*=UTF-8''" + percentEncode(name) +
		"\r\nContent-Transfer-Encoding: base64\r\n\r\n" + lines.String() + "--b1--\r\n"
}

func percentEncode(s string) string {
	var out strings.Builder
	for i := 0; i < len(s); i++ {
		fmt.Fprintf(&out, "%%%02X", s[i])
	}
	return out.String()
}

func zipped(t testing.TB, files ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for i := 0; i < len(files); i += 2 {
		w, err := z.Create(files[i])
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprint(w, files[i+1])
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// locked is a zip archive whose one file is encrypted.
func locked(t testing.TB) []byte {
	b := zipped(t, "a.doc", "hello")
	b[6] |= 1
	b[bytes.Index(b, []byte("PK\x01\x02"))+8] |= 1
	return b
}

const lorem = "The quick brown fox jumps over the lazy dog while seven wizards quietly mix strange potions near foggy mountains. "

// signCases are messages with the signs that each must show; "" is a message that must show none.
func signCases(t testing.TB) []struct{ name, raw, want string } {
	long := strings.Repeat(lorem, 6)
	drop := func(field string) string {
		out := ""
		for l := range strings.Lines(top) {
			if !strings.HasPrefix(l, field) {
				out += l
			}
		}
		return out
	}
	body := "\r\nHello, this is a text.\r\n"
	alt := func(a, b string) string {
		return top + "Content-Type: multipart/alternative; boundary=b1\r\n\r\n--b1\r\nContent-Type: text/plain\r\n\r\n" + a +
			"\r\n--b1\r\nContent-Type: text/html\r\n\r\n<p>" + b + "</p>\r\n--b1--\r\n"
	}
	other := "Entirely different words describe cheap watches, lottery prizes, hidden casino bonuses, miracle pills, secret investments, urgent inheritance transfers, golden opportunities, instant riches."
	return []struct{ name, raw, want string }{
		{"plain", plain("Xin chào, hẹn gặp anh ngày mai lúc 10 giờ."), ""},
		{"page", page1("<p>" + lorem + `<a href="https://example.com/x">more</a>`), ""},
		{"forms agree", alt(lorem, "<b>"+lorem+"</b>"), ""},
		{"no date", drop("Date") + body, "NO_DATE"},
		{"date ahead", strings.Replace(top, "2 Nov", "9 Nov", 1) + body, "DATE_AHEAD"},
		{"date long ago", strings.Replace(top, "Mon, 2 Nov 2026", "Wed, 2 Sep 2026", 1) + body, "DATE_LONG_AGO"},
		{"no id", drop("Message-ID") + body, "NO_MESSAGE_ID"},
		{"no subject", drop("Subject") + body, "NO_SUBJECT"},
		{"no recipients", drop("To") + body, "HIDDEN_RECIPIENTS"},
		{"many recipients", drop("To") + "To: " + strings.Repeat("a@example.com, ", 70) + "b@example.com\r\n" + body, "MANY_RECIPIENTS"},
		{"received", "Received: from x by y; Mon, 2 Nov 2026 10:01:00 +0000\r\nReceived: from z by x; Fri, 6 Nov 2026 10:00:00 +0000\r\n" + top + body, "RECEIVED_ODD"},
		{"received well", "Received: from x by y; Mon, 2 Nov 2026 10:01:00 +0000\r\nReceived: from z by x; Mon, 2 Nov 2026 10:00:00 +0000\r\n" + top + body, ""},
		{"two authors", "From: b@example.net\r\n" + top + body, "FROM_SEVERAL"},
		{"header", "Subject : y\r\n" + top + body, "HEADER_ODD"},
		{"two types", top + "Content-Type: text/plain\r\nContent-Type: text/html\r\n" + body, "MIME_AMBIGUOUS"},
		{"partial", top + "Content-Type: message/partial; id=x; number=1; total=2\r\n" + body, "PARTIAL_MESSAGE"},
		{"NUL", top + "\r\nHello \x00 world\r\n", "NUL_BYTES"},
		{"nothing but a file", attachedText("", "a.pdf", "application/pdf", []byte("%PDF-1.4")), "EMPTY_WITH_FILE"},
		{"picture", page1(`<a href="https://example.com"><img src="cid:1"></a>`), "PICTURE_ONLY"},
		{"forms differ", alt(lorem, other), "ALTERNATIVES_DIFFER"},
		{"encoded text", top + "Content-Transfer-Encoding: base64\r\n\r\n" + base64.StdEncoding.EncodeToString([]byte(long)) + "\r\n", "TEXT_ENCODED"},
		{"charset", top + "Content-Type: text/plain; charset=utf-7\r\n" + body, "CHARSET_ODD"},

		{"display", page1("<p>Hello</p><div style='display: none'>" + long + "</div>"), "HIDDEN_TEXT"},
		{"font size", page1("<p>Hello</p><span style='font-size:0px'>" + long + "</span>"), "HIDDEN_TEXT"},
		{"one pixel", page1("<p>Hello</p><span style='font: 1px Arial'>" + long + "</span>"), "HIDDEN_TEXT"},
		{"white", page1("<p>Hello</p><font color=white>" + long + "</font>"), "HIDDEN_TEXT"},
		{"white on white", page1("<table bgcolor='#fff'><tr><td>Hello<p style='color:rgb(255,254,255)'>" + long + "</p></table>"), "HIDDEN_TEXT"},
		{"white on blue", page1("<table bgcolor='#0000ff'><tr><td>Hello<p style='color:#fff'>" + long + "</p></table>"), ""},
		{"off the screen", page1("<p>Hello</p><div style='position:absolute; left:-9999px'>" + long + "</div>"), "HIDDEN_TEXT"},
		{"by class", page1("<style>a{} .x, p.y { display:none }</style><p>Hello</p><p class=y>" + long + "</p>"), "HIDDEN_TEXT"},
		{"for small screens", page1("<style>@media (max-width:9px){.x{display:none}}</style><p class=x>" + long + "</p>"), ""},
		{"clipped", page1("<p>Hello</p><div style='max-height:0;overflow:hidden'>" + long + "</div>"), "HIDDEN_TEXT"},
		{"see-through", page1("<p>Hello</p><div style='opacity:0.0'>" + long + "</div>"), "HIDDEN_TEXT"},
		{"preview of a newsletter", page1("<div style='display:none;font-size:1px'>Our offers of this week, just for you</div><p>" + long), ""},
		{"sizes", page1("<td style='font-size:0'><p style='font-size:14px'>" + long + "</p></td>"), ""},
		{"zero width", plain("Your p\u200ba\u200bs\u200bs\u200bword has ex\u200bpired"), "ZERO_WIDTH"},
		{"scripts", plain("Your pаsswоrd\nhas еxpired"), "MIXED_SCRIPTS"},
		{"two scripts", plain("Hello, это письмо\nна двух языках, and english"), ""},
		{"comments", page1("<p>Hello" + strings.Repeat("<!-- "+lorem+" -->", 50)), "COMMENT_STUFFING"},
		{"form", page1("<p>" + lorem + "<form action='https://x.example/y'><input name=a></form>"), "FORM"},
		{"script", page1("<p>" + lorem + "<script>x()</script>"), "SCRIPT"},

		{"link shows another", page1(lorem + "<a href='https://evil.example.net/x'>https://www.bank.vn/login</a>"), "LINK_DIFFERS"},
		{"link shows a name", page1(lorem + "<a href='https://evil.example.net/x'>www.bank.vn</a>"), "LINK_DIFFERS"},
		{"link shows itself", page1(lorem + "<a href='https://www.bank.vn/x?y'>bank.vn</a>"), ""},
		{"link shows words", page1(lorem + "<a href='https://evil.example.net/x'>Read more...</a>"), ""},
		{"address", plain("see http://192.0.2.7/x for more of it"), "LINK_NUMERIC"},
		{"decimal", plain("see http://3221225991/x for more of it"), "LINK_NUMERIC"},
		{"hex", page1(lorem + "<a href='http://0xC0000207/x'>here</a>"), "LINK_NUMERIC"},
		{"octal", page1(lorem + "<a href='http://0300.0.02.07/x'>here</a>"), "LINK_NUMERIC"},
		{"IPv6", plain("see http://[2001:db8::1]/x for more of it"), "LINK_NUMERIC"},
		{"user", page1(lorem + "<a href='https://www.bank.vn@evil.example/x'>here</a>"), "LINK_USER"},
		{"slashes", page1(lorem + `<a href='https:\\www.bank.vn:443@evil.example/x'>here</a>`), "LINK_USER"},
		{"homograph", plain("see https://аррӏе.com/x for more of it"), "LINK_HOMOGRAPH"},
		{"punycode", plain("see https://xn--80ak6aa92e.com/x for more of it"), "LINK_HOMOGRAPH"},
		{"honest IDN", plain("see https://tiếngviệt.vn/x and https://пример.рф/ for more of it"), ""},
		{"shortener", plain("see https://bit.ly/3xYz for more of it"), "LINK_SHORTENED"},
		{"redirector", plain("see https://www.google.com/url?q=https%3A%2F%2Fevil.example%2Fx for more"), "LINK_REDIRECTED"},
		{"refresh", page1(lorem + "<meta http-equiv=refresh content='0; url=https://evil.example/'>"), "LINK_REDIRECTED"},
		{"javascript", page1(lorem + "<a href=' java&#10;script:x()'>here</a>"), "LINK_SCRIPT"},
		{"data", page1(lorem + "<a href='data:text/html;base64,AAAA'>here</a>"), "LINK_SCRIPT"},
		{"port", plain("see https://evil.example:8081/x for more of it"), "LINK_PORT"},
		{"escaped", plain("see https://%65vil.example/x for more of it"), "LINK_ESCAPED"},

		{"program", attached("a.txt", "text/plain", []byte("MZ\x90\x00\x03")), "FILE_PROGRAM FILE_TYPE_FALSE"},
		{"program in an archive", attached("a.zip", "application/zip", zipped(t, "run.exe", "MZ\x90\x00")), "FILE_PROGRAM"},
		{"name that runs", attached("a.vbs", "text/plain", []byte("hello")), "FILE_RUNS"},
		{"name with dots", attached("a.js. .", "text/plain", []byte("hello")), "FILE_RUNS"},
		{"shortcut", attached("a", "text/plain", []byte("L\x00\x00\x00\x01\x14\x02\x00\x00\x00\x00\x00\xc0\x00\x00\x00\x00\x00\x00F")), "FILE_RUNS"},
		{"disk", attached("a.iso", "text/plain", []byte("hello")), "FILE_DISK"},
		{"disk by content", attached("a", "text/plain", append(make([]byte, 0x8001), "CD001"...)), "FILE_DISK"},
		{"two endings", attached("invoice.pdf.scr", "text/plain", []byte("hello")), "FILE_RUNS FILE_DOUBLE_NAME"},
		{"far ending", attached("invoice.pdf                       .exe", "text/plain", []byte("hello")), "FILE_RUNS FILE_DOUBLE_NAME"},
		{"turned", attached("invoice\u202efdp.exe", "text/plain", []byte("hello")), "FILE_NAME_DIRECTION FILE_RUNS"},
		{"false type", attached("a.pdf", "application/pdf", []byte("<html>hello")), "FILE_TYPE_FALSE"},
		{"macro", attached("a.docm", "x/y", zipped(t, "[Content_Types].xml", "", "word/vbaProject.bin", "x")), "FILE_MACRO"},
		{"page", attached("a.html", "text/html", []byte("<html><form><input></form><script>x</script>")), "FILE_SCRIPT FILE_FORM"},
		{"drawing", attached("a.svg", "image/svg+xml", []byte("<svg onload='x()'>")), "FILE_SCRIPT"},
		{"PDF", attached("a.pdf", "application/pdf", []byte("%PDF-1.4 1 0 obj <</S /Launch>>")), "FILE_RUNS"},
		{"honest PDF", attached("a.pdf", "application/pdf", []byte("%PDF-1.4 1 0 obj <</Type /Catalog>>")), ""},
		{"encrypted", attached("a.zip", "application/zip", locked(t)), "FILE_ENCRYPTED"},
		{"password", attachedText("Mật khẩu là 1234, xin mở tệp.", "a.zip", "application/zip", locked(t)), "FILE_ENCRYPTED FILE_PASSWORD"},
		{"nested", attached("a.zip", "application/zip", zipped(t, "b.zip", string(zipped(t, "c.txt", "hello")))), "FILE_NESTED"},
		{"damaged", attached("a.zip", "application/zip", []byte("PK\x03\x04 nothing more")), "FILE_UNSCANNABLE"},
		{"uuencoded", plain("begin 644 run.exe\r\n" + string(rune(' '+4)) + uuLine("MZ\x90\x00") + "\r\n`\r\nend"), "FILE_UUENCODED FILE_PROGRAM"},
		{"forwarded", top + "Content-Type: message/rfc822\r\n\r\n" + attached("a.exe", "x/y", []byte("MZ\x90\x00")), "FILE_PROGRAM"},
		{"picture and text", attached("a.jpg", "image/jpeg", []byte("\xff\xd8\xff\xe0\x00")), ""},
	}
}

func TestSigns(t *testing.T) {
	t.Parallel()
	for _, c := range signCases(t) {
		r := examine(t, c.raw, Options{})
		got := signsOf(r)
		for _, want := range strings.Fields(c.want) {
			if !slices.Contains(got, want) {
				t.Errorf("%s: %q, want %s", c.name, got, want)
			}
		}
		if c.want == "" && len(got) > 0 {
			t.Errorf("%s: %+v, want none", c.name, r.Signs)
		}
		for _, s := range r.Signs {
			if scores[s.Name] != s.Score || len(s.Detail) > 200 || strings.ContainsFunc(s.Detail, isDirection) {
				t.Errorf("%s: %+v", c.name, s)
			}
		}
	}
}

// elsewhere are the signs that TestSigns does not show because they are shown by other tests here.
var elsewhere = []string{"FILE_CONTRADICTS", "FILE_DDE", "FILE_LOADS", "FILE_EMBEDDED", "FILE_LEADS"}

// TestEverySignIsSeen: the table holds nothing that no message can have.
func TestEverySignIsSeen(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, c := range signCases(t) {
		for _, s := range examine(t, c.raw, Options{}).Signs {
			seen[s.Name] = true
		}
	}
	for _, e := range Table {
		kind, _, _ := strings.Cut(e.Name, "_")
		if !seen[e.Name] && kind != "NAME" && e.Name != "ADDRESS_HOMOGRAPH" && !strings.Contains(e.Name, "_LOOKS_") &&
			!strings.HasSuffix(e.Name, "_OTHER_ENDING") && !slices.Contains(elsewhere, e.Name) {
			t.Errorf("no case shows %s", e.Name)
		}
		if e.Score <= 0 || e.English == "" || e.Vietnamese == "" || strings.HasSuffix(e.English, ".") {
			t.Errorf("%+v", e)
		}
	}
	zipDoc := func(name, content string) []byte { return zipped(t, "[Content_Types].xml", "", name, content) }
	renamed := zipped(t, "good.txt", "hello")
	copy(renamed[30:], "evil.exe")
	for i, b := range [][]byte{
		renamed, zipDoc("word/document.xml", "<w:instrText>DDEAUTO c:</w:instrText>"),
		zipDoc("word/_rels/a.rels", `<Relationship Type="x/attachedTemplate" TargetMode="External"/>`),
		zipDoc("word/embeddings/x.bin", "MZ\x90\x00"), []byte("<html><iframe src=x>"),
	} {
		if got := signsOf(examine(t, attached("a", "x/y", b), Options{})); !slices.Contains(got, elsewhere[i]) {
			t.Errorf("%q, want %s", got, elsewhere[i])
		}
	}
}

func TestReport(t *testing.T) {
	t.Parallel()
	raw := top + "Content-Type: multipart/mixed; boundary=b1\r\n\r\n--b1\r\nContent-Type: multipart/alternative; boundary=b2\r\n\r\n" +
		"--b2\r\nContent-Type: text/plain\r\n\r\nplain words\r\n--b2\r\nContent-Type: text/html; charset=utf-8\r\n\r\n" +
		"<p>Xin&nbsp;<b>chào</b> <a href='https://Example.COM/a'>see  this</a><span style='display:none'>secret</span><br>bye\r\n--b2--\r\n" +
		"--b1\r\nContent-Type: application/zip; name=a.zip\r\nContent-Transfer-Encoding: base64\r\n\r\n" +
		base64.StdEncoding.EncodeToString(zipped(t, "x/b.txt", "hello")) + "\r\n--b1--\r\n"
	r := examine(t, raw, Options{})
	if want := "Xin chào see this\nbye"; r.Text != want || !r.Hidden {
		t.Errorf("text %q, want %q; hidden %v", r.Text, want, r.Hidden)
	}
	if want := (Link{"https://Example.COM/a", "example.com", "see this"}); len(r.Links) != 1 || r.Links[0] != want {
		t.Errorf("links %+v", r.Links)
	}
	if len(r.Files) != 2 || r.Files[0].Type != unpack.Zip || r.Files[0].Claimed != "application/zip" ||
		r.Files[1].Path != "a.zip/x/b.txt" || r.Files[1].Inside != 1 || r.Files[1].Type != unpack.Text || r.Files[1].Size != 5 {
		t.Errorf("files %+v", r.Files)
	}
	r = examine(t, attached("a.zip", "application/zip", locked(t)), Options{})
	if len(r.Unscannable) != 0 || !slices.Equal(r.Encrypted, []string{"a.zip"}) || r.Files[0].Danger != Suspicious {
		t.Errorf("encrypted: %+v", r)
	}
}

// newsletter is an HTML mail of 20 kB as shops send it.
func newsletter() string {
	var b strings.Builder
	b.WriteString(top + "Content-Type: text/html; charset=utf-8\r\n\r\n<html><head><style>.a{color:#333} @media x{.b{display:none}}</style></head><body bgcolor=\"#ffffff\">")
	for i := 0; b.Len() < 20<<10; i++ {
		fmt.Fprintf(&b, "<table width=\"100%%\"><tr><td style=\"font-family:Arial;font-size:14px;color:#333333;padding:4px\" class=\"a\">"+
			"<a href=\"https://click.example.com/t/%d?u=abc\" style=\"color:#0055aa;text-decoration:none\">Ưu đãi số %d</a><br>"+
			"%s<img src=\"https://img.example.com/%d.png\" width=100></td></tr></table>\r\n", i, i, lorem, i)
	}
	return b.String() + "</body></html>\r\n"
}

func BenchmarkExamine(b *testing.B) {
	raw := newsletter()
	m := message.Parse([]byte(raw), limits.Default().Message)
	o := Options{Now: arrived, Own: NewDomains("example.vn", "example.com"), Known: NewDomains("bank.vn", "shop.vn")}
	r := strings.NewReader(raw)
	b.SetBytes(int64(len(raw)))
	b.ReportAllocs()
	for b.Loop() {
		if rep := Examine(b.Context(), r, m, o); rep.Text == "" {
			b.Fatal("no text")
		}
	}
}

func BenchmarkReadingsOfPlainMessage(b *testing.B) {
	raw := newsletter()
	m := message.Parse([]byte(raw), limits.Default().Message)
	r := strings.NewReader(raw)
	b.SetBytes(int64(len(raw)))
	b.ReportAllocs()
	for b.Loop() {
		n := 0
		for range Readings(r, m, Options{}) {
			n++
		}
		if n != 2 {
			b.Fatalf("%d readings", n)
		}
	}
}

// TestAllocations: the work on an ordinary mail allocates little, whatever the machine's speed.
func TestAllocations(t *testing.T) {
	raw := newsletter()
	m := message.Parse([]byte(raw), limits.Default().Message)
	r := strings.NewReader(raw)
	n := testing.AllocsPerRun(20, func() { Examine(t.Context(), r, m, Options{Now: arrived}) })
	if n > 3000 {
		t.Errorf("%.0f allocations for a mail of 20 kB", n)
	}
}

// TestHostileInputEnds: input that is made to send a careless loop back over the same bytes is read to its end,
// within the limits; a quadratic loop would not be done within the time of a test.
func TestHostileInputEnds(t *testing.T) {
	t.Parallel()
	for name, unit := range map[string]string{
		"open tags": "<div>", "comments": "<!--", "links": "<a href='http://a@b:1/%'>", "styles": "<style>.a{",
		"quotes": "<a href='", "ends": "</p></div></a>", "at signs": "a@b.c ", "begins": "begin 644 x\r\n", "urls": "http://",
	} {
		raw := top + "From: \"" + strings.Repeat("a@b.c ", 2000) + "\" <x@example.com>\r\nContent-Type: text/html\r\n\r\n" + strings.Repeat(unit, 1<<20/len(unit))
		if r := examine(t, raw, Options{}); len(r.Links) > limits.Default().Content.Links {
			t.Errorf("%s: %d links", name, len(r.Links))
		}
		examine(t, strings.Replace(raw, "text/html", "text/plain", 1), Options{})
	}
}

// TestWhatMailProgramsShow: text and links where a browser with scripts has none.
func TestWhatMailProgramsShow(t *testing.T) {
	t.Parallel()
	for body, want := range map[string]struct{ text, host string }{
		"<noscript><p>hello <a href=http://evil.example/>there</a></noscript> end": {"hello there end", "evil.example"},
		"<noscript><noscript><style>p{}</style>hello":                              {"hello", ""},
		"<base href='http://evil.example/'><a href='login'>hello</a>":              {"hello", "evil.example"},
		"<textarea>hello</textarea>":                                               {"hello", ""},
	} {
		r := examine(t, page1(body), Options{})
		if got := strings.TrimSpace(r.Text); got != want.text {
			t.Errorf("%s: %q", body, got)
		}
		if want.host != "" && (len(r.Links) != 1 || r.Links[0].Host != want.host) {
			t.Errorf("%s: %+v", body, r.Links)
		}
	}
}

// TestFilesBeyondTheLimit: the list of files is bounded, what is judged is not, and what is not opened any
// more is told.
func TestFilesBeyondTheLimit(t *testing.T) {
	t.Parallel()
	l := limits.Default().Content
	l.Files = 5
	has := func(r *Report, name string) bool {
		return slices.Contains(signsOf(r), name)
	}
	inside := make([]string, 0, 2*l.Files+2)
	part := "--b1\r\nContent-Type: application/octet-stream; name=%s\r\nContent-Transfer-Encoding: base64\r\n\r\n%s\r\n"
	many := top + "Content-Type: multipart/mixed; boundary=b1\r\n\r\n"
	for i := range l.Files {
		inside = append(inside, fmt.Sprintf("%d.txt", i), "hello")
		many += fmt.Sprintf(part, "a.txt", "aGVsbG8=")
	}
	archive := zipped(t, append(inside, "run.exe", "MZ")...)
	encoded := base64.StdEncoding.EncodeToString(archive)
	for name, raw := range map[string]string{
		"FILE_PROGRAM":     many + fmt.Sprintf(part, "run.exe", "TVo=") + "--b1--\r\n",
		"FILE_UNSCANNABLE": many + fmt.Sprintf(part, "a.zip", encoded) + "--b1--\r\n",
	} {
		r := examine(t, raw, Options{Limits: l})
		if !has(r, name) || len(r.Files) > l.Files {
			t.Errorf("%s: %+v, %d files", name, r.Signs, len(r.Files))
		}
	}
	r := examine(t, top+"Content-Type: multipart/mixed; boundary=b1\r\n\r\n"+fmt.Sprintf(part, "a.zip", encoded)+"--b1--\r\n",
		Options{Limits: l})
	if !has(r, "FILE_PROGRAM") || len(r.Files) > l.Files {
		t.Errorf("in an archive: %+v, %d files", r.Signs, len(r.Files))
	}
}

func FuzzExamine(f *testing.F) {
	for _, c := range signCases(f) {
		f.Add([]byte(c.raw))
	}
	l := limits.Default().Content
	l.Unpacked, l.Entries = 1<<20, 100
	own := NewDomains("example.com", "ngânhàng.vn")
	f.Fuzz(func(t *testing.T, b []byte) {
		m := message.Parse(b, limits.Default().Message)
		r := Examine(t.Context(), bytes.NewReader(b), m, Options{Limits: l, Now: arrived, Own: own, Known: own,
			OwnNames: func(s string) bool { return len(s)%2 == 0 }})
		if len(r.Text) > 4*l.Text || len(r.Files) > l.Files || len(r.Links) > l.Links {
			t.Errorf("%d bytes, %d files, %d links", len(r.Text), len(r.Files), len(r.Links))
		}
		for _, s := range r.Signs {
			if scores[s.Name] == 0 || len(s.Detail) > 200 {
				t.Errorf("%+v", s)
			}
		}
	})
}

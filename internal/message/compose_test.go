package message

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// zeros is a source of boundaries that are always the same.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

var composeDate = time.Date(2025, 11, 18, 9, 12, 40, 0, time.FixedZone("", 7*3600))

// compose writes d and asserts what holds for all that is composed.
func compose(t testing.TB, d *Draft) []byte {
	t.Helper()
	var b bytes.Buffer
	n, err := d.WriteTo(&b)
	if err != nil || n != int64(b.Len()) {
		t.Fatalf("WriteTo: %d of %d bytes, %v", n, b.Len(), err)
	}
	checkComposed(t, b.Bytes())
	return b.Bytes()
}

func checkComposed(t testing.TB, raw []byte) *Message {
	t.Helper()
	m := Parse(raw, testLimits)
	if m.BareCR || m.BareLF || m.NUL || !bytes.HasSuffix(raw, []byte("\r\n")) {
		t.Errorf("line ends: %q", raw)
	}
	if m.Flaws != 0 {
		t.Errorf("flaws %s: %q", flawList(m.Flaws), raw)
	}
	for line := range bytes.SplitSeq(raw[:m.HeaderSize], []byte("\r\n")) {
		if len(line) > lineLimit && bytes.Contains(bytes.TrimLeft(line, " "), []byte(" ")) &&
			!bytes.Contains(line, []byte(": ")) {
			t.Errorf("unfolded line %q", line)
		}
	}
	return m
}

func TestDraft(t *testing.T) {
	t.Parallel()
	d := Draft{
		From:    []Address{{Name: "Máy chủ thư", Mailbox: "postmaster", Host: "example.test"}},
		ReplyTo: []Address{{Mailbox: "odd local", Host: "example.test"}},
		To: []Address{
			{Mailbox: "bạn bè", Group: GroupStart}, {Name: "Lê, An", Mailbox: "an", Host: "ví-dụ.vn"},
			{Name: "B. (c)", Mailbox: "b", Host: "[192.0.2.1]"}, {Group: GroupEnd}, {Mailbox: "c", Host: "d"},
		},
		Cc:      []Address{{Mailbox: "no one", Group: GroupStart}, {Group: GroupEnd}},
		Subject: "Báo cáo tuần này, with a tail of plain words that has to be folded somewhere", Date: composeDate,
		MessageID: "<1@example.test>", InReplyTo: []string{"<a@b>"}, References: []string{"<a@b>", "bad id", "<c@d>"},
		AutoSubmitted: "auto-generated", Extra: []Extra{{"X-Note", "một hai"}}, Rand: zeros{},
		Content: Content{Type: "multipart/mixed", Parts: []Content{
			{Text: "Chào bạn,\n\nđây là thư.\n.\nFrom here\nend", Language: []string{"vi"}},
			{Type: "application/pdf", Body: strings.NewReader(strings.Repeat("%PDF", 50)),
				Disposition: "attachment", FileName: "Báo cáo \"quý\" 3 có tên rất dài để phải cắt ra nhiều đoạn.pdf"},
			{
				Type: "message/rfc822", Description: "thư gốc",
				Body: strings.NewReader("Subject: x\n\nbare\rlines\n\x00end"),
			},
		}},
	}
	raw := compose(t, &d)
	m := Parse(raw, testLimits)
	if m.Subject != d.Subject || !m.Date.Equal(d.Date) || m.MessageID != d.MessageID {
		t.Errorf("subject %q, date %v, id %q", m.Subject, m.Date, m.MessageID)
	}
	want := append([]Address(nil), d.To...)
	want[1].Host, want[1].Raw = "xn--v-d-rma6749a.vn", "=?utf-8?b?TMOqLCBBbg==?="
	if diff := cmp.Diff(want, m.Envelope.To); diff != "" {
		t.Errorf("To (-want +got):\n%s", diff)
	}
	if len(m.Envelope.Cc) != 2 || m.Envelope.ReplyTo[0].Mailbox != "odd local" {
		t.Errorf("Cc %v, Reply-To %v", m.Envelope.Cc, m.Envelope.ReplyTo)
	}
	if strings.Join(m.References, " ") != "<a@b> <c@d>" {
		t.Errorf("references %q", m.References)
	}
	p := m.Root.Parts
	if len(p) != 3 || p[1].FileName() != d.Content.Parts[1].FileName {
		t.Fatalf("%d parts, file %q", len(p), p[1].FileName())
	}
	r := bytes.NewReader(raw)
	text, _ := io.ReadAll(Text(r, p[0]))
	if string(text) != "Chào bạn,\r\n\r\nđây là thư.\r\n.\r\nFrom here\r\nend\r\n" &&
		string(text) != "Chào bạn,\r\n\r\nđây là thư.\r\n.\r\nFrom here\r\nend" {
		t.Errorf("text %q", text)
	}
	pdf, _ := io.ReadAll(Body(r, p[1]))
	if string(pdf) != strings.Repeat("%PDF", 50) {
		t.Errorf("attachment %q", pdf)
	}
	inner, _ := io.ReadAll(Body(r, p[2]))
	if string(inner) != "Subject: x\r\n\r\nbare\r\nlines\r\nend" || p[2].Embedded == nil {
		t.Errorf("message %q", inner)
	}
}

// TestNoInjection: whatever the values hold, the header has the fields that were asked for.
func TestNoInjection(t *testing.T) {
	t.Parallel()
	evil := rapid.Map(rapid.SliceOfN(rapid.SampledFrom([]string{
		"a", "Z", "é", "\r", "\n", "\r\n", "\r\n ", ": ", ";", `"`, `\`, "<", ">", ",", "=?", "?=",
		"\x00", "\x1b", strings.Repeat("x", 90), "@", " ", "\t", "%", "*", "'", "(", ")", "\xff",
	}), 0, 20), func(list []string) string { return strings.Join(list, "") })
	rapid.Check(t, func(t *rapid.T) {
		d := Draft{
			From:    []Address{{Name: evil.Draw(t, "name"), Mailbox: "a", Host: "b.c"}},
			To:      []Address{{Name: "x", Mailbox: "a", Host: "b"}},
			Subject: evil.Draw(t, "subject"), Date: composeDate, MessageID: "<1@x>",
			References: []string{evil.Draw(t, "reference")},
			Extra:      []Extra{{"X-Extra", evil.Draw(t, "extra")}},
			UTF8:       rapid.Bool().Draw(t, "utf8"),
			Content: Content{
				Text: evil.Draw(t, "text"), Disposition: "attachment", FileName: evil.Draw(t, "file"),
				Description: evil.Draw(t, "description"),
			},
		}
		var b bytes.Buffer
		if _, err := d.WriteTo(&b); err != nil {
			if errors.Is(err, ErrUnwritable) {
				return
			}
			t.Fatal(err)
		}
		m := Parse(b.Bytes(), testLimits)
		var names []string
		for f := range Header(m.Header) {
			names = append(names, string(f.Name))
		}
		got := strings.Join(names, " ")
		got = strings.Replace(got, " Content-Description", "", 1)
		if got != "Date From To Subject Message-ID References X-Extra MIME-Version Content-Type "+
			"Content-Transfer-Encoding Content-Disposition" {
			t.Fatalf("fields %s in %q", got, b.String())
		}
		if m.BareCR || m.BareLF || m.NUL || m.LongLine || !d.UTF8 && m.EightBit {
			t.Fatalf("bare CR or LF, NUL, long line or 8-bit in %q", b.String())
		}
		if want := cleanText(d.Subject); strings.Trim(m.Subject, " ") != strings.Trim(want, " ") {
			t.Fatalf("subject %q came back as %q from %q", want, m.Subject, b.String())
		}
		if want := cleanText(d.Content.FileName); m.Root.FileName() != want {
			t.Fatalf("file %q came back as %q from %q", want, m.Root.FileName(), b.String())
		}
		if want := trim(cleanText(d.From[0].Name)); m.FromCount != 1 || m.Envelope.From[0].Name != want {
			t.Fatalf("from %q came back as %+v from %q", want, m.Envelope.From, b.String())
		}
	})
}

func TestUnwritable(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(d *Draft){
		"field name":         func(d *Draft) { d.Extra = []Extra{{"X: y", "z"}} },
		"empty field name":   func(d *Draft) { d.Extra = []Extra{{"", "z"}} },
		"UTF-8 local part":   func(d *Draft) { d.To = []Address{{Mailbox: "đ", Host: "x"}} },
		"host with a space":  func(d *Draft) { d.To = []Address{{Mailbox: "a", Host: "x y"}} },
		"line in an address": func(d *Draft) { d.To = []Address{{Mailbox: "a\r\nX: y", Host: "x"}} },
		"long address":       func(d *Draft) { d.To = []Address{{Mailbox: strings.Repeat("a", 1000), Host: "x"}} },
		"parameter name":     func(d *Draft) { d.Content.Params = []Param{{Name: "a b", Value: "c"}} },
		"type with UTF-8":    func(d *Draft) { d.AutoSubmitted = "đ" },
		"no randomness":      func(d *Draft) { d.Content = Content{Type: "multipart/x", Parts: make([]Content, 1)} },
	} {
		d := Draft{From: []Address{{Mailbox: "a", Host: "b"}}, Date: composeDate}
		change(&d)
		var b bytes.Buffer
		if _, err := d.WriteTo(&b); !errors.Is(err, ErrUnwritable) {
			t.Errorf("%s: %v: %q", name, err, b.String())
		}
	}
}

// failing takes some bytes and then fails.
type failing struct{ left int }

func (f *failing) Write(p []byte) (int, error) {
	if f.left -= len(p); f.left < 0 {
		return 0, errBroken
	}
	return len(p), nil
}

func TestComposeErrors(t *testing.T) {
	t.Parallel()
	d := Draft{From: []Address{{Mailbox: "a", Host: "b"}}, Content: Content{Text: strings.Repeat("x\n", 50000)}}
	for _, n := range []int{0, 5000, 100_000} {
		if _, err := d.WriteTo(&failing{left: n}); !errors.Is(err, errBroken) {
			t.Errorf("after %d bytes: %v", n, err)
		}
	}
	for _, typ := range []string{"message/rfc822", "image/png"} {
		d.Content = Content{Type: typ, Body: io.MultiReader(strings.NewReader("x"), failed{errBroken})}
		if _, err := d.WriteTo(io.Discard); !errors.Is(err, errBroken) {
			t.Errorf("%s: %v", typ, err)
		}
	}
}

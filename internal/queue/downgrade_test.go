package queue

import (
	"bytes"
	"io"
	"strings"
	"testing"

	"tram/internal/limits"
	"tram/internal/message"
)

func parseText(text string) *message.Message {
	return message.Parse([]byte(text), limits.Default().Message)
}

// convert runs a downgrade over text.
func convert(text string) (string, error) {
	var b bytes.Buffer
	m := parseText(text)
	n, err := (&downgrade{r: strings.NewReader(text), m: m}).WriteTo(&b)
	if err == nil && n != int64(b.Len()) {
		err = io.ErrShortWrite
	}
	return b.String(), err
}

// RFC 6152 §3: what a server without 8BITMIME gets.
func TestDowngrade(t *testing.T) {
	t.Parallel()
	mixed := func(enc, a, b string) string {
		return "MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=B\r\n" + enc + "\r\n" +
			"before\r\n--B\r\n" + a + "\r\n--B\r\n" + b + "\r\n--B--\r\nafter\r\n"
	}
	tests := []struct {
		name, in, want string
		err            bool
	}{
		{name: "text", in: "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n" +
			"Content-Transfer-Encoding: 8bit\r\nSubject: x\r\n\r\nThư của tôi = đây\r\n",
			want: "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nSubject: x\r\n" +
				"Content-Transfer-Encoding: quoted-printable\r\n\r\nTh=C6=B0 c=E1=BB=A7a t=C3=B4i =3D =C4=91=C3=A2y\r\n"},
		{name: "no MIME", in: "Subject: x\r\n\r\ncaf\xe9\r\n", want: "Subject: x\r\nMIME-Version: 1.0\r\n" +
			"Content-Type: text/plain; charset=unknown-8bit\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\ncaf=E9\r\n"},
		{name: "7 bits already", in: "MIME-Version: 1.0\r\nContent-Transfer-Encoding: 8bit\r\n\r\nplain\r\n",
			want: "MIME-Version: 1.0\r\nContent-Transfer-Encoding: 7bit\r\n\r\nplain\r\n"},
		{name: "parts", in: mixed("Content-Transfer-Encoding: 8bit\r\n",
			"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\nơ\r\n.\r\n",
			"Content-Type: image/png\r\nContent-Transfer-Encoding: binary\r\n\r\n\x00\x01\xff\r\n"),
			want: "MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=B\r\nContent-Transfer-Encoding: 7bit\r\n\r\n" +
				"before\r\n--B\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n=C6=A1\r\n.\r\n" +
				"\r\n--B\r\nContent-Type: image/png\r\nContent-Transfer-Encoding: base64\r\n\r\nAAH/DQo=\r\n--B--\r\nafter\r\n"},
		{name: "parts that can stay", in: mixed("", "Content-Type: text/plain\r\n\r\na",
			"Content-Type: image/png\r\nContent-Transfer-Encoding: base64\r\n\r\nAAH/"),
			want: mixed("", "Content-Type: text/plain\r\n\r\na",
				"Content-Type: image/png\r\nContent-Transfer-Encoding: base64\r\n\r\nAAH/")},
		{name: "a message inside", in: mixed("", "Content-Type: message/rfc822\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"+
			"Subject: in\r\nContent-Transfer-Encoding: 8bit\r\nMIME-Version: 1.0\r\n\r\nơ\r\n", "\r\nb"),
			want: mixed("", "Content-Type: message/rfc822\r\nContent-Transfer-Encoding: 7bit\r\n\r\n"+
				"Subject: in\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=unknown-8bit\r\n"+
				"Content-Transfer-Encoding: quoted-printable\r\n\r\n=C6=A1\r\n", "\r\nb")},
		{name: "header not ASCII", in: "Subject: thư\r\n\r\na\r\n", err: true},
		{name: "header of a part not ASCII", in: mixed("", "Content-Description: thư\r\n\r\na", "\r\nb"), err: true},
		{name: "between parts", in: mixed("", "\r\na", "\r\nb") + "th\u01b0\r\n", err: true},
		{name: "in an encoding that promised none", in: "Content-Transfer-Encoding: base64\r\n\r\n\xff\xff\r\n", err: true},
		{name: "in what may not be encoded", in: "Content-Type: message/partial\r\n\r\nthư\r\n", err: true},
	}
	for _, tt := range tests {
		got, err := convert(tt.in)
		if (err != nil) != tt.err || err == nil && got != tt.want {
			t.Errorf("%s: %v\n%q, want\n%q", tt.name, err, got, tt.want)
		}
	}
}

// Whatever converts is ASCII, and says what it said.
func FuzzDowngrade(f *testing.F) {
	f.Add("Subject: x\r\n\r\ncaf\xe9\r\n")
	f.Add("Content-Type: multipart/mixed; boundary=B\r\n\r\n--B\r\n\r\nơ\r\n--B--\r\n")
	f.Add("Content-Type: image/png\r\nContent-Transfer-Encoding: binary\r\n\r\n\x00\xff")
	f.Fuzz(func(t *testing.T, text string) {
		got, err := convert(text)
		if err != nil {
			return
		}
		if !sevenBit([]byte(got)) {
			t.Fatalf("%q gives %q", text, got)
		}
		was, is := leaves(text), leaves(got)
		if len(was) != len(is) {
			t.Fatalf("%q has %d leaves, %q has %d", text, len(was), got, len(is))
		}
		for i := range was {
			if ends.Replace(was[i]) != ends.Replace(is[i]) {
				t.Fatalf("leaf %d of %q is %q, of %q is %q", i, text, was[i], got, is[i])
			}
		}
	})
}

// ends makes all line ends alike: what was not CR LF becomes it on the way out.
var ends = strings.NewReplacer("\r\n", "\n", "\r", "\n")

// leaves returns the decoded bodies of a message's leaves.
func leaves(text string) []string {
	var all []string
	r := strings.NewReader(text)
	parseText(text).Root.Walk(func(p *message.Part) {
		if len(p.Parts) > 0 || p.Embedded != nil {
			return
		}
		b, err := io.ReadAll(message.Body(r, p))
		if err != nil {
			b = []byte(err.Error())
		}
		all = append(all, string(b))
	})
	return all
}

// What happens to mail for servers that lack extensions, end to end.
func TestServerLacksExtensions(t *testing.T) {
	t.Parallel()
	vn := "From: a@us.test\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n" +
		"Content-Transfer-Encoding: 8bit\r\nSubject: x\r\n\r\nThư\r\n"
	eai := strings.Replace(vn, "Subject: x", "Subject: Thư", 1)
	tests := []struct {
		name string
		ehlo []string
		sub  Submission
		text string
		to   []string
		want string // in the body that arrives; "" if none does
		fail string // status of the failure
	}{
		{name: "8-bit", ehlo: []string{"8BITMIME"}, sub: Submission{EightBit: true}, text: vn, want: "Thư"},
		{name: "8-bit, not there", sub: Submission{EightBit: true}, text: vn, want: "Th=C6=B0"},
		{name: "binary", ehlo: []string{"CHUNKING", "BINARYMIME"}, sub: Submission{Binary: true}, text: vn, want: "Thư"},
		{name: "binary, not there", ehlo: []string{"CHUNKING", "8BITMIME"}, sub: Submission{Binary: true}, text: vn, want: "Th=C6=B0"},
		{name: "8-bit that cannot be converted", sub: Submission{EightBit: true}, text: eai, fail: "5.6.3"},
		{name: "UTF-8", ehlo: []string{"8BITMIME", "SMTPUTF8"}, sub: Submission{UTF8: true, EightBit: true}, text: eai, want: "Thư"},
		{name: "UTF-8, not there", ehlo: []string{"8BITMIME"}, sub: Submission{UTF8: true, EightBit: true}, text: eai, fail: "5.6.7"},
		{name: "UTF-8 asked for and not needed", sub: Submission{UTF8: true, EightBit: true}, text: vn, want: "Th=C6=B0"},
		{name: "an address in UTF-8", ehlo: []string{"8BITMIME"}, sub: Submission{UTF8: true}, text: note,
			to: []string{"bob@alive.test", "thư@alive.test"}, want: "hello", fail: "5.6.7"},
		{name: "too big", ehlo: []string{"SIZE 50"}, text: note, fail: "5.3.4"},
		{name: "size unknown", ehlo: []string{"SIZE"}, text: note, want: "hello"},
	}
	for _, tt := range tests {
		w := newWorld(t).run()
		s := w.net.listen(t, "192.0.2.1", tt.ehlo...)
		tt.sub.Account, tt.sub.From, tt.sub.Body = 7, addr("alice@us.test"), w.pending(tt.text)
		if tt.to == nil {
			tt.to = []string{"bob@alive.test"}
		}
		w.submit(tt.sub, tt.to...)
		if tt.fail != "" {
			if got := w.await("failed", 1); !strings.Contains(got, tt.fail) {
				t.Errorf("%s: %s", tt.name, got)
			}
		}
		if tt.want != "" {
			if m := w.get(s); !strings.Contains(m.body, tt.want) || len(m.rcpts) != 1 {
				t.Errorf("%s: %+v", tt.name, m)
			}
		}
		n := 1
		if tt.fail != "" {
			n = 2
		}
		w.await("done", n)
		if tt.want == "" && len(s.taken()) > 0 {
			t.Errorf("%s: it was sent", tt.name)
		}
		w.empty()
		w.stop()
	}
}

// P1, through the queue: what came by another way than SMTP, with line ends of every kind, leaves as
// one message whose line ends are whole.
func TestSmugglingThroughTheQueue(t *testing.T) {
	t.Parallel()
	for _, ehlo := range [][]string{nil, {"PIPELINING", "CHUNKING"}} {
		w := newWorld(t).run()
		s := w.net.listen(t, "192.0.2.1", ehlo...)
		sequences := []string{"\n.\n", "\n.\r", "\r.\n", "\r.\r", "\n.\r\n", "\r.\r\n", "\r\n.\n",
			"\r\n.\r", "\r\n.\r\r\n", "\r\r\n.\r\r\n", "\r\n\x00.\r\n", "\r\n.\r\n"}
		for n, seq := range sequences {
			evil := "Subject: x\r\n\r\na" + seq + "MAIL FROM:<evil@x.test>\r\nRCPT TO:<victim@y.test>\r\nDATA\r\n"
			w.submit(Submission{Account: 7, From: addr("alice@us.test"), Body: w.pending(evil)}, "bob@alive.test")
			m := w.get(s)
			w.await("done", n+1)
			if strings.ContainsAny(strings.ReplaceAll(m.body, "\r\n", ""), "\r\n") ||
				!strings.HasSuffix(m.body, "DATA\r\n") || m.from != "<alice@us.test>" {
				t.Errorf("%v, %q: %+v", ehlo, seq, m)
			}
		}
		if len(s.taken()) != len(sequences) || strings.Contains(s.log(), "evil") {
			t.Errorf("%v: a second message:\n%s", ehlo, s.log())
		}
		w.stop()
	}
}

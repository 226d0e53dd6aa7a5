package milter

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"

	"tram/internal/scan/filter"
	"tram/internal/scan/filter/filtertest"
)

// fake is a milter that notes what it is told and answers by a table: the command's letter to the packets,
// each a letter and its data. What is not in the table is answered with "continue".
type fake struct {
	version, actions, skip uint32
	answers                map[byte][]string

	mu   sync.Mutex
	told []string
}

func (f *fake) serve(c net.Conn) {
	for {
		cmd, data, err := readPacket(c)
		if err != nil {
			return
		}
		f.mu.Lock()
		f.told = append(f.told, fmt.Sprintf("%c%s", cmd, strings.ReplaceAll(string(data), "\x00", "|")))
		f.mu.Unlock()
		packets, scripted := f.answers[cmd]
		switch {
		case cmd == cmdQuit:
			return
		case cmd == cmdOptions && !scripted:
			var b [12]byte
			binary.BigEndian.PutUint32(b[0:], f.version)
			binary.BigEndian.PutUint32(b[4:], f.actions)
			binary.BigEndian.PutUint32(b[8:], f.skip)
			packets = []string{"O" + string(b[:])}
		case cmd == cmdMacro || cmd == cmdAbort || f.silent(cmd):
			packets = nil
		case !scripted:
			packets = []string{"c"}
		}
		for _, p := range packets {
			if err := writePacket(c, p); err != nil {
				return
			}
		}
	}
}

func (f *fake) silent(cmd byte) bool {
	bits := map[byte]uint32{cmdConnect: noReplyConn, cmdHelo: noReplyHelo, cmdMail: noReplyMail,
		cmdRcpt: noReplyRcpt, cmdData: noReplyData, cmdHeader: noReplyHdr, cmdHeaderEnd: noReplyEnd,
		cmdBody: noReplyBody}
	return f.skip&bits[cmd] != 0
}

func readPacket(c net.Conn) (byte, []byte, error) {
	var head [5]byte
	if _, err := io.ReadFull(c, head[:]); err != nil {
		return 0, nil, err
	}
	data := make([]byte, binary.BigEndian.Uint32(head[:])-1)
	_, err := io.ReadFull(c, data)
	return head[4], data, err
}

func writePacket(c net.Conn, p string) error {
	_, err := c.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(p))), p...))
	return err
}

const text = "Received: from x by mx.example.test id trail-1\r\nFrom: a@elsewhere.test\r\n" +
	"Subject:  two\r\n\tlines\r\n\r\nHello.\r\n"

func client(t *testing.T, f *fake) *Client {
	t.Helper()
	return clientOf(t, filtertest.Serve(t, f.serve))
}

func clientOf(t *testing.T, a filter.Address) *Client {
	t.Helper()
	return New(Options{Address: a, Answer: 64 << 10, Fields: 5, FieldBytes: 500, Header: 64 << 10})
}

func check(t *testing.T, f *fake) Result {
	t.Helper()
	r, err := client(t, f).Check(t.Context(), filtertest.Mail(text))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestWhole is everything that a milter is told of a message, in order.
func TestWhole(t *testing.T) {
	t.Parallel()
	f := &fake{version: 6}
	if r := check(t, f); r.Refuse.Code != 0 || r.Hold != "" || r.Fields != nil {
		t.Errorf("%+v", r)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	want := []string{
		"O||||\x06|||!|\x1f\xf7\xff",
		"DCj|mx.example.test|{daemon_name}|tram|v|tram|{client_name}|out.elsewhere.test|" +
			"{client_ptr}|out.elsewhere.test|{client_addr}|192.0.2.7|",
		"Cout.elsewhere.test|4||192.0.2.7|",
		"DH{tls_version}|TLSv1.3|{cipher}|TLS_AES_128_GCM_SHA256|",
		"Hclient.elsewhere.test|",
		"DMi|trail-1|{mail_mailer}|smtp|{mail_host}|elsewhere.test|{mail_addr}|a@elsewhere.test|",
		"M<a@elsewhere.test>|",
		"DRi|trail-1|{rcpt_mailer}|local|{rcpt_host}|example.test|{rcpt_addr}|b@example.test|",
		"R<b@example.test>|",
		"DRi|trail-1|{rcpt_mailer}|local|{rcpt_host}|example.test|{rcpt_addr}|c@example.test|",
		"R<c@example.test>|",
		"DTi|trail-1|", "T",
		"LFrom|a@elsewhere.test|", "LSubject| two\n\tlines|", "N",
		"BHello.\r\n", "DEi|trail-1|", "E",
	}
	// Of the connection, only the port's two zero bytes and the offer's numbers are not text.
	got := append([]string{}, f.told...)
	got[0], want[0] = "", ""
	got[2] = strings.Replace(got[2], "4|||", "4||", 1)
	want[2] = strings.Replace(want[2], "4||", "4||", 1)
	if diff := cmp.Diff(want, got[:len(want)]); diff != "" {
		t.Error(diff)
	}
}

// TestDecisions is each answer at each stage.
func TestDecisions(t *testing.T) {
	t.Parallel()
	for answer, want := range map[string]string{
		"r":                               "550 5.7.1 Message refused",
		"t":                               "451 4.7.1 Try again later",
		"f":                               "451 4.7.1 Try again later",
		"4":                               "451 4.7.1 Try again later",
		"d":                               "hold: the milter discards it",
		"a":                               "",
		"y550 5.7.9 No\x00":               "550 5.7.9 No",
		"y451 4.7.5 Wait 50% more\x00":    "451 4.7.5 Wait 50% more",
		"y554 Plain\x00":                  "554 Plain",
		"y550-5.7.1 a\r\n550 5.7.1 b\x00": "550 5.7.1 a b",
		"y550 5.7.1 evil\r250 ok\x1b[0m":  "550 5.7.1 evil 250 ok [0m",
		"y250 2.0.0 taken\x00":            "error",
		"y\x00":                           "error",
		"y550 a\r\n451 b\x00":             "error",
		"z":                               "error",
		"bnew body":                       "error", // not offered
		"mX\x00":                          "error",
		"+<x@y>\x00":                      "error",
	} {
		for _, at := range []byte{cmdConnect, cmdHelo, cmdMail, cmdRcpt, cmdData, cmdHeader, cmdHeaderEnd,
			cmdBody, cmdBodyEnd} {
			f := &fake{version: 6, answers: map[byte][]string{at: {"p", answer}}}
			r, err := client(t, f).Check(t.Context(), filtertest.Mail(text))
			got := ""
			switch {
			case err != nil:
				got = "error"
			case r.Hold != "":
				got = "hold: " + r.Hold
			case r.Refuse.Code != 0:
				got = r.Refuse.String()
			}
			if got != want {
				t.Errorf("%q at %c: %q (%v), want %q", answer, at, got, err, want)
			}
		}
	}
}

// TestChanges is what a milter may do to a message, and what not.
func TestChanges(t *testing.T) {
	t.Parallel()
	place := func(n uint32) string { return string(binary.BigEndian.AppendUint32(nil, n)) }
	for _, tc := range []struct {
		answers []string
		want    []string
		hold    string
	}{
		{answers: []string{"hX-One\x00 1\x00", "hX-Two\x00a\n\tb\r\nc\n \n\x00", "c"},
			want: []string{"X-One: 1\r\n", "X-Two: a\r\n\tb\r\n\tc\r\n"}},
		{answers: []string{"i" + place(0) + "A\x001\x00", "i" + place(1) + "B\x002\x00", "hC\x003\x00", "a"},
			want: []string{"B: 2\r\n", "A: 1\r\n", "C: 3\r\n"}},
		{answers: []string{"qlooks odd\x00", "c"}, hold: "quarantine: looks odd"},
		{answers: []string{"hA\x00\x00", "c"}, want: []string{"A: \r\n"}},
	} {
		r := check(t, &fake{version: 6, actions: offered, answers: map[byte][]string{cmdBodyEnd: tc.answers}})
		if diff := cmp.Diff(tc.want, r.Fields); diff != "" || r.Hold != tc.hold {
			t.Errorf("%q: %+v", tc.answers, r)
		}
	}
	for _, bad := range []string{
		"hA B\x00x\x00", "h\x00x\x00", "hA\x00x", "hA", "h", "i", "i\x00\x00\x00\x01A\x00", "hA:\x00x\x00",
		"hReturn-Path\x00<>\x00", "hreceived\x00x\x00", "hA\x00a\rb\x00", "hÄ\x00x\x00",
		"hA\x00" + strings.Repeat("x", 600) + "\x00",
	} {
		f := &fake{version: 6, answers: map[byte][]string{cmdBodyEnd: {bad, "c"}}}
		if r, err := client(t, f).Check(t.Context(), filtertest.Mail(text)); err == nil {
			t.Errorf("%q: %+v", bad, r)
		}
	}
	many := append(strings.Split(strings.Repeat("hA\x00x\x00!", 6), "!"), "c")
	f := &fake{version: 6, answers: map[byte][]string{cmdBodyEnd: many}}
	if r, err := client(t, f).Check(t.Context(), filtertest.Mail(text)); err == nil {
		t.Errorf("six fields of five: %+v", r)
	}
	f = &fake{version: 6, answers: map[byte][]string{cmdMail: {"hA\x00x\x00", "c"}}}
	if r, err := client(t, f).Check(t.Context(), filtertest.Mail(text)); err == nil {
		t.Errorf("a field before the end: %+v", r)
	}
}

// TestNegotiation: what a milter need not be told is not told, where it does not answer is not waited,
// and what it may not want ends the connection.
func TestNegotiation(t *testing.T) {
	t.Parallel()
	for _, skip := range []uint32{
		noReplyConn | noReplyHelo | noReplyMail | noReplyRcpt | noReplyData | noReplyHdr | noReplyEnd | noReplyBody,
		noConnect | noHelo | noMail | noRcpt | noData | noHeaders | noHeaderEnd | noBody | canSkip,
	} {
		f := &fake{version: 6, skip: skip, actions: actAddHeaders,
			answers: map[byte][]string{cmdBodyEnd: {"hX\x00y\x00", "c"}}}
		if r := check(t, f); len(r.Fields) != 1 {
			t.Errorf("%#x: %+v", skip, r)
		}
		f.mu.Lock()
		if got := strings.Join(f.told, "\n"); (skip&noBody != 0) == strings.Contains(got, "\nB") {
			t.Errorf("%#x: told\n%s", skip, got)
		}
		f.mu.Unlock()
	}
	for _, f := range []*fake{
		{version: 7}, {version: 1}, {version: 6, actions: 0x10}, {version: 6, actions: 0x02},
		{version: 6, skip: 0x10000000}, {version: 6, answers: map[byte][]string{cmdOptions: {"c"}}},
		{version: 6, answers: map[byte][]string{cmdOptions: {"O\x00\x00"}}},
	} {
		if err := client(t, f).Ping(t.Context()); err == nil {
			t.Errorf("%+v is fine", f)
		}
	}
	for version, knows := range map[uint32]bool{2: false, 3: false, 4: true, 6: true} {
		f := &fake{version: version}
		check(t, f)
		if told := f.letters(); strings.Contains(told, "T") != knows {
			t.Errorf("version %d is told %s", version, told)
		}
	}
}

// TestSkip: a milter that has seen enough of a body is not sent the rest.
func TestSkip(t *testing.T) {
	t.Parallel()
	f := &fake{version: 6, answers: map[byte][]string{cmdBody: {"s"}}}
	c := client(t, f)
	if _, err := c.Check(t.Context(), filtertest.Mail(text+strings.Repeat("x", 1<<20))); err != nil {
		t.Fatal(err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	chunks := 0
	for _, s := range f.told {
		if s[0] == 'B' {
			chunks++
		}
	}
	if chunks != 1 {
		t.Errorf("%d chunks", chunks)
	}
}

// TestFaults is O15 for this client.
func TestFaults(t *testing.T) {
	t.Parallel()
	for _, f := range filtertest.Faults("\x00\x00\x00\x0dO\x00\x00\x00\x06\x00\x00\x00\x01\x00\x00\x00\x00") {
		t.Run(f.Name, func(t *testing.T) {
			t.Parallel()
			a, ctx := f.Serve(t)
			c := clientOf(t, a)
			r, err := c.Check(ctx, filtertest.Mail(text))
			if err == nil {
				t.Errorf("an answer: %+v", r)
			}
			if f.Hangs && !errors.Is(err, context.Canceled) {
				t.Errorf("%v, want the context's error", err)
			}
		})
	}
}

// TestFaultsAtEachStage: it dies, hangs, or talks nonsense in the middle of a message.
func TestFaultsAtEachStage(t *testing.T) {
	t.Parallel()
	for _, at := range []byte{cmdConnect, cmdHelo, cmdMail, cmdRcpt, cmdData, cmdHeader, cmdHeaderEnd, cmdBody,
		cmdBodyEnd} {
		for name, packets := range map[string][]string{
			"silence": nil, "nonsense": {"\x00"}, "only progress": {"p", "p", "p"},
		} {
			f := &fake{version: 6, answers: map[byte][]string{at: packets}}
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
			if name == "nonsense" {
				ctx, cancel = context.WithCancel(t.Context())
			}
			if r, err := client(t, f).Check(ctx, filtertest.Mail(text)); err == nil {
				t.Errorf("%s at %c: %+v", name, at, r)
			}
			cancel()
		}
	}
}

// TestUnreadable: an error of our own storage, and a header that is too long to be told.
func TestUnreadable(t *testing.T) {
	t.Parallel()
	wrong := errors.New("wrong checksum")
	m := filtertest.Mail(text)
	m.Open = func() io.ReadCloser {
		return io.NopCloser(io.MultiReader(strings.NewReader(text), iotest.ErrReader(wrong)))
	}
	if _, err := client(t, &fake{version: 6}).Check(t.Context(), m); !errors.Is(err, wrong) {
		t.Errorf("%v", err)
	}
	long := filtertest.Mail(strings.Repeat("A: b\r\n", 20_000) + "\r\nx")
	if _, err := client(t, &fake{version: 6}).Check(t.Context(), long); !errors.Is(err, filter.ErrHeader) {
		t.Errorf("%v", err)
	}
}

func FuzzAnswers(f *testing.F) {
	f.Add([]byte("\x00\x00\x00\x08hX\x00y\x00ab\x00\x00\x00\x00\x01c"))
	f.Add([]byte("\x00\x00\x00\x0ay550 5.7.1 a"))
	f.Fuzz(func(t *testing.T, data []byte) {
		ours, theirs := net.Pipe()
		go io.Copy(io.Discard, theirs)
		go func() {
			theirs.Write(data)
			theirs.Close()
		}()
		c := New(Options{Answer: 1000, Fields: 3, FieldBytes: 300})
		talk := talk{session: &session{wire: newWire(ours, 1000), c: c}, m: filtertest.Mail("x")}
		_ = talk.answer(true)
		for _, field := range talk.result.Fields {
			lines := strings.Split(strings.TrimSuffix(field, "\r\n"), "\r\n")
			for i, l := range lines {
				if strings.ContainsAny(l, "\r\n\x00") || i > 0 && l[0] != ' ' && l[0] != '\t' {
					t.Errorf("field %q", field)
				}
			}
		}
		ours.Close()
	})
}

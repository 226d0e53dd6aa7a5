package queue

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"tram/internal/blob"
	"tram/internal/envelope"
	"tram/internal/smtp"
)

// stamp is what stands on top of a message that came by a door of ours.
const (
	returned = "Return-Path: <alice@us.test>\r\n"
	received = "Received: from pc by us.test; Sun, 1 Mar 2026 12:00:00 +0000\r\n"
)

// What counts as the field on top, in every form that it may have.
func TestReturnPath(t *testing.T) {
	t.Parallel()
	for head, want := range map[string]int{
		returned + received:                                len(returned),
		"Return-Path: <>\r\n\r\nbody":                      17,
		"return-path:<a@b>\r\nA: b\r\n":                    19,
		"RETURN-PATH \t: <a@b>\nA: b\n":                    21,
		"Return-Path:\r\n <a@b>\r\n\t(folded)\r\nA: b\r\n": 33,
		"Return-Path: <a@b>\r\n":                           20,
		"Return-Path: <a@b>":                               0,
		"Return-Pathology: x\r\n":                          0,
		"Return-Path\r\n":                                  0,
		"Return-Path":                                      0,
		received + returned:                                0,
		"\r\n" + returned:                                  0,
		"":                                                 0,
	} {
		if got := returnPath([]byte(head)); got != want {
			t.Errorf("%q: %d octets, not %d", head, got, want)
		}
	}
}

// The message behind the field reads alike by every way of reading, whatever its size, and damage is
// noticed just the same.
func TestOriginal(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, size := range []int{0, 1, 2000, 40 << 10, 700 << 10} {
		want := received + note + strings.Repeat("0123456789abcdef", size/16)
		id := w.submit(Submission{Body: w.pending(returned + want)}, "bob@alive.test")
		_, rec, err := w.q.find(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		o, err := w.q.original(t.Context(), rec.body)
		if err != nil {
			t.Fatal(err)
		}
		var all, tail strings.Builder
		n, err := o.WriteTo(&all)
		if err != nil || n != int64(len(want)) || o.Size() != n || all.String() != want {
			t.Errorf("%d octets: WriteTo gave %d, %v", len(want), n, err)
		}
		off := int64(len(want) / 3)
		_, err = io.Copy(&tail, io.NewSectionReader(o, off, o.Size()-off))
		if err != nil || tail.String() != want[off:] {
			t.Errorf("%d octets: ReadAt gave %d, %v", len(want), tail.Len(), err)
		}
		o.Close()
		o, err = w.q.original(t.Context(), rec.body)
		if err != nil {
			t.Fatal(err)
		}
		if b, err := io.ReadAll(struct{ io.Reader }{o}); err != nil || string(b) != want {
			t.Errorf("%d octets: Read gave %d, %v", len(want), len(b), err)
		}
		o.Close()
		ref := rec.body
		ref.SHA256[3] ^= 1
		if o, err = w.q.original(t.Context(), ref); err == nil {
			_, err = o.WriteTo(io.Discard)
			o.Close()
		}
		if !errors.Is(err, blob.ErrDamaged) {
			t.Errorf("%d octets with another checksum: %v", len(want), err)
		}
	}
}

// RFC 5321 §4.4: mail that is relayed has no Return-Path, by whatever command it goes and whatever is
// done to it on the way; and the size that is announced is that of what goes.
func TestRelayHasNoReturnPath(t *testing.T) {
	t.Parallel()
	dots := received + strings.TrimSuffix(note, "\r\n") + "\r\n.\r\n..two\r\n"
	vn := received + "From: a@us.test\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n" +
		"Content-Transfer-Encoding: 8bit\r\n\r\nThư\r\n"
	down := strings.NewReplacer("Content-Transfer-Encoding: 8bit", "Content-Transfer-Encoding: quoted-printable",
		"Thư", "Th=C6=B0").Replace(vn)
	big := dots + strings.Repeat(".line of a long message, with a dot in front\r\n", 6000)
	binary := received + "Content-Type: image/png\r\nContent-Transfer-Encoding: binary\r\n\r\n" +
		strings.Repeat("\x00\r\xff\n.", 40000)
	tests := []struct {
		name string
		ehlo []string
		sub  Submission
		text string // without the field
		want string // "": as it was
	}{
		{name: "DATA", ehlo: []string{"SIZE"}, text: dots},
		{name: "DATA at once", ehlo: []string{"SIZE", "PIPELINING"}, text: dots},
		{name: "BDAT", ehlo: []string{"SIZE", "PIPELINING", "CHUNKING"}, text: dots},
		{name: "long, by DATA", ehlo: []string{"SIZE", "PIPELINING", "CHUNKING"}, text: big},
		{name: "a forward", ehlo: []string{"SIZE", "PIPELINING", "CHUNKING"}, sub: Submission{ID: "t.f",
			Origin: envelope.Forward, From: addr("mallory@dead.test")}, text: dots},
		{name: "what waited for people here", ehlo: []string{"SIZE"}, sub: Submission{ID: "t.w",
			Origin: envelope.Inbound, From: addr("mallory@dead.test")}, text: dots},
		{name: "8 bits", ehlo: []string{"SIZE", "8BITMIME"}, sub: Submission{EightBit: true}, text: vn},
		{name: "8 bits to 7", ehlo: []string{"SIZE"}, sub: Submission{EightBit: true}, text: vn, want: down},
		{name: "8 bits to 7 in a chunk", ehlo: []string{"SIZE", "PIPELINING", "CHUNKING"},
			sub: Submission{EightBit: true}, text: vn, want: down},
		{name: "binary", ehlo: []string{"SIZE", "8BITMIME", "CHUNKING", "BINARYMIME"},
			sub: Submission{Binary: true}, text: binary},
		{name: "binary at once", ehlo: []string{"SIZE", "PIPELINING", "8BITMIME", "CHUNKING", "BINARYMIME"},
			sub: Submission{Binary: true}, text: binary},
		{name: "the path alone in UTF-8", ehlo: []string{"SIZE", "8BITMIME", "SMTPUTF8"},
			sub: Submission{UTF8: true, From: smtp.Address{Local: "thư", Domain: "us.test"}}, text: dots},
	}
	for _, tt := range tests {
		w := newWorld(t).run()
		s := w.net.listen(t, "192.0.2.1", tt.ehlo...)
		if tt.sub.From.IsNull() {
			tt.sub.From = addr("alice@us.test")
		}
		top := "Return-Path: " + tt.sub.From.Path() + "\r\n"
		tt.sub.Body = w.pending(top + tt.text)
		w.submit(tt.sub, "bob@alive.test")
		m := w.get(s)
		if tt.want == "" {
			tt.want = tt.text
		}
		if m.body != tt.want {
			t.Errorf("%s: %.300q came, not %.300q", tt.name, m.body, tt.want)
		}
		if size := fmt.Sprintf("SIZE=%d", len(tt.want)); !strings.Contains(m.params+" ", size+" ") {
			t.Errorf("%s: announced as %q, not %s", tt.name, m.params, size)
		}
		w.await("done", 1)
		w.empty()
		w.stop()
	}
}

// A server may take exactly what the message has without the field.
func TestSizeLimitIsOfWhatGoes(t *testing.T) {
	t.Parallel()
	for _, room := range []int{len(note), len(note) - 1} {
		w := newWorld(t).run()
		s := w.net.listen(t, "192.0.2.1", fmt.Sprintf("SIZE %d", room))
		w.submit(Submission{Account: 7, From: addr("alice@us.test"), Body: w.pending(returned + note)}, "bob@alive.test")
		if room < len(note) {
			if got := w.await("failed", 1); !strings.Contains(got, "5.3.4") {
				t.Error(got)
			}
		} else if m := w.get(s); m.body != note {
			t.Errorf("%q", m.body)
		}
		w.stop()
	}
}

// A source that a server reads half of, or not at all, is read from its beginning for the next.
func TestMessageIsReadAnew(t *testing.T) {
	t.Parallel()
	text := received + note + strings.Repeat("a line of a message that is not short\r\n", 30000)
	for _, ehlo := range [][]string{nil, {"PIPELINING", "CHUNKING"}} {
		w := newWorld(t)
		w.dns.Add(routeZone)
		s1, s2 := w.net.listen(t, "192.0.2.11", ehlo...), w.net.listen(t, "192.0.2.12", ehlo...)
		s1.on(at("MAIL", "451 4.7.1 elsewhere"))
		var cut atomic.Bool
		s2.on(func(stage, _ string) string {
			if stage == "HALF" && !cut.Swap(true) {
				return "CUT"
			}
			return ""
		})
		w.run()
		w.submit(Submission{Account: 7, From: addr("alice@us.test"), Body: w.pending(returned + text)}, "bob@order.test")
		w.await("deferred", 1)
		w.later(10 * time.Minute)
		if m := w.get(s2); m.body != text {
			t.Errorf("%v: %d octets came, not %d", ehlo, len(m.body), len(text))
		}
		w.await("done", 1)
		w.empty()
		w.stop()
	}
}

// People of this house get the field, once; and what is parsed for them is what they get.
func TestLocalKeepsReturnPath(t *testing.T) {
	t.Parallel()
	for _, id := range []ID{"t", "t.w"} {
		w := newWorld(t).run()
		w.net.listen(t, "192.0.2.1")
		body := w.pending(returned + received + note)
		w.submit(Submission{ID: id, Account: 7, From: addr("alice@us.test"), Body: body}, "bob@us.test", "eve@alive.test")
		w.await("done", 1)
		w.local.mu.Lock()
		e := w.local.got[0]
		w.local.mu.Unlock()
		var b strings.Builder
		if _, err := e.Body.Open(t.Context()).WriteTo(&b); err != nil {
			t.Fatal(err)
		}
		if b.String() != returned+received+note || e.Message.Size != int64(b.Len()) ||
			!strings.HasPrefix(string(e.Message.Header), returned+received) {
			t.Errorf("%s: filed %q", id, b.String())
		}
		w.stop()
	}
}

// What a notice returns of a message has no Return-Path either, be it header or whole, of a
// submission, a forward or what came by the local socket.
func TestNoticeHasNoReturnPath(t *testing.T) {
	t.Parallel()
	header, _, _ := strings.Cut(note, "\r\n\r\n")
	for _, ret := range []string{"FULL", "HDRS", ""} {
		for _, id := range []ID{"t", "t.f", "t.w"} {
			for _, bits := range []string{"", "thư\r\n"} {
				w := newWorld(t).run()
				w.net.listen(t, "192.0.2.1", "8BITMIME").on(at("RCPT", "550 5.1.1 no"))
				w.submit(Submission{ID: id, Account: 7, From: addr("alice@us.test"), Ret: ret, EightBit: bits != "",
					Body: w.pending(returned + received + note + bits)}, "bob@alive.test")
				w.await("done", 2)
				parsed, whole := w.notices()
				want := received + note + bits
				if ret != "FULL" {
					want = received + header + "\r\n"
				}
				if got := part(t, whole[0], parsed[0], 2); got != want {
					t.Errorf("RET=%s of %s returns %q, not %q", ret, id, got, want)
				}
				w.empty()
				w.stop()
			}
		}
	}
}

// RFC 3030 §3: a message in BINARYMIME does not come back whole: its notice could not be delivered
// where BINARYMIME is not known.
func TestBinaryIsNotReturnedWhole(t *testing.T) {
	t.Parallel()
	w := newWorld(t).run()
	w.net.listen(t, "192.0.2.1", "CHUNKING", "BINARYMIME").on(at("RCPT", "550 5.1.1 no"))
	w.submit(Submission{Account: 7, From: addr("alice@us.test"), Ret: "FULL", Binary: true,
		Body: w.pending(returned + note + "\x00\r\x01\n")}, "bob@alive.test")
	w.await("done", 2)
	parsed, whole := w.notices()
	if p := parsed[0].Root.Parts[2]; p.Subtype != "rfc822-headers" || strings.Contains(whole[0], "hello") {
		t.Errorf("returned as %s/%s", p.Type, p.Subtype)
	}
}

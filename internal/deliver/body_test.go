package deliver

import (
	"context"
	"io"
	"strings"
	"testing"

	"tram/internal/dns"
	"tram/internal/envelope"
	"tram/internal/smtp"
)

// take runs text through a Body in pieces of n bytes and returns what was stored.
func take(t *testing.T, h *house, origin envelope.Origin, text string, n int) (string, *envelope.Envelope, error) {
	t.Helper()
	env := &envelope.Envelope{Origin: origin, From: smtp.Address{Local: "a", Domain: "b.test"}}
	b := New(h.o).NewBody(context.Background(), env, []byte("Received: us\r\n"))
	for rest := text; rest != ""; {
		k := min(n, len(rest))
		if w, err := b.Write([]byte(rest[:k])); w != k || err != nil {
			t.Fatalf("write: %d, %v", w, err)
		}
		rest = rest[k:]
	}
	if err := b.Finish(); err != nil {
		return "", env, err
	}
	r := env.Body.Open(context.Background())
	defer r.Close()
	got, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	if env.Message == nil || env.Message.Size != int64(len(got)) {
		t.Fatalf("%d bytes stored, parse says %+v", len(got), env.Message)
	}
	return string(got), env, nil
}

// TestStamp: the fields on top, an alien Return-Path gone (RFC 5321 §4.4), every other byte as it
// came, whatever slices it came in.
func TestStamp(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	const top = "Return-Path: <a@b.test>\r\nReceived: us\r\n"
	for in, want := range map[string]string{
		"A: b\r\n\r\ntext\r\n": "A: b\r\n\r\ntext\r\n",
		"\r\ntext\r\n":         "\r\ntext\r\n",
		"":                     "",
		"A: b":                 "A: b",
		"A: b\r\n":             "A: b\r\n",
		"A: b\r\n\r\n":         "A: b\r\n\r\n",
		"Return-Path: <x>\r\nA: b\r\n\r\nReturn-Path: <y>\r\n":             "A: b\r\n\r\nReturn-Path: <y>\r\n",
		"A: b\r\nreturn-path : <x>\r\n\t(folded)\r\n more\r\nC: d\r\n\r\n": "A: b\r\nC: d\r\n\r\n",
		"Return-Path: <x>\r\nReturn-Path: <y>\r\n\r\n":                     "\r\n",
		"Return-Path: <x>\r\n folded to the end":                           "",

		"Return-Pathology: x\r\nReturn-Path\r\n\r\n":   "Return-Pathology: x\r\nReturn-Path\r\n\r\n",
		"A: Return-Path: x\r\n Return-Path: y\r\n\r\n": "A: Return-Path: x\r\n Return-Path: y\r\n\r\n",
	} {
		for _, n := range []int{1 << 20, 4096, 7, 1} {
			got, _, err := take(t, h, envelope.Inbound, in, n)
			if err != nil || got != top+want {
				t.Errorf("%.60q in pieces of %d: %.200q, %v", in, n, got, err)
			}
		}
	}
	if _, _, err := take(t, h, envelope.Inbound, " folded: x\r\n\r\n", 100); ReplyOf(err).Code != 550 {
		t.Errorf("a header that continues ours: %v", err)
	}
}

// TestLongHeader: results of checks, or a Return-Path, in a header that is too long to be cleaned do not
// get in from outside, whether somebody checks mail here or not. Programs of the house are believed.
func TestLongHeader(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("X-Long: "+strings.Repeat("y", 900)+"\r\n", 300)
	forged := long + "Authentication-Results: mx.example.test; dmarc=pass\r\nReturn-Path: <x>\r\n\r\ntext\r\n"
	for _, h := range []*house{newHouse(t), newHouse(t).looking(dns.NewFake(""))} {
		for _, n := range []int{1 << 20, 4096, 70} {
			for _, in := range []string{forged, long, strings.ReplaceAll(long, "\r\n", "")} {
				_, _, err := take(t, h, envelope.Inbound, in, n)
				r := ReplyOf(err).String()
				if !strings.HasPrefix(r, "550 5.6.0 ") || !strings.Contains(r, "256 kB") {
					t.Errorf("%.20q of %d bytes in pieces of %d: %s", in, len(in), n, r)
				}
			}
		}
		if _, _, err := take(t, h, envelope.LMTP, forged, 4096); err != nil {
			t.Errorf("from a program of the house: %v", err)
		}
	}
}

// TestComplete: a submission gets the fields it lacks, RFC 6409 §8, and keeps its Bcc.
func TestComplete(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	got, env, err := take(t, h, envelope.Submission, "From: a@b.test\r\nBcc: c@d.test\r\n\r\n", 5)
	if err != nil || env.Message.MessageID == "" || env.Message.Date.IsZero() ||
		!strings.HasSuffix(got, "From: a@b.test\r\nBcc: c@d.test\r\n\r\n") ||
		!strings.HasSuffix(env.Message.MessageID, "@b.test>") {
		t.Errorf("completed to %q, %v", got, err)
	}
	in := "date: Sat, 1 Aug 2026 10:00:00 +0700\r\nMESSAGE-ID: <x@y>\r\nFrom: a@b.test\r\n\r\n"
	got, _, err = take(t, h, envelope.Submission, in, 5)
	if err != nil || got != "Return-Path: <a@b.test>\r\nReceived: us\r\n"+in {
		t.Errorf("changed to %q, %v", got, err)
	}
	got, _, err = take(t, h, envelope.Inbound, "From: a@b.test\r\n\r\n", 5)
	if err != nil || strings.Contains(got, "Date:") {
		t.Errorf("inbound changed to %q, %v", got, err)
	}
}

// TestContentHash: the same bytes have the same hash whoever received them when.
func TestContentHash(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	_, one, _ := take(t, h, envelope.Inbound, text, 100)
	_, two, _ := take(t, h, envelope.Inbound, text, 3)
	_, other, _ := take(t, h, envelope.Inbound, text+"x", 100)
	if one.ContentHash != two.ContentHash || one.ContentHash == other.ContentHash {
		t.Error("hashes of the same content differ, or of different content do not")
	}
}

// TestAbort leaves nothing behind, and the Body's memory to the next message.
func TestAbort(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	d := New(h.o)
	for range 3 {
		b := d.NewBody(t.Context(), &envelope.Envelope{}, nil)
		b.Write([]byte("A: b"))
		b.Abort()
	}
	if out := d.DeliverAll(t.Context(), h.mail(d, envelope.Inbound, text, "alice")); !out.OK() {
		t.Error(out.Reply)
	}
	if got := h.inbox("alice"); len(got) != 1 || !strings.HasSuffix(got[0], "\r\n"+text) {
		t.Errorf("stored %q", got)
	}
}

package dkim

import (
	"crypto/rsa"
	"fmt"
	"strings"
	"testing"
	"time"

	"tram/internal/limits"
	"tram/internal/mailauth"
)

// written is a message as a program of ours sends it.
const written = "From: Lan <lan@example.org>\r\nTo: b@example.net\r\nSubject: Hello\r\n" +
	"Date: Sun, 22 Nov 2026 12:00:00 +0000\r\nMessage-ID: <1@example.org>\r\nMIME-Version: 1.0\r\n" +
	"Content-Type: text/plain; charset=utf-8\r\nList-Unsubscribe: <https://example.org/u>\r\n"

const writtenBody = "Hello,\r\n\r\nthis is all.\r\n"

// signWith makes the fields of both kinds of key, and a resolver that has their records.
func signWith(t *testing.T, header, body string, o SignOptions) (string, texts) {
	t.Helper()
	b := NewBodies()
	sum := b.Add(true, -1)
	_, _ = b.Write([]byte(body))
	b.Close()
	fields, r := "", texts{}
	for _, s := range []signer{newSigner(t, 0), newSigner(t, 2048)} {
		field, err := Sign([]byte(header), sum.Sum(), s.key, o)
		if err != nil {
			t.Fatal(err)
		}
		fields += field
		r[s.key.Selector+"._domainkey.example.org"] = []string{s.record(t)}
	}
	return fields, r
}

func check(t *testing.T, r TXTResolver, header, body string, at time.Time) []mailauth.DKIM {
	t.Helper()
	v := NewVerifier([]byte(header), Options{Limits: limits.Default().MailAuth, Now: at})
	_, _ = v.Write([]byte(body))
	return v.Finish(t.Context(), r)
}

func TestSign(t *testing.T) {
	t.Parallel()
	fields, r := signWith(t, written, writtenBody, SignOptions{Now: now})
	for line := range strings.SplitSeq(fields, "\r\n") {
		if len(line) > 78 {
			t.Errorf("a line has %d octets: %s", len(line), line)
		}
	}
	got := check(t, r, fields+written, writtenBody, now)
	for i, want := range []string{Ed25519SHA256, RSASHA256} {
		g := got[i]
		if g.Status != mailauth.Pass || g.Algorithm != want || g.Part || g.Domain != "example.org" {
			t.Errorf("%+v", g)
		}
		// M5: nobody may send it on for longer than a week.
		if life := g.Expires.Sub(g.Signed); life <= 0 || life > 7*24*time.Hour || !g.Signed.Equal(now) {
			t.Errorf("signed %s, expires %s", g.Signed, g.Expires)
		}
		if strings.Contains(fields, "l=") {
			t.Error("a part is signed")
		}
	}
	for _, g := range check(t, r, fields+written, writtenBody, now.Add(7*24*time.Hour+time.Second)) {
		if g.Status != mailauth.Fail {
			t.Errorf("after a week: %+v", g)
		}
	}
	if _, err := Sign([]byte("To: x@example.net\r\n"), make([]byte, 32), newSigner(t, 0).key, SignOptions{Now: now}); err == nil {
		t.Error("a message without an author was signed")
	}
}

// TestOversigned is M4: whatever a stranger adds to the header of a signed message breaks its
// signatures, wherever he adds it; also a field that was not there.
func TestOversigned(t *testing.T) {
	t.Parallel()
	fields, r := signWith(t, written, writtenBody, SignOptions{Now: now})
	whole := fields + written
	cases := 0
	for _, add := range []string{
		"From: Boss <boss@example.org>", "from : x@example.com", "Subject: Pay", "To: c@example.net",
		"Content-Type: text/html", "Reply-To: thief@example.com", "Cc: d@example.net",
		"Date: Mon, 23 Nov 2026 12:00:00 +0000", "Message-ID: <2@example.org>",
		"In-Reply-To: <0@example.org>", "References: <0@example.org>", "MIME-Version: 1.0",
		"Content-Transfer-Encoding: base64",
		"List-Unsubscribe: <https://example.com/>",
	} {
		for at := 0; at >= 0; {
			for _, g := range check(t, r, whole[:at]+add+"\r\n"+whole[at:], writtenBody, now) {
				if g.Status != mailauth.Fail {
					t.Errorf("%q at %d: %+v", add, at, g)
				}
				cases++
			}
			at = nextStart(whole, at)
		}
	}
	if cases < 2*14*10 {
		t.Errorf("only %d cases", cases)
	}
	for _, from := range []string{"From:", "Subject:", "Content-Type:"} { // and taking one away
		start := strings.Index(whole, "\r\n"+from) + 2
		for _, g := range check(t, r, whole[:start]+whole[nextStart(whole, start):], writtenBody, now) {
			if g.Status != mailauth.Fail {
				t.Errorf("without %s %+v", from, g)
			}
		}
	}
}

// nextStart is where the field behind the one at pos begins, or -1 at the end.
func nextStart(header string, pos int) int {
	for {
		i := strings.Index(header[pos:], "\r\n")
		if i < 0 {
			return -1
		}
		if pos += i + 2; pos == len(header) {
			return -1
		}
		if header[pos] != ' ' && header[pos] != '\t' {
			return pos
		}
	}
}

// TestManyFields signs what no program writes.
func TestManyFields(t *testing.T) {
	t.Parallel()
	header := written + strings.Repeat("References: <x@example.org>\r\n", 200)
	fields, r := signWith(t, header, "", SignOptions{Now: now, Identity: "lan@example.org", Lifetime: time.Hour})
	for _, g := range check(t, r, fields+header, "", now) {
		if g.Status != mailauth.Pass || g.Identity != "lan@example.org" || g.Expires.Sub(g.Signed) != time.Hour {
			t.Errorf("%+v", g)
		}
	}
}

func FuzzVerify(f *testing.F) {
	f.Add(strings.ReplaceAll(rfc6376, "\n", "\r\n"))
	f.Add(strings.ReplaceAll(rfc8463, "\n", "\r\n"))
	f.Add("DKIM-Signature: v=1; a=rsa-sha256; c=simple; d=a; s=b; h=from; bh=AA==; b=;\r\nFrom: a\r\n\r\n")
	f.Add("DKIM-Signature: \r\n\r\n\r\n")
	f.Add("DKIM-Signature: v=1; a=ed25519-sha256; d=\xc3\xa9.example; s=b; l=3; h=from::; bh=AA; b=AA; t=9; x=99\r\nFrom:\r\n\r\n \t\r\r\n")
	r := texts{"brisbane._domainkey.example.com": {"v=DKIM1; p=MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDwIRP/UC3SBsEmGqZ9ZJW3/DkMoGeLnQg1fWn7/zYtIxN2SnFCjxOCKG9v3b4jYfcTNh5ijSsq631uBItLa7od+v/RtdC2UzJ1lWT947qR+Rcac2gbto/NMqJ0fzfVjH4OuKhitdY9tf6mcwGjaNBcWToIMmPSPDdQPNUYckcQ2QIDAQAB"}}
	f.Fuzz(func(t *testing.T, m string) {
		header, body := cut(m)
		var first []mailauth.DKIM
		for i, piece := range []int{1, 1000000} {
			v := NewVerifier([]byte(header), Options{Limits: limits.Default().MailAuth, Now: now})
			for rest := []byte(body); len(rest) > 0; {
				n := min(piece, len(rest))
				_, _ = v.Write(rest[:n])
				rest = rest[n:]
			}
			got := v.Finish(t.Context(), r)
			if len(got) > limits.Default().MailAuth.Signatures+1 {
				t.Fatalf("%d results", len(got))
			}
			for _, g := range got {
				if g.Status == "" || g.Status == mailauth.Pass && g.Part {
					t.Fatalf("%+v", g)
				}
			}
			if i == 0 {
				first = got
			} else if fmt.Sprint(first) != fmt.Sprint(got) {
				t.Fatalf("by pieces %+v, at once %+v", first, got)
			}
		}
	})
}

func FuzzKey(f *testing.F) {
	f.Add("v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=")
	f.Add("v=DKIM1; h=sha256:sha1; s=*; t=y:s; n=x; p=")
	f.Add("p=MIGfMA0GCSqGSIb3DQEBAQUAA4GN")
	f.Fuzz(func(t *testing.T, text string) {
		k, err := ParseKey(text)
		if err != nil {
			return
		}
		record, err := Record(k.Key)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := ParseKey(record); err != nil || again.Bits != k.Bits {
			t.Fatalf("%q became %q: %v", text, record, err)
		}
	})
}

func benchBody(n int) string {
	line := "This is a line of a message as people write them, of some seventy octets.\r\n"
	return strings.Repeat(line, n/len(line)+1)[:n]
}

func BenchmarkVerify(b *testing.B) {
	for _, size := range []int{4 << 10, 1 << 20} {
		b.Run(fmt.Sprintf("%dk", size>>10), func(b *testing.B) {
			t := &testing.T{}
			body := benchBody(size)
			fields, r := signWith(t, written, body, SignOptions{Now: now})
			header, text := []byte(fields+written), []byte(body)
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				v := NewVerifier(header, Options{Limits: limits.Default().MailAuth, Now: now})
				for rest := text; len(rest) > 0; {
					n := min(32<<10, len(rest))
					_, _ = v.Write(rest[:n])
					rest = rest[n:]
				}
				for _, g := range v.Finish(b.Context(), r) {
					if g.Status != mailauth.Pass {
						b.Fatalf("%+v", g)
					}
				}
			}
		})
	}
}

func BenchmarkNone(b *testing.B) {
	text := []byte(benchBody(4 << 10))
	b.ReportAllocs()
	for b.Loop() {
		v := NewVerifier([]byte(written), Options{Limits: limits.Default().MailAuth, Now: now})
		_, _ = v.Write(text)
		v.Finish(b.Context(), nil)
	}
}

func BenchmarkSign(b *testing.B) {
	t := &testing.T{}
	body := benchBody(4 << 10)
	for _, bits := range []int{0, 2048} {
		s := newSigner(t, bits)
		if key, ok := s.key.Signer.(*rsa.PrivateKey); ok {
			key.Precompute()
		}
		b.Run(s.key.Selector, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				bodies := NewBodies()
				sum := bodies.Add(true, -1)
				_, _ = bodies.Write([]byte(body))
				bodies.Close()
				if _, err := Sign([]byte(written), sum.Sum(), s.key, SignOptions{Now: now}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

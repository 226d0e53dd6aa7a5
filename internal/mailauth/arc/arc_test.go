package arc

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"tram/internal/dns"
	"tram/internal/limits"
	"tram/internal/mailauth"
	"tram/internal/mailauth/dkim"
)

const (
	header = "DKIM-Signature: v=1; a=x\r\nFrom: Lan <lan@example.org>\r\nTo: list@example.net\r\nSubject: Hello\r\n"
	body   = "Hello.\r\n"
)

var now = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// hop is a server that seals.
type hop struct {
	key dkim.Key
	r   *dns.Fake
}

func newHops(t *testing.T, domains ...string) []hop {
	t.Helper()
	r := dns.NewFake("")
	var all []hop
	for i, d := range domains {
		h := hop{dkim.Key{Domain: d, Selector: "s"}, r}
		if i%2 == 0 {
			private, err := rsa.GenerateKey(rand.Reader, 1024)
			if err != nil {
				t.Fatal(err)
			}
			h.key.Signer = private
		} else {
			_, private, err := ed25519.GenerateKey(rand.Reader)
			if err != nil {
				t.Fatal(err)
			}
			h.key.Signer = private
		}
		text, err := dkim.Record(h.key.Signer.Public())
		if err != nil {
			t.Fatal(err)
		}
		r.Add(fmt.Sprintf("s._domainkey.%s. TXT %q %q\n", d, text[:50], text[50:]))
		all = append(all, h)
	}
	return all
}

func validate(t *testing.T, r dkim.TXTResolver, header, body string, trusted ...string) mailauth.ARC {
	t.Helper()
	v := NewVerifier([]byte(header), Options{Limits: limits.Default().MailAuth, Now: now,
		Trusted: func(d string) bool { return strings.Contains(strings.Join(trusted, " "), d) }})
	_, _ = v.Write([]byte(body))
	return v.Finish(t.Context(), r)
}

func (h hop) seal(t *testing.T, header, body string, chain mailauth.Status) string {
	t.Helper()
	b := dkim.NewBodies()
	sum := b.Add(true, -1)
	_, _ = b.Write([]byte(body))
	b.Close()
	set, err := Seal([]byte(header), sum.Sum(), h.key, SealOptions{
		Now: now, Limits: limits.Default().MailAuth, ID: "mx." + h.key.Domain,
		Results: "spf=pass smtp.mailfrom=example.org;\r\n\tdkim=pass header.d=example.org", Chain: chain})
	if err != nil {
		t.Fatal(err)
	}
	return set + header
}

// TestChain takes a message over three servers that change it, and checks whose word holds: RFC 8617
// §5.2.
func TestChain(t *testing.T) {
	t.Parallel()
	hops := newHops(t, "a.example", "b.example", "c.example")
	h, text := header, body
	for i, hop := range hops {
		got := validate(t, hop.r, h, text)
		if want := map[bool]mailauth.Status{true: mailauth.None, false: mailauth.Pass}[i == 0]; got.Status != want {
			t.Fatalf("before %d: %+v", i+1, got)
		}
		text += "-- \r\nlist\r\n" // each adds a line
		h = hop.seal(t, h, text, got.Status)
	}
	got := validate(t, hops[0].r, h, text, "b.example", "c.example")
	if got.Status != mailauth.Pass || got.Instances != 3 || len(got.Sets) != 3 || !got.Trusted || got.Authority != 2 {
		t.Errorf("%+v", got)
	}
	if s := got.Sets[0]; s.Domain != "a.example" || s.Chain != mailauth.None || !strings.HasPrefix(s.Results, "mx.a.example;") {
		t.Errorf("%+v", s)
	}
	// A trusted server behind one that is not: its word comes from that one.
	if got := validate(t, hops[0].r, h, text, "a.example", "b.example"); got.Trusted || got.Authority != 0 {
		t.Errorf("%+v", got)
	}
	for name, changed := range map[string]string{
		"results":   strings.Replace(h, "spf=pass", "spf=fail", 1),
		"subject":   strings.Replace(h, "Hello", "Help", 1),
		"added":     "From: x@example.com\r\n" + h,
		"a set off": h[strings.Index(h, "ARC-Seal: a=ed25519"):],
		"one field": h[strings.Index(h, "ARC-Message"):],
	} {
		if got := validate(t, hops[0].r, changed, text, "b.example", "c.example"); got.Status != mailauth.Fail || got.Trusted {
			t.Errorf("%s: %+v", name, got)
		}
	}
	if got := validate(t, hops[0].r, h, text+"more\r\n"); got.Status != mailauth.Fail {
		t.Errorf("longer body: %+v", got)
	}
}

// TestFailed seals what came broken, once: RFC 8617 §5.1.2, §5.1.3.
func TestFailed(t *testing.T) {
	t.Parallel()
	hops := newHops(t, "a.example", "b.example", "c.example")
	h := hops[0].seal(t, header, body, mailauth.None)
	h = hops[1].seal(t, h, "other\r\n", mailauth.Fail)
	got := validate(t, hops[0].r, h, "other\r\n")
	if got.Status != mailauth.Fail || !strings.Contains(got.Reason, "found the chain broken") {
		t.Errorf("%+v", got)
	}
	if again := hops[2].seal(t, h, "other\r\n", mailauth.Fail); again != h {
		t.Error("a set was added to a chain that was sealed as failed")
	}
	unchecked := hops[2].seal(t, hops[0].seal(t, header, body, mailauth.None), body, mailauth.None)
	if strings.Count(unchecked, SealName) != 1 {
		t.Error("a set was added to a chain that nobody has checked")
	}
}

// TestBounds checks that a chain of any length costs no more than the limit allows.
func TestBounds(t *testing.T) {
	t.Parallel()
	hops := newHops(t, "a.example")
	for name, h := range map[string]string{
		"many fields": strings.Repeat("ARC-Seal: i=1; a=rsa-sha256; b=AA; cv=none; d=a.example; s=s\r\n", 1000) + header,
		"far":         "ARC-Authentication-Results: i=51; x\r\n" + header,
		"farther":     "ARC-Authentication-Results: i=99999999999999999999; x\r\n" + header,
		"long":        "ARC-Seal: i=1; a=" + strings.Repeat("x", 100000) + "\r\n" + header,
	} {
		if got := validate(t, hops[0].r, h, body); got.Status != mailauth.Fail {
			t.Errorf("%s: %+v", name, got)
		}
	}
	if n := len(hops[0].r.Asked()); n != 0 {
		t.Errorf("%d look-ups for chains that cannot be", n)
	}
	// Fifty sets are the most, and are each checked.
	h := header
	for i := range 50 {
		status := mailauth.Pass
		if i == 0 {
			status = mailauth.None
		}
		h = hops[0].seal(t, h, body, status)
	}
	if got := validate(t, hops[0].r, h, body); got.Status != mailauth.Pass || got.Instances != 50 {
		t.Errorf("%s %s of %d", got.Status, got.Reason, got.Instances)
	}
	if again := hops[0].seal(t, h, body, mailauth.Pass); again != h {
		t.Error("a 51st set was added")
	}
}

// TestUncovered: a trusted seal over a message signature that leaves the author out is true, and nobody is
// believed for it, for anybody can have written him. Nothing is sealed whose author is not there.
func TestUncovered(t *testing.T) {
	t.Parallel()
	hop := newHops(t, "a.example")[0]
	b := dkim.NewBodies()
	sum := b.Add(true, -1)
	_, _ = b.Write([]byte(body))
	b.Close()
	o := SealOptions{Now: now, Limits: limits.Default().MailAuth, ID: "mx.a.example", Results: "dmarc=pass",
		Chain: mailauth.None}
	for covered, names := range map[bool][]string{true: {"subject", "From"}, false: {"subject", "to"}} {
		o.Headers = names
		set, err := Seal([]byte(header), sum.Sum(), hop.key, o)
		if err != nil {
			t.Fatal(err)
		}
		got := validate(t, hop.r, set+header, body, "a.example")
		if got.Status != mailauth.Pass || got.Trusted != covered || (got.Authority != 0) != covered {
			t.Errorf("h=%v: %+v", names, got)
		}
	}
	o.Headers = nil
	for _, h := range []string{"", "Subject: x\r\n", header + strings.Repeat("Cc: x\r\n", 1000)} {
		if set, err := Seal([]byte(h), sum.Sum(), hop.key, o); err == nil {
			t.Errorf("%.40q is sealed: %.40q", h, set)
		}
	}
}

// TestResults collects what RFC 8617 §4.1.1 wants to be one field.
func TestResults(t *testing.T) {
	t.Parallel()
	h := dkim.NewHeader([]byte("Authentication-Results: (a;b) mx.example 1; spf=pass;\r\nAuthentication-Results: other; x=y\r\n" +
		"Authentication-Results: MX.example; none\r\nauthentication-results: mx.example;\r\n dkim=fail (bad; worse)\r\n"))
	if got := Results(h, "mx.example"); got != "spf=pass;\r\n\tdkim=fail (bad; worse)" {
		t.Errorf("%q", got)
	}
	if got := Results(h, "mx.example.net"); got != "none" {
		t.Errorf("%q", got)
	}
}

func FuzzChain(f *testing.F) {
	var all []scenario
	b, err := os.ReadFile("testdata/validation.json")
	if err == nil {
		err = json.Unmarshal(b, &all)
	}
	if err != nil {
		f.Fatal(err)
	}
	for _, name := range []string{"cv_pass_i2_1", "cv_base1", "ams_struct_i_empty", "aar_i_no_semi"} {
		for _, s := range all {
			if c, ok := s.Tests[name]; ok {
				f.Add(c.Message)
			}
		}
	}
	r := zone(all[0].Records)
	f.Fuzz(func(t *testing.T, m string) {
		h, text := split(m)
		v := NewVerifier([]byte(h), Options{Limits: limits.Default().MailAuth, Now: time.Unix(20000, 0)})
		_, _ = v.Write([]byte(text))
		got := v.Finish(t.Context(), r)
		switch got.Status {
		case mailauth.None:
			if got.Instances != 0 {
				t.Fatalf("%+v", got)
			}
		case mailauth.Pass:
			if len(got.Sets) != got.Instances || got.Instances == 0 {
				t.Fatalf("%+v", got)
			}
		case mailauth.Fail:
			if got.Reason == "" {
				t.Fatalf("%+v", got)
			}
		default:
			t.Fatalf("%+v", got)
		}
	})
}

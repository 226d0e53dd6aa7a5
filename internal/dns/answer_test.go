package dns

import (
	"errors"
	"testing"

	"github.com/miekg/dns"

	"tram/internal/clock"
	"tram/internal/limits"
)

// FuzzAnswer proves that no message makes the reader panic, that what it takes answers the
// question, and that every way out is one of the documented ones.
func FuzzAnswer(f *testing.F) {
	fake := NewFake(zone)
	for _, name := range []string{"example.net", "www.example.net", "none.example.net",
		"round.example.net", "dangling.example.net", "_25._tcp.a.example.net"} {
		for _, qtype := range []uint16{dns.TypeMX, dns.TypeA, dns.TypeTXT, dns.TypeTLSA, dns.TypePTR} {
			q, err := newQuestion(name, qtype)
			if err != nil {
				f.Fatal(err)
			}
			m, err := q.message(true, false)
			if err != nil {
				f.Fatal(err)
			}
			r, err := fake.answer(m)
			if err != nil {
				f.Fatal(err)
			}
			b, err := r.Pack()
			if err != nil {
				f.Fatal(err)
			}
			f.Add(b, qtype)
		}
	}
	l := limits.Default().DNS
	f.Fuzz(func(t *testing.T, b []byte, qtype uint16) {
		r := new(dns.Msg)
		if r.Unpack(b) != nil || len(r.Question) != 1 {
			return
		}
		name, err := newQuestion(r.Question[0].Name, qtype)
		if err != nil {
			return
		}
		a, err := readAnswer(name, r, l)
		if err != nil {
			if !errors.Is(err, ErrTemporary) {
				t.Fatalf("readAnswer = %v", err)
			}
			return
		}
		ways := 0
		if len(a.records) > 0 {
			ways++
		}
		if a.missing != nil {
			ways++
		}
		if a.next != "" && a.next != name.name {
			ways++
		}
		if ways != 1 || a.ttl < 0 || a.ttl > l.MaxTTL {
			t.Fatalf("answer %+v", a)
		}
		for _, rr := range a.records {
			if rr.Header().Rrtype != qtype {
				t.Fatalf("asked for type %d, took %v", qtype, rr)
			}
		}
		addresses(a)
		c := newCache(clock.System, l)
		c.put(name, a, nil)
	})
}

func FuzzName(f *testing.F) {
	for _, s := range []string{"example.net", "EXAMPLE.net.", "thú.vn", "a..b", "", ".", "_x._y.z",
		`a\.b`, "xn--", "\xff", "a\x00b", "*.example.net"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		q, err := newQuestion(s, dns.TypeMX)
		if err != nil {
			if !errors.Is(err, ErrNoDomain) {
				t.Fatalf("newQuestion(%q) = %v", s, err)
			}
			return
		}
		again, err := newQuestion(q.name, dns.TypeMX)
		if err != nil || again != q {
			t.Fatalf("newQuestion(%q) = %v; of that %v, %v", s, q, again, err)
		}
		m, err := q.message(true, true)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := m.Pack(); err != nil {
			t.Fatalf("query for %q does not pack: %v", s, err)
		}
	})
}

func TestUnescape(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		`plain`: "plain", `\"q\"`: `"q"`, `\\`: `\`, `\200\010x`: "\xc8\nx", `end\`: `end\`, `\12`: "12",
	} {
		if got := unescape(in); got != want {
			t.Errorf("unescape(%q) = %q, want %q", in, got, want)
		}
	}
}

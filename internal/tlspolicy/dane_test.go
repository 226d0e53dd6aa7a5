package tlspolicy

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"tram/internal/dns"
	"tram/internal/kv/memkv"
)

const hash32 = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"

// The decision as a whole: RFC 7672 §2.1, §2.2, RFC 8461 §2. Each zone is what the DNS says beside the
// addresses of mx.a.test; what is signed is vouched for by DNSSEC.
func TestPolicy(t *testing.T) {
	t.Parallel()
	enforce := &STS{Mode: ModeEnforce, MX: []string{"mx.a.test", "alias.a.test"}}
	testing_ := &STS{Mode: ModeTesting, MX: []string{"other.test"}}
	other := &STS{Mode: ModeEnforce, MX: []string{"other.test"}}
	ee := "_25._tcp.mx.a.test. IN TLSA 3 1 1 " + hash32 + "\n"
	for _, tt := range []struct {
		name, zone, signed, host string
		fails                    string // names whose look-up fails
		unsigned                 string // below what is signed
		sts                      *STS
		off                      bool // DANE is switched off
		kind                     PolicyType
		level                    Level
		base                     string
		testing                  bool
		refused, unknown         ResultType
	}{
		{name: "nothing", kind: TypeNone},
		{name: "TLSA in an unsigned zone", zone: ee, kind: TypeNone},
		{name: "TLSA, MX unsigned", zone: ee, signed: "mx.a.test", kind: TypeNone},
		{name: "TLSA, address unsigned", zone: ee, signed: "test", unsigned: "mx.a.test", kind: TypeNone},
		{name: "TLSA itself unsigned", zone: ee, signed: "test", unsigned: "_tcp.mx.a.test", kind: TypeNone},
		{name: "TLSA", zone: ee, signed: "test", kind: TypeTLSA, level: Verified, base: "mx.a.test"},
		{name: "TLSA, switched off", zone: ee, signed: "test", off: true, kind: TypeNone},
		{name: "no TLSA, signed", signed: "test", kind: TypeNone},
		{name: "TLSA look-up fails", zone: ee, signed: "test", fails: "_25._tcp.mx.a.test", kind: TypeTLSA, unknown: DNSSECInvalid},
		{name: "TLSA look-up fails, unsigned", zone: ee, fails: "_25._tcp.mx.a.test", kind: TypeNone},
		{name: "TLSA look-up fails, STS enforced", zone: ee, signed: "test", fails: "_25._tcp.mx.a.test", sts: enforce,
			kind: TypeTLSA, unknown: DNSSECInvalid},
		{name: "an alias, TLSA where it leads", host: "alias.a.test", zone: ee, signed: "test", kind: TypeTLSA, level: Verified, base: "mx.a.test"},
		{name: "an alias, TLSA where it begins", host: "alias.a.test", zone: "_25._tcp.alias.a.test. IN TLSA 3 1 1 " + hash32, signed: "test",
			kind: TypeTLSA, level: Verified, base: "alias.a.test"},
		{name: "an alias into an unsigned zone", host: "alias.a.test", zone: ee + "_25._tcp.alias.a.test. IN TLSA 3 1 1 " + hash32,
			signed: "test", unsigned: "mx.a.test", kind: TypeTLSA, level: Verified, base: "alias.a.test"},
		{name: "an alias into an unsigned zone, no TLSA", host: "alias.a.test", zone: ee, signed: "test", unsigned: "mx.a.test", kind: TypeNone},
		{name: "TLSA records are an alias", zone: "_25._tcp.mx.a.test. IN CNAME tlsa.b.test.\ntlsa.b.test. IN TLSA 2 0 1 " + hash32, signed: "test",
			kind: TypeTLSA, level: Verified, base: "mx.a.test"},
		{name: "PKIX only", zone: "_25._tcp.mx.a.test. IN TLSA 1 1 1 " + hash32 + "\n_25._tcp.mx.a.test. IN TLSA 0 0 1 " + hash32, signed: "test",
			kind: TypeTLSA, level: Encrypted, base: "mx.a.test"},
		{name: "junk", zone: "_25._tcp.mx.a.test. IN TLSA 3 1 1 00\n_25._tcp.mx.a.test. IN TLSA 9 9 9 " + hash32 +
			"\n_25._tcp.mx.a.test. IN TLSA 3 0 0 " + hash32 + "\n_25._tcp.mx.a.test. IN TLSA 3 1 2 " + hash32, signed: "test",
			kind: TypeTLSA, level: Encrypted, base: "mx.a.test"},
		{name: "junk, STS enforced", zone: "_25._tcp.mx.a.test. IN TLSA 3 1 1 00", signed: "test", sts: enforce, kind: TypeSTS, level: Verified},
		{name: "junk, STS in testing", zone: "_25._tcp.mx.a.test. IN TLSA 3 1 1 00", signed: "test", sts: testing_,
			kind: TypeTLSA, level: Encrypted, base: "mx.a.test"},
		{name: "STS enforced", sts: enforce, kind: TypeSTS, level: Verified},
		{name: "STS enforced, signed without TLSA", sts: enforce, signed: "test", kind: TypeSTS, level: Verified},
		{name: "STS of another exchanger", sts: other, kind: TypeSTS, level: Verified, refused: ValidationFailure},
		{name: "STS in testing, of another exchanger", sts: testing_, kind: TypeSTS, level: Verified, testing: true, refused: ValidationFailure},
		{name: "TLSA before STS", zone: ee, signed: "test", sts: other, kind: TypeTLSA, level: Verified, base: "mx.a.test"},
	} {
		d := dns.NewFake("mx.a.test. IN A 192.0.2.1\nalias.a.test. IN CNAME mx.a.test.\na.test. IN MX 1 mx.a.test.\n" + tt.zone)
		if tt.signed != "" {
			d.SetAuthentic(tt.signed, true)
		}
		if tt.unsigned != "" {
			d.SetAuthentic(tt.unsigned, false)
		}
		if tt.fails != "" {
			d.Fail(tt.fails, dns.ErrTemporary)
		}
		if tt.host == "" {
			tt.host = "mx.a.test"
		}
		_, mx, err := d.MX(t.Context(), "a.test")
		if err != nil {
			t.Fatal(err)
		}
		_, res, err := d.Addrs(t.Context(), tt.host)
		if err != nil {
			t.Fatal(err)
		}
		f := New(Options{DB: memkv.New(), Resolver: d, NoDANE: tt.off})
		p, err := f.Policy(t.Context(), Domain{Name: "a.test", Authentic: mx.Authentic, STS: tt.sts}, Host{Name: tt.host, Result: res})
		var unknown *Unknown
		if errors.As(err, &unknown) != (tt.unknown != "") || unknown != nil && unknown.Result != tt.unknown || err != nil && unknown == nil {
			t.Errorf("%s: %v", tt.name, err)
		}
		if tt.unknown != "" {
			continue
		}
		if p.Type != tt.kind || p.Level != tt.level || p.Base != tt.base && tt.kind == TypeTLSA ||
			p.Testing != tt.testing || p.Refused != tt.refused {
			t.Errorf("%s: %+v", tt.name, p)
		}
		if p.Why() == "" || p.Event().Domain != "a.test" || p.Event().Type != tt.kind {
			t.Errorf("%s: %q, %+v", tt.name, p.Why(), p.Event())
		}
	}
	// A context that ends is not a verdict about the host.
	d := dns.NewFake("mx.a.test. IN A 192.0.2.1")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := New(Options{DB: memkv.New(), Resolver: d}).Policy(ctx, Domain{Name: "a.test", Authentic: true},
		Host{Name: "mx.a.test", Result: dns.Result{Authentic: true}})
	if err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

// RFC 7672 §3.1, §3.2, RFC 6698 §2.1, RFC 7671 §5: which certificates which records are of.
func TestVerifyDANE(t *testing.T) {
	t.Parallel()
	root, strange := newAuthority(t), newAuthority(t)
	middle := &authority{}
	middle.cert, middle.key = root.issue(t, &x509.Certificate{IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign})
	leaf := func(by *authority, c x509.Certificate) []*x509.Certificate {
		cert, _ := by.issue(t, &c)
		return []*x509.Certificate{cert, by.cert}
	}
	good := leaf(root, x509.Certificate{DNSNames: []string{"mx.a.test"}})
	chain := append(leaf(middle, x509.Certificate{DNSNames: []string{"mx.a.test"}}), root.cert)
	wrong := leaf(root, x509.Certificate{DNSNames: []string{"wrong.test"}})
	nexthop := leaf(root, x509.Certificate{DNSNames: []string{"a.test"}})
	wild := leaf(root, x509.Certificate{DNSNames: []string{"*.a.test"}})
	expired := leaf(root, x509.Certificate{DNSNames: []string{"mx.a.test"}, NotBefore: start.AddDate(-1, 0, 0), NotAfter: start.AddDate(0, 0, -1)})
	nameless := leaf(root, x509.Certificate{})
	sum := func(selector, matching uint8, c *x509.Certificate) string {
		b := c.Raw
		if selector == 1 {
			b = c.RawSubjectPublicKeyInfo
		}
		switch matching {
		case 1:
			h := sha256.Sum256(b)
			b = h[:]
		case 2:
			h := sha512.Sum512(b)
			b = h[:]
		}
		return hex.EncodeToString(b)
	}
	tlsa := func(usage, selector, matching uint8, c *x509.Certificate) string {
		return fmt.Sprintf("%d %d %d %s", usage, selector, matching, sum(selector, matching, c))
	}
	for _, tt := range []struct {
		name    string
		records []string
		chain   []*x509.Certificate
		want    ResultType
	}{
		{"EE key SHA-256", []string{tlsa(3, 1, 1, good[0])}, good, ""},
		{"EE key SHA-512", []string{tlsa(3, 1, 2, good[0])}, good, ""},
		{"EE key whole", []string{tlsa(3, 1, 0, good[0])}, good, ""},
		{"EE certificate SHA-256", []string{tlsa(3, 0, 1, good[0])}, good, ""},
		{"EE certificate SHA-512", []string{tlsa(3, 0, 2, good[0])}, good, ""},
		{"EE certificate whole", []string{tlsa(3, 0, 0, good[0])}, good, ""},
		{"EE, another name", []string{tlsa(3, 1, 1, wrong[0])}, wrong, ""},
		{"EE, expired", []string{tlsa(3, 1, 1, expired[0])}, expired, ""},
		{"EE, no name", []string{tlsa(3, 1, 1, nameless[0])}, nameless, ""},
		{"EE, alone", []string{tlsa(3, 1, 1, good[0])}, good[:1], ""},
		{"EE of the next key too", []string{tlsa(3, 1, 1, wrong[0]), tlsa(3, 1, 1, good[0])}, good, ""},
		{"EE of another", []string{tlsa(3, 1, 1, wrong[0])}, good, TLSAInvalid},
		{"EE of the authority", []string{tlsa(3, 1, 1, root.cert)}, good, TLSAInvalid},
		{"TA certificate SHA-256", []string{tlsa(2, 0, 1, root.cert)}, good, ""},
		{"TA key SHA-256", []string{tlsa(2, 1, 1, root.cert)}, good, ""},
		{"TA key SHA-512", []string{tlsa(2, 1, 2, root.cert)}, good, ""},
		{"TA key whole", []string{tlsa(2, 1, 0, root.cert)}, good, ""},
		{"TA certificate whole", []string{tlsa(2, 0, 0, root.cert)}, good, ""},
		{"TA certificate whole, not shown", []string{tlsa(2, 0, 0, root.cert)}, good[:1], ""},
		{"TA digest, not shown", []string{tlsa(2, 0, 1, root.cert)}, good[:1], TLSAInvalid},
		{"TA at the top of three", []string{tlsa(2, 0, 1, root.cert)}, chain, ""},
		{"TA in the middle of three", []string{tlsa(2, 0, 1, middle.cert)}, chain, ""},
		{"TA in the middle, top not shown", []string{tlsa(2, 0, 1, middle.cert)}, chain[:2], ""},
		{"TA that did not sign", []string{tlsa(2, 0, 1, strange.cert)}, []*x509.Certificate{good[0], strange.cert}, NotTrusted},
		{"TA, the leaf itself", []string{tlsa(2, 0, 1, good[0])}, good, TLSAInvalid},
		{"TA, another name", []string{tlsa(2, 0, 1, root.cert)}, wrong, HostMismatch},
		{"TA, no name", []string{tlsa(2, 0, 1, root.cert)}, nameless, HostMismatch},
		{"TA, the next hop's name", []string{tlsa(2, 0, 1, root.cert)}, nexthop, ""},
		{"TA, wildcard", []string{tlsa(2, 0, 1, root.cert)}, wild, ""},
		{"TA, expired", []string{tlsa(2, 0, 1, root.cert)}, expired, CertificateExpired},
		{"one of many", []string{tlsa(2, 0, 1, strange.cert), tlsa(3, 1, 1, wrong[0]), tlsa(2, 0, 1, root.cert)}, good, ""},
		// RFC 7671 §9: a weaker digest does not count beside a stronger one of its kind.
		{"digest agility", []string{tlsa(3, 1, 2, wrong[0]), tlsa(3, 1, 1, good[0])}, good, TLSAInvalid},
		{"digest agility, other selector", []string{tlsa(3, 0, 2, good[0]), tlsa(3, 1, 1, good[0])}, good, ""},
		{"junk beside it", []string{"3 1 1 00", "7 7 7 00", tlsa(3, 1, 1, good[0])}, good, ""},
		{"no certificate", []string{tlsa(3, 1, 1, good[0])}, nil, ValidationFailure},
	} {
		d := dns.NewFake("_25._tcp.mx.a.test. IN TLSA " + strings.Join(tt.records, "\n_25._tcp.mx.a.test. IN TLSA "))
		d.SetAuthentic("test", true)
		p, err := New(Options{DB: memkv.New(), Resolver: d}).Policy(t.Context(), Domain{Name: "a.test", Authentic: true},
			Host{Name: "mx.a.test", Result: dns.Result{Authentic: true, Name: "mx.a.test"}})
		if err != nil || p.Level != Verified {
			t.Fatalf("%s: %+v, %v", tt.name, p, err)
		}
		err = p.Verify(tls.ConnectionState{PeerCertificates: tt.chain}, nil, start)
		var failure *Failure
		if errors.As(err, &failure) != (tt.want != "") || failure != nil && failure.Result != tt.want {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
	}
}

// RFC 8461 §4.1: the exchanger's own name, an authority that is known, today.
func TestVerifySTS(t *testing.T) {
	t.Parallel()
	ca, strange := newAuthority(t), newAuthority(t)
	p := Policy{Domain: "a.test", Host: "mx.a.test", Type: TypeSTS, Level: Verified, STS: &STS{Mode: ModeEnforce}}
	for _, tt := range []struct {
		name string
		by   *authority
		cert x509.Certificate
		want ResultType
	}{
		{"good", ca, x509.Certificate{DNSNames: []string{"mx.a.test"}}, ""},
		{"wildcard", ca, x509.Certificate{DNSNames: []string{"*.a.test"}}, ""},
		{"the domain's name", ca, x509.Certificate{DNSNames: []string{"a.test"}}, HostMismatch},
		{"nobody knows it", strange, x509.Certificate{DNSNames: []string{"mx.a.test"}}, NotTrusted},
		{"expired", ca, x509.Certificate{DNSNames: []string{"mx.a.test"}, NotBefore: start.AddDate(-1, 0, 0), NotAfter: start}, ""},
		{"expired for a minute", ca, x509.Certificate{DNSNames: []string{"mx.a.test"}, NotBefore: start.AddDate(-1, 0, 0),
			NotAfter: start.Add(-time.Minute)}, CertificateExpired},
	} {
		cert, _ := tt.by.issue(t, &tt.cert)
		err := p.Verify(tls.ConnectionState{PeerCertificates: []*x509.Certificate{cert}}, ca.pool(), start)
		if got := HandshakeResult(err); err != nil && got != tt.want || err == nil && tt.want != "" {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
	}
	if err := (&Policy{}).Verify(tls.ConnectionState{}, nil, start); err != nil {
		t.Errorf("no policy: %v", err)
	}
}

// FuzzTLSA proves that no record makes the room panic, and that one which is not of a certificate never
// lets it in.
func FuzzTLSA(f *testing.F) {
	ca := newAuthority(f)
	leaf, _ := ca.issue(f, &x509.Certificate{DNSNames: []string{"mx.a.test"}})
	chain := []*x509.Certificate{leaf, ca.cert}
	sum := sha256.Sum256(leaf.RawSubjectPublicKeyInfo)
	f.Add(uint8(3), uint8(1), uint8(1), sum[:])
	f.Add(uint8(2), uint8(0), uint8(0), ca.cert.Raw)
	f.Add(uint8(2), uint8(1), uint8(0), ca.cert.RawSubjectPublicKeyInfo)
	f.Add(uint8(9), uint8(9), uint8(9), []byte{})
	f.Fuzz(func(t *testing.T, usage, selector, matching uint8, data []byte) {
		p := Policy{Type: TypeTLSA, Level: Verified, Host: "mx.a.test", Base: "mx.a.test", names: []string{"mx.a.test"},
			usable: usable([]dns.TLSA{{Usage: usage, Selector: selector, Matching: matching, Data: data}})}
		err := p.Verify(tls.ConnectionState{PeerCertificates: chain}, nil, start)
		if err != nil {
			return
		}
		known := false
		for _, c := range chain {
			for _, b := range [][]byte{c.Raw, c.RawSubjectPublicKeyInfo} {
				s256, s512 := sha256.Sum256(b), sha512.Sum512(b)
				known = known || bytes.Equal(data, b) || bytes.Equal(data, s256[:]) || bytes.Equal(data, s512[:])
			}
		}
		if !known {
			t.Fatalf("%d %d %d %x lets it in", usage, selector, matching, data)
		}
	})
}

package bimi

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"math/big"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"

	"tram/internal/dns"
	"tram/internal/limits"
)

const icon = `<?xml version="1.0" encoding="UTF-8"?>
<svg xmlns="http://www.w3.org/2000/svg" version="1.2" baseProfile="tiny-ps" viewBox="0 0 10 10">
<title>Bank</title><defs><linearGradient id="g"><stop offset="0" stop-color="#fff"/></linearGradient></defs>
<g fill="url(#g)"><path d="M0 0h10v10z"/><use xmlns:xlink="http://www.w3.org/1999/xlink" xlink:href="#g"/></g></svg>`

func small() limits.Reports { return limits.Default().Reports }

// TestCheckSVG is W1 for icons: the profile, and what must not be in it.
func TestCheckSVG(t *testing.T) {
	t.Parallel()
	if _, err := CheckSVG([]byte(icon), small()); err != nil {
		t.Error(err)
	}
	packed, err := CheckSVG(packed(t, icon), small())
	if err != nil || string(packed) != icon {
		t.Errorf("packed: %v", err)
	}
	in := func(s string) string { return strings.Replace(icon, "<g ", s+"<g ", 1) }
	for name, text := range map[string]string{
		"nothing":        "",
		"html":           "<html></html>",
		"no title":       strings.Replace(icon, "<title>Bank</title>", "", 1),
		"deep title":     strings.Replace(icon, "<title>Bank</title>", "<g><title>Bank</title></g>", 1),
		"no profile":     strings.Replace(icon, ` baseProfile="tiny-ps"`, "", 1),
		"no version":     strings.Replace(icon, ` version="1.2"`, "", 1),
		"namespace":      strings.Replace(icon, "2000/svg", "2001/svg", 1),
		"doctype":        "<!DOCTYPE svg>" + icon,
		"stylesheet":     `<?xml-stylesheet href="https://evil.example/x.css"?>` + icon,
		"script":         in("<script>alert(1)</script>"),
		"image":          in(`<image href="https://evil.example/x.png"/>`),
		"link":           in(`<a href="https://evil.example/"><path d=""/></a>`),
		"animation":      in(`<animate attributeName="x"/>`),
		"foreign object": in("<foreignObject/>"),
		"style element":  in("<style>@import url(x)</style>"),
		"svg inside":     in(`<svg/>`),
		"handler":        in(`<path onload="alert(1)"/>`),
		"handler upper":  in(`<path ONCLICK="alert(1)"/>`),
		"use outside":    in(`<use href="https://evil.example/x.svg#y"/>`),
		"use data":       in(`<use xmlns:xlink="http://www.w3.org/1999/xlink" xlink:href="data:image/svg+xml,x"/>`),
		"fill outside":   in(`<path fill="url(https://evil.example/x#y)"/>`),
		"fill quoted":    in(`<path fill="url( 'https://evil.example/x#y')"/>`),
		"second fill":    in(`<path fill="url(#g) url(//evil.example)"/>`),
		"style escape":   in(`<path style="fill:u\72l(//evil.example)"/>`),
		"style import":   in(`<path style="@import 'x'"/>`),
		"base":           in(`<path xml:base="https://evil.example/"/>`),
		"entity":         in("&evil;"),
		"not closed":     strings.TrimSuffix(icon, "</svg>"),
		"two roots":      icon + icon,
		"large":          in("<!--" + strings.Repeat("x", small().Icon) + "-->"),
		"deep":           in(strings.Repeat("<g>", 100) + strings.Repeat("</g>", 100)),
		"laughs": in(`<g id="a"><path d=""/></g><g id="b"><use href="#a"/><use href="#a"/></g>` +
			`<g id="c"><use href="#b"/><use href="#b"/></g>`),
		"itself": in(`<g id="a"><g xml:id="b"><use href=" #b"/></g></g>`),
		"many":   in(strings.Repeat(`<use href="#g"/>`, 100)),
		"bytes":  in("<desc>\xff</desc>"),
	} {
		if _, err := CheckSVG([]byte(text), small()); !errors.Is(err, ErrSVG) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := CheckSVG(packedBomb(t), small()); !errors.Is(err, ErrSVG) {
		t.Errorf("a bomb: %v", err)
	}
	if _, err := CheckSVG([]byte{0x1f, 0x8b, 0, 0}, small()); !errors.Is(err, ErrSVG) {
		t.Errorf("a broken archive: %v", err)
	}
}

func packed(t testing.TB, s string) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	z.Write([]byte(s))
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func packedBomb(t testing.TB) []byte { return packed(t, strings.Repeat(" ", 8<<20)) }

func TestParseRecord(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]Record{
		"v=BIMI1; l=https://a.example/i.svg; a=https://a.example/c.pem": {"https://a.example/i.svg", "https://a.example/c.pem"},
		"v=BIMI1;l=https://a.example/i.svg;a=;evp=x":                    {"https://a.example/i.svg", ""},
		"v=BIMI1; l=; a=":                      {},
		"v=BIMI1;l=https://a.example;l=http:x": {"https://a.example", ""},
	} {
		if got, ok, err := ParseRecord(text); !ok || err != nil || got != want {
			t.Errorf("%q: %+v %v %v", text, got, ok, err)
		}
	}
	for _, text := range []string{"", "v=spf1", "l=https://a.example; v=BIMI1", "v=BIMI2; l="} {
		if _, ok, err := ParseRecord(text); ok || err != nil {
			t.Errorf("%q: %v %v", text, ok, err)
		}
	}
	if _, _, err := ParseRecord("v=BIMI1; l=http://a.example/i.svg"); !errors.Is(err, ErrRecord) {
		t.Errorf("http: %v", err)
	}
}

// authority makes mark certificates.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

var now = time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC)

func newAuthority(t testing.TB) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Marks"}, IsCA: true,
		BasicConstraintsValid: true, NotBefore: now.AddDate(-1, 0, 0), NotAfter: now.AddDate(5, 0, 0)}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	if c, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	return &authority{c, key}
}

func (a *authority) roots() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(a.cert)
	return p
}

// issue makes a mark certificate for bank.example with an icon.
func (a *authority) issue(t testing.TB, logo []byte, edit func(*x509.Certificate)) []byte {
	t.Helper()
	c := &x509.Certificate{SerialNumber: big.NewInt(2), NotBefore: now.AddDate(0, -1, 0),
		NotAfter: now.AddDate(0, 11, 0), DNSNames: []string{"bank.example"},
		UnknownExtKeyUsage: []asn1.ObjectIdentifier{oidUsage},
		Subject: pkix.Name{Organization: []string{"Bank Ltd"},
			ExtraNames: []pkix.AttributeTypeAndValue{{Type: oidKind, Value: "Registered Mark"}}},
		ExtraExtensions: []pkix.Extension{{Id: oidLogotype, Value: logo}}}
	if edit != nil {
		edit(c)
	}
	der, err := x509.CreateCertificate(rand.Reader, c, a.cert, a.key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	out := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return append(out, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw})...)
}

// logo is the extension of RFC 3709 with a packed picture in it.
func logo(t testing.TB, svg []byte, hashed []byte) []byte {
	t.Helper()
	sum := sha256.Sum256(hashed)
	var b cryptobyte.Builder
	seq := func(b *cryptobyte.Builder, f func(*cryptobyte.Builder)) { b.AddASN1(cbasn1.SEQUENCE, f) }
	ia5 := func(b *cryptobyte.Builder, s string) {
		b.AddASN1(cbasn1.IA5String, func(b *cryptobyte.Builder) { b.AddBytes([]byte(s)) })
	}
	tag := func(n uint8) cbasn1.Tag { return cbasn1.Tag(n).ContextSpecific().Constructed() }
	seq(&b, func(b *cryptobyte.Builder) {
		b.AddASN1(tag(2), func(b *cryptobyte.Builder) {
			b.AddASN1(tag(0), func(b *cryptobyte.Builder) {
				seq(b, func(b *cryptobyte.Builder) {
					seq(b, func(b *cryptobyte.Builder) {
						seq(b, func(b *cryptobyte.Builder) {
							ia5(b, "image/svg+xml")
							seq(b, func(b *cryptobyte.Builder) {
								seq(b, func(b *cryptobyte.Builder) {
									seq(b, func(b *cryptobyte.Builder) { b.AddASN1ObjectIdentifier(oidSHA256) })
									b.AddASN1OctetString(sum[:])
								})
							})
							seq(b, func(b *cryptobyte.Builder) {
								ia5(b, "data:image/svg+xml;base64,"+base64.StdEncoding.EncodeToString(svg))
							})
						})
					})
				})
			})
		})
	})
	der, err := b.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// TestMark reads mark certificates and believes those that an authority of the operator's made for the
// domain, RFC 3709 and RFC 6170.
func TestMark(t *testing.T) {
	t.Parallel()
	a, stranger := newAuthority(t), newAuthority(t)
	z := packed(t, icon)
	good := logo(t, z, z)
	for name, tc := range map[string]struct {
		file    []byte
		roots   *x509.CertPool
		domain  string
		parse   bool
		believe bool
	}{
		"good":          {a.issue(t, good, nil), a.roots(), "bank.example", true, true},
		"below":         {a.issue(t, good, nil), a.roots(), "mail.bank.example", true, true},
		"not packed":    {a.issue(t, logo(t, []byte(icon), []byte(icon)), nil), a.roots(), "bank.example", true, true},
		"selector name": {a.issue(t, good, name("default._bimi.bank.example")), a.roots(), "bank.example", true, true},
		"no roots":      {a.issue(t, good, nil), nil, "bank.example", true, false},
		"other roots":   {a.issue(t, good, nil), stranger.roots(), "bank.example", true, false},
		"other domain":  {a.issue(t, good, name("evil.example")), a.roots(), "bank.example", true, false},
		"other usage": {a.issue(t, good, func(c *x509.Certificate) { c.UnknownExtKeyUsage = nil }), a.roots(),
			"bank.example", true, false},
		"expired": {a.issue(t, good, func(c *x509.Certificate) { c.NotAfter = now.Add(-time.Hour) }), a.roots(),
			"bank.example", true, false},
		"other picture":  {a.issue(t, logo(t, z, []byte("x")), nil), a.roots(), "bank.example", false, false},
		"no picture":     {a.issue(t, []byte{0x30, 0}, nil), a.roots(), "bank.example", false, false},
		"no certificate": {[]byte("nonsense"), a.roots(), "bank.example", false, false},
		"a key":          {pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY"}), a.roots(), "bank.example", false, false},
		"broken": {pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("x")}), a.roots(),
			"bank.example", false, false},
	} {
		m, err := ParseMark(tc.file, small())
		if (err == nil) != tc.parse || err != nil && !errors.Is(err, ErrMark) {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if err != nil {
			continue
		}
		if string(m.SVG) != icon || m.Organization != "Bank Ltd" || m.Kind != "Registered Mark" {
			t.Errorf("%s: %+v", name, m)
		}
		if err := m.Verify(tc.roots, tc.domain, "bank.example", now); (err == nil) != tc.believe {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func name(n string) func(*x509.Certificate) {
	return func(c *x509.Certificate) { c.DNSNames = []string{n} }
}

// web is what there is to fetch.
type web map[string][]byte

func (w web) Get(_ context.Context, address string, most int64) ([]byte, error) {
	b, ok := w[address]
	if !ok || int64(len(b)) > most {
		return nil, errors.New("not found")
	}
	return b, nil
}

func TestFind(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	z := packed(t, icon)
	files := web{"https://bank.example/i.svg": []byte(icon), "https://bank.example/c.pem": a.issue(t, logo(t, z, z), nil),
		"https://bank.example/bad.svg": []byte("<svg onload='x'/>")}
	record := func(s string) string { return `default._bimi.bank.example. IN TXT "v=BIMI1; ` + s + "\"\n" }
	for name, tc := range map[string]struct {
		zone     string
		domain   string
		icon     bool
		verified bool
		fails    bool
	}{
		"vouched":      {record("l=https://bank.example/i.svg; a=https://bank.example/c.pem"), "bank.example", true, true, false},
		"organisation": {record("a=https://bank.example/c.pem"), "mail.bank.example", true, true, false},
		"bare":         {record("l=https://bank.example/i.svg"), "bank.example", true, false, false},
		"other name": {strings.ReplaceAll(record("l=https://bank.example/i.svg; a=https://bank.example/c.pem"),
			"bimi.bank", "bimi.shop"), "shop.example", true, false, false},
		"bad picture": {record("l=https://bank.example/bad.svg"), "bank.example", false, false, false},
		"gone":        {record("l=https://bank.example/none.svg"), "bank.example", false, false, true},
		"declined":    {record("l=; a="), "bank.example", false, false, false},
		"none":        {"", "bank.example", false, false, false},
		"http":        {record("l=http://bank.example/i.svg"), "bank.example", false, false, false},
		"several":     {record("l=https://a.example/1") + record("l=https://a.example/2"), "bank.example", false, false, false},
	} {
		org := "bank.example"
		if tc.domain == "shop.example" {
			org = tc.domain
		}
		in, err := Find(t.Context(), Options{Resolver: dns.NewFake(tc.zone), Fetch: files, Limits: small(),
			Roots: a.roots()}, tc.domain, org, now)
		if (err != nil) != tc.fails || (in.SVG != nil) != tc.icon || in.Verified != tc.verified {
			t.Errorf("%s: %+v, %v", name, in, err)
		}
		if err == nil && !in.Verified && in.Reason == "" {
			t.Errorf("%s: no reason is given", name)
		}
	}
	r := dns.NewFake("")
	r.Fail("default._bimi.bank.example", errors.New("broken"))
	if _, err := Find(t.Context(), Options{Resolver: r, Fetch: files, Limits: small()}, "bank.example", "", now); err == nil {
		t.Error("a DNS that fails is no answer")
	}
}

func FuzzCheckSVG(f *testing.F) {
	f.Add([]byte(icon))
	f.Add(packed(f, icon))
	f.Fuzz(func(t *testing.T, b []byte) {
		out, err := CheckSVG(b, small())
		if err == nil && (len(out) > small().Icon || bytes.Contains(bytes.ToLower(out), []byte("<script"))) &&
			!bytes.Contains(out, []byte("<!--")) && !bytes.Contains(out, []byte("CDATA")) {
			t.Fatalf("%q", out)
		}
	})
}

func FuzzParseMark(f *testing.F) {
	a := newAuthority(f)
	z := packed(f, icon)
	f.Add(a.issue(f, logo(f, z, z), nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		if m, err := ParseMark(b, small()); err == nil {
			_ = m.Verify(a.roots(), "bank.example", "", now)
		}
		_, _ = logotype(b, small())
	})
}

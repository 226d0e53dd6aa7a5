package main

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rsa"
	"encoding/base64"
	"flag"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"

	"tram/internal/admin"
	"tram/internal/config"
)

var update = flag.Bool("update", false, "rewrite testdata")

func example() *setup {
	return &setup{
		hostname: "mail.example.com", domain: "example.com", admin: "you@example.com",
		data: "/var/lib/tram", file: "/etc/tram/tram.toml",
		addrs: []netip.Addr{netip.MustParseAddr("203.0.113.7"), netip.MustParseAddr("2001:db8::7")},
		keys: []dkimKey{{"ed202611", "v=DKIM1; k=ed25519; p=" + strings.Repeat("E", 44)},
			{"rsa202611", "v=DKIM1; k=rsa; p=" + strings.Repeat("R", 392)}},
		made: admin.Account{Address: "you@example.com", Password: "abcde-fghij-kmnpq-rstuv"},
	}
}

// TestSetupPrints compares with what an operator sees; -update rewrites it.
func TestSetupPrints(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	if err := example().print(&b); err != nil {
		t.Fatal(err)
	}
	golden := filepath.Join("testdata", "setup.want")
	if *update {
		if err := os.WriteFile(golden, b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), b.String()); diff != "" {
		t.Error(diff)
	}
}

// TestZone reads the records back as a name server would (RFC 1035 §5.1).
func TestZone(t *testing.T) {
	t.Parallel()
	s := example()
	kinds := map[uint16]int{}
	p := dns.NewZoneParser(strings.NewReader(s.zone()), "", "")
	for rr, ok := p.Next(); ok; rr, ok = p.Next() {
		kinds[rr.Header().Rrtype]++
		if txt, ok := rr.(*dns.TXT); ok && strings.Contains(txt.Hdr.Name, "_domainkey") {
			if got := strings.Join(txt.Txt, ""); got != s.keys[0].record && got != s.keys[1].record {
				t.Errorf("DKIM record %q", got)
			}
		}
		if !dns.IsSubDomain("example.com.", rr.Header().Name) || rr.Header().Ttl != 3600 {
			t.Errorf("record %v", rr)
		}
	}
	if err := p.Err(); err != nil {
		t.Fatal(err)
	}
	want := map[uint16]int{dns.TypeA: 1, dns.TypeAAAA: 1, dns.TypeMX: 1, dns.TypeTXT: 5, dns.TypeSRV: 6, dns.TypeCAA: 1}
	if diff := cmp.Diff(want, kinds); diff != "" {
		t.Error(diff)
	}
	s.addrs = nil
	if z := s.zone(); !strings.Contains(z, "; mail.example.com. 3600 IN A 192.0.2.1\n") {
		t.Errorf("a machine without addresses: %s", z)
	}
}

func TestDKIMKeys(t *testing.T) {
	t.Parallel()
	folder := filepath.Join(t.TempDir(), "dkim", "example.com")
	now := time.Date(2026, 11, 30, 23, 0, 0, 0, time.UTC)
	keys, err := makeDKIM(folder, now)
	if err != nil || len(keys) != 2 {
		t.Fatal(keys, err)
	}
	again, err := makeDKIM(folder, now)
	if diff := cmp.Diff(keys, again, cmp.AllowUnexported(dkimKey{})); diff != "" || err != nil {
		t.Errorf("a second run makes other keys: %v %s", err, diff)
	}
	for i, selector := range []string{"ed202611", "rsa202611"} {
		path := filepath.Join(folder, selector+".pem")
		info, err := os.Stat(path)
		if err != nil || info.Mode().Perm() != 0o600 || keys[i].selector != selector {
			t.Errorf("%s: %v %v", selector, info, err)
		}
		key, err := readKey(path)
		if err != nil {
			t.Fatal(err)
		}
		_, p, _ := strings.Cut(keys[i].record, "p=")
		public, err := base64.StdEncoding.DecodeString(p)
		if err != nil {
			t.Fatal(err)
		}
		switch k := key.Public().(type) {
		case ed25519.PublicKey: // RFC 8463 §4.2: the bare key
			if !bytes.Equal(public, k) {
				t.Errorf("Ed25519 record holds %x", public)
			}
		case *rsa.PublicKey:
			if k.N.BitLen() != 2048 || len(public) != 294 {
				t.Errorf("RSA key of %d bits, record of %d bytes", k.N.BitLen(), len(public))
			}
		}
	}
	if err := os.WriteFile(filepath.Join(folder, "ed202611.pem"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := makeDKIM(folder, now); err == nil || !strings.Contains(err.Error(), "remove it") {
		t.Errorf("a damaged key: %v", err)
	}
}

func TestQuoteTXT(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("a", 300)
	if got := quoteTXT(long); got != `"`+long[:255]+`" "`+long[255:]+`"` {
		t.Errorf("%s", got)
	}
	if got := quoteTXT("x"); got != `"x"` {
		t.Errorf("%s", got)
	}
}

// TestSetup runs the command and proves that what it leaves can be run.
func TestSetup(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file, data := filepath.Join(dir, "etc", "tram.toml"), filepath.Join(dir, "data")
	args := []string{"setup", "--hostname", "mail.example.com", "--domain", "Example.com",
		"--admin", "you@example.com", "--data", data, "--config", file}
	code, out, errs := tram(t, "", args...)
	if code != 0 || errs != "" {
		t.Fatalf("code %d: %s%s", code, out, errs)
	}
	if !regexp.MustCompile(`password +([a-z2-9]{5}-){3}[a-z2-9]{5}\n`).MatchString(out) {
		t.Errorf("no password shown:\n%s", out)
	}
	c, err := config.Load(file)
	if err != nil || c.Hostname != "mail.example.com" || c.Data != data {
		t.Errorf("configuration %+v, %v", c, err)
	}
	if code, out, errs := tram(t, "", "check", "--deep", "--config", file); code != 0 {
		t.Errorf("check: %d %s%s", code, out, errs)
	}
	if code, _, errs := tram(t, "", args...); code != 1 || !strings.Contains(errs, "is there already") {
		t.Errorf("a second run: %d %s", code, errs)
	}
	// As after a run that was cut short before the configuration was written.
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if code, out, errs := tram(t, "", args...); code != 0 || !strings.Contains(out, "as it was") {
		t.Errorf("a run after one cut short: %d %s%s", code, out, errs)
	}
}

func TestSetupTakesAPassword(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	args := []string{"setup", "--hostname", "mail.example.com", "--domain", "example.com", "--admin",
		"you@example.com", "--data", dir, "--config", filepath.Join(dir, "tram.toml"), "--password-stdin"}
	code, out, errs := tram(t, "a passphrase of mine\n", args...)
	if code != 0 || strings.Contains(out, "a passphrase") || strings.Contains(out, "shown this once") {
		t.Errorf("code %d: %s%s", code, out, errs)
	}
}

// TestDemoBindsLoopbackAlone whatever the flags.
func TestDemoBindsLoopbackAlone(t *testing.T) {
	t.Parallel()
	for _, f := range []demoFlags{
		{data: "d", base: 2000}, {data: "d", base: 0, measure: true},
		{data: "d", base: 9000, smarthost: "relay.example:25", dns: "192.0.2.1:53"},
	} {
		o, err := demoOptions(f)
		if err != nil {
			t.Fatal(err)
		}
		doors := 0
		for _, d := range o.Config.Listen.Doors() {
			for _, a := range d.Addresses {
				doors++
				host, _, err := net.SplitHostPort(a)
				if err != nil || !netip.MustParseAddr(host).IsLoopback() {
					t.Errorf("%s listens on %s", d.Name, a)
				}
			}
		}
		if doors != 9 || o.Measure != f.measure || o.OutsideWaits != (f.dns == "") {
			t.Errorf("%+v: %d doors, options %+v", f, doors, o)
		}
	}
}

func TestShellQuote(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{"/a/b-c.pem": "/a/b-c.pem", "/a b": "'/a b'", "it's": `'it'\''s'`} {
		if got := shellQuote(in); got != want {
			t.Errorf("shellQuote(%q) = %s", in, got)
		}
	}
}

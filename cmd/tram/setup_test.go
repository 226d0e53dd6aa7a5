package main

import (
	"bytes"
	"flag"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tram/internal/admin"
	"tram/internal/admin/zone"
	"tram/internal/config"
)

var update = flag.Bool("update", false, "rewrite testdata")

func example() *setup {
	return &setup{
		hostname: "mail.example.com", domain: "example.com", admin: "you@example.com",
		data: "/var/lib/tram", file: "/etc/tram/tram.toml",
		records: zone.Records(
			zone.Server{Hostname: "mail.example.com", Issuer: "letsencrypt.org", Addrs: []netip.Addr{
				netip.MustParseAddr("203.0.113.7"), netip.MustParseAddr("2001:db8::7")}},
			zone.Domain{Name: "example.com", PolicyID: "0123", DMARCReports: "dmarc-reports",
				TLSReports: "tls-reports", Keys: []zone.Key{
					{Selector: "ed202611", Record: "v=DKIM1; k=ed25519; p=" + strings.Repeat("E", 44)},
					{Selector: "rsa202611", Record: "v=DKIM1; k=rsa; p=" + strings.Repeat("R", 392)}}}),
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
	for _, want := range []string{"example.com. 3600 IN MX 10 mail.example.com.", "_imaps._tcp.example.com.",
		"_domainkey.example.com. 3600 IN TXT", "_mta-sts.example.com."} {
		if !strings.Contains(out, want) {
			t.Errorf("no record %s:\n%s", want, out)
		}
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
		{data: "d", base: 3000, noChecks: true},
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
		c := o.Config
		for name, on := range map[string]bool{
			"authentication": c.Authentication.Enabled, "spam": c.Spam.Enabled, "scan": c.Scan.Enabled,
			"reports": c.Reports.DMARC, "TLS reports": c.Reports.TLS, "icons": c.Reports.Icons,
		} {
			if on == f.noChecks {
				t.Errorf("%+v: %s %v", f, name, on)
			}
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

package e2e

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tram/internal/dns"
	"tram/internal/kv/memkv"
	"tram/internal/tlspolicy"
)

// signer is Debian's kzonesign with a folder and keys of the test's own.
type signer struct {
	t    *testing.T
	dir  string
	keys []string // trust anchors
}

// sign signs a zone and returns its file; tamper, if set, changes what was signed.
func (s *signer) sign(zone, records string, tamper func(string) string) string {
	s.t.Helper()
	dir := filepath.Join(s.dir, zone)
	write(s.t, filepath.Join(dir, zone+".zone"), zoneText(zone, records))
	conf := write(s.t, filepath.Join(dir, "knot.conf"), fmt.Sprintf(`database:
    storage: %[1]q
policy:
  - id: lab
    algorithm: ecdsap256sha256
    nsec3: off
zone:
  - domain: %[2]s
    storage: %[1]q
    dnssec-signing: on
    dnssec-policy: lab
`, dir, zone))
	out := filepath.Join(dir, "out")
	if err := os.Mkdir(out, 0o755); err != nil {
		s.t.Fatal(err)
	}
	run(s.t, "", need(s.t, "kzonesign", "knot-dnssecutils"), "-c", conf, "-o", out, "-r", zone)
	file := filepath.Join(out, zone+".zone")
	b, err := os.ReadFile(file)
	if err != nil {
		s.t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) > 4 && f[2] == "DNSKEY" && f[3] == "257" {
			s.keys = append(s.keys, strings.Join(f, " "))
		}
	}
	if tamper != nil {
		changed := tamper(string(b))
		if changed == string(b) {
			s.t.Fatalf("%s: nothing was changed", zone)
		}
		write(s.t, file, changed)
	}
	return file
}

func zoneText(zone, records string) string {
	return "$ORIGIN " + zone + ".\n$TTL 60\n@ SOA ns root 1 60 60 600 60\n@ NS ns\nns A 127.0.0.1\n" + records
}

// startUnbound serves zone files to itself as the Internet would, validates them, and answers on loopback.
func startUnbound(t *testing.T, dir string, anchors []string, zones map[string]string) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := netip.MustParseAddrPort(l.Addr().String())
	l.Close()
	var b strings.Builder
	fmt.Fprintf(&b, `server:
  directory: %q
  chroot: ""
  username: ""
  pidfile: ""
  use-syslog: no
  interface: 127.0.0.1@%d
  do-ip6: no
  do-daemonize: no
  num-threads: 1
  module-config: "validator iterator"
  local-zone: "test." nodefault
`, dir, addr.Port())
	for _, key := range anchors {
		fmt.Fprintf(&b, "  trust-anchor: %q\n", key)
	}
	b.WriteString("remote-control:\n  control-enable: no\n")
	for name, file := range zones {
		fmt.Fprintf(&b, "auth-zone:\n  name: %q\n  zonefile: %q\n  for-downstream: no\n  for-upstream: yes\n", name+".", file)
	}
	conf := write(t, filepath.Join(dir, "unbound.conf"), b.String())
	cmd := exec.Command(need(t, "unbound", "unbound"), "-d", "-c", conf)
	var said strings.Builder
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it keeps nothing
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("Unbound wrote:\n%s", said.String())
		}
	})
	eventually(t, "Unbound answers", func() bool {
		c := dns.New(dns.Options{Servers: []netip.AddrPort{addr}})
		_, _, err := c.Addrs(t.Context(), "ns.insecure.test")
		return err == nil
	})
	return addr
}

// TestDANEByRealValidation: with zones that Knot's signer has signed and Debian's Unbound validates, a key
// that the TLSA records name gets mail and others do not; records that somebody has changed on the way
// make the host unusable; a zone that nobody has signed asks for nothing. RFC 7672 §2, RFC 6698 §2.
func TestDANEByRealValidation(t *testing.T) {
	t.Parallel()
	ours, theirs := selfSigned(t, "mx.secure.test"), selfSigned(t, "mx.secure.test")
	leaf, err := x509.ParseCertificate(ours.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(leaf.RawSubjectPublicKeyInfo)
	tlsa := fmt.Sprintf("TLSA 3 1 1 %x\n", sum)
	records := "@ MX 10 mx\n@ MX 20 plain\nmx A 127.0.0.1\nplain A 127.0.0.1\nalias CNAME mx\nout CNAME mx.insecure.test.\n" +
		"_25._tcp.mx " + tlsa + "_25._tcp.out " + tlsa
	s := &signer{t: t, dir: t.TempDir()}
	hex := strings.ToUpper(fmt.Sprintf("%x", sum))
	zones := map[string]string{
		"secure.test": s.sign("secure.test", records, nil),
		// An attacker puts his own key's digest into the record.
		"forged.test": s.sign("forged.test", records, func(z string) string {
			return strings.Replace(z, hex, strings.Repeat("AB", 32), 1)
		}),
		// Another takes the record away, and the proof that it is there with it.
		"stripped.test": s.sign("stripped.test", records, func(z string) string {
			var kept strings.Builder
			for line := range strings.Lines(z) {
				if !strings.HasPrefix(line, "_25._tcp.mx.") && !strings.Contains(line, "NSEC\t_25._tcp.mx.") {
					kept.WriteString(line)
				}
			}
			return kept.String()
		}),
		"insecure.test": write(t, filepath.Join(s.dir, "insecure.zone"), zoneText("insecure.test", records)),
	}
	c := dns.New(dns.Options{Servers: []netip.AddrPort{startUnbound(t, s.dir, s.keys, zones)}})
	finder := tlspolicy.New(tlspolicy.Options{DB: memkv.New(), Resolver: c})
	for _, tt := range []struct {
		host  string
		kind  tlspolicy.PolicyType
		base  string
		stops bool
	}{
		{"mx.secure.test", tlspolicy.TypeTLSA, "mx.secure.test", false},
		{"alias.secure.test", tlspolicy.TypeTLSA, "mx.secure.test", false},
		{"out.secure.test", tlspolicy.TypeTLSA, "out.secure.test", false},
		{"plain.secure.test", tlspolicy.TypeNone, "", false},
		{"mx.insecure.test", tlspolicy.TypeNone, "", false},
		{"mx.forged.test", tlspolicy.TypeTLSA, "", true},
		{"mx.stripped.test", tlspolicy.TypeTLSA, "", true},
	} {
		_, domain, _ := strings.Cut(tt.host, ".")
		p, err := policyOf(t.Context(), c, finder, domain, tt.host)
		if stops := errors.As(err, new(*tlspolicy.Unknown)); stops != tt.stops || err != nil && !stops {
			t.Errorf("%s: %+v, %v", tt.host, p, err)
		}
		if !tt.stops && (p.Type != tt.kind || p.Base != tt.base) {
			t.Errorf("%s: %+v", tt.host, p)
		}
		if p.Type != tlspolicy.TypeTLSA || tt.stops {
			continue
		}
		if err := shake(t, &p, ours); err != nil {
			t.Errorf("%s does not accept the key that it names: %v", tt.host, err)
		}
		if err := shake(t, &p, theirs); err == nil {
			t.Errorf("%s accepts another key", tt.host)
		}
	}
}

// policyOf looks up what the queue does.
func policyOf(ctx context.Context, c *dns.Client, f *tlspolicy.Finder, domain, host string) (tlspolicy.Policy, error) {
	_, mx, err := c.MX(ctx, domain)
	if err != nil {
		return tlspolicy.Policy{}, err
	}
	_, res, err := c.Addrs(ctx, host)
	if err != nil {
		return tlspolicy.Policy{}, err
	}
	return f.Policy(ctx, tlspolicy.Domain{Name: domain, Authentic: mx.Authentic},
		tlspolicy.Host{Name: host, Result: res})
}

// shake makes a connection with a server that shows cert, under a policy.
func shake(t *testing.T, p *tlspolicy.Policy, cert tls.Certificate) error {
	t.Helper()
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{cert}})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		if c, err := l.Accept(); err == nil {
			_ = c.(*tls.Conn).Handshake() // the other side tells what came of it
			c.Close()
		}
	}()
	c, err := tls.Dial("tcp", l.Addr().String(), &tls.Config{InsecureSkipVerify: true, ServerName: p.ServerName(),
		VerifyConnection: func(s tls.ConnectionState) error { return p.Verify(s, nil, time.Now()) }})
	if err == nil {
		c.Close()
	}
	return err
}

// selfSigned makes a certificate with openssl.
func selfSigned(t *testing.T, name string) tls.Certificate {
	t.Helper()
	dir := t.TempDir()
	run(t, "", need(t, "openssl", "openssl"), "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
		"-days", "2", "-subj", "/CN="+name, "-addext", "subjectAltName=DNS:"+name,
		"-keyout", filepath.Join(dir, "key"), "-out", filepath.Join(dir, "cert"))
	c, err := tls.LoadX509KeyPair(filepath.Join(dir, "cert"), filepath.Join(dir, "key"))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

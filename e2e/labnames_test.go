package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// certificates makes an authority of the lab's, and what it signs: Postfix's certificate for two of its
// names, and the policy hosts'.
func (l *lab) certificates() {
	l.t.Helper()
	file := func(name string) string { return filepath.Join(l.dir, name) }
	certify := func(name, cn string, more ...string) {
		run(l.t, "", "openssl", append([]string{"req", "-x509", "-newkey", "ec", "-pkeyopt",
			"ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj", "/CN=" + cn, "-keyout",
			file(name + ".key"), "-out", file(name + ".pem")}, more...)...)
	}
	certify("ca", "lab authority")
	sign := func(name string, hosts ...string) {
		certify(name, hosts[0], "-CA", file("ca.pem"), "-CAkey", file("ca.key"), "-addext",
			"basicConstraints=critical,CA:FALSE", "-addext", "subjectAltName=DNS:"+strings.Join(hosts, ",DNS:"))
	}
	sign("post", "mx.post.lab", "mx.sts.lab")
	var hosts []string
	for _, domain := range unsigned {
		hosts = append(hosts, "mta-sts."+domain)
	}
	sign("web", hosts...)
}

// theirZone makes Postfix's DKIM key and returns its records.
func (l *lab) theirZone() string {
	run(l.t, "", need(l.t, "opendkim-genkey", "opendkim-tools"), "-b", "2048", "-d", "post.lab", "-s", "lab",
		"-D", l.dir)
	run(l.t, "", "chown", "opendkim", filepath.Join(l.dir, "lab.private"))
	key, err := os.ReadFile(filepath.Join(l.dir, "lab.txt"))
	if err != nil {
		l.t.Fatal(err)
	}
	_, record, _ := strings.Cut(string(key), "TXT")
	hash := run(l.t, "", "sh", "-c", `openssl x509 -in "$1" -noout -pubkey | openssl pkey -pubin -outform DER |
		openssl dgst -sha256 -hex | sed 's/.* //'`, "sh", filepath.Join(l.dir, "post.pem"))
	return fmt.Sprintf(`post.lab. MX 10 mx.post.lab.
mx.post.lab. A %[1]s
post.lab. TXT "v=spf1 ip4:%[1]s -all"
lab._domainkey.post.lab. TXT %[2]s
_dmarc.post.lab. TXT "v=DMARC1; p=reject; rua=mailto:dmarc@post.lab"
_25._tcp.mx.post.lab. TLSA 3 1 1 %[3]s
`, theirAddr, record, strings.TrimSpace(hash))
}

// zone writes a zone of Knot's.
func (l *lab) zone(name, records string) {
	l.t.Helper()
	write(l.t, filepath.Join(l.dir, "knot", name+".zone"), "$ORIGIN "+name+".\n$TTL 60\n"+
		"@ SOA ns.post.lab. root.post.lab. 1 60 60 600 60\n@ NS ns."+name+".\nns."+name+". A "+theirAddr+"\n"+records)
}

// names runs Knot, which signs the zones, and an Unbound on each machine, which validates.
func (l *lab) names(ours, theirs string) {
	l.t.Helper()
	var conf, anchors, stubs strings.Builder
	fmt.Fprintf(&conf, `server:
    rundir: "%[1]s/knot"
    listen: %[2]s@53
database:
    storage: "%[1]s/knot"
policy:
  - id: lab
    algorithm: ecdsap256sha256
    nsec3: off
template:
  - id: default
    storage: "%[1]s/knot"
    zonefile-sync: -1
    journal-content: all
    zonefile-load: difference-no-serial
zone:
`, l.dir, theirAddr)
	for name, records := range map[string]string{
		"tram.lab": ours, "post.lab": theirs,
		reverseZone: "1 PTR mx.tram.lab.\n2 PTR mx.post.lab.\n",
	} {
		l.zone(name, records)
		fmt.Fprintf(&conf, "  - domain: %s\n    dnssec-signing: on\n    dnssec-policy: lab\n", name)
	}
	// Without a trust anchor these are as most of the world's zones are: nobody vouches for them.
	for _, name := range unsigned {
		l.unsignedZone(name, true)
		fmt.Fprintf(&conf, "  - domain: %s\n", name)
	}
	for _, name := range append([]string{"tram.lab", "post.lab", reverseZone}, unsigned...) {
		fmt.Fprintf(&stubs, "stub-zone:\n  name: %q\n  stub-addr: %s\n", name+".", theirAddr)
	}
	file := write(l.t, filepath.Join(l.dir, "knot.conf"), conf.String())
	l.theirs.daemon(need(l.t, "knotd", "knot"), "-c", file)
	for _, name := range []string{"tram.lab", "post.lab", reverseZone} {
		var ds string
		eventually(l.t, "Knot has keys for "+name, func() bool {
			out, err := l.theirs.try(need(l.t, "keymgr", "knot"), "-c", file, name+".", "ds")
			ds = out
			return err == nil && strings.Contains(out, " DS ")
		})
		for line := range strings.Lines(ds) {
			if strings.Contains(line, " DS ") {
				fmt.Fprintf(&anchors, "  trust-anchor: %q\n", strings.TrimSpace(line))
			}
		}
	}
	for i, m := range []*machine{l.ours, l.theirs} {
		dir := filepath.Join(l.dir, fmt.Sprint("unbound", i))
		conf := write(l.t, filepath.Join(dir, "unbound.conf"), fmt.Sprintf(`server:
  directory: %q
  chroot: ""
  username: ""
  pidfile: ""
  use-syslog: no
  interface: 127.0.0.1
  do-ip6: no
  do-daemonize: no
  module-config: "validator iterator"
  local-zone: "." refuse
  local-zone: "lab." transparent
  local-zone: %q transparent
  cache-max-negative-ttl: 1
%s%sremote-control:
  control-enable: no
`, dir, reverseZone, anchors.String(), stubs.String()))
		m.daemon(need(l.t, "unbound", "unbound"), "-c", conf)
	}
}

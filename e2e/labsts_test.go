package e2e

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"

	"tram/internal/kv"
	"tram/internal/kv/pebblekv"
)

// unsigned are domains of Postfix's machine that have an MTA-STS policy (RFC 8461), and no DNSSEC. The
// policy of each names its own exchanger: that of the first is Postfix, which has a certificate for the
// name; of the second too, but the certificate lacks the name; and of the third knows no TLS.
var unsigned = []string{"sts.lab", "wrong.lab", "plain.lab"}

// unsignedZone writes the zone of one of them, with the record that announces its policy or without.
func (l *lab) unsignedZone(name string, announced bool) {
	l.t.Helper()
	mx := theirAddr
	if name == "plain.lab" {
		mx = plainAddr
	}
	records := fmt.Sprintf("%[1]s. MX 10 mx.%[1]s.\nmx.%[1]s. A %[2]s\nmta-sts.%[1]s. A %[3]s\n", name, mx, theirAddr)
	if announced {
		// Whoever takes it away need not wait long until that is known.
		records += "_mta-sts." + name + `. 1 TXT "v=STSv1; id=20260101;"` + "\n"
	}
	l.zone(name, records)
}

// policyHosts serves the policies.
func (l *lab) policyHosts() *service {
	l.t.Helper()
	program := write(l.t, filepath.Join(l.dir, "policies.py"), `
import http.server, ssl, sys
class Policy(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        host = self.headers["Host"]
        print("asked", host, self.path, flush=True)
        found = self.path == "/.well-known/mta-sts.txt"
        self.send_response(200 if found else 404)
        self.send_header("Content-Type", "text/plain")
        self.end_headers()
        if found:
            mx = host.replace("mta-sts.", "mx.", 1)
            self.wfile.write(f"version: STSv1\r\nmode: enforce\r\nmx: {mx}\r\nmax_age: 604800\r\n".encode())
    def log_message(self, *_):
        pass
server = http.server.ThreadingHTTPServer((sys.argv[1], 443), Policy)
tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
tls.load_cert_chain(sys.argv[2], sys.argv[3])
server.socket = tls.wrap_socket(server.socket, server_side=True)
print("ready", flush=True)
server.serve_forever()
`)
	d := l.theirs.daemon(need(l.t, "python3", "python3"), program, theirAddr,
		filepath.Join(l.dir, "web.pem"), filepath.Join(l.dir, "web.key"))
	eventually(l.t, "the policies are served", func() bool { return strings.Contains(d.String(), "ready") })
	return d
}

// policies sends to domains with a policy: to the one that keeps it mail goes, to the others it waits.
// Then an attacker comes who takes the policy away, and the server is restarted: what was learnt holds.
func (l *lab) policies() {
	l.t.Helper()
	web := l.policyHosts()
	heard := l.plain(plainAddr)
	for _, domain := range unsigned {
		l.submit("policy one", "bob@"+domain)
	}
	l.verified("policy one", 1)
	l.waits("bob@wrong.lab", "mx.wrong.lab", "not mx.wrong.lab", "MTA-STS policy of wrong.lab (enforce)")
	l.waits("bob@plain.lab", "does not offer STARTTLS", "MTA-STS policy of plain.lab (enforce)")
	if n := strings.Count(l.postfix.mailbox(), "Subject: policy one"); n != 1 {
		l.t.Errorf("Postfix has %d messages, of which one was for a host that it could prove to be", n)
	}
	if strings.Contains(heard.String(), "MAIL") {
		l.t.Errorf("a message was begun in the clear:\n%s", heard)
	}
	for _, domain := range unsigned {
		if !strings.Contains(web.String(), "asked mta-sts."+domain+" /.well-known/mta-sts.txt\n") {
			l.t.Errorf("nobody asked for the policy of %s:\n%s", domain, web)
		}
	}

	web.stop()
	l.unsignedZone("sts.lab", false)
	l.theirs.run(need(l.t, "knotc", "knot"), "-s", filepath.Join(l.dir, "knot/knot.sock"), "zone-reload", "sts.lab")
	eventually(l.t, "the policy is not announced any more", func() bool { return l.texts("_mta-sts.sts.lab") == 0 })
	l.submit("policy two", "bob@sts.lab")
	l.verified("policy two", 2)
	l.server.stop()
	l.server.start()
	l.submit("policy three", "bob@sts.lab")
	l.verified("policy three", 3)
}

// verified waits for mail in Postfix's mailbox, and sees that the trace says that n messages so far went
// over connections that did what the policy asks.
func (l *lab) verified(subject string, n int) {
	l.t.Helper()
	l.arrives("Postfix has "+subject, func() bool {
		return strings.Contains(l.postfix.mailbox(), "Subject: "+subject+"\n")
	})
	var trace string
	l.arrives("the trace says that "+subject+" went safely", func() bool {
		trace = l.server.tram("trace", "bob@sts.lab")
		return strings.Count(trace, "verified by MTA-STS") == n
	})
}

// texts is how many TXT records our machine's name server finds at a name.
func (l *lab) texts(name string) int {
	l.t.Helper()
	out := l.ours.run(need(l.t, "python3", "python3"), "-c", `
import socket, sys
name = b"".join(bytes([len(p)]) + p.encode() for p in sys.argv[1].split("."))
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(5)
s.sendto(b"\0\1\1\0\0\1\0\0\0\0\0\0" + name + b"\0\0\x10\0\1", ("127.0.0.1", 53))
print(s.recv(4096)[7])
`, name)
	n := 0
	if _, err := fmt.Sscan(out, &n); err != nil {
		l.t.Fatalf("%v: %s", err, out)
	}
	return n
}

// ownPolicy reads the policy that our server publishes as others do, but for the authority: it is the
// server's own.
func (l *lab) ownPolicy() {
	l.t.Helper()
	text := l.theirs.run("curl", "-sS", "--fail", "--cacert", l.server.ca(),
		"https://mta-sts.tram.lab/.well-known/mta-sts.txt")
	for _, want := range []string{"version: STSv1\r\n", "mode: testing\r\n", "mx: mx.tram.lab\r\n"} {
		if !strings.Contains(text, want) {
			l.t.Errorf("our policy lacks %q:\n%s", want, text)
		}
	}
	// RFC 8461 §3.1: the record's id changes with the policy. Ours is made from its text.
	sum := sha256.Sum256([]byte(text))
	if want := "v=STSv1; id=" + hex.EncodeToString(sum[:16]) + ";"; !strings.Contains(l.records, want) {
		l.t.Errorf("the records of tram.lab lack %q, which is the policy that is served:\n%s", want, l.records)
	}
}

// counted ends the server and reads what it has counted to tell the domains tomorrow (RFC 8460): that
// some sessions did what their policies ask, and why others did not.
func (l *lab) counted() {
	l.t.Helper()
	l.server.stop()
	db, err := pebblekv.Open(filepath.Join(l.server.dir, "db"), pebblekv.Options{})
	if err != nil {
		l.t.Fatal(err)
	}
	defer db.Close()
	got := map[string]bool{}
	err = db.View(l.t.Context(), "reports/out", func(r kv.Reader) error {
		return r.Scan(kv.Prefix([]byte("rot")), func(_, value []byte) error {
			// The heads of days and domains have no count before the JSON, and no policy.
			const count = 1 + 8
			var row struct {
				Policy struct {
					Type   string `json:"policy-type"`
					Domain string `json:"policy-domain"`
				} `json:"policy"`
				Failure struct {
					Type string `json:"result-type"`
				} `json:"failure"`
			}
			if len(value) > count && json.Unmarshal(value[count:], &row) == nil {
				got[strings.TrimSpace(row.Policy.Domain+" "+row.Policy.Type+" "+row.Failure.Type)] = true
			}
			return nil
		})
	})
	if err != nil {
		l.t.Fatal(err)
	}
	for _, want := range []string{"post.lab tlsa", "post.lab tlsa starttls-not-supported", "sts.lab sts",
		"sts.lab sts starttls-not-supported", "wrong.lab sts certificate-host-mismatch",
		"plain.lab sts starttls-not-supported"} {
		if !got[want] {
			l.t.Errorf("nothing will be told of %q, but of %v", want, got)
		}
	}
	if len(got) != 6 {
		l.t.Errorf("more was counted than has been: %v", got)
	}
}

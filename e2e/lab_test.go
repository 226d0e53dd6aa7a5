package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A lab is two machines with a wire between them and a DNS of their own: one runs the server on the
// ports it has in the world, the other Debian's Postfix with opendkim and opendmarc, and Knot with
// zones that are signed and some that are not. Unbound on each validates. The machines are network
// namespaces, which go with the processes in them.
type lab struct {
	t        *testing.T
	dir      string
	ours     *machine
	theirs   *machine
	server   *server
	postfix  *postfix
	password string
	records  string // what tram.lab's DNS has, as the server tells it
}

// Where the machines of a lab are; beside Postfix a server that knows no TLS, and a stranger.
const (
	ourAddr      = "198.51.100.1"
	theirAddr    = "198.51.100.2"
	plainAddr    = "198.51.100.3"
	strangerAddr = "198.51.100.66"
	reverseZone  = "100.51.198.in-addr.arpa"
)

// newLab makes the machines, their names and both mail servers.
func newLab(t *testing.T) *lab {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("the lab's machines are made by root only: run make test as root")
	}
	for program, pkg := range map[string]string{"ip": "iproute2", "knotd": "knot", "unbound": "unbound",
		"opendkim": "opendkim", "opendmarc": "opendmarc", "openssl": "openssl"} {
		need(t, program, pkg)
	}
	l := &lab{t: t, dir: t.TempDir(), password: "a long enough passphrase of the lab"}
	l.open(l.dir)
	l.theirs, l.ours = newMachine(t), newMachine(t)
	l.theirs.run("ip", "link", "add", "wire", "type", "veth", "peer", "name", "wire", "netns", l.ours.pid)
	l.ours.run("ip", "addr", "add", ourAddr+"/24", "dev", "wire")
	for _, addr := range []string{theirAddr, plainAddr, strangerAddr} {
		l.theirs.run("ip", "addr", "add", addr+"/24", "dev", "wire")
	}
	for _, m := range []*machine{l.ours, l.theirs} {
		m.run("ip", "link", "set", "wire", "up")
	}
	l.setUp()
	l.certificates()
	theirZone := l.theirZone()
	// The server tells which records its domain needs; they are published as they are, but for the
	// policy, which people change when they have seen that nothing of theirs fails.
	l.server.run()
	l.records = strings.Replace(l.server.tram("domain", "dns", "tram.lab"), "v=DMARC1; p=none", "v=DMARC1; p=reject", 1)
	l.names(l.records, theirZone)
	l.milters()
	l.postfix = runPostfix(t, postfixOptions{
		inside: l.theirs.inside(), listen: "25",
		main: fmt.Sprintf(`myhostname = mx.post.lab
inet_interfaces = 127.0.0.1, %[2]s
virtual_mailbox_domains = post.lab, sts.lab, wrong.lab
mynetworks = 127.0.0.0/8
smtp_dns_support_level = dnssec
smtp_tls_security_level = dane
smtp_tls_loglevel = 1
smtp_bind_address = %[2]s
smtpd_tls_cert_file = %[1]s/post.pem
smtpd_tls_key_file = %[1]s/post.key
smtpd_tls_security_level = may
smtpd_milters = inet:127.0.0.1:8891 inet:127.0.0.1:8893
non_smtpd_milters = inet:127.0.0.1:8891
internal_mail_filter_classes = bounce
smtpd_recipient_restrictions = permit_mynetworks, reject_unauth_destination
`, l.dir, theirAddr),
	})
	l.wait()
	return l
}

// wait sees that everything answers: what fails at first is tried again after minutes.
func (l *lab) wait() {
	l.t.Helper()
	for _, m := range []*machine{l.ours, l.theirs} {
		for _, host := range []string{"mx.tram.lab", "mx.post.lab", "mx.sts.lab"} {
			eventually(l.t, host+" is known", func() bool {
				_, err := m.try("getent", "hosts", host)
				return err == nil
			})
		}
	}
	eventually(l.t, "Postfix answers", func() bool {
		_, err := l.ours.try("swaks", "--server", theirAddr, "--quit-after", "BANNER")
		return err == nil
	})
	l.server.tram("dkim", "activate", "tram.lab")
}

// open lets other users' daemons into a folder of the test.
func (l *lab) open(dir string) {
	for ; len(dir) > len(os.TempDir()); dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			l.t.Fatal(err)
		}
	}
}

// setUp makes the server as people do.
func (l *lab) setUp() {
	l.t.Helper()
	s := &server{t: l.t, dir: filepath.Join(l.dir, "data")}
	file := filepath.Join(l.dir, "tram.toml")
	run(l.t, l.password+"\n", tramBinary, "setup", "--hostname", "mx.tram.lab", "--domain", "tram.lab", "--admin",
		"alice@tram.lab", "--data", s.dir, "--config", file, "--password-stdin")
	text, err := os.ReadFile(file)
	if err != nil {
		l.t.Fatal(err)
	}
	config := strings.Replace(string(text), `#source = "acme"`,
		"source = \"self-made\"\nnames = [\"mta-sts.tram.lab\"]", 1)
	write(l.t, file, config)
	// The lab's authority is all that the server trusts.
	s.command = l.ours.words("env", "SSL_CERT_FILE="+filepath.Join(l.dir, "ca.pem"), tramBinary, "serve",
		"--config", file)
	l.server = s
}

// milters runs opendkim, which signs and verifies, and opendmarc, which refuses.
func (l *lab) milters() {
	dkim := write(l.t, filepath.Join(l.dir, "opendkim.conf"), fmt.Sprintf(`Syslog no
UserID opendkim
Socket inet:8891@127.0.0.1
PidFile %[1]s/dkim/pid
Mode sv
Domain post.lab
Selector lab
KeyFile %[1]s/lab.private
RequireSafeKeys no
InternalHosts 127.0.0.1
Canonicalization relaxed/simple
OversignHeaders From
AuthservID mx.post.lab
Nameservers 127.0.0.1
`, l.dir))
	dmarc := write(l.t, filepath.Join(l.dir, "opendmarc.conf"), fmt.Sprintf(`Syslog no
UserID opendmarc
Socket inet:8893@127.0.0.1
PidFile %[1]s/dmarc/pid
AuthservID mx.post.lab
TrustedAuthservIDs mx.post.lab
RejectFailures true
SPFSelfValidate true
SPFIgnoreResults true
IgnoreHosts %[1]s/nobody
`, l.dir))
	write(l.t, filepath.Join(l.dir, "nobody"), "127.0.0.1\n")
	for _, user := range []string{"dkim", "dmarc"} {
		dir := filepath.Join(l.dir, user)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			l.t.Fatal(err)
		}
		run(l.t, "", "chown", "open"+user, dir)
	}
	l.theirs.daemon(need(l.t, "opendkim", "opendkim"), "-f", "-x", dkim)
	l.theirs.daemon(need(l.t, "opendmarc", "opendmarc"), "-f", "-c", dmarc)
}

// submit sends mail of alice's as a mail program does.
func (l *lab) submit(subject, to string) {
	l.t.Helper()
	l.ours.run("swaks", "--server", ourAddr+":587", "--tls", "--auth", "PLAIN", "--auth-user", "alice@tram.lab",
		"--auth-password", l.password, "--from", "alice@tram.lab", "--to", to, "--header", "Subject: "+subject,
		"--body", "lab")
}

// inbox is alice's newest message with a subject, "" when there is none.
func (l *lab) inbox(subject string) string {
	user := "alice@tram.lab:" + l.password
	found, err := l.ours.try("curl", "-s", "-k", "-u", user, "imaps://"+ourAddr+"/INBOX", "-X",
		`UID SEARCH SUBJECT "`+subject+`"`)
	uids := strings.Fields(strings.TrimPrefix(strings.TrimSpace(found), "* SEARCH"))
	if err != nil || len(uids) == 0 {
		return ""
	}
	text, _ := l.ours.try("curl", "-s", "-k", "-u", user, "imaps://"+ourAddr+"/INBOX;UID="+uids[len(uids)-1])
	return text
}

// arrives waits for mail, and tells what the servers know of it if it does not come.
func (l *lab) arrives(what string, ok func() bool) {
	l.t.Helper()
	before := l.t.Failed()
	defer func() {
		if l.t.Failed() && !before {
			for _, domain := range append([]string{"post.lab"}, unsigned...) {
				out, _ := try(l.t, "", tramBinary, "trace", "bob@"+domain, "--data", l.server.dir)
				l.t.Logf("trace of bob@%s:\n%s", domain, out)
			}
			l.t.Logf("Postfix's queue:\n%s", l.postfix.queue())
		}
	}()
	eventually(l.t, what, ok)
}

// fieldWith returns the first field of a message with a name whose unfolded body begins with text.
func fieldWith(message, name, text string) string {
	header, _, _ := strings.Cut(strings.ReplaceAll(message, "\r\n", "\n"), "\n\n")
	header = strings.NewReplacer("\n\t", " ", "\n ", " ").Replace(header)
	for line := range strings.Lines(header) {
		n, v, _ := strings.Cut(line, ":")
		if strings.EqualFold(n, name) && strings.HasPrefix(strings.TrimSpace(v), text) {
			return strings.Join(strings.Fields(v), " ")
		}
	}
	return ""
}

// TestLab sends mail both ways between the server and Debian's Postfix, opendkim and opendmarc, over
// TLS whose keys DNSSEC vouches for. Each side says that the other is who it says; what only says that
// it is one of them is refused by both.
func TestLab(t *testing.T) {
	t.Parallel()
	l := newLab(t)

	l.submit("out one", "bob@post.lab")
	l.arrives("Postfix has alice's mail", func() bool {
		return strings.Contains(l.postfix.mailbox(), "Subject: out one")
	})
	box := l.postfix.mailbox()
	results := fieldWith(box[strings.Index(box, "\n")+1:], "Authentication-Results", "mx.post.lab;")
	for _, want := range []string{"dkim=pass", "dmarc=pass"} {
		if !strings.Contains(box, want) {
			t.Errorf("Postfix's house does not say %s: %s", want, results)
		}
	}
	if strings.Contains(box, "dkim=fail") || strings.Contains(box, "spf=fail") {
		t.Errorf("a check of ours failed there:\n%s", box)
	}
	trace := l.server.tram("trace", "bob@post.lab")
	if !strings.Contains(trace, "DANE") {
		t.Errorf("the way to Postfix was not checked by DANE:\n%s", trace)
	}

	l.theirs.run("swaks", "--server", "127.0.0.1", "--from", "bob@post.lab", "--to", "alice@tram.lab",
		"--header", "Subject: in one", "--header", "Message-ID: <in1@post.lab>", "--body", "lab")
	l.arrives("alice has bob's mail", func() bool { return l.inbox("in one") != "" })
	results = fieldWith(l.inbox("in one"), "Authentication-Results", "mx.tram.lab;")
	for _, want := range []string{"spf=pass", "dkim=pass", "dmarc=pass", "iprev=pass"} {
		if !strings.Contains(results, want) {
			t.Errorf("we do not say %s of Postfix's mail: %s", want, results)
		}
	}
	if !strings.Contains(l.postfix.log(), "Verified TLS connection established to mx.tram.lab") {
		t.Error("Postfix did not verify our key by DANE")
	}

	// A stranger says that he is one of them.
	for _, c := range []struct{ server, from, to string }{
		{ourAddr, "bob@post.lab", "alice@tram.lab"},
		{theirAddr, "alice@tram.lab", "bob@post.lab"},
	} {
		out, err := l.theirs.try("swaks", "--server", c.server, "--local-interface", strangerAddr, "--helo", "x.lab",
			"--from", c.from, "--to", c.to, "--header", "Subject: forged", "--header", "From: "+c.from, "--body", "x")
		if err == nil || !strings.Contains(out, " 550 5.7.") {
			t.Errorf("%s takes forged mail of %s: %v\n%s", c.server, c.from, err, out)
		}
	}
	l.examine()
	l.ownPolicy()
	l.policies()
	l.strip()
	l.counted()
}

// examine has the doctor look at what was published. There is no world outside of the lab, so its last
// word is not that all is well.
func (l *lab) examine() {
	l.t.Helper()
	out, err := l.ours.try(tramBinary, "doctor", "tram.lab", "--data", l.server.dir)
	if err == nil {
		l.t.Error("the doctor finds nothing, and port 25 leads nowhere")
	}
	for _, want := range []string{"host mx.tram.lab", "ptr " + ourAddr, "mx tram.lab", "spf tram.lab", "spf mx.tram.lab",
		"dkim ed", "dkim rsa", "dmarc _dmarc.tram.lab", "tlsa _25._tcp.mx.tram.lab", "tls-rpt _smtp._tls.tram.lab",
		"srv _imaps._tcp.tram.lab", "autoconfig autoconfig.tram.lab", "relay mx.tram.lab", "disk mx.tram.lab"} {
		if !strings.Contains(out, "ok       "+want) {
			l.t.Errorf("the doctor does not find %q in order:\n%s", want, out)
		}
	}
}

// strip puts a server without TLS in Postfix's place: mail waits, and does not leave in the clear. One
// domain asks for that by DANE, the other by the policy that was learnt before.
func (l *lab) strip() {
	l.t.Helper()
	l.postfix.run("stop")
	heard := l.plain(theirAddr)
	l.submit("out two", "bob@post.lab")
	l.submit("out two", "carol@sts.lab")
	l.waits("bob@post.lab", "does not offer STARTTLS", "DANE: TLSA records of mx.post.lab")
	l.waits("carol@sts.lab", "does not offer STARTTLS", "MTA-STS policy of sts.lab (enforce)")
	if strings.Contains(heard.String(), "MAIL") {
		l.t.Errorf("a message was begun in the clear:\n%s", heard)
	}
}

// waits sees that mail for somebody stays in the queue, and that people are told why.
func (l *lab) waits(to string, why ...string) {
	l.t.Helper()
	var trace string
	l.arrives("the trace says why mail for "+to+" waits", func() bool {
		trace = l.server.tram("trace", to)
		return strings.Contains(trace, "no mail is sent here for now")
	})
	for _, want := range why {
		if !strings.Contains(trace, want) {
			l.t.Errorf("the trace of %s does not say %q:\n%s", to, want, trace)
		}
	}
	if list := l.server.tram("queue", "list", "--recipient", to); !strings.Contains(list, to) {
		l.t.Errorf("nothing waits for %s:\n%s", to, list)
	}
}

// plain runs a server that knows no TLS and writes down what it hears.
func (l *lab) plain(addr string) *service {
	l.t.Helper()
	program := write(l.t, filepath.Join(l.dir, "plain.py"), `
import socket, sys
s = socket.create_server((sys.argv[1], 25))
while True:
    c, _ = s.accept()
    f = c.makefile("rwb", buffering=0)
    try:
        f.write(b"220 mx ESMTP\r\n")
        for line in f:
            print("heard", line, flush=True)
            word = line[:4].upper()
            replies = {b"EHLO": b"250 mx\r\n", b"DATA": b"354 go\r\n", b"QUIT": b"221 bye\r\n"}
            f.write(replies.get(word, b"250 ok\r\n"))
            if word == b"QUIT":
                break
    except OSError:
        pass
    c.close()
`)
	heard := l.theirs.daemon(need(l.t, "python3", "python3"), program, addr)
	eventually(l.t, "the server without TLS answers", func() bool {
		_, err := l.theirs.try("swaks", "--server", addr, "--quit-after", "BANNER")
		return err == nil
	})
	return heard
}

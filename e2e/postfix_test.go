package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// postfix is a Postfix of the test's own: a private configuration, queue and port.
type postfix struct {
	t      *testing.T
	dir    string
	cmd    string
	inside []string // a command that what is started is given to
}

// postfixOptions are what differs from one Postfix to another.
type postfixOptions struct {
	listen string   // "address:port" of its smtpd
	main   string   // lines of main.cf, in place of those of the same names
	inside []string // a command that runs another one somewhere else
}

// startPostfix runs Postfix on 127.0.0.1:port. It takes mail for outside.test into one mailbox
// file and sends mail for example.test to the demo server.
func startPostfix(t *testing.T, port int, relay string) *postfix {
	t.Helper()
	return runPostfix(t, postfixOptions{
		listen: fmt.Sprintf("127.0.0.1:%d", port),
		main: "inet_interfaces = 127.0.0.1\nsmtp_dns_support_level = disabled\n" +
			"transport_maps = inline:{example.test=smtp:[127.0.0.1]:" + relay + "}\n",
	})
}

// runPostfix runs a Postfix.
func runPostfix(t *testing.T, o postfixOptions) *postfix {
	t.Helper()
	p := &postfix{t: t, dir: t.TempDir(), cmd: need(t, "postfix", "postfix"), inside: o.inside}
	if os.Geteuid() != 0 {
		t.Fatal("Postfix starts as root only: run make test as root")
	}
	// Postfix's daemons run as another user and must reach the folder.
	for dir := p.dir; len(dir) > len(os.TempDir()); dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, sub := range []string{"etc", "spool", "data", "mail"} {
		if err := os.MkdirAll(filepath.Join(p.dir, sub), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	run(t, "", "chown", "postfix", filepath.Join(p.dir, "data"))
	run(t, "", "chown", "5000:5000", filepath.Join(p.dir, "mail"))
	write(t, filepath.Join(p.dir, "etc/main.cf"), override(fmt.Sprintf(`compatibility_level = 3.6
queue_directory = %[1]s/spool
data_directory = %[1]s/data
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
mail_owner = postfix
setgid_group = postdrop
maillog_file = %[1]s/log
maillog_file_prefixes = %[1]s
inet_protocols = ipv4
myhostname = mx.outside.test
mydestination =
mynetworks = 127.0.0.0/8
alias_maps =
alias_database =
virtual_mailbox_domains = outside.test
virtual_mailbox_base = %[1]s/mail
virtual_mailbox_maps = static:box
virtual_uid_maps = static:5000
virtual_gid_maps = static:5000
virtual_minimum_uid = 5000
message_size_limit = 52428800
virtual_mailbox_limit = 0
smtpd_recipient_restrictions =
  check_recipient_access inline:{{gone@nowhere.invalid = 550 5.1.1 no such person}},
  permit_mynetworks, reject
smtp_tls_security_level = may
`, p.dir), o.main))
	write(t, filepath.Join(p.dir, "etc/master.cf"), fmt.Sprintf(`%s inet n - n - - smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
virtual unix - n n - - virtual
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
`, o.listen))
	p.run("start")
	t.Cleanup(func() {
		all := p.words(p.cmd, "-c", filepath.Join(p.dir, "etc"), "stop")
		try(t, "", all[0], all[1:]...)
		if t.Failed() {
			t.Logf("Postfix wrote:\n%s", p.log())
		}
	})
	return p
}

// override puts lines of main.cf in place of those with their names. A line that begins with white space
// continues the one before it.
func override(base, lines string) string {
	name := func(line string) string {
		n, _, _ := strings.Cut(line, "=")
		return strings.TrimSpace(n)
	}
	replaced := map[string]bool{}
	for line := range strings.Lines(lines) {
		replaced[name(line)] = true
	}
	var b strings.Builder
	dropped := false
	for line := range strings.Lines(base) {
		if line[0] != ' ' {
			dropped = replaced[name(line)]
		}
		if !dropped {
			b.WriteString(line)
		}
	}
	return b.String() + lines
}

// words is a command line where this Postfix is.
func (p *postfix) words(args ...string) []string {
	return append(append([]string(nil), p.inside...), args...)
}

func (p *postfix) run(verb string) {
	p.t.Helper()
	all := p.words(p.cmd, "-c", filepath.Join(p.dir, "etc"), verb)
	run(p.t, "", all[0], all[1:]...)
}

// log is what it has written.
func (p *postfix) log() string {
	b, err := os.ReadFile(filepath.Join(p.dir, "log"))
	if err != nil {
		return ""
	}
	return string(b)
}

// queue is what mailq prints.
func (p *postfix) queue() string {
	p.t.Helper()
	all := p.words("postqueue", "-c", filepath.Join(p.dir, "etc"), "-p")
	return run(p.t, "", all[0], all[1:]...)
}

// mailbox is what arrived at outside.test.
func (p *postfix) mailbox() string {
	b, err := os.ReadFile(filepath.Join(p.dir, "mail/box"))
	if err != nil {
		return ""
	}
	return string(b)
}

// TestPostfix sends from a real Postfix into the demo and from the demo to that Postfix: both
// queues end empty and everything is there once.
func TestPostfix(t *testing.T) {
	t.Parallel()
	swaks := need(t, "swaks", "swaks")
	pfPort := freeBase(t) + 25
	s := start(t, "--smarthost", fmt.Sprintf("127.0.0.1:%d", pfPort))
	p := startPostfix(t, pfPort, port(s, 25))
	pf := fmt.Sprintf("127.0.0.1:%d", pfPort)

	const each = 20
	for i := range each {
		run(t, "", swaks, "--server", pf, "--from", "someone@outside.test", "--to", alice, "--header",
			fmt.Sprintf("Subject: into %d", i), "--body", "from Postfix")
		run(t, "", swaks, "--server", s.addr(587), "--tls", "--auth", "PLAIN", "--auth-user", alice,
			"--auth-password", password, "--from", alice, "--to", "someone@outside.test", "--header",
			fmt.Sprintf("Subject: out of %d.", i), "--body", "to Postfix")
	}
	c := s.waitFor(alice, "INBOX", each)
	if got := c.body(each); !strings.Contains(got, "Received: from mx.outside.test") {
		t.Errorf("no trace of Postfix in\n%s", got)
	}
	eventually(t, "Postfix has all", func() bool {
		return strings.Count(p.mailbox(), "Subject: out of ") >= each
	})
	for i := range each {
		if n := strings.Count(p.mailbox(), fmt.Sprintf("Subject: out of %d.\n", i)); n != 1 {
			t.Errorf("message %d arrived %d times", i, n)
		}
	}
	eventually(t, "Postfix's queue is empty", func() bool {
		return strings.Contains(p.queue(), "Mail queue is empty")
	})
	eventually(t, "our queue is empty", func() bool {
		return strings.TrimSpace(s.tram("queue", "list", "--json")) == "[]"
	})
}

// TestDSNFromPostfix: what Postfix refuses comes back to the sender as a readable notice.
func TestDSNFromPostfix(t *testing.T) {
	t.Parallel()
	swaks := need(t, "swaks", "swaks")
	pfPort := freeBase(t) + 25
	s := start(t, "--smarthost", fmt.Sprintf("127.0.0.1:%d", pfPort))
	startPostfix(t, pfPort, port(s, 25))
	run(t, "", swaks, "--server", s.addr(587), "--tls", "--auth", "PLAIN", "--auth-user", alice,
		"--auth-password", password, "--from", alice, "--to", "gone@nowhere.invalid",
		"--header", "Subject: a question", "--body", "hello?")
	c := s.waitFor(alice, "INBOX", 1)
	got := c.body(1)
	for _, want := range []string{
		"multipart/report", "report-type=delivery-status", "Final-Recipient: rfc822;gone@nowhere.invalid",
		"Action: failed", "Status: 5.", "Subject: a question",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("the notice lacks %q:\n%s", want, got)
		}
	}
}

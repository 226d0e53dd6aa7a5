package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// popScript fetches mail as a program does that leaves a copy on the server: what it has seen before,
// by UIDL, it does not fetch again.
const popScript = `
import poplib, ssl, sys
host, port, ca, user, password, mode = sys.argv[1:]
c = poplib.POP3(host, int(port)) if mode == "stls" else \
    poplib.POP3_SSL(host, int(port), context=ssl.create_default_context(cafile=ca))
if mode == "stls":
    c.stls(context=ssl.create_default_context(cafile=ca))
c.user(user); c.pass_(password)
capa = c.capa()
assert "UIDL" in capa and "TOP" in capa and "PIPELINING" in capa, capa
count, size = c.stat()
lines = c.list()[1]
assert len(lines) == count
for line, uid in zip(lines, c.uidl()[1]):
    n, octets = (int(x) for x in line.split())
    _, body, _ = c.retr(n)
    got = sum(len(l) + 2 for l in body)
    assert got == octets, (n, got, octets)
    head = c.top(n, 0)[1]
    assert b"".join(body).startswith(b"".join(head)[:20])
    print(uid.decode().split()[1], octets)
if mode == "delete":
    c.dele(1)
c.quit()
`

// TestPOP3 reads with curl and with Python's poplib, over TLS and STLS, and deletes.
func TestPOP3(t *testing.T) {
	t.Parallel()
	curl, python := need(t, "curl", "curl"), need(t, "python3", "python3")
	s := start(t)
	dir := t.TempDir()
	file := write(t, filepath.Join(dir, "vi.eml"), vietnamese)
	dots := write(t, filepath.Join(dir, "dots.eml"), "Subject: dots\r\n\r\n.\r\n..\r\nend\r\n")
	for _, f := range []string{file, dots} {
		run(t, "", curl, "-sS", "smtp://"+s.addr(25), "--mail-from", "an@outside.test",
			"--mail-rcpt", bob, "-T", f)
	}
	s.waitFor(bob, "INBOX", 2)
	read := filepath.Join(dir, "read")
	run(t, "", curl, "-sS", "--cacert", s.ca(), "--user", bob+":"+password, "-o", read,
		"pop3s://localhost:"+port(s, 995)+"/1")
	got, err := os.ReadFile(read)
	if err != nil || !strings.HasSuffix(string(got), vietnamese) {
		t.Errorf("curl read %d bytes, %v", len(got), err)
	}
	script := write(t, filepath.Join(dir, "pop.py"), popScript)
	fetch := func(mode, at string) string {
		return run(t, "", python, script, "localhost", at, s.ca(), bob, password, mode)
	}
	first := fetch("tls", port(s, 995))
	if again := fetch("stls", port(s, 110)); first == "" || again != first {
		t.Errorf("first %q, then %q", first, again)
	}
	fetch("delete", port(s, 995))
	left := fetch("tls", port(s, 995))
	if strings.Count(left, "\n") != strings.Count(first, "\n")-1 || !strings.HasSuffix(first, left) {
		t.Errorf("%q is left of %q", left, first)
	}
}

package e2e

import (
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestSwaks delivers with swaks over 25, 587 with STARTTLS and 465.
func TestSwaks(t *testing.T) {
	t.Parallel()
	swaks := need(t, "swaks", "swaks")
	s := start(t)
	run(t, "", swaks, "--server", s.addr(25), "--from", "someone@outside.test", "--to", alice,
		"--header", "Subject: by 25", "--body", "plain delivery")
	run(t, "", swaks, "--server", s.addr(25), "--tls", "--from", "someone@outside.test",
		"--to", alice, "--header", "Subject: by 25 under TLS", "--body", "encrypted delivery")
	run(t, "", swaks, "--server", s.addr(587), "--tls", "--auth", "PLAIN", "--auth-user", bob,
		"--auth-password", password, "--from", bob, "--to", alice, "--body", "submitted")
	run(t, "", swaks, "--server", s.addr(465), "--tls-on-connect", "--auth", "LOGIN",
		"--auth-user", bob, "--auth-password", password, "--from", bob, "--to", alice,
		"--body", "submitted")
	c := s.waitFor(alice, "INBOX", 4)
	if got := c.body(1); !strings.Contains(got, "Subject: by 25\r\n") ||
		!strings.Contains(got, "plain delivery") {
		t.Errorf("the first message reads\n%s", got)
	}
}

// TestSwaksIsRefused tries what must not work, each with its reply code.
func TestSwaksIsRefused(t *testing.T) {
	t.Parallel()
	swaks := need(t, "swaks", "swaks")
	s := start(t)
	tests := []struct {
		name, want string
		args       []string
	}{
		{"unknown user", "550 5.1.1", []string{"--server", s.addr(25), "--to", "nobody@example.test"}},
		{"relaying", "550 5.7.1", []string{"--server", s.addr(25), "--to", "a@elsewhere.test"}},
		{"wrong password", "535 5.7.8", []string{"--server", s.addr(587), "--tls", "--auth", "PLAIN",
			"--auth-user", bob, "--auth-password", "wrong", "--to", alice}},
		{"another's address", "5.7.1", []string{"--server", s.addr(587), "--tls", "--auth", "PLAIN",
			"--auth-user", bob, "--auth-password", password, "--from", alice, "--to", alice}},
		{"no log-in", "530 5.7.0", []string{"--server", s.addr(587), "--tls", "--to", alice}},
	}
	for _, tt := range tests {
		args := append([]string{"--from", "someone@outside.test"}, tt.args...)
		out, err := try(t, "", swaks, args...)
		if err == nil || !strings.Contains(out, tt.want) {
			t.Errorf("%s: want %q, got %v\n%s", tt.name, tt.want, err, out)
		}
	}
	if n := s.imap(alice).count("INBOX"); n != 0 {
		t.Errorf("%d messages came in", n)
	}
}

// bigMessage is a message with a base64 attachment of the given raw size, from a fixed seed.
func bigMessage(size int) string {
	rnd := rand.New(rand.NewPCG(1, 2))
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
	var b strings.Builder
	b.Grow(size*4/3*78/76 + 1000)
	b.WriteString("From: someone@outside.test\r\nTo: " + alice + "\r\nSubject: a big one\r\n" +
		"Message-ID: <big@outside.test>\r\nDate: Sun, 22 Nov 2026 10:00:00 +0700\r\n" +
		"MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=\"cut here\"\r\n\r\n" +
		"--cut here\r\nContent-Type: text/plain\r\n\r\n.a line that starts with a dot\r\n" +
		"--cut here\r\nContent-Type: application/octet-stream\r\n" +
		"Content-Transfer-Encoding: base64\r\n\r\n")
	line := make([]byte, 78)
	copy(line[76:], "\r\n")
	for written := 0; written < size*4/3; written += 76 {
		for i := range 76 {
			line[i] = alphabet[rnd.IntN(64)]
		}
		b.Write(line)
	}
	b.WriteString("--cut here--\r\n")
	return b.String()
}

const vietnamese = "From: =?utf-8?B?Tmd1eeG7hW4gVsSDbiBBbg==?= <an@outside.test>\r\n" +
	"To: =?utf-8?Q?Tr=E1=BA=A7n_Th=E1=BB=8B_B=C3=ACnh?= <bob@example.test>\r\n" +
	"Subject: =?utf-8?B?VGjDtG5nIGLDoW8gaOG7jXAgxJHhuqd1IG7Egm0=?=\r\n" +
	"Date: Sun, 22 Nov 2026 10:00:00 +0700\r\nMessage-ID: <vi@outside.test>\r\n" +
	"MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n" +
	"Content-Transfer-Encoding: 8bit\r\n\r\nKính gửi anh chị, đường còn dài.\r\n"

// TestCurl sends with curl over 25, 587 and 465 and reads with curl over IMAP; a message with a
// 40 MB attachment and one with Vietnamese headers arrive byte for byte.
func TestCurl(t *testing.T) {
	t.Parallel()
	curl := need(t, "curl", "curl")
	s := start(t)
	dir := t.TempDir()
	big := bigMessage(30 << 20) // 40 MB as base64
	bigFile := write(t, filepath.Join(dir, "big.eml"), big)
	viFile := write(t, filepath.Join(dir, "vi.eml"), vietnamese)
	run(t, "", curl, "-sS", "smtp://"+s.addr(25), "--mail-from", "someone@outside.test",
		"--mail-rcpt", alice, "-T", bigFile)
	run(t, "", curl, "-sS", "--ssl-reqd", "--cacert", s.ca(), "smtp://localhost:"+port(s, 587),
		"--user", bob+":"+password, "--mail-from", bob, "--mail-rcpt", alice, "-T",
		write(t, filepath.Join(dir, "sub.eml"), "From: "+bob+"\r\nSubject: hello\r\n\r\nby 587\r\n"))
	run(t, "", curl, "-sS", "--cacert", s.ca(), "smtps://localhost:"+port(s, 465),
		"--user", alice+":"+password, "--mail-from", alice, "--mail-rcpt", bob, "-T",
		write(t, filepath.Join(dir, "sub2.eml"), "From: "+alice+"\r\nSubject: back\r\n\r\nby 465\r\n"))
	run(t, "", curl, "-sS", "smtp://"+s.addr(25), "--mail-from", "an@outside.test",
		"--mail-rcpt", bob, "-T", viFile)

	s.waitFor(alice, "INBOX", 2)
	s.waitFor(bob, "INBOX", 2)
	read := func(user, uid string) string {
		file := filepath.Join(dir, "read-"+uid+user)
		run(t, "", curl, "-sS", "--cacert", s.ca(), "--user", user+":"+password, "-o", file,
			"imaps://localhost:"+port(s, 993)+"/INBOX;UID="+uid)
		got, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		return string(got)
	}
	if got := read(alice, "1"); !strings.HasSuffix(got, big) {
		t.Errorf("the big message differs: %d bytes, sha256 %x; sent %d", len(got),
			sha256.Sum256([]byte(got)), len(big))
	}
	found := strings.HasSuffix(read(bob, "1"), vietnamese) ||
		strings.HasSuffix(read(bob, "2"), vietnamese)
	if !found {
		t.Error("the Vietnamese message did not arrive byte for byte")
	}
	list := run(t, "", curl, "-sS", "--cacert", s.ca(), "--user", bob+":"+password,
		"imaps://localhost:"+port(s, 993)+"/INBOX", "-X", "SEARCH SUBJECT hello")
	if !strings.Contains(list, "* SEARCH") {
		t.Errorf("curl's SEARCH printed %q", list)
	}
	// An APPEND of 40 MB with STARTTLS, and a partial FETCH of it.
	run(t, "", curl, "-sS", "--ssl-reqd", "--cacert", s.ca(), "--user", bob+":"+password,
		"imap://localhost:"+port(s, 143)+"/Drafts", "-T", bigFile)
	part := run(t, "", curl, "-sS", "--cacert", s.ca(), "--user", bob+":"+password,
		"imaps://localhost:"+port(s, 993)+"/Drafts;MAILINDEX=1;SECTION=HEADER.FIELDS%20(SUBJECT)")
	if !strings.Contains(part, "Subject: a big one\r\n") {
		t.Errorf("curl read %q of what it appended", part)
	}
}

func port(s *server, standard int) string { return fmt.Sprint(s.base + standard) }

// TestMbsync synchronises both ways; the second run changes nothing.
func TestMbsync(t *testing.T) {
	t.Parallel()
	mbsync := need(t, "mbsync", "isync")
	s := start(t)
	home := t.TempDir()
	c := s.imap(alice)
	for i := range 30 {
		msg := fmt.Sprintf("From: %s\r\nSubject: number %d\r\n\r\nbody %d\r\n", bob, i, i)
		c.append("INBOX", `(\Seen)`, msg)
	}
	c.cmd(`CREATE "Projects/Trạm"`)
	rc := write(t, filepath.Join(home, "mbsyncrc"), fmt.Sprintf(`
IMAPAccount tram
Host localhost
Port %d
User %s
Pass %s
SSLType IMAPS
CertificateFile %s

IMAPStore far
Account tram

MaildirStore near
Path %s/mail/
Inbox %s/mail/INBOX
SubFolders Verbatim

Channel all
Far :far:
Near :near:
Patterns *
Create Both
Expunge Both
Sync All
SyncState *
`, s.base+993, alice, password, s.ca(), home, home))
	if err := os.MkdirAll(filepath.Join(home, "mail"), 0o755); err != nil {
		t.Fatal(err)
	}
	run(t, "", mbsync, "-c", rc, "all")
	cur := maildir(t, filepath.Join(home, "mail/INBOX/cur"))
	if len(cur) != 30 {
		t.Fatalf("mbsync fetched %d messages, want 30", len(cur))
	}
	// A new message and a flag on this side, an expunge and a flag on the other.
	write(t, filepath.Join(home, "mail/INBOX/new/1.local"), "From: a@b\nSubject: from here\n\nx\n")
	flagged := filepath.Join(home, "mail/INBOX/cur", cur[0])
	if err := os.Rename(flagged, strings.TrimSuffix(flagged, "S")+"FS"); err != nil {
		t.Fatal(err)
	}
	c.cmd("SELECT INBOX")
	c.cmd(`STORE 5 +FLAGS (\Deleted)`)
	c.cmd("EXPUNGE")
	c.cmd(`STORE 7 +FLAGS (\Answered)`)
	run(t, "", mbsync, "-c", rc, "all")
	if n := c.count("INBOX"); n != 30 {
		t.Errorf("the server holds %d messages after the second run, want 30", n)
	}
	if out := c.cmd("SEARCH RETURN (COUNT) FLAGGED"); !strings.Contains(out, "COUNT 1") {
		t.Errorf("the flag did not arrive: %q", out)
	}
	c.cmd("STATUS INBOX (HIGHESTMODSEQ)") // the first answers with more: CONDSTORE is now on
	before := c.cmd("STATUS INBOX (UIDNEXT HIGHESTMODSEQ)")
	state := maildir(t, filepath.Join(home, "mail/INBOX/cur"))
	run(t, "", mbsync, "-c", rc, "all")
	if after := c.cmd("STATUS INBOX (UIDNEXT HIGHESTMODSEQ)"); after != before {
		t.Errorf("the third run changed the server: %q, then %q", before, after)
	}
	if after := maildir(t, filepath.Join(home, "mail/INBOX/cur")); !equal(state, after) {
		t.Errorf("the third run changed the maildir: %v, then %v", state, after)
	}
	mbsyncRenames(t, c, filepath.Join(home, "mail"), func() { run(t, "", mbsync, "-c", rc, "all") })
}

// mbsyncRenames renames a mailbox on both sides. It keeps its UIDVALIDITY and UIDs, so that mbsync
// goes on where it was: nothing is fetched or sent again.
func mbsyncRenames(t *testing.T, c *imapConn, mail string, sync func()) {
	t.Helper()
	c.append("Projects/Trạm", `(\Flagged)`, "Subject: plan\r\n\r\nours\r\n")
	sync()
	// mbsync writes names as IMAP4rev1 does.
	was := filepath.Join(mail, "Projects/Tr&HqE-m")
	write(t, filepath.Join(was, "new/2.local"), "From: a@b\nSubject: from here\n\nx\n")
	sync()
	before := maildir(t, filepath.Join(was, "cur"))
	ids := c.cmd(`STATUS "Projects/Trạm" (UIDVALIDITY UIDNEXT MESSAGES)`)
	if len(before)+len(maildir(t, filepath.Join(was, "new"))) != 2 {
		t.Fatalf("before the renaming: %v", before)
	}
	c.cmd(`RENAME "Projects/Trạm" "Projects/Nhà"`)
	if err := os.Rename(was, filepath.Join(mail, "Projects/Nh&AOA-")); err != nil {
		t.Fatal(err)
	}
	sync()
	if after := maildir(t, filepath.Join(mail, "Projects/Nh&AOA-/cur")); !equal(before, after) {
		t.Errorf("the renamed maildir holds %v, was %v", after, before)
	}
	now := c.cmd(`STATUS "Projects/Nhà" (UIDVALIDITY UIDNEXT MESSAGES)`)
	_, ids, _ = strings.Cut(ids, "(")
	if _, now, _ = strings.Cut(now, "("); now != ids {
		t.Errorf("the renamed mailbox has %q, had %q", now, ids)
	}
	if out := c.cmd(`LIST "" "Projects/%%"`); strings.Contains(out, "Tr&") || strings.Contains(out, "Trạm") {
		t.Errorf("the old name came back: %s", out)
	}
}

func maildir(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func equal(a, b []string) bool { return strings.Join(a, "\n") == strings.Join(b, "\n") }

// append stores a message with a synchronising literal.
func (c *imapConn) append(mailbox, flags, msg string) {
	c.t.Helper()
	c.tag++
	fmt.Fprintf(c.conn, "e%d APPEND %q %s {%d}\r\n", c.tag, mailbox, flags, len(msg))
	if line := c.line(); !strings.HasPrefix(line, "+") {
		c.t.Fatalf("imap: no continuation for APPEND: %q", line)
	}
	fmt.Fprintf(c.conn, "%s\r\n", msg)
	for line := ""; !strings.HasPrefix(line, fmt.Sprintf("e%d ", c.tag)); {
		if line = c.line(); strings.HasPrefix(line, fmt.Sprintf("e%d ", c.tag)) &&
			!strings.HasPrefix(line, fmt.Sprintf("e%d OK", c.tag)) {
			c.t.Fatalf("imap: APPEND: %s", line)
		}
	}
}

// TestMutt reads, flags, saves and deletes with mutt in batch mode.
func TestMutt(t *testing.T) {
	t.Parallel()
	mutt := need(t, "mutt", "mutt")
	s := start(t)
	c := s.imap(alice)
	for i := range 3 {
		c.append("INBOX", "()", fmt.Sprintf("From: %s\r\nTo: %s\r\nSubject: letter %d\r\n"+
			"Message-ID: <m%d@x>\r\n\r\nbody\r\n", bob, alice, i, i))
	}
	home := t.TempDir()
	rc := write(t, filepath.Join(home, "muttrc"), fmt.Sprintf(`
set folder="imaps://localhost:%d/"
set spoolfile="imaps://localhost:%d/INBOX"
set imap_user="%s"
set imap_pass="%s"
set certificate_file=%s
set ssl_ca_certificates_file=%s
set delete=yes
set confirmappend=no
set header_cache=
set copy=no
set wait_key=no
macro index K "<tag-pattern>~s 'letter 1'<enter><tag-prefix><flag-message><untag-pattern>.<enter>"
macro index L "<delete-pattern>~s 'letter 2'<enter><first-entry><save-message>=Archive<enter>"
push "KL<sync-mailbox><quit>"
`, s.base+993, s.base+993, alice, password, s.ca(), s.ca()))
	script := need(t, "script", "bsdutils")
	out, err := try(t, "", script, "-qec", "env TERM=xterm HOME="+home+" "+mutt+" -n -F "+rc, "/dev/null")
	if err != nil {
		t.Fatalf("mutt: %v\n%s", err, out)
	}
	if n := c.count("INBOX"); n != 1 {
		t.Errorf("INBOX holds %d messages after mutt, want the flagged one\n%s", n, out)
	}
	if n := c.count("Archive"); n != 1 {
		t.Errorf("Archive holds %d messages after mutt, want 1", n)
	}
	c.cmd("SELECT INBOX")
	if got := c.cmd("SEARCH FLAGGED"); !strings.Contains(got, "1") {
		t.Errorf("no flagged message: %q", got)
	}
}

// TestImaplib reads, flags, moves, appends and deletes with Python's imaplib, and sends with its
// smtplib.
func TestImaplib(t *testing.T) {
	t.Parallel()
	python := need(t, "python3", "python3")
	s := start(t)
	out := run(t, "", python, "testdata/imaplib_session.py", fmt.Sprint(s.base), s.ca(), alice,
		bob, password)
	if !strings.Contains(out, "all done") {
		t.Errorf("the Python session printed %q", out)
	}
}

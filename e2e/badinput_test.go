package e2e

import (
	"crypto/tls"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

const (
	stranger = "stranger@elsewhere.test"
	// ownPassword is of accounts that a test adds: the demo's is known to everybody.
	ownPassword = "boat-under-three-bridges"
)

// TestBadInput says to one running server what it must not believe. Each saying gets its answer, the
// mail that was there before is there afterwards, nothing else is, and the server still runs.
func TestBadInput(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.keep("kept")
	t.Run("people", s.badPeople)
	t.Run("large", s.badSizes)
	t.Run("bytes", s.badBytes)
	t.Run("relay", s.badRelay)
	t.Run("sender", s.badSender)
	t.Run("cut smtp", s.cutSMTP)
	t.Run("cut append", s.cutAppend)
	c := s.waitFor(bob, "INBOX", 1)
	if body := c.body(1); !strings.HasSuffix(body, letter(stranger, bob, "kept")) {
		t.Errorf("the message that was there is now %q", body)
	}
	if out := s.tram("queue", "list", "--json"); strings.TrimSpace(out) != "[]" {
		t.Errorf("the queue holds %s", out)
	}
	if out := s.tram("check", "--deep"); !strings.Contains(out, "Everything is in order.") {
		t.Errorf("check: %s", out)
	}
	s.keep("after")
	s.waitFor(bob, "INBOX", 2)
	s.stop()
}

// keep delivers a letter to bob that must stay.
func (s *server) keep(name string) {
	s.t.Helper()
	c := s.talk(25)
	c.open(stranger, bob)
	c.send(letter(stranger, bob, name) + ".\r\n")
	if got := c.reply(); !strings.HasPrefix(got, "250 ") {
		s.t.Fatalf("a letter was answered %q", got)
	}
	c.smtp("QUIT", "221")
}

// badPeople: the wrong password, names that nobody has, and somebody whose mailbox is full.
func (s *server) badPeople(t *testing.T) {
	c := s.talkFor(t, 465)
	c.smtp("EHLO client.test", "250")
	c.smtp("AUTH PLAIN "+plain(bob, "wrong"), "535 5.7.8 Wrong user name or password")
	c.smtp("AUTH PLAIN "+plain("nobody@example.test", password), "535 5.7.8 Wrong user name or password")
	c = s.talkFor(t, 993)
	for _, login := range []string{"LOGIN bob@example.test wrong", "LOGIN nobody@example.test x"} {
		if got := c.imap(login); !strings.Contains(got, "NO [AUTHENTICATIONFAILED]") {
			t.Errorf("%s: %s", login, got)
		}
	}
	c = s.talkFor(t, 25)
	c.smtp("EHLO client.test", "250")
	c.smtp("MAIL FROM:<"+stranger+">", "250")
	c.smtp("RCPT TO:<nobody@example.test>", "550 5.1.1")
	c.smtp("DATA", "554")
	s.badQuota(t)
}

func (s *server) badQuota(t *testing.T) {
	const dora = "dora@example.test"
	run(t, ownPassword+"\n", tramBinary, "account", "add", dora, "--quota", "10KiB", "--password-stdin",
		"--data", s.dir)
	c := s.talkFor(t, 25)
	c.open(stranger, dora)
	fits := letter(stranger, dora, "fits") + strings.Repeat(strings.Repeat("x", 70)+"\r\n", 100)
	c.send(fits + ".\r\n")
	if got := c.reply(); !strings.HasPrefix(got, "250 ") {
		t.Fatalf("a message below the quota: %s", got)
	}
	c.smtp("MAIL FROM:<"+stranger+"> SIZE=6000", "250")
	c.smtp("RCPT TO:<"+dora+">", "452 4.2.2") // full for now
	c.smtp("RSET", "250")
	c.smtp("MAIL FROM:<"+stranger+"> SIZE=20000", "250")
	c.smtp("RCPT TO:<"+dora+">", "552 5.") // will never fit
	c.smtp("RSET", "250")
	c.smtp("MAIL FROM:<"+stranger+">", "250") // no size told: it shows at the end
	c.smtp("RCPT TO:<"+dora+">", "250")
	c.smtp("DATA", "354")
	c.send(strings.Replace(fits, "fits@", "over@", 1) + ".\r\n")
	if got := c.reply(); !strings.HasPrefix(got, "452 4.2.2") {
		t.Errorf("a message over the quota: %s", got)
	}
	if n := s.imapAs(dora, ownPassword).count("INBOX"); n != 1 {
		t.Errorf("the full mailbox holds %d messages", n)
	}
	i := s.talkFor(t, 993)
	i.imap("LOGIN " + dora + " " + ownPassword)
	if got := i.imap("APPEND INBOX {8000}"); !strings.Contains(got, "NO [OVERQUOTA]") {
		t.Errorf("APPEND over the quota: %s", got)
	}
}

// badSizes: too large by its own word, too large when it comes, and a header of a million lines.
func (s *server) badSizes(t *testing.T) {
	c := s.talkFor(t, 25)
	c.smtp("EHLO client.test", "250")
	c.smtp("MAIL FROM:<"+stranger+"> SIZE=52428801", "552 5.3.4")
	c.smtp("MAIL FROM:<"+stranger+"> SIZE=99999999999999999999999", "5")
	c.smtp("MAIL FROM:<"+stranger+">", "250")
	c.smtp("RCPT TO:<"+bob+">", "250")
	c.smtp("DATA", "354")
	c.send(letter(stranger, bob, "large"))
	block := strings.Repeat(strings.Repeat("x", 998)+"\r\n", 1000)
	for range 53 {
		c.send(block)
	}
	c.send(".\r\n")
	if got := c.reply(); !strings.HasPrefix(got, "552 5.3.4") {
		t.Errorf("a message too large: %s", got)
	}
	c.smtp("NOOP", "250")
	i := s.talkFor(t, 993)
	i.imap("LOGIN " + bob + " " + password)
	if got := i.imap("APPEND INBOX {52428801}"); !strings.HasPrefix(got, "NO [TOOBIG]") {
		t.Errorf("APPEND too large: %s", got)
	}
	s.badHeader(t)
}

// badHeader: the million lines go to alice, and all of them are there or none.
func (s *server) badHeader(t *testing.T) {
	c := s.talkFor(t, 25)
	c.open(stranger, alice)
	head := letter(stranger, alice, "million")
	head = strings.TrimSuffix(head, "\r\nHello.\r\n") + strings.Repeat("X: y\r\n", 1_000_000) + "\r\nHello.\r\n"
	c.send(head + ".\r\n")
	got := c.reply()
	c.smtp("NOOP", "250")
	switch n := s.imap(alice).count("INBOX"); {
	case strings.HasPrefix(got, "250 ") && n == 1:
		if body := s.waitFor(alice, "INBOX", 1).body(1); !strings.HasSuffix(body, head) {
			t.Errorf("the header of a million lines came back as %d bytes of %d", len(body), len(head))
		}
	case !strings.HasPrefix(got, "55") || n != 0:
		t.Errorf("a header of a million lines was answered %q, INBOX holds %d", got, n)
	}
}

// badBytes: NUL, 8-bit, control characters and line ends that are none, in commands and messages.
func (s *server) badBytes(t *testing.T) {
	for _, command := range []string{
		"NOOP \x00", "MAIL FROM:<a\xff@elsewhere.test>", "MAIL FROM:<a\x00b@elsewhere.test>",
		"MAIL FROM:<\x9b31m@elsewhere.test>", "\xff\xfe\x00", "HE\x00LO x",
	} {
		c := s.talkFor(t, 25)
		c.smtp("EHLO client.test", "250")
		c.smtp(command, "5")
		c.smtp("NOOP", "250")
	}
	c := s.talkFor(t, 25)
	c.send("EHLO client.test\n")
	if got := c.reply(); !strings.HasPrefix(got, "500 5.5.2") {
		t.Errorf("a bare LF in a command: %s", got)
	}
	for name, body := range map[string]string{
		"bare LF": "a\nb\r\n", "bare CR": "a\rb\r\n", "smuggled": "a\n.\r\nMAIL FROM:<x@y.test>\r\n",
	} {
		c := s.talkFor(t, 25)
		c.open(stranger, bob)
		c.send(letter(stranger, bob, "ends") + body + "\r\n.\r\n")
		if got := c.reply(); !strings.HasPrefix(got, "550 5.6.11") {
			t.Errorf("%s in a message: %s", name, got)
		}
	}
	i := s.talkFor(t, 993)
	for _, command := range []string{"LOGIN b\x00b x", "LOGIN \xff\xfe x", "NO\x00OP"} {
		if got := i.imap(command); !strings.HasPrefix(got, "BAD") {
			t.Errorf("%q: %s", command, got)
		}
	}
	s.oddBody(t)
	for _, r := range s.out.String() {
		if r < ' ' && r != '\n' || r == 0xfffd || r >= 0x80 && r < 0xa0 {
			t.Fatalf("the server printed a raw %U", r)
		}
	}
}

// oddBody: 8-bit and control characters of a message are its own business. NUL is not: no line of a
// message may hold it (RFC 5322 §2.2, RFC 9051 §4.3).
func (s *server) oddBody(t *testing.T) {
	const erin = "erin@example.test"
	run(t, ownPassword+"\n", tramBinary, "account", "add", erin, "--password-stdin", "--data", s.dir)
	msg := letter(stranger, erin, "odd") + "\xff\xfe 8-bit \x01\x1b[31m\r\n"
	c := s.talkFor(t, 25)
	c.open(stranger, erin)
	c.send(msg + ".\r\n")
	if got := c.reply(); !strings.HasPrefix(got, "250 ") {
		t.Errorf("8-bit bytes in a message: %s", got)
	}
	for _, command := range []string{"MAIL FROM:<" + stranger + ">", "RCPT TO:<" + erin + ">"} {
		c.smtp(command, "250")
	}
	c.smtp("DATA", "354")
	c.send(strings.Replace(msg, "odd@", "nul@", 1) + "a\x00b\r\n.\r\n")
	if got := c.reply(); !strings.HasPrefix(got, "550 5.6.0 Message holds NUL") {
		t.Errorf("NUL in a message: %s", got)
	}
	i := s.imapAs(erin, ownPassword)
	if n := i.count("INBOX"); n != 1 {
		t.Fatalf("INBOX holds %d messages", n)
	}
	i.cmd("SELECT INBOX")
	if body := i.body(1); !strings.HasSuffix(body, msg) {
		t.Errorf("8-bit bytes came back as %q", body)
	}
}

// badRelay is P21's short form: none of them leaves, or even waits.
func (s *server) badRelay(t *testing.T) {
	for _, to := range []string{
		"<a@elsewhere.test>", "<a%elsewhere.test@example.test>", `<"a@elsewhere.test"@example.test>`,
		"<@example.test:a@elsewhere.test>", "<a@elsewhere.test@example.test>", "<a@elsewhere.test.>",
		"<a@[127.0.0.1]>", "<a@[IPv6:::1]>", "<elsewhere.test!a@example.test>", "<a@localhost>",
		"<postmaster@elsewhere.test>", "<bob@example.test.elsewhere.test>",
	} {
		c := s.talkFor(t, 25)
		c.smtp("EHLO client.test", "250")
		c.smtp("XCLIENT ADDR=127.0.0.1 LOGIN=bob", "5")
		c.smtp("MAIL FROM:<>", "250")
		c.smtp("RCPT TO:"+to, "5")
		c.smtp("RSET", "250")
		c.smtp("MAIL FROM:<bob@example.test>", "250")
		c.smtp("RCPT TO:"+to, "5")
		c.smtp("DATA", "554")
	}
}

// badSender is A16 through the real binary: nobody writes in another's name.
func (s *server) badSender(t *testing.T) {
	c := s.talkFor(t, 465)
	c.smtp("EHLO client.test", "250")
	c.smtp("AUTH PLAIN "+plain(alice, password), "235")
	c.smtp("MAIL FROM:<bob@example.test>", "553 5.7.1")
	c.smtp("MAIL FROM:<a@elsewhere.test>", "553 5.7.1")
	for _, head := range []string{
		"From: bob@example.test", "From: alice@example.test\r\nSender: bob@example.test",
		"From: bob@example.test, alice@example.test", "From: alice@example.test\r\nFrom: bob@example.test",
		"From: x: bob@example.test;", "Sender: alice@example.test",
		"From : bob@example.test\r\nFrom: alice@example.test",
	} {
		c.smtp("MAIL FROM:<alice@example.test>", "250")
		c.smtp("RCPT TO:<bob@example.test>", "250")
		c.smtp("RCPT TO:<a@elsewhere.test>", "250")
		c.smtp("DATA", "354")
		c.smtp(head+"\r\nSubject: forged\r\n\r\nx\r\n.", "550 5.")
	}
}

// TestPlaintextLogin is A15: who asks without TLS is refused before he is asked for the secret, and
// is told beforehand that there is nothing to ask for.
func TestPlaintextLogin(t *testing.T) {
	t.Parallel()
	s := start(t)
	c := s.talk(587)
	c.send("EHLO client.test\r\n")
	offer := ""
	for line := "-"; line[min(3, len(line)-1)] == '-'; {
		line = c.line()
		offer += line + "\n"
	}
	if strings.Contains(offer, "AUTH") || !strings.Contains(offer, "STARTTLS") {
		t.Errorf("offered without TLS: %s", offer)
	}
	for _, mechanism := range []string{"PLAIN", "LOGIN", "plain", "PLAIN " + plain(alice, password)} {
		c.smtp("AUTH "+mechanism, "538 5.7.11")
	}
	c.smtp("AUTH CRAM-MD5", "5")
	c.smtp("MAIL FROM:<alice@example.test>", "530")
	i := s.talk(143)
	if got := i.imap("CAPABILITY"); !strings.Contains(got, "LOGINDISABLED") || strings.Contains(got, "AUTH=") {
		t.Errorf("IMAP offers without TLS: %s", got)
	}
	for _, command := range []string{"AUTHENTICATE PLAIN", "AUTHENTICATE LOGIN", "LOGIN alice@example.test {14}"} {
		if got := i.imap(command); !strings.HasPrefix(got, "NO ") && !strings.HasPrefix(got, "BAD ") {
			t.Errorf("%s: %q", command, got)
		}
	}
	// The same with TLS, so that the refusals above have one cause.
	c = s.talk(587)
	c.smtp("EHLO client.test", "250")
	c.smtp("STARTTLS", "220")
	c.starttls(s.tlsConfig())
	c.smtp("EHLO client.test", "250")
	c.smtp("AUTH PLAIN "+plain(alice, password), "235")
}

// TestGuessing is A1 against the real binary: one source has ten wrong answers a minute, over SMTP
// and IMAP together, whatever it does at once. Who was here before is let in all the same.
func TestGuessing(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.imap(alice)
	began := time.Now()
	var wrong, throttled, other atomic.Int32
	count := func(got, no, later string) {
		switch {
		case strings.Contains(got, no):
			wrong.Add(1)
		case strings.Contains(got, later):
			throttled.Add(1)
		default:
			other.Add(1)
			t.Errorf("a guess was answered %q", got)
		}
	}
	var wg sync.WaitGroup
	for n := range 8 {
		wg.Go(func() { s.guess(t, n, count) })
	}
	wg.Wait()
	took := time.Since(began)
	// The window slides: a machine that needs minutes for this gives ten for each begun one.
	if most := 10 * (1 + int32(took/time.Minute)); wrong.Load() > most {
		t.Errorf("%d guesses were answered in %v", wrong.Load(), took)
	}
	if wrong.Load() < 10 || throttled.Load() < 20 {
		t.Errorf("%d answered, %d throttled: the bound is elsewhere", wrong.Load(), throttled.Load())
	}
	c := s.talk(465)
	c.smtp("EHLO client.test", "250")
	c.smtp("AUTH PLAIN "+plain(bob, password), "454 4.7.0") // right, and nothing is compared
	s.imap(alice)
}

// guess tries four passwords over one connection of the n-th guesser.
func (s *server) guess(t *testing.T, n int, count func(got, no, later string)) {
	port := 465
	if n%2 == 1 {
		port = 993
	}
	conn, err := tls.Dial("tcp", s.addr(port), s.tlsConfig())
	if err != nil {
		t.Error(err)
		return
	}
	defer conn.Close()
	c := newTalk(t, conn)
	if port == 465 {
		c.send("EHLO client.test\r\n")
	}
	for i := range 4 {
		secret := fmt.Sprintf("guess-%d-%d", n, i)
		if port == 465 {
			c.send("AUTH PLAIN " + plain(bob, secret) + "\r\n")
			count(c.until("535", "454"), "535", "454")
		} else {
			c.send(fmt.Sprintf("g%d LOGIN %s %s\r\n", i, bob, secret))
			count(c.until(fmt.Sprintf("g%d ", i)), "[AUTHENTICATIONFAILED]", "[UNAVAILABLE] Too many failed")
		}
	}
}

// cutSMTP ends the connection at every stage of a message, with and without a word.
func (s *server) cutSMTP(t *testing.T) {
	full := letter(stranger, bob, "cut")
	const ehlo, from, to = "EHLO client.test\r\n", "MAIL FROM:<a@elsewhere.test>\r\n", "RCPT TO:<" + bob + ">\r\n"
	for stage, script := range [][]string{
		{}, {"EHL"}, {ehlo}, {ehlo, "MAIL FROM:<a@el"}, {ehlo, from}, {ehlo, from, to},
		{ehlo, from, to, "DATA\r\n"}, {ehlo, from, to, "DATA\r\n", full[:40]},
		{ehlo, from, to, "DATA\r\n", full}, {ehlo, from, to, "DATA\r\n", full + "."},
		{ehlo, from, to, "DATA\r\n", full + ".\r"}, {ehlo, from, to, "BDAT 10"},
		{ehlo, from, to, "BDAT 1000 LAST\r\n" + full},
		{ehlo, from, to, fmt.Sprintf("BDAT %d\r\n%s", len(full), full)},
	} {
		for _, reset := range []bool{false, true} {
			s.cut(t, 25, script, reset, stage)
		}
	}
}

// cut says the script, reading a reply to each line that ends, and hangs up: with a reset or
// in good order.
func (s *server) cut(t *testing.T, port int, script []string, reset bool, stage int) {
	t.Helper()
	c := s.talkFor(t, port)
	for i, part := range script {
		c.send(part)
		switch {
		case i == len(script)-1 && !strings.HasSuffix(part, "\r\n"):
		case port != 25 && strings.HasSuffix(part, "}\r\n"):
			if got := c.line(); !strings.HasPrefix(got, "+") {
				t.Fatalf("stage %d: %.40q was answered %q", stage, part, got)
			}
		case port != 25 && i == 0:
			if got := c.tagged("c"); !strings.Contains(got, "OK ") {
				t.Fatalf("stage %d: %.40q was answered %q", stage, part, got)
			}
		case port == 25 && i < 4:
			if strings.HasPrefix(part, "BDAT 1000") {
				break // answered after the last byte
			}
			if got := c.reply(); got[0] != '2' && got[0] != '3' {
				t.Fatalf("stage %d: %.40q was answered %q", stage, part, got)
			}
		}
	}
	conn := c.conn
	if over, ok := conn.(*tls.Conn); ok {
		conn = over.NetConn()
	}
	if reset {
		conn.(*net.TCPConn).SetLinger(0)
	}
	conn.Close()
}

// cutAppend ends the connection at every stage of an APPEND: nothing is stored.
func (s *server) cutAppend(t *testing.T) {
	full := letter(bob, bob, "cut")
	login := "c LOGIN " + bob + " " + password + "\r\n"
	sync := fmt.Sprintf("d APPEND INBOX (\\Seen) {%d}\r\n", len(full))
	direct := fmt.Sprintf("d APPEND INBOX {%d+}\r\n", len(full))
	for stage, script := range [][]string{
		{}, {"c LOG"}, {login}, {login, "d APP"}, {login, "d APPEND INBOX {"}, {login, sync},
		{login, sync, full[:30]}, {login, sync, full}, {login, sync, full + "\r"},
		{login, direct + full[:30]}, {login, direct + full},
		{login, direct + full + fmt.Sprintf(" {%d+}\r\n", len(full)) + full[:30]},
	} {
		for _, reset := range []bool{false, true} {
			s.cut(t, 993, script, reset, stage)
		}
	}
}

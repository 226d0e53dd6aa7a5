package smtpd

import (
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"tram/internal/conn"
)

// smuggling are the ends of data that some server somewhere takes for CR LF . CR LF (P1,
// CVE-2023-51764, CVE-2023-51765, CVE-2023-51766).
var smuggling = []string{
	"\n.\n", "\n.\r\n", "\r.\n", "\r.\r\n", "\n.\r", "\r.\r", "\r\n.\n", "\r\n.\r", "\r\n\x00.\r\n",
	"\n\x00.\r\n", "\r\r\n.\r\r\n", "\r\n.\r\r\n", "\r\r\n.\r\n", "\r\n\r.\r\n", "\n\n.\r\n",
	"\r\n.\x00\r\n", "\r\n.\r\x00\n",
}

const hidden = "MAIL FROM:<admin@example.test>\r\nRCPT TO:<bob@example.test>\r\nDATA\r\n" +
	"From: admin@example.test\r\nSubject: smuggled\r\n\r\nhidden\r\n"

// TestSmuggling: whatever stands in a message, no second one comes out, and one with a bare CR or LF
// or with NUL is not taken at all (RFC 5321 §2.3.8 and §4.1.1.4).
func TestSmuggling(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	d := h.open(MX, nil)
	for _, end := range smuggling {
		message := "From: a@elsewhere.test\r\n\r\nfirst" + end + hidden
		for _, by := range []string{"DATA", "BDAT"} {
			c := d.hello()
			c.cmd("MAIL FROM:<a@elsewhere.test>", "250")
			c.cmd("RCPT TO:<alice@example.test>", "250")
			if by == "DATA" {
				c.cmd("DATA", "354")
				c.send(message + "\r\n.\r\n")
			} else {
				c.send(fmt.Sprintf("BDAT %d LAST\r\n%s", len(message), message))
			}
			got, err := c.reply()
			if err != nil || !strings.HasPrefix(got, "550 5.6.") {
				t.Errorf("%s %q: %q, %v", by, end, got, err)
			}
			if by == "BDAT" || strings.HasPrefix(got, "550 5.6.0") {
				c.cmd("NOOP", "250") // the dialogue is in step
			} else {
				c.wantEnd() // nobody knows whether it is
			}
			c.nc.Close()
		}
	}
	if n := h.stored(); n != 0 {
		t.Errorf("%d messages were stored", n)
	}
}

// TestDotsStay: lines that begin with dots, and a message that is only dots.
func TestDotsStay(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	c := h.open(MX, nil).hello()
	body := "From: a@elsewhere.test\r\n\r\n.\r\n..\r\n...x\r\n. \r\n"
	c.cmd("MAIL FROM:<a@elsewhere.test>", "250")
	c.cmd("RCPT TO:<alice@example.test>", "250")
	c.cmd("DATA", "354")
	c.cmd(strings.ReplaceAll("\n"+body, "\n.", "\n..")[1:]+".", "250")
	if got := h.inbox("alice"); len(got) != 1 || !strings.HasSuffix(got[0], "\r\n"+body) {
		t.Errorf("stored %q", got)
	}
}

// TestInjectionAtSTARTTLS is P2 (RFC 3207 §4.2): commands in STARTTLS's segment are not obeyed.
func TestInjectionAtSTARTTLS(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	for _, mode := range []Mode{MX, Submission} {
		d := h.open(mode, nil)
		for _, after := range []string{"RSET\r\n", "NOOP\r\nNOOP\r\n", "x"} {
			c := d.hello()
			c.send("STARTTLS\r\n" + after)
			c.wantEnd()
		}
	}
	// After a good handshake nothing that was said in the clear counts.
	c := h.open(MX, nil).hello()
	c.cmd("MAIL FROM:<a@elsewhere.test>", "250")
	c.cmd("STARTTLS", "220")
	c = c.startTLS()
	c.cmd("MAIL FROM:<a@elsewhere.test>", "503 5.5.1 Say EHLO first")
	c.cmd("EHLO x.test", "250")
	c.cmd("RCPT TO:<alice@example.test>", "503")
	c.cmd("STARTTLS", "503")
}

// TestEarlyTalk is P3: data before the banner, and commands where a reply must be awaited.
func TestEarlyTalk(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	// The handler starts when the client's bytes are certainly there.
	d := h.open(MX, func(_ *Options, o *conn.Options) { o.ProxyNetworks = anyone })
	early := d.dial()
	early.send("PROXY TCP4 192.0.2.1 192.0.2.2 1 25\r\nEHLO early.test\r\n")
	early.want("554 5.5.1")
	early.wantEnd()

	d = h.open(MX, nil)
	for name, tc := range map[string]struct {
		before []string
		send   string
	}{
		"before EHLO's reply": {nil, "EHLO a.test\r\nMAIL FROM:<a@elsewhere.test>\r\n"},
		"before any greeting": {nil, "NOOP\r\nEHLO a.test\r\n"},
		"before HELO's reply": {nil, "HELO a.test\r\nMAIL FROM:<a@elsewhere.test>\r\n"},
		"data before 354": {
			[]string{"EHLO a.test", "MAIL FROM:<a@elsewhere.test>", "RCPT TO:<bob@example.test>"},
			"DATA\r\nFrom: a@elsewhere.test\r\n\r\n.\r\n",
		},
	} {
		c := d.dial()
		c.want("220")
		for _, line := range tc.before {
			c.cmd(line, "250")
		}
		c.send(tc.send)
		if got, err := c.reply(); err != nil || !strings.HasPrefix(got, "503 5.5.1") {
			t.Errorf("%s: %q, %v", name, got, err)
		}
		c.wantEnd()
	}
	if n := h.stored(); n != 0 {
		t.Errorf("%d messages were stored", n)
	}
}

// TestEndOfTLS is P4: a close_notify inside DATA or BDAT ends the session; what follows in the clear
// is not read and the message not stored.
func TestEndOfTLS(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	d := h.open(MX, nil)
	for _, command := range []string{"DATA", "BDAT 100 LAST"} {
		c := d.hello()
		raw := c.nc
		c.cmd("STARTTLS", "220")
		c = c.startTLS()
		c.cmd("EHLO a.test", "250")
		c.cmd("MAIL FROM:<a@elsewhere.test>", "250")
		c.cmd("RCPT TO:<alice@example.test>", "250")
		c.send(command + "\r\n")
		if command == "DATA" {
			c.want("354")
		}
		c.send("From: a@elsewhere.test\r\n\r\ntext")
		if err := c.nc.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(raw, "\r\n.\r\nRSET\r\n"+strings.Repeat("x", 100))
		c.wantEnd()
	}
	if n := h.stored(); n != 0 {
		t.Errorf("%d messages were stored", n)
	}
}

// TestChunkArithmetic is P5: sizes that cannot be end the session; the others keep it in step.
func TestChunkArithmetic(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.limits.SMTP.MessageSize = 1000
	d := h.open(MX, nil)
	for _, args := range []string{
		"", "LAST", "-1", "+1", "1x", "0x10", " 1", "1 2", "1 LAST LAST", "2147483648",
		"9223372036854775807", "9223372036854775808", "18446744073709551616",
		"99999999999999999999999999 LAST", "1.5", "1e3",
	} {
		c := d.hello()
		c.cmd("MAIL FROM:<a@elsewhere.test>", "250")
		c.cmd("RCPT TO:<alice@example.test>", "250")
		c.send("BDAT " + args + "\r\nRSET\r\n")
		if got, err := c.reply(); err != nil || got[0] != '5' {
			t.Errorf("BDAT %s: %q, %v", args, got, err)
		}
		c.wantEnd()
		c.nc.Close()
	}
	// Two chunks that are too large together; then the session goes on.
	c := d.hello()
	c.cmd("MAIL FROM:<a@elsewhere.test>", "250")
	c.cmd("RCPT TO:<alice@example.test>", "250")
	c.cmd("BDAT 600\r\n"+strings.Repeat("x", 598), "250")
	c.cmd("BDAT 600\r\n"+strings.Repeat("x", 598), "552 5.3.4")
	c.cmd("BDAT 10\r\n"+strings.Repeat("x", 8), "552 5.3.4")
	c.cmd("RCPT TO:<bob@example.test>", "503")
	c.cmd("BDAT 2 LAST\r\n", "552 5.3.4")
	c.cmd("BDAT 4\r\nab", "503")
	c.cmd("MAIL FROM:<a@elsewhere.test>", "250")
	c.cmd("RCPT TO:<alice@example.test>", "250")
	c.cmd("BDAT 6\r\nA: b", "250")
	c.cmd("RSET", "250")
	c.cmd("BDAT 2 LAST\r\n", "503")
	if n := h.stored(); n != 0 {
		t.Errorf("%d messages were stored", n)
	}
}

// TestEndlessLine is P6: a line without end is cut off, in a command and in a message.
func TestEndlessLine(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	d := h.open(MX, nil)
	c := d.hello()
	go io.Copy(c.nc, io.LimitReader(zeros{}, 1<<30))
	c.want("500 5.5.2")
	c.wantEnd()

	c = d.hello()
	c.cmd("MAIL FROM:<a@elsewhere.test>", "250")
	c.cmd("RCPT TO:<alice@example.test>", "250")
	c.cmd("DATA", "354")
	c.cmd("A: b\r\n\r\n"+strings.Repeat("x", 100<<10)+"\r\n.", "550 5.6.0")

	c.cmd("MAIL FROM:<a@elsewhere.test>", "250")
	c.cmd("RCPT TO:<alice@example.test>", "250")
	c.cmd("DATA", "354")
	c.cmd("A: b\r\n\r\n"+strings.Repeat("x", 60<<10)+"\r\n.", "250")
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'x'
	}
	return len(p), nil
}

// TestMutations is P18: ten thousand commands with odd bytes in them. Each is answered with one
// reply that repeats none of them, or the session ends; nothing is stored or sent on.
func TestMutations(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.limits.SMTP.ErrorsClose = 50
	d := h.open(MX, nil)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	commands := []string{
		"EHLO client.test", "HELO a", "MAIL FROM:<a@elsewhere.test> SIZE=100",
		"RCPT TO:<alice@example.test> NOTIFY=NEVER", "RSET", "NOOP", "VRFY alice", "HELP",
		"AUTH PLAIN AGEAYg==", "STARTTLS x", "EXPN all",
	}
	odd := []string{"\x00", "\r", "\x80", "\xff", "\x1b[2J", "\x85", "\u0085", "\u202e", "\t", "\x7f", "\xc3"}
	c := d.hello()
	for range 10000 {
		line := commands[r.IntN(len(commands))]
		for range 1 + r.IntN(3) {
			at := r.IntN(len(line) + 1)
			line = line[:at] + odd[r.IntN(len(odd))] + line[at:]
		}
		c.send(line + "\r\n")
		got, err := c.reply()
		if err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		for _, b := range []byte(got) {
			if b < ' ' && b != '\n' || b > '~' {
				t.Fatalf("%q: the reply %q repeats it", line, got)
			}
		}
		if strings.HasPrefix(got, "421") {
			c.nc.Close()
			c = d.hello()
		}
	}
	if n := h.stored(); n != 0 {
		t.Errorf("%d messages were stored", n)
	}
}

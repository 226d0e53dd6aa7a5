package smtpd

import (
	"encoding/base64"
	"errors"
	"strings"
	"testing"

	"github.com/xdg-go/scram"

	"tram/internal/conn"
	"tram/internal/smtp"
)

// TestSCRAM logs in without showing the password, RFC 7677 by RFC 4954 §4.
func TestSCRAM(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	d := h.open(Submission, nil)
	for _, user := range []string{"alice@example.test", "bob@example.test"} {
		mechanism, hash := "SCRAM-SHA-256", scram.SHA256
		if strings.HasPrefix(user, "bob") { // has an older program, RFC 5802
			mechanism, hash = "SCRAM-SHA-1", scram.SHA1
		}
		for _, secret := range []string{password, "wrong"} {
			c := d.hello()
			c.cmd("STARTTLS", "220")
			c = c.startTLS()
			c.cmd("EHLO client.test", "250")
			client, err := hash.NewClient(user, secret, "")
			if err != nil {
				t.Fatal(err)
			}
			talk := client.NewConversation()
			first, err := talk.Step("")
			if err != nil {
				t.Fatal(err)
			}
			line := "AUTH " + mechanism + " " + base64.StdEncoding.EncodeToString([]byte(first))
			for {
				c.send(line + "\r\n")
				got, err := c.reply()
				if err != nil {
					t.Fatal(err)
				}
				challenge, more := strings.CutPrefix(got, "334 ")
				if !more {
					if ok := strings.HasPrefix(got, "235"); ok != (secret == password) {
						t.Errorf("%s with %q: %s", user, secret, got)
					}
					break
				}
				b, err := base64.StdEncoding.DecodeString(challenge)
				if err != nil {
					t.Fatal(err)
				}
				next, err := talk.Step(string(b))
				if err != nil {
					t.Fatal(err)
				}
				line = base64.StdEncoding.EncodeToString([]byte(next))
			}
		}
	}
}

func TestAuthLines(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.limits.SMTP.ErrorsClose = 0
	d := h.open(Submission, func(_ *Options, o *conn.Options) { o.Implicit = true })
	c := d.dial().startTLS()
	c.want("220")
	c.cmd("AUTH PLAIN "+plain("alice@example.test", password), "503 5.5.1") // EHLO first
	c.cmd("HELO old.test", "250")
	c.cmd("AUTH PLAIN "+plain("alice@example.test", password), "503 5.5.1") // and not HELO
	c.cmd("EHLO client.test", "250")
	c.cmd("AUTH", "501")
	c.cmd("AUTH PLAIN =", "501 5.5.2")
	c.cmd("AUTH PLAIN "+strings.Repeat("A", 12000), "501 5.5.2") // RFC 4954 §4: 12288 octets
	c.cmd("AUTH PLAIN "+strings.Repeat("A", 13000), "500 5.5.2")
	c.cmd("AUTH PLAIN", "334 ")
	c.cmd(strings.Repeat("A", 13000), "500 5.5.6")
	c.cmd("AUTH XOAUTH2 dXNlcj1hbGljZQE=", "334")
	c.cmd("", "535")
	c.cmd("AUTH PLAIN", "334 ")
	c.cmd(plain("alice@example.test", password), "235 2.7.0")
	c.cmd("MAIL FROM:<alice@example.test>", "250")
	c.cmd("RSET", "250")
	c.cmd("MAIL FROM:<alice@example.test> AUTH=<>", "250")
}

// TestPipelinedAuth: what follows AUTH before its reply is not a response (RFC 4954 §4).
func TestPipelinedAuth(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	c := h.open(Submission, nil).hello()
	c.cmd("STARTTLS", "220")
	c = c.startTLS()
	c.cmd("EHLO client.test", "250")
	c.send("AUTH PLAIN\r\n" + plain("alice@example.test", password) + "\r\n")
	c.want("503 5.5.1")
	c.wantEnd()
}

// TestMeasure: load generators log in without TLS, from loopback only, where it was switched on.
func TestMeasure(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	d := h.open(Submission, func(o *Options, _ *conn.Options) { o.Measure = true })
	c := d.dial()
	c.want("220")
	// The directory was not told, so it stays closed.
	if got := c.cmd("EHLO client.test", "250"); strings.Contains(got, "AUTH") {
		t.Errorf("announced: %q", got)
	}
	c.cmd("AUTH PLAIN "+plain("alice@example.test", password), "538")
}

// TestQueueRefuses: what the queue says is what the client hears.
func TestQueueRefuses(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	c := h.open(Submission, nil).login("alice@example.test")
	for _, tc := range []struct {
		err  error
		want string
	}{
		{errors.New("database is gone"), "451 4.3.0"},
		{smtp.NewReply(450, smtp.Enhanced{4, 7, 1}, "Slow down"), "450 4.7.1 Slow down"},
		{smtp.NewReply(550, smtp.Enhanced{5, 7, 1}, "No more today"), "550 5.7.1 No more today"},
		{nil, "250 2.0.0 Ok: queued as "},
	} {
		h.queue.mu.Lock()
		h.queue.err = tc.err
		h.queue.mu.Unlock()
		c.deliver("alice@example.test", "someone@elsewhere.test", "From: alice@example.test\r\n\r\n", tc.want)
	}
}

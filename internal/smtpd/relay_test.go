package smtpd

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"tram/internal/conn"
	"tram/internal/directory"
)

var anyone = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}

// TestOpenRelay is P21: no form of a recipient makes a stranger's message leave, RFC 5321 §7.9.
func TestOpenRelay(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.limits.SMTP.InvalidRcpt = 0
	h.limits.SMTP.ErrorsClose = 0
	d := h.open(MX, nil)
	const out = "victim@elsewhere.test"
	forms := []string{
		"<victim@elsewhere.test>", "<victim@ELSEWHERE.TEST>", "<victim@elsewhere.test.>",
		"<victim%elsewhere.test@example.test>", "<victim%elsewhere.test@[127.0.0.1]>",
		"<victim%elsewhere.test>", "<elsewhere.test!victim>", "<elsewhere.test!victim@example.test>",
		"<elsewhere.test!victim@[127.0.0.1]>", `<"victim@elsewhere.test"@example.test>`,
		`<"victim@elsewhere.test">`, `<"victim%elsewhere.test"@example.test>`,
		"<@example.test:victim@elsewhere.test>", "<@example.test,@mx.example.test:victim@elsewhere.test>",
		"<@[127.0.0.1]:victim@elsewhere.test>", "<victim@elsewhere.test@example.test>",
		"<victim@example.test@elsewhere.test>", "<victim@[192.0.2.1]>", "<victim@[IPv6:2001:db8::1]>",
		"<victim@[IPv6:::ffff:192.0.2.1]>", "<victim@192.0.2.1>", "<victim@[127.0.0.1]>",
		"<victim@[example.test]>", "<victim@example.test.elsewhere.test>", "<victim@xexample.test>",
		"<victim@example.test..>", "<victim@.example.test>", "<victim@elsewhere.test >",
		"< victim@elsewhere.test>", "victim@elsewhere.test", "<<victim@elsewhere.test>>",
		"<victim@elsewhere.test", "victim@elsewhere.test>", "<>", "<postmaster@elsewhere.test>",
		"<Postmaster@elsewhere.test>", "<abuse@elsewhere.test>", "<postmaster%elsewhere.test>",
		`<victim\@elsewhere.test@example.test>`, `<"victim\@elsewhere.test"@example.test>`,
		`<"victim"@elsewhere.test>`, `<vic"tim@elsewhere.test"@example.test>`,
		"<victim(comment)@elsewhere.test>", "<victim@elsewhere.test(comment)>",
		"<victim@elsewhere.test> ORCPT=rfc822;alice@example.test", "<victim@elsewhere.test> NOTIFY=NEVER",
		"<alice@example.test> X=<victim@elsewhere.test>", "<alice@example.test,victim@elsewhere.test>",
		"<alice@example.test>,<victim@elsewhere.test>", "<alice@example.test> <victim@elsewhere.test>",
		"<alice@example.test;victim@elsewhere.test>", "<group:victim@elsewhere.test;>",
		"<victim@ＥＬＳＥＷＨＥＲＥ.test>", "<victim＠elsewhere.test>", "<victim@elsewhere。test>",
		"<victim@xn--elsewhere-.test>", "<victim@example.test\t@elsewhere.test>",
		"<victim@example.test\x00@elsewhere.test>", "<victim@example.test%elsewhere.test>",
		"<victim/elsewhere.test@example.test>", "<victim:elsewhere.test@example.test>",
		"<victim&elsewhere.test@example.test>", "<uucp!elsewhere.test!victim@example.test>",
		"<victim%25elsewhere.test@example.test>", "<victim+elsewhere.test@example.test>",
		"<+victim@elsewhere.test>", "<alice+victim@elsewhere.test>", "<alice%example.test@elsewhere.test>",
		`<"alice@example.test"@elsewhere.test>`, "<@elsewhere.test:alice@example.test>",
		"<victim@elsewhere.test#example.test>", "<victim@elsewhere.test\\example.test>",
		"<victim@elsewhere.test?example.test>", "<file:///etc/passwd>", "<|/bin/sh@example.test>",
		"<../victim@example.test>", "<victim@localhost>", "<victim@mx.example.test>", "<victim>",
		"<root>", "<alice@elsewhere.test.example.test>",
	}
	if len(forms) < 80 {
		t.Fatalf("%d forms, 80 are wanted", len(forms))
	}
	senders := []string{"<>", "<a@elsewhere.test>", "<alice@example.test>", "<postmaster@example.test>"}
	for i, form := range forms {
		c := d.hello()
		c.cmd("MAIL FROM:"+senders[i%len(senders)], "250")
		c.send("RCPT TO:" + form + "\r\n")
		got, err := c.reply()
		if err != nil || !strings.HasPrefix(got, "5") {
			t.Errorf("%s: %q, %v", form, got, err)
		}
		c.cmd("DATA", "554")
		c.nc.Close()
	}
	c := d.hello()
	c.cmd("XCLIENT ADDR=127.0.0.1 LOGIN=alice@example.test", "500")
	c.cmd("MAIL FROM:<alice@example.test> AUTH=alice@example.test", "555")
	c.cmd("MAIL FROM:<alice@example.test>", "250")
	c.cmd("RCPT TO:<"+out+">", "550 5.7.1")
	if sent, _ := h.queue.all(); len(sent) != 0 {
		t.Errorf("%d messages left", len(sent))
	}
}

// TestMixedAuth is the rest of P21: a failed or cancelled log-in, and one before STARTTLS, leave a
// stranger.
func TestMixedAuth(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	d := h.open(Submission, nil)
	c := d.hello()
	c.cmd("AUTH PLAIN "+plain("alice@example.test", password), "538")
	c.cmd("STARTTLS", "220")
	c = c.startTLS()
	c.cmd("EHLO a.test", "250")
	c.cmd("AUTH PLAIN "+plain("alice@example.test", "wrong"), "535")
	c.cmd("MAIL FROM:<alice@example.test>", "530")
	c.cmd("AUTH PLAIN", "334")
	c.cmd("*", "501")
	c.cmd("RSET", "250")
	c.cmd("MAIL FROM:<alice@example.test>", "530")
	c.cmd("RCPT TO:<victim@elsewhere.test>", "503")
	c.cmd("AUTH PLAIN "+plain("alice@example.test", password), "235")
	c.cmd("EHLO b.test", "250")
	c.cmd("MAIL FROM:<alice@example.test>", "250")
	c.cmd("RCPT TO:<victim@elsewhere.test>", "250")
}

// TestSenderIdentity is A16: a submission is from the account, in the envelope and in the header
// (RFC 6409 §6.1).
func TestSenderIdentity(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.alias("sales@example.test", "alice@example.test")
	c := h.open(Submission, nil).login("alice@example.test")
	for _, from := range []string{
		"bob@example.test", "alice@elsewhere.test", "team@elsewhere.test", "nobody@example.test",
	} {
		c.cmd("MAIL FROM:<"+from+">", "553 5.7.1")
	}
	for header, want := range map[string]string{
		"From: alice@example.test":                                                 "250",
		"From: Alice <ALICE+x@example.test>":                                       "250",
		"From: sales@example.test":                                                 "250",
		"From: alice@example.test\r\nSender: alice@example.test":                   "250",
		"From: bob@example.test":                                                   "550 5.7.1",
		"From: \"alice@example.test\" <bob@example.test>":                          "550 5.7.1",
		"From: alice@example.test, bob@example.test":                               "550 5.6.0",
		"From: bob@example.test\r\nFrom: alice@example.test":                       "550 5.6.0",
		"From: alice@example.test\r\nFrom: bob@example.test":                       "550 5.6.0",
		"From: alice@example.test\r\nfrom : bob@example.test":                      "550 5.6.0",
		" From: bob@example.test\r\nFrom: alice@example.test":                      "550 5.6.0",
		"From: team:alice@example.test;":                                           "550",
		"From: <@elsewhere.test:alice@example.test>":                               "550",
		"From: alice@example.test\r\nSender: bob@example.test":                     "550 5.7.1",
		"From: alice@example.test\r\nSender: alice@example.test, bob@example.test": "550 5.7.1",
		"From: alice@example.test\r\nResent-From: bob@example.test":                "550 5.7.1",
		"From:":              "550 5.6.0",
		"Subject: no author": "550 5.6.0",
		"From: alice":        "550",
		"From: =?utf-8?q?alice=40example=2Etest?= <bob@example.test>": "550 5.7.1",
	} {
		c.cmd("MAIL FROM:<alice@example.test>", "250")
		c.cmd("RCPT TO:<someone@elsewhere.test>", "250")
		c.cmd("DATA", "354")
		c.send(header + "\r\nSubject: x\r\n\r\ntext\r\n.\r\n")
		if got, err := c.reply(); err != nil || !strings.HasPrefix(got, want) {
			t.Errorf("%q: %q, %v, want %s", header, got, err, want)
		}
	}
	comment := "(" + strings.Repeat("x", 900) + ")\r\n\t"
	for name, tc := range map[string]struct{ message, want string }{
		"many recipients": {"From: alice@example.test\r\nTo: b@elsewhere.test" +
			strings.Repeat(",\r\n\tsomebody@elsewhere.test", 3000) + "\r\n\r\n", "250"},
		"a long header of something attached": {"From: alice@example.test\r\nContent-Type: message/rfc822\r\n\r\n" +
			strings.Repeat("X: y\r\n", 2000) + "\r\ntext\r\n", "250"},
		"a header that was cut": {"From: alice@example.test\r\n" +
			strings.Repeat("X: "+strings.Repeat("y", 900)+"\r\n", 300) + "From: bob@example.test\r\n\r\n", "550 5.6.0"},
		"more fields than are read": {"From: alice@example.test\r\n" +
			strings.Repeat("X: y\r\n", 1000) + "From: bob@example.test\r\n\r\n", "550 5.6.0"},
		"a longer author than is read": {"From: alice@example.test\r\n\t" + strings.Repeat(comment, 75) +
			", bob@example.test\r\n\r\n", "550 5.6.0"},
	} {
		c.cmd("MAIL FROM:<alice@example.test>", "250")
		c.cmd("RCPT TO:<someone@elsewhere.test>", "250")
		c.cmd("DATA", "354")
		c.send(tc.message + ".\r\n")
		if got, err := c.reply(); err != nil || !strings.HasPrefix(got, tc.want) {
			t.Errorf("%s: %q, %v, want %s", name, got, err, tc.want)
		}
	}
	// A receipt has a null reverse-path (RFC 8098 §3), and still says who wrote it.
	c.cmd("MAIL FROM:<>", "250")
	c.cmd("RCPT TO:<someone@elsewhere.test>", "250")
	c.cmd("DATA", "354")
	c.cmd("From: bob@example.test\r\n\r\n.", "550 5.7.1")
	sent, texts := h.queue.all()
	if len(sent) != 6 {
		t.Fatalf("%d messages were queued", len(sent))
	}
	for i, env := range sent {
		if env.Account != uint64(h.ids["alice"]) || !strings.Contains(texts[i], "\r\nMessage-ID: <") ||
			!strings.Contains(texts[i], "\r\nDate: ") {
			t.Errorf("envelope of account %d, message %q", env.Account, texts[i])
		}
	}
}

// TestRevoked: a session ends when its account is disabled (A7).
func TestRevoked(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	c := h.open(Submission, nil).login("alice@example.test")
	if err := h.dir.SetDisabled(t.Context(), directory.AccountID(h.ids["alice"]), true); err != nil {
		t.Fatal(err)
	}
	c.want("421 4.7.0")
	c.wantEnd()
}

// TestProxy is P24 at this door: the true client's address counts in Received, and a header from
// elsewhere ends the session.
func TestProxy(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	c := h.open(MX, func(_ *Options, o *conn.Options) { o.ProxyNetworks = anyone }).dial()
	c.send("PROXY TCP6 2001:db8::7 2001:db8::1 12345 25\r\n")
	c.want("220")
	c.cmd("EHLO [IPv6:2001:db8::7]", "250")
	c.deliver("a@elsewhere.test", "alice@example.test", text, "250")
	if got := h.inbox("alice"); !strings.Contains(got[0],
		"Received: from [IPv6:2001:db8::7] ([IPv6:2001:db8::7])\r\n") {
		t.Errorf("stored %q", got)
	}
	c = h.open(MX, nil).dial()
	c.want("220")
	c.cmd("PROXY TCP4 127.0.0.9 127.0.0.1 12345 25", "554")
	c.wantEnd()
}

// TestWebClient is P17: an HTTP request is cut at its first line and nothing of it comes back.
func TestWebClient(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	d := h.open(Submission, nil)
	for _, verb := range []string{"GET", "POST", "PUT", "CONNECT"} {
		c := d.dial()
		c.want("220")
		c.send(verb + " /<script> HTTP/1.1\r\nHost: x\r\n\r\nEHLO x\r\n")
		if got := c.want("554"); strings.Contains(got, "script") {
			t.Errorf("echoed: %q", got)
		}
		c.wantEnd()
	}
}

// deliver runs one transaction.
func (c *client) deliver(from, to, message, want string) {
	c.t.Helper()
	c.cmd("MAIL FROM:<"+from+">", "250")
	for _, r := range strings.Split(to, ",") {
		c.cmd("RCPT TO:<"+r+">", "250")
	}
	c.cmd("DATA", "354")
	c.cmd(message+".", want)
}

func numbered(i int) string {
	return strings.Replace(text, "<1@", fmt.Sprintf("<%d@", i), 1)
}

package smtpd

import (
	"context"
	"regexp"
	"strings"
	"testing"
	"time"

	"tram/internal/conn"
	"tram/internal/envelope"
	"tram/internal/trace"
)

// TestWishes: what a submission asks for reaches the queue.
func TestWishes(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	c := h.open(Submission, nil).login("alice@example.test")
	now := time.Now()
	soon := func(at time.Time, in time.Duration) bool {
		d := at.Sub(now.Add(in))
		return d > -time.Second && d < time.Minute
	}
	for params, holds := range map[string]func(e *envelope.Envelope) bool{
		"":                func(e *envelope.Envelope) bool { return !e.EightBit && !e.UTF8 && e.Priority == 0 },
		" BODY=8BITMIME":  func(e *envelope.Envelope) bool { return e.EightBit },       // RFC 6152
		" SMTPUTF8":       func(e *envelope.Envelope) bool { return e.UTF8 },           // RFC 6531
		" REQUIRETLS":     func(e *envelope.Envelope) bool { return e.RequireTLS },     // RFC 8689
		" MT-PRIORITY=-4": func(e *envelope.Envelope) bool { return e.Priority == -4 }, // RFC 6710
		" RET=HDRS ENVID=a+2Bb": func(e *envelope.Envelope) bool { // RFC 3461
			return e.Return == "HDRS" && e.EnvelopeID == "a+b"
		},
		" HOLDFOR=3600": func(e *envelope.Envelope) bool { return soon(e.HoldUntil, time.Hour) }, // RFC 4865
		" BY=120;RT": func(e *envelope.Envelope) bool { // RFC 2852
			by := e.DeliverBy
			return soon(by.Deadline, 2*time.Minute) && by.Return && by.Trace
		},
		" SIZE=10 BODY=7BIT AUTH=<>":      func(e *envelope.Envelope) bool { return !e.EightBit },
		" HOLDUNTIL=2000-01-01T00:00:00Z": func(e *envelope.Envelope) bool { return e.HoldUntil.Year() <= 2000 },
	} {
		c.cmd("MAIL FROM:<alice@example.test>"+params, "250")
		c.cmd("RCPT TO:<someone@elsewhere.test> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;x+40y", "250")
		c.cmd("DATA", "354")
		c.cmd("From: alice@example.test\r\n\r\n.", "250")
		sent, _ := h.queue.all()
		e := sent[len(sent)-1]
		if !holds(e) {
			t.Errorf("%q: %+v", params, e)
		}
		if r := e.Recipients[0]; r.Notify != envelope.NotifySuccess|envelope.NotifyDelay ||
			r.ORCPT != "rfc822;x@y" {
			t.Errorf("recipient %+v", r)
		}
	}
}

// TestNotOffered: parameters of extensions that port 25 does not offer, and REQUIRETLS in the clear.
func TestNotOffered(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	c := h.open(MX, nil).hello()
	for _, params := range []string{
		"HOLDFOR=60", "HOLDUNTIL=2030-01-01T00:00:00Z", "BY=120;R", "MT-PRIORITY=1", "AUTH=<>",
		"REQUIRETLS", "X=Y", "SIZE=x", "BODY=9BIT",
	} {
		c.cmd("MAIL FROM:<a@elsewhere.test> "+params, "5")
	}
}

// TestProtocolWords is the "with" clause: RFC 3848 §1 and RFC 6531 §4.3.
func TestProtocolWords(t *testing.T) {
	t.Parallel()
	for want, x := range map[string]*session{
		"SMTP":      {Server: &Server{o: Options{Mode: MX}}},
		"ESMTP":     {Server: &Server{o: Options{Mode: MX}}, esmtp: true},
		"ESMTPA":    {Server: &Server{o: Options{Mode: Submission}}, esmtp: true},
		"LMTP":      {Server: &Server{o: Options{Mode: LMTP}}, esmtp: true},
		"UTF8SMTP":  {Server: &Server{o: Options{Mode: MX}}, esmtp: true},
		"UTF8SMTPA": {Server: &Server{o: Options{Mode: Submission}}, esmtp: true},
		"UTF8LMTP":  {Server: &Server{o: Options{Mode: LMTP}}, esmtp: true},
	} {
		x.c = &conn.Conn{}
		if strings.HasSuffix(want, "A") {
			x.account.ID = 1
		}
		if got := x.protocol(strings.HasPrefix(want, "UTF8")); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	h := newHouse(t)
	c := h.open(Submission, nil).login("alice@example.test")
	c.deliver("alice@example.test", "bob@example.test", "From: alice@example.test\r\n\r\n", "250")
	_, texts := h.queue.all()
	if !strings.Contains(texts[0], "(tram) with ESMTPSA\r\n\t(TLS 1.3 TLS_") {
		t.Errorf("received as %q", texts[0])
	}
}

var statusCode = regexp.MustCompile(`^(\d)\d\d[ -](\d)\.\d{1,3}\.\d{1,3} `)

// TestStatusCodes: every reply but the greetings, 354 and 334 has an enhanced status code of its own
// class (RFC 2034 §4, RFC 3463 §2).
func TestStatusCodes(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.limits.SMTP.ErrorsClose = 0
	c := h.open(Submission, nil).login("alice@example.test")
	for _, line := range []string{
		"NOOP", "RSET", "RSET x", "HELP", "VRFY", "VRFY x", "EXPN x", "FLY", "DATA", "STARTTLS",
		"STARTTLS x", "AUTH PLAIN", "MAIL", "MAIL FROM:<x", "MAIL FROM:<bob@example.test>",
		"MAIL FROM:<alice@example.test> X=1", "MAIL FROM:<alice@example.test>",
		"MAIL FROM:<alice@example.test>", "RCPT", "RCPT TO:<nobody@example.test>", "DATA x", "DATA",
		"RCPT TO:<bob@example.test>", "RCPT TO:<gone@example.test>", "BDAT 0 LAST", "EHLO", "\x01",
		"QUIT x", "LHLO x", "QUIT",
	} {
		got := c.cmd(line, "")
		m := statusCode.FindStringSubmatch(got)
		if m == nil || m[1] != m[2] {
			t.Errorf("%q: %q", line, got)
		}
	}
}

// TestAnnouncements: REQUIRETLS and AUTH under TLS only (RFC 8689 §2, RFC 8314 §3.3), STARTTLS in the
// clear only, LIMITS with the numbers that hold (RFC 9422 §4).
func TestAnnouncements(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.limits.SMTP.Recipients, h.limits.SMTP.Transactions = 7, 9
	c := h.open(MX, nil).dial()
	c.want("220")
	clear := c.cmd("EHLO x", "250")
	c.cmd("STARTTLS", "220")
	c = c.startTLS()
	secure := c.cmd("EHLO x", "250")
	for word, want := range map[string][2]bool{
		"STARTTLS": {true, false}, "REQUIRETLS": {false, true}, "AUTH": {false, false},
		"LIMITS RCPTMAX=7 MAILMAX=9": {true, true}, "FUTURERELEASE": {false, false},
	} {
		for i, list := range []string{clear, secure} {
			if got := strings.Contains(list, word); got != want[i] {
				t.Errorf("%s announced: %v in %q", word, got, list)
			}
		}
	}
}

// TestTrace: the tale of a message has its recipients, refusals and its end.
func TestTrace(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	log := trace.Open(trace.Options{DB: h.db})
	t.Cleanup(func() { log.Close() })
	c := h.open(MX, func(o *Options, _ *conn.Options) { o.Trace = log }).hello()
	c.cmd("MAIL FROM:<a@elsewhere.test>", "250")
	c.cmd("RCPT TO:<nobody@example.test>", "550")
	c.cmd("RCPT TO:<alice@example.test>", "250")
	c.cmd("DATA", "354")
	c.cmd(text+".", "250")
	if err := log.Flush(context.Background()); err != nil {
		t.Fatal(err)
	}
	for query, want := range map[string]string{
		"nobody@example.test": "recipient refused 550", "<1@elsewhere.test>": "received accepted 250",
	} {
		events, err := log.Find(context.Background(), query, 10)
		if err != nil || len(events) == 0 {
			t.Fatalf("%s: %d events, %v", query, len(events), err)
		}
		var tale []string
		for _, e := range events {
			tale = append(tale, e.Step+" "+e.Result+" "+strings.Fields(e.Detail + " -")[0])
			if !strings.HasPrefix(want, e.Step+" "+e.Result) {
				continue
			}
			if e.ID == "" || e.Remote != "127.0.0.1" {
				t.Errorf("event %+v", e)
			}
			want = ""
		}
		if want != "" {
			t.Errorf("%s: %v lacks %q", query, tale, want)
		}
	}
}

// TestChunksHaveOneDeadline proves that a message in a thousand chunks has no more time than one in a
// single piece.
func TestChunksHaveOneDeadline(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.limits.SMTP.DataTotal = 50 * time.Millisecond
	c := h.open(MX, nil).hello()
	c.cmd("MAIL FROM:<a@elsewhere.test>", "250")
	c.cmd("RCPT TO:<alice@example.test>", "250")
	for {
		c.send("BDAT 1\r\nx")
		got, err := c.reply()
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(got, "421 4.4.2") {
			break
		}
		if !strings.HasPrefix(got, "250 2.0.0") {
			t.Fatal(got)
		}
	}
	c.wantEnd()
	if h.stored() != 0 {
		t.Error("what was broken off is stored")
	}
}

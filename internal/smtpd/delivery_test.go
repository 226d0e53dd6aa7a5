package smtpd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"tram/internal/conn"
	"tram/internal/kv"
	"tram/internal/smtp"
	"tram/internal/store"
)

func TestRecipients(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.quota("bob", 5000)
	d := h.open(MX, nil)
	for _, tc := range []struct{ size, to, want string }{
		{"", "alice@example.test", "250 2.1.5"},
		{"", "ALICE+shop@Example.Test", "250 2.1.5"},
		{"", "team@example.test", "250 2.1.5"},
		{"", "away@example.test", "250 2.1.5"},
		{"", "abuse@example.test", "250 2.1.5"},
		{"", "nobody@example.test", "550 5.1.1"},
		{"", "gone@example.test", "550 5.2.1"},
		{"", "someone@elsewhere.test", "550 5.7.1"},
		{"", "bob@example.test", "250 2.1.5"},
		{" SIZE=4000", "bob@example.test", "250 2.1.5"},
		{" SIZE=6000", "bob@example.test", "552 5.2.2"},
		{" SIZE=6000", "team@example.test", "250 2.1.5"}, // alice has room
	} {
		c := d.hello()
		c.cmd("MAIL FROM:<a@elsewhere.test>"+tc.size, "250")
		c.send("RCPT TO:<" + tc.to + ">\r\n")
		if got, err := c.reply(); err != nil || !strings.HasPrefix(got, tc.want) {
			t.Errorf("%s%s: %q, %v, want %s", tc.to, tc.size, got, err, tc.want)
		}
	}
	// A full mailbox may be emptied: try again. One that the message outgrows without having said
	// so is full for good.
	c := d.hello()
	c.deliver("a@elsewhere.test", "bob@example.test", text+strings.Repeat("x\r\n", 1300), "250")
	c.deliver("a@elsewhere.test", "bob@example.test", numbered(2)+strings.Repeat("x\r\n", 1300), "452 4.2.2")
	c.cmd("MAIL FROM:<a@elsewhere.test> SIZE=4000", "250")
	c.cmd("RCPT TO:<bob@example.test>", "452 4.2.2")
	c.cmd("RSET", "250")
	c.deliver("a@elsewhere.test", "bob@example.test", numbered(3)+strings.Repeat("x\r\n", 3000), "552 5.2.2")
	if n := len(h.inbox("bob")); n != 1 {
		t.Errorf("bob has %d messages", n)
	}
}

func TestLimits(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.limits.SMTP.MessageSize, h.limits.SMTP.Recipients = 2000, 3
	h.limits.SMTP.Transactions, h.limits.SMTP.InvalidRcpt = 4, 2
	h.limits.SMTP.ErrorsClose = 3
	d := h.open(MX, nil)
	c := d.hello()
	c.cmd("MAIL FROM:<a@elsewhere.test> SIZE=2001", "552 5.3.4") // RFC 1870 §6.1
	c.cmd("MAIL FROM:<a@elsewhere.test> SIZE=99999999999999999999", "5")
	c = d.hello()
	c.deliver("a@elsewhere.test", "alice@example.test", text+strings.Repeat("x\r\n", 1000), "552 5.3.4")
	c.cmd("MAIL FROM:<a@elsewhere.test>", "250")
	for range 3 {
		c.cmd("RCPT TO:<alice@example.test>", "250")
	}
	c.cmd("RCPT TO:<bob@example.test>", "452 4.5.3")
	c.cmd("RSET", "250")
	for range 2 {
		c.cmd("MAIL FROM:<a@elsewhere.test>", "250")
		c.cmd("RSET", "250")
	}
	c.cmd("MAIL FROM:<a@elsewhere.test>", "421 4.7.0")
	c.wantEnd()

	c = d.hello()
	c.cmd("MAIL FROM:<a@elsewhere.test>", "250")
	c.cmd("RCPT TO:<x1@example.test>", "550")
	c.cmd("RCPT TO:<x2@example.test>", "550")
	c.cmd("RCPT TO:<x3@example.test>", "421 4.7.0")
	c.wantEnd()

	c = d.hello()
	c.cmd("FLY", "500")
	c.cmd("FLY", "500")
	c.cmd("FLY", "421 4.7.0")
	c.wantEnd()

	// A message far over the limit is cut off while it comes.
	c = d.hello()
	c.cmd("MAIL FROM:<a@elsewhere.test>", "250")
	c.cmd("RCPT TO:<alice@example.test>", "250")
	c.cmd("DATA", "354")
	go io.WriteString(c.nc, strings.Repeat("x\r\n", 1<<20))
	c.want("552 5.3.4")
	c.wantEnd()
	if n := h.stored(); n != 0 {
		t.Errorf("%d messages were stored", n)
	}
}

// TestFull is D7 at this door: nothing is taken while the reserve is touched.
func TestFull(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	d := h.open(MX, nil)
	early, late := d.hello(), d.hello()
	early.cmd("MAIL FROM:<a@elsewhere.test>", "250")
	late.cmd("MAIL FROM:<a@elsewhere.test>", "250")
	late.cmd("RCPT TO:<alice@example.test>", "250")
	h.db.SetFull(true)
	early.cmd("RCPT TO:<alice@example.test>", "452 4.3.1")
	early.cmd("RSET", "250")
	early.cmd("MAIL FROM:<a@elsewhere.test>", "452 4.3.1")
	late.cmd("DATA", "354")
	late.cmd(text+".", "452 4.3.1")
	late.cmd("NOOP", "250")
	h.db.SetFull(false)
	late.deliver("a@elsewhere.test", "alice@example.test", text, "250")
	if n := len(h.inbox("alice")); n != 1 {
		t.Errorf("alice has %d messages", n)
	}
}

// TestAliases: several local people by one address, and elsewhere, with loop protection (P23).
func TestAliases(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	c := h.open(MX, nil).hello()
	c.deliver("a@elsewhere.test", "team@example.test,alice@example.test", text, "250")
	if a, b := len(h.inbox("alice")), len(h.inbox("bob")); a != 1 || b != 1 {
		t.Errorf("alice %d, bob %d", a, b)
	}
	c.deliver("a@elsewhere.test", "both@example.test", numbered(2), "250")
	sent, texts := h.queue.all()
	if len(sent) != 1 || len(h.inbox("alice")) != 2 {
		t.Fatalf("%d forwarded, alice has %d", len(sent), len(h.inbox("alice")))
	}
	env := sent[0]
	if !strings.HasSuffix(env.From.String(), "=elsewhere.test=a@example.test") || len(env.Recipients) != 1 ||
		env.Recipients[0].Address.String() != "someone@elsewhere.test" ||
		env.Recipients[0].ORCPT != "rfc822;both@example.test" {
		t.Errorf("forwarded as %+v", env)
	}
	if !strings.HasPrefix(texts[0], "Delivered-To: both@example.test\r\nReceived: ") ||
		!strings.HasSuffix(texts[0], numbered(2)) {
		t.Errorf("forwarded %q", texts[0])
	}
	// It comes back: alice's copy is safe, the forward is not repeated.
	c.deliver("a@elsewhere.test", "away@example.test", "Delivered-To: away@example.test\r\n"+text, "554 5.4.6")
	c.deliver("a@elsewhere.test", "alice@example.test", strings.Repeat("Received: x\r\n", 51)+text, "554 5.4.6")
	own := "Received: from x by mx.example.test with ESMTP id 1; Sat, 1 Aug 2026 10:00:00 +0700\r\n"
	c.deliver("a@elsewhere.test", "alice@example.test", strings.Repeat(own, 26)+text, "554 5.4.6")
	if sent, _ := h.queue.all(); len(sent) != 1 {
		t.Errorf("%d forwarded", len(sent))
	}
}

// TestOneReplyForSeveral is the rule for DATA's one reply, with real mailboxes: P22 asks that no
// failure after it is sent to a stranger.
func TestOneReplyForSeveral(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.quota("bob", 4000)
	h.quota("carol", 3000)
	d := h.open(MX, nil)
	c := d.hello()
	big := strings.Repeat("x\r\n", 1100)
	// bob: fits. carol: larger than her whole quota, told to nobody.
	c.deliver("a@elsewhere.test", "bob@example.test,carol@example.test", text+big, "250")
	// alice: fits. bob: full for now, so he waits in the queue.
	c.deliver("a@elsewhere.test", "alice@example.test,bob@example.test", numbered(2)+big, "250")
	sent, _ := h.queue.all()
	if len(sent) != 1 || len(sent[0].Recipients) != 1 ||
		sent[0].Recipients[0].Address.String() != "bob@example.test" ||
		sent[0].Recipients[0].Notify != 1 {
		t.Fatalf("queued %+v", sent)
	}
	// Nobody: the more hopeful reply; then the other one.
	c.deliver("a@elsewhere.test", "carol@example.test,bob@example.test", numbered(3)+big, "452 4.2.2")
	c.deliver("a@elsewhere.test", "carol@example.test", numbered(4)+big, "552 5.2.2")
	// The queue refuses: the sender keeps the message, and alice's copy is known when it comes again.
	h.queue.mu.Lock()
	h.queue.err = errors.New("queue is down")
	h.queue.mu.Unlock()
	c.deliver("a@elsewhere.test", "alice@example.test,bob@example.test", numbered(5)+big, "452 4.2.2")
	h.quota("bob", 0)
	c.deliver("a@elsewhere.test", "alice@example.test,bob@example.test", numbered(5)+big, "250")
	if a, b, n := len(h.inbox("alice")), len(h.inbox("bob")), len(h.inbox("carol")); a != 2 || b != 2 || n != 0 {
		t.Errorf("alice %d, bob %d, carol %d", a, b, n)
	}
}

// TestLostReply is D15, RFC 1047: the connection breaks after the final dot and before the reply is
// read; the same message comes again and is stored once.
func TestLostReply(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	d := h.open(MX, nil)
	cuts := 200
	if !testing.Short() {
		cuts = 1000
	}
	for i := range cuts {
		c := d.hello()
		c.send("MAIL FROM:<a@elsewhere.test>\r\nRCPT TO:<alice@example.test>\r\nDATA\r\n")
		c.want("250")
		c.want("250")
		c.want("354")
		c.send(numbered(i) + ".\r\n")
		if i%2 == 0 {
			// The server has answered, and nobody hears it.
			if _, err := c.r.Peek(1); err != nil {
				t.Fatal(err)
			}
		}
		c.nc.Close()
		for d.server.Open() > 0 { // senders come again after a second at the earliest
			runtime.Gosched()
		}
		c = d.hello()
		c.deliver("a@elsewhere.test", "alice@example.test", numbered(i), "250")
		c.cmd("QUIT", "221")
		c.nc.Close()
	}
	if n := len(h.inbox("alice")); n != cuts {
		t.Errorf("%d messages after %d cuts", n, cuts)
	}
}

// TestIntendedRepetition is the other half of D15: who has seen the reply and sends the same again
// means it.
func TestIntendedRepetition(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	d := h.open(MX, nil)
	c := d.hello()
	for i := range 100 {
		c.deliver("a@elsewhere.test", "alice@example.test", text, "250")
		if i%10 == 9 {
			c.cmd("QUIT", "221")
			c = d.hello()
		}
	}
	if n := len(h.inbox("alice")); n != 100 {
		t.Errorf("%d of 100 were stored", n)
	}
	// A command that was sent before the reply proves nothing.
	for range 2 {
		c = d.hello()
		c.cmd("MAIL FROM:<a@elsewhere.test>", "250")
		c.cmd("RCPT TO:<bob@example.test>", "250")
		c.cmd("DATA", "354")
		c.send(text + ".\r\nQUIT\r\n")
		c.want("250")
		c.want("221")
	}
	if n := len(h.inbox("bob")); n != 1 {
		t.Errorf("bob has %d", n)
	}
}

// TestRetriedTransactions: an engine that runs each transaction twice stores each message once.
func TestRetriedTransactions(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.db.SetTwice(true)
	c := h.open(MX, nil).hello()
	c.deliver("a@elsewhere.test", "team@example.test", text, "250")
	if a, b := len(h.inbox("alice")), len(h.inbox("bob")); a != 1 || b != 1 {
		t.Errorf("alice %d, bob %d", a, b)
	}
}

// TestCutAnywhere: a connection that ends after any byte leaves no session, no goroutine and no body
// behind, and stores the message only if the final dot came.
func TestCutAnywhere(t *testing.T) {
	h := newHouse(t)
	d := h.open(MX, nil)
	script := "EHLO a.test\r\n|MAIL FROM:<a@elsewhere.test>\r\nRCPT TO:<alice@example.test>\r\nDATA\r\n|" +
		text + ".\r\n|MAIL FROM:<a@elsewhere.test>\r\nRCPT TO:<bob@example.test>\r\n" +
		"BDAT 20\r\n12345678901234567890|BDAT 20 LAST\r\n"
	warm := d.hello()
	warm.deliver("a@elsewhere.test", "carol@example.test", text, "250")
	bodies, goroutines := h.bodies(), runtime.NumGoroutine()
	for cut := range len(script) {
		c := d.dial()
		c.want("220")
		replies := []int{0, 1, 3, 1, 3} // to the group before
		for i, part := range strings.Split(script[:cut], "|") {
			for range replies[i] {
				if got, err := c.reply(); err != nil || got[0] > '3' {
					t.Fatalf("cut at %d: %q, %v", cut, got, err)
				}
			}
			c.send(part)
		}
		c.nc.Close()
	}
	for d.server.Open() > 1 {
		runtime.Gosched()
	}
	all := h.inbox("alice")
	stored, whole := len(all), len(script)-strings.Index(script, ".\r\n|")-len(".\r\n")
	if stored < 1 || stored > whole {
		t.Errorf("%d messages were stored, %d were sent whole", stored, whole)
	}
	for _, m := range all {
		if !strings.HasSuffix(m, text) {
			t.Errorf("stored %q", m)
		}
	}
	if n := len(h.inbox("bob")); n != 0 {
		t.Errorf("half a message was stored")
	}
	if got := h.bodies(); got > bodies+3*stored {
		t.Errorf("%d body rows, %d before", got, bodies)
	}
	for range 1000 {
		if runtime.NumGoroutine() <= goroutines+5 {
			return
		}
		runtime.Gosched()
	}
	t.Errorf("%d goroutines, %d before", runtime.NumGoroutine(), goroutines)
}

// TestDurableBeforeReply is D3 in memory: what a crash leaves at the moment of the reply has the
// message.
func TestDurableBeforeReply(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	c := h.open(MX, nil).hello()
	for i := range 20 {
		c.deliver("a@elsewhere.test", "alice@example.test", numbered(i), "250")
		after := h.db.Crash()
		n := 0
		err := after.View(context.Background(), "test", func(r kv.Reader) error {
			n = 0
			return r.Scan(kv.Prefix([]byte("b")), func(_, _ []byte) error { n++; return nil })
		})
		if err != nil || n <= i {
			t.Fatalf("after message %d a crash leaves %d body rows, %v", i+1, n, err)
		}
	}
}

// TestParallelQuota is A19 at this door: a hundred messages at once into a mailbox with room for one.
func TestParallelQuota(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.quota("alice", 1200)
	d := h.open(MX, nil)
	var wg sync.WaitGroup
	for i := range 100 {
		wg.Go(func() {
			c := d.hello()
			c.send("MAIL FROM:<a@elsewhere.test>\r\nRCPT TO:<alice@example.test>\r\n")
			c.want("250")
			if got, err := c.reply(); err != nil || !strings.HasPrefix(got, "250") {
				return
			}
			c.cmd("DATA", "354")
			c.send(strings.Replace(text, "<1@", fmt.Sprintf("<%d@", i), 1) + strings.Repeat("x\r\n", 150) + ".\r\n")
			_, _ = c.reply()
		})
	}
	wg.Wait()
	if n := len(h.inbox("alice")); n != 1 {
		t.Errorf("%d messages in room for one", n)
	}
}

// TestDrain is O14 at this door: an idle session hears 421, one in the middle of a message gets its
// 250 first.
func TestDrain(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	d := h.open(MX, nil)
	idle, busy := d.hello(), d.hello()
	busy.cmd("MAIL FROM:<a@elsewhere.test>", "250")
	busy.cmd("RCPT TO:<alice@example.test>", "250")
	busy.cmd("DATA", "354")
	busy.send("From: a@elsewhere.test\r\n")
	done := make(chan error, 1)
	go func() { done <- d.server.Shutdown(context.Background()) }()
	idle.want("421 4.3.2")
	idle.wantEnd()
	busy.send("\r\ntext\r\n.\r\n")
	busy.want("250 2.0.0")
	busy.want("421 4.3.2")
	if err := <-done; err != nil {
		t.Error(err)
	}
	if n := len(h.inbox("alice")); n != 1 {
		t.Errorf("alice has %d", n)
	}
}

// TestPatience: who says nothing, or sends his message by drops, is told so and cut (O1).
func TestPatience(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.limits.SMTP.Idle = 50 * time.Millisecond
	d := h.open(MX, nil)
	c := d.dial()
	c.want("220")
	c.want("421 4.4.2")
	c.wantEnd()

	h.limits.SMTP.Idle, h.limits.SMTP.DataGrace = time.Minute, 100*time.Millisecond
	h.limits.SMTP.DataRate = 1 << 20
	d = h.open(MX, nil)
	c = d.hello()
	c.cmd("MAIL FROM:<a@elsewhere.test>", "250")
	c.cmd("RCPT TO:<alice@example.test>", "250")
	c.cmd("DATA", "354")
	c.send("From: slow@elsewhere.test\r\n")
	c.want("421 4.4.2")
	c.wantEnd()
}

func TestErrorsAreSlowedDown(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.limits.SMTP.ErrorsDelay = 1
	c := h.open(MX, nil).hello()
	c.cmd("FLY", "500")
	begin := time.Now()
	c.cmd("FLY", "500")
	if took := time.Since(begin); took < 900*time.Millisecond {
		t.Errorf("the second error took %v", took)
	}
}

// TestRefuse: who there is no room for hears why.
func TestRefuse(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.limits.Conn.Total = 1
	d := h.open(MX, func(o *Options, co *conn.Options) { co.Limits.Total = 1 })
	d.hello()
	c := d.dial()
	c.want("421 4.3.2 mx.example.test")
	c.wantEnd()
}

func TestReceivedIsHarmless(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	d := h.open(MX, nil)
	for greeting, want := range map[string]string{
		"mail.elsewhere.test":  "from mail.elsewhere.test ([127.0.0.1])",
		"[192.0.2.1]":          "from [192.0.2.1] ([127.0.0.1])",
		"x)(by":                "from unknown (HELO x??by) ([127.0.0.1])",
		"a\\;b":                "from unknown (HELO a?;b) ([127.0.0.1])",
		"under_score.test":     "([127.0.0.1])",
		strings.Repeat("a", 9): "from aaaaaaaaa ([127.0.0.1])",
	} {
		c := d.dial()
		c.want("220")
		c.cmd("EHLO "+greeting, "250")
		c.deliver("a@elsewhere.test", "alice@example.test", "Message-ID: <"+
			smtp.FormatLiteral(c.nc.LocalAddr().(*net.TCPAddr).AddrPort().Addr())+"@"+
			fmt.Sprint(len(greeting), greeting[:1])+">\r\n"+text, "250")
		all := h.box("alice", store.RoleInbox)
		if got := all[len(all)-1]; !strings.Contains(got, want+"\r\n\tby mx.example.test (tram) with") {
			t.Errorf("%q: %.300q", greeting, got)
		}
	}
}

// TestPostmaster: RFC 5321 §4.5.1, also when the server was started before it had a domain.
func TestPostmaster(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	for _, host := range []string{"mx.example.test", "example.test", "mx.none.test"} {
		c := h.open(MX, func(o *Options, _ *conn.Options) { o.Hostname = host }).hello()
		c.cmd("MAIL FROM:<a@elsewhere.test>", "250")
		c.cmd("RCPT TO:<Postmaster>", "250 2.1.5")
	}
}

package smtpd

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"tram/internal/clock"
	"tram/internal/conn"
	"tram/internal/smtp"
)

// TestReturnsAreFew: through a return address, which whoever has mail sent on gets to see, only so many
// notices reach its sender in a day, however it is written. To ask whether it is there uses nothing up.
func TestReturnsAreFew(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.limits.Signing.Returns = 3
	h.limits.SMTP.InvalidRcpt = 1
	today := clock.NewFake(time.Now())
	d := h.open(MX, func(o *Options, _ *conn.Options) { o.Clock = today })
	made := func(name string) string {
		return h.dir.ReturnAddress(smtp.Address{Local: name, Domain: "elsewhere.test"}, "example.test").String()
	}
	victim := made("victim")
	c := d.hello()
	for range 10 {
		c.cmd("MAIL FROM:<>", "250")
		c.cmd("RCPT TO:<"+victim+">", "250")
		c.cmd("RSET", "250")
	}
	// A message that is refused is not counted either.
	c.deliver("", victim, " folded: x\r\n\r\ntext\r\n", "550")
	for i := range 3 {
		c.deliver("", victim, fmt.Sprintf("From: a@b.test\r\n\r\n%d\r\n", i), "250")
		victim = strings.ToLower(victim)
	}
	for range 5 { // this is no harvesting
		c.cmd("MAIL FROM:<>", "250")
		c.cmd("RCPT TO:<"+victim+">", "450 4.2.1")
		c.cmd("RSET", "250")
	}
	// In one transaction they count too.
	other := made("other")
	c.cmd("MAIL FROM:<>", "250")
	c.cmd("RCPT TO:<"+other+">", "250")
	c.cmd("RCPT TO:<"+strings.ToLower(other)+">", "250")
	c.cmd("RCPT TO:<"+other+">", "250")
	c.cmd("RCPT TO:<"+other+">", "450 4.2.1")
	c.cmd("RCPT TO:<alice@example.test>", "250")
	c.cmd("RSET", "250")
	if sent, _ := h.queue.all(); len(sent) != 3 {
		t.Errorf("%d notices were sent on", len(sent))
	}
	today.Advance(24 * time.Hour)
	d.hello().deliver("", made("victim"), "From: a@b.test\r\n\r\nnext day\r\n", "250")
}

// TestReturnsBound: the table never holds more than it may, and goes on with those it has.
func TestReturnsBound(t *testing.T) {
	t.Parallel()
	r := newReturns()
	now := time.Date(2026, 8, 1, 10, 0, 0, 0, time.UTC)
	for i := range maxReturns {
		if _, ok := r.take(fmt.Sprint(i), now, 2); !ok {
			t.Fatal("refused", i)
		}
	}
	if _, ok := r.take("one more", now, 2); ok || len(r.used) != maxReturns {
		t.Errorf("%d in the table", len(r.used))
	}
	key, ok := r.take("0", now, 2)
	if !ok {
		t.Error("one that is there is refused")
	}
	r.giveBack([]uint64{key, key, key})
	if _, ok := r.take("one more", now, 2); !ok {
		t.Error("there is no room after one has left")
	}
	if _, ok := r.take("another", now.Add(24*time.Hour), 2); !ok || len(r.used) != 1 {
		t.Errorf("the next day: %d in the table", len(r.used))
	}
	r.giveBack([]uint64{key}) // of yesterday
	if len(r.used) != 1 {
		t.Error("what was of yesterday was given back today")
	}
}

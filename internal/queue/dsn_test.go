package queue

import (
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"tram/internal/envelope"
	"tram/internal/message"
	"tram/internal/smtp"
)

// envelope makes an envelope with a stranger as its sender.
func (w *world) envelope(text string, to ...string) *envelope.Envelope {
	w.t.Helper()
	e := &envelope.Envelope{ID: "trail", Origin: envelope.Forward, From: addr("mallory@alive.test"),
		Body: w.pending(text), Message: message.Parse([]byte(text), w.o.Message)}
	for _, a := range to {
		e.Recipients = append(e.Recipients, envelope.Recipient{Address: addr(a)})
	}
	return e
}

// part returns the body of the n-th part of a notice, decoded.
func part(t *testing.T, whole string, m *message.Message, n int) string {
	t.Helper()
	if m.Root == nil || len(m.Root.Parts) <= n {
		t.Fatalf("no part %d in\n%s", n, whole)
	}
	b, err := io.ReadAll(message.Body(strings.NewReader(whole), m.Root.Parts[n]))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// Whom a failure is told, RFC 3461 §5.2 and §4.1, and reliability P22.
func TestWhoIsTold(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		s      Submission
		notify envelope.Notify
		told   bool
	}{
		{"an account", Submission{Account: 7, From: addr("alice@us.test")}, 0, true},
		{"the local socket", Submission{Origin: envelope.LMTP, From: addr("alice@us.test")}, 0, true},
		{"asked for", Submission{Account: 7, From: addr("alice@us.test")}, envelope.NotifyFailure, true},
		{"asked for success only", Submission{Account: 7, From: addr("alice@us.test")}, envelope.NotifySuccess, false},
		{"asked for nothing", Submission{Account: 7, From: addr("alice@us.test")}, envelope.NotifyNever, false},
		{"the null sender", Submission{Account: 7}, 0, false},
		{"a notice", Submission{Origin: envelope.Notice}, 0, false},
		{"a stranger", Submission{Origin: envelope.Forward, From: addr("mallory@alive.test")}, 0, false},
		{"a stranger with our name", Submission{Origin: envelope.Forward, From: addr("alice@us.test")}, 0, false},
		{"a stranger who asks", Submission{Origin: envelope.Forward, From: addr("mallory@alive.test")},
			envelope.NotifyFailure, false},
	}
	for _, tt := range tests {
		w := newWorld(t).run()
		w.net.listen(t, "192.0.2.1").on(at("RCPT", "550 5.1.1 no"))
		tt.s.Recipients = []Recipient{{Address: addr("bob@alive.test"), Notify: tt.notify}}
		w.submit(tt.s)
		w.await("failed", 1)
		want := 1
		if tt.told {
			want = 2
		}
		w.await("done", want)
		if _, whole := w.notices(); (len(whole) == 1) != tt.told {
			t.Errorf("%s: %d notices", tt.name, len(whole))
		}
		w.empty()
		w.stop()
	}
}

// RFC 3464, RFC 6522: what a failure notice holds.
func TestFailureNotice(t *testing.T) {
	t.Parallel()
	w := newWorld(t).run()
	s := w.net.listen(t, "192.0.2.1", "PIPELINING", "DSN")
	s.on(at("RCPT", "550-5.1.1 No such\r\n550 5.1.1 user here"))
	w.submit(Submission{Account: 7, From: addr("alice@us.test"), EnvID: "QQ314159", Recipients: []Recipient{
		{Address: addr("bob@alive.test"), ORCPT: "rfc822;robert@alive.test"},
		{Address: addr("carol@alive.test"), Notify: envelope.NotifyNever},
		{Address: addr("dan@alive.test")}}})
	w.await("done", 2)
	parsed, whole := w.notices()
	if len(whole) != 1 {
		t.Fatalf("%d notices", len(whole))
	}
	m, text := parsed[0], whole[0]
	w.local.mu.Lock()
	e := w.local.got[0]
	w.local.mu.Unlock()
	if !e.From.IsNull() || e.Recipients[0].Address != addr("alice@us.test") ||
		e.Recipients[0].Notify != envelope.NotifyNever { // RFC 3461 §6.1
		t.Errorf("envelope %+v", e)
	}
	if m.Root.Subtype != "report" || !strings.Contains(text, "Auto-Submitted: auto-replied\r\n") ||
		!slices.Equal(m.References, []string{"<1@us.test>"}) {
		t.Errorf("header of\n%s", text)
	}
	status := part(t, text, m, 1)
	for _, line := range []string{
		"Reporting-MTA: dns; us.test", "Original-Envelope-Id: QQ314159", "Arrival-Date: Sun, 1 Mar 2026 12:00:00 +0000",
		"Original-Recipient: rfc822;robert@alive.test", "Final-Recipient: rfc822;bob@alive.test",
		"Final-Recipient: rfc822;dan@alive.test", "Action: failed", "Status: 5.1.1",
		"Remote-MTA: dns; mx.alive.test", "Diagnostic-Code: smtp; 550 5.1.1 No such user here",
	} {
		if !strings.Contains(status, line+"\r\n") {
			t.Errorf("no %q in\n%s", line, status)
		}
	}
	if strings.Contains(text, "carol") {
		t.Error("somebody is named of whom nothing was to be told (RFC 3461 §5.2.8)")
	}
	if p := m.Root.Parts[2]; p.Type != "text" || p.Subtype != "rfc822-headers" {
		t.Errorf("returned as %s/%s", p.Type, p.Subtype)
	}
	if got := part(t, text, m, 2); !strings.HasPrefix(got, "From: alice@us.test\r\n") || strings.Contains(got, "hello") {
		t.Errorf("returned %q", got)
	}
	if got := part(t, text, m, 0); !strings.Contains(got, "không gửi được") || !strings.Contains(got, "could not be delivered") {
		t.Errorf("text %q", got)
	}
}

// RFC 3461 §4.3 and RFC 8689 §5: how much of the message comes back.
func TestReturnedContent(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		ret  string
		tls  bool
		full bool
	}{{"", false, false}, {"HDRS", false, false}, {"FULL", false, true}, {"FULL", true, false}} {
		w := newWorld(t).run()
		w.net.listen(t, "192.0.2.1").on(at("DOT", "554 5.6.0 no"))
		w.submit(Submission{Account: 7, From: addr("alice@us.test"), Ret: tt.ret, RequireTLS: tt.tls}, "bob@alive.test")
		w.await("done", 2)
		parsed, whole := w.notices()
		if got := part(t, whole[0], parsed[0], 2); (got == note) != tt.full {
			t.Errorf("RET=%s: %q came back", tt.ret, got)
		}
		w.stop()
	}
}

// RFC 3461 §5.2.2 and §5.2.3: success is told by whoever sees it last.
func TestSuccessNotices(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, rcpt string
		ehlo       string
		notify     envelope.Notify
		action     string
	}{
		{"local", "bob@us.test", "", envelope.NotifySuccess, "delivered"},
		{"local, not asked", "bob@us.test", "", 0, ""},
		{"no DSN there", "bob@alive.test", "PIPELINING", envelope.NotifySuccess, "relayed"},
		{"DSN there", "bob@alive.test", "DSN", envelope.NotifySuccess, ""},
		{"not asked", "bob@alive.test", "PIPELINING", 0, ""},
		{"failure only", "bob@alive.test", "PIPELINING", envelope.NotifyFailure, ""},
	}
	for _, tt := range tests {
		w := newWorld(t).run()
		s := w.net.listen(t, "192.0.2.1", tt.ehlo)
		w.submit(Submission{Account: 7, From: addr("alice@us.test"), Ret: "HDRS", EnvID: "x",
			Recipients: []Recipient{{Address: addr(tt.rcpt), Notify: tt.notify}}})
		want := 1
		if tt.action != "" {
			want = 2
		}
		w.await("done", want)
		parsed, whole := w.notices()
		if len(whole) != want-1 {
			t.Errorf("%s: %d notices", tt.name, len(whole))
		}
		for i := range whole {
			if got := part(t, whole[i], parsed[i], 1); !strings.Contains(got, "Action: "+tt.action+"\r\n") ||
				!strings.Contains(got, "Status: 2.") {
				t.Errorf("%s: %s", tt.name, got)
			}
		}
		if tt.ehlo == "DSN" {
			m := w.get(s)
			if m.params != "RET=HDRS ENVID=x" || m.rcpts[0] != "<bob@alive.test> NOTIFY=SUCCESS" {
				t.Errorf("%s: passed on as %+v", tt.name, m)
			}
		}
		w.stop()
	}
}

// The sender hears of a delay once, and in the end of the failure.
func TestDelayAndExpiry(t *testing.T) {
	t.Parallel()
	w := newWorld(t).run()
	w.submit(Submission{Account: 7, From: addr("alice@us.test"), Recipients: []Recipient{
		{Address: addr("bob@dead.test")},
		{Address: addr("carol@dead.test"), Notify: envelope.NotifyFailure}}})
	w.await("destination failed", 1)
	w.later(4*time.Hour - time.Second)
	w.await("destination failed", 2)
	if w.log.times("delayed") > 0 {
		t.Error("told of a delay too early")
	}
	w.later(time.Second)
	w.await("done", 1)
	parsed, whole := w.notices()
	status := part(t, whole[0], parsed[0], 1)
	for _, line := range []string{"Action: delayed", "Status: 4.4.7", "Will-Retry-Until: Fri, 6 Mar 2026 12:00:00 +0000"} {
		if !strings.Contains(status, line+"\r\n") {
			t.Errorf("no %q in\n%s", line, status)
		}
	}
	if strings.Contains(status, "carol") { // RFC 3461 §5.2.5
		t.Error("told of a delay that was not asked for")
	}
	if text := part(t, whole[0], parsed[0], 0); !strings.Contains(text, "connection refused") {
		t.Errorf("no reason in %q", text)
	}
	for h := 4; h < 119; h++ {
		w.later(time.Hour)
	}
	if w.log.times("failed") > 0 {
		t.Fatalf("gave up early: %s", w.log)
	}
	w.later(time.Hour)
	w.await("done", 3) // two notices and the item
	parsed, whole = w.notices()
	if len(whole) != 2 {
		t.Fatalf("%d notices", len(whole))
	}
	status = part(t, whole[1], parsed[1], 1)
	if !strings.Contains(status, "Status: 5.4.7\r\n") || !strings.Contains(status, "bob@") || !strings.Contains(status, "carol@") {
		t.Errorf("%s", status)
	}
	w.empty()
}

// A notice that cannot be delivered is given up earlier, and nobody is told of it.
func TestNoticeOfNotice(t *testing.T) {
	t.Parallel()
	w := newWorld(t).run()
	w.local.reply = func(smtp.Address) smtp.Reply { return smtp.NewReply(452, smtp.Enhanced{4, 2, 2}, "full") }
	w.net.listen(t, "192.0.2.1").on(at("RCPT", "550 5.1.1 no"))
	w.send("bob@alive.test")
	w.await("deferred", 1)
	for range 48 {
		w.later(time.Hour)
	}
	w.await("done", 2)
	if n := w.log.times("queued"); n != 2 {
		t.Errorf("%d items in all", n)
	}
	w.empty()
}

// RFC 2852 §4: a time by which to deliver.
func TestDeliverBy(t *testing.T) {
	t.Parallel()
	by := envelope.DeliverBy{Deadline: start.Add(time.Hour), Return: true}
	// Not there in time: returned.
	w := newWorld(t).run()
	w.submit(Submission{Account: 7, From: addr("alice@us.test"), DeliverBy: by}, "bob@dead.test")
	w.await("destination failed", 1)
	w.later(time.Hour)
	w.await("done", 2)
	parsed, whole := w.notices()
	if got := part(t, whole[0], parsed[0], 1); !strings.Contains(got, "Status: 5.4.7") {
		t.Errorf("%s", got)
	}
	w.empty()
	// Or only told, and delivered later.
	w = newWorld(t).run()
	by.Return = false
	w.submit(Submission{Account: 7, From: addr("alice@us.test"), DeliverBy: by}, "bob@dead.test")
	w.await("destination failed", 1)
	w.later(time.Hour)
	w.await("done", 1)
	parsed, whole = w.notices()
	if got := part(t, whole[0], parsed[0], 1); !strings.Contains(got, "Action: delayed") {
		t.Errorf("%s", got)
	}
	s := w.net.listen(t, "192.0.2.9", "DELIVERBY")
	w.later(time.Hour)
	if m := w.get(s); m.params != "BY=-3600;N" {
		t.Errorf("passed on as %q", m.params)
	}
	// A server that would not watch the time does not get what must be returned.
	w = newWorld(t).run()
	by.Return = true
	s = w.net.listen(t, "192.0.2.1")
	w.submit(Submission{Account: 7, From: addr("alice@us.test"), DeliverBy: by}, "bob@alive.test")
	if got := w.await("failed", 1); !strings.Contains(got, "5.3.3") || len(s.taken()) > 0 {
		t.Error(got)
	}
}

// A notice and the fate it tells of are one transaction: a crash in between loses neither.
func TestNoticeSurvivesCrash(t *testing.T) {
	t.Parallel()
	w := newWorld(t).run()
	w.local.reply = func(smtp.Address) smtp.Reply { return smtp.NewReply(451, smtp.Enhanced{4, 3, 0}, "later") }
	w.net.listen(t, "192.0.2.1").on(at("RCPT", "550 5.1.1 no"))
	w.send("bob@alive.test")
	w.await("deferred", 1)
	w.crash()
	w.local = &people{}
	w.o.Local = w.local
	w.reopen()
	w.run()
	w.later(10 * time.Minute)
	w.await("done", 1)
	if _, whole := w.notices(); len(whole) != 1 {
		t.Errorf("%d notices", len(whole))
	}
	w.empty()
}

package deliver

import (
	"context"
	"errors"
	"strings"
	"testing"

	"tram/internal/envelope"
	"tram/internal/smtp"
	"tram/internal/store"
)

// TestSettle is the rule for several deliveries and one reply (P22): a table of what became of each.
func TestSettle(t *testing.T) {
	t.Parallel()
	replies := map[byte]smtp.Reply{
		'2': {Code: 250}, '4': {Code: 452}, 't': {Code: 451}, '5': {Code: 552}, 'n': {Code: 550},
	}
	for in, want := range map[string]struct {
		decision
		code int
	}{
		"":     {takeAll, 0},
		"2":    {takeAll, 0},
		"22":   {takeAll, 0},
		"4":    {refuse, 452},
		"t4":   {refuse, 451},
		"4t":   {refuse, 452},
		"5":    {refuse, 552},
		"5n":   {refuse, 552},
		"n5":   {refuse, 550},
		"45":   {refuse, 452},
		"54":   {refuse, 452},
		"n5t":  {refuse, 451},
		"24":   {postpone, 452},
		"42":   {postpone, 452},
		"2t4":  {postpone, 451},
		"25":   {takeAll, 0},
		"52":   {takeAll, 0},
		"524":  {postpone, 452},
		"5n2":  {takeAll, 0},
		"2222": {takeAll, 0},
	} {
		var list []smtp.Reply
		for i := range len(in) {
			list = append(list, replies[in[i]])
		}
		got, reply := settle(list)
		if got != want.decision || reply.Code != want.code {
			t.Errorf("%q: %v %d, want %v %d", in, got, reply.Code, want.decision, want.code)
		}
	}
}

// TestEachRecipient: LMTP and the queue hear of each recipient by itself (RFC 2033 §4.2).
func TestEachRecipient(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.quota("bob", 10)
	d := New(h.o)
	env := h.mail(d, envelope.LMTP, text, "alice", "bob", "nobody", "alice", "team")
	var codes []int
	for _, o := range d.Deliver(t.Context(), env) {
		codes = append(codes, o.Reply.Code)
	}
	if len(codes) != 5 || codes[0] != 250 || codes[1] != 552 || codes[2] != 550 || codes[3] != 250 ||
		codes[4] != 250 {
		t.Errorf("replies %v", codes)
	}
	if a, c := len(h.inbox("alice")), len(h.inbox("carol")); a != 1 || c != 1 {
		t.Errorf("alice %d, carol %d", a, c)
	}
}

// TestRepetition: the same delivery before its acknowledgement is one, after it another; other
// content under the same Message-ID is another message (RFC 1047).
func TestRepetition(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	d := New(h.o)
	deliver := func(text string) envelope.Outcome {
		out := d.DeliverAll(t.Context(), h.mail(d, envelope.Inbound, text, "alice", "team"))
		if !out.OK() {
			t.Fatalf("refused: %v", out.Reply)
		}
		return out
	}
	first := deliver(text)
	again := deliver(text)
	if first.Duplicate || !again.Duplicate {
		t.Errorf("duplicate: %v, %v", first.Duplicate, again.Duplicate)
	}
	deliver(strings.Replace(text, "Hello", "Hallo", 1))
	if n := len(h.inbox("bob")); n != 2 {
		t.Errorf("bob has %d", n)
	}
	again.Confirm()
	if out := deliver(text); out.Duplicate {
		t.Error("an intended repetition was suppressed")
	}
	if a, b := len(h.inbox("alice")), len(h.inbox("bob")); a != 3 || b != 3 {
		t.Errorf("alice %d, bob %d", a, b)
	}
}

// TestFromQueue: a message without its Return-Path field, and without a parse, gets both (RFC 5321
// §4.4); delivered again after a crash of the queue it is there once.
func TestFromQueue(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	d := New(h.o)
	for range 2 {
		b := h.store.NewBody(t.Context())
		b.Write([]byte("Received: x\r\n" + text))
		body, _, err := b.Finish()
		if err != nil {
			t.Fatal(err)
		}
		env := &envelope.Envelope{
			ID: "q1", Origin: envelope.Submission, From: local("bob"), Body: body,
			Recipients: []envelope.Recipient{{Address: local("alice")}},
		}
		if out := d.Deliver(t.Context(), env); !out[0].OK() {
			t.Fatalf("refused: %v", out[0].Reply)
		}
	}
	got := h.inbox("alice")
	if len(got) != 1 || got[0] != "Return-Path: <bob@example.test>\r\nReceived: x\r\n"+text {
		t.Errorf("stored %q", got)
	}
}

// TestVerdicts: what other rooms decide is acted upon, step by step.
func TestVerdicts(t *testing.T) {
	t.Parallel()
	refused := smtp.NewReply(550, smtp.Enhanced{5, 7, 1}, "No")
	for name, tc := range map[string]struct {
		classify, filter        Verdict
		err                     error
		code, inbox, junk, sent int
	}{
		"neutral":      {code: 250, inbox: 1},
		"junk":         {classify: Verdict{Junk: true}, filter: Verdict{Junk: true}, code: 250, junk: 1},
		"refused here": {classify: Verdict{Refuse: refused}, code: 550},
		"discarded":    {filter: Verdict{Discard: true}, code: 250},
		"sent on":      {filter: Verdict{Forward: []smtp.Address{away}}, code: 250, inbox: 1, sent: 1},
		"moved on":     {filter: Verdict{Discard: true, Forward: []smtp.Address{away}}, code: 250, sent: 1},
		"no answer":    {err: errors.New("scanner is gone"), code: 451},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHouse(t)
			h.o.Classify = func(
				_ context.Context, _ *envelope.Envelope, _ store.AccountID, _ Verdict,
			) (Verdict, error) {
				return tc.classify, tc.err
			}
			h.o.Filter = func(
				_ context.Context, _ *envelope.Envelope, _ store.AccountID, _ Verdict,
			) (Verdict, error) {
				return tc.filter, nil
			}
			d := New(h.o)
			out := d.DeliverAll(t.Context(), h.mail(d, envelope.Inbound, text, "alice"))
			if out.Reply.Code != tc.code || len(h.inbox("alice")) != tc.inbox ||
				len(h.box("alice", store.RoleJunk)) != tc.junk || len(h.queue.sent) != tc.sent {
				t.Errorf("%v, inbox %d, junk %d, sent %d", out.Reply, len(h.inbox("alice")),
					len(h.box("alice", store.RoleJunk)), len(h.queue.sent))
			}
		})
	}
}

// TestForward: a copy leaves without our Return-Path, marked so that it is known when it comes back
// (P23), and a queue that refuses is the sender's to hear.
func TestForward(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	d := New(h.o)
	env := h.mail(d, envelope.Inbound, text, "mixed")
	env.Recipients[0].Notify = envelope.NotifyFailure
	if out := d.DeliverAll(t.Context(), env); !out.OK() {
		t.Fatal(out.Reply)
	}
	sent := h.queue.sent[0]
	if sent.ID != "trail-1.f" || sent.Origin != envelope.Forward ||
		sent.Recipients[0].Notify != envelope.NotifyFailure || sent.Message == nil {
		t.Errorf("sent %+v", sent)
	}
	want := "Delivered-To: mixed@example.test\r\nReceived: by mx.example.test (tram); now\r\n" + text
	if h.queue.text[0] != want {
		t.Errorf("sent %q", h.queue.text[0])
	}
	back := h.mail(d, envelope.Inbound, want+"x", "mixed")
	if out := d.DeliverAll(t.Context(), back); !out.OK() || len(h.queue.sent) != 1 {
		t.Errorf("%v, %d sent", out.Reply, len(h.queue.sent))
	}
	h.queue.err = errors.New("queue is down")
	h.alias("out", away)
	out := d.DeliverAll(t.Context(), h.mail(d, envelope.Inbound, text+"y\r\n", "out"))
	if out.Reply.Code != 451 {
		t.Errorf("with a broken queue: %v", out.Reply)
	}
}

// TestPostponed: what waits for room goes to the queue in its final form, and no notice of it to a
// stranger (P22).
func TestPostponed(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.quota("bob", 300)
	d := New(h.o)
	long := text + strings.Repeat("x", 50) + "\r\n"
	if out := d.DeliverAll(t.Context(), h.mail(d, envelope.Inbound, long, "bob")); !out.OK() {
		t.Fatal(out.Reply)
	}
	env := h.mail(d, envelope.Inbound, strings.Replace(long, "<1@", "<2@", 1), "alice", "bob")
	env.Recipients[1].Notify = envelope.NotifyFailure
	if out := d.DeliverAll(t.Context(), env); !out.OK() {
		t.Fatal(out.Reply)
	}
	if len(h.queue.sent) != 1 {
		t.Fatalf("%d queued", len(h.queue.sent))
	}
	waits := h.queue.sent[0]
	if waits.ID != "trail-1.w" || len(waits.Recipients) != 1 || waits.Recipients[0].Address != local("bob") ||
		waits.Recipients[0].Notify != envelope.NotifyNever || waits.Body != env.Body {
		t.Errorf("queued %+v", waits)
	}
	if !strings.HasPrefix(h.queue.text[0], "Return-Path: <a@elsewhere.test>\r\n") {
		t.Errorf("queued %q", h.queue.text[0])
	}
	h.quota("bob", 0)
	waits.Queued = true
	if out := d.Deliver(t.Context(), waits); !out[0].OK() || len(h.inbox("bob")) != 2 {
		t.Errorf("later: %v", out[0].Reply)
	}
}

func TestStorageFull(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	d := New(h.o)
	env := h.mail(d, envelope.Inbound, text, "alice")
	h.db.SetFull(true)
	if out := d.DeliverAll(t.Context(), env); out.Reply.Code != 452 {
		t.Errorf("reply %v", out.Reply)
	}
	for _, reply := range []smtp.Reply{d.CheckRoom(), d.CheckRecipient(t.Context(), local("alice"), 0)} {
		if reply.Enhanced != (smtp.Enhanced{4, 3, 1}) {
			t.Errorf("reply %v", reply)
		}
	}
}

// TestAliasCycle: aliases that lead to each other are refused at RCPT (P23).
func TestAliasCycle(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.alias("ping", local("pong"))
	h.alias("pong", local("ping"))
	if r := New(h.o).CheckRecipient(t.Context(), local("ping"), 0); !r.Permanent() {
		t.Errorf("reply %v", r)
	}
}

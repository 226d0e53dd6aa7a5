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

// again is the message as its sender brings it once more, at another time: our own field differs.
func (h *house) again(d *Deliverer, n int, text string, to ...string) *envelope.Envelope {
	h.t.Helper()
	env := h.mail(d, envelope.Inbound, text, to...)
	body := d.NewBody(h.t.Context(), env, []byte("Received: by mx.example.test (tram); "+
		strings.Repeat("later ", n)+"\r\n"))
	body.Write([]byte(text))
	if err := body.Finish(); err != nil {
		h.t.Fatal(err)
	}
	return env
}

// later delivers what the queue was given, as the queue does.
func (h *house) later(d *Deliverer) {
	h.t.Helper()
	for i, env := range h.queue.sent {
		out := *env
		out.Queued, out.ID = true, env.ID+strings.Repeat("-", i)
		for _, o := range d.Deliver(h.t.Context(), &out) {
			if !o.OK() {
				h.t.Fatal(o.Reply)
			}
			if o.Confirm != nil {
				o.Confirm()
			}
		}
	}
}

// fill makes a person's mailbox too full for anything, but not for good.
func (h *house) fill(d *Deliverer, name string) {
	h.t.Helper()
	h.quota(name, 400)
	first := h.mail(d, envelope.Inbound, text+strings.Repeat("f", 150)+"\r\n", name)
	if out := d.DeliverAll(h.t.Context(), first); !out.OK() {
		h.t.Fatal(out.Reply)
	}
}

// TestRepetitionOfWaiting is RFC 1047 for who waits for room: whether the sender comes again before there
// is room or after it, and before the queue has delivered or after it, there is one copy.
func TestRepetitionOfWaiting(t *testing.T) {
	t.Parallel()
	for name, order := range map[string]string{
		"still full":           "drrql", // d: delivered; r: again; q: quota lifted; l: the queue's turn
		"room before the turn": "dqrl",
		"room after the turn":  "dqlr",
		"both":                 "drqrlr",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHouse(t)
			d := New(h.o)
			h.fill(d, "bob")
			last := envelope.Outcome{}
			for n, c := range order {
				switch c {
				case 'q':
					h.quota("bob", 0)
				case 'l':
					h.later(d)
				default:
					last = d.DeliverAll(t.Context(), h.again(d, n, text, "alice", "bob"))
					if !last.OK() || last.Duplicate != (c == 'r') {
						t.Errorf("step %d: %v, duplicate %v", n, last.Reply, last.Duplicate)
					}
				}
			}
			if a, b := len(h.inbox("alice")), len(h.inbox("bob")); a != 1 || b != 2 || len(h.queue.sent) != 1 {
				t.Errorf("alice has %d, bob %d beside his first, %d were queued", a, b-1, len(h.queue.sent))
			}
			// Who has seen the reply and sends it once more means it.
			h.queue.sent = nil
			last.Confirm()
			h.quota("bob", 1000)
			if out := d.DeliverAll(t.Context(), h.again(d, 9, text, "alice", "bob")); out.Duplicate || !out.OK() {
				t.Errorf("%v, duplicate %v", out.Reply, out.Duplicate)
			}
			if b := len(h.inbox("bob")) + len(h.queue.sent); b != 3 {
				t.Errorf("bob has %d after an intended repetition", b-1)
			}
		})
	}
}

// TestRepetitionFound: what waited is recognised by its content when it is delivered, whatever stands on
// top of it: here the queue has it twice, because what was handed over was forgotten too early.
func TestRepetitionFound(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	d := New(h.o)
	h.fill(d, "bob")
	for n := range 2 {
		clear(h.queue.taken)
		if out := d.DeliverAll(t.Context(), h.again(d, n, text, "alice", "bob")); !out.OK() {
			t.Fatal(out.Reply)
		}
	}
	h.quota("bob", 0)
	if len(h.queue.sent) != 2 || h.queue.text[0] == h.queue.text[1] {
		t.Fatalf("queued %q", h.queue.text)
	}
	for _, env := range h.queue.sent {
		env.Queued = true
		if out := d.Deliver(t.Context(), env); !out[0].OK() {
			t.Fatal(out[0].Reply)
		}
	}
	if n := len(h.inbox("bob")); n != 2 {
		t.Errorf("bob has %d", n-1)
	}
}

// TestRepetitionOfForward: what was sent on, or held, is so once, until the sender has seen the reply.
func TestRepetitionOfForward(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	held := true
	h.o.Classify = func(
		_ context.Context, _ *envelope.Envelope, to store.AccountID, _ Verdict,
	) (Verdict, error) {
		return Verdict{Quarantine: held && to == h.ids["bob"]}, nil
	}
	d := New(h.o)
	var out envelope.Outcome
	for n := range 3 {
		out = d.DeliverAll(t.Context(), h.again(d, n, text, "mixed", "bob"))
		if !out.OK() || out.Duplicate != (n > 0) {
			t.Errorf("%v, duplicate %v", out.Reply, out.Duplicate)
		}
		held = n == 0 // judged otherwise the last time
	}
	if len(h.queue.sent) != 2 || len(h.inbox("alice")) != 1 || len(h.inbox("bob")) != 0 {
		t.Errorf("%d handed over, alice has %d, bob %d", len(h.queue.sent), len(h.inbox("alice")),
			len(h.inbox("bob")))
	}
	out.Confirm()
	d.DeliverAll(t.Context(), h.again(d, 4, text, "mixed", "bob"))
	if len(h.queue.sent) != 3 || len(h.inbox("alice")) != 2 || len(h.inbox("bob")) != 1 {
		t.Errorf("then %d handed over, alice has %d, bob %d", len(h.queue.sent), len(h.inbox("alice")),
			len(h.inbox("bob")))
	}
}

// TestPostponedTogether: of two people who wait, one for junk mail, the queue takes both or none, and who
// comes again because it took none finds nobody served twice.
func TestPostponedTogether(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.o.Classify = func(
		_ context.Context, _ *envelope.Envelope, to store.AccountID, _ Verdict,
	) (Verdict, error) {
		return Verdict{Junk: to == h.ids["carol"]}, nil
	}
	d := New(h.o)
	h.fill(d, "bob")
	h.fill(d, "carol")
	h.queue.err, h.queue.fails = errors.New("queue is down"), 1
	if out := d.DeliverAll(t.Context(), h.again(d, 0, text, "team")); !out.Reply.Temporary() {
		t.Fatal(out.Reply)
	}
	h.queue.err = nil
	clear(h.queue.taken) // the sender waits for longer than that is remembered
	if out := d.DeliverAll(t.Context(), h.again(d, 1, text, "team")); !out.OK() {
		t.Fatal(out.Reply)
	}
	var to []string
	for _, env := range h.queue.sent {
		for _, rcpt := range env.Recipients {
			to = append(to, rcpt.Address.Local)
		}
	}
	if got := strings.Join(to, " "); got != "bob carol" || len(h.inbox("alice")) != 1 {
		t.Errorf("queued for %s; alice has %d", got, len(h.inbox("alice")))
	}
}

// TestHandedOverByItem: an item of the queue that waits again in part is another message, or it would
// be taken for what it came from and lost; the same item delivered again after a crash is not.
func TestHandedOverByItem(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	d := New(h.o)
	h.fill(d, "bob")
	if out := d.DeliverAll(t.Context(), h.again(d, 0, text, "alice", "bob")); !out.OK() {
		t.Fatal(out.Reply)
	}
	h.o.Filter = func(
		context.Context, *envelope.Envelope, store.AccountID, Verdict,
	) (Verdict, error) {
		return Verdict{Forward: []smtp.Address{away}}, nil
	}
	d = New(h.o)
	waits := *h.queue.sent[0]
	waits.Queued = true
	for range 2 {
		if out := d.Deliver(t.Context(), &waits); !out[0].OK() {
			t.Fatal(out[0].Reply)
		}
	}
	if len(h.queue.sent) != 3 || h.queue.sent[2].Recipients[0].Address != local("bob") {
		t.Errorf("%d handed over", len(h.queue.sent))
	}
}

package queue

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"tram/internal/blob"
	"tram/internal/clock"
	"tram/internal/dns"
	"tram/internal/envelope"
	"tram/internal/kv"
	"tram/internal/kv/memkv"
	"tram/internal/limits"
	"tram/internal/message"
	"tram/internal/smtp"
)

// start is when tests begin.
var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// world is a queue with all that is around it.
type world struct {
	t      testing.TB
	clock  *clock.Fake
	db     *memkv.DB
	engine kv.Database // instead of db, if set
	blobs  *blob.Store
	dns    *dns.Fake
	net    *network
	local  *people
	log    *journal
	o      Options
	q      *Queue
	stop   func()
}

const zone = `
alive.test. IN MX 10 mx.alive.test.
mx.alive.test. IN A 192.0.2.1
dead.test. IN MX 10 mx.dead.test.
mx.dead.test. IN A 192.0.2.9
`

// newWorld makes a queue that does not run yet.
func newWorld(t testing.TB, edit ...func(*Options)) *world {
	t.Helper()
	w := &world{t: t, clock: clock.NewFake(start), db: memkv.New(), dns: dns.NewFake(zone),
		net: newNetwork(), local: &people{}, log: newJournal()}
	l := limits.Default()
	w.o = Options{
		Clock: w.clock, Logger: slog.New(w.log), Local: w.local, Hostname: "us.test",
		Resolver: w.dns, Dialer: w.net, Limits: l.Queue, Client: l.Client, Message: l.Message,
	}
	w.o.Limits.Burst, w.o.Limits.NewPerDay, w.o.Limits.PerDay = 0, 0, 0
	w.o.Client.Greeting, w.o.Client.Mail = 20*time.Second, 20*time.Second
	for _, e := range edit {
		e(&w.o)
	}
	w.open()
	return w
}

// open opens the queue on w.db.
func (w *world) open() {
	w.t.Helper()
	w.o.DB = w.db
	if w.engine != nil {
		w.o.DB = w.engine
	}
	w.blobs = blob.New(w.o.DB, blob.Options{Clock: w.clock})
	w.o.Blobs = w.blobs
	q, err := Open(w.t.Context(), w.o)
	if err != nil {
		w.t.Fatal(err)
	}
	w.q = q
}

// run starts the queue; it stops with the test at the latest.
func (w *world) run() *world {
	w.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	q := w.q
	go func() { done <- q.Run(ctx) }()
	w.stop = sync.OnceFunc(func() {
		cancel()
		// Running transactions get their drain time, which a fake clock must grant.
		for {
			_, armed := w.clock.Armed()
			select {
			case err := <-done:
				if err != nil {
					w.t.Errorf("Run = %v", err)
				}
				return
			case <-armed:
				w.clock.Advance(0)
			case <-time.After(2 * time.Second):
				w.clock.Advance(5 * time.Second)
			}
		}
	})
	w.t.Cleanup(w.stop)
	return w
}

// crash pulls the plug: what was durable at this moment is opened by a new queue, which does not
// run yet. What the old one does after that is on another disk, and forgotten.
func (w *world) crash() {
	w.t.Helper()
	db := w.db.Crash()
	w.stop()
	w.db = db
	w.reopen()
}

// reopen opens the queue again, with a new journal.
func (w *world) reopen() {
	w.t.Helper()
	w.log = newJournal()
	w.o.Logger = slog.New(w.log)
	w.open()
}

// later moves the clock and makes the queue look at it.
func (w *world) later(d time.Duration) {
	w.clock.Advance(d)
	w.q.time.Now() // queue time must see each step, or it takes them for one jump
	w.look()
}

// look makes the queue's loops look around.
func (w *world) look() {
	w.q.mu.Lock()
	w.q.slots.sweep(w.clock.Now())
	w.q.dispatch()
	clear(w.q.cursor)
	w.q.mu.Unlock()
	w.q.alarm.ring()
	w.q.keepAlarm.ring()
}

// pending stores a message.
func (w *world) pending(text string) *blob.Pending {
	w.t.Helper()
	bw := w.blobs.Create(w.t.Context())
	if _, err := bw.Write([]byte(text)); err != nil {
		w.t.Fatal(err)
	}
	p, err := bw.Finish()
	if err != nil {
		w.t.Fatal(err)
	}
	return p
}

const note = "From: alice@us.test\r\nTo: someone\r\nMessage-ID: <1@us.test>\r\nSubject: x\r\n\r\nhello\r\n"

// send submits note from alice of this house to the given recipients.
func (w *world) send(to ...string) ID {
	w.t.Helper()
	return w.submit(Submission{Account: 7, From: addr("alice@us.test")}, to...)
}

func (w *world) submit(s Submission, to ...string) ID {
	w.t.Helper()
	if s.Body == nil {
		s.Body = w.pending(note)
	}
	if s.Origin == "" {
		s.Origin = envelope.Submission
	}
	s.MessageID = "<1@us.test>"
	for _, a := range to {
		s.Recipients = append(s.Recipients, Recipient{Address: addr(a)})
	}
	id, err := w.q.Submit(w.t.Context(), s)
	if err != nil {
		w.t.Fatal(err)
	}
	return id
}

func addr(s string) smtp.Address {
	a, err := smtp.ParseAddress(s)
	if err != nil {
		panic(err)
	}
	return a
}

// get waits for the sink's next message.
func (w *world) get(s *sink) mail {
	w.t.Helper()
	select {
	case m := <-s.got:
		return m
	case <-time.After(20 * time.Second):
		w.t.Fatalf("no mail came; the queue said:\n%s", w.log)
		return mail{}
	}
}

// await waits until an event was logged n times in all, and returns the last one's text.
func (w *world) await(event string, n int) string {
	w.t.Helper()
	text, ok := w.log.await(event, n, w.look)
	if !ok {
		w.t.Fatalf("%q was not said %d times; the queue said:\n%s", event, n, w.log)
	}
	return text
}

// until waits for a condition that no event announces, and reports whether it came.
func until(cond func() bool) bool {
	timeout := time.After(20 * time.Second)
	again := time.NewTicker(time.Millisecond)
	defer again.Stop()
	for !cond() {
		select {
		case <-again.C:
		case <-timeout:
			return false
		}
	}
	return true
}

// show returns an item that must be there.
func (w *world) show(id ID) Item {
	w.t.Helper()
	item, err := w.q.Show(w.t.Context(), id)
	if err != nil {
		w.t.Fatal(err)
	}
	return item
}

// empty checks that nothing is left, not even an index entry.
func (w *world) empty() {
	w.t.Helper()
	st, err := w.q.Stats(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	if st.Waiting+st.Held != 0 {
		w.t.Errorf("%d wait, %d are held", st.Waiting, st.Held)
	}
	for _, key := range w.keys() {
		switch key[2] {
		case countSub, sentSub, knownSub, handSub, overSub:
		default:
			w.t.Errorf("row %q is left", key)
		}
	}
}

// journal is a slog.Handler that keeps what was said and lets tests wait for it.
type journal struct {
	mu    sync.Mutex
	said  []string
	count map[string]int
	last  map[string]string
	more  chan struct{}
}

func newJournal() *journal {
	return &journal{count: map[string]int{}, last: map[string]string{}, more: make(chan struct{})}
}

func (j *journal) Enabled(context.Context, slog.Level) bool { return true }
func (j *journal) WithAttrs([]slog.Attr) slog.Handler       { return j }
func (j *journal) WithGroup(string) slog.Handler            { return j }

func (j *journal) Handle(_ context.Context, r slog.Record) error {
	var b strings.Builder
	b.WriteString(r.Message)
	r.Attrs(func(a slog.Attr) bool {
		fmt.Fprintf(&b, " %s=%v", a.Key, a.Value)
		return true
	})
	j.mu.Lock()
	defer j.mu.Unlock()
	if len(j.said) < 1000 {
		j.said = append(j.said, b.String())
	}
	j.count[r.Message]++
	j.last[r.Message] = b.String()
	close(j.more)
	j.more = make(chan struct{})
	return nil
}

// await calls look now and then: what a session had in hand is seen to in the next round, which a
// fake clock would not bring.
func (j *journal) await(event string, n int, look func()) (string, bool) {
	timeout := time.After(20 * time.Second)
	again := time.NewTicker(50 * time.Millisecond)
	defer again.Stop()
	for {
		j.mu.Lock()
		more, ok, text := j.more, j.count[event] >= n, j.last[event]
		j.mu.Unlock()
		if ok {
			return text, true
		}
		select {
		case <-more:
		case <-again.C:
			look()
		case <-timeout:
			return "", false
		}
	}
}

func (j *journal) times(event string) int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.count[event]
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return strings.Join(j.said, "\n")
}

// people are those of this house: everybody at us.test, and at what is added.
type people struct {
	mu      sync.Mutex
	domains map[string]bool
	reply   func(rcpt smtp.Address) smtp.Reply
	got     []*envelope.Envelope
	confirm int
}

// IsLocal implements LocalDeliverer.
func (p *people) IsLocal(domain string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return domain == "us.test" || p.domains[domain]
}

// Deliver implements LocalDeliverer.
func (p *people) Deliver(_ context.Context, e *envelope.Envelope) []envelope.Outcome {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.got = append(p.got, e)
	var outs []envelope.Outcome
	for _, r := range e.Recipients {
		reply := smtp.NewReply(250, smtp.Enhanced{2, 0, 0}, "filed")
		if p.reply != nil {
			reply = p.reply(r.Address)
		}
		outs = append(outs, envelope.Outcome{Reply: reply, Confirm: func() {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.confirm++
		}})
	}
	return outs
}

// notices returns the DSNs that came, parsed and whole.
func (w *world) notices() (parsed []*message.Message, whole []string) {
	w.t.Helper()
	w.local.mu.Lock()
	defer w.local.mu.Unlock()
	for _, e := range w.local.got {
		if e.Origin != envelope.Notice {
			continue
		}
		var b strings.Builder
		r := e.Body.Open(w.t.Context())
		if _, err := r.WriteTo(&b); err != nil {
			w.t.Fatal(err)
		}
		parsed, whole = append(parsed, e.Message), append(whole, b.String())
	}
	return parsed, whole
}

package scan

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tram/internal/blob"
	"tram/internal/clock"
	"tram/internal/envelope"
	"tram/internal/kv/memkv"
	"tram/internal/limits"
	"tram/internal/scan/filter"
	"tram/internal/scan/filter/filtertest"
	"tram/internal/smtp"
	"tram/internal/spam/sign"
	"tram/internal/store"
)

// given is a filter of the test's own.
type given struct {
	fn     func(ctx context.Context, m *mail) (opinion, error)
	asked  atomic.Int32
	closed atomic.Bool
}

func (g *given) ask(ctx context.Context, m *mail) (opinion, error) {
	g.asked.Add(1)
	return g.fn(ctx, m)
}
func (g *given) greet(context.Context) (string, error) { return "test", nil }
func (g *given) close()                                { g.closed.Store(true) }

func (g *given) filter(name string, accept bool) Filter {
	return Filter{name: name, accept: accept, build: func(*Options) asker { return g }}
}

func says(o opinion, err error) *given {
	return &given{fn: func(context.Context, *mail) (opinion, error) { return o, err }}
}

// hangs is a filter that waits for its context.
func hangs() *given {
	return &given{fn: func(ctx context.Context, _ *mail) (opinion, error) {
		<-ctx.Done()
		return opinion{}, context.Cause(ctx)
	}}
}

type bench struct {
	*Scanner
	clock *clock.Fake
	log   *bytes.Buffer
	st    *store.Store
}

func newBench(t *testing.T, filters ...Filter) *bench {
	t.Helper()
	db := memkv.New()
	st, err := store.Open(t.Context(), store.Options{DB: db, Blobs: blob.New(db, blob.Options{})})
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{clock: clock.NewFake(time.Unix(1e9, 0)), log: &bytes.Buffer{}, st: st}
	b.Scanner = New(Options{
		Filters: filters, Hostname: "mx.example.test", Limits: limits.Default(), Clock: b.clock,
		Logger: slog.New(slog.NewTextHandler(&locked{w: b.log}, nil)),
		User:   func(context.Context, uint64) string { return "alice@example.test" },
	})
	t.Cleanup(func() {
		if err := errors.Join(b.Close(), st.Close()); err != nil {
			t.Error(err)
		}
	})
	return b
}

type locked struct {
	mu sync.Mutex
	w  io.Writer
}

func (l *locked) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
}

func (b *bench) mail(t *testing.T, text string) *envelope.Envelope {
	t.Helper()
	out := b.st.NewBody(t.Context())
	if _, err := io.WriteString(out, text); err != nil {
		t.Fatal(err)
	}
	body, parsed, err := out.Finish()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(body.Discard)
	return &envelope.Envelope{
		ID: "trail-1", Origin: envelope.Inbound, From: smtp.Address{Local: "a", Domain: "elsewhere.test"},
		Recipients: []envelope.Recipient{{Address: smtp.Address{Local: "b", Domain: "example.test"}}},
		Body:       body, Message: parsed, Account: 7,
		Client: envelope.Client{Addr: netip.MustParseAddr("192.0.2.7"), HELO: "x"},
	}
}

const letter = "Return-Path: <a@elsewhere.test>\r\nSubject: x\r\n\r\nHello.\r\n"

// TestCombine is the rule for several opinions and one reply.
func TestCombine(t *testing.T) {
	t.Parallel()
	reply := func(code int) opinion { return opinion{refuse: smtp.Reply{Code: code}} }
	virus := opinion{virus: "Eicar", refuse: smtp.Reply{Code: 555}}
	broken := errors.New("broken")
	type said struct {
		o      opinion
		err    error
		accept bool
	}
	for name, tc := range map[string]struct {
		said []said
		code int
		hold bool
	}{
		"all pass":                      {[]said{{}, {}}, 0, false},
		"refused beats deferred":        {[]said{{o: reply(451)}, {o: reply(550)}}, 550, false},
		"the first of a rank":           {[]said{{o: reply(554)}, {o: reply(550)}}, 554, false},
		"a failure defers":              {[]said{{}, {err: broken}}, 451, false},
		"a failure that is accepted":    {[]said{{}, {err: broken, accept: true}}, 0, false},
		"a refusal beats a failure":     {[]said{{err: broken}, {o: reply(550)}}, 550, false},
		"a virus beats everything":      {[]said{{o: reply(554)}, {err: broken}, {o: virus}, {o: reply(550)}}, 555, false},
		"hold":                          {[]said{{o: opinion{hold: "odd"}}, {}}, 0, true},
		"hold and failure":              {[]said{{o: opinion{hold: "odd"}}, {err: broken}}, 451, true},
		"an error beside an opinion":    {[]said{{o: reply(250), err: broken}}, 451, false},
		"nobody there is no permission": {[]said{{err: io.EOF}}, 451, false},
	} {
		var filters []Filter
		for i, s := range tc.said {
			filters = append(filters, says(s.o, s.err).filter(string(rune('a'+i)), s.accept))
		}
		b := newBench(t, filters...)
		f := b.Scan(t.Context(), b.mail(t, letter))
		if f.Refuse.Code != tc.code || (f.Hold != "") != tc.hold {
			t.Errorf("%s: %+v", name, f)
		}
	}
}

// TestGathers: signs, fields and reasons of all.
func TestGathers(t *testing.T) {
	t.Parallel()
	one := says(opinion{signs: []sign.Sign{{Name: "A"}}, fields: []string{"X: 1\r\n"}, words: "fine"}, nil)
	two := says(opinion{signs: []sign.Sign{{Name: "B"}}, words: "well"}, nil)
	b := newBench(t, one.filter("one", false), two.filter("two", false),
		says(opinion{}, errors.New("gone\r\naway")).filter("three", true))
	f := b.Scan(t.Context(), b.mail(t, letter))
	want := Finding{Signs: []sign.Sign{{Name: "A"}, {Name: "B"}}, Fields: []string{"X: 1\r\n"},
		Reasons: []string{"one: fine", "two: well", "three: no answer: gone  away"}}
	if diff := cmp.Diff(want, f); diff != "" {
		t.Error(diff)
	}
	b.Close()
	if !one.closed.Load() {
		t.Error("not closed")
	}
}

// TestTold: what filters are told of a message is what was sent, and who sends it.
func TestTold(t *testing.T) {
	t.Parallel()
	g := &given{}
	b := newBench(t, g.filter("g", false))
	env := b.mail(t, letter)
	g.fn = func(_ context.Context, m *mail) (opinion, error) {
		r := m.Open()
		defer r.Close()
		got, err := io.ReadAll(r)
		if string(got) != "Subject: x\r\n\r\nHello.\r\n" || int64(len(got)) != m.Size || err != nil {
			t.Errorf("%q, size %d, %v", got, m.Size, err)
		}
		if m.From != "a@elsewhere.test" || m.User != "alice@example.test" || m.Recipients[0] != "b@example.test" {
			t.Errorf("%+v", m)
		}
		return opinion{}, nil
	}
	if f := b.Scan(t.Context(), env); f.Refuse.Code != 0 || g.asked.Load() != 1 {
		t.Errorf("%+v", f)
	}
}

// late lets d pass once a question has been asked.
func (b *bench) late(g *given, n int32, d time.Duration) {
	for g.asked.Load() < n {
		_, armed := b.clock.Armed()
		select {
		case <-armed:
		case <-time.After(time.Millisecond):
		}
	}
	b.clock.Advance(d)
}

// TestBreaker is O15: a filter that hangs costs five messages their half minute, then none, and is asked
// again by one message after the pause. Nobody gets through unscanned.
func TestBreaker(t *testing.T) {
	t.Parallel()
	g := hangs()
	b := newBench(t, g.filter("g", false))
	env := b.mail(t, letter)
	ask := func() int { return b.Scan(t.Context(), env).Refuse.Code }
	for i := range int32(5) {
		go b.late(g, i+1, 30*time.Second)
		if code := ask(); code != 451 {
			t.Fatalf("message %d: %d", i, code)
		}
	}
	for range 100 {
		if code := ask(); code != 451 {
			t.Fatal(code)
		}
	}
	if n := g.asked.Load(); n != 5 {
		t.Errorf("asked %d times", n)
	}
	// The probe hangs too: others are answered at once meanwhile.
	b.clock.Advance(15 * time.Second)
	probe := make(chan int)
	go func() { probe <- ask() }()
	for g.asked.Load() < 6 {
		_, armed := b.clock.Armed()
		select {
		case <-armed:
		case <-time.After(time.Millisecond):
		}
	}
	if code := ask(); code != 451 || g.asked.Load() != 6 {
		t.Errorf("%d, asked %d", code, g.asked.Load())
	}
	b.clock.Advance(30 * time.Second)
	if code := <-probe; code != 451 {
		t.Error(code)
	}
	if code := ask(); code != 451 || g.asked.Load() != 6 {
		t.Errorf("%d, asked %d", code, g.asked.Load())
	}
	// It is back.
	g.fn = func(context.Context, *mail) (opinion, error) { return opinion{}, nil }
	b.clock.Advance(15 * time.Second)
	for range 3 {
		if code := ask(); code != 0 {
			t.Error(code)
		}
	}
	if s := b.log.String(); strings.Count(s, "left alone") != 1+5+1 && strings.Count(s, "answers again") != 1 {
		t.Errorf("log\n%s", s)
	}
}

// TestClockBack: a clock that is set back does not keep a filter shut for longer than the pause.
func TestClockBack(t *testing.T) {
	t.Parallel()
	g := says(opinion{}, io.EOF)
	b := newBench(t, g.filter("g", false))
	env := b.mail(t, letter)
	for range 6 {
		b.Scan(t.Context(), env)
	}
	g.fn = func(context.Context, *mail) (opinion, error) { return opinion{}, nil }
	b.clock.Set(b.clock.Now().Add(-24 * time.Hour))
	if f := b.Scan(t.Context(), env); f.Refuse.Code != 0 {
		t.Error(f.Refuse)
	}
}

// TestVirusEndsIt: the others are not waited for, and their having been cut short is no failure of theirs.
func TestVirusEndsIt(t *testing.T) {
	t.Parallel()
	slow := hangs()
	clam := says(opinion{virus: "Eicar", refuse: smtp.Reply{Code: 550}}, nil)
	b := newBench(t, slow.filter("slow", false), clam.filter("clam", false))
	env := b.mail(t, letter)
	for range 20 {
		if f := b.Scan(t.Context(), env); f.Virus != "Eicar" || f.Refuse.Code != 550 {
			t.Fatalf("%+v", f)
		}
	}
	if g := b.filters[0].gate; g.failures != 0 || !g.until.IsZero() {
		t.Errorf("%d failures", g.failures)
	}
}

// TestNoFaultOfTheFilter: a caller who goes away, a message that cannot be read or is too much for it.
func TestNoFaultOfTheFilter(t *testing.T) {
	t.Parallel()
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	for _, tc := range []struct {
		ctx context.Context
		err error
	}{
		{gone, context.Canceled}, {t.Context(), &storageError{io.ErrUnexpectedEOF}},
		{t.Context(), filter.ErrMessage}, {t.Context(), filter.ErrHeader},
	} {
		b := newBench(t, says(opinion{}, tc.err).filter("g", false))
		env := b.mail(t, letter)
		for range 10 {
			if f := b.Scan(tc.ctx, env); f.Refuse.Code != 451 {
				t.Errorf("%v: %+v", tc.err, f)
			}
		}
		if g := b.filters[0].gate; !g.until.IsZero() {
			t.Errorf("%v: it was taken for broken", tc.err)
		}
	}
}

// TestSlots: no more questions at once than the limit; who waits for a slot waits no longer than for an
// answer, and is told at once when the filter is given up.
func TestSlots(t *testing.T) {
	t.Parallel()
	var now, most atomic.Int32
	release := make(chan struct{})
	g := &given{fn: func(ctx context.Context, _ *mail) (opinion, error) {
		n := now.Add(1)
		for old := most.Load(); n > old && !most.CompareAndSwap(old, n); old = most.Load() {
		}
		defer now.Add(-1)
		select {
		case <-release:
			return opinion{}, nil
		case <-ctx.Done():
			return opinion{}, context.Cause(ctx)
		}
	}}
	b := newBench(t, g.filter("g", false))
	env := b.mail(t, letter)
	var wait sync.WaitGroup
	var refused atomic.Int32
	for range 50 {
		wait.Go(func() {
			if b.Scan(t.Context(), env).Refuse.Code == 451 {
				refused.Add(1)
			}
		})
	}
	// All fifty must wait, as the time of one that begins later is not over when the clock has moved.
	for n, armed := b.clock.Armed(); n < 50; n, armed = b.clock.Armed() {
		<-armed
	}
	b.late(g, 10, 30*time.Second)
	wait.Wait()
	if refused.Load() != 50 || most.Load() > 10 {
		t.Errorf("%d refused, %d at once", refused.Load(), most.Load())
	}
	close(release)
	b.clock.Advance(time.Minute)
	if f := b.Scan(t.Context(), env); f.Refuse.Code != 0 {
		t.Error(f.Refuse)
	}
}

// TestPanic: what a message does to a client does not end the house, and does not pass.
func TestPanic(t *testing.T) {
	t.Parallel()
	g := &given{fn: func(context.Context, *mail) (opinion, error) {
		var none []string
		return opinion{words: none[len(none)]}, nil
	}}
	b := newBench(t, g.filter("g", false))
	env := b.mail(t, letter)
	for range 12 { // more than there are slots
		if f := b.Scan(t.Context(), env); f.Refuse.Code != 451 {
			t.Errorf("%+v", f)
		}
	}
}

// TestViruses asks a small clamd about messages: plain, encoded, too large, and with the policies.
func TestViruses(t *testing.T) {
	t.Parallel()
	const eicar = "EICAR" // what the small clamd knows
	for name, tc := range map[string]struct {
		text string
		c    Clamd
		code int
		sign string
	}{
		"clean":           {text: letter},
		"plain":           {text: letter + eicar, code: 550},
		"header":          {text: "Subject: " + eicar + "\r\n\r\n", code: 550},
		"too large":       {text: letter + strings.Repeat("x", 200_000), c: Clamd{RefuseUnscannable: true}, code: 550},
		"too large, sign": {text: letter + strings.Repeat("x", 200_000), sign: SignUnscannable},
	} {
		tc.c.Address = filtertest.ServeUnix(t, filtertest.Clamd(100_000)).Name
		b := newBench(t, tc.c.Filter())
		f := b.Scan(t.Context(), b.mail(t, tc.text))
		if f.Refuse.Code != tc.code || (f.Virus != "") != strings.Contains(tc.text, eicar) {
			t.Errorf("%s: %+v", name, f)
		}
		if tc.sign == "" && len(f.Signs) == 0 {
			continue
		}
		if tc.sign != "" && (len(f.Signs) != 1 || f.Signs[0].Name != tc.sign || f.Signs[0].Score <= 0) {
			t.Errorf("%s: %+v", name, f.Signs)
		}
		b.Greet(t.Context())
		if !strings.Contains(b.log.String(), "ClamAV 1.4.6") {
			t.Errorf("log %s", b.log)
		}
	}
}

// TestSlowMessages: a clamd that answers, and takes too long for all readings of some messages, is not left
// alone for that: else whoever sends a few of them keeps everybody's mail away.
func TestSlowMessages(t *testing.T) {
	t.Parallel()
	stuck := make(chan struct{}, 1)
	a := filtertest.Serve(t, func(c net.Conn) {
		in := bufio.NewReader(c)
		for _, want := range []string{"zIDSESSION\x00", "zINSTREAM\x00"} {
			if got, err := in.ReadString(0); err != nil || got != want {
				return
			}
		}
		if _, ok := filtertest.ReadStream(in, 1<<20); !ok {
			return
		}
		_, _ = io.WriteString(c, "1: stream: OK\x00")
		if _, err := in.ReadString(0); err != nil {
			return
		}
		stuck <- struct{}{}
		_, _ = io.Copy(io.Discard, in)
	})
	b := newBench(t, Clamd{Address: a.Name}.Filter())
	env := b.mail(t, letter)
	for range 6 {
		go func() {
			<-stuck
			b.clock.Advance(30 * time.Second)
		}()
		if f := b.Scan(t.Context(), env); f.Refuse.Code != 451 {
			t.Errorf("%+v", f)
		}
	}
	if g := b.filters[0].gate; g.failures != 0 || !g.until.IsZero() {
		t.Errorf("%d failures", g.failures)
	}
}

// TestFaults is O15 over a real connection: whatever clamd does, the answer is "try again".
func TestFaults(t *testing.T) {
	t.Parallel()
	for _, fault := range filtertest.Faults("1: stream: OK\x00") {
		t.Run(fault.Name, func(t *testing.T) {
			t.Parallel()
			began := make(chan struct{}, 10)
			a := filtertest.Serve(t, func(c net.Conn) {
				began <- struct{}{}
				fault.Handle(c)
			})
			b := newBench(t, Clamd{Address: a.Name}.Filter())
			env := b.mail(t, letter+strings.Repeat("x", 1<<20))
			if fault.Hangs {
				go func() {
					<-began
					b.clock.Advance(30 * time.Second)
				}()
			}
			if f := b.Scan(t.Context(), env); f.Refuse.Code != 451 {
				t.Errorf("%+v", f)
			}
		})
	}
}

// TestSentences: every sign of this room is explained in both languages, also those that carry a foreign
// rule's name.
func TestSentences(t *testing.T) {
	t.Parallel()
	names := []string{"RSPAMD_OWN_RULE", "SPAMASSASSIN_GTUBE"}
	for _, e := range Table {
		names = append(names, e.Name)
	}
	for _, name := range names {
		en, vi := Sentence(name, "en"), Sentence(name, "vi")
		if en == "" || vi == "" || en == vi || strings.HasSuffix(en, ".") {
			t.Errorf("%s: %q, %q", name, en, vi)
		}
	}
	if s := Sentence("RSPAMD_OWN_RULE", "vi"); !strings.Contains(s, "rspamd") || !strings.HasSuffix(s, "OWN_RULE") {
		t.Errorf("%q", s)
	}
	for _, name := range []string{"", "RSPAMD_", "LISTED", "CLAMAV"} {
		if s := Sentence(name, "en"); s != "" {
			t.Errorf("%s: %q", name, s)
		}
	}
}

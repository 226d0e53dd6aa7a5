package trace

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	dto "github.com/prometheus/client_model/go"

	"tram/internal/clock"
	"tram/internal/kv"
	"tram/internal/kv/memkv"
)

var start = time.Date(2026, 3, 1, 23, 59, 0, 0, time.UTC)

// watched is a database whose Stage can be seen and made to fail.
type watched struct {
	kv.Database
	staged chan int
	fail   error
}

func (w *watched) Stage(ctx context.Context, pairs ...kv.Pair) error {
	err := w.fail
	if err == nil {
		err = w.Database.Stage(ctx, pairs...)
	}
	if w.staged != nil {
		w.staged <- len(pairs)
	}
	return err
}

func open(t *testing.T, o Options) (*Log, *clock.Fake) {
	t.Helper()
	fake := clock.NewFake(start)
	if o.DB == nil {
		o.DB = memkv.New()
	}
	o.Clock = fake
	l := Open(o)
	t.Cleanup(func() { l.Close() })
	return l, fake
}

func find(t *testing.T, l *Log, query string, limit int) []string {
	t.Helper()
	events, err := l.Find(t.Context(), query, limit)
	if err != nil {
		t.Fatal(err)
	}
	got := make([]string, len(events))
	for i, e := range events {
		got[i] = e.ID + " " + e.Step
	}
	return got
}

func TestNilLogDoesNothing(t *testing.T) {
	t.Parallel()
	var l *Log
	l.Add(Event{})
	events, err := l.Find(t.Context(), "x", 1)
	if events != nil || err != nil || l.Flush(t.Context()) != nil || l.Prune(t.Context()) != nil || l.Close() != nil {
		t.Error("a nil Log does something")
	}
}

func TestEventsComeBackWhole(t *testing.T) {
	t.Parallel()
	l, _ := open(t, Options{})
	want := []Event{
		{Time: start, ID: "t1", Step: "received", MessageID: "<a@b>", From: "A@x", To: "b@y",
			Remote: "192.0.2.1", Result: "accepted", Code: 250, Detail: "chào"},
		{Time: start.Add(time.Nanosecond), ID: "t1", Step: "filed", From: "A@x", To: "b@y"},
		{Time: start.Add(2 * time.Nanosecond), ID: "t1", Step: "filed", Detail: "again", Code: 1},
	}
	for _, e := range want {
		l.Add(e)
	}
	got, err := l.Find(t.Context(), "t1", 0)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestFind(t *testing.T) {
	t.Parallel()
	l, fake := open(t, Options{})
	l.Add(Event{ID: "one", Step: "connected"})
	l.Add(Event{ID: "one", Step: "received", MessageID: "<M1@x>", From: "Anna@x.example", To: "bob@y.example"})
	if err := l.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	fake.Advance(2 * time.Minute) // into the next day
	l.Add(Event{ID: "two", Step: "received", MessageID: "M2@x", From: "<>", To: "anna@x.example"})
	l.Add(Event{ID: "one", Step: "bounced", To: "eve@z.example"})
	l.Add(Event{Step: "refused", From: "mallory@z.example"})
	l.Add(Event{Step: "refused again", From: "mallory@z.example"})
	for query, want := range map[string][]string{
		"M1@x":            {"one connected", "one received", "one bounced"},
		"<M1@x>":          {"one connected", "one received", "one bounced"},
		"<m1@x>":          {},
		"one":             {"one connected", "one received", "one bounced"},
		"BOB@y.example":   {"one connected", "one received", "one bounced"},
		"<bob@y.example>": {"one connected", "one received", "one bounced"},
		"eve@z.example":   {"one connected", "one received", "one bounced"},
		"anna@x.example":  {"one connected", "one received", "two received", "one bounced"},
		"<M2@x>":          {"two received"},
		"<>":              {},
		"":                {},
		"none":            {},
	} {
		if diff := cmp.Diff(want, find(t, l, query, 0), cmp.Transformer("", func(s []string) string {
			return strings.Join(s, ", ")
		})); diff != "" {
			t.Errorf("Find(%q): %s", query, diff)
		}
	}
	if got := find(t, l, "mallory@z.example", 0); len(got) != 2 || got[0][:len(got[0])-8] == got[1][:len(got[1])-14] {
		t.Errorf("events without a trail: %q", got)
	}
}

// TestFindPrefersTheNewest proves the limit cuts old trails, not new ones.
func TestFindPrefersTheNewest(t *testing.T) {
	t.Parallel()
	l, fake := open(t, Options{})
	for i := range 50 {
		fake.Advance(time.Second)
		l.Add(Event{ID: fmt.Sprint(i), Step: "received", To: "bob@y.example"})
		if i%7 == 0 {
			if err := l.Flush(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	want := []string{"47 received", "48 received", "49 received"}
	if diff := cmp.Diff(want, find(t, l, "bob@y.example", 3)); diff != "" {
		t.Error(diff)
	}
}

func TestPruneRemovesWholeDays(t *testing.T) {
	t.Parallel()
	db := memkv.New()
	l, fake := open(t, Options{DB: db, Retention: 48 * time.Hour})
	for i := range 5 {
		l.Add(Event{ID: fmt.Sprint("day", i), Step: "received", To: "bob@y.example"})
		if err := l.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		fake.Advance(24 * time.Hour)
	}
	if err := l.Prune(t.Context()); err != nil {
		t.Fatal(err)
	}
	want := []string{"day3 received", "day4 received"}
	if diff := cmp.Diff(want, find(t, l, "bob@y.example", 0)); diff != "" {
		t.Error(diff)
	}
	fake.Advance(1000 * time.Hour)
	if err := l.Prune(t.Context()); err != nil {
		t.Fatal(err)
	}
	err := db.View(t.Context(), scope, func(r kv.Reader) error {
		return r.Scan(kv.Range{}, func(key, _ []byte) error {
			return fmt.Errorf("row %x is left", key)
		})
	})
	if err != nil {
		t.Error(err)
	}
}

func TestWritesBehind(t *testing.T) {
	t.Parallel()
	db := &watched{Database: memkv.New(), staged: make(chan int)}
	fake := clock.NewFake(start)
	l := Open(Options{DB: db, Clock: fake})
	_, armed := fake.Armed()
	l.Add(Event{ID: "a", Step: "x"})
	<-armed
	fake.Advance(batchDelay - 1)
	select {
	case <-db.staged:
		t.Fatal("written before its time")
	default:
	}
	fake.Advance(1)
	if n := <-db.staged; n != 1 {
		t.Errorf("%d pairs staged for an event with no names", n)
	}
	for range batchEvents { // a full batch does not wait for the clock
		l.Add(Event{ID: "a", Step: "x", To: "b@c", From: "d@e", MessageID: "f@g"})
	}
	if n := <-db.staged; n != 4 {
		t.Errorf("%d pairs staged for one trail's batch, want its row and three index rows", n)
	}
	l.Add(Event{ID: "b", Step: "last"})
	closed := make(chan error)
	go func() { closed <- l.Close() }()
	<-db.staged
	if err := <-closed; err != nil {
		t.Error(err)
	}
}

// TestOverflowDropsTheOldest and counts what it dropped: the metric is of the process, so this test
// and the next do not run beside others.
func TestOverflowDropsTheOldest(t *testing.T) {
	l, _ := open(t, Options{Buffer: 3})
	before := dropped(t)
	l.writing.Lock() // storage is slow
	for i := range 5 {
		l.Add(Event{ID: "t", Step: fmt.Sprint(i)})
	}
	l.writing.Unlock()
	if diff := cmp.Diff([]string{"t 2", "t 3", "t 4"}, find(t, l, "t", 0)); diff != "" {
		t.Error(diff)
	}
	if n := dropped(t) - before; n != 2 {
		t.Errorf("%v counted as dropped", n)
	}
}

func dropped(t *testing.T) float64 {
	t.Helper()
	var m dto.Metric
	if err := eventsDropped.Write(&m); err != nil {
		t.Fatal(err)
	}
	return m.GetCounter().GetValue()
}

func TestRefusedEventsAreCounted(t *testing.T) {
	disk := errors.New("disk")
	db := &watched{Database: memkv.New(), fail: disk}
	l, _ := open(t, Options{DB: db})
	before := dropped(t)
	l.Add(Event{ID: "t"})
	l.Add(Event{ID: "t"})
	if err := l.Flush(t.Context()); !errors.Is(err, disk) {
		t.Errorf("Flush = %v", err)
	}
	if n := dropped(t) - before; n != 2 {
		t.Errorf("%v counted", n)
	}
	db.fail = nil
	if got := find(t, l, "t", 0); len(got) != 0 {
		t.Errorf("refused events came back: %q", got)
	}
}

func TestLongFieldsAreCut(t *testing.T) {
	t.Parallel()
	l, _ := open(t, Options{})
	l.Add(Event{ID: "t", To: strings.Repeat("ắ", 5000), Detail: strings.Repeat("d", 5000)})
	events, err := l.Find(t.Context(), "t", 0)
	if err != nil || len(events) != 1 {
		t.Fatal(events, err)
	}
	if n := len(events[0].To); n > maxText || n < maxText-3 || strings.ContainsRune(events[0].To, 0xfffd) {
		t.Errorf("address of %d bytes: %q", n, events[0].To[n-4:])
	}
	if len(events[0].Detail) != maxText {
		t.Errorf("detail of %d bytes", len(events[0].Detail))
	}
}

func FuzzDecodeRow(f *testing.F) {
	g := group{value: []byte{version}}
	g.add(&Event{Time: start, Step: "a", Code: 250, Detail: "d"})
	g.add(&Event{Time: start, Step: "a", To: "x@y"})
	f.Add(g.value)
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		events, err := decodeRow(nil, "t", b)
		if err != nil {
			if !errors.Is(err, kv.ErrCorrupt) {
				t.Errorf("error %v is not ErrCorrupt", err)
			}
			return
		}
		again := group{value: []byte{version}}
		for i := range events {
			again.add(&events[i])
		}
		same, err := decodeRow(nil, "t", again.value)
		for i := range events { // writing cuts what is too long
			for _, s := range events[i].fields() {
				*s = clip(*s)
			}
		}
		if diff := cmp.Diff(events, same); diff != "" || err != nil {
			t.Errorf("%v %s", err, diff)
		}
	})
}

// BenchmarkAdd measures what a room on the hot path pays: at most 1 µs, and no allocation.
func BenchmarkAdd(b *testing.B) {
	l := Open(Options{DB: memkv.New(), Buffer: 1 << 16})
	defer l.Close()
	e := Event{ID: "trail", Step: "received", MessageID: "<a@b>", From: "a@b", To: "c@d", Code: 250}
	b.ReportAllocs()
	for b.Loop() {
		l.Add(e)
	}
}

func BenchmarkEncode(b *testing.B) {
	l := Open(Options{DB: memkv.New()})
	defer l.Close()
	batch := make([]Event, batchEvents)
	for i := range batch {
		batch[i] = Event{Time: start, ID: fmt.Sprint("trail", i/3), Step: "received", MessageID: "<a@b>", From: "a@b",
			To: "c@d", Code: 250, Remote: "192.0.2.1:2525", Detail: "250 2.0.0 accepted"}
	}
	b.ReportAllocs()
	for b.Loop() {
		l.encode(batch)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*batchEvents), "ns/event")
}

package unpack

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"

	"tram/internal/limits"
)

func pool(t *testing.T, mode string, l limits.Content) *Pool {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := NewPool(PoolOptions{Command: []string{self, mode}, Limits: l})
	t.Cleanup(func() { _ = p.Close() })
	return p
}

// TestChildSaysTheSame: what a child finds is what File finds, by one process for all files.
func TestChildSaysTheSame(t *testing.T) {
	t.Parallel()
	p := pool(t, "decode", limits.Content{})
	b := zipped(t, "a.txt", "hello", "b.zip", string(zipped(t, "run.exe", "MZ\x90\x00")))
	want := open(t, "a.zip", b)
	for range 3 {
		got, err := p.Unpack(t.Context(), "a.zip", bytes.NewReader(b), int64(len(b)))
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Fatalf("%v\n%s", err, diff)
		}
	}
	if len(p.idle) != 1 || p.idle[0].files != 3 {
		t.Errorf("%d children", len(p.idle))
	}
}

// TestParentSurvives: hostile files, several at a time, end in an answer (P12).
func TestParentSurvives(t *testing.T) {
	t.Parallel()
	l := limits.Default().Content
	l.Unpacked = 64 << 20
	p := pool(t, "decode", l)
	var wg sync.WaitGroup
	for _, c := range bombs(t) {
		wg.Go(func() {
			r, err := p.Unpack(t.Context(), c.name, bytes.NewReader(c.b), int64(len(c.b)))
			all := r.Marks
			for _, e := range r.Entries {
				all |= e.Marks
			}
			if err != nil || r.Trouble == "" && !all.Has(Damaged) {
				t.Errorf("%s: %v, trouble %q", c.name, err, r.Trouble)
			}
		})
	}
	wg.Wait()
	b := zipped(t, "a.txt", "hello")
	if r, err := p.Unpack(t.Context(), "a.zip", bytes.NewReader(b), int64(len(b))); err != nil || len(r.Entries) != 1 {
		t.Errorf("after them: %+v, %v", r, err)
	}
}

// TestChildIsKilledOnTime: a child that does not answer is ended and not used again.
func TestChildIsKilledOnTime(t *testing.T) {
	t.Parallel()
	l := limits.Default().Content
	l.DecodeTime = 100 * time.Millisecond
	p := pool(t, "decode-hang", l)
	r, err := p.Unpack(t.Context(), "x", strings.NewReader("x"), 1)
	if err != nil || r.Trouble != "it took too long" || len(p.idle) != 0 {
		t.Errorf("%+v, %v", r, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := p.Unpack(ctx, "x", strings.NewReader("x"), 1); !errors.Is(err, context.Canceled) {
		t.Errorf("a canceled look answers %v", err)
	}
}

func TestPoolTellsWhoseFaultItIs(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken disk")
	p := pool(t, "decode", limits.Content{})
	if _, err := p.Unpack(t.Context(), "x", iotest.ErrReader(broken), 10); !errors.Is(err, broken) {
		t.Errorf("a reader's error is %v", err)
	}
	if r, err := p.Unpack(t.Context(), "x", nil, 1<<40); err != nil || r.Trouble == "" {
		t.Errorf("a file beyond the limit: %+v, %v", r, err)
	}
	none := NewPool(PoolOptions{Command: []string{"/nonexistent"}})
	if _, err := none.Unpack(t.Context(), "x", strings.NewReader("x"), 1); err == nil && children {
		t.Error("a program that is not there answers")
	}
	_ = p.Close()
	if _, err := p.Unpack(t.Context(), "x", strings.NewReader("x"), 1); !errors.Is(err, errClosed) && children {
		t.Errorf("a closed pool answers %v", err)
	}
}

// TestConfinement: a child opens no file, makes no connection, and dies of memory and time alone.
func TestConfinement(t *testing.T) {
	t.Parallel()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if !children {
		return
	}
	out, err := exec.Command(self, "decode-probe").Output()
	if err != nil || string(out) != "true true true true\n" {
		t.Errorf("confined, no file, no socket, no new file: %s, %v", out, err)
	}
	for _, mode := range []string{"decode-greedy", "decode-spin"} {
		out, err := exec.CommandContext(t.Context(), self, mode).Output()
		var exit *exec.ExitError
		if !errors.As(err, &exit) || len(out) > 0 {
			t.Errorf("%s: %v, %s", mode, err, out)
		}
	}
}

// TestAnswersAreChecked: a child that is no longer itself cannot make the parent believe or keep more than
// the limits allow.
func TestAnswersAreChecked(t *testing.T) {
	t.Parallel()
	l := limits.Default().Content
	l.Entries, l.Text = 2, 10
	p := NewPool(PoolOptions{Limits: l})
	r := p.checked(Result{
		Type: "a\nb", Trouble: strings.Repeat("x", 999), Text: strings.Repeat("x", 999),
		Entries: make([]Entry, 5),
	})
	if r.Type != "a b" || len(r.Trouble) != 200 || len(r.Text) != 30 || len(r.Entries) != 2 {
		t.Errorf("%+v", r)
	}
	for _, frame := range []string{"", "\xff\xff\xff\xff", "\x00\x00\x00\x02{", "\x00\x00\x00\x02[]"} {
		if err := readFrame(strings.NewReader(frame), 100, &Result{}); err == nil {
			t.Errorf("the frame %q is read", frame)
		}
	}
}

package clock

import (
	"context"
	"testing"
	"time"
)

func TestFakeFiresInOrderAndOnce(t *testing.T) {
	t.Parallel()
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	f := NewFake(start)
	late, early := f.NewTimer(2*time.Hour), f.NewTimer(time.Hour)
	f.Advance(30 * time.Minute)
	select {
	case <-early.C():
		t.Fatal("fired before it was due")
	default:
	}
	f.Advance(30 * time.Minute)
	if got := <-early.C(); !got.Equal(start.Add(time.Hour)) {
		t.Errorf("fired at %v", got)
	}
	if early.Stop() {
		t.Error("a timer that fired was still armed")
	}
	if !late.Stop() {
		t.Error("a waiting timer was not armed")
	}
	f.Advance(24 * time.Hour)
	select {
	case <-late.C():
		t.Error("a stopped timer fired")
	default:
	}
}

func TestSleepEndsWithContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := Sleep(ctx, NewFake(time.Unix(0, 0)), time.Hour); err != context.Canceled {
		t.Errorf("Sleep = %v", err)
	}
}

func TestSleepWaitsForTheClock(t *testing.T) {
	t.Parallel()
	f := NewFake(time.Unix(0, 0))
	_, armed := f.Armed()
	done := make(chan error, 1)
	go func() { done <- Sleep(context.Background(), f, time.Minute) }()
	<-armed
	f.Advance(time.Minute)
	if err := <-done; err != nil {
		t.Error(err)
	}
}

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

// TestAfterFunc: what is stopped in time is not called; what is not is called once for each arming.
func TestAfterFunc(t *testing.T) {
	t.Parallel()
	f := NewFake(time.Unix(0, 0))
	called := make(chan string, 4)
	stopped := f.AfterFunc(time.Second, func() { called <- "stopped" })
	kept := f.AfterFunc(time.Second, func() { called <- "kept" })
	if !stopped.Stop() {
		t.Error("was not armed")
	}
	for range 2 {
		f.Advance(time.Second)
		if got := <-called; got != "kept" {
			t.Errorf("%s was called", got)
		}
		if n, _ := f.Armed(); n != 0 {
			t.Errorf("%d timers are armed", n)
		}
		kept.Reset(time.Second)
	}
	kept.Stop()
	f.Advance(time.Minute)
	now := System.AfterFunc(0, func() { called <- "system" })
	if got := <-called; got != "system" || now.Stop() {
		t.Errorf("%s was called, or the system's timer still runs", got)
	}
}

package server

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"tram/internal/clock"
)

// TestJobsComeBack at their times, and after a failure.
func TestJobsComeBack(t *testing.T) {
	t.Parallel()
	fake := clock.NewFake(time.Unix(1e9, 0))
	var log bytes.Buffer
	s := &Server{o: Options{Clock: fake, Logger: slog.New(slog.NewTextHandler(&log, nil))}}
	ran := make(chan time.Time)
	j := job{"chore", time.Minute, time.Hour, func(*Server, context.Context) error {
		ran <- fake.Now()
		return errors.New("disk on fire")
	}}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	_, armed := fake.Armed()
	go func() { ended <- s.repeat(ctx, j) }()
	for _, wait := range []time.Duration{time.Minute, time.Hour, time.Hour} {
		<-armed
		_, armed = fake.Armed()
		fake.Advance(wait - 1)
		select {
		case at := <-ran:
			t.Fatalf("ran before its time, at %v", at)
		default:
		}
		due := fake.Now().Add(1)
		fake.Advance(1)
		if at := <-ran; !at.Equal(due) {
			t.Errorf("ran at %v, due %v", at, due)
		}
	}
	<-armed
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("ended with %v", err)
	}
	if n := strings.Count(log.String(), "disk on fire"); n != 3 {
		t.Errorf("%d failures logged of 3", n)
	}
}

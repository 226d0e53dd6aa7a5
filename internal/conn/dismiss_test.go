package conn

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"tram/internal/clock"
)

// TestDismiss: a session that waits can say goodbye, and one that is stuck is cut off after the grace
// and not before.
func TestDismiss(t *testing.T) {
	t.Parallel()
	fake := clock.NewFake(time.Now())
	var log bytes.Buffer
	stuck, ended := make(chan struct{}), make(chan struct{})
	_, addr := start(t, Options{
		Logger: slog.New(slog.NewTextHandler(&log, nil)),
		Handler: func(ctx context.Context, c *Conn) {
			ctx, cancel := context.WithCancel(ctx)
			defer cancel()
			gone := make(chan struct{})
			go func() {
				c.Dismiss(ctx, fake, time.Minute)
				close(gone)
			}()
			if err := c.Wait(); err != ErrInterrupted {
				t.Errorf("the wait ended with %v", err)
			}
			c.WriteString("goodbye\r\n")
			if c.Flush() != nil {
				t.Error("it was cut off at once")
			}
			close(stuck)
			<-gone // a command that does not end
			if _, err := c.Write(make([]byte, directWrite)); err == nil {
				t.Error("it was not cut off")
			}
			c.LogEnd("pop3", "ann@example.test", "revoked", 1500*time.Millisecond)
			close(ended)
		},
	})
	c := dial(t, addr)
	c.want("goodbye")
	<-stuck
	for n, more := fake.Armed(); n == 0; n, more = fake.Armed() {
		<-more
	}
	fake.Advance(time.Minute)
	c.wantEnd()
	<-ended
	if got := log.String(); !strings.Contains(got, "pop3 session ended") || !strings.Contains(got, "duration=1.5s") ||
		!strings.Contains(got, "account=ann@example.test reason=revoked") {
		t.Error(got)
	}
}

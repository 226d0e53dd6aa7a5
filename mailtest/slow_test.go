package mailtest

import (
	"io"
	"testing"
	"time"

	"tram/internal/config"
)

// TestSlowBytes is O1 in small: a client that sends a byte now and then, and never logs in, is sent
// away by a deadline that its bytes do not move. At each door one drips bytes of a line that never
// ends, and one whole commands.
func TestSlowBytes(t *testing.T) {
	t.Parallel()
	w := New(t)
	h := w.House("a.test", Options{Edit: func(c *config.Config) {
		withPOP3(c)
		l := &c.Limits
		l.IMAP.PreAuthIdle, l.POP3.PreAuthIdle = time.Second/2, time.Second/2
		l.IMAP.PreAuthCommands, l.POP3.PreAuthCommands = 1<<20, 1<<20
		l.IMAP.BadCommands, l.POP3.BadCommands = 1<<20, 1<<20
	}})
	for _, door := range []string{"imaps", "pop3s"} {
		for _, drip := range []string{"x", "a NOOP\r\n", "CAPA\r\n"} {
			t.Run(door+"/"+drip[:1], func(t *testing.T) {
				s := h.session(t, door)
				ended := make(chan error, 1)
				go func() {
					_, err := io.Copy(io.Discard, s.r)
					ended <- err
				}()
				next := time.NewTicker(20 * time.Millisecond)
				defer next.Stop()
				for {
					select {
					case <-next.C:
						// The end may be noticed here first; that is what is waited for.
						_, _ = io.WriteString(s, drip)
					case err := <-ended:
						if ne, late := err.(interface{ Timeout() bool }); late && ne.Timeout() {
							t.Error("a client that drips was kept to the end of the test's patience")
						}
						return
					}
				}
			})
		}
	}
}

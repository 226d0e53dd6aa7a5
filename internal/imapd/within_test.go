package imapd

import (
	"strings"
	"testing"
	"time"

	"tram/internal/clock"
)

// enter logs in and selects INBOX.
func (h *house) enter() *wire {
	h.t.Helper()
	w := h.loggedIn()
	w.say(h.t, "y SELECT INBOX")
	w.want(h.t, "y OK")
	return w
}

// untagged runs a command and returns its untagged replies, a line each.
func (w *wire) untagged(t testing.TB, command string) string {
	t.Helper()
	w.say(t, "t %s", command)
	var b strings.Builder
	for {
		line, err := w.r.ReadString('\n')
		if err != nil || strings.HasPrefix(line, "t ") {
			if !strings.HasPrefix(line, "t OK") {
				t.Fatalf("%s: %q, %v", command, line, err)
			}
			return strings.TrimRight(b.String(), "\r\n")
		}
		b.WriteString(line)
	}
}

// RFC 5032 §2: to the second, and a message exactly so old is found by both keys.
func TestWithinIsExactToTheSecond(t *testing.T) {
	t.Parallel()
	// Messages 1 to 3 came at 15:00:01 to 15:00:03.
	c := clock.NewFake(time.Date(2026, 2, 7, 15, 1, 2, 999, time.UTC))
	h := build(t, options{clock: c})
	h.fill("INBOX", 1, 3)
	w := h.enter()
	for command, want := range map[string]string{
		"OLDER 60": "1:2", "YOUNGER 60": "2:3", "OLDER 62": "", "YOUNGER 62": "1:3",
		"OLDER 59 YOUNGER 59": "3", "NOT OLDER 60": "3", "OR OLDER 61 YOUNGER 59": "1,3",
	} {
		got := w.untagged(t, "SEARCH RETURN (ALL) "+command)
		if _, set, _ := strings.Cut(got, " ALL "); set != want {
			t.Errorf("%s: %q, want %q", command, got, want)
		}
	}
	c.Advance(time.Second) // the server's clock decides, anew for each command
	if got := w.untagged(t, "SEARCH RETURN (ALL) OLDER 60"); !strings.HasSuffix(got, " ALL 1:3") {
		t.Errorf("a second later: %q", got)
	}
}

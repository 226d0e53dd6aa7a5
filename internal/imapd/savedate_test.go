package imapd

import (
	"strings"
	"testing"
	"time"

	"tram/internal/clock"
)

// RFC 8514 §3: a message has the date at which it came into each mailbox, whatever its INTERNALDATE,
// and keeps it there for as long as it stays.
func TestSaveDateIsOfThePlace(t *testing.T) {
	t.Parallel()
	c := clock.NewFake(time.Date(2026, 3, 1, 23, 59, 58, 0, time.UTC))
	h := build(t, options{clock: c})
	h.fill("INBOX", 1, 2)
	w := h.enter()
	c.Advance(3 * time.Second) // the next day
	w.say(t, "a COPY 1 Trash")
	w.want(t, "a OK")
	c.Advance(24 * time.Hour)
	w.say(t, "b MOVE 2 Trash")
	w.want(t, "b OK")
	c.Advance(24 * time.Hour)
	w.say(t, "c STORE 1 +FLAGS.SILENT (\\Flagged)")
	w.want(t, "c OK")
	const first = `" 1-Mar-2026 23:59:58 +0000"`
	if got := w.untagged(t, "FETCH 1 SAVEDATE"); got != "* 1 FETCH (SAVEDATE "+first+")" {
		t.Errorf("where it was: %q", got)
	}
	w.say(t, "d SELECT Trash")
	w.want(t, "d OK")
	for i, want := range []string{`" 2-Mar-2026 00:00:01 +0000"`, `" 3-Mar-2026 00:00:01 +0000"`} {
		got := w.untagged(t, "FETCH "+string(rune('1'+i))+" SAVEDATE")
		if !strings.Contains(got, "SAVEDATE "+want) {
			t.Errorf("message %d in Trash: %q, want %q", i+1, got, want)
		}
	}
	for command, want := range map[string]string{
		"SAVEDON 2-Mar-2026": "1", "SAVEDON 1-Mar-2026": "", "SAVEDSINCE 2-Mar-2026": "1:2",
		"SAVEDBEFORE 3-Mar-2026": "1", "SAVEDSINCE 3-Mar-2026": "2", "SAVEDBEFORE 2-Mar-2026": "",
		"SAVEDATESUPPORTED": "1:2", "NOT SAVEDATESUPPORTED": "",
	} {
		got := w.untagged(t, "SEARCH RETURN (ALL) "+command)
		if _, set, _ := strings.Cut(got, " ALL "); set != want {
			t.Errorf("%s: %q, want %q", command, got, want)
		}
	}
}

// A message that another client expunges while it is asked for has no save date; the others have.
func TestSaveDateOfWhatIsGone(t *testing.T) {
	t.Parallel()
	h := build(t, options{})
	h.fill("INBOX", 1, 3)
	w, other := h.enter(), h.enter()
	other.say(t, "a STORE 2 +FLAGS.SILENT (\\Deleted)")
	other.want(t, "a OK")
	other.say(t, "b EXPUNGE")
	other.want(t, "b OK")
	w.say(t, "c FETCH 1:3 SAVEDATE\r\nd NOOP")
	for _, want := range []string{"* 1 FETCH (SAVEDATE ", "* 3 FETCH (SAVEDATE ", "c NO [EXPUNGEISSUED]"} {
		if line, err := w.r.ReadString('\n'); err != nil || !strings.HasPrefix(line, want) {
			t.Fatalf("got %q and %v, want %q", line, err, want)
		}
	}
}

package imapd

import (
	"strings"
	"testing"
)

// TestUIDOnlyRefusesNumbers is RFC 9586 §3 for every command that has a UID form: whatever is added to
// the table is refused without UID too, before its arguments are looked at.
func TestUIDOnlyRefusesNumbers(t *testing.T) {
	t.Parallel()
	h := build(t, options{})
	h.fill("INBOX", 1, 2)
	w := h.loggedIn()
	w.say(t, "a ENABLE UIDONLY")
	w.want(t, "a OK")
	w.say(t, "b SELECT INBOX")
	w.want(t, "b OK")
	w.say(t, "u UID FETCH 1 UID")
	w.want(t, "u OK")
	refused := 0
	for name := range uidCommands {
		w.say(t, "n NOOP") // too many bad commands in a row would end the session
		w.want(t, "n OK")
		w.say(t, "c %s 1 (x)", name)
		got := w.want(t, "c ")
		if strings.HasPrefix(got, "c BAD [UIDREQUIRED] ") {
			refused++
		} else if name != "EXPUNGE" && name != "ESEARCH" {
			t.Errorf("%s with a message number: %q", name, got)
		}
	}
	if refused < 8 {
		t.Errorf("only %d commands were refused", refused)
	}
	// What was enabled once stays, also in another mailbox, and is told again when asked for again.
	w.say(t, "d SELECT Trash")
	w.want(t, "d OK")
	w.say(t, "e FETCH 1 FLAGS")
	w.want(t, "e BAD [UIDREQUIRED]")
	w.say(t, "f ENABLE UIDONLY")
	w.want(t, "* ENABLED UIDONLY")
	w.want(t, "f OK")
}

package imapd

import (
	"testing"

	"tram/internal/limits"
)

// TestSubscriptionsAreBounded: names without a mailbox can be subscribed to (RFC 9051 §6.3.7), but not
// without end.
func TestSubscriptionsAreBounded(t *testing.T) {
	t.Parallel()
	storage := limits.Default().Storage
	storage.Mailboxes = 12
	h := build(t, options{storage: storage})
	w := h.loggedIn()
	names := []string{"a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m"}
	refused := 0
	for _, name := range names {
		w.say(t, "s SUBSCRIBE none/%s", name)
		switch got := w.want(t, "s "); got {
		case "s OK SUBSCRIBE completed":
			if refused > 0 {
				t.Errorf("%s after a refusal", got)
			}
		case "s NO [LIMIT] Too many subscriptions, remove some of mailboxes that are no more":
			refused++
		default:
			t.Error(got)
		}
	}
	if refused == 0 || refused == len(names) {
		t.Errorf("%d of %d were refused", refused, len(names))
	}
	// What is subscribed to already can be again, and where one goes another may come.
	for _, command := range []string{"SUBSCRIBE none/a", "UNSUBSCRIBE none/a", "SUBSCRIBE none/m"} {
		w.say(t, "t %s", command)
		w.want(t, "t OK")
	}
	w.say(t, "u SUBSCRIBE none/a")
	w.want(t, "u NO [LIMIT]")
}

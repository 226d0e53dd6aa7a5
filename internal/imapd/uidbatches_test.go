package imapd

import (
	"testing"
)

// TestUIDBatches is RFC 10022: batches from the newest message down, of the size that was asked for,
// without gaps.
func TestUIDBatches(t *testing.T) {
	t.Parallel()
	h := build(t, options{})
	w := h.loggedIn()
	w.say(t, "a UIDBATCHES 500")
	w.want(t, "a BAD No mailbox is selected")
	w.say(t, "b SELECT INBOX")
	w.want(t, "b OK")
	ask := func(args, want, tagged string) {
		t.Helper()
		w.say(t, "c UIDBATCHES %s", args)
		if want != "" {
			if got := w.want(t, "* UIDBATCHES "); got != "* UIDBATCHES (TAG \"c\")"+want {
				t.Errorf("%s: got %q, want %q", args, got, want)
			}
		}
		if got := w.want(t, "c "); got != "c "+tagged {
			t.Errorf("%s: got %q", args, got)
		}
	}
	const ok = "OK UIDBATCHES completed"
	w.say(t, "e UIDBATCHES 500")
	if got := w.want(t, "* UIDB"); got != `* UIDBATCHES (TAG "e")` {
		t.Errorf("in an empty mailbox: %q", got)
	}
	h.fill("INBOX", 1, 1100)
	ask("500", " 1100:601,600:101,100:1", ok)
	ask("500 1:1", " 1100:601", ok)
	ask("500 2:3", " 600:101,100:1", ok)
	ask("500 3:200", " 100:1", ok)
	ask("4294967295", " 1100:1", ok)
	ask("1100", " 1100:1", ok)
	ask("1099", " 1100:2,1:1", ok)
	// Removals leave holes in the UIDs; the ranges cover them.
	c := h.client()
	do(t, c, "SELECT INBOX")
	do(t, c, "UID STORE 1:50,590:610,1100 +FLAGS.SILENT (\\Deleted)")
	do(t, c, "EXPUNGE")
	ask("500", " 1099:579,578:79,78:1", ok)
	w.say(t, "d UID SEARCH RETURN (SAVE COUNT) UID 579:1099")
	if got := w.want(t, "* ESEARCH"); got != `* ESEARCH (TAG "d") UID COUNT 500` {
		t.Errorf("first batch: %s", got)
	}
	w.say(t, "d UID SEARCH RETURN (COUNT) $")
	if got := w.want(t, "* ESEARCH"); got != `* ESEARCH (TAG "d") UID COUNT 500` {
		t.Errorf("the saved result was touched: %s", got)
	}
	w.want(t, "d OK")
	ask("499", "", "NO [TOOFEW] A batch has 500 messages or more")
	ask("500 1:201", "", "NO [TOOMANY] The batches would have more than 100000 messages")
	ask("4294967295 1:4294967295", "", "NO [TOOMANY] The batches would have more than 100000 messages")
	ask("500 20:10", "", "BAD [CLIENTBUG] The range of batches runs backwards")
	ask("0", "", "BAD Expected a number above 0 before the end of the command")
	ask("500 10", "", "BAD Expected ':' before the end of the command")
}

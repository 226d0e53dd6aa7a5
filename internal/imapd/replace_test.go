package imapd

import (
	"fmt"
	"io"
	"strings"
	"testing"

	"tram/internal/store"
)

// TestReplaceCutAtEveryByte is RFC 8508 §3.4: a REPLACE that does not arrive whole leaves the old
// message, and no other.
func TestReplaceCutAtEveryByte(t *testing.T) {
	t.Parallel()
	h := build(t, options{measure: true})
	h.fill("INBOX", 1, 1)
	command := "a UID REPLACE 1 INBOX (\\Seen) CATENATE (TEXT {9+}\r\nA: b\r\nC:  URL \"/INBOX/;UID=1\")\r\n"
	for cut := 1; cut < len(command)-1; cut += 2 {
		w := h.dialRaw(h.clear)
		w.say(t, "x LOGIN %s %s", testUser, testPassword)
		w.want(t, "x OK")
		w.say(t, "y SELECT INBOX")
		w.want(t, "y OK")
		if _, err := io.WriteString(w, command[:cut]); err != nil {
			t.Fatal(err)
		}
		if err := w.Conn.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		if got := w.wantEnd(t); strings.Contains(got, "a OK") {
			t.Fatalf("cut at %d: %q", cut, got)
		}
	}
	w := h.loggedIn()
	w.say(t, "b SELECT INBOX")
	w.want(t, "b OK")
	w.say(t, "c UID SEARCH ALL")
	if got := w.want(t, "* SEARCH"); got != "* SEARCH 1" {
		t.Errorf("after all: %q", got)
	}
	if _, err := io.WriteString(w, command); err != nil {
		t.Fatal(err)
	}
	w.want(t, "a OK")
	w.say(t, "d UID SEARCH ALL")
	if got := w.want(t, "* SEARCH"); got != "* SEARCH 2" {
		t.Errorf("after the whole command: %q", got)
	}
}

// TestReplaceInFullQuota is RFC 8508 §3.4: what counts against the quota is the difference.
func TestReplaceInFullQuota(t *testing.T) {
	t.Parallel()
	h := build(t, options{})
	h.fill("INBOX", 1, 2)
	size := len(mail(1))
	id := store.AccountID(h.alice.ID)
	quota := store.Quota{Bytes: int64(2 * size), Messages: 2}
	if err := h.store.SetQuota(t.Context(), id, quota); err != nil {
		t.Fatal(err)
	}
	w := h.loggedIn()
	w.say(t, "a SELECT INBOX")
	w.want(t, "a OK")
	w.say(t, "b APPEND INBOX {%d}", size)
	w.want(t, "b NO [OVERQUOTA]")
	w.say(t, "c UID REPLACE 1 INBOX {%d}", size+1) // refused before it is asked for
	w.want(t, "c NO [OVERQUOTA]")
	w.say(t, "d UID REPLACE 1 INBOX {%d+}\r\n%sx", size+1, mail(1)) // and after it came
	w.want(t, "d NO [OVERQUOTA]")
	w.say(t, "e UID REPLACE 1 INBOX {%d}", size)
	w.want(t, "+ ")
	w.say(t, "%s", mail(3))
	w.want(t, "* OK [APPENDUID ")
	w.want(t, "* 1 EXPUNGE")
	w.want(t, "e OK")
	w.say(t, "f UID SEARCH ALL")
	if got := w.want(t, "* SEARCH"); got != "* SEARCH 2 3" {
		t.Errorf("messages: %q", got)
	}
	// The old one can be had back.
	err := h.account().View(t.Context(), func(tx *store.Tx) error {
		r, err := tx.Recoverable()
		if err == nil && len(r) != 1 {
			err = fmt.Errorf("%d messages are recoverable", len(r))
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

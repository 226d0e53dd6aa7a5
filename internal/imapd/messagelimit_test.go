package imapd

import (
	"fmt"
	"strings"
	"testing"

	"tram/internal/limits"
)

// TestMessageLimitOfReaders is RFC 9738 §3.1 and §3.3 for the commands that read: they are cut at the
// highest UIDs, and reply from the highest down.
func TestMessageLimitOfReaders(t *testing.T) {
	t.Parallel()
	h := build(t, options{limits: func(l *limits.IMAP) { l.CommandMessages = 60 }})
	h.fill("INBOX", 1, 1400)
	w := h.loggedIn()
	ask := func(command string) (untagged []string, tagged string) {
		t.Helper()
		w.say(t, "c %s", command)
		for {
			line := w.want(t, "")
			if strings.HasPrefix(line, "c ") {
				return untagged, line
			}
			untagged = append(untagged, line)
		}
	}
	ask("SELECT INBOX")
	if _, got := ask("UID EXPUNGE 1:*"); got != "c OK EXPUNGE completed" {
		t.Error(got)
	}
	const limit, lowest = 600, 801
	done := fmt.Sprintf("c OK [MESSAGELIMIT %d %d] ", limit, lowest)
	// By UID and by number, from the list alone, with rows, and with \Seen.
	for _, fetch := range []string{
		"UID FETCH 1:* FLAGS", "FETCH 1:* (UID)", "FETCH 1:* (UID BODY.PEEK[HEADER.FIELDS (SUBJECT)])",
		"UID FETCH 100:1400 (RFC822.SIZE BODY[TEXT])", "UID FETCH 1:* (FLAGS) (CHANGEDSINCE 1)",
	} {
		got, tagged := ask(fetch)
		if !strings.HasPrefix(tagged, done) {
			t.Errorf("%s: %s", fetch, tagged)
		}
		n := 1400
		for _, line := range got {
			if strings.HasPrefix(line, fmt.Sprintf("* %d FETCH (", n)) {
				n--
			}
		}
		if n != lowest-1 {
			t.Errorf("%s: came down to %d", fetch, n)
		}
	}
	// Those below were neither fetched nor changed.
	if got, _ := ask("UID SEARCH RETURN (COUNT) UID 1:800 SEEN"); len(got) != 1 ||
		!strings.HasSuffix(got[0], " COUNT 0") {
		t.Errorf("seen without being fetched: %q", got)
	}
	if got, _ := ask("STATUS INBOX (UNSEEN)"); len(got) != 1 || got[0] != "* STATUS INBOX (UNSEEN 800)" {
		t.Errorf("STATUS has a limit: %q", got)
	}
	for command, want := range map[string]string{
		"UID FETCH 1:* (FLAGS) (PARTIAL -1:-601)":    "c NO [MESSAGELIMIT 600] ",
		"UID FETCH 1:* (FLAGS) (PARTIAL -1:-600)":    "c OK FETCH completed",
		"UID FETCH 1:600 (FLAGS)":                    "c OK FETCH completed",
		"SEARCH ALL":                                 done,
		"UID SEARCH UID 100:1400 UNSEEN":             done,
		"UID SEARCH (UID 100:1400 UNSEEN) SMALLER 1": done,
		"SEARCH RETURN (COUNT) 100:699":              "c OK SEARCH completed",
		"SEARCH RETURN (COUNT) UIDAFTER 800":         "c OK SEARCH completed",
		"SEARCH RETURN (COUNT) UIDBEFORE 602":        "c OK [MESSAGELIMIT 600 2] ",
		"UID SORT (SUBJECT) UTF-8 ALL":               "c NO [MESSAGELIMIT 600] ",
		"UID SORT (SUBJECT) UTF-8 UIDAFTER 1300":     "c OK SORT completed",
		"THREAD REFERENCES UTF-8 UNSEEN":             "c NO [MESSAGELIMIT 600] ",
		"THREAD REFERENCES UTF-8 UID 1:10":           "c OK THREAD completed",
	} {
		if _, got := ask(command); !strings.HasPrefix(got, want) {
			t.Errorf("%s: %s", command, got)
		}
	}
	// §3.4: what is saved is what was found in the part.
	if got, tagged := ask("UID SEARCH RETURN (SAVE COUNT) UID 1:*"); len(got) != 1 ||
		!strings.HasSuffix(got[0], " COUNT 600") || !strings.HasPrefix(tagged, done) {
		t.Errorf("saving: %q, %s", got, tagged)
	}
	if got, tagged := ask("UID FETCH $ UID"); len(got) != 600 || tagged != "c OK FETCH completed" {
		t.Errorf("%d saved, %s", len(got), tagged)
	}
	// A result that is not whole cannot be kept up to date.
	got, _ := ask("UID SEARCH RETURN (COUNT UPDATE) ALL")
	if len(got) != 2 || !strings.HasPrefix(got[1], `* NO [NOUPDATE "c"]`) {
		t.Errorf("with UPDATE: %q", got)
	}
	// EXPUNGEISSUED has the tagged reply, MESSAGELIMIT goes before it.
	other := h.client()
	do(t, other, "SELECT INBOX")
	do(t, other, "UID STORE 1300 +FLAGS.SILENT (\\Deleted)")
	do(t, other, "EXPUNGE")
	got, tagged := ask("FETCH 1:* FLAGS")
	if !strings.HasPrefix(tagged, "c NO [EXPUNGEISSUED]") || len(got) < 600 ||
		!strings.HasPrefix(got[len(got)-1], "* NO [MESSAGELIMIT 600 800] ") {
		t.Errorf("with a removal: %q, %s", got[len(got)-1], tagged)
	}
}

// TestExpungeOfNothing: a saved result without messages names none, not all.
func TestExpungeOfNothing(t *testing.T) {
	t.Parallel()
	h := build(t, options{})
	h.fill("INBOX", 1, 3)
	c := h.client()
	do(t, c, "SELECT INBOX")
	do(t, c, "UID STORE 1:3 +FLAGS.SILENT (\\Deleted)")
	do(t, c, "UID SEARCH RETURN (SAVE) FLAGGED")
	do(t, c, "UID EXPUNGE $")
	if r := do(t, c, "STATUS INBOX (MESSAGES)"); len(r.Data) != 1 {
		t.Fatal(r)
	}
	w := h.loggedIn()
	w.say(t, "a STATUS INBOX (MESSAGES)")
	if got := w.want(t, "* STATUS"); got != "* STATUS INBOX (MESSAGES 3)" {
		t.Errorf("after UID EXPUNGE of nothing: %s", got)
	}
}

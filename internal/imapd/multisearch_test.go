package imapd

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"tram/internal/limits"
)

// RFC 7377 §2.4: what is too much is refused before anything is searched.
func TestMultiSearchIsBounded(t *testing.T) {
	t.Parallel()
	h := build(t, options{limits: func(l *limits.IMAP) { l.SearchMailboxes = 3 }})
	w := h.enter()
	for command, want := range map[string]string{
		"ESEARCH IN (personal) ALL":                                       "NO [LIMIT]",
		"ESEARCH IN (mailboxes (INBOX Trash Sent) subtree Trash) ALL":     "OK",
		"ESEARCH IN (mailboxes (INBOX Trash Sent Drafts)) ALL":            "NO [LIMIT]",
		"ESEARCH IN (mailboxes (a" + strings.Repeat(" a", 499) + ")) 1":   "NO [LIMIT]",
		"ESEARCH IN (selected" + strings.Repeat(" selected", 600) + ") 1": "NO [LIMIT]",
	} {
		w.say(t, "a %s", command)
		if got := w.want(t, "a "); !strings.HasPrefix(got, "a "+want) {
			t.Errorf("%.60s: %q, want %s", command, got, want)
		}
	}
}

// TestMultiSearchTakesTime: it ends with the time of a search, and the session goes on.
func TestMultiSearchTakesTime(t *testing.T) {
	t.Parallel()
	h := build(t, options{limits: func(l *limits.IMAP) { l.SearchTime = time.Nanosecond }})
	h.fill("INBOX", 1, 3)
	w := h.enter()
	w.say(t, "a ESEARCH IN (personal) TEXT message")
	if got := w.want(t, "a "); !strings.HasPrefix(got, "a NO [LIMIT]") {
		t.Errorf("no time at all: %q", got)
	}
	w.say(t, "b NOOP")
	w.want(t, "b OK")
}

// TestMultiSearchOfADeletedMailbox: the session ends as with any other command (RFC 2180 §3.3).
func TestMultiSearchOfADeletedMailbox(t *testing.T) {
	t.Parallel()
	h := build(t, options{})
	w, other := h.loggedIn(), h.loggedIn()
	w.say(t, "a CREATE gone\r\nb SELECT gone")
	w.want(t, "b OK")
	other.say(t, "a DELETE gone")
	other.want(t, "a OK")
	w.say(t, "c ESEARCH IN (personal) ALL")
	if got := w.wantEnd(t); !strings.Contains(got, "* BYE") {
		t.Errorf("got %q", got)
	}
}

// TestMultiSearchEqualsSearch: in each mailbox ESEARCH finds what UID SEARCH finds there once it is
// selected.
func TestMultiSearchEqualsSearch(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 4))
	h := build(t, options{})
	names := []string{"INBOX", "Trash", "Sent", "one", "one/two"}
	w, other := h.enter(), h.enter()
	w.say(t, "x ENABLE IMAP4rev2\r\na CREATE one/two") // \Recent would depend on who looked before
	w.want(t, "a OK")
	next := 1
	for i, name := range names {
		h.fill(name, next, 5+i)
		next += 5 + i
		other.say(t, "a SELECT %s\r\nb STORE %d +FLAGS (\\Seen)\r\nc STORE %d +FLAGS (\\Deleted)\r\nd EXPUNGE",
			name, 1+rnd.IntN(5), 1+rnd.IntN(5))
		other.want(t, "d OK")
	}
	w.say(t, "b NOOP") // message numbers are those of both from here on
	w.want(t, "b OK")
	for range 30 {
		n := 1 + rnd.IntN(next)
		keys := []string{
			"UNSEEN", fmt.Sprintf("%d:*", 1+rnd.IntN(8)), "*", fmt.Sprintf("UID %d:%d", n, 1+rnd.IntN(4)),
			fmt.Sprintf("SUBJECT \"message %d\"", n), fmt.Sprintf("FUZZY FROM sendr%d", n),
			fmt.Sprintf("OR NOT SEEN BODY \"%d\"", n), "LARGER 170 2", "YOUNGER 4294967295", "SAVEDSINCE 1-Feb-2020",
		}[rnd.IntN(10)]
		got := map[string]string{}
		for _, line := range strings.Split(w.untagged(t, "ESEARCH IN (personal) "+keys), "\r\n") {
			if _, rest, ok := strings.Cut(line, " MAILBOX "); ok {
				name, rest, _ := strings.Cut(rest, " ")
				_, set, _ := strings.Cut(rest, " ALL ")
				got[name] = set
			}
		}
		for _, name := range names {
			other.say(t, "a SELECT %s\r\nb UID SEARCH RETURN (ALL) %s", name, keys)
			_, want, _ := strings.Cut(other.want(t, "* ESEARCH"), " ALL ")
			other.want(t, "b OK")
			if got[name] != want {
				t.Errorf("%s in %s: %q, selected %q", keys, name, got[name], want)
			}
			delete(got, name)
		}
		if left := slices.Collect(maps.Keys(got)); len(left) > 0 {
			t.Errorf("%s: also in %v", keys, left)
		}
	}
}

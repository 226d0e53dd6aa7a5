package imapd

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"tram/internal/limits"
	"tram/internal/store"
)

// loggedInAs connects and logs in as somebody.
func (h *house) loggedInAs(user string) *wire {
	h.t.Helper()
	w := h.dialRaw(h.tls)
	w.say(h.t, "x LOGIN %s %s", user, testPassword)
	w.want(h.t, "x OK")
	return w
}

// setAnnotation sets a private annotation of the server, whatever it is.
func setAnnotation(name, value string) func(tx *store.Tx) error {
	return func(tx *store.Tx) error {
		a, err := tx.Annotations(0)
		if err != nil {
			return err
		}
		return a.Set([]store.AnnotationChange{{Name: name, Value: []byte(value)}})
	}
}

// TestSharedMetadata: shared annotations of the server are those of the account's domain. Its
// administrators set them, everybody in it reads them, searches with them, and is told of changes;
// nobody else does (RFC 5464 §3.3 and §4.4, RFC 5466 §3.1).
func TestSharedMetadata(t *testing.T) {
	t.Parallel()
	h := build(t, options{twice: true})
	admin := h.person("boss@example.test")
	if err := h.dir.SetAdmin(context.Background(), admin.ID, true); err != nil {
		t.Fatal(err)
	}
	h.person("carol@other.test")
	boss, alice, carol := h.loggedInAs("boss@example.test"), h.loggedIn(), h.loggedInAs("carol@other.test")
	for _, w := range []*wire{boss, alice, carol} {
		w.say(t, "a ENABLE METADATA")
		w.want(t, "a OK")
	}
	alice.say(t, `b SETMETADATA "" (/shared/comment "x")`)
	alice.want(t, "b NO [NOPERM]")
	boss.say(t, `b SETMETADATA "" (/shared/admin "mailto:boss@example.test")`)
	boss.want(t, "b NO [NOPERM]")
	boss.say(t, `c SETMETADATA "" (/shared/comment "of us all" /shared/filters/values/new "UNSEEN UID 1")`)
	boss.want(t, "c OK")
	if got := boss.untagged(t, "NOOP"); got != "" {
		t.Errorf("told of its own change: %s", got)
	}
	for w, told := range map[*wire]bool{alice: true, carol: false} {
		got := w.untagged(t, "NOOP")
		if strings.Contains(got, `* METADATA "" /shared/comment /shared/filters/values/new`) != told {
			t.Errorf("told %t: %q", told, got)
		}
		got = w.untagged(t, `GETMETADATA "" /shared/comment`)
		if strings.Contains(got, `(/shared/comment "of us all")`) != told {
			t.Errorf("reads it %t: %q", told, got)
		}
		w.say(t, "g SELECT INBOX")
		w.want(t, "g OK")
		w.say(t, "h SEARCH FILTER new")
		w.want(t, map[bool]string{true: "h OK", false: "h NO [UNDEFINED-FILTER new]"}[told])
	}
	// One's own stands before the shared one.
	alice.say(t, `i SETMETADATA "" (/private/filters/values/new "OLD FILTER old")`)
	alice.want(t, "i OK")
	alice.say(t, "j SEARCH FILTER new")
	alice.want(t, "j NO [UNDEFINED-FILTER old]")
	boss.say(t, `k SETMETADATA "" (/shared/comment NIL /shared/filters/values/new NIL)`)
	boss.want(t, "k OK")
	if got := alice.untagged(t, "NOOP"); !strings.Contains(got, `* METADATA "" /shared/comment /shared/filters/values/new`) {
		t.Errorf("told of what was removed: %q", got)
	}
}

// TestMetadataLimits: each limit has its response code, and nothing is set with it (RFC 5464 §4.3).
func TestMetadataLimits(t *testing.T) {
	t.Parallel()
	storage := limits.Default().Storage
	storage.MetadataEntries, storage.MetadataValue, storage.MetadataBytes = 10, 1024, 8000
	h := build(t, options{storage: storage})
	w := h.loggedIn()
	// The literal is refused before it is asked for, or dropped when it comes unasked.
	w.say(t, "a SETMETADATA INBOX (/private/comment {1025}")
	w.want(t, "a NO [METADATA MAXSIZE 1024]")
	w.say(t, "b SETMETADATA INBOX (/private/comment ~{1025+}\r\n%s)", strings.Repeat("b NOOP\r\n", 128)+"x")
	w.want(t, "b NO [METADATA MAXSIZE 1024]")
	w.say(t, `c SETMETADATA INBOX (/shared/comment "x" /private/comment "%s")`, strings.Repeat("x", 1025))
	w.want(t, "c NO [METADATA MAXSIZE 1024]")
	if got := w.untagged(t, "GETMETADATA INBOX (DEPTH infinity) (/private /shared)"); got != "" {
		t.Errorf("after refusals there is %q", got)
	}
	for n := range 10 {
		w.say(t, `e SETMETADATA INBOX (/private/vendor/x/%d "%s")`, n, strings.Repeat("x", 10))
		w.want(t, "e OK")
	}
	w.say(t, `f SETMETADATA INBOX (/private/comment "x")`)
	w.want(t, "f NO [METADATA TOOMANY]")
	w.say(t, `g SETMETADATA INBOX (/private/vendor/x/1 NIL /private/comment "x")`)
	w.want(t, "g OK")
	for n := range 6 {
		w.say(t, `h SETMETADATA "" (/private/vendor/x/%d "%s")`, n, strings.Repeat("x", 1000))
		w.want(t, "h OK")
	}
	w.say(t, `i SETMETADATA "" (/private/vendor/x/6 "%s")`, strings.Repeat("x", 1000))
	w.want(t, "i NO [OVERQUOTA]")
	w.say(t, `j LIST "" * RETURN (METADATA (/private/comment%s))`, strings.Repeat(" /private/comment", 32))
	w.want(t, "j BAD [LIMIT]")
	w.say(t, `k GETMETADATA "" /private/%s`, strings.Repeat("x", 600))
	w.want(t, "k BAD [LIMIT]")
}

// TestMetadataBytes: any bytes are a value, NUL among them as literal8 (RFC 5464 §5).
func TestMetadataBytes(t *testing.T) {
	t.Parallel()
	h := build(t, options{})
	w := h.loggedIn()
	w.say(t, "a SETMETADATA INBOX (/private/comment ~{6+}\r\na\x00\r\n\xff\" /shared/comment {4+}\r\nTr\xe1m)")
	w.want(t, "a OK")
	want := "* METADATA INBOX (/private/comment ~{6}\r\na\x00\r\n\xff\" /shared/comment {4}\r\nTr\xe1m)"
	if got := w.untagged(t, "GETMETADATA INBOX (/private/comment /shared/comment)"); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	w.say(t, "c SETMETADATA INBOX (/private/comment {1+}\r\n\x00)")
	w.want(t, "c BAD")
}

// TestFilterBombs: filters that name each other many times over end soon (RFC 5466 §5).
func TestFilterBombs(t *testing.T) {
	t.Parallel()
	h := build(t, options{})
	w := h.loggedIn()
	for n := range 9 {
		next := strings.TrimSpace(strings.Repeat(fmt.Sprintf("FILTER f%d ", n+1), 50))
		w.say(t, `a SETMETADATA "" (/private/filters/values/f%d "%s")`, n, next)
		w.want(t, "a OK")
	}
	w.say(t, `b SETMETADATA "" (/private/filters/values/f9 "ALL")`)
	w.want(t, "b OK")
	for n := range 12 { // a chain, which is cut at filterPasses
		w.say(t, `c SETMETADATA "" (/private/filters/values/c%d "FILTER c%d")`, n, n+1)
		w.want(t, "c OK")
	}
	w.say(t, `d SETMETADATA "" (/private/filters/values/c12 "ALL")`)
	w.want(t, "d OK")
	w.say(t, "e SELECT INBOX")
	w.want(t, "e OK")
	w.say(t, "f SEARCH FILTER f0")
	w.want(t, "f NO [LIMIT]")
	w.say(t, "g SEARCH FILTER c0")
	w.want(t, "g NO [UNDEFINED-FILTER c10]")
	w.say(t, "h SEARCH FILTER c3")
	w.want(t, "h OK")
	w.say(t, "i SEARCH RETURN (SAVE) ALL")
	w.want(t, "i OK")
	w.say(t, "j SORT RETURN (SAVE) (ARRIVAL) UTF-8 FILTER c0")
	w.want(t, "j NO [UNDEFINED-FILTER c10]")
	w.say(t, "k THREAD ORDEREDSUBJECT UTF-8 FILTER c3")
	w.want(t, "k OK")
}

// TestFilterUnusable: a filter that was kept by something else than SETMETADATA, or when a key was known
// that is known no more, fails the search that names it.
func TestFilterUnusable(t *testing.T) {
	t.Parallel()
	h := build(t, options{})
	err := h.account().Update(context.Background(), setAnnotation("/private/filters/values/odd", "XYZZY 3"))
	if err != nil {
		t.Fatal(err)
	}
	w := h.loggedIn()
	w.say(t, "a SELECT INBOX")
	w.want(t, "a OK")
	w.say(t, "b SEARCH FILTER odd")
	w.want(t, "b NO [CANNOT] The filter is not valid search criteria")
}

// TestMetadataRevoked: who is no administrator any more has no session left that is one.
func TestMetadataRevoked(t *testing.T) {
	t.Parallel()
	h := build(t, options{})
	ctx := context.Background()
	if err := h.dir.SetAdmin(ctx, h.alice.ID, true); err != nil {
		t.Fatal(err)
	}
	w := h.loggedIn()
	w.say(t, `a SETMETADATA "" (/shared/comment "x")`)
	w.want(t, "a OK")
	if err := h.dir.SetAdmin(ctx, h.alice.ID, false); err != nil {
		t.Fatal(err)
	}
	w.wantEnd(t)
	w = h.loggedIn()
	w.say(t, `b SETMETADATA "" (/shared/comment "y")`)
	w.want(t, "b NO [NOPERM]")
}

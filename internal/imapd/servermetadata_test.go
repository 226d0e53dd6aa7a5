package imapd

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"

	"tram/internal/kv"
	"tram/internal/limits"
)

// TestServerMetadataOfBothScopes is RFC 5464 §4.3: private and shared annotations of the server are set
// together, or none of them is, whichever cannot be set.
func TestServerMetadataOfBothScopes(t *testing.T) {
	t.Parallel()
	storage := limits.Default().Storage
	storage.MetadataEntries = 3
	h := build(t, options{storage: storage, twice: true})
	admin := h.person("boss@example.test")
	if err := h.dir.SetAdmin(context.Background(), admin.ID, true); err != nil {
		t.Fatal(err)
	}
	w := h.loggedInAs("boss@example.test")
	w.say(t, "a ENABLE METADATA")
	w.want(t, "a OK")
	holds := func(want string) {
		t.Helper()
		if got := w.untagged(t, `GETMETADATA "" (/private/a /shared/a /private/b /shared/b)`); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
	w.say(t, `b SETMETADATA "" (/shared/a "1" /private/a "2" /private/B "3")`)
	w.want(t, "b OK")
	const first = `* METADATA "" (/private/a "2" /private/b "3" /shared/a "1" /shared/b NIL)`
	holds(first)
	// The shared part would be too much: the private part is not done.
	w.say(t, `c SETMETADATA "" (/private/a "new" /shared/b "1" /shared/c "1" /shared/d "1")`)
	w.want(t, "c NO [METADATA TOOMANY]")
	holds(first)
	// The private part would be too much: the shared part is not done.
	w.say(t, `d SETMETADATA "" (/shared/a "new" /private/c "1" /private/d "1")`)
	w.want(t, "d NO [METADATA TOOMANY]")
	holds(first)
	w.say(t, `e SETMETADATA "" (/private/a "new" /shared/admin "mailto:me@example.test")`)
	w.want(t, "e NO [NOPERM]")
	w.say(t, `f SETMETADATA "" (/private/a "new" /shared/filters/values/x "NOT A FILTER")`)
	w.want(t, "f NO [CANNOT]")
	holds(first)
	w.say(t, `g SETMETADATA "" (/private/a NIL /shared/a NIL /private/b "4")`)
	w.want(t, "g OK")
	holds(`* METADATA "" (/private/a NIL /private/b "4" /shared/a NIL /shared/b NIL)`)
}

// failingDomain is a database in which the second transaction of a domain's annotations fails.
type failingDomain struct {
	kv.Database
	seen atomic.Int32
}

var errDisk = errors.New("the disk is gone")

func (d *failingDomain) Update(ctx context.Context, scope kv.Scope, fn func(kv.Txn) error) error {
	if strings.HasPrefix(string(scope), "domainmetadata/") && d.seen.Add(1) == 2 {
		return errDisk
	}
	return d.Database.Update(ctx, scope, fn)
}

// TestServerMetadataTakenBack: the private part is done when the shared part fails after all; then it is
// as it was (RFC 5464 §4.3).
func TestServerMetadataTakenBack(t *testing.T) {
	t.Parallel()
	h := build(t, options{errors: true, between: func(db kv.Database) kv.Database {
		return &failingDomain{Database: db}
	}})
	admin := h.person("boss@example.test")
	if err := h.dir.SetAdmin(context.Background(), admin.ID, true); err != nil {
		t.Fatal(err)
	}
	w := h.loggedInAs("boss@example.test")
	w.say(t, `a SETMETADATA "" (/private/a "1")`)
	w.want(t, "a OK")
	w.say(t, `b SETMETADATA "" (/private/a "new" /private/b "new" /shared/a "new")`)
	w.want(t, "b NO [SERVERBUG]")
	const want = `* METADATA "" (/private/a "1" /private/b NIL /shared/a NIL)`
	if got := w.untagged(t, `GETMETADATA "" (/private/a /private/b /shared/a)`); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	w.say(t, `c SETMETADATA "" (/private/a "new" /shared/a "new")`)
	w.want(t, "c OK")
}

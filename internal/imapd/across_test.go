package imapd

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"tram/internal/imap"
	"tram/internal/kv"
	"tram/internal/store"
)

// failing is a database in which nothing can be written in one scope.
type failing struct {
	kv.Database
	mu    sync.Mutex
	scope kv.Scope
}

var errBroken = errors.New("broken")

func (f *failing) Update(ctx context.Context, scope kv.Scope, fn func(kv.Txn) error) error {
	f.mu.Lock()
	broken := f.scope != "" && scope == f.scope
	f.mu.Unlock()
	if broken {
		return errBroken
	}
	return f.Database.Update(ctx, scope, fn)
}

// breakScope makes writes in a scope fail, "" none.
func (f *failing) breakScope(scope kv.Scope) {
	f.mu.Lock()
	f.scope = scope
	f.mu.Unlock()
}

// as connects somebody else than alice.
func (h *house) as(who string) *imap.Client {
	h.t.Helper()
	c := h.dial()
	if err := c.Login(who, testPassword); err != nil {
		h.t.Fatal(err)
	}
	return c
}

// messages returns how many messages a mailbox has.
func messages(t *testing.T, c *imap.Client, name string) (n int) {
	t.Helper()
	r := do(t, c, fmt.Sprintf("STATUS %q (MESSAGES)", name))
	for _, v := range r.Data[0].Values {
		if len(v.List) == 2 && v.List[0].Text == "MESSAGES" {
			if _, err := fmt.Sscan(v.List[1].Text, &n); err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	t.Fatalf("STATUS: %+v", r.Data)
	return 0
}

// TestMoveAcrossLosesNothing: whichever half of a MOVE or REPLACE between two accounts fails, the
// message is in one of them, and nothing says that it was moved.
func TestMoveAcrossLosesNothing(t *testing.T) {
	t.Parallel()
	f := &failing{}
	h := build(t, options{errors: true, between: func(db kv.Database) kv.Database {
		f.Database = db
		return f
	}})
	bob := h.person("bob@example.test")
	h.fill("INBOX", 1, 3)
	const inbox = "Other users/alice@example.test/INBOX"
	do(t, h.client(), "SETACL INBOX bob@example.test lrswite")
	c := h.as("bob@example.test")
	do(t, c, "CREATE Mine")
	do(t, c, fmt.Sprintf("SELECT %q", inbox))
	alices := kv.Scope(fmt.Sprintf("account/%d", h.alice.ID))
	bobs := kv.Scope(fmt.Sprintf("account/%d", bob.ID))
	message := "{17+}\r\nSubject: a\r\n\r\nb\r\n"
	for i, c2 := range []struct {
		command     string
		broken      kv.Scope
		left, there int // messages afterwards
	}{
		{"MOVE 1 Mine", bobs, 3, 0},
		{"MOVE 1 Mine", alices, 3, 1},
		{"MOVE 1 Mine", "", 2, 2},
		{"REPLACE 1 Mine " + message, bobs, 2, 2},
		{"REPLACE 1 Mine " + message, alices, 2, 3},
		{"REPLACE 1 Mine " + message, "", 1, 4},
	} {
		f.breakScope(c2.broken)
		_, err := c.Do(c2.command)
		f.breakScope("")
		if failed := err != nil; failed != (c2.broken != "") {
			t.Errorf("%d: %s: %v", i, c2.command, err)
		}
		if left, there := messages(t, c, inbox), messages(t, c, "Mine"); left != c2.left || there != c2.there {
			t.Errorf("%d: %s: %d left, %d there, want %d, %d", i, c2.command, left, there, c2.left, c2.there)
		}
	}
}

// TestOwnNamesOfNamespaces: own mailboxes that were made before there were namespaces stay what they
// are, and what is shared is found beside them.
func TestOwnNamesOfNamespaces(t *testing.T) {
	t.Parallel()
	h := build(t, options{})
	h.personIs("ann@example.test", true)
	h.makeFolders()
	err := h.account().Update(t.Context(), func(tx *store.Tx) error {
		for _, name := range []string{"Shared/Old", "Shared/Both"} {
			if _, err := tx.CreateMailbox(name, store.CreateOptions{}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	ann := h.as("ann@example.test")
	for _, name := range []string{"Shared/Both", "Shared/New"} {
		do(t, ann, "CREATE "+name)
		do(t, ann, "SETACL "+name+" anyone lr")
	}
	c := h.client()
	for name, rights := range map[string]string{
		"Shared": "lrswipkxteacd", "Shared/Old": "lrswipkxteacd", "Shared/Both": "lrswipkxteacd", "Shared/New": "lr",
	} {
		r := do(t, c, "MYRIGHTS "+name)
		if got := r.Data[0].Values; len(got) != 2 || got[1].Text != rights {
			t.Errorf("%s: %+v", name, got)
		}
	}
	if _, err := c.Do("CREATE Shared/More"); err == nil {
		t.Error("a mailbox was made among the shared ones")
	}
	do(t, c, "RENAME Shared/Old Mine")
	do(t, c, "DELETE Shared/Both")
	do(t, c, "SELECT Shared/Both")
}

// TestOwnerNames: an address is one level of the hierarchy, and no pattern.
func TestOwnerNames(t *testing.T) {
	t.Parallel()
	for _, local := range []string{"bob", "a/b", "100%", "*", "x=2Fy", "=", "a=b"} {
		level := encodeOwner.Replace(local)
		if strings.ContainsAny(level, "/%*") || decodeOwner(level) != local {
			t.Errorf("%q is %q, and back %q", local, level, decodeOwner(level))
		}
	}
}

// TestSharedAccountsAreLeft: what the sessions of a person share of others' accounts goes with the last
// of them.
func TestSharedAccountsAreLeft(t *testing.T) {
	t.Parallel()
	h := build(t, options{})
	h.person("bob@example.test")
	do(t, h.client(), "SETACL INBOX bob@example.test lr")
	one, two := h.as("bob@example.test"), h.as("bob@example.test")
	for _, c := range []*imap.Client{one, two} {
		do(t, c, `SELECT "Other users/alice@example.test/INBOX"`)
	}
	held := func() (n int) {
		h.srv.mu.Lock()
		defer h.srv.mu.Unlock()
		for key, a := range h.srv.accounts {
			if key.of != key.by {
				n += a.sessions
			}
		}
		return n
	}
	if n := held(); n != 2 {
		t.Errorf("%d sessions in another's account, want 2", n)
	}
	do(t, one, "UNAUTHENTICATE")
	do(t, two, "UNAUTHENTICATE")
	if n := held(); n != 0 {
		t.Errorf("%d sessions are left in another's account", n)
	}
}

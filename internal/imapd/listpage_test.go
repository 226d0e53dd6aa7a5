package imapd

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"tram/internal/imap"
	"tram/internal/store"
)

// makeMailboxes makes n mailboxes in trees of a thousand.
func (h *house) makeMailboxes(n int) {
	h.t.Helper()
	const step = 50
	for i := 0; i < n; i += step {
		err := h.account().Update(context.Background(), func(tx *store.Tx) error {
			for k := i; k < min(i+step, n); k++ {
				name := fmt.Sprintf("Tree %03d/Project %06d", k/1000, k)
				if _, err := tx.CreateMailbox(name, store.CreateOptions{}); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			h.t.Fatal(err)
		}
	}
}

// listing is a session without a connection, to run a LIST on.
func (h *house) listing(cmd *imap.ListCommand) *lister {
	id := store.AccountID(h.alice.ID)
	s := &session{srv: h.srv, ctx: context.Background()}
	s.account = h.srv.join(id, netip.MustParseAddr("127.0.0.1"))
	h.t.Cleanup(func() { h.srv.leave(s.account, netip.MustParseAddr("127.0.0.1")) })
	return &lister{s: s, cmd: cmd, patterns: newPatterns(cmd.Reference, cmd.Patterns)}
}

// TestListMany lists nearly as many mailboxes as an account may have (limits.Storage.Mailboxes): every
// one once, and never more than a page in memory.
func TestListMany(t *testing.T) {
	t.Parallel()
	const many = 99000
	h := build(t, options{})
	h.makeMailboxes(many)
	l := h.listing(&imap.ListCommand{Patterns: []string{"*"}})
	most, pages := 0, 0
	seen := map[string]bool{}
	l.flush = func() error {
		pages++
		most = max(most, len(*l.s.buf()))
		for line := range bytes.Lines(*l.s.buf()) {
			if seen[string(line)] {
				t.Fatalf("twice: %s", line)
			}
			seen[string(line)] = true
		}
		*l.s.buf() = (*l.s.buf())[:0]
		return nil
	}
	if err := l.pages(); err != nil {
		t.Fatal(err)
	}
	if err := l.flush(); err != nil {
		t.Fatal(err)
	}
	if want := many + many/1000 + 6; len(seen) != want {
		t.Errorf("%d replies, want %d", len(seen), want)
	}
	if most > listPage+2000 || pages < 10 {
		t.Errorf("%d bytes in memory, %d pages", most, pages)
	}
}

// TestListWhileRenamed: what is made or renamed between two pages, to a name that the LIST has
// passed, is listed all the same.
func TestListWhileRenamed(t *testing.T) {
	t.Parallel()
	h := build(t, options{})
	h.makeMailboxes(10000)
	l := h.listing(&imap.ListCommand{Patterns: []string{"*"}})
	var got strings.Builder
	l.flush = func() error {
		first := got.Len() == 0
		got.Write(*l.s.buf())
		*l.s.buf() = (*l.s.buf())[:0]
		if !first {
			return nil
		}
		return h.account().Update(context.Background(), func(tx *store.Tx) error {
			m, err := tx.MailboxByName("Tree 009")
			if err != nil {
				return err
			}
			if err := tx.RenameMailbox(m.ID, "A passed name"); err != nil {
				return err
			}
			if _, err = tx.CreateMailbox("A new one", store.CreateOptions{}); err != nil {
				return err
			}
			gone, err := tx.MailboxByName("Tree 008/Project 008000")
			if err != nil {
				return err
			}
			return tx.DeleteMailbox(gone.ID)
		})
	}
	if err := l.pages(); err != nil {
		t.Fatal(err)
	}
	if err := l.flush(); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{
		`"A passed name"`, `"A passed name/Project 009000"`, `"A passed name/Project 009999"`,
		`"A new one"`, "Sent", `"Tree 007/Project 007000"`,
	} {
		if strings.Count(got.String(), `"/" `+name+"\r\n") != 1 {
			t.Errorf("%s is listed %d times", name, strings.Count(got.String(), `"/" `+name+"\r\n"))
		}
	}
	for _, name := range []string{`"Tree 008/Project 008000"`, `\NonExistent`} {
		if strings.Contains(got.String(), name) {
			t.Errorf("%s is listed", name)
		}
	}
}

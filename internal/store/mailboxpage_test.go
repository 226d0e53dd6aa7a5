package store

import (
	"slices"
	"testing"
)

// TestEachMailboxAfter: from any name on, of a mailbox or of none, the rest follows in the same order.
func TestEachMailboxAfter(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	for _, name := range []string{
		"a/b/c", "a/b d", "a b", "a-", "a/", "INBOX/x/y", "inboxes/z", "A", "~", "ê", "Sent/1/2/3",
	} {
		h.update(func(tx *Tx) error {
			_, err := tx.CreateMailbox(name, CreateOptions{})
			if err != nil && name != "a/" {
				return err
			}
			return nil
		})
	}
	names := func(after string) (out []string) {
		h.view(func(tx *Tx) error {
			return tx.EachMailboxAfter(after, func(m *Mailbox) error {
				out = append(out, m.Name)
				return nil
			})
		})
		return out
	}
	all := names("")
	if len(all) < 20 || !slices.IsSortedFunc(all, compareNames) {
		t.Fatalf("all are %q", all)
	}
	for _, after := range append([]string{
		"INBOX/a", "INBOX/x/z", "a/b/b", "a/z", "a/b/c/d/e", "b", "zz", "Sent/1/2/30", "\U0010ffff", "!",
	}, all...) {
		i, found := slices.BinarySearchFunc(all, after, compareNames)
		if found {
			i++
		}
		if got := names(after); !slices.Equal(got, all[i:]) {
			t.Errorf("after %q: %q, want %q", after, got, all[i:])
		}
	}
	n := 0
	h.view(func(tx *Tx) error {
		return tx.EachMailboxAfter("INBOX", func(*Mailbox) error {
			n++
			return Stop
		})
	})
	if n != 1 {
		t.Errorf("Stop came after %d", n)
	}
}

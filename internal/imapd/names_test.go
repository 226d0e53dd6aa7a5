package imapd

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"unicode"

	"golang.org/x/text/unicode/norm"

	"tram/internal/imap"
	"tram/internal/store"
)

// legalNames returns names that together hold every character a mailbox name may have up to U+2FFF,
// and one of each 64 beyond.
func legalNames() []string {
	var names []string
	var b strings.Builder
	add := func(r rune) {
		if unicode.IsControl(r) || 0xd800 <= r && r < 0xe000 || strings.ContainsRune("/\u2028\u2029\ufeff", r) {
			return
		}
		if b.Len() == 0 {
			fmt.Fprintf(&b, "%05x", r)
		}
		if b.WriteRune(r); b.Len() > 200 {
			names = append(names, norm.NFC.String(b.String()))
			b.Reset()
		}
	}
	for r := rune(0); r < 0x3000; r++ {
		add(r)
	}
	for r := rune(0x3000); r <= unicode.MaxRune; r += 64 {
		add(r)
	}
	return append(names, norm.NFC.String(b.String()))
}

// TestNamesOfAllCharacters creates, lists, renames, looks into and deletes mailboxes whose names hold
// every legal character, as modified UTF-7 and as UTF-8 (RFC 3501 §5.1.3, RFC 9051 §5.1).
func TestNamesOfAllCharacters(t *testing.T) {
	t.Parallel()
	for _, utf8 := range []bool{false, true} {
		h := build(t, options{})
		c := h.client()
		if utf8 {
			do(t, c, "ENABLE IMAP4rev2")
		}
		names := legalNames()
		listed := map[string]bool{}
		for _, name := range names {
			do(t, c, "CREATE "+string(imap.AppendMailbox(nil, name, utf8)))
		}
		for _, r := range do(t, c, `LIST "" *`).Data {
			if len(r.Values) == 3 {
				listed[r.Values[2].Str()] = true
			}
		}
		for i, name := range names {
			wire := name
			if !utf8 {
				wire = string(imap.AppendName(nil, name))
			}
			if !listed[wire] {
				t.Fatalf("%q is not listed", name)
			}
			quoted := string(imap.AppendMailbox(nil, name, utf8))
			below := string(imap.AppendMailbox(nil, "tree/"+name, utf8))
			r := do(t, c, "STATUS "+quoted+" (MESSAGES)")
			if len(r.Data) != 1 || r.Data[0].Values[0].Str() != wire {
				t.Fatalf("STATUS %q: %+v", name, r.Data)
			}
			do(t, c, "RENAME "+quoted+" "+below)
			if i%2 == 0 {
				do(t, c, "DELETE "+below)
			}
		}
		err := h.account().View(context.Background(), func(tx *store.Tx) error {
			for i, name := range names {
				_, err := tx.MailboxByName("tree/" + name)
				if (err == nil) != (i%2 == 1) {
					return fmt.Errorf("%q: %w", name, err)
				}
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	}
}

package imapd

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"tram/internal/imap"
	"tram/internal/smtp"
	"tram/internal/store"
)

// rightsCase is a command and the rights without each of which it is refused, RFC 4314 §4. BOX stands
// for a mailbox of somebody else.
type rightsCase struct {
	command  string
	needs    string
	selected bool // BOX is selected; else INBOX of the person himself is
}

var rightsCases = []rightsCase{
	{command: "STATUS BOX (MESSAGES)", needs: "r"},
	{command: "SELECT BOX", needs: "r"},
	{command: "EXAMINE BOX", needs: "r"},
	{command: "GETQUOTAROOT BOX", needs: "r"}, // RFC 9208 §6
	{command: "GETACL BOX", needs: "a"},
	{command: "SETACL BOX carol@example.test lr", needs: "a"},
	{command: "DELETEACL BOX carol@example.test", needs: "a"},
	{command: "LISTRIGHTS BOX carol@example.test", needs: "a"},
	{command: "APPEND BOX {17+}\r\nSubject: a\r\n\r\nb\r\n", needs: "i"},
	{command: "APPEND BOX (\\Seen \\Deleted \\Flagged) {17+}\r\nSubject: a\r\n\r\nb\r\n", needs: "i"},
	{command: "APPEND BOX {17+}\r\nSubject: a\r\n\r\nb\r\n {17+}\r\nSubject: a\r\n\r\nc\r\n", needs: "i"},
	{command: "APPEND BOX CATENATE (TEXT {17+}\r\nSubject: a\r\n\r\nb\r\n)", needs: "i"},
	{command: "CREATE BOX/New", needs: "k"},
	{command: "CREATE BOX/New/Newer", needs: "k"},
	{command: "DELETE BOX/Sub", needs: "x"},
	{command: "RENAME BOX/Sub BOX/Other", needs: "kx"},
	{command: "COPY 1 BOX", needs: "i"},
	{command: "MOVE 1 BOX", needs: "i"},
	{command: "UID COPY 1:* BOX", needs: "i"},
	{command: "UID MOVE 1:* BOX", needs: "i"},
	{command: "REPLACE 1 BOX {17+}\r\nSubject: a\r\n\r\nb\r\n", needs: "i"},
	{command: "SETMETADATA BOX (/shared/comment \"x\")", needs: "w"},
	{command: "EXPUNGE", needs: "e", selected: true},
	{command: "UID EXPUNGE 1:*", needs: "e", selected: true},
	{command: "STORE 1 +FLAGS (\\Seen)", needs: "s", selected: true},
	{command: "STORE 1 -FLAGS (\\Seen)", needs: "s", selected: true},
	{command: "STORE 1 +FLAGS (\\Deleted)", needs: "t", selected: true},
	{command: "STORE 1 +FLAGS.SILENT (\\Flagged \\Draft)", needs: "w", selected: true},
	{command: "UID STORE 1:* +FLAGS (Word)", needs: "w", selected: true},
	{command: "MOVE 1 Trash", needs: "te", selected: true}, // RFC 6851 §4.2
	{command: "UID MOVE 1:* Trash", needs: "te", selected: true},
	{command: "REPLACE 1 Drafts {17+}\r\nSubject: a\r\n\r\nb\r\n", needs: "te", selected: true}, // RFC 8508 §4.1
	{command: "REPLACE 1 BOX {17+}\r\nSubject: a\r\n\r\nb\r\n", needs: "tei", selected: true},
	{command: "COPY 1 BOX", needs: "i", selected: true},
	// What takes no right but the one to read.
	{command: "COPY 1 Trash", selected: true},
	{command: "FETCH 1 (FLAGS BODY[])", selected: true},
	{command: "SEARCH UNSEEN", selected: true},
	{command: "SORT (DATE) UTF-8 ALL", selected: true},
	{command: "CLOSE", selected: true},
	{command: "UNSELECT", selected: true},
	{command: "SUBSCRIBE BOX"},
	{command: "UNSUBSCRIBE BOX"},
}

// TestRights runs each command without each of the rights that it takes, and with these alone; and
// without any right, when the mailbox must seem not to exist (RFC 4314 §6).
func TestRights(t *testing.T) {
	t.Parallel()
	h := build(t, options{})
	h.person("bob@example.test")
	h.person("carol@example.test")
	h.fill("INBOX", 1, 2)
	all := store.AllRights.String()
	for i, c := range rightsCases {
		run := 0
		try := func(rights, want string) {
			t.Helper()
			run++
			box := fmt.Sprintf("Box %d-%d", i, run)
			h.shareBox(box, rights)
			if got := h.tryAs("bob@example.test", c, box); !strings.HasPrefix(got, want) {
				t.Errorf("%q with the rights %q: %q, want %q", c.command, rights, got, want)
			}
		}
		for _, r := range c.needs {
			try(strings.ReplaceAll(all, string(r), ""), "NO [NOPERM]")
		}
		base := "l"
		if c.selected {
			base += "r"
		}
		try(base+c.needs, "OK")
		if !c.selected && c.needs != "" {
			try("", h.hidden(c))
		}
	}
}

// hidden is the answer for a mailbox that does not exist.
func (h *house) hidden(c rightsCase) string {
	if strings.HasPrefix(c.command, "CREATE") {
		return "NO [NOPERM]"
	}
	got := h.tryAs("bob@example.test", c, "Nowhere")
	if !strings.HasPrefix(got, "NO [NONEXISTENT]") && !strings.HasPrefix(got, "NO [TRYCREATE]") {
		h.t.Errorf("%q of no mailbox: %q", c.command, got)
	}
	return got
}

// shareBox makes a mailbox of alice's with two messages and one below it, and gives bob rights to both.
func (h *house) shareBox(name, rights string) {
	h.t.Helper()
	r, err := store.ParseRights(rights)
	if err != nil {
		h.t.Fatal(err)
	}
	var ids []store.MailboxID
	err = h.account().Update(h.t.Context(), func(tx *store.Tx) error {
		ids = ids[:0]
		for _, n := range []string{name, name + "/Sub"} {
			m, err := tx.CreateMailbox(n, store.CreateOptions{})
			if err != nil {
				return err
			}
			ids = append(ids, m.ID)
		}
		return nil
	})
	if err != nil {
		h.t.Fatal(err)
	}
	h.fill(name, 1, 2)
	for _, id := range ids {
		h.grant(id, "bob@example.test", r)
	}
}

// grant gives somebody rights to a mailbox of alice's.
func (h *house) grant(id store.MailboxID, who string, r store.Rights) {
	h.t.Helper()
	ctx := context.Background()
	address, err := smtp.ParseAddress(who)
	if err != nil {
		h.t.Fatal(err)
	}
	person, err := h.dir.AccountByAddress(ctx, address)
	if err != nil {
		h.t.Fatal(err)
	}
	err = h.account().SetACL(ctx, "example.test", id, store.ACLChange{Who: store.AccountID(person.ID), Rights: r})
	if err != nil {
		h.t.Fatal(err)
	}
}

var boxName = regexp.MustCompile(`BOX[/\w]*`)

// tryAs runs a command as somebody and returns its tagged reply without the tag.
func (h *house) tryAs(who string, c rightsCase, box string) string {
	h.t.Helper()
	cl := h.dial()
	defer cl.Close()
	if err := cl.Login(who, testPassword); err != nil {
		h.t.Fatal(err)
	}
	full := `Other users/alice@example.test/` + box
	start := "INBOX"
	if c.selected {
		start = full
	} else {
		do(h.t, cl, "APPEND INBOX ", []byte(mail(1)))
	}
	do(h.t, cl, fmt.Sprintf("SELECT %q", start))
	command := boxName.ReplaceAllStringFunc(c.command, func(name string) string {
		return fmt.Sprintf("%q", full+strings.TrimPrefix(name, "BOX"))
	})
	_, err := cl.Do(command)
	var status *imap.StatusError
	if errors.As(err, &status) {
		return status.Error()
	}
	if err != nil {
		h.t.Fatal(err)
	}
	return "OK"
}

// TestListMyRights: RFC 8440 §3. MYRIGHTS follows the LIST of its mailbox, and is not told of names
// that are none.
func TestListMyRights(t *testing.T) {
	t.Parallel()
	h := build(t, options{})
	h.person("bob@example.test")
	c := h.client()
	do(t, c, "CREATE Projects")
	do(t, c, "CREATE Projects/North")
	do(t, c, "SETACL Projects/North bob@example.test lrs")
	b := h.as("bob@example.test")
	do(t, b, `SUBSCRIBE "Other users/alice@example.test/Gone"`)
	for _, command := range []string{
		`LIST "" (* "Other users/alice@example.test/%") RETURN (MYRIGHTS)`,
		`LIST (SUBSCRIBED) "" * RETURN (MYRIGHTS)`,
	} {
		listed := map[string]bool{}
		for _, r := range do(t, b, command).Data {
			switch name := r.Values[len(r.Values)-1].Text; r.Name {
			case "LIST":
				attributes := fmt.Sprint(r.Values[0])
				listed[name] = !strings.Contains(attributes, imap.AttrNonExistent)
			case "MYRIGHTS":
				name = r.Values[0].Text
				if !listed[name] {
					t.Errorf("%s: MYRIGHTS of %s comes before its LIST, twice, or for no mailbox", command, name)
				}
				delete(listed, name)
				want := store.AllRights.Virtual()
				if strings.HasPrefix(name, "Other users/") {
					want = "lrs"
				}
				if r.Values[1].Text != want {
					t.Errorf("%s: %s %s, want %s", command, name, r.Values[1].Text, want)
				}
			}
		}
		for name, exists := range listed {
			if exists {
				t.Errorf("%s: no MYRIGHTS of %s", command, name)
			}
		}
	}
}

// personIs adds an account, maybe an administrator's.
func (h *house) personIs(name string, admin bool) {
	h.t.Helper()
	if a := h.person(name); admin {
		if err := h.dir.SetAdmin(h.t.Context(), a.ID, true); err != nil {
			h.t.Fatal(err)
		}
	}
}

// makeFolders gives the domain shared folders.
func (h *house) makeFolders() {
	h.t.Helper()
	id, err := h.dir.MakeFolders(h.t.Context(), "example.test")
	if err == nil {
		err = h.store.MakeFolders(h.t.Context(), store.AccountID(id), "example.test")
	}
	if err != nil {
		h.t.Fatal(err)
	}
}

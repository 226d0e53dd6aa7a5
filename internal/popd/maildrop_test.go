package popd

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"tram/internal/directory"
	"tram/internal/kv"
	"tram/internal/store"
)

// set changes what POP3 shows of alice's account.
func (h *house) set(m directory.Maildrop) {
	h.t.Helper()
	if err := h.dir.SetMaildrop(context.Background(), h.alice.ID, m); err != nil {
		h.t.Fatal(err)
	}
}

// update runs fn on alice's account, as another door would.
func (h *house) update(fn func(tx *store.Tx) error) {
	h.t.Helper()
	if err := h.account().Update(context.Background(), fn); err != nil {
		h.t.Fatal(err)
	}
}

func (h *house) role(r store.Role) (id store.MailboxID) {
	h.t.Helper()
	h.update(func(tx *store.Tx) error {
		id = tx.RoleMailbox(r)
		return nil
	})
	return id
}

// flags returns the flags and keywords of a folder's messages, by UID.
func (h *house) flags(folder store.MailboxID) map[store.UID]string {
	h.t.Helper()
	out := map[store.UID]string{}
	h.update(func(tx *store.Tx) error {
		list, err := tx.List(folder)
		if err != nil {
			return err
		}
		for _, e := range list.Entries(0, list.Len()) {
			state, err := tx.State(e.Email)
			if err != nil {
				return err
			}
			seen := ""
			if state.Flags&store.Seen != 0 {
				seen = "seen "
			}
			out[e.UID] = seen + strings.Join(state.Keywords, " ")
		}
		return nil
	})
	return out
}

func uids(lines []string) (all []string) {
	for _, l := range lines {
		_, id, _ := strings.Cut(l, " ")
		all = append(all, id)
	}
	return all
}

// TestSizes: what LIST and STAT tell is to the octet what RETR sends before dots are doubled, whatever
// the message ends in and whatever its lines end in (RFC 1939 §11).
func TestSizes(t *testing.T) {
	t.Parallel()
	h := build(t, options{measure: true})
	for _, text := range []string{
		first, "Subject: open\r\n\r\nno line end", "Subject: bare\n\nlines\n.\nof LF\n", "Subject: none\r\n",
		"Subject: CR at the end\r\n\r\nx\r", ".", "a\r\n.b", "\n", "", "\r\n", strings.Repeat("x", 300<<10),
	} {
		h.put(text)
	}
	c := h.login()
	sum := 0
	lines := c.multi("LIST")
	if len(lines) != 11 {
		t.Fatalf("LIST: %q", lines)
	}
	for i, l := range lines {
		var n, told, said int
		if _, err := fmt.Sscanf(l, "%d %d", &n, &told); err != nil {
			t.Fatal(err)
		}
		c.do(fmt.Sprintf("LIST %d", n), "+OK "+l)
		if _, err := fmt.Sscanf(c.do(fmt.Sprintf("RETR %d", n), "+OK"), "+OK %d octets", &said); err != nil {
			t.Fatal(err)
		}
		got := c.octets()
		if got != told || said != told {
			t.Errorf("message %d: %d octets in LIST, %d in the reply, %d sent", i+1, told, said, got)
		}
		sum += got
	}
	c.do("STAT", fmt.Sprintf("+OK 11 %d", sum))
	c.do("DELE 2", "+OK")
	c.do("STAT", fmt.Sprintf("+OK 10 %d", sum-len("Subject: open\r\n\r\nno line end\r\n")))
	c.do("RSET", "+OK")
	c.do("STAT", fmt.Sprintf("+OK 11 %d", sum))
}

// octets reads a multi-line reply as a program does that sees a line end in CR LF alone, and counts.
func (c *client) octets() (n int) {
	c.t.Helper()
	for {
		line := ""
		for !strings.HasSuffix(line, "\r\n") {
			part, err := c.r.ReadString('\n')
			if err != nil {
				c.t.Fatalf("read %q: %v", part, err)
			}
			// A dot behind any LF is doubled, so that who ends lines there sees no end either.
			line += strings.TrimPrefix(part, ".")
			if part == ".\r\n" {
				return n
			}
		}
		n += len(line)
	}
}

// TestFolders: several folders are one maildrop in the order in which messages came to the account;
// one that is in two of them is there once, and identifiers stay when a message is moved between them.
func TestFolders(t *testing.T) {
	t.Parallel()
	h := build(t, options{measure: true})
	inbox, archive, junk := h.role(store.RoleInbox), h.role(store.RoleArchive), h.role(store.RoleJunk)
	h.put(first, second, third)
	before := uids(h.login().multi("UIDL"))
	// The first that is moved gets another UID, for the copy has taken its own.
	h.update(func(tx *store.Tx) error {
		if _, err := tx.Copy(inbox, []store.UID{2}, archive); err != nil {
			return err
		}
		_, err := tx.Move(inbox, []store.UID{1}, archive)
		return err
	})
	inboxOnly := h.login()
	one := uids(inboxOnly.multi("UIDL"))
	h.set(directory.Maildrop{Folders: []uint32{uint32(inbox), uint32(archive)}})
	inboxOnly.do("STAT", "+OK 2 ") // goes on as it began
	c := h.login()
	all := uids(c.multi("UIDL"))
	if !slices.Equal(all, before) || !slices.Equal(all[1:], one) {
		t.Fatalf("UIDL of both folders: %q, of one %q, before the move %q", all, one, before)
	}
	if got := strings.Join(c.multi("RETR 1"), "\r\n") + "\r\n"; got != first {
		t.Errorf("RETR 1: %q", got)
	}
	// Moved while the session is open, and then deleted: it is gone from everywhere that is shown.
	h.update(func(tx *store.Tx) error {
		_, err := tx.Move(inbox, []store.UID{3}, archive)
		return err
	})
	c.do("DELE 3", "+OK")
	c.do("DELE 2", "+OK")
	c.do("QUIT", "+OK")
	c = h.login()
	if got := uids(c.multi("UIDL")); !slices.Equal(got, all[:1]) {
		t.Errorf("UIDL at last: %q of %q", got, all)
	}
	// A folder that is gone shows nothing; without any there is the Inbox.
	h.put(second)
	h.set(directory.Maildrop{Folders: []uint32{9999, uint32(junk)}})
	h.login().do("STAT", "+OK 0 0")
	h.set(directory.Maildrop{Folders: []uint32{9999}})
	h.login().do("STAT", "+OK 1 ")
}

// validity returns the Inbox's UIDVALIDITY.
func (h *house) validity() (v uint32) {
	h.t.Helper()
	h.update(func(tx *store.Tx) error {
		m, err := tx.MailboxByRole(store.RoleInbox)
		if err == nil {
			v = m.UIDValidity
		}
		return err
	})
	return v
}

// TestIdentifiersOutlive what gives a folder new numbers or brings old ones back.
func TestIdentifiersOutlive(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	h := build(t, options{measure: true})
	inbox := h.role(store.RoleInbox)
	h.put(first, second)
	before := uids(h.login().multi("UIDL"))
	validity := h.validity()
	h.clock.Advance(time.Minute)

	// A repair that has lost the folder's row gives it another UIDVALIDITY.
	row := kv.AppendUint32(append(kv.AppendUint64([]byte{'s'}, uint64(h.alice.ID)), 'm'), uint32(inbox))
	err := h.db.Update(ctx, "", func(w kv.Txn) error { return w.Delete(row) })
	if err != nil {
		t.Fatal(err)
	}
	h.reopen()
	if err := h.store.Repair(ctx, store.RepairOptions{}); err != nil {
		t.Fatal(err)
	}
	h.reopen()
	if now := h.validity(); now == validity {
		t.Errorf("UIDVALIDITY is %d as before: the test shows nothing", now)
	}
	if after := uids(h.login().multi("UIDL")); !slices.Equal(after, before) {
		t.Errorf("UIDL %q, after the repair %q", before, after)
	}

	// An older state is brought back: the numbers that were given out since are given out again.
	old := h.db.Crash()
	h.clock.Advance(time.Minute)
	h.put(third)
	lost := uids(h.login().multi("UIDL"))[2]
	h.db = old
	h.reopen()
	h.clock.Advance(time.Minute)
	h.put(strings.Replace(third, "three", "other", 1)) // of the same size
	got := uids(h.login().multi("UIDL"))
	if !slices.Equal(got[:2], before) || len(got) != 3 || got[2] == lost {
		t.Errorf("UIDL %q, and of a message that was lost %q; before %q", got, lost, before)
	}
	if n, _, _ := strings.Cut(got[2], "."); !strings.HasPrefix(lost, n+".") {
		t.Errorf("%q has not the number of %q: the test shows nothing", got[2], lost)
	}
}

// TestPolicies: what CAPA tells is what happens (RFC 2449 §6.7).
func TestPolicies(t *testing.T) {
	t.Parallel()
	h := build(t, options{measure: true})
	inbox := h.role(store.RoleInbox)
	expire := func(c *client) string {
		capa := c.multi("CAPA")
		i := slices.IndexFunc(capa, func(l string) bool { return strings.HasPrefix(l, "EXPIRE") })
		return capa[max(i, 0)]
	}
	if got := expire(h.dial()); got != "EXPIRE 0 USER" {
		t.Errorf("before log-in: %s", got)
	}
	h.put(first, second, third, first)
	for _, step := range []struct {
		set    directory.Maildrop
		expire string
		say    []string
		left   map[store.UID]string
	}{
		{directory.Maildrop{}, "EXPIRE NEVER", []string{"RETR 1", "QUIT"},
			map[store.UID]string{1: "", 2: "", 3: "", 4: ""}},
		{directory.Maildrop{Seen: true}, "EXPIRE NEVER", []string{"RETR 1", "TOP 2 9", "QUIT"},
			map[store.UID]string{1: "seen ", 2: "", 3: "", 4: ""}},
		{directory.Maildrop{Policy: directory.POP3Days, Days: 7, Seen: true}, "EXPIRE 7",
			[]string{"RETR 2", "RETR 4", "DELE 4", "QUIT"},
			map[store.UID]string{1: "seen ", 2: "seen " + fetchedKeyword, 3: ""}},
		{directory.Maildrop{Policy: directory.POP3Delete}, "EXPIRE 0", []string{"RETR 1", "RSET", "QUIT"},
			map[store.UID]string{1: "seen ", 2: "seen " + fetchedKeyword, 3: ""}},
		{directory.Maildrop{Policy: directory.POP3Delete}, "EXPIRE 0", []string{"RETR 1", "TOP 3 1"},
			map[store.UID]string{1: "seen ", 2: "seen " + fetchedKeyword, 3: ""}},
		{directory.Maildrop{Policy: directory.POP3Delete, Seen: true}, "EXPIRE 0",
			[]string{"RETR 1", "STAT", "TOP 3 1", "QUIT"},
			map[store.UID]string{2: "seen " + fetchedKeyword, 3: ""}},
	} {
		h.set(step.set)
		c := h.login()
		if got := expire(c); got != step.expire {
			t.Errorf("%+v: %s, want %s", step.set, got, step.expire)
		}
		for _, command := range step.say {
			c.do(command, "+OK")
			if command[:4] == "RETR" || command[:3] == "TOP" {
				c.lines()
			}
		}
		if step.say[len(step.say)-1] == "QUIT" {
			c.closed()
		}
		c.Close()
		if got := h.flags(inbox); fmt.Sprint(got) != fmt.Sprint(step.left) {
			t.Errorf("%+v after %q: %v, want %v", step.set, step.say, got, step.left)
		}
	}
}

// TestExpire: what was fetched goes when its days are over, by the house's clock; what nobody has
// fetched stays, and so does what another folder keeps.
func TestExpire(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	h := build(t, options{measure: true})
	inbox, archive := h.role(store.RoleInbox), h.role(store.RoleArchive)
	expire := func() {
		t.Helper()
		err := Expire(ctx, ExpireOptions{Store: h.store, Directory: h.dir, Clock: h.clock})
		if err != nil {
			t.Fatal(err)
		}
	}
	h.put(first, second, third)
	h.set(directory.Maildrop{Policy: directory.POP3Days, Days: 3})
	c := h.login()
	for _, n := range []string{"RETR 1", "RETR 3"} {
		c.multi(n)
	}
	c.do("QUIT", "+OK")
	c.closed()
	h.update(func(tx *store.Tx) error {
		_, err := tx.Copy(inbox, []store.UID{1}, archive)
		return err
	})
	h.clock.Advance(2 * 24 * time.Hour)
	// Moved out and back: it came into the folder again, and has its full time.
	h.update(func(tx *store.Tx) error {
		if _, err := tx.Move(inbox, []store.UID{3}, archive); err != nil {
			return err
		}
		_, err := tx.Move(archive, []store.UID{2}, inbox)
		return err
	})
	expire()
	if got := h.flags(inbox); len(got) != 3 {
		t.Errorf("after two days: %v", got)
	}
	h.clock.Advance(24*time.Hour + time.Second)
	expire()
	want := map[store.UID]string{2: "", 4: fetchedKeyword}
	if got := h.flags(inbox); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("after three days: %v, want %v", got, want)
	}
	if got := h.flags(archive); len(got) != 1 {
		t.Errorf("what another folder has: %v", got)
	}
	h.set(directory.Maildrop{})
	h.clock.Advance(100 * 24 * time.Hour)
	expire()
	if got := h.flags(inbox); len(got) != 2 {
		t.Errorf("with the policy lifted: %v", got)
	}
	h.set(directory.Maildrop{Policy: directory.POP3Days, Days: 1})
	expire()
	if got := h.flags(inbox); len(got) != 1 {
		t.Errorf("with the policy back: %v", got)
	}
}

// TestExpireOfMany takes several transactions, and a keyword that has no bit of its own.
func TestExpireOfMany(t *testing.T) {
	t.Parallel()
	h := build(t, options{measure: true})
	inbox := h.role(store.RoleInbox)
	const n = expireStep + 5
	for range n {
		h.put(first)
	}
	h.update(func(tx *store.Tx) error {
		for i := range 70 {
			c := store.FlagChange{Keywords: []string{fmt.Sprintf("k%d", i)}}
			if _, _, err := tx.SetFlags(inbox, []store.UID{1}, c); err != nil {
				return err
			}
		}
		return nil
	})
	h.set(directory.Maildrop{Policy: directory.POP3Days, Days: 1})
	c := h.login()
	for i := range n - 1 {
		c.multi(fmt.Sprintf("RETR %d", i+1))
	}
	c.do("QUIT", "+OK")
	c.closed()
	h.clock.Advance(25 * time.Hour)
	err := Expire(context.Background(), ExpireOptions{Store: h.store, Directory: h.dir, Clock: h.clock})
	if err != nil {
		t.Fatal(err)
	}
	if got := h.flags(inbox); len(got) != 1 || got[n] != "" {
		t.Errorf("left: %v", got)
	}
}

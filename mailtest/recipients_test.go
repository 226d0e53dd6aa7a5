package mailtest

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"tram/internal/admin"
	"tram/internal/config"
	"tram/internal/imap"
)

// TestWhoGetsIt sends one message to each kind of address and looks who has it.
func TestWhoGetsIt(t *testing.T) {
	t.Parallel()
	w, a, b, alice, bob := two(t)
	carol, eve := a.Person("carol", 0), a.Person("eve", 0)
	_, err := a.Admin.ChangeAccount(t.Context(), eve.Address, admin.AccountChange{Admin: new(true)})
	if err != nil {
		t.Fatal(err)
	}
	a.Alias("team@a.test", alice.Address, carol.Address, bob.Address, "team@b.test")
	b.Alias("team@b.test", bob.Address)
	a.Alias("sales+vn@a.test", carol.Address)
	a.Alias("sales@a.test", alice.Address)
	people := map[string]*Person{"alice": alice, "carol": carol, "eve": eve, "bob": bob}
	for i, tc := range []struct{ to, who string }{
		{"alice@a.test", "alice"},
		{"ALICE@A.Test", "alice"},
		{"alice+news@a.test", "alice"},
		{"team@a.test", "alice bob carol"}, // bob once, though two targets lead to him
		{"sales@a.test", "alice"},
		{"sales+vn@a.test", "carol"}, // the whole name before the one without the detail
		{"sales+us@a.test", "alice"},
		{"postmaster@a.test", "eve"}, // nobody else is, so the administrator
		{"Abuse@a.test", "eve"},
		{"Postmaster", "eve"}, // RFC 5321 §4.5.1
	} {
		got(t, people, fmt.Sprint("first", i), tc.to, tc.who, a)
	}
	a.Alias("@a.test", carol.Address)
	a.Alias("abuse@a.test", alice.Address)
	for i, tc := range []struct{ to, who string }{
		{"alice@a.test", "alice"}, // the catch-all takes what is left
		{"team@a.test", "alice bob carol"},
		{"anybody@a.test", "carol"},
		{"anybody+x@a.test", "carol"},
		{"abuse@a.test", "alice"},
		{"postmaster@a.test", "carol"},
	} {
		got(t, people, fmt.Sprint("second", i), tc.to, tc.who, a)
	}
	// One transaction to several addresses of one person is one message.
	s := a.Stranger()
	name := "several"
	for _, r := range s.Mail("x@elsewhere.test", Letter("x@elsewhere.test", "y", name), "alice@a.test",
		"alice+1@a.test", "sales@a.test", "team@a.test") {
		if !r.OK() {
			t.Error(r)
		}
	}
	has(t, people, name, "alice bob carol", a)
	if n := w.Dialled("203.0.113.9"); n != 0 || len(b.Queued()) != 0 {
		t.Errorf("%d connections to nobody", n)
	}
}

// got sends a message and looks who has it.
func got(t *testing.T, people map[string]*Person, name, to, who string, a *House) {
	t.Helper()
	s := a.Stranger()
	defer s.Close()
	text := Letter("x@elsewhere.test", "whom@it.may.concern.test", name)
	r := s.Mail("x@elsewhere.test", text, to)
	if !r[0].OK() {
		t.Errorf("%s was answered %v", to, r[0])
	}
	has(t, people, name, who, a)
}

// has waits until a message is with those who are named, once, and with nobody else.
func has(t *testing.T, people map[string]*Person, name, who string, a *House) {
	t.Helper()
	a.Emptied()
	var have []string
	for n, p := range people {
		for _, m := range p.Inbox() {
			if strings.Contains(m, "<"+name+"@mail.test>") {
				have = append(have, n)
			}
		}
	}
	slices.Sort(have)
	if all := strings.Join(have, " "); all != who {
		t.Errorf("%s is with %q, want %q", name, all, who)
	}
}

// TestQuotaRace is A19 through both doors: many messages at once by SMTP and by APPEND into a mailbox
// with room for one. One gets in, the others are refused, and the mailbox holds what was promised.
func TestQuotaRace(t *testing.T) {
	t.Parallel()
	w := New(t)
	h := w.House("a.test", Options{Edit: func(c *config.Config) {
		c.Limits.Conn.PerUser, c.Limits.Conn.PerUserIP = 0, 0
	}})
	alice := h.Person("alice", 0)
	const each = 50
	text := Letter("x@elsewhere.test", alice.Address, "race00") + strings.Repeat("0123456789\r\n", 400)
	alice.SetQuota(int64(len(text)) * 3 / 2) // with the trace fields, room for one and not for two
	var taken, refused atomic.Int32
	var all sync.WaitGroup
	for i := range each {
		mine := strings.Replace(text, "race00", fmt.Sprintf("race%02d", i), 1)
		s, c := h.Stranger(), alice.IMAP()
		all.Go(func() {
			switch r := s.Mail("x@elsewhere.test", mine, alice.Address)[0]; {
			case r.OK():
				taken.Add(1)
			case strings.HasPrefix(r.String(), "452 4.2.2"):
				refused.Add(1)
			default:
				t.Errorf("SMTP: %v", r)
			}
		})
		all.Go(func() {
			_, err := c.Do("APPEND INBOX ", []byte(mine))
			status, ok := err.(*imap.StatusError)
			switch {
			case err == nil:
				taken.Add(1)
			case ok && status.Code == "OVERQUOTA":
				refused.Add(1)
			default:
				t.Errorf("IMAP: %v", err)
			}
		})
	}
	all.Wait()
	if n := len(alice.Inbox()); taken.Load() != 1 || refused.Load() != 2*each-1 || n != 1 {
		t.Errorf("%d taken, %d refused, %d there", taken.Load(), refused.Load(), n)
	}
}

package mailtest

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// TestBackscatter is P22: a stranger borrows the name of a person of another house and writes to
// whom nothing can be delivered. All of it is decided in the session; not then and not in the days
// after is anything sent to the one whose name it was.
func TestBackscatter(t *testing.T) {
	t.Parallel()
	w, a, b, alice, victim := two(t)
	full, small := a.Person("full", 0), a.Person("small", 3000)
	full.Fill()
	a.Alias("team@a.test", alice.Address, full.Address)
	a.Alias("gone@a.test", "nobody@b.test")
	a.Alias("dead@a.test", "nobody@dead.test")
	big := strings.Repeat(strings.Repeat("x", 70)+"\r\n", 60)
	for i, tc := range []struct {
		to   []string
		body string
		want []string
	}{
		{[]string{"nobody@a.test"}, "", []string{"550 5.1.1"}},
		{[]string{"nobody@a.test", alice.Address}, "", []string{"550 5.1.1", "250"}},
		{[]string{full.Address}, "", []string{"452 4.2.2"}},
		{[]string{small.Address}, big, []string{"552 5.2.2"}},
		{[]string{alice.Address, full.Address}, "", []string{"250", "452 4.2.2"}},
		{[]string{"team@a.test"}, "", []string{"250"}}, // alice has it, full gets it when there is room
		{[]string{"gone@a.test"}, "", []string{"250"}}, // forwarded, and refused there
		{[]string{"dead@a.test"}, "", []string{"250"}}, // forwarded to nowhere
		{[]string{"someone@elsewhere.test"}, "", []string{"550 5.7.1"}},
	} {
		s := a.Stranger()
		got := s.Mail(victim.Address, Letter(victim.Address, tc.to[0], fmt.Sprint("forged", i))+tc.body, tc.to...)
		for k, r := range got {
			if !strings.HasPrefix(r.String(), tc.want[k]) {
				t.Errorf("%s was answered %v, want %s", tc.to[k], r, tc.want[k])
			}
		}
		s.Close()
	}
	calls := func() int { return w.Dialled(b.Address) }
	w.Pass(7*24*time.Hour, time.Hour, a)
	a.Emptied()
	if n := calls(); n != 1 { // the forward to nobody@b.test
		t.Errorf("the victim's house was called %d times", n)
	}
	if n := len(victim.Inbox()); n != 0 {
		t.Errorf("the victim has %d messages:\n%s", n, victim.Inbox()[0])
	}
	if n := len(alice.Inbox()); n != 3 {
		t.Errorf("alice has %d messages", n)
	}
	// Notices of notices: a null sender is told nothing either, nor is our own postmaster.
	a.Stranger().Mail("", Letter("", "gone@a.test", "null"), "gone@a.test")
	a.Emptied()
	if n := len(alice.Inbox()) + len(victim.Inbox()) + len(b.Queued()); n != 3 {
		t.Errorf("a notice of a notice: %d messages", n)
	}
}

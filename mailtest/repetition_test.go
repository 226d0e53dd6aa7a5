package mailtest

import (
	"testing"

	"tram/internal/admin"
)

// TestLostReply: a sender whose connection breaks before he has read the 250 comes again with the same
// message (RFC 1047). Whoever gets it gets it once: in a mailbox here, in one that had no room at first,
// and elsewhere by an alias. Who has read the reply and sends it once more means it.
func TestLostReply(t *testing.T) {
	t.Parallel()
	_, a, b, alice, bob := two(t)
	carol := a.Person("carol", 0)
	a.Alias("team@a.test", alice.Address, carol.Address, bob.Address)
	carol.Fill()
	before := len(carol.Inbox())
	text := Letter("x@elsewhere.test", "team@a.test", "lost")
	send := func() *raw {
		s := a.raw(t)
		if r := s.send("<x@elsewhere.test>", "team@a.test", text); r[:3] != "250" {
			t.Fatal(r)
		}
		return s
	}
	for range 2 {
		send().Close()
	}
	carol.SetQuota(0)
	send().Close() // there is room by now, and the queue has it still
	bob.WaitInbox(1)
	b.Emptied()
	for _, item := range a.Queued() {
		if err := a.Admin.QueueDo(t.Context(), item.ID, admin.QueueAction{Do: admin.QueueRetry}); err != nil {
			t.Fatal(err)
		}
	}
	a.Emptied()
	send().say("NOOP") // whoever says this has read what came before
	got := func(alices, carols, bobs int) {
		t.Helper()
		a.Emptied()
		b.Emptied()
		if x, y, z := len(alice.Inbox()), len(carol.Inbox())-before, len(bob.Inbox()); x != alices ||
			y != carols || z != bobs {
			t.Errorf("alice has it %d times, carol %d, bob %d", x, y, z)
		}
	}
	got(1, 1, 1)
	send().Close()
	got(2, 2, 2)
}

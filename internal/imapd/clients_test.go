package imapd

import (
	"slices"
	"strings"
	"sync"
	"testing"

	"tram/internal/imap"
)

// truth is the mailbox as somebody sees it who has just come.
func truth(t testing.TB, c *imap.Client) []believed {
	t.Helper()
	do(t, c, "EXAMINE INBOX")
	var all []believed
	for _, r := range do(t, c, "FETCH 1:* (UID FLAGS)").Data {
		if r.Name == "FETCH" {
			flags := slices.Clone(r.Fetch.Flags)
			slices.Sort(flags)
			all = append(all, believed{r.Fetch.UID, strings.Join(flags, " ")})
		}
	}
	do(t, c, "UNSELECT")
	return all
}

// modelRun has clients of all kinds change one mailbox at random, and compares what each believes of it
// with what it is, at each quiet moment. At once: all act at the same time, else one after the other.
func modelRun(t testing.TB, seed uint64, rounds, steps int, atOnce bool) {
	t.Helper()
	h := build(t, options{})
	h.fill("INBOX", 1, 8)
	judge := h.client()
	do(t, judge, "ENABLE IMAP4rev2")
	actors := h.actors(seed)
	for round := range rounds {
		var wg sync.WaitGroup
		for i, a := range actors {
			if (i+round)%3 == 0 { // a third rests, and listens if it can
				a.rest()
				continue
			}
			act := func() {
				for range steps {
					a.step()
				}
				a.rest()
			}
			if atOnce {
				wg.Go(act)
			} else {
				act()
			}
		}
		wg.Wait()
		now := truth(t, judge)
		for _, a := range actors {
			a.settle(now)
			a.wake()
			a.learn()
			if len(a.wrong) > 0 {
				t.Fatalf("seed %d, round %d, %s: %s", seed, round, a.kind.name,
					strings.Join(a.wrong, "\n"))
			}
		}
	}
}

// TestClientsOfOneMailbox: whatever many clients do to one mailbox, with and without IDLE, NOTIFY,
// QRESYNC and UIDONLY, each knows how it is as soon as it is quiet, and is never told what cannot be.
func TestClientsOfOneMailbox(t *testing.T) {
	t.Parallel()
	for seed := range uint64(3) {
		modelRun(t, seed, 6, 4, false)
	}
}

// TestClientsAtOnce is TestClientsOfOneMailbox with clients that do not wait for each other.
func TestClientsAtOnce(t *testing.T) {
	t.Parallel()
	for seed := range uint64(3) {
		modelRun(t, seed, 6, 4, true)
	}
}

func FuzzClients(f *testing.F) {
	f.Add(uint64(1))
	f.Fuzz(func(t *testing.T, seed uint64) { modelRun(t, seed, 3, 5, seed%2 == 0) })
}

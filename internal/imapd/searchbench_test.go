package imapd

import (
	"context"
	"fmt"
	"testing"
)

// BenchmarkSearch100k is what searches of a mailbox of 100,000 messages cost, from the command to the
// tagged reply: by what the hot list has, by what the rows have, by the text index, and in several
// mailboxes at once.
func BenchmarkSearch100k(b *testing.B) {
	const n = 100_000
	w := benchWire(b, n)
	w.say(b, "s STORE 1:%d +FLAGS.SILENT (\\Flagged)", n/3)
	w.want(b, "s OK")
	for _, keys := range []string{
		"UNSEEN", "FLAGGED UNDELETED", "KEYWORD $Junk", "SINCE 1-Feb-2026 BEFORE 9-Feb-2026",
		"OLDER 86400", "LARGER 100 SMALLER 100000", "50000:*", "UID 1:50000 NOT FLAGGED",
		"SENTSINCE 7-Feb-2026", "SAVEDSINCE 1-Feb-2020", "FROM sender777", "SUBJECT \"message 777\"",
		"FUZZY SUBJECT \"mesage 777\"",
	} {
		b.Run(keys, func(b *testing.B) {
			for b.Loop() {
				w.exchange(b, "a UID SEARCH RETURN (COUNT) "+keys)
			}
		})
	}
	b.Run("ESEARCH personal", func(b *testing.B) {
		for b.Loop() {
			w.exchange(b, "a ESEARCH IN (personal) RETURN (COUNT) UNSEEN")
		}
	})
}

// BenchmarkSearchIndexed is searching the text of 20,000 messages by the index.
func BenchmarkSearchIndexed(b *testing.B) {
	h := build(b, options{measure: true})
	h.fill("INBOX", 1, 20_000)
	for range 2 { // the first round leaves an account alone that is still growing
		if err := h.store.IndexText(context.Background()); err != nil {
			b.Fatal(err)
		}
	}
	w := h.dialRaw(h.clear)
	w.say(b, "x LOGIN %s %s", testUser, testPassword)
	w.want(b, "x OK")
	w.say(b, "y SELECT INBOX")
	w.want(b, "y OK")
	for _, keys := range []string{
		"TEXT sender777", "BODY \"message 777.\"", "TEXT essag", "FUZZY TEXT sendr777", "FUZZY TEXT \"mesage bodi\"",
	} {
		b.Run(keys, func(b *testing.B) {
			for b.Loop() {
				w.exchange(b, "a UID SEARCH RETURN (COUNT) "+keys)
			}
		})
	}
}

// BenchmarkMoveHalf moves half of a mailbox of 20,000 messages to another one and back, from the
// command to the last EXPUNGE. What the store's part costs on a disk is store.BenchmarkBulk.
func BenchmarkMoveHalf(b *testing.B) {
	w := benchWire(b, 20_000)
	boxes := []string{"Archive", "INBOX"}
	for i := 0; b.Loop(); i++ {
		w.exchange(b, fmt.Sprintf("a MOVE 1:10000 %s", boxes[i%2]))
		b.StopTimer()
		w.exchange(b, "a SELECT "+boxes[i%2])
		b.StartTimer()
	}
}

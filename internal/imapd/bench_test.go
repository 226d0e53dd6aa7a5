package imapd

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
)

// benchWire is a session in the clear on a mailbox of n messages.
func benchWire(b *testing.B, n int) *wire {
	b.Helper()
	h := build(b, options{measure: true})
	h.fill("INBOX", 1, n)
	w := h.dialRaw(h.clear)
	w.r = bufio.NewReaderSize(w.Conn, 256<<10)
	w.say(b, "x LOGIN %s %s", testUser, testPassword)
	w.want(b, "x OK")
	w.say(b, "y SELECT INBOX")
	w.want(b, "y OK")
	return w
}

// exchange sends a command and discards its replies up to the tagged one.
func (w *wire) exchange(b *testing.B, command string) {
	if _, err := io.WriteString(w, command+"\r\n"); err != nil {
		b.Fatal(err)
	}
	tag, _, _ := strings.Cut(command, " ")
	for {
		line, err := w.r.ReadSlice('\n')
		if err != nil {
			b.Fatal(err)
		}
		if string(line[:min(len(tag), len(line))]) == tag {
			if !strings.Contains(string(line), " OK") {
				b.Fatalf("%s: %s", command, line)
			}
			return
		}
	}
}

func BenchmarkFetchList10k(b *testing.B) {
	w := benchWire(b, 10000)
	for b.Loop() {
		w.exchange(b, "a FETCH 1:* (UID FLAGS INTERNALDATE RFC822.SIZE ENVELOPE)")
	}
}

func BenchmarkFetchFlags10k(b *testing.B) {
	w := benchWire(b, 10000)
	for b.Loop() {
		w.exchange(b, "a UID FETCH 1:* (FLAGS)")
	}
}

func BenchmarkFetchBodies500(b *testing.B) {
	w := benchWire(b, 500)
	for b.Loop() {
		w.exchange(b, "tag1 UID FETCH 1:* (BODY.PEEK[])")
	}
}

// benchFill appends n messages of 5 KiB.
func benchFill(b *testing.B, w *wire, n int) {
	b.Helper()
	rnd := rand.New(rand.NewPCG(1, 2))
	for i := range n {
		text := strings.Builder{}
		for text.Len() < 5000 {
			fmt.Fprintf(&text, "%x words of a message %d\r\n", rnd.Uint64(), rnd.IntN(1000))
		}
		m := mail(i) + text.String()
		w.say(b, "a APPEND INBOX {%d+}\r\n%s", len(m), m)
		w.want(b, "a OK")
	}
}

// BenchmarkFetchBodies5k reads messages of the size that most mail has.
func BenchmarkFetchBodies5k(b *testing.B) {
	h := build(b, options{measure: true})
	w := h.dialRaw(h.clear)
	w.r = bufio.NewReaderSize(w.Conn, 256<<10)
	w.say(b, "x LOGIN %s %s", testUser, testPassword)
	w.want(b, "x OK")
	const n = 300
	benchFill(b, w, n)
	w.say(b, "y SELECT INBOX")
	w.want(b, "y OK")
	b.SetBytes(n * 5200)
	for b.Loop() {
		w.exchange(b, "tag1 UID FETCH 1:* (BODY.PEEK[])")
	}
}

func BenchmarkFetchOneBody(b *testing.B) {
	w := benchWire(b, 300)
	for b.Loop() {
		w.exchange(b, "a FETCH 150 (UID BODY.PEEK[])")
	}
}

func BenchmarkSelect10k(b *testing.B) {
	w := benchWire(b, 10000)
	for b.Loop() {
		w.exchange(b, "a SELECT INBOX")
	}
}

func BenchmarkStore(b *testing.B) {
	w := benchWire(b, 300)
	sign := []string{"+", "-"}
	i := 0
	for b.Loop() {
		w.exchange(b, fmt.Sprintf("a STORE 150 %sFLAGS (\\Seen)", sign[i%2]))
		i++
	}
}

func BenchmarkSearchUnseen10k(b *testing.B) {
	w := benchWire(b, 10000)
	for b.Loop() {
		w.exchange(b, "a UID SEARCH RETURN (COUNT) UNSEEN")
	}
}

func BenchmarkNoop(b *testing.B) {
	w := benchWire(b, 300)
	for b.Loop() {
		w.exchange(b, "a NOOP")
	}
}

// BenchmarkSort are the orders that mail programs ask for, over a mailbox of n messages.
func BenchmarkSort(b *testing.B) {
	const n = 10000
	w := benchWire(b, n)
	w.r = bufio.NewReaderSize(w.Conn, 4<<20) // a reply is one line
	for _, command := range []string{
		"SEARCH ALL", "SORT (REVERSE ARRIVAL) UTF-8 ALL", "SORT (SIZE) UTF-8 ALL", "SORT (DATE) UTF-8 ALL",
		"SORT (SUBJECT) UTF-8 ALL", "SORT (FROM) UTF-8 ALL", "SORT (DISPLAYFROM REVERSE DATE) UTF-8 ALL",
		"SORT RETURN (PARTIAL -1:-50) (DATE) UTF-8 ALL", "THREAD ORDEREDSUBJECT UTF-8 ALL",
		"THREAD REFERENCES UTF-8 ALL",
	} {
		b.Run(command, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				w.exchange(b, "a UID "+command)
			}
		})
	}
}

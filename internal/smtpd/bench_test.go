package smtpd

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"

	"tram/internal/kv/memkv"
	"tram/internal/kv/pebblekv"
)

// BenchmarkMessage is a 4 kB message over open sessions, MAIL and RCPT pipelined with DATA, into
// storage on disk (ten at a time, sharing syncs) and in memory.
func BenchmarkMessage(b *testing.B) {
	b.Run("disk", func(b *testing.B) {
		db, err := pebblekv.Open(b.TempDir(), pebblekv.Options{})
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { db.Close() })
		b.SetParallelism(5)
		benchMessages(b, newHouseOn(b, db))
	})
	b.Run("memory", func(b *testing.B) { benchMessages(b, newHouseOn(b, memkv.New())) })
}

func benchMessages(b *testing.B, h *house) {
	h.limits.SMTP.Transactions = 0
	d := h.open(MX, nil)
	body := text + strings.Repeat(strings.Repeat("x", 70)+"\r\n", 52) + ".\r\n"
	var n atomic.Int64
	people := []string{"alice", "bob", "carol"}
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		nc, err := net.Dial("tcp", d.addr.String())
		if err != nil {
			b.Error(err)
			return
		}
		defer nc.Close()
		r := bufio.NewReader(nc)
		expect := func(n int) {
			for range n {
				if line, err := r.ReadSlice('\n'); err != nil || line[0] > '3' {
					b.Errorf("%q, %v", line, err)
				}
			}
		}
		expect(1)
		io.WriteString(nc, "HELO client.test\r\n")
		expect(1)
		for pb.Next() {
			i := n.Add(1)
			fmt.Fprintf(nc, "MAIL FROM:<a@elsewhere.test>\r\nRCPT TO:<%s@example.test>\r\nDATA\r\n",
				people[i%3])
			expect(3)
			io.WriteString(nc, strings.Replace(body, "<1@", fmt.Sprintf("<%d@", i), 1))
			expect(1)
		}
	})
}

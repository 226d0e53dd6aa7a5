package queue

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"

	"tram/internal/envelope"
)

// BenchmarkSubmit is the cost of taking a 4 KiB message over, to the production engine.
func BenchmarkSubmit(b *testing.B) {
	w := benchWorld(b)
	text := note + strings.Repeat("0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcd\r\n", 64)
	var n atomic.Uint64
	b.SetParallelism(16)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			bw := w.blobs.Create(context.Background())
			bw.Write([]byte(text))
			body, err := bw.Finish()
			if err != nil {
				b.Error(err)
				return
			}
			_, err = w.q.Submit(context.Background(), Submission{Body: body, Account: n.Add(1)%50 + 1,
				Origin: envelope.Submission, From: addr("alice@us.test"),
				Recipients: []Recipient{{Address: addr("bob@alive.test")}}})
			if err != nil {
				b.Error(err)
				return
			}
		}
	})
}

// BenchmarkRelay is the cost of a 4 KiB message from Submit to its end, over loopback.
func BenchmarkRelay(b *testing.B) {
	w := benchWorld(b)
	w.run()
	s := w.net.listen(w.t, "192.0.2.1", "PIPELINING", "CHUNKING", "8BITMIME")
	text := note + strings.Repeat("0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcd\r\n", 64)
	b.ReportAllocs()
	window := make(chan struct{}, 200)
	go func() {
		for range s.got {
			<-window
		}
	}()
	for b.Loop() {
		window <- struct{}{}
		w.submit(Submission{Body: w.pending(text), Account: 7, From: addr("alice@us.test")}, "bob@alive.test")
	}
	for range cap(window) {
		window <- struct{}{}
	}
}

func benchWorld(b *testing.B) *world {
	w := newWorld(b)
	w.usePebble()
	return w
}

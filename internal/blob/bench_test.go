package blob

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"math/rand/v2"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"tram/internal/kv"
	"tram/internal/kv/memkv"
	"tram/internal/kv/pebblekv"
)

// mail returns n bytes like those of a message: words in no order, or an attachment in base64.
func mail(n int, seed uint64) []byte {
	rnd := rand.New(rand.NewPCG(seed, 1))
	words := bytes.Fields([]byte("Return-Path Received from by with ESMTPS id for Subject Date To " +
		"the and of report meeting attached please find regards tomorrow quarter invoice số hợp đồng " +
		"công ty kính gửi anh chị xin cảm ơn trân trọng báo cáo tháng này < > = \" : ; 2026 09:30 " +
		"div style font-family table td width class http://www.example.com/ px color #333333 border"))
	b := make([]byte, 0, n+20)
	for len(b) < n {
		if rnd.IntN(12) == 0 {
			b = append(b, "\r\n"...)
		}
		b = append(append(b, words[rnd.IntN(len(words))]...), ' ')
		if rnd.IntN(8) == 0 {
			b = fmt.Appendf(b, "%x", rnd.Uint32())
		}
	}
	return b[:n]
}

func attachment(n int, seed byte) []byte {
	raw := make([]byte, n*3/4)
	_, _ = rand.NewChaCha8([32]byte{seed}).Read(raw)
	enc := base64.StdEncoding.EncodeToString(raw)
	b := mail(2000, uint64(seed))
	for len(enc) > 76 && len(b) < n {
		b = append(append(b, enc[:76]...), "\r\n"...)
		enc = enc[76:]
	}
	return b[:min(n, len(b))]
}

func cpuTime() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

var kinds = []struct {
	name string
	make func(seed uint64) []byte
}{
	{"4k", func(s uint64) []byte { return mail(4<<10, s) }},
	{"20k", func(s uint64) []byte { return mail(20<<10, s) }},
	{"100k", func(s uint64) []byte { return mail(100<<10, s) }},
	{"1M-base64", func(s uint64) []byte { return attachment(1<<20, byte(s)) }},
}

// BenchmarkDeliver stores bodies on disk, each with five rows as a delivery has, durably, by 32
// senders at once.
func BenchmarkDeliver(b *testing.B) {
	for _, k := range kinds {
		b.Run(k.name, func(b *testing.B) {
			db, err := pebblekv.Open(b.TempDir(), pebblekv.Options{})
			if err != nil {
				b.Fatal(err)
			}
			defer db.Close()
			s := New(db, Options{})
			bodies := make([][]byte, 16)
			for i := range bodies {
				bodies[i] = k.make(uint64(i))
			}
			var next atomic.Int64
			b.SetParallelism(16)
			b.SetBytes(int64(len(bodies[0])))
			b.ReportAllocs()
			before := cpuTime()
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					n := next.Add(1)
					deliver(b, s, db, bodies[n%16], n)
				}
			})
			b.ReportMetric(float64((cpuTime()-before).Microseconds())/float64(b.N), "cpu-µs/op")
			b.ReportMetric(float64(db.Stats().WALBytes)/float64(b.N), "wal-B/op")
		})
	}
}

func deliver(b *testing.B, s *Store, db kv.Database, body []byte, n int64) {
	w := s.Create(ctx)
	if _, err := w.Write(body); err != nil {
		b.Error(err)
		return
	}
	p, err := w.Finish()
	if err != nil {
		b.Error(err)
		return
	}
	account := n % 100
	err = db.Update(ctx, kv.Scope(fmt.Sprint("account/", account)), func(txn kv.Txn) error {
		for row := range 5 {
			key := fmt.Appendf(nil, "s%08d/%d/%012d", account, row, n)
			if err := txn.Set(key, body[:60*row]); err != nil {
				return err
			}
		}
		return p.Link(txn, fmt.Append(nil, n))
	})
	if err != nil {
		b.Error(err)
	}
	p.Committed()
}

// BenchmarkWrite is the work of Create, Write and Finish alone.
func BenchmarkWrite(b *testing.B) {
	for _, k := range kinds {
		b.Run(k.name, func(b *testing.B) {
			s := New(nowhere{memkv.New()}, Options{})
			body := k.make(1)
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			for range b.N {
				w := s.Create(ctx)
				for p := body; len(p) > 0; p = p[min(len(p), 16<<10):] {
					if _, err := w.Write(p[:min(len(p), 16<<10)]); err != nil {
						b.Fatal(err)
					}
				}
				p, err := w.Finish()
				if err != nil {
					b.Fatal(err)
				}
				p.Committed()
			}
		})
	}
}

// nowhere is a database that throws away what is staged.
type nowhere struct{ *memkv.DB }

func (nowhere) Stage(context.Context, ...kv.Pair) error { return nil }

// BenchmarkRead reads stored bodies whole.
func BenchmarkRead(b *testing.B) {
	for _, k := range kinds {
		b.Run(k.name, func(b *testing.B) {
			db, err := pebblekv.Open(b.TempDir(), pebblekv.Options{})
			if err != nil {
				b.Fatal(err)
			}
			defer db.Close()
			s := New(db, Options{})
			var refs []Ref
			for i := range 32 {
				w := s.Create(ctx)
				if _, err := w.Write(k.make(uint64(i))); err != nil {
					b.Fatal(err)
				}
				p, err := w.Finish()
				if err != nil {
					b.Fatal(err)
				}
				err = db.Update(ctx, "a", func(txn kv.Txn) error { return p.Link(txn, nil) })
				if err != nil {
					b.Fatal(err)
				}
				refs = append(refs, p.Ref())
			}
			b.SetBytes(refs[0].Size)
			b.ReportAllocs()
			b.ResetTimer()
			for i := range b.N {
				if err := s.Verify(ctx, refs[i%len(refs)]); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkReadInOrder reads many short bodies in the order in which they came, fifty in one
// transaction, as IMAP's FETCH does: from tables, for the first time in the process (each compared
// with its SHA-256), again, and from what was kept.
func BenchmarkReadInOrder(b *testing.B) {
	const n, step = 5000, 50
	dir := b.TempDir()
	refs := fillShort(b, dir, n)
	db, err := pebblekv.Open(dir, pebblekv.Options{}) // what was written is in tables now
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	pass := func(s *Store) {
		for from := 0; from < n; from += step {
			err := db.View(ctx, "a", func(r kv.Reader) error {
				for _, ref := range refs[from : from+step] {
					body := s.OpenIn(r, ref)
					if _, err := body.WriteTo(io.Discard); err != nil {
						return err
					}
					_ = body.Close()
				}
				return nil
			})
			if err != nil {
				b.Fatal(err)
			}
		}
	}
	for passes, name := range []string{"first", "second", "kept"} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(n * refs[0].Size)
			for b.Loop() {
				b.StopTimer()
				s := New(db, Options{})
				for range passes {
					pass(s)
				}
				b.StartTimer()
				pass(s)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/body")
		})
	}
}

// fillShort stores n bodies of 5 kB in a new database.
func fillShort(b *testing.B, dir string, n int) []Ref {
	b.Helper()
	db, err := pebblekv.Open(dir, pebblekv.Options{})
	if err != nil {
		b.Fatal(err)
	}
	s := New(db, Options{})
	refs := make([]Ref, n)
	for i := range refs {
		w := s.Create(ctx)
		if _, err := w.Write(text(5000 + i%7)); err != nil {
			b.Fatal(err)
		}
		p, err := w.Finish()
		if err != nil {
			b.Fatal(err)
		}
		err = db.Update(ctx, "a", func(txn kv.Txn) error { return p.Link(txn, []byte("o")) })
		if err != nil {
			b.Fatal(err)
		}
		refs[i] = p.Ref()
	}
	if err := db.Close(); err != nil {
		b.Fatal(err)
	}
	return refs
}

// BenchmarkCompress is compress alone; the figures for real mail are beside codec.
func BenchmarkCompress(b *testing.B) {
	c := newCodec()
	for _, k := range kinds {
		b.Run(k.name, func(b *testing.B) {
			body := k.make(1)
			body = body[:min(len(body), laterChunk)]
			buf := make([]byte, 0, largeBuffer)
			b.SetBytes(int64(len(body)))
			for range b.N {
				out, _ := c.compress(buf[:0], body)
				b.ReportMetric(float64(len(out))/float64(len(body)), "ratio")
			}
		})
	}
}

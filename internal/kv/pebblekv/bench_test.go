package pebblekv

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"tram/internal/kv"
)

// appendRows writes what storing a message writes: 12 rows, 1 kB together, and a body of 4 kB.
func appendRows(txn kv.Txn, keys [][]byte, row, body []byte) error {
	for i, k := range keys {
		v := row[:20+i*12]
		if i == 0 {
			v = body
		}
		if err := txn.Set(k, v); err != nil {
			return err
		}
	}
	return nil
}

// cpu reports the processor time per operation, which other work on the machine does not change.
func cpu(b *testing.B) (done func()) {
	began := cpuTime()
	return func() {
		b.ReportMetric(float64((cpuTime()-began).Nanoseconds())/1000/float64(b.N), "cpu-µs/op")
	}
}

func cpuTime() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func benchKeys(n int64) [][]byte {
	keys := make([][]byte, 12)
	for i := range keys {
		keys[i] = fmt.Appendf(nil, "%s%04d/%02d/%012d", []string{bodies, "s"}[min(i, 1)], n%500, i, n)
	}
	return keys
}

// BenchmarkUpdate is a transaction of 12 keys without a disk: the time is the engine's own.
func BenchmarkUpdate(b *testing.B) {
	row, body := make([]byte, 200), make([]byte, 4000)
	for _, c := range []struct {
		name  string
		reads func(txn kv.Txn, keys [][]byte) error
	}{
		{"blind", func(kv.Txn, [][]byte) error { return nil }},
		{"readsBefore", func(txn kv.Txn, keys [][]byte) error {
			for _, k := range keys[:4] {
				if _, err := txn.Get(k); err != nil && !errors.Is(err, kv.ErrNotFound) {
					return err
				}
			}
			return nil
		}},
	} {
		b.Run(c.name, func(b *testing.B) {
			db := open(b, "db", Options{FS: vfs.NewMem()})
			b.ReportAllocs()
			defer cpu(b)()
			for i := range b.N {
				keys := benchKeys(int64(i))
				err := db.Update(context.Background(), "account/17", func(txn kv.Txn) error {
					return errors.Join(c.reads(txn, keys), appendRows(txn, keys, row, body))
				})
				if err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("readsAfter", func(b *testing.B) {
		db := open(b, "db", Options{FS: vfs.NewMem()})
		b.ReportAllocs()
		defer cpu(b)()
		for i := range b.N {
			keys := benchKeys(int64(i))
			err := db.Update(context.Background(), "account/17", func(txn kv.Txn) error {
				if err := appendRows(txn, keys, row, body); err != nil {
					return err
				}
				for _, k := range keys[:4] {
					if _, err := txn.Get(k); err != nil {
						return err
					}
				}
				return nil
			})
			if err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkCommit is the same on the disk, by many at the same time, in scopes of their own and all
// in one.
func BenchmarkCommit(b *testing.B) {
	row, body := make([]byte, 200), make([]byte, 4000)
	for _, scopes := range []int64{1, 1000} {
		b.Run(fmt.Sprint("scopes=", scopes), func(b *testing.B) {
			db := open(b, b.TempDir(), Options{})
			var next atomic.Int64
			b.SetParallelism(16)
			b.ReportAllocs()
			began := db.guard.syncs.Load()
			defer cpu(b)()
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					n := next.Add(1)
					keys := benchKeys(n)
					scope := kv.Scope(fmt.Sprint("account/", n%scopes))
					err := db.Update(context.Background(), scope, func(txn kv.Txn) error {
						return appendRows(txn, keys, row, body)
					})
					if err != nil {
						b.Error(err)
						return
					}
				}
			})
			b.ReportMetric(float64(b.N)/float64(db.guard.syncs.Load()-began), "commits/sync")
		})
	}
}

func filled(b *testing.B) *DB {
	db := open(b, b.TempDir(), Options{})
	row, body := make([]byte, 200), make([]byte, 4000)
	for i := range int64(200) {
		err := db.Update(context.Background(), "fill", func(txn kv.Txn) error {
			for j := range int64(100) {
				if err := appendRows(txn, benchKeys(100*i+j), row, body); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			b.Fatal(err)
		}
	}
	if err := db.pebble.Flush(); err != nil {
		b.Fatal(err)
	}
	return db
}

// BenchmarkView reads one row, a body, and 100 rows of 240,000 in tables.
func BenchmarkView(b *testing.B) {
	db := filled(b)
	for _, c := range []struct {
		name string
		read func(r kv.Reader, n int64) error
	}{
		{"nothing", func(kv.Reader, int64) error { return nil }},
		{"get", func(r kv.Reader, n int64) error { _, err := r.Get(benchKeys(n)[3]); return err }},
		{"missing", func(r kv.Reader, n int64) error {
			if _, err := r.Get(append(benchKeys(n)[3], 'x')); !errors.Is(err, kv.ErrNotFound) {
				return fmt.Errorf("found: %w", err)
			}
			return nil
		}},
		{"body", func(r kv.Reader, n int64) error {
			return kv.Peek(r, benchKeys(n)[0], func([]byte) error { return nil })
		}},
		{"scan100", func(r kv.Reader, n int64) error {
			return r.Scan(kv.Range{Start: benchKeys(n)[1], Limit: 100},
				func(_, _ []byte) error { return nil })
		}},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			defer cpu(b)()
			for i := range b.N {
				n := int64(i) * 7919 % 20000
				err := db.View(context.Background(), "x", func(r kv.Reader) error { return c.read(r, n) })
				if err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkOpen opens a database of 100 MB, closed in order and killed.
func BenchmarkOpen(b *testing.B) {
	db := filled(b)
	dir := db.dir
	for _, how := range []string{"closed", "killed"} {
		b.Run(how, func(b *testing.B) {
			var spent time.Duration
			for range b.N {
				b.StopTimer()
				from := dir
				if how == "killed" { // 20 MB of log
					db := open(b, dir, Options{})
					row, body := make([]byte, 200), make([]byte, 4000)
					for i := range int64(4000) {
						err := db.Update(context.Background(), "fill", func(txn kv.Txn) error {
							return appendRows(txn, benchKeys(i), row, body)
						})
						if err != nil {
							b.Fatal(err)
						}
					}
					from = b.TempDir() + "/copy"
					if err := db.Checkpoint(context.Background(), from); err != nil {
						b.Fatal(err)
					}
					_ = db.Close()
				} else {
					_ = db.Close()
				}
				b.StartTimer()
				began := cpuTime()
				again, err := Open(from, Options{})
				spent += cpuTime() - began
				b.StopTimer()
				if err != nil {
					b.Fatal(err)
				}
				_ = again.Close()
				b.StartTimer()
			}
			b.ReportMetric(float64(spent.Milliseconds())/float64(b.N), "cpu-ms/op")
		})
	}
}

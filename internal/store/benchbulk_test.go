package store

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"tram/internal/blob"
	"tram/internal/clock"
	"tram/internal/kv/pebblekv"
	"tram/internal/limits"
)

// BenchmarkBulk is what people do with a whole mailbox at once, on a real disk, while others go on: it
// tells how long the longest of their reads, flag changes and deliveries took meanwhile. Compare with
// idle, where nothing else goes on.
func BenchmarkBulk(b *testing.B) {
	db, err := pebblekv.Open(b.TempDir(), pebblekv.Options{
		CacheBytes: 256 << 20,
		Limits:     limits.Storage{Reserve: 1, ReservePercent: 1, Ballast: 1},
	})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { db.Close() })
	s, err := Open(context.Background(), Options{
		DB: db, Blobs: blob.New(db, blob.Options{}), Clock: clock.System,
	})
	if err != nil {
		b.Fatal(err)
	}
	id := fill(b, s, big)
	half := func(tx *Tx, from MailboxID) []UID {
		l, err := tx.List(from)
		if err != nil {
			b.Fatal(err)
		}
		return uidsOf(l)[:big/2]
	}
	account := func(fn func(tx *Tx) error) {
		if err := s.Account(1).Update(context.Background(), fn); err != nil {
			b.Fatal(err)
		}
	}
	for _, work := range []struct {
		name     string
		do, undo func()
	}{
		{"idle", func() { _ = clock.Sleep(context.Background(), clock.System, time.Second) }, func() {}},
		{"delete", func() {
			account(func(tx *Tx) error {
				_, _, err := tx.SetFlags(id, half(tx, id), FlagChange{Flags: Deleted})
				return err
			})
		}, func() {}},
		{"expunge", func() {
			account(func(tx *Tx) error {
				_, err := tx.Expunge(id, half(tx, id))
				return err
			})
		}, func() { recoverAll(b, s, id) }},
		{"move", func() {
			account(func(tx *Tx) error {
				_, err := tx.Move(id, half(tx, id), tx.RoleMailbox(RoleArchive))
				return err
			})
		}, func() {
			account(func(tx *Tx) error {
				archive := tx.RoleMailbox(RoleArchive)
				_, err := tx.Move(archive, half(tx, archive), id)
				return err
			})
		}},
	} {
		b.Run(work.name, func(b *testing.B) {
			var waits othersWaits
			for b.Loop() {
				stop := waits.begin(b, s, id)
				work.do()
				b.StopTimer()
				stop()
				work.undo()
				b.StartTimer()
			}
			waits.report(b)
		})
	}
}

// othersWaits is how long others wait while something goes on.
type othersWaits struct {
	mu    sync.Mutex
	waits map[string][]time.Duration
}

// begin starts the others and returns a function that ends them.
func (o *othersWaits) begin(b *testing.B, s *Store, id MailboxID) (stop func()) {
	if o.waits == nil {
		o.waits = map[string][]time.Duration{}
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	run := func(name string, fn func() error) {
		wg.Go(func() {
			for ctx.Err() == nil {
				began := time.Now()
				if err := fn(); err != nil {
					b.Error(err)
					return
				}
				o.mu.Lock()
				o.waits[name] = append(o.waits[name], time.Since(began))
				o.mu.Unlock()
				_ = clock.Sleep(ctx, clock.System, 5*time.Millisecond) // the end is seen above
			}
		})
	}
	run("read", func() error {
		return s.Account(1).View(context.Background(), func(tx *Tx) error {
			l, err := tx.List(id)
			if err != nil {
				return err
			}
			return tx.EachEmail(l, l.Len()-50, l.Len(), func(Entry, *Email) error { return nil })
		})
	})
	run("other", func() error {
		body, m := take(b, s, letter(1, 4000))
		return s.Account(2).Update(context.Background(), func(tx *Tx) error {
			_, err := tx.Append(AppendOptions{
				Mailboxes: []MailboxID{tx.RoleMailbox(RoleInbox)}, Body: body, Message: m,
			})
			return err
		})
	})
	return func() { cancel(); wg.Wait() }
}

func (o *othersWaits) report(b *testing.B) {
	for name, waits := range o.waits {
		slices.Sort(waits)
		b.ReportMetric(float64(waits[len(waits)-1])/1e6, name+"-max-ms")
		b.ReportMetric(float64(waits[len(waits)/2])/1e6, name+"-ms")
	}
}

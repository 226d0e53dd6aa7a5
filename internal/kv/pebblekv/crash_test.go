package pebblekv

import (
	"context"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/wal"

	"tram/internal/kv"
)

var crashSeeds = flag.Int("crash.seeds", 30, "power losses that TestPowerLoss tries")

// TestPowerLoss pulls the plug at random moments under load, with none, some or all of the unsynced
// data kept, several times over on the same data. Nothing that was acknowledged or seen by a View
// may be gone, nothing may be there in part, and the database must open each time.
func TestPowerLoss(t *testing.T) {
	t.Parallel()
	for seed := range *crashSeeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			rnd := rand.New(rand.NewPCG(uint64(seed), 4))
			fs := vfs.NewCrashableMem()
			l := &load{}
			for life := range 4 {
				fs = l.live(t, rnd, fs, life)
			}
			db := open(t, "db", Options{FS: fs})
			l.check(t, db)
			if err := db.Check(context.Background(), func(err error) { t.Error(err) }, nil); err != nil {
				t.Error(err)
			}
		})
	}
}

const loadWriters = 6

// load is what several writers and readers know of a database. Each writer counts its transactions
// in a row of its own; two share a scope.
type load struct {
	acked [loadWriters]atomic.Uint64 // the writer's last transaction that was acknowledged
	seen  [loadWriters]atomic.Uint64 // the last one that a View has seen
	next  [loadWriters]uint64
}

// live opens the database, checks it, works on it, and returns what is left when the power goes.
func (l *load) live(t *testing.T, rnd *rand.Rand, fs *vfs.MemFS, life int) *vfs.MemFS {
	db, err := Open("db", Options{
		FS: fs, MemTableBytes: 128 << 10, // so that logs come and go
		OnFatal: func(err error) { t.Errorf("life %d: storage failed: %v", life, err) },
	})
	if err != nil {
		t.Fatalf("life %d: %v", life, err)
	}
	l.check(t, db)
	var stop atomic.Bool
	var total atomic.Int64
	enough, goal := make(chan struct{}), 50+rnd.Int64N(700)
	var wg sync.WaitGroup
	for w := range loadWriters {
		seed := rnd.Uint64()
		wg.Go(func() {
			r := rand.New(rand.NewPCG(seed, 5))
			for !stop.Load() {
				if err := l.write(db, r, w); err != nil {
					t.Errorf("life %d: %v", life, err)
					return
				}
				if total.Add(1) == goal {
					close(enough)
				}
			}
		})
	}
	wg.Go(func() {
		for w := 0; !stop.Load(); w = (w + 1) % loadWriters {
			if err := l.look(db, w); err != nil {
				t.Errorf("life %d: %v", life, err)
				return
			}
		}
	})
	<-enough
	// What is known at this moment must be in the clone, for it is made later.
	var known load
	for w := range loadWriters {
		known.acked[w].Store(l.acked[w].Load())
		known.seen[w].Store(l.seen[w].Load())
	}
	left := fs.CrashClone(vfs.CrashCloneCfg{
		UnsyncedDataPercent: []int{0, 25, 50, 75, 100}[rnd.IntN(5)], RNG: rnd,
	})
	checkMark(t, left)
	stop.Store(true)
	wg.Wait()
	_ = db.Close() // of the file system that is given up
	for w := range loadWriters {
		l.acked[w].Store(known.acked[w].Load())
		l.seen[w].Store(known.seen[w].Load())
	}
	return left
}

// checkMark: the log that the mark names, if it is still there, has the number that the mark names.
func checkMark(t *testing.T, fs vfs.FS) {
	t.Helper()
	m, err := openMark(fs, "db")
	if err != nil {
		t.Fatal(err)
	}
	defer m.close()
	logs, err := wal.Scan(wal.Dir{FS: fs, Dirname: "db"})
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range logs {
		if uint64(l.Num) != m.at.log || m.at.seq == 0 {
			continue
		}
		var end logEnd
		if err := end.follow(l); err != nil {
			t.Fatal(err)
		}
		if end.seq < m.at.seq {
			t.Errorf("the mark says that log %d has number %d, it ends with %d: %v",
				m.at.log, m.at.seq, end.seq, end.why)
		}
	}
}

func loadScope(w int) kv.Scope { return kv.Scope(fmt.Sprint("w", w/2)) }

func (l *load) write(db *DB, r *rand.Rand, w int) error {
	ctx := context.Background()
	n := l.next[w] + 1
	body := fmt.Appendf(nil, "bcstaged/%d/%08d", w, n)
	staged := r.IntN(4) == 0
	if staged {
		if err := db.Stage(ctx, kv.Pair{Key: body, Value: make([]byte, r.IntN(9000))}); err != nil {
			return err
		}
	}
	size := r.IntN(3000)
	if r.IntN(40) == 0 {
		size = 100 << 10 // a table of its own
	}
	err := db.Update(ctx, loadScope(w), func(txn kv.Txn) error {
		state := binary.BigEndian.AppendUint64(nil, n)
		if staged {
			state = append(state, body...)
		}
		return errors.Join(txn.Set(fmt.Appendf(nil, "count/%d", w), state),
			txn.Set(fmt.Appendf(nil, "row/%d/%08d", w, n), make([]byte, size)),
			txn.Set(fmt.Appendf(nil, "twin/%d/%08d", w, n), nil))
	})
	if err != nil {
		return err
	}
	l.next[w] = n
	l.acked[w].Store(n)
	return nil
}

// look reads a counter in a View of its scope.
func (l *load) look(db *DB, w int) error {
	return db.View(context.Background(), loadScope(w), func(r kv.Reader) error {
		n, err := count(r, w)
		if err == nil && n > l.seen[w].Load() {
			l.seen[w].Store(n)
		}
		return err
	})
}

func count(r kv.Reader, w int) (uint64, error) {
	v, err := r.Get(fmt.Appendf(nil, "count/%d", w))
	if errors.Is(err, kv.ErrNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	if len(v) > 8 { // what it refers to was staged before
		if _, err := r.Get(v[8:]); err != nil {
			return 0, fmt.Errorf("staged body %s: %w", v[8:], err)
		}
	}
	return binary.BigEndian.Uint64(v), nil
}

// check compares the database with what is known, and sets the counters to what is there.
func (l *load) check(t *testing.T, db *DB) {
	t.Helper()
	err := db.View(context.Background(), "", func(r kv.Reader) error {
		for w := range loadWriters {
			n, err := count(r, w)
			if err != nil {
				return err
			}
			if n < l.acked[w].Load() || n < l.seen[w].Load() {
				t.Errorf("writer %d: %d transactions are left, %d were acknowledged and %d seen",
					w, n, l.acked[w].Load(), l.seen[w].Load())
			}
			for _, kind := range []string{"row", "twin"} {
				rows := uint64(0)
				err := r.Scan(kv.Range{Start: fmt.Appendf(nil, "%s/%d/", kind, w),
					End: fmt.Appendf(nil, "%s/%d0", kind, w), KeysOnly: true},
					func(_, _ []byte) error { rows++; return nil })
				if err != nil {
					return err
				}
				if rows != n {
					t.Errorf("writer %d: the counter says %d, there are %d of %s", w, n, rows, kind)
				}
			}
			l.next[w] = n
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

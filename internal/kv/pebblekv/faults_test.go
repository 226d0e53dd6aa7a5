package pebblekv

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"tram/internal/kv"
)

// TestDiskErrors lets the n-th write or sync of the log fail, for many n, under load. The fatal
// hook must be called, nothing may be acknowledged any more, and what was acknowledged must be on
// the disk as a power loss leaves it.
func TestDiskErrors(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		kind errorfs.OpKind
		err  error
	}{
		{errorfs.OpFileSyncData, syscall.EIO},
		{errorfs.OpFileWrite, syscall.EIO},
		{errorfs.OpFileWrite, syscall.ENOSPC},
	} {
		for _, after := range []int64{1, 2, 7, 30, 90} {
			t.Run(fmt.Sprint(c.kind, c.err, after), func(t *testing.T) {
				t.Parallel()
				diskError(t, c.kind, c.err, after)
			})
		}
	}
}

func diskError(t *testing.T, kind errorfs.OpKind, fault error, after int64) {
	mem := vfs.NewCrashableMem()
	var armed, fired atomic.Bool
	var calls atomic.Int64
	fs := errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
		_, isLog := (&guard{FS: mem, dir: "db"}).isLog(op.Path)
		if op.Kind != kind || !isLog || !armed.Load() {
			return nil
		}
		if calls.Add(1) == after { // once only: the next try would succeed
			fired.Store(true)
			return fault
		}
		return nil
	}))
	died := make(chan error, 1)
	db, err := Open("db", Options{FS: fs, OnFatal: func(err error) { died <- err }})
	if err != nil {
		t.Fatal(err)
	}
	armed.Store(true)
	const writers = 4
	var acked [writers]atomic.Int64
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for n := int64(1); ; n++ {
				err := db.Update(context.Background(), kv.Scope(fmt.Sprint(w)), func(txn kv.Txn) error {
					return txn.Set(fmt.Appendf(nil, "%d/%06d", w, n), make([]byte, 100))
				})
				if err != nil {
					if !errors.Is(err, kv.ErrClosed) || !errors.Is(err, fault) {
						t.Errorf("Update on a failed disk: %v, want ErrClosed and the cause", err)
					}
					return
				}
				acked[w].Store(n)
			}
		})
	}
	if err := <-died; !errors.Is(err, fault) {
		t.Errorf("the fatal hook got %v, want %v", err, fault)
	}
	wg.Wait()
	if !fired.Load() {
		t.Fatal("no fault was made")
	}
	ctx := context.Background()
	for what, err := range map[string]error{
		"Update": db.Update(ctx, "x", func(kv.Txn) error { return nil }),
		"View":   db.View(ctx, "x", func(kv.Reader) error { return nil }),
		"Stage":  db.Stage(ctx, kv.Pair{Key: []byte("x")}),
		"Full":   db.Full(),
	} {
		if !errors.Is(err, kv.ErrClosed) {
			t.Errorf("%s on a failed disk: %v, want ErrClosed", what, err)
		}
	}
	left := open(t, "db", Options{FS: mem.CrashClone(vfs.CrashCloneCfg{})})
	for w := range writers {
		for n := int64(1); n <= acked[w].Load(); n++ {
			view(t, left, fmt.Sprintf("%d/%06d", w, n))
		}
	}
}

// view fails the test if key is not there.
func view(t testing.TB, db *DB, key string) {
	t.Helper()
	err := db.View(context.Background(), "", func(r kv.Reader) error {
		_, err := r.Get([]byte(key))
		return err
	})
	if err != nil {
		t.Errorf("key %s: %v", key, err)
	}
}

// TestDataDamage flips single bits in every table and value file: the damage is reported by Check
// and never read as if it were right. It is slow because Pebble looks for the flipped bit when a
// checksum is wrong.
func TestDataDamage(t *testing.T) {
	t.Parallel()
	mem := vfs.NewCrashableMem()
	db := open(t, "db", Options{FS: mem})
	rnd := rand.New(rand.NewPCG(10, 10))
	want := map[string]string{}
	for i := range 15 {
		body := make([]byte, 3600)
		for j := range body {
			body[j] = byte(rnd.Uint32())
		}
		for _, k := range []string{fmt.Sprintf("bc%04d", i), fmt.Sprintf("s%04d", i)} {
			want[k] = string(body[:len(body)/(1+i%3)])
			put(t, db, k, want[k])
		}
	}
	if err := db.pebble.Flush(); err != nil {
		t.Fatal(err)
	}
	names, err := mem.List("db")
	if err != nil {
		t.Fatal(err)
	}
	tried := 0
	for _, name := range names {
		if !isData(name) {
			continue
		}
		for range 3 {
			tried++
			fs := clone(mem)
			change(t, fs, "db/"+name, func(b []byte) []byte {
				b[rnd.IntN(len(b))] ^= 1 << rnd.IntN(8)
				return b
			})
			damagedRead(t, fs, want)
		}
	}
	if tried < 6 {
		t.Errorf("only %d damages tried in %v", tried, names)
	}
}

func isData(name string) bool {
	return len(name) > 4 && (name[len(name)-4:] == ".sst" || name[len(name)-5:] == ".blob")
}

// damagedRead reads everything: each value is right or an error.
func damagedRead(t *testing.T, fs vfs.FS, want map[string]string) {
	t.Helper()
	db, err := Open("db", Options{FS: fs})
	if err != nil {
		return // refused is as good
	}
	defer db.Close()
	var found []error
	err = db.Check(context.Background(), func(err error) { found = append(found, err) }, nil)
	if err != nil {
		t.Errorf("Check: %v", err)
	}
	bad := 0
	for k, v := range want {
		err := db.View(context.Background(), "", func(r kv.Reader) error {
			got, err := r.Get([]byte(k))
			if err == nil && string(got) != v {
				t.Errorf("key %s is read wrongly", k)
			}
			return err
		})
		if err != nil {
			bad++
			if !errors.Is(err, kv.ErrCorrupt) {
				t.Errorf("key %s: %v, want ErrCorrupt", k, err)
			}
		}
	}
	if bad > 0 && len(found) == 0 {
		t.Errorf("%d values cannot be read, and Check found nothing", bad)
	}
}

func put(t testing.TB, db *DB, key, value string) {
	t.Helper()
	err := db.Update(context.Background(), "put", func(txn kv.Txn) error {
		return txn.Set([]byte(key), []byte(value))
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestRepair: after damage, Repair keeps what is before it, saves the rest, and Open works.
func TestRepair(t *testing.T) {
	t.Parallel()
	const n = 100
	mem := vfs.NewCrashableMem()
	_, log, size := killed(t, mem, n)
	for what, do := range map[string]func(b []byte) []byte{
		"nothing":   func(b []byte) []byte { return b },
		"middle":    func(b []byte) []byte { b[size/2] ^= 1; return b },
		"beginning": func(b []byte) []byte { b[20] ^= 1; return b },
		"end":       func(b []byte) []byte { b[size-1] ^= 1; return b },
		"cut":       func(b []byte) []byte { return b[:size*2/3] },
		"empty":     func(b []byte) []byte { return nil },
	} {
		fs := clone(mem)
		change(t, fs, log, do)
		done, err := Repair("db", Options{FS: fs})
		if err != nil {
			t.Errorf("%s: %v", what, err)
			continue
		}
		db := open(t, "db", Options{FS: fs})
		gone := missing(t, db, n)
		if what == "nothing" {
			if len(done.Damage) > 0 || len(gone) > 0 {
				t.Errorf("Repair of a sound database: %v, %d are gone", done, len(gone))
			}
			continue
		}
		if len(done.Damage) == 0 || done.Saved == "" || len(gone) == 0 {
			t.Errorf("%s: %+v, %d are gone", what, done, len(gone))
		}
		for i, g := range gone { // a suffix
			if g != n-len(gone)+i {
				t.Errorf("%s: number %d is gone, and %d stayed behind it", what, g, n-1)
			}
		}
		if _, err := fs.Stat(fs.PathJoin(done.Saved, fs.PathBase(log)+".saved")); err != nil {
			t.Errorf("%s: the damaged log was not saved: %v", what, err)
		}
		commit(t, db, n) // life goes on, and through another kill
		if db.Close() != nil {
			t.Errorf("%s: Close: %v", what, err)
		}
		view(t, open(t, "db", Options{FS: clone(fs)}), string(rowKey(n)))
	}
}

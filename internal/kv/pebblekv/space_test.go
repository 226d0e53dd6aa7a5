package pebblekv

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"tram/internal/clock"
	"tram/internal/kv"
	"tram/internal/limits"
)

// smallDisk is a file system of a fixed size: what does not fit fails with ENOSPC.
type smallDisk struct {
	vfs.FS
	size int64

	mu      sync.Mutex
	files   map[string]int64 // what each file takes
	foreign int64            // what other programs take
}

func newSmallDisk(size int64) *smallDisk {
	return &smallDisk{FS: vfs.NewMem(), size: size, files: map[string]int64{}}
}

func (d *smallDisk) Unwrap() vfs.FS { return d.FS }

func (d *smallDisk) free() int64 {
	left := d.size - d.foreign
	for _, n := range d.files {
		left -= n
	}
	return left
}

// grow makes a file take up to size bytes.
func (d *smallDisk) grow(name string, size int64) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	more := size - d.files[name]
	if more > d.free() {
		return &os.PathError{Op: "write", Path: name, Err: syscall.ENOSPC}
	}
	d.files[name] = max(d.files[name], size)
	return nil
}

// eat lets another program take all but left bytes.
func (d *smallDisk) eat(left int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.foreign = 0
	d.foreign = d.free() - left
}

func (d *smallDisk) move(from, to string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if to != "" {
		d.files[to] = d.files[from]
	}
	delete(d.files, from)
}

func (d *smallDisk) GetDiskUsage(string) (vfs.DiskUsage, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	free := uint64(max(d.free(), 0))
	return vfs.DiskUsage{AvailBytes: free, TotalBytes: uint64(d.size),
		UsedBytes: uint64(d.size) - free}, nil
}

func (d *smallDisk) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := d.FS.Create(name, c)
	d.move(name, "")
	return &smallFile{File: f, d: d, name: name}, err
}

func (d *smallDisk) OpenReadWrite(name string, c vfs.DiskWriteCategory, o ...vfs.OpenOption) (
	vfs.File, error,
) {
	f, err := d.FS.OpenReadWrite(name, c, o...)
	return &smallFile{File: f, d: d, name: name}, err
}

func (d *smallDisk) ReuseForWrite(old, name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := d.FS.ReuseForWrite(old, name, c)
	d.move(old, name)
	return &smallFile{File: f, d: d, name: name}, err
}

func (d *smallDisk) Rename(old, name string) error {
	d.move(old, name)
	return d.FS.Rename(old, name)
}

func (d *smallDisk) Remove(name string) error {
	d.move(name, "")
	return d.FS.Remove(name)
}

func (d *smallDisk) RemoveAll(name string) error {
	d.move(name, "")
	return d.FS.RemoveAll(name)
}

type smallFile struct {
	vfs.File
	d    *smallDisk
	name string
	off  int64
}

func (f *smallFile) Write(p []byte) (int, error) {
	if err := f.d.grow(f.name, f.off+int64(len(p))); err != nil {
		return 0, err
	}
	n, err := f.File.Write(p)
	f.off += int64(n)
	return n, err
}

func (f *smallFile) WriteAt(p []byte, off int64) (int, error) {
	if err := f.d.grow(f.name, off+int64(len(p))); err != nil {
		return 0, err
	}
	return f.File.WriteAt(p, off)
}

func (f *smallFile) Preallocate(off, n int64) error { return f.d.grow(f.name, off+n) }

const (
	mib         = 1 << 20
	testReserve = 10 * mib
	testBallast = 5 * mib
)

// TestFullDisk fills a small disk, lets another program take the rest, deletes at 0 bytes free, and
// gives space back, ten times. Nothing may fail but with ErrFull, and never the database.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	disk := newSmallDisk(40 * mib)
	now := clock.NewFake(time.Unix(1e9, 0))
	db := open(t, "db", Options{FS: disk, Clock: now, MemTableBytes: mib,
		Limits: limits.Storage{Reserve: testReserve, Ballast: testBallast}})
	rnd := rand.NewChaCha8([32]byte{7})
	ctx := context.Background()
	set := func(ctx context.Context, key string) error {
		body := make([]byte, 100_000)
		_, _ = rnd.Read(body)
		return db.Update(ctx, "mail", func(txn kv.Txn) error { return txn.Set([]byte(key), body) })
	}
	for round := range 10 {
		stored := 0
		for ; ; stored++ {
			if err := set(ctx, fmt.Sprintf("bc%06d", stored)); err != nil {
				if !errors.Is(err, kv.ErrFull) {
					t.Fatalf("round %d: %v", round, err)
				}
				break
			}
		}
		// What was let in may still have to be written to tables: 3 memory tables and a log.
		if u, _ := disk.GetDiskUsage(""); int64(u.AvailBytes) < testReserve-6*mib {
			t.Errorf("round %d: %d bytes free when ErrFull came first", round, u.AvailBytes)
		}
		if stored < 50 {
			t.Fatalf("round %d: full after %d bodies", round, stored)
		}
		disk.eat(0)
		now.Advance(time.Second)
		if err := db.Full(); !errors.Is(err, kv.ErrFull) {
			t.Errorf("round %d: Full with 0 bytes free: %v", round, err)
		}
		if err := set(ctx, "bno"); !errors.Is(err, kv.ErrFull) {
			t.Errorf("round %d: Update with 0 bytes free: %v", round, err)
		}
		if err := db.Stage(ctx, kv.Pair{Key: []byte("bno")}); !errors.Is(err, kv.ErrFull) {
			t.Errorf("round %d: Stage with 0 bytes free: %v", round, err)
		}
		view(t, db, "bc000000")
		view(t, db, fmt.Sprintf("bc%06d", stored-1))
		for i := range stored {
			err := db.Update(kv.Freeing(ctx), "mail", func(txn kv.Txn) error {
				return txn.Delete(fmt.Appendf(nil, "bc%06d", i))
			})
			if err != nil {
				t.Fatalf("round %d: deleting with 0 bytes free: %v", round, err)
			}
		}
		disk.eat(0) // what the ballast left is taken, too
		now.Advance(time.Second)
		if err := set(kv.Freeing(ctx), "bno"); !errors.Is(err, kv.ErrFull) {
			t.Errorf("round %d: with nothing left at all: %v, want ErrFull", round, err)
		}
		disk.mu.Lock()
		disk.foreign = 0
		disk.mu.Unlock()
		if err := db.pebble.Compact(ctx, []byte("a"), []byte("z"), false); err != nil {
			t.Fatal(err)
		}
		// Files are removed in the background, when nothing there reads them any more.
		for i := 0; i < 1000 && !db.space.ballast; i++ {
			if err := db.pebble.Flush(); err != nil {
				t.Fatal(err)
			}
			db.pebble.TestOnlyWaitForCleaning()
			now.Advance(time.Second)
			_ = db.Full()
		}
		if err := db.Full(); err != nil || !db.space.ballast {
			t.Errorf("round %d: space has come back: Full %v, ballast %v", round, err,
				db.space.ballast)
		}
	}
	if err := db.failed(); err != nil {
		t.Error(err)
	}
}

// TestSpaceMeasure: measurements are repeated by time and by bytes written, and not for each call.
func TestSpaceMeasure(t *testing.T) {
	t.Parallel()
	now := clock.NewFake(time.Unix(1e9, 0))
	calls, left := 0, Space{Bytes: 100 * mib, Total: 1000 * mib, Files: -1}
	db := open(t, "db", Options{FS: vfs.NewMem(), Clock: now,
		Limits: limits.Storage{Reserve: 50 * mib},
		Free:   func() (Space, error) { calls++; return left, nil }})
	began := calls
	for range 100 {
		if err := db.Full(); err != nil {
			t.Fatal(err)
		}
	}
	if calls != began {
		t.Errorf("measured %d times for 100 calls", calls-began)
	}
	left.Bytes = 49 * mib
	if err := db.Full(); err != nil {
		t.Errorf("Full before the next measurement: %v", err)
	}
	now.Advance(spaceAge)
	if err := db.Full(); !errors.Is(err, kv.ErrFull) {
		t.Errorf("Full: %v, want ErrFull", err)
	}
	left.Bytes = 50 * mib
	now.Set(time.Unix(1e9-86400, 0)) // the clock is set back a day
	if err := db.Full(); err != nil {
		t.Errorf("Full with the reserve untouched: %v", err)
	}
	left.Bytes = 1
	for range 20 {
		put(t, db, "b", string(make([]byte, mib)))
		if left.Bytes = 1; db.Full() != nil {
			break
		}
	}
	if err := db.Full(); !errors.Is(err, kv.ErrFull) {
		t.Errorf("20 MiB were written and nothing was measured: %v", err)
	}
	// The larger of bytes and percent holds; inodes count, too.
	for _, c := range []struct {
		left    Space
		percent int
		full    bool
	}{
		{Space{Bytes: 60 * mib, Total: 1000 * mib, Files: -1}, 2, false},
		{Space{Bytes: 60 * mib, Total: 1000 * mib, Files: -1}, 7, true},
		{Space{Bytes: 80 * mib, Total: 1000 * mib, Files: -1}, 7, false},
		{Space{Bytes: 80 * mib, Total: 1000 * mib, Files: fewFiles}, 7, false},
		{Space{Bytes: 80 * mib, Total: 1000 * mib, Files: fewFiles - 1}, 7, true},
		{Space{Endless: true}, 7, false},
	} {
		left, db.space.limits.ReservePercent = c.left, c.percent
		now.Advance(spaceAge)
		if full := db.Full() != nil; full != c.full {
			t.Errorf("%+v with %d %%: full %v, want %v", c.left, c.percent, full, c.full)
		}
	}
}

// TestSuddenlyFull: another program takes the last byte between a measurement and a write. The
// ballast makes room at once, and the write that was let in is done.
func TestSuddenlyFull(t *testing.T) {
	t.Parallel()
	disk := newSmallDisk(64 * mib)
	now := clock.NewFake(time.Unix(1e9, 0)) // it stands: nothing is measured again by time
	db := open(t, "db", Options{FS: disk, Clock: now, MemTableBytes: mib,
		Limits: limits.Storage{Reserve: testReserve, Ballast: testBallast}})
	ctx := context.Background()
	set := func(key string) error {
		return db.Update(ctx, "mail", func(txn kv.Txn) error {
			return txn.Set([]byte(key), make([]byte, 400_000))
		})
	}
	if err := set("b1"); err != nil {
		t.Fatal(err)
	}
	disk.eat(0)
	if err := set("b2"); err != nil {
		t.Errorf("a write that was let in: %v", err)
	}
	if err := db.failed(); err != nil {
		t.Errorf("storage failed: %v", err)
	}
	if err := set("b3"); !errors.Is(err, kv.ErrFull) {
		t.Errorf("the next one: %v, want ErrFull", err)
	}
	view(t, db, "b1")
	view(t, db, "b2")
}

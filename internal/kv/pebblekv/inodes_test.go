package pebblekv

import (
	"context"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"tram/internal/clock"
	"tram/internal/kv"
	"tram/internal/limits"
)

// TestSuddenlyNoInodes: another program takes the last inode between a measurement and the next log
// file (D8). The ballast's files give theirs back, and the write that was let in is done.
func TestSuddenlyNoInodes(t *testing.T) {
	t.Parallel()
	var gone, refused atomic.Bool
	disk := newSmallDisk(256 * mib)
	fs := errorfs.Wrap(disk, errorfs.InjectorFunc(func(op errorfs.Op) error {
		switch {
		case op.Kind == errorfs.OpRemove && strings.Contains(op.Path, "BALLAST"):
			gone.Store(false)
		case op.Kind == errorfs.OpCreate && gone.Load():
			refused.Store(true)
			return syscall.ENOSPC
		}
		return nil
	}))
	now := clock.NewFake(time.Unix(1e9, 0)) // it stands: nothing is measured again by time
	db := open(t, "db", Options{FS: fs, Clock: now, MemTableBytes: mib / 2,
		Free:   func() (Space, error) { return Space{Bytes: 200 * mib, Total: 256 * mib, Files: -1}, nil },
		Limits: limits.Storage{Reserve: testReserve, Ballast: testBallast}})
	gone.Store(true)
	for i := range 40 {
		err := db.Update(context.Background(), "mail", func(txn kv.Txn) error {
			return txn.Set(rowKey(i), make([]byte, 100_000))
		})
		if err != nil && !refused.Load() {
			t.Fatalf("write %d: %v", i, err)
		}
		if refused.Load() {
			break
		}
	}
	if !refused.Load() {
		t.Fatal("no file was made: the test makes no fault")
	}
	if err := db.failed(); err != nil || gone.Load() {
		t.Errorf("storage failed: %v; the ballast stands: %v", err, gone.Load())
	}
}

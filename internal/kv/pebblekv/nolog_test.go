package pebblekv

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"tram/internal/kv"
)

// noNewLog is a file system on which no log can be made, nor taken again.
type noNewLog struct{ vfs.FS }

var errNoNewLog = errors.New("no new log")

func (f noNewLog) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	if strings.HasSuffix(name, ".log") {
		return nil, errNoNewLog
	}
	return f.FS.Create(name, c)
}

// TestNoLogAtAll: at the start Pebble removes the old log, whose content is in tables, before it makes
// the new one. A process that ends in between leaves none, and nothing is missing.
func TestNoLogAtAll(t *testing.T) {
	t.Parallel()
	mem := vfs.NewCrashableMem()
	db, err := Open("db", Options{FS: mem})
	if err != nil {
		t.Fatal(err)
	}
	set := func(db *DB, key string) {
		t.Helper()
		if err := db.Update(context.Background(), "s", func(txn kv.Txn) error {
			return txn.Set([]byte(key), []byte(key))
		}); err != nil {
			t.Fatal(err)
		}
	}
	set(db, "a")
	crashed := mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: rand.New(rand.NewPCG(1, 2))})
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if again, err := Open("db", Options{FS: noNewLog{crashed}}); err == nil {
		again.Close()
		t.Fatal("opened without a log")
	}
	names, err := crashed.List("db")
	if err != nil || slices.ContainsFunc(names, func(n string) bool { return strings.HasSuffix(n, ".log") }) {
		t.Fatalf("%q, %v: a log is left", names, err)
	}
	db, err = Open("db", Options{FS: crashed})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	set(db, "b")
	for _, key := range []string{"a", "b"} {
		if err := db.View(context.Background(), "s", func(r kv.Reader) error {
			_, err := r.Get([]byte(key))
			return err
		}); err != nil {
			t.Errorf("%s: %v", key, err)
		}
	}
}

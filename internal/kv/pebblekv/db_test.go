package pebblekv

import (
	"context"
	"math/rand/v2"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"tram/internal/kv"
	"tram/internal/kv/kvtest"
)

// open opens a database that ends with the test. A fatal error fails the test.
func open(t testing.TB, dir string, o Options) *DB {
	t.Helper()
	if o.OnFatal == nil {
		o.OnFatal = func(err error) { t.Errorf("storage failed: %v", err) }
	}
	db, err := Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func TestConformance(t *testing.T) {
	t.Parallel()
	kvtest.Run(t, func(t *testing.T) kv.Database {
		return open(t, "db", Options{FS: vfs.NewCrashableMem()})
	}, kvtest.WithCrash(func(t testing.TB, db kv.Database) kv.Database {
		old := db.(*DB)
		mem := old.opts.FS.(*vfs.MemFS).CrashClone(vfs.CrashCloneCfg{
			UnsyncedDataPercent: 50, RNG: rand.New(rand.NewPCG(1, 2)),
		})
		return open(t, "db", Options{FS: mem})
	}))
}

func TestConformanceOnDisk(t *testing.T) {
	t.Parallel()
	kvtest.Run(t, func(t *testing.T) kv.Database { return open(t, t.TempDir(), Options{}) },
		kvtest.WithCrash(func(t testing.TB, db kv.Database) kv.Database {
			old := db.(*DB)
			dir := t.TempDir()
			if err := old.Checkpoint(context.Background(), dir+"/copy"); err != nil {
				t.Fatal(err)
			}
			return open(t, dir+"/copy", Options{})
		}))
}

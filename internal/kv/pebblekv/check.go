package pebblekv

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sort"
	"strings"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/vfs"

	"tram/internal/kv"
)

// Stats implements kv.Database.
func (db *DB) Stats() kv.Stats {
	if !db.users.enter() {
		return kv.Stats{}
	}
	defer db.users.leave()
	m := db.pebble.Metrics()
	return kv.Stats{
		DiskBytes:    int64(m.DiskSpaceUsage()),
		FreeBytes:    db.space.free.Load(),
		ReserveBytes: db.space.reserve.Load(),
		WALBytes:     db.guard.bytes.Load(),
		Commits:      db.commits.Load(),
		Staged:       db.staged.Load(),
		Syncs:        db.guard.syncs.Load(),
		SyncTime:     db.guard.syncTime(),
		CacheBytes:   m.BlockCache.Size,
		MemoryBytes:  int64(m.MemTable.Size),
	}
}

// Checkpoint makes a copy of the database's present state in dir, which must not exist and should
// be on the same file system: tables are linked, not copied. The copy can be opened with Open.
func (db *DB) Checkpoint(ctx context.Context, dir string) error {
	if err := db.enter(ctx); err != nil {
		return err
	}
	defer db.users.leave()
	return db.checkpoint(dir)
}

func (db *DB) checkpoint(dir string) error {
	// What was acknowledged before is in the copy, and what is in no log of the copy is in tables.
	at := *db.mark.newest.Load()
	if err := db.pebble.Checkpoint(dir, pebble.WithFlushedWAL()); err != nil {
		return fmt.Errorf("copy storage to %s: %w", dir, mapError(err))
	}
	return createMark(db.opts.FS, dir, at)
}

// checkDir is where Check keeps its copy.
const checkDir = "check.tmp"

// Check reads every row that is stored and verifies its checksums, with a cache of its own so that
// the disk is read, and calls report for each damaged place it finds, on which it goes on. It takes
// no lock: the database is used meanwhile. progress, if not nil, is told how many bytes of keys and
// values were read.
func (db *DB) Check(ctx context.Context, report func(error), progress func(done int64)) error {
	if err := db.enter(ctx); err != nil {
		return err
	}
	defer db.users.leave()
	fs := db.opts.FS
	dir := fs.PathJoin(db.dir, checkDir)
	if err := fs.RemoveAll(dir); err != nil {
		return fmt.Errorf("check storage: %w", err)
	}
	bad := db.checkManifest()
	if bad != nil {
		report(bad)
	}
	if err := db.checkpoint(dir); err != nil && bad != nil {
		return fs.RemoveAll(dir) // without the list of files there is nothing to go by
	} else if err != nil {
		return fmt.Errorf("check storage: %w", err)
	}
	err := db.checkCopy(ctx, dir, report, progress)
	return errors.Join(err, fs.RemoveAll(dir))
}

func (db *DB) checkCopy(
	ctx context.Context, dir string, report func(error), progress func(int64),
) error {
	cache := pebble.NewCache(8 << 20)
	defer cache.Unref()
	o := db.pebbleOptions()
	o.FS, o.Lock, o.Cache, o.ReadOnly = db.opts.FS, nil, cache, true
	o.Logger = engineLog{db: &DB{log: db.log, opts: Options{OnFatal: func(error) {}}}}
	o.EventListener = &pebble.EventListener{DataCorruption: func(pebble.DataCorruptionInfo) {}}
	copied, err := pebble.Open(dir, o)
	if err != nil {
		report(fmt.Errorf("open copy of storage: %w", mapError(err)))
		return nil
	}
	c := checker{ctx: ctx, report: report, progress: progress}
	err = c.files(db.opts.FS, dir, o)
	if err == nil {
		err = c.walk(copied)
	}
	return errors.Join(err, copied.Close())
}

type checker struct {
	ctx      context.Context
	report   func(error)
	progress func(int64)
	unread   func(key []byte, err error) // may be nil; a key whose value cannot be read
	why      error                       // of the last of them
	done     int64
	bounds   [][]byte // where tables begin, and just after they end, in order
}

// files verifies every block of every table, also those that a walk over the pairs does not read.
func (c *checker) files(fs vfs.FS, dir string, o *pebble.Options) error {
	names, err := fs.List(dir)
	if err != nil {
		return fmt.Errorf("list tables: %w", err)
	}
	for _, name := range names {
		if err := c.ctx.Err(); err != nil {
			return err
		}
		if !strings.HasSuffix(name, ".sst") {
			continue
		}
		if err := checkTable(c.ctx, fs, fs.PathJoin(dir, name), o); err != nil {
			c.report(fmt.Errorf("table %s: %w", name, mapError(err)))
		}
	}
	return nil
}

func checkTable(ctx context.Context, fs vfs.FS, path string, o *pebble.Options) error {
	f, err := fs.Open(path)
	if err != nil {
		return err
	}
	readable, err := sstable.NewSimpleReadable(f)
	if err != nil {
		return errors.Join(err, f.Close())
	}
	r, err := sstable.NewReader(ctx, readable, o.MakeReaderOptions())
	if err != nil {
		return errors.Join(err, readable.Close())
	}
	return errors.Join(r.ValidateBlockChecksums(), r.Close())
}

// walk reads all pairs. After a value that cannot be read it goes on with the next key, after a
// table that cannot be read with the next place where a table begins or ends.
func (c *checker) walk(db *pebble.DB) error {
	if err := c.tables(db); err != nil {
		return err
	}
	it, err := db.NewIter(nil)
	if err != nil {
		return fmt.Errorf("check storage: %w", mapError(err))
	}
	defer func() { _ = it.Close() }()
	var at []byte // everything before was dealt with
	for ok := it.First(); ; {
		if !ok && it.Error() == nil {
			return nil
		}
		if ok {
			at = append(append(at[:0], it.Key()...), 0)
			if ok, err = c.pair(it); err != nil {
				return err
			}
			if ok {
				ok = it.Next()
				continue
			}
			c.report(fmt.Errorf("read key %x: %w", at[:len(at)-1], mapError(c.why)))
			// An iterator that has failed to read a block of values takes it for read the next time.
			_ = it.Close()
			if it, err = db.NewIter(nil); err != nil {
				return fmt.Errorf("check storage: %w", mapError(err))
			}
			ok = it.SeekGE(at)
			continue
		}
		c.report(fmt.Errorf("read table: %w", mapError(it.Error())))
		next := sort.Search(len(c.bounds), func(i int) bool {
			return bytes.Compare(c.bounds[i], at) > 0
		})
		if next == len(c.bounds) {
			return nil
		}
		at = append(at[:0], c.bounds[next]...)
		ok = it.SeekGE(at)
	}
}

// pair reads one value and reports whether that was possible.
func (c *checker) pair(it *pebble.Iterator) (bool, error) {
	if err := c.ctx.Err(); err != nil {
		return false, err
	}
	value, err := valueOf(it)
	if err != nil {
		c.why = err
		if c.unread != nil {
			c.unread(it.Key(), err)
		}
		return false, nil
	}
	before := c.done
	c.done += int64(len(it.Key()) + len(value))
	if c.progress != nil && c.done>>20 != before>>20 {
		c.progress(c.done)
	}
	return true, nil
}

func (c *checker) tables(db *pebble.DB) error {
	levels, err := db.SSTables()
	if err != nil {
		return fmt.Errorf("list tables: %w", mapError(err))
	}
	for _, level := range levels {
		for _, t := range level {
			end := append(append([]byte(nil), t.Largest.UserKey...), 0)
			c.bounds = append(c.bounds, t.Smallest.UserKey, end)
		}
	}
	sort.Slice(c.bounds, func(i, j int) bool { return bytes.Compare(c.bounds[i], c.bounds[j]) < 0 })
	return nil
}

// valueOf returns the value an iterator stands at. Pebble panics where the end of a file of values
// is damaged, from which it finds the rest (v2.1.7, DB.reportCorruption: "unknown metadata type"):
// one bad sector must not end the process.
func valueOf(it *pebble.Iterator) (value []byte, err error) {
	defer tamed(&err)
	return it.ValueAndErr()
}

// getFrom is r.Get, with the care of valueOf.
func getFrom(r pebble.Reader, key []byte) (value []byte, closer io.Closer, err error) {
	defer tamed(&err)
	return r.Get(key)
}

func tamed(err *error) {
	if p := recover(); p != nil {
		*err = fmt.Errorf("file of values cannot be opened (%v): %w", p, kv.ErrCorrupt)
	}
}

package pebblekv

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/wal"

	"tram/internal/kv"
)

// Open opens the database in dir, and makes it if there is none.
//
// Errors are kv.ErrInUse when another process has it open, kv.ErrNewer when its data is of a newer
// version of this program, and kv.ErrCorrupt when acknowledged changes cannot be read; the message
// names the file, the offset, and what to do. Nothing has been changed then.
func Open(dir string, o Options) (*DB, error) {
	o = o.withDefaults(dir)
	db := &DB{dir: dir, opts: o, log: o.Logger, inflight: newInflight(), users: newUsers()}
	if err := db.open(); err != nil {
		return nil, fmt.Errorf("open storage %s: %w", dir, db.advise(err))
	}
	return db, nil
}

func (db *DB) open() error {
	if err := db.opts.FS.MkdirAll(db.dir, 0o700); err != nil {
		return fmt.Errorf("make directory: %w", err)
	}
	db.opts.fewLogs()
	lock, err := lockDir(db.opts.FS, db.dir)
	if err != nil {
		return err
	}
	db.lock = lock
	if err := db.openLocked(); err != nil {
		return errors.Join(err, lock.Close())
	}
	return nil
}

func lockDir(fsys vfs.FS, dir string) (*pebble.Lock, error) {
	lock, err := pebble.LockDirectory(dir, fsys)
	switch {
	case err == nil:
		return lock, nil
	case errors.Is(err, fs.ErrPermission), errors.Is(err, fs.ErrNotExist), isNoSpace(err):
		return nil, fmt.Errorf("lock directory: %w", err)
	}
	return nil, fmt.Errorf("%w (%w)", kv.ErrInUse, err)
}

func isNoSpace(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// openLocked does the work of Open once no other process can.
func (db *DB) openLocked() error {
	fsys := db.opts.FS
	desc, err := pebble.Peek(db.dir, fsys)
	if err != nil {
		return fmt.Errorf("look at database: %w", err)
	}
	if !desc.Exists {
		if err := db.refuseRemains(); err != nil {
			return err
		}
		if err := createMark(fsys, db.dir, position{}); err != nil {
			return err
		}
	}
	if db.mark, err = openMark(fsys, db.dir); errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("the file %s is missing: %w", markName, kv.ErrCorrupt)
	} else if err != nil {
		return err
	}
	if err := fsys.RemoveAll(fsys.PathJoin(db.dir, checkDir)); err != nil {
		return errors.Join(fmt.Errorf("remove remains of a check: %w", err), db.mark.close())
	}
	if err := db.checkFormat(desc); err != nil {
		return errors.Join(err, db.mark.close())
	}
	if err := db.openPebble(!desc.Exists); err != nil {
		return errors.Join(err, db.mark.close())
	}
	return nil
}

// refuseRemains returns kv.ErrCorrupt when there is no database, but one has been acknowledged to.
func (db *DB) refuseRemains() error {
	m, err := openMark(db.opts.FS, db.dir)
	if errors.Is(err, fs.ErrNotExist) || err == nil && m.at.seq == 0 {
		if m != nil {
			_ = m.close()
		}
		return nil
	}
	if err != nil {
		return err
	}
	_ = m.close()
	return fmt.Errorf("the file MANIFEST of a database with %d changes is missing: %w",
		m.at.seq, kv.ErrCorrupt)
}

func (db *DB) checkFormat(desc *pebble.DBDesc) error {
	if desc.Exists && desc.FormatMajorVersion > pebble.FormatNewest {
		return fmt.Errorf("database has format %d, this program knows %d: %w",
			desc.FormatMajorVersion, pebble.FormatNewest, kv.ErrNewer)
	}
	if !desc.Exists {
		return nil
	}
	name := db.opts.FS.PathBase(desc.ManifestFilename)
	if err := verifyManifest(db.opts.FS, db.dir, name, db.mark.list); err != nil {
		return err
	}
	return missingLog(db.opts.FS, db.dir, db.mark.at)
}

func (db *DB) openPebble(isNew bool) (err error) {
	db.space = newSpace(db.dir, db.opts)
	db.guard = &guard{FS: db.opts.FS, dir: db.dir,
		vet: func(first wal.NumWAL) error {
			return verifyLogs(db.opts.FS, db.dir, first, db.mark.at)
		},
		relieve: db.space.relieve,
		listed:  db.mark.setListing,
		letGo:   func(num wal.NumWAL) error { return db.mark.letGo(uint64(num)) },
		failed:  func(err error) { _ = db.fail(fmt.Errorf("write log: %w", err)) },
		slow: func(path string, took time.Duration) {
			db.log.Warn("disk is slow to sync", "file", path, "took", took)
		},
	}
	// Pebble takes the memory tables out of the cache's size: the one that is written, one that
	// is flushed, and one kept for reuse.
	db.cache = pebble.NewCache(db.opts.CacheBytes + 3*db.opts.MemTableBytes)
	db.pebble, err = pebble.Open(db.dir, db.pebbleOptions())
	db.guard.opened.Store(true)
	if err != nil {
		defer db.cache.Unref()
		if bad := (*damage)(nil); errors.As(err, &bad) {
			return bad
		}
		if err = mapError(err); !errors.Is(err, kv.ErrCorrupt) && db.incomplete() {
			return fmt.Errorf("%w: %w", kv.ErrCorrupt, err)
		}
		return err
	}
	if isNew {
		// The first log of a new database is in the oldest format, in which one wrong byte hides
		// every commit behind it; the next one is in the newest.
		if err := db.pebble.Flush(); err != nil {
			return errors.Join(fmt.Errorf("begin log: %w", err), db.pebble.Close())
		}
	}
	db.space.findBallast()
	db.space.refresh()
	return nil
}

// incomplete reports whether the database cannot be opened only because a table is missing or has a
// wrong length, which Pebble finds and does not call damage.
func (db *DB) incomplete() bool {
	o := db.pebbleOptions()
	o.ReadOnly, o.DisableConsistencyCheck = true, true
	p, err := pebble.Open(db.dir, o)
	return err == nil && p.Close() == nil
}

// advise adds to an error of Open what the operator can do about it.
func (db *DB) advise(err error) error {
	switch {
	case errors.Is(err, kv.ErrInUse):
		return fmt.Errorf("%w: stop the other one, or give this one a directory of its own", err)
	case errors.Is(err, kv.ErrNewer):
		return fmt.Errorf("%w: install the version that wrote it, or a later one", err)
	case errors.Is(err, kv.ErrCorrupt):
		return Advise(err, db.opts.RepairCommand)
	}
	return err
}

// Advise adds to an error that wraps kv.ErrCorrupt what the operator can do about it: Open does so,
// and whoever opens the rooms on the database, for their rows are read only then.
func Advise(err error, repairCommand string) error {
	return fmt.Errorf("%w. Restore the newest backup; if there is none, `%s` keeps what can "+
		"be read, and what was damaged in a directory beside it", err, repairCommand)
}

// Bodies are between these keys, and nothing else is.
const bodies, afterBodies = "bc", "bd"

// pebbleOptions tunes Pebble for mail: few small rows and many bodies. Bodies go to blob files that
// compactions do not rewrite; rows stay in the tables, where scans find them.
//
// The references to bodies have tables of their own. Their keys begin with the time, so that these
// tables do not overlap, and a compaction only moves them. Rows come to all accounts at once: a
// compaction of level 0 writes the whole of the next level's rows anew, and of a memory table that
// bodies have filled a hundredth is rows. So level 0 gathers four of them first (each costs a look for
// a key that is not there 0.8 µs), and the next level is small. (Levels count the bodies that their
// tables refer to as their own.)
func (db *DB) pebbleOptions() *pebble.Options {
	o := &pebble.Options{
		FS:                 db.guard,
		Lock:               db.lock,
		Cache:              db.cache,
		FormatMajorVersion: pebble.FormatNewest,
		MemTableSize:       uint64(db.opts.MemTableBytes),
		// Two tables may wait for their flush while a third fills.
		MemTableStopWritesThreshold: 3,
		L0CompactionThreshold:       8, // counts each layer of tables twice
		L0StopWritesThreshold:       40,
		LBaseMaxBytes:               16 << 20,
		MaxOpenFiles:                4096,
		BytesPerSync:                1 << 20,
		CompactionConcurrencyRange:  func() (int, int) { return 1, 2 },
		Logger:                      engineLog{db},
		EventListener:               db.events(),
	}
	o.TargetFileSizes[0] = 8 << 20
	profile := tableCompression()
	for i := range o.Levels {
		o.Levels[i].BlockSize = 16 << 10
		o.Levels[i].IndexBlockSize = 256 << 10 // one level of index, not two
		o.Levels[i].FilterPolicy = bloom.FilterPolicy(10)
		o.Levels[i].Compression = func() *sstable.CompressionProfile { return profile }
	}
	o.Experimental.ValueSeparationPolicy = func() pebble.ValueSeparationPolicy {
		return pebble.ValueSeparationPolicy{
			Enabled: true, MinimumSize: 1 << 10, MaxBlobReferenceDepth: 10,
			RewriteMinimumAge: 15 * time.Minute, TargetGarbageRatio: 0.2,
		}
	}
	o.Experimental.SpanPolicyFunc = spanPolicy
	o.Experimental.CompactionScheduler = newQuietScheduler()
	return o
}

// tableCompression compresses rows and leaves bodies alone, which package blob has compressed.
func tableCompression() *sstable.CompressionProfile {
	p := *sstable.SnappyCompression
	p.Name = "tram"
	p.ValueBlocks = sstable.NoCompression.ValueBlocks
	return &p
}

func spanPolicy(start []byte) (pebble.SpanPolicy, []byte, error) {
	inRow := pebble.SpanPolicy{ValueStoragePolicy: pebble.ValueStorageLowReadLatency}
	switch {
	case string(start) < bodies:
		return inRow, []byte(bodies), nil
	case string(start) < afterBodies:
		return pebble.SpanPolicy{}, []byte(afterBodies), nil
	}
	return inRow, nil, nil
}

// engineLog takes Pebble's own log: its fatal errors end the database, the rest is for debugging.
type engineLog struct{ db *DB }

func (l engineLog) Infof(format string, args ...any) {
	if l.db.log.Enabled(context.Background(), -8) {
		l.db.log.Log(context.Background(), -8, fmt.Sprintf(format, args...))
	}
}

func (l engineLog) Errorf(format string, args ...any) {
	l.db.log.Warn("storage engine: " + fmt.Sprintf(format, args...))
}

func (l engineLog) Fatalf(format string, args ...any) {
	_ = l.db.fail(fmt.Errorf(format, args...))
}

// backgroundError says that a flush or compaction failed. Pebble repeats it at once, for as long as
// the disk is full: one line in ten seconds is enough.
func (db *DB) backgroundError(err error) {
	now := db.opts.Clock.Now().Unix()
	if last := db.warned.Load(); now >= last && now < last+10 || !db.warned.CompareAndSwap(last, now) {
		return
	}
	db.log.Warn("storage engine: background work failed and is repeated", "error", err.Error())
}

// events passes on what an operator should hear of, and follows the number of the log.
func (db *DB) events() *pebble.EventListener {
	return &pebble.EventListener{
		WALCreated:      func(i pebble.WALCreateInfo) { db.logNum.Store(uint64(i.FileNum)) },
		BackgroundError: db.backgroundError,
		DataCorruption: func(i pebble.DataCorruptionInfo) {
			if db.corrupt != nil {
				db.corrupt(i.Path)
				return
			}
			db.log.Error("stored data is damaged: restore it from a backup", "dir", db.dir,
				"file", i.Path, "error", i.Details.Error())
		},
		WriteStallBegin: func(i pebble.WriteStallBeginInfo) {
			db.log.Warn("storage engine: writes wait for the disk", "reason", i.Reason)
		},
		WriteStallEnd: func() { db.log.Info("storage engine: writes go on") },
	}
}

package pebblekv

import (
	"errors"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/wal"
)

// guard is the file system that Pebble is given. It does three things that Pebble has no hook for: it
// has the logs checked when Pebble opens the first one to replay, which is before anything has been
// changed, it hears at once when a write or sync of the log fails, and it knows how much of the
// manifest is durable.
type guard struct {
	vfs.FS
	dir string
	// vet checks the logs from the given one on; an error refuses the database.
	vet func(first wal.NumWAL) error
	// letGo is told that Pebble removes a log, whose content is in tables by then.
	letGo func(wal.NumWAL) error
	// failed is told of the first write or sync of a log that failed, before Pebble is.
	failed func(error)
	// relieve frees disk space when a log finds none left, or a new file no inode, and reports
	// whether it could. Another program may take the last of them between a measurement and a write.
	relieve func() bool
	// slow is told of a sync that took long.
	slow func(path string, took time.Duration)

	// listed is told how much of the current manifest is durable.
	listed   func(listing) error
	manifest atomic.Uint64 // its number, 0 until there is a new one

	once    sync.Once
	vetted  error
	opened  atomic.Bool // nothing is vetted any more
	syncs   atomic.Int64
	syncing atomic.Int64 // ns, all syncs together
	bytes   atomic.Int64
}

// slowSync is when a sync of the log is worth a line in the server's own log.
const slowSync = 2 * time.Second

func (g *guard) Unwrap() vfs.FS { return g.FS }

func (g *guard) Open(name string, opts ...vfs.OpenOption) (vfs.File, error) {
	if num, ok := g.isLog(name); ok && !g.opened.Load() {
		g.once.Do(func() { g.vetted = g.vet(num) })
		if g.vetted != nil {
			return nil, g.vetted
		}
	}
	return g.FS.Open(name, opts...)
}

func (g *guard) Remove(name string) error {
	if num, ok := g.isLog(name); ok && g.letGo != nil {
		if err := g.letGo(num); err != nil {
			return err
		}
	}
	return g.FS.Remove(name)
}

func (g *guard) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := g.FS.Create(name, c)
	if noSpace(err) && g.relieve != nil && g.relieve() {
		f, err = g.FS.Create(name, c)
	}
	if err == nil {
		g.sees(name)
	}
	return g.wrap(name, f, err)
}

func (g *guard) ReuseForWrite(old, name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := g.FS.ReuseForWrite(old, name, c)
	return g.wrap(name, f, err)
}

func (g *guard) wrap(name string, f vfs.File, err error) (vfs.File, error) {
	if err != nil || g.PathDir(name) != g.dir {
		return f, err
	}
	if num, ok := manifestNum(g.PathBase(name)); ok {
		return &manifestFile{File: f, g: g, num: num}, nil
	}
	if _, ok := g.isLog(name); !ok {
		return f, nil
	}
	return &logFile{File: f, g: g, name: name}, nil
}

// isLog reports whether name is one of the database's logs, and its number.
func (g *guard) isLog(name string) (wal.NumWAL, bool) {
	num, _, ok := wal.ParseLogFilename(g.PathBase(name))
	return num, ok && g.PathDir(name) == g.dir
}

// logFile is a log open for writing.
type logFile struct {
	vfs.File
	g    *guard
	name string
}

func (f *logFile) Write(p []byte) (int, error) {
	n, err := f.File.Write(p)
	if err != nil && noSpace(err) && f.g.relieve != nil && f.g.relieve() {
		var more int
		more, err = f.File.Write(p[n:])
		n += more
	}
	f.g.bytes.Add(int64(n))
	if err != nil {
		f.g.failed(err)
	}
	return n, err
}

// noSpace reports whether a write failed for want of space alone: what it did not take can be
// written again.
func noSpace(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

func (f *logFile) Sync() error     { return f.sync(f.File.Sync) }
func (f *logFile) SyncData() error { return f.sync(f.File.SyncData) }

func (f *logFile) sync(do func() error) error {
	start := time.Now() // a duration for people, not a decision
	err := do()
	took := time.Since(start)
	f.g.syncs.Add(1)
	f.g.syncing.Add(int64(took))
	if took > slowSync {
		f.g.slow(f.name, took)
	}
	if err != nil {
		f.g.failed(err)
	}
	return err
}

func (g *guard) syncTime() time.Duration { return time.Duration(g.syncing.Load()) }

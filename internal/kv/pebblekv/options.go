package pebblekv

import (
	"errors"
	"log/slog"
	"os"

	"github.com/cockroachdb/pebble/v2/vfs"

	"tram/internal/clock"
	"tram/internal/limits"
)

// Options are what a database is opened with. The zero value is for production.
type Options struct {
	// FS is where all files are; nil is the operating system's file system.
	FS     vfs.FS
	Clock  clock.Clock  // nil: clock.System
	Logger *slog.Logger // nil: nothing is logged
	// Limits gives the free-space reserve and the size of the ballast; if all of the three are 0,
	// the defaults of package limits hold.
	Limits limits.Storage
	// Free measures the file system; nil asks the operating system, or FS if that is given.
	Free func() (Space, error)
	// CacheBytes bounds the memory for blocks read from tables; 0 is 64 MiB. It grows with use.
	CacheBytes int64
	// MemTableBytes bounds the memory for rows not yet in tables, of which there may be three, and
	// the size of a log file; 0 is 16 MiB, which is all that a disk below 8 GiB is asked for. It grows
	// with use.
	MemTableBytes int64
	// OnFatal is called once, when the disk has failed in a way after which nothing more can be
	// promised. The database refuses everything from then on. nil logs the error and exits with
	// code 1: a restart finds out what the disk still has.
	OnFatal func(error)
	// RepairCommand is what the errors of Open tell the operator to run for damage that a restore
	// from backup cannot or need not mend; "" is `tram check --repair`.
	RepairCommand string
	// Keep is where Repair keeps files as they were; "" is a directory within the database's.
	Keep string
	// Progress, when not nil, is told by Repair how many bytes of keys and values it has read.
	Progress func(bytes int64)
}

const (
	defaultCache    = 64 << 20
	defaultMemTable = 16 << 20
)

func (o Options) withDefaults(dir string) Options {
	native := o.FS == nil
	if native {
		o.FS = vfs.Default
	}
	if o.Clock == nil {
		o.Clock = clock.System
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Limits.Reserve == 0 && o.Limits.ReservePercent == 0 && o.Limits.Ballast == 0 {
		o.Limits = limits.Default().Storage
	}
	if o.Free == nil && native {
		o.Free = func() (Space, error) { return nativeSpace(dir) }
	}
	if o.Free == nil {
		fs := o.FS
		o.Free = func() (Space, error) { return usedSpace(fs, dir) }
	}
	if o.CacheBytes == 0 {
		o.CacheBytes = defaultCache
	}
	if o.MemTableBytes == 0 {
		o.MemTableBytes = defaultMemTable
	}
	if o.OnFatal == nil {
		log := o.Logger
		o.OnFatal = func(err error) {
			log.Error("storage failed, the process ends so that nothing is acknowledged wrongly",
				"error", err.Error())
			os.Exit(1)
		}
	}
	if o.RepairCommand == "" {
		o.RepairCommand = "tram check --repair"
	}
	return o
}

// fewLogs keeps log files small on a disk to which a few more or less matter.
func (o *Options) fewLogs() {
	s, err := o.Free()
	if err == nil && !s.Endless && s.Total < 8<<30 {
		o.MemTableBytes = min(o.MemTableBytes, defaultMemTable)
	}
}

// usedSpace asks a file system that is not the operating system's. One that does not know is
// endless.
func usedSpace(fs vfs.FS, dir string) (Space, error) {
	u, err := fs.GetDiskUsage(dir)
	if errors.Is(err, vfs.ErrUnsupported) {
		return Space{Endless: true}, nil
	}
	if err != nil {
		return Space{}, err
	}
	return Space{Bytes: int64(u.AvailBytes), Total: int64(u.TotalBytes), Files: -1}, nil
}

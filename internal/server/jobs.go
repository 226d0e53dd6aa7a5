package server

import (
	"context"
	"runtime/debug"
	"time"

	"tram/internal/clock"
	"tram/internal/metrics"
	"tram/internal/popd"
)

// job is work that comes back: a run that fails is logged and tried again at its next time.
type job struct {
	name  string
	first time.Duration // after the start, which has better things to do
	every time.Duration
	run   func(*Server, context.Context) error
}

// jobs are the house's chores. Each is safe to cut at any point and to run on several machines.
var jobs = []job{
	{"figures", time.Second, 15 * time.Second, func(s *Server, _ context.Context) error {
		s.showFigures()
		return nil
	}},
	{"text index", 2 * time.Second, 2 * time.Second,
		func(s *Server, ctx context.Context) error { return s.Store.IndexText(ctx) }},
	{"memory of password hashes", 3 * time.Second, 3 * time.Second,
		func(s *Server, _ context.Context) error {
			s.freeHashes()
			return nil
		}},
	{"rest", 5 * time.Minute, 5 * time.Minute, func(s *Server, _ context.Context) error {
		s.Store.Rest()
		s.Blobs.Rest()
		return nil
	}},
	{"store maintenance", time.Minute, 10 * time.Minute,
		func(s *Server, ctx context.Context) error { return s.Store.Maintain(ctx) }},
	{"expiry of fetched mail", 4 * time.Minute, time.Hour,
		func(s *Server, ctx context.Context) error {
			return popd.Expire(ctx, popd.ExpireOptions{Store: s.Store, Directory: s.Directory,
				Clock: s.o.Clock, Logger: s.o.Logger.With("room", "popd")})
		}},
	{"removal of unreferenced bodies", 2 * time.Minute, time.Hour,
		func(s *Server, ctx context.Context) error {
			_, err := s.Blobs.Collect(ctx)
			return err
		}},
	{"signing keys", 30 * time.Second, 15 * time.Minute, (*Server).rotateSigningKeys},
	{"trace retention", 3 * time.Minute, 6 * time.Hour,
		func(s *Server, ctx context.Context) error { return s.Trace.Prune(ctx) }},
}

// freeHashes gives the memory of password hashes back to the machine when a burst of log-ins is over:
// 64 MiB a hash, which would else stay with the process for long.
func (s *Server) freeHashes() {
	n := s.Directory.Hashes()
	if n == s.hashesSeen && n != s.hashesFreed {
		debug.FreeOSMemory()
		s.hashesFreed = n
	}
	s.hashesSeen = n
}

// repeat runs j until ctx is done.
func (s *Server) repeat(ctx context.Context, j job) error {
	for wait := j.first; ; wait = j.every {
		if clock.Sleep(ctx, s.o.Clock, wait) != nil {
			return nil
		}
		begun := s.o.Clock.Now()
		if err := j.run(s, ctx); err != nil && ctx.Err() == nil {
			s.o.Logger.Error("chore failed", "chore", j.name, "err", err)
			continue
		}
		s.o.Logger.Debug("chore done", "chore", j.name, "took", s.o.Clock.Now().Sub(begun))
	}
}

// What the storage says of itself, and whether the house takes mail.
var (
	diskBytes    = metrics.Gauge("storage_disk_bytes", "Bytes that the database takes on disk.")
	freeBytes    = metrics.Gauge("storage_free_bytes", "Bytes left on its file system.")
	reserveBytes = metrics.Gauge("storage_reserve_bytes", "Free bytes below which no mail is taken.")
	cacheBytes   = metrics.Gauge("storage_cache_bytes", "Bytes of the database's cache in use.")
	memoryBytes  = metrics.Gauge("storage_memory_bytes", "Bytes written and not yet in tables.")
	commits      = metrics.Gauge("storage_commits", "Transactions committed since the start.")
	syncs        = metrics.Gauge("storage_syncs", "Syncs of the log since the start.")
	syncSeconds  = metrics.Gauge("storage_sync_seconds", "Time of all these syncs together.")
	retries      = metrics.Gauge("storage_retries", "Transactions run again after a conflict.")
	takesMail    = metrics.Gauge("ready", "1 while mail is taken, else 0.")
)

func (s *Server) showFigures() {
	d := s.DB.Stats()
	diskBytes.Set(float64(d.DiskBytes))
	freeBytes.Set(float64(d.FreeBytes))
	reserveBytes.Set(float64(d.ReserveBytes))
	cacheBytes.Set(float64(d.CacheBytes))
	memoryBytes.Set(float64(d.MemoryBytes))
	commits.Set(float64(d.Commits))
	syncs.Set(float64(d.Syncs))
	syncSeconds.Set(d.SyncTime.Seconds())
	retries.Set(float64(d.Retries))
	takesMail.Set(0)
	if s.Problem() == nil {
		takesMail.Set(1)
	}
}

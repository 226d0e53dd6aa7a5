package pebblekv

import (
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"tram/internal/clock"
	"tram/internal/kv"
	"tram/internal/limits"
)

// Pebble ends the process when its log cannot be written, which is right for a failing disk and
// wrong for a full one. So the disk must never be full when it writes: below a reserve of free
// space only transactions that free something are let in, and for them there is a ballast, files of
// no use that are removed when even the reserve is gone (another program may have taken it), which
// leaves room to expunge with. It is made of several files, so that it gives back inodes as well.

// Space is what is left of a file system.
type Space struct {
	Bytes, Total int64 // free for us, and of the whole
	Files        int64 // inodes left; -1: without bound
	Endless      bool  // nobody knows, or nobody need care
}

const (
	ballastFiles = 16
	// spaceAge is how long a measurement counts, spaceWritten after how many of the reserve's bytes
	// written it is repeated early.
	spaceAge     = 250 * time.Millisecond
	spaceWritten = 8
	// fewFiles is the number of free inodes that counts as full, lastFiles the one that takes the
	// ballast.
	fewFiles  = 256
	lastFiles = 24
)

type space struct {
	fs      vfs.FS
	dir     string
	clock   clock.Clock
	log     *slog.Logger
	limits  limits.Storage
	measure func() (Space, error)

	full    atomic.Bool  // the reserve is touched
	empty   atomic.Bool  // so is what the ballast has left
	due     atomic.Int64 // when to measure again, ns since 1970; 0: now
	written atomic.Int64 // bytes since the last measurement
	early   atomic.Int64 // how many of them make it due
	free    atomic.Int64
	reserve atomic.Int64

	mu      sync.Mutex
	ballast bool // all of it is there
}

func newSpace(dir string, o Options) *space {
	return &space{fs: o.FS, dir: dir, clock: o.Clock, log: o.Logger, limits: o.Limits,
		measure: o.Free}
}

// admit returns kv.ErrFull when a transaction may not write. The ones that free something may, as
// long as there is anything left.
func (s *space) admit(freeing bool) error {
	s.refresh()
	if s.empty.Load() || !freeing && s.full.Load() {
		return kv.ErrFull
	}
	return nil
}

// wrote counts bytes that went to the log.
func (s *space) wrote(n int) { s.written.Add(int64(n)) }

// refresh measures the file system if the last measurement is too old.
func (s *space) refresh() {
	now := s.clock.Now().UnixNano()
	due := s.due.Load()
	// A clock that was set back makes due lie further ahead than it can.
	fresh := now < due && due-now <= int64(spaceAge)
	if fresh && s.written.Load() < s.early.Load() {
		return
	}
	if !s.mu.TryLock() {
		return // somebody is at it
	}
	defer s.mu.Unlock()
	s.due.Store(now + int64(spaceAge))
	s.written.Store(0)
	if err := s.update(); err != nil {
		s.log.Warn("cannot measure free disk space", "dir", s.dir, "error", err.Error())
	}
}

// update measures, and removes or makes the ballast as the result asks for.
func (s *space) update() error {
	left, err := s.measure()
	if err != nil {
		return err
	}
	if left.Endless {
		s.full.Store(false)
		s.empty.Store(false)
		s.early.Store(1 << 40)
		return nil
	}
	reserve := max(s.limits.Reserve, left.Total/100*int64(s.limits.ReservePercent))
	low := s.limits.Ballast / 4
	if s.ballast && (left.Bytes < low || scarce(left.Files, lastFiles)) {
		s.dropBallast(left)
		if left, err = s.measure(); err != nil {
			return err
		}
	}
	if !s.ballast && s.limits.Ballast > 0 &&
		left.Bytes > reserve+s.limits.Ballast && !scarce(left.Files, fewFiles+ballastFiles) {
		s.makeBallast()
		if left, err = s.measure(); err != nil {
			return err
		}
	}
	s.reserve.Store(reserve)
	s.free.Store(left.Bytes)
	s.early.Store(max(low, reserve/spaceWritten, 1<<20))
	s.empty.Store(!s.ballast && (left.Bytes < low || scarce(left.Files, lastFiles/3)))
	s.setFull(left.Bytes < reserve || scarce(left.Files, fewFiles), left, reserve)
	return nil
}

func scarce(files, least int64) bool { return files >= 0 && files < least }

func (s *space) setFull(full bool, left Space, reserve int64) {
	if s.full.Swap(full) == full {
		return
	}
	if full {
		s.log.Error("disk is full: new mail is refused until space is freed", "dir", s.dir,
			"free_bytes", left.Bytes, "reserve_bytes", reserve, "free_inodes", left.Files)
		return
	}
	s.log.Info("disk has space again: new mail is accepted", "dir", s.dir,
		"free_bytes", left.Bytes, "reserve_bytes", reserve)
}

func (s *space) ballastPath(i int) string {
	return s.fs.PathJoin(s.dir, fmt.Sprintf("BALLAST-%02d", i))
}

// findBallast looks at Open whether the ballast is whole.
func (s *space) findBallast() {
	each := s.limits.Ballast / ballastFiles
	for i := range ballastFiles {
		info, err := s.fs.Stat(s.ballastPath(i))
		if err != nil || info.Size() != each {
			return
		}
	}
	s.ballast = true
}

func (s *space) dropBallast(left Space) {
	s.log.Warn("disk is all but full: the ballast is given up so that mail can be deleted",
		"dir", s.dir, "free_bytes", left.Bytes, "free_inodes", left.Files)
	for i := range ballastFiles {
		if err := s.fs.Remove(s.ballastPath(i)); err != nil {
			s.log.Warn("cannot remove ballast", "file", s.ballastPath(i), "error", err.Error())
		}
	}
	s.ballast = false
}

// relieve gives up the ballast at once, for a write that found the disk full, and reports whether
// there was any.
func (s *space) relieve() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.ballast {
		return false
	}
	s.dropBallast(Space{})
	s.setFull(true, Space{}, s.reserve.Load())
	s.due.Store(0)
	return true
}

// makeBallast makes the files anew. One that cannot be made whole is not counted on.
func (s *space) makeBallast() {
	each := s.limits.Ballast / ballastFiles
	for i := range ballastFiles {
		if err := s.makeBallastFile(s.ballastPath(i), each); err != nil {
			s.log.Warn("cannot make ballast", "file", s.ballastPath(i), "error", err.Error())
			return
		}
	}
	s.ballast = true
}

// makeBallastFile takes size bytes from the file system: by reserving them where it can do that,
// else by writing what does not compress. The last byte is written in any case, so that the file's
// size tells that it is whole.
func (s *space) makeBallastFile(path string, size int64) (err error) {
	if err := s.fs.RemoveAll(path); err != nil {
		return err
	}
	f, err := s.fs.OpenReadWrite(path, "tram-ballast")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if err := f.Preallocate(0, size); err != nil {
		var block [4096]byte
		rnd := rand.NewChaCha8([32]byte{byte(size)})
		for off := int64(0); off < size-1; off += int64(len(block)) {
			_, _ = rnd.Read(block[:])
			if _, err := f.WriteAt(block[:min(int64(len(block)), size-1-off)], off); err != nil {
				return err
			}
		}
	}
	_, err = f.WriteAt([]byte{1}, size-1)
	return err
}

package certs

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/certmagic"

	"tram/internal/clock"
	"tram/internal/kv"
)

// scope serialises all writers of certificates.
const scope kv.Scope = "certs"

// The rows, all numbers big endian:
//
//	c f path   int64 time of writing in Unix nanoseconds, then the file's bytes
//	c l name   a lock: 16 bytes that its holder knows, int64 end in Unix nanoseconds
//	c k name   the keys of a name, see ring
//
// A path is as certmagic gives it: components with slashes between, in UTF-8 without NUL.
const (
	space    = 'c'
	kindFile = 'f'
	kindLock = 'l'
)

const (
	// lockLife is how long a lock outlives a holder that has died.
	lockLife = 2 * time.Minute
	// lockRenew is how often a holder says that it lives.
	lockRenew = 30 * time.Second
	// lockPoll is how often one who waits looks again.
	lockPoll = time.Second
)

// errLockLost says that a lock ended while it was held, and may be another's now.
var errLockLost = errors.New("lock was lost to another process")

// storage is certmagic's Storage over kv. A lock ends by itself when its holder dies. A holder that
// was only slow is fenced: while a lock it believes in is no longer its own, it may not write.
type storage struct {
	db    kv.Database
	clock clock.Clock

	mu   sync.Mutex
	held map[string]*heldLock
}

type heldLock struct {
	token [16]byte
	stop  context.CancelFunc
	done  chan struct{}
}

var (
	_ certmagic.Storage          = (*storage)(nil)
	_ certmagic.TryLocker        = (*storage)(nil)
	_ certmagic.LockLeaseRenewer = (*storage)(nil)
)

func newStorage(db kv.Database, c clock.Clock) *storage {
	return &storage{db: db, clock: c, held: map[string]*heldLock{}}
}

func fileRow(path string) []byte { return append([]byte{space, kindFile}, path...) }

func lockRow(name string) []byte { return append([]byte{space, kindLock}, name...) }

// Store implements certmagic.Storage.
func (s *storage) Store(ctx context.Context, path string, value []byte) error {
	row := binary.BigEndian.AppendUint64(nil, uint64(s.clock.Now().UnixNano()))
	row = append(row, value...)
	err := s.db.Update(ctx, scope, func(t kv.Txn) error {
		if err := s.fence(t); err != nil {
			return err
		}
		return t.Set(fileRow(path), row)
	})
	if err != nil {
		return fmt.Errorf("store %s: %w", path, err)
	}
	return nil
}

// fence refuses a transaction while a lock this process holds is not its own any more.
func (s *storage) fence(t kv.Txn) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, h := range s.held {
		l, err := readLock(t, name)
		if err != nil {
			return err
		}
		if l.token != h.token {
			return fmt.Errorf("%s: %w", name, errLockLost)
		}
	}
	return nil
}

// Load implements certmagic.Storage.
func (s *storage) Load(ctx context.Context, path string) ([]byte, error) {
	var value []byte
	err := s.db.View(ctx, scope, func(r kv.Reader) error {
		row, err := r.Get(fileRow(path))
		if err != nil {
			return err
		}
		if len(row) < 8 {
			return kv.ErrCorrupt
		}
		value = append([]byte(nil), row[8:]...)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("load %s: %w", path, notExist(err))
	}
	return value, nil
}

func notExist(err error) error {
	if errors.Is(err, kv.ErrNotFound) {
		return fs.ErrNotExist
	}
	return err
}

// below is the range of everything in a directory; of everything there is for "".
func below(dir string) kv.Range {
	if dir = strings.TrimSuffix(dir, "/"); dir != "" {
		dir += "/"
	}
	return kv.Prefix(fileRow(dir))
}

// Delete implements certmagic.Storage.
func (s *storage) Delete(ctx context.Context, path string) error {
	r := below(path)
	err := s.db.Update(kv.Freeing(ctx), scope, func(t kv.Txn) error {
		if err := s.fence(t); err != nil {
			return err
		}
		return errors.Join(t.Delete(fileRow(path)), t.DeleteRange(r.Start, r.End))
	})
	if err != nil {
		return fmt.Errorf("delete %s: %w", path, err)
	}
	return nil
}

// Exists implements certmagic.Storage.
func (s *storage) Exists(ctx context.Context, path string) bool {
	_, err := s.Stat(ctx, path)
	return err == nil
}

// List implements certmagic.Storage.
func (s *storage) List(ctx context.Context, dir string, recursive bool) ([]string, error) {
	var all []string
	r := below(dir)
	skip := len(r.Start)
	r.KeysOnly = true
	err := s.db.View(ctx, scope, func(reader kv.Reader) error {
		all = nil
		return reader.Scan(r, func(k, _ []byte) error {
			path, rest := string(k[2:]), string(k[skip:])
			if !recursive {
				first, _, _ := strings.Cut(rest, "/")
				path = path[:len(path)-len(rest)+len(first)]
			}
			if n := len(all); n == 0 || all[n-1] != path {
				all = append(all, path)
			}
			return nil
		})
	})
	if err == nil && len(all) == 0 {
		err = fs.ErrNotExist
	}
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", dir, err)
	}
	return all, nil
}

// Stat implements certmagic.Storage.
func (s *storage) Stat(ctx context.Context, path string) (certmagic.KeyInfo, error) {
	info := certmagic.KeyInfo{Key: path}
	r := below(path)
	r.Limit, r.KeysOnly = 1, true
	err := s.db.View(ctx, scope, func(reader kv.Reader) error {
		row, err := reader.Get(fileRow(path))
		if err == nil {
			if len(row) < 8 {
				return kv.ErrCorrupt
			}
			info.Modified = time.Unix(0, int64(binary.BigEndian.Uint64(row)))
			info.Size, info.IsTerminal = int64(len(row)-8), true
			return nil
		}
		if !errors.Is(err, kv.ErrNotFound) {
			return err
		}
		found := fs.ErrNotExist
		err = reader.Scan(r, func(_, _ []byte) error { found = nil; return kv.Stop })
		return errors.Join(err, found)
	})
	if err != nil {
		return certmagic.KeyInfo{}, fmt.Errorf("stat %s: %w", path, err)
	}
	return info, nil
}

// lock is a lock's row; the zero lock is nobody's.
type lock struct {
	token [16]byte
	until int64
}

func readLock(r kv.Reader, name string) (lock, error) {
	b, err := r.Get(lockRow(name))
	if errors.Is(err, kv.ErrNotFound) {
		return lock{}, nil
	}
	if err != nil {
		return lock{}, err
	}
	if len(b) != 24 {
		return lock{}, fmt.Errorf("lock %s: %w", name, kv.ErrCorrupt)
	}
	return lock{[16]byte(b), int64(binary.BigEndian.Uint64(b[16:]))}, nil
}

func (l lock) write(t kv.Txn, name string) error {
	return t.Set(lockRow(name), binary.BigEndian.AppendUint64(l.token[:], uint64(l.until)))
}

// Lock implements certmagic.Locker: it waits until the lock is free or its holder is taken for
// dead.
func (s *storage) Lock(ctx context.Context, name string) error {
	for {
		ok, err := s.TryLock(ctx, name)
		if ok || err != nil {
			return err
		}
		if err := clock.Sleep(ctx, s.clock, lockPoll); err != nil {
			return fmt.Errorf("lock %s: %w", name, err)
		}
	}
}

// TryLock implements certmagic.TryLocker.
func (s *storage) TryLock(ctx context.Context, name string) (bool, error) {
	h := &heldLock{done: make(chan struct{})}
	// crypto/rand.Read never returns an error: it ends the process instead.
	_, _ = rand.Read(h.token[:])
	taken := false
	err := s.db.Update(ctx, scope, func(t kv.Txn) error {
		taken = false
		l, err := readLock(t, name)
		if err != nil {
			return err
		}
		now := s.clock.Now()
		// A lock that lasts beyond any lease was written by a clock that was ahead.
		left := time.Duration(l.until - now.UnixNano())
		if l != (lock{}) && left > 0 && left <= maxLease {
			return nil
		}
		taken = true
		return lock{h.token, now.Add(lockLife).UnixNano()}.write(t, name)
	})
	if err != nil {
		return false, fmt.Errorf("lock %s: %w", name, err)
	}
	if !taken {
		return false, nil
	}
	alive, stop := context.WithCancel(context.Background())
	h.stop = stop
	s.mu.Lock()
	s.held[name] = h
	s.mu.Unlock()
	go s.keep(alive, name, h)
	return true, nil
}

// maxLease is longer than any lock can have left, whatever the clocks of two machines differ by.
const maxLease = 10 * lockLife

// keep says that the holder of a lock lives, until it is unlocked or lost.
func (s *storage) keep(ctx context.Context, name string, h *heldLock) {
	defer close(h.done)
	for clock.Sleep(ctx, s.clock, lockRenew) == nil {
		if errors.Is(s.extend(ctx, name, h, lockLife), errLockLost) {
			return
		}
	}
}

// extend makes a held lock last at least until d from now.
func (s *storage) extend(ctx context.Context, name string, h *heldLock, d time.Duration) error {
	return s.db.Update(ctx, scope, func(t kv.Txn) error {
		l, err := readLock(t, name)
		if err != nil {
			return err
		}
		if l.token != h.token {
			return fmt.Errorf("lock %s: %w", name, errLockLost)
		}
		l.until = max(l.until, s.clock.Now().Add(d).UnixNano())
		return l.write(t, name)
	})
}

// RenewLockLease implements certmagic.LockLeaseRenewer.
func (s *storage) RenewLockLease(ctx context.Context, name string, d time.Duration) error {
	s.mu.Lock()
	h := s.held[name]
	s.mu.Unlock()
	if h == nil {
		return fmt.Errorf("lock %s: not held", name)
	}
	// The lock is kept alive while this process lives; a longer lease would only make others wait
	// longer when it dies.
	return s.extend(ctx, name, h, min(d, lockLife))
}

// Unlock implements certmagic.Locker. A lock that was lost is another's and stays so.
func (s *storage) Unlock(ctx context.Context, name string) error {
	s.mu.Lock()
	h := s.held[name]
	delete(s.held, name)
	s.mu.Unlock()
	if h == nil {
		return fmt.Errorf("unlock %s: not held", name)
	}
	h.stop()
	<-h.done
	err := s.db.Update(kv.Freeing(context.WithoutCancel(ctx)), scope, func(t kv.Txn) error {
		l, err := readLock(t, name)
		if err != nil {
			return err
		}
		if l.token != h.token {
			return errLockLost
		}
		return t.Delete(lockRow(name))
	})
	if err != nil {
		return fmt.Errorf("unlock %s: %w", name, err)
	}
	return nil
}

// close stops keeping locks; they end by themselves.
func (s *storage) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, h := range s.held {
		h.stop()
	}
}

package kv

import (
	"context"
	"hash/maphash"
	"sync"
)

// Locks is a table of one lock per Scope, for engines that live in one process. The zero value is
// ready. A scope that nobody holds takes no memory.
type Locks struct {
	shards [64]lockShard
	once   sync.Once
	seed   maphash.Seed
}

type lockShard struct {
	mu sync.Mutex
	m  map[Scope]*scopeLock
	_  [40]byte // shards do not share a cache line
}

type scopeLock struct {
	turn chan struct{} // holds one value while somebody has the lock; waiters queue on it in order
	refs int           // holders and waiters; guarded by the shard's mu
}

func (l *Locks) shard(scope Scope) *lockShard {
	l.once.Do(func() { l.seed = maphash.MakeSeed() })
	return &l.shards[maphash.String(l.seed, string(scope))%uint64(len(l.shards))]
}

// Lock waits for the lock of scope, first come first served, or for the end of ctx, whose error it
// returns.
func (l *Locks) Lock(ctx context.Context, scope Scope) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s := l.shard(scope)
	s.mu.Lock()
	e := s.m[scope]
	if e == nil {
		if s.m == nil {
			s.m = make(map[Scope]*scopeLock)
		}
		e = lockPool.Get().(*scopeLock)
		s.m[scope] = e
	}
	e.refs++
	s.mu.Unlock()

	select {
	case e.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		s.release(scope, e)
		return ctx.Err()
	}
}

// Unlock lets the next one in. The caller must hold the lock.
func (l *Locks) Unlock(scope Scope) {
	s := l.shard(scope)
	s.mu.Lock()
	e := s.m[scope]
	s.mu.Unlock()
	<-e.turn
	s.release(scope, e)
}

// release drops one reference; the last one removes the entry, which is empty then.
func (s *lockShard) release(scope Scope, e *scopeLock) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e.refs--; e.refs == 0 {
		delete(s.m, scope)
		lockPool.Put(e)
	}
}

var lockPool = sync.Pool{New: func() any { return &scopeLock{turn: make(chan struct{}, 1)} }}

package pebblekv

import (
	"context"
	"hash/maphash"
	"sync"
	"sync/atomic"

	"tram/internal/kv"
)

// inflight knows which scopes have commits that are visible but not yet durable, so that a View can
// wait for those it may have seen. A flight begins before its commit becomes visible and ends when
// it is durable; the log is synced in order, so that the end of a scope's last flight is the end of
// all before it.
type inflight struct {
	count  atomic.Int64 // flights of all scopes; 0 spares the look into a shard
	seed   maphash.Seed
	shards [32]flightShard
}

type flightShard struct {
	mu sync.Mutex
	m  map[kv.Scope]*flight // the last one of each scope
	_  [48]byte             // shards do not share a cache line
}

type flight struct {
	landed chan struct{} // made by the first that waits
}

func newInflight() *inflight {
	f := &inflight{seed: maphash.MakeSeed()}
	for i := range f.shards {
		f.shards[i].m = make(map[kv.Scope]*flight)
	}
	return f
}

func (f *inflight) shard(scope kv.Scope) *flightShard {
	return &f.shards[maphash.String(f.seed, string(scope))%uint64(len(f.shards))]
}

// begin is called under the scope's lock, before the commit is applied.
func (f *inflight) begin(scope kv.Scope) *flight {
	fl := new(flight)
	s := f.shard(scope)
	s.mu.Lock()
	s.m[scope] = fl
	s.mu.Unlock()
	f.count.Add(1)
	return fl
}

// end is called when the commit is durable, or has failed and the database with it.
func (f *inflight) end(scope kv.Scope, fl *flight) {
	s := f.shard(scope)
	s.mu.Lock()
	if s.m[scope] == fl {
		delete(s.m, scope)
	}
	if fl.landed != nil {
		close(fl.landed)
	}
	s.mu.Unlock()
	f.count.Add(-1)
}

// wait returns when every commit of scope that had begun is durable, or with ctx's error.
func (f *inflight) wait(ctx context.Context, scope kv.Scope) error {
	if f.count.Load() == 0 {
		return nil
	}
	s := f.shard(scope)
	s.mu.Lock()
	fl := s.m[scope]
	if fl == nil {
		s.mu.Unlock()
		return nil
	}
	if fl.landed == nil {
		fl.landed = make(chan struct{})
	}
	landed := fl.landed
	s.mu.Unlock()
	select {
	case <-landed:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Package memkv answers "how does the house behave on a store that cannot surprise?": kv.Database
// in memory, for tests.
//
// It keeps every promise of package kv, and keeps apart what is visible and what is durable, so
// that a test can pull the plug with Crash. It can also be told to be full, and to run every Update
// twice as an engine that retries does. What must never happen: a test passes on it and fails on a
// real engine because memkv promised more.
package memkv

import (
	"bytes"
	"context"
	"errors"
	"sync"
	"sync/atomic"

	"tram/internal/kv"
)

// DB is a database in memory. It is safe for concurrent use.
type DB struct {
	locks kv.Locks
	full  atomic.Bool
	twice atomic.Bool

	mu      sync.RWMutex
	root    *root     // what readers see
	durable *root     // what a crash leaves
	staged  [][]write // Stages since the last commit, visible but not durable
	stats   kv.Stats
	closed  bool
}

var _ kv.Database = (*DB)(nil)

// New returns an empty database.
func New() *DB { return &DB{} }

// Crash returns a new database with what was durable; what was staged and not yet followed by an
// Update is gone. The DB itself goes on.
func (db *DB) Crash() *DB { return db.CrashKeeping(0) }

// CrashKeeping is Crash after which the first n of the Stages that were not yet durable have
// survived, as some of them may.
func (db *DB) CrashKeeping(n int) *DB {
	db.mu.RLock()
	defer db.mu.RUnlock()
	left := db.durable
	for _, w := range db.staged[:min(n, len(db.staged))] {
		left = apply(left, w)
	}
	return &DB{root: left, durable: left}
}

// SetFull makes Full and every Update that is not Freeing return kv.ErrFull, or ends that.
func (db *DB) SetFull(full bool) { db.full.Store(full) }

// SetTwice makes every Update run its function twice on the same state and keep the second result,
// as an engine does that lost a race for the first. A function that counts on running once fails.
func (db *DB) SetTwice(twice bool) { db.twice.Store(twice) }

// View implements kv.Database.
func (db *DB) View(ctx context.Context, _ kv.Scope, fn func(kv.Reader) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	now, err := db.snapshot()
	if err != nil {
		return err
	}
	t := &txn{ctx: ctx, root: now}
	defer t.end()
	return fn(t)
}

// Update implements kv.Database.
func (db *DB) Update(ctx context.Context, scope kv.Scope, fn func(kv.Txn) error) error {
	if err := db.locks.Lock(ctx, scope); err != nil {
		return err
	}
	defer db.locks.Unlock(scope)
	if !kv.IsFreeing(ctx) && db.full.Load() {
		return kv.ErrFull
	}
	if db.twice.Load() {
		if _, err := db.attempt(ctx, fn); err != nil {
			return err
		}
	}
	writes, err := db.attempt(ctx, fn)
	if err != nil {
		return err
	}
	db.mu.Lock()
	defer db.mu.Unlock()
	if db.closed {
		return kv.ErrClosed
	}
	db.root = apply(db.root, writes)
	db.durable, db.staged = db.root, nil
	db.stats.Commits++
	db.stats.Syncs++
	return nil
}

// attempt runs fn on the present state and returns what it wrote.
func (db *DB) attempt(ctx context.Context, fn func(kv.Txn) error) ([]write, error) {
	now, err := db.snapshot()
	if err != nil {
		return nil, err
	}
	t := &txn{ctx: ctx, root: now, writable: true}
	defer t.end()
	if err := fn(t); err != nil {
		return nil, err
	}
	return t.writes, nil
}

// Stage implements kv.Database.
func (db *DB) Stage(ctx context.Context, pairs ...kv.Pair) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if !kv.IsFreeing(ctx) && db.full.Load() {
		return kv.ErrFull
	}
	w := make([]write, len(pairs))
	for i, p := range pairs {
		if len(p.Key) == 0 {
			return kv.ErrEmptyKey
		}
		w[i] = write{op: opSet, key: bytes.Clone(p.Key), value: clone(p.Value)}
	}
	db.mu.Lock()
	defer db.mu.Unlock()
	if db.closed {
		return kv.ErrClosed
	}
	db.root = apply(db.root, w)
	db.staged = append(db.staged, w)
	db.stats.Staged += int64(len(pairs))
	return nil
}

// Full implements kv.Database.
func (db *DB) Full() error {
	if db.full.Load() {
		return kv.ErrFull
	}
	return nil
}

// Stats implements kv.Database.
func (db *DB) Stats() kv.Stats {
	db.mu.RLock()
	defer db.mu.RUnlock()
	return db.stats
}

// Close implements kv.Database. A second Close returns kv.ErrClosed.
func (db *DB) Close() error {
	db.mu.Lock()
	defer db.mu.Unlock()
	if db.closed {
		return kv.ErrClosed
	}
	db.closed = true
	return nil
}

func (db *DB) snapshot() (*root, error) {
	db.mu.RLock()
	defer db.mu.RUnlock()
	if db.closed {
		return nil, kv.ErrClosed
	}
	return db.root, nil
}

// errEnded is what a Reader or Txn returns that outlived its function.
var errEnded = errors.New("transaction has ended")

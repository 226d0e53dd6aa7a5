// Package pebblekv answers "how does one machine keep the house's facts?": kv.Database on the
// embedded engine Pebble, in one directory.
//
// Commits of all scopes share the syncs of one log. The lock of a scope is given up when its commit
// is in the log and visible, not when it is durable, so that many commits of one account share a
// sync, too; a View waits for those it may have seen. What Pebble leaves open is closed here:
// damage at the end of the log is found (mark.go, verify.go), a full disk is seen before it is full
// (space.go), and after a failed sync nothing is acknowledged any more (guard.go).
//
// What must never happen: Open succeeds on a log from which acknowledged changes are missing, or an
// Update returns nil after the disk has refused a sync.
package pebblekv

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"

	"tram/internal/kv"
)

// DB is an open database. It is safe for concurrent use.
type DB struct {
	dir    string
	opts   Options
	log    *slog.Logger
	pebble *pebble.DB
	lock   *pebble.Lock
	cache  *pebble.Cache
	guard  *guard
	mark   *mark
	space  *space

	locks    kv.Locks
	inflight *inflight
	users    users

	// logNum is the number of the log that is written; it changes while Pebble holds its commit
	// lock, so that a commit during which it did not change is in that log.
	logNum  atomic.Uint64
	fatal   atomic.Pointer[error]
	die     sync.Once
	corrupt func(path string) // of a repair; hears of files that are damaged
	warned  atomic.Int64      // when backgroundError last wrote a line, s since 1970
	commits atomic.Int64
	staged  atomic.Int64
}

var _ kv.Database = (*DB)(nil)

// View implements kv.Database.
func (db *DB) View(ctx context.Context, scope kv.Scope, fn func(kv.Reader) error) error {
	if err := db.enter(ctx); err != nil {
		return err
	}
	defer db.users.leave()
	snapshot := db.pebble.NewSnapshot()
	defer snapshot.Close()
	if scope != "" {
		if err := db.inflight.wait(ctx, scope); err != nil {
			return err
		}
		if err := db.failed(); err != nil {
			return err
		}
	}
	t := &txn{db: db, ctx: ctx, base: snapshot}
	defer t.end()
	return fn(t)
}

// Update implements kv.Database.
func (db *DB) Update(ctx context.Context, scope kv.Scope, fn func(kv.Txn) error) error {
	if err := db.enter(ctx); err != nil {
		return err
	}
	defer db.users.leave()
	if err := db.space.admit(kv.IsFreeing(ctx)); err != nil {
		return err
	}
	batch, fl, in, err := db.transact(ctx, scope, fn)
	if err != nil || batch == nil {
		// What fn has read may not be durable yet, and the caller may act on it.
		if unsettled := db.settle(ctx, scope); unsettled != nil {
			return errors.Join(err, unsettled)
		}
		return err
	}
	err = db.sync(batch, in)
	db.inflight.end(scope, fl)
	if err != nil {
		return err
	}
	db.commits.Add(1)
	return nil
}

// settle waits for the commits of scope that are visible and not durable.
func (db *DB) settle(ctx context.Context, scope kv.Scope) error {
	if err := db.inflight.wait(ctx, scope); err != nil {
		return err
	}
	return db.failed()
}

// transact runs fn under the lock of scope and applies what it wrote. The batch it returns is
// visible but not durable, and nil if nothing was written; in is the log it is in, 0 if that is not
// certain.
func (db *DB) transact(ctx context.Context, scope kv.Scope, fn func(kv.Txn) error) (
	batch *pebble.Batch, fl *flight, in uint64, err error,
) {
	if err := db.locks.Lock(ctx, scope); err != nil {
		return nil, nil, 0, err
	}
	defer db.locks.Unlock(scope)
	batch, err = db.collect(ctx, fn)
	if err != nil || batch == nil {
		return nil, nil, 0, err
	}
	fl = db.inflight.begin(scope)
	in, err = db.apply(batch)
	if err != nil {
		db.inflight.end(scope, fl)
		return nil, nil, 0, err
	}
	return batch, fl, in, nil
}

// collect runs fn and returns what it wrote, nil if that is nothing.
func (db *DB) collect(ctx context.Context, fn func(kv.Txn) error) (batch *pebble.Batch, err error) {
	t := &txn{db: db, ctx: ctx, base: db.pebble, batch: db.pebble.NewBatch()}
	defer func() { // also when fn panics
		t.end()
		if batch == nil {
			_ = t.batch.Close()
		}
	}()
	if err := fn(t); err != nil {
		return nil, err
	}
	if t.batch.Empty() {
		return nil, nil
	}
	return t.batch, nil
}

// apply puts a batch into the log and makes it visible. It returns the number of the log, or 0 when
// a new one was begun at the same time.
func (db *DB) apply(batch *pebble.Batch) (in uint64, err error) {
	if err := db.failed(); err != nil {
		return 0, err
	}
	defer func() { // Pebble panics when it cannot write the log
		if p := recover(); p != nil {
			err = db.fail(fmt.Errorf("write log: %v", p))
		}
	}()
	db.space.wrote(batch.Len())
	before := db.logNum.Load()
	if err := db.pebble.ApplyNoSyncWait(batch, pebble.Sync); err != nil {
		return 0, db.fail(fmt.Errorf("commit: %w", err))
	}
	if db.logNum.Load() != before {
		return 0, nil
	}
	return before, nil
}

// sync waits until a batch that was applied is durable and the mark says so, and closes it.
func (db *DB) sync(batch *pebble.Batch, in uint64) error {
	if err := batch.SyncWait(); err != nil {
		return db.fail(fmt.Errorf("sync log: %w", err))
	}
	at := position{log: in}
	if in != 0 {
		// A batch so large that it became a table of its own has lost its number.
		if first := uint64(batch.SeqNum()); first != 0 {
			at.seq = first + uint64(batch.Count()) - 1
		}
	}
	_ = batch.Close()
	if err := db.failed(); err != nil {
		return err
	}
	if at.seq == 0 {
		return db.tick()
	}
	return db.acknowledge(at)
}

// acknowledge raises the mark. A disk that is full, on a file system that cannot even overwrite
// then, costs the protection that the mark gives but nobody's mail.
func (db *DB) acknowledge(at position) error {
	err := db.mark.raise(at)
	if err == nil {
		return nil
	}
	if isNoSpace(err) {
		db.log.Warn("cannot record what was acknowledged", "error", err.Error())
		return nil
	}
	return db.fail(err)
}

// tickKey is deleted for the sake of a record in the log. It never has a value.
var tickKey = []byte("mtick")

// tick writes a record of no meaning whose log and number are certain, and acknowledges it and with
// it everything before: for a commit during which a new log was begun.
func (db *DB) tick() error {
	for {
		batch := db.pebble.NewBatch()
		if err := batch.Delete(tickKey, nil); err != nil {
			return fmt.Errorf("write tick: %w", err)
		}
		in, err := db.apply(batch)
		if err != nil {
			return err
		}
		if in != 0 {
			return db.sync(batch, in)
		}
		if err := batch.SyncWait(); err != nil {
			return db.fail(fmt.Errorf("sync log: %w", err))
		}
		_ = batch.Close()
	}
}

// Stage implements kv.Database.
func (db *DB) Stage(ctx context.Context, pairs ...kv.Pair) error {
	if err := db.enter(ctx); err != nil {
		return err
	}
	defer db.users.leave()
	if err := db.space.admit(kv.IsFreeing(ctx)); err != nil {
		return err
	}
	size := 16
	for _, p := range pairs {
		if len(p.Key) == 0 {
			return kv.ErrEmptyKey
		}
		size += len(p.Key) + len(p.Value) + 16
	}
	batch := db.pebble.NewBatchWithSize(size)
	for _, p := range pairs {
		if err := batch.Set(p.Key, p.Value, nil); err != nil {
			_ = batch.Close()
			return fmt.Errorf("stage: %w", err)
		}
	}
	if err := db.applyUnsynced(batch); err != nil {
		return err
	}
	db.staged.Add(int64(len(pairs)))
	return nil
}

func (db *DB) applyUnsynced(batch *pebble.Batch) (err error) {
	if err := db.failed(); err != nil {
		return err
	}
	defer func() {
		if p := recover(); p != nil {
			err = db.fail(fmt.Errorf("write log: %v", p))
		}
	}()
	db.space.wrote(batch.Len())
	if err := db.pebble.Apply(batch, pebble.NoSync); err != nil {
		return db.fail(fmt.Errorf("stage: %w", err))
	}
	_ = batch.Close()
	return db.failed()
}

// Full implements kv.Database.
func (db *DB) Full() error {
	if err := db.failed(); err != nil {
		return err
	}
	return db.space.admit(false)
}

// enter lets a transaction begin; users.leave must follow when it returns nil.
func (db *DB) enter(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := db.failed(); err != nil {
		return err
	}
	if !db.users.enter() {
		return kv.ErrClosed
	}
	return nil
}

// failed returns the error that ended the database's promises, as kv.ErrClosed, or nil.
func (db *DB) failed() error {
	if p := db.fatal.Load(); p != nil {
		return *p
	}
	return nil
}

// fail ends the database: from here on nothing is acknowledged. It returns what failed returns.
func (db *DB) fail(err error) error {
	wrapped := fmt.Errorf("storage %s: %w: %w", db.dir, kv.ErrClosed, err)
	if db.fatal.CompareAndSwap(nil, &wrapped) {
		db.die.Do(func() { db.opts.OnFatal(err) })
	}
	return db.failed()
}

// Close implements kv.Database. A second Close returns kv.ErrClosed.
func (db *DB) Close() error {
	if !db.users.close() {
		return kv.ErrClosed
	}
	var err error
	if db.failed() == nil {
		// Tables are quicker to open than a log.
		err = db.pebble.Flush()
	}
	return errors.Join(err, db.pebble.Close(), db.closeRest())
}

// closeRest closes what Open made beside Pebble.
func (db *DB) closeRest() error { return errors.Join(db.closeFiles(), db.lock.Close()) }

// closeFiles is closeRest for who keeps the lock.
func (db *DB) closeFiles() error {
	db.cache.Unref()
	return db.mark.close()
}

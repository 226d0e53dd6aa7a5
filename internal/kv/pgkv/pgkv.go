// Package pgkv answers "how do several machines share the house's facts?": kv.Database on
// PostgreSQL, and on engines that speak its protocol.
//
// All keys are rows of one table, ordered by the bytes of the key. A scope is a row of another
// table: an Update locks it with SELECT … FOR UPDATE, which serialises it with the Updates of that
// scope on every machine. A View is one REPEATABLE READ transaction. No advisory locks and no
// LISTEN are used. The server's own commit makes things durable, so that Open refuses one that is
// set not to.
//
// What must never happen: an Update that is not known to be committed is reported as committed, or
// an Update is run twice because the first one's outcome was unknown.
package pgkv

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"tram/internal/clock"
	"tram/internal/kv"
)

// Options are what a database is opened with. The zero value is for production.
type Options struct {
	Clock  clock.Clock  // nil: clock.System
	Logger *slog.Logger // nil: nothing is logged
	// Conns bounds the connections for Updates, and again those for Views; 0 is 16. Stages take 2
	// more.
	Conns int32
	// Schema is the schema that the tables are made in, which must exist; "" is the first one in
	// the user's search path.
	Schema string
}

// DB is an open database. It is safe for concurrent use.
type DB struct {
	opts Options
	log  *slog.Logger
	// Updates may hold a View inside of them: each kind has connections of its own, so that neither
	// waits for the other.
	updates, views, stages *pgxpool.Pool

	locks  kv.Locks // of this process: one connection for each scope waits at the server
	scopes scopes
	users  sync.WaitGroup
	mu     sync.Mutex // closing and users.Add
	closed bool

	commits, staged, retries atomic.Int64
	full                     atomic.Int64 // when the server had no space, ns since 1970
	size                     sizeCache
}

var _ kv.Database = (*DB)(nil)

// idleInTransaction is after which time the server ends a transaction whose machine has gone
// silent, and with it its lock.
const idleInTransaction = "30000" // ms

// Open connects to the server at url, a PostgreSQL connection string, and makes the tables if there
// are none. Errors are kv.ErrNewer for data of a newer version, and a sentence for settings of the
// server that would lose acknowledged mail.
func Open(ctx context.Context, url string, o Options) (*DB, error) {
	if o.Clock == nil {
		o.Clock = clock.System
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Conns == 0 {
		o.Conns = 16
	}
	db := &DB{opts: o, log: o.Logger}
	if err := db.connect(ctx, url); err != nil {
		db.closePools()
		return nil, fmt.Errorf("open PostgreSQL storage: %w", err)
	}
	if err := db.prepare(ctx); err != nil {
		db.closePools()
		return nil, fmt.Errorf("open PostgreSQL storage: %w", err)
	}
	return db, nil
}

func (db *DB) connect(ctx context.Context, url string) error {
	pool := func(conns int32, params map[string]string) (*pgxpool.Pool, error) {
		c, err := pgxpool.ParseConfig(url)
		if err != nil {
			return nil, fmt.Errorf("read connection string: %w", err)
		}
		c.MaxConns, c.MinConns = conns, 0
		c.MaxConnIdleTime = 5 * time.Minute
		c.ConnConfig.RuntimeParams["application_name"] = "tram"
		if db.opts.Schema != "" {
			c.ConnConfig.RuntimeParams["search_path"] = db.opts.Schema
		}
		for k, v := range params {
			c.ConnConfig.RuntimeParams[k] = v
		}
		return pgxpool.NewWithConfig(ctx, c)
	}
	var err error
	limit := map[string]string{"idle_in_transaction_session_timeout": idleInTransaction}
	if db.updates, err = pool(db.opts.Conns, limit); err != nil {
		return err
	}
	if db.views, err = pool(db.opts.Conns, nil); err != nil {
		return err
	}
	db.stages, err = pool(2, map[string]string{"synchronous_commit": "off"})
	return err
}

func (db *DB) closePools() {
	for _, p := range []*pgxpool.Pool{db.updates, db.views, db.stages} {
		if p != nil {
			p.Close()
		}
	}
}

// enter lets a transaction begin; users.Done must follow when it returns nil.
func (db *DB) enter(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	db.mu.Lock()
	defer db.mu.Unlock()
	if db.closed {
		return kv.ErrClosed
	}
	db.users.Add(1)
	return nil
}

// Close implements kv.Database. A second Close returns kv.ErrClosed.
func (db *DB) Close() error {
	db.mu.Lock()
	again := db.closed
	db.closed = true
	db.mu.Unlock()
	if again {
		return kv.ErrClosed
	}
	db.users.Wait()
	db.closePools()
	return nil
}

// View implements kv.Database. The snapshot is that of the first read.
func (db *DB) View(ctx context.Context, _ kv.Scope, fn func(kv.Reader) error) error {
	if err := db.enter(ctx); err != nil {
		return err
	}
	defer db.users.Done()
	conn, err := db.views.Acquire(ctx)
	if err != nil {
		return db.mapError("connect", err)
	}
	defer conn.Release()
	t := &txn{db: db, ctx: ctx, conn: conn.Conn()}
	defer t.end()
	return fn(t)
}

// Stage implements kv.Database: the server answers before it has synced, and the next commit that
// it does sync covers what came before.
func (db *DB) Stage(ctx context.Context, pairs ...kv.Pair) error {
	if err := db.enter(ctx); err != nil {
		return err
	}
	defer db.users.Done()
	if err := db.Full(); err != nil && !kv.IsFreeing(ctx) {
		return err
	}
	var o overlay
	for _, p := range pairs {
		if len(p.Key) == 0 {
			return kv.ErrEmptyKey
		}
		o.set(p.Key, p.Value)
	}
	err := db.retry(ctx, func() error {
		b := &pgx.Batch{}
		o.queue(b)
		if b.Len() == 0 {
			return nil
		}
		// Without a BEGIN all of a batch is one transaction.
		return db.stages.SendBatch(ctx, b).Close()
	})
	if err != nil {
		return db.mapError("stage", err)
	}
	db.staged.Add(int64(len(pairs)))
	return nil
}

// fullFor is how long the server is taken for full after it has said so.
const fullFor = 5 * time.Second

// Full implements kv.Database: a server does not tell how much space it has, only when it has none.
func (db *DB) Full() error {
	at := db.full.Load()
	if at == 0 {
		return nil
	}
	if d := db.opts.Clock.Now().UnixNano() - at; d >= 0 && d < int64(fullFor) {
		return kv.ErrFull
	}
	return nil
}

// sizeCache keeps the size of the table for a while.
type sizeCache struct {
	mu    sync.Mutex
	until time.Time
	bytes int64
}

// Stats implements kv.Database. The size is up to a minute old.
func (db *DB) Stats() kv.Stats {
	s := kv.Stats{
		Commits: db.commits.Load(), Staged: db.staged.Load(), Retries: db.retries.Load(),
	}
	db.size.mu.Lock()
	defer db.size.mu.Unlock()
	if now := db.opts.Clock.Now(); now.After(db.size.until) {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		var n int64
		if db.enter(ctx) == nil {
			err := db.views.QueryRow(ctx, `SELECT pg_total_relation_size('tram_kv')`).Scan(&n)
			db.users.Done()
			if err == nil {
				db.size.bytes, db.size.until = n, now.Add(time.Minute)
			}
		}
	}
	s.DiskBytes = db.size.bytes
	return s
}

var errEnded = errors.New("transaction has ended")

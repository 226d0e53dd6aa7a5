package pgkv

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"tram/internal/clock"
	"tram/internal/kv"
)

// Update implements kv.Database.
//
// An attempt that fails before its commit was sent (a conflict, a deadlock, a lost connection) is
// made again. When the connection is lost while the commit is on its way, the server is asked what
// has become of the transaction; if even that cannot be learned, the error says so.
func (db *DB) Update(ctx context.Context, scope kv.Scope, fn func(kv.Txn) error) error {
	if err := db.enter(ctx); err != nil {
		return err
	}
	defer db.users.Done()
	if err := db.Full(); err != nil && !kv.IsFreeing(ctx) {
		return err
	}
	if err := db.locks.Lock(ctx, scope); err != nil {
		return err
	}
	defer db.locks.Unlock(scope)
	err := db.retry(ctx, func() error { return db.attempt(ctx, scope, fn) })
	var own *ownError
	switch {
	case errors.As(err, &own):
		return own.err
	case err != nil:
		return db.mapError("commit", err)
	}
	db.commits.Add(1)
	return nil
}

// ownError is an error of the caller's function, which is returned as it is and never retried.
type ownError struct{ err error }

func (e *ownError) Error() string { return e.err.Error() }

// attempt runs one transaction.
func (db *DB) attempt(ctx context.Context, scope kv.Scope, fn func(kv.Txn) error) error {
	conn, err := db.updates.Acquire(ctx)
	if err != nil {
		return err
	}
	defer conn.Release()
	t := &txn{db: db, ctx: ctx, conn: conn.Conn(), writable: true}
	defer t.end()
	id, err := t.begin(scope)
	if err != nil {
		return err
	}
	err = fn(t)
	switch {
	case t.broken != nil && (err == nil || retriable(t.broken)):
		return t.broken
	case err != nil:
		return &ownError{err}
	case t.o.empty():
		return nil
	}
	// A caller that loses patience now would not learn what has become of his transaction.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), commitTime)
	defer cancel()
	b := &pgx.Batch{}
	t.o.queue(b)
	b.Queue(`COMMIT`)
	err = t.commit(ctx, b)
	if err != nil && t.conn.IsClosed() {
		return db.settle(ctx, id, err)
	}
	return err
}

// commitTime bounds a commit with all its writes.
const commitTime = time.Minute

const (
	lockScope = `SELECT pg_current_xact_id()::text FROM tram_scope WHERE scope = $1 FOR UPDATE`
	makeScope = `INSERT INTO tram_scope (scope) VALUES ($1) ON CONFLICT DO NOTHING`
)

// begin begins the transaction and takes the scope's lock, in one round trip if the scope's row is
// there. Reads see what is committed when they are made: the lock comes first, so that they see all
// that was done under it. It returns the transaction's id.
func (t *txn) begin(scope kv.Scope) (id string, err error) {
	known := t.db.scopes.has(scope)
	for range 2 {
		b := &pgx.Batch{}
		b.Queue(`BEGIN ISOLATION LEVEL READ COMMITTED`)
		if !known {
			b.Queue(makeScope, string(scope))
		}
		b.Queue(lockScope, string(scope))
		t.begun = true
		results := t.conn.SendBatch(t.ctx, b)
		for range b.Len() - 1 {
			if _, err = results.Exec(); err != nil {
				break
			}
		}
		if err == nil {
			err = results.QueryRow().Scan(&id)
		}
		if closing := results.Close(); err == nil {
			err = closing
		}
		if !errors.Is(err, pgx.ErrNoRows) {
			break
		}
		// Somebody has emptied the table of scopes: make the row after all.
		known = false
		if _, err := t.conn.Exec(t.ctx, `ROLLBACK`); err != nil {
			return "", err
		}
	}
	if err == nil {
		t.db.scopes.add(scope)
	}
	return id, err
}

// commit sends what was written and the COMMIT, in one round trip.
func (t *txn) commit(ctx context.Context, b *pgx.Batch) error {
	results := t.conn.SendBatch(ctx, b)
	for range b.Len() - 1 {
		if _, err := results.Exec(); err != nil {
			_ = results.Close()
			return err
		}
	}
	tag, err := results.Exec()
	if closing := results.Close(); err == nil {
		err = closing
	}
	if err != nil {
		return err
	}
	t.begun = false
	if tag.String() == "ROLLBACK" {
		return errors.New("the server has rolled the transaction back")
	}
	return nil
}

// errUnknown says that nobody can tell whether a transaction was committed.
var errUnknown = errors.New("the connection was lost during the commit, which may have happened")

// errAborted is a lost commit that is known not to have happened: it is retried.
var errAborted = errors.New("transaction was lost before its commit")

// settle asks the server, over another connection, what has become of transaction id, whose commit
// failed with err: nil if it was committed.
func (db *DB) settle(ctx context.Context, id string, err error) error {
	for wait := 10 * time.Millisecond; wait < 10*time.Second; wait *= 2 {
		var status *string
		asked := db.views.QueryRow(ctx, `SELECT pg_xact_status($1::text::xid8)`, id).Scan(&status)
		switch {
		case asked == nil && status != nil && *status == "committed":
			return nil
		case asked == nil && status != nil && *status == "aborted":
			return fmt.Errorf("%w: %w", errAborted, err)
		case asked == nil && status == nil, asked != nil && !lost(asked):
			return fmt.Errorf("%w: %w", errUnknown, err)
		}
		if clock.Sleep(ctx, db.opts.Clock, wait) != nil {
			break
		}
	}
	return fmt.Errorf("%w: %w", errUnknown, err)
}

const (
	serializationFailure = "40001"
	deadlockDetected     = "40P01"
	diskFull             = "53100"
	adminShutdown        = "57P01"
	crashShutdown        = "57P02"
	cannotConnectNow     = "57P03"
	uniqueViolation      = "23505" // two machines that make the same table
)

// retriable reports whether an attempt that failed like this may be made again.
func retriable(err error) bool {
	if errors.Is(err, errUnknown) {
		return false
	}
	if errors.Is(err, errAborted) {
		return true
	}
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		switch pg.Code {
		case serializationFailure, deadlockDetected, adminShutdown, crashShutdown, cannotConnectNow,
			uniqueViolation:
			return true
		}
		return false
	}
	return lost(err)
}

// lost reports whether err is of the connection, not of the server or the caller.
func lost(err error) bool {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return pg.Code == adminShutdown || pg.Code == crashShutdown || pg.Code == cannotConnectNow
	}
	var network net.Error
	var connect *pgconn.ConnectError
	return pgconn.SafeToRetry(err) || errors.As(err, &network) || errors.As(err, &connect) ||
		errors.Is(err, net.ErrClosed) || isEOF(err)
}

// attempts is how often a transaction is tried; the waits between them add up to about 10 s.
const attempts = 12

// retry calls fn until it succeeds, fails for good, or has failed too often.
func (db *DB) retry(ctx context.Context, fn func() error) error {
	wait := 2 * time.Millisecond
	for i := 1; ; i++ {
		err := fn()
		var own *ownError
		if err == nil || errors.As(err, &own) || i == attempts || !retriable(err) {
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		db.retries.Add(1)
		if err := clock.Sleep(ctx, db.opts.Clock, wait/2+rand.N(wait)); err != nil {
			return err
		}
		wait *= 2
	}
}

// mapError gives an error of the server the name that package kv has for it.
func (db *DB) mapError(what string, err error) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("%s: %w", what, err)
	}
	var pg *pgconn.PgError
	if errors.As(err, &pg) && pg.Code == diskFull {
		db.full.Store(db.opts.Clock.Now().UnixNano())
		return fmt.Errorf("%s: %w: %w", what, kv.ErrFull, err)
	}
	return fmt.Errorf("%s: %w", what, err)
}

// scopes remembers which scopes have a row already.
type scopes struct {
	mu sync.Mutex
	m  map[kv.Scope]struct{}
}

// manyScopes bounds the memory for them.
const manyScopes = 100_000

func (s *scopes) has(scope kv.Scope) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok := s.m[scope]
	return ok
}

func (s *scopes) add(scope kv.Scope) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.m == nil || len(s.m) >= manyScopes {
		s.m = make(map[kv.Scope]struct{})
	}
	s.m[scope] = struct{}{}
}

func isEOF(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
}

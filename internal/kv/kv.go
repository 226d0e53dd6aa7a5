// Package kv answers "where do the house's facts live, and when are they safe?": an interface over
// an ordered, transactional store of keys and values with three engines behind it, kv/pebblekv (the
// embedded default), kv/pgkv (PostgreSQL) and kv/memkv (tests).
//
// Promises of every engine, proved by kv/kvtest: a View sees one consistent snapshot, and nothing
// in it that was written under its scope can be taken back by a crash; an Update sees its own
// writes, is applied whole or not at all, is serialised with the other Updates of its scope (on
// every machine that shares the store) and is durable when it returns nil. Keys are ordered as
// bytes.Compare orders them.
//
// What must never happen: an Update that returned nil is lost; half an Update becomes visible; a
// commit is acknowledged after the disk has refused a sync.
package kv

import (
	"context"
	"errors"
	"time"
)

var (
	// ErrNotFound is what Reader.Get returns for a key that has no value.
	ErrNotFound = errors.New("key not found")
	// ErrFull says that the free-space reserve is touched: reading works, and so do Updates whose
	// context was made by Freeing, until nothing is left.
	ErrFull = errors.New("storage is full")
	// ErrClosed says that the database was closed, or that the disk failed and nothing more is
	// promised.
	ErrClosed = errors.New("database is closed")
	// ErrCorrupt marks data that is not what was written. The error that wraps it names the place;
	// one of opening a database names what to run, too.
	ErrCorrupt = errors.New("stored data is damaged")
	// ErrInUse says that another process has the database open.
	ErrInUse = errors.New("database is in use by another process")
	// ErrNewer says that the data was written by a newer version of this program.
	ErrNewer = errors.New("data was written by a newer version")
	// ErrEmptyKey refuses a write to the key of no bytes, which no engine has.
	ErrEmptyKey = errors.New("key is empty")
	// Stop ends a Scan early, without an error, when its callback returns it.
	Stop = errors.New("stop scanning")
)

// Scope names what an Update changes: "account/17", "directory", "queue/3". Updates of one scope
// happen one after the other. A key belongs to one scope: it is only ever written under it.
type Scope string

// Range is the keys from Start up to and without End. A nil bound is open.
type Range struct {
	Start, End []byte
	Reverse    bool // from the largest key down
	Limit      int  // pairs at most; 0 is all
	KeysOnly   bool // the callback's value is nil; values are not read
}

// Prefix returns the range of all keys that start with p. An empty p is every key.
func Prefix(p []byte) Range { return Range{Start: p, End: PrefixEnd(p)} }

// PrefixEnd returns the smallest key after all keys that start with p, in new memory, or nil
// (open) when there is none: p is empty or all 0xff.
func PrefixEnd(p []byte) []byte {
	for i := len(p) - 1; i >= 0; i-- {
		if p[i] != 0xff {
			end := append([]byte(nil), p[:i+1]...)
			end[i]++
			return end
		}
	}
	return nil
}

// Reader reads. It is valid until the function it was given to returns, and is for one goroutine.
type Reader interface {
	// Get returns the value of key, or ErrNotFound. The value is valid until the function that was
	// given the Reader returns, and must not be changed.
	Get(key []byte) ([]byte, error)
	// Scan calls fn for each pair of r in order. Key and value are valid until the callback
	// returns. An error of fn ends the scan and is returned; Stop ends it with nil. In an Update
	// the callback may write: the Scan goes on over what was there when it began.
	Scan(r Range, fn func(key, value []byte) error) error
}

// Peeker is implemented by Readers that can lend a value for a moment, so that the memory of a
// large one is not held until the whole transaction ends.
type Peeker interface {
	// Peek calls fn with the value of key, valid until fn returns, or returns ErrNotFound.
	Peek(key []byte, fn func(value []byte) error) error
}

// Peek calls fn with the value of key, valid until fn returns, or returns ErrNotFound. It is Get
// for large values.
func Peek(r Reader, key []byte, fn func(value []byte) error) error {
	if p, ok := r.(Peeker); ok {
		return p.Peek(key, fn)
	}
	value, err := r.Get(key)
	if err != nil {
		return err
	}
	return fn(value)
}

// Txn reads and writes; reads see the writes before them. Arguments may be reused after a call.
type Txn interface {
	Reader
	// Set gives key a value; an empty key is ErrEmptyKey.
	Set(key, value []byte) error
	// Delete removes key; a key that has no value is no error.
	Delete(key []byte) error
	// DeleteRange removes all keys from start up to and without end. Nil bounds are open.
	DeleteRange(start, end []byte) error
}

// Pair is a key with its value.
type Pair struct{ Key, Value []byte }

// Database is an engine. It is safe for concurrent use.
type Database interface {
	// View calls fn with a consistent snapshot. Whatever fn sees that was written under scope is
	// durable.
	View(ctx context.Context, scope Scope, fn func(Reader) error) error
	// Update calls fn in a transaction and commits it. Updates of the same scope are serialised;
	// when Update returns nil the writes are durable. An error from fn is returned as it is, and
	// nothing is written. fn may be called again after an attempt that could not be committed: it
	// must have no effect outside of the transaction that a second run does not overwrite. What fn
	// reads of other scopes is committed, but two reads may see different states of it. Updates
	// must not be nested.
	//
	// Errors: ErrFull, ErrClosed, the context's error while waiting for the scope (nothing is
	// written then). Any other error from the commit itself leaves open whether it happened.
	Update(ctx context.Context, scope Scope, fn func(Txn) error) error
	// Stage writes pairs that nobody refers to yet, without waiting for the disk: they are durable
	// no later than the next Update on this Database that begins after Stage has returned. The
	// pairs become visible together. Their memory may be reused after the call.
	Stage(ctx context.Context, pairs ...Pair) error
	// Full returns nil, or ErrFull while the free-space reserve is touched. It is cheap enough to
	// be asked for every message.
	Full() error
	// Stats returns counters for metrics.
	Stats() Stats
	// Close waits for running transactions and closes the database.
	Close() error
}

// Stats are an engine's figures. What an engine cannot know is 0.
type Stats struct {
	DiskBytes    int64         // taken by the database
	FreeBytes    int64         // left on its file system
	ReserveBytes int64         // FreeBytes below which ErrFull is returned
	WALBytes     int64         // written to the log since Open
	Commits      int64         // Updates committed since Open
	Staged       int64         // pairs written by Stage since Open
	Syncs        int64         // syncs of the log since Open, one for a group of commits
	Retries      int64         // Updates run again after a conflict since Open
	SyncTime     time.Duration // all syncs of the log together
	CacheBytes   int64         // block cache in use
	MemoryBytes  int64         // rows in memory that are not yet in tables
}

type freeingKey struct{}

// Freeing returns a context whose Updates may use the free-space reserve: for work that ends with
// less stored than before (expunging, retention, leaving the queue) or that must be remembered
// (what a remote server has accepted).
func Freeing(ctx context.Context) context.Context {
	return context.WithValue(ctx, freeingKey{}, true)
}

// IsFreeing reports whether ctx was made by Freeing. It is for engines.
func IsFreeing(ctx context.Context) bool { return ctx.Value(freeingKey{}) != nil }

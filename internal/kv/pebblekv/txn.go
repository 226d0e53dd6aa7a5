package pebblekv

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/cockroachdb/pebble/v2"

	"tram/internal/kv"
)

// txn is the kv.Reader of a View and the kv.Txn of an Update.
//
// An Update collects its writes in a batch. Most transactions read first and write then, and never
// read what they wrote; so the batch is a plain one until a read comes after a write, and gets the
// index that such a read needs only then.
type txn struct {
	db    *DB
	ctx   context.Context
	base  pebble.Reader // what a read goes to while nothing was written: snapshot or database
	batch *pebble.Batch // nil in a View
	ended bool

	iters []openIter // reused by Scans one after the other; a nested one takes the next
	depth int        // Scans under way
	arena arena      // values that Get has returned

	peeks  int              // calls of Peek so far
	seeker *pebble.Iterator // for Peek in a View, once it was called a few times
}

type openIter struct {
	*pebble.Iterator
	src pebble.Reader // what it reads
}

var (
	errEnded = errors.New("transaction has ended")
	errView  = errors.New("write in a view")
)

// end closes what reads have opened. The batch is the caller's.
func (t *txn) end() {
	t.ended = true
	for _, it := range t.iters {
		_ = it.Close() // its error was returned by the Scan
	}
	t.iters = nil
	if t.seeker != nil {
		_ = t.seeker.Close() // its error was returned by the Peek
		t.seeker = nil
	}
	t.arena.release()
}

// source returns what a read must go to in order to see the writes before it.
func (t *txn) source() (pebble.Reader, error) {
	if t.ended {
		return nil, errEnded
	}
	if t.batch == nil || t.batch.Empty() {
		return t.base, nil
	}
	if !t.batch.Indexed() {
		indexed := t.db.pebble.NewIndexedBatchWithSize(2 * t.batch.Len())
		if err := indexed.Apply(t.batch, nil); err != nil {
			return nil, fmt.Errorf("index transaction: %w", err)
		}
		_ = t.batch.Close()
		t.batch = indexed
	}
	return t.batch, nil
}

// Get implements kv.Reader.
func (t *txn) Get(key []byte) ([]byte, error) {
	var out []byte
	err := t.get(key, func(value []byte) error {
		out = t.arena.add(value)
		return nil
	})
	return out, err
}

// seekFrom is the call of Peek in a View from which an iterator is kept open: it costs about as much
// as three reads without, and then finds the next body of many, which mostly lies behind the last
// one, in the table and the block that it has at hand.
const seekFrom = 4

// Peek implements kv.Peeker.
func (t *txn) Peek(key []byte, fn func(value []byte) error) error {
	if t.peeks++; t.batch != nil || t.peeks < seekFrom {
		return t.get(key, fn)
	}
	if t.ended {
		return errEnded
	}
	if t.seeker == nil {
		it, err := t.base.NewIter(nil)
		if err != nil {
			return fmt.Errorf("read key %x: %w", key, mapError(err))
		}
		t.seeker = it
	}
	// A key is its own prefix for the engine's comparer: tables without it are passed over.
	if !t.seeker.SeekPrefixGE(key) {
		if err := t.seeker.Error(); err != nil {
			return fmt.Errorf("read key %x: %w", key, mapError(err))
		}
		return kv.ErrNotFound
	}
	if !bytes.Equal(t.seeker.Key(), key) {
		return kv.ErrNotFound
	}
	value, err := valueOf(t.seeker)
	if err != nil {
		return fmt.Errorf("read key %x: %w", key, mapError(err))
	}
	return fn(value)
}

// get calls fn with the value of key, valid until fn returns.
func (t *txn) get(key []byte, fn func(value []byte) error) error {
	src, err := t.source()
	if err != nil {
		return err
	}
	value, closer, err := getFrom(src, key)
	if err == pebble.ErrNotFound {
		return kv.ErrNotFound
	}
	if err != nil {
		return fmt.Errorf("read key %x: %w", key, mapError(err))
	}
	// Pebble's Get hides an error of reading a value that lies in a file of its own, and returns an
	// empty value; what it gives to be closed knows better.
	if it, ok := closer.(interface{ Error() error }); ok && it.Error() != nil {
		err = it.Error()
		_ = closer.Close()
		return fmt.Errorf("read key %x: %w", key, mapError(err))
	}
	err = fn(value)
	if damaged := closer.Close(); damaged != nil {
		return fmt.Errorf("read key %x: %w", key, mapError(damaged))
	}
	return err
}

// Scan implements kv.Reader.
func (t *txn) Scan(r kv.Range, fn func(key, value []byte) error) error {
	if r.End != nil && bytes.Compare(r.Start, r.End) >= 0 {
		return nil
	}
	it, err := t.iterator(r)
	if err != nil {
		return err
	}
	t.depth++
	defer func() { t.depth-- }()
	err = t.walk(it, r, fn)
	if err == kv.Stop {
		return nil
	}
	return err
}

// iterator returns an iterator over r, an open one if there is one that no Scan is using.
func (t *txn) iterator(r kv.Range) (*pebble.Iterator, error) {
	src, err := t.source()
	if err != nil {
		return nil, err
	}
	o := pebble.IterOptions{LowerBound: r.Start, UpperBound: r.End}
	if len(r.Start) == 0 {
		o.LowerBound = nil // Pebble takes an empty bound for one that was not set, here and there
	}
	if t.depth < len(t.iters) && t.iters[t.depth].src == src {
		it := t.iters[t.depth].Iterator
		it.SetOptions(&o) // which also shows it what the batch has by now
		return it, nil
	}
	it, err := src.NewIter(&o)
	if err != nil {
		return nil, fmt.Errorf("scan: %w", mapError(err))
	}
	if t.depth == len(t.iters) {
		t.iters = append(t.iters, openIter{it, src})
		return it, nil
	}
	_ = t.iters[t.depth].Close()
	t.iters[t.depth] = openIter{it, src}
	return it, nil
}

// scanCheck is after how many pairs a Scan looks whether its context has ended.
const scanCheck = 256

func (t *txn) walk(it *pebble.Iterator, r kv.Range, fn func(key, value []byte) error) error {
	first, next := it.First, it.Next
	if r.Reverse {
		first, next = it.Last, it.Prev
	}
	n := 0
	for ok := first(); ok; ok = next() {
		if n%scanCheck == scanCheck-1 {
			if err := t.ctx.Err(); err != nil {
				return err
			}
		}
		var value []byte
		if !r.KeysOnly {
			v, err := valueOf(it)
			if err != nil {
				return fmt.Errorf("scan key %x: %w", it.Key(), mapError(err))
			}
			value = v
		}
		if err := fn(it.Key(), value); err != nil {
			return err
		}
		if n++; n == r.Limit {
			return nil
		}
	}
	if err := it.Error(); err != nil {
		return fmt.Errorf("scan: %w", mapError(err))
	}
	return nil
}

// Set implements kv.Txn.
func (t *txn) Set(key, value []byte) error {
	if err := t.writable(); err != nil {
		return err
	}
	if len(key) == 0 {
		return kv.ErrEmptyKey
	}
	return t.batch.Set(key, value, nil)
}

// Delete implements kv.Txn.
func (t *txn) Delete(key []byte) error {
	if err := t.writable(); err != nil || len(key) == 0 {
		return err
	}
	return t.batch.Delete(key, nil)
}

// Pebble wants both ends of a range: firstKey is before every other key, lastKey after those of the
// house, which begin with a letter.
var (
	firstKey = []byte{0}
	lastKey  = bytes.Repeat([]byte{0xff}, 64)
)

// DeleteRange implements kv.Txn.
func (t *txn) DeleteRange(start, end []byte) error {
	if err := t.writable(); err != nil {
		return err
	}
	if len(start) == 0 {
		start = firstKey
	}
	if end != nil {
		if bytes.Compare(start, end) >= 0 {
			return nil
		}
		return t.batch.DeleteRange(start, end, nil)
	}
	if err := t.batch.DeleteRange(start, lastKey, nil); err != nil {
		return err
	}
	// What lies beyond lastKey is deleted one by one.
	return t.Scan(kv.Range{Start: maxKey(start, lastKey), KeysOnly: true},
		func(key, _ []byte) error { return t.Delete(key) })
}

func maxKey(a, b []byte) []byte {
	if bytes.Compare(a, b) > 0 {
		return a
	}
	return b
}

func (t *txn) writable() error {
	switch {
	case t.ended:
		return errEnded
	case t.batch == nil:
		return errView
	}
	return nil
}

// mapError gives damage that Pebble has found the name that package kv has for it.
func mapError(err error) error {
	if pebble.IsCorruptionError(err) {
		return corruption{err}
	}
	return err
}

// corruption is damage that Pebble has found, told in one line: Pebble joins to its own error another
// one that carries details and says nothing (v2.1.7, corruptionDetailError).
type corruption struct{ err error }

// Error tells what is damaged, and in which file where Pebble knows.
func (c corruption) Error() string {
	text, _, _ := strings.Cut(c.err.Error(), "\n")
	if info := pebble.ExtractDataCorruptionInfo(c.err); info != nil && info.Path != "" {
		text += " in " + info.Path
	}
	return kv.ErrCorrupt.Error() + ": " + text
}

// Unwrap returns both names of it.
func (c corruption) Unwrap() []error { return []error{kv.ErrCorrupt, c.err} }

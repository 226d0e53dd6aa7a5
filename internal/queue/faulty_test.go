package queue

import (
	"bytes"
	"context"
	"errors"
	"sync"
	"sync/atomic"

	"tram/internal/kv"
)

// faulty is an engine whose transactions fail where a test says.
type faulty struct {
	kv.Database
	mu   sync.Mutex
	when func(op byte, key []byte) bool
	view func()       // called in each View
	ops  atomic.Int64 // rows read and written
}

var errBroken = errors.New("broken on purpose")

// useFaulty puts the queue onto a faulty engine.
func (w *world) useFaulty() *faulty {
	w.t.Helper()
	f := &faulty{Database: w.o.DB}
	w.engine = f
	w.open()
	return f
}

// fail makes writes fail for which when says so; op is 's' for Set and 'd' for Delete.
func (f *faulty) fail(when func(op byte, key []byte) bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.when = when
}

// during sets what is done in each View.
func (f *faulty) during(view func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.view = view
}

func (f *faulty) check(op byte, key []byte) error {
	f.ops.Add(1)
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.when != nil && f.when(op, key) {
		return errBroken
	}
	return nil
}

// markless fails what records an attempt: it takes the attempt's mark away.
func markless(op byte, key []byte) bool {
	return op == 'd' && len(key) > 2 && key[0] == space && key[2] == markSub
}

// View implements kv.Database.
func (f *faulty) View(ctx context.Context, s kv.Scope, fn func(kv.Reader) error) error {
	return f.Database.View(ctx, s, func(r kv.Reader) error {
		f.mu.Lock()
		view := f.view
		f.mu.Unlock()
		if view != nil {
			view()
		}
		return fn(&faultyReader{r, f})
	})
}

// Update implements kv.Database.
func (f *faulty) Update(ctx context.Context, s kv.Scope, fn func(kv.Txn) error) error {
	return f.Database.Update(ctx, s, func(txn kv.Txn) error {
		return fn(&faultyTxn{txn, faultyReader{txn, f}, f})
	})
}

// faultyReader counts what is read.
type faultyReader struct {
	r kv.Reader
	f *faulty
}

// Get implements kv.Reader.
func (r *faultyReader) Get(key []byte) ([]byte, error) {
	r.f.ops.Add(1)
	return r.r.Get(key)
}

// Peek implements kv.Peeker.
func (r *faultyReader) Peek(key []byte, fn func([]byte) error) error {
	r.f.ops.Add(1)
	return kv.Peek(r.r, key, fn)
}

// Scan implements kv.Reader.
func (r *faultyReader) Scan(rng kv.Range, fn func(key, value []byte) error) error {
	return r.r.Scan(rng, func(key, value []byte) error {
		r.f.ops.Add(1)
		return fn(key, value)
	})
}

type faultyTxn struct {
	kv.Txn
	r faultyReader
	f *faulty
}

// Get implements kv.Reader.
func (t *faultyTxn) Get(key []byte) ([]byte, error) { return t.r.Get(key) }

// Scan implements kv.Reader.
func (t *faultyTxn) Scan(rng kv.Range, fn func(key, value []byte) error) error {
	return t.r.Scan(rng, fn)
}

// Set implements kv.Txn.
func (t *faultyTxn) Set(key, value []byte) error {
	if err := t.f.check('s', key); err != nil {
		return err
	}
	return t.Txn.Set(key, value)
}

// Delete implements kv.Txn.
func (t *faultyTxn) Delete(key []byte) error {
	if err := t.f.check('d', key); err != nil {
		return err
	}
	return t.Txn.Delete(key)
}

// spoil makes an item's row unreadable.
func (w *world) spoil(id ID) {
	w.t.Helper()
	for s := range w.q.eachShard() {
		err := w.o.DB.Update(w.t.Context(), s.scope(), func(txn kv.Txn) error {
			b, err := txn.Get(s.itemKey(id))
			if errors.Is(err, kv.ErrNotFound) {
				return nil
			}
			if err != nil {
				return err
			}
			return txn.Set(s.itemKey(id), bytes.Repeat([]byte{0xff}, len(b)))
		})
		if err != nil {
			w.t.Fatal(err)
		}
	}
}

package store

import (
	"context"
	"sync/atomic"

	"tram/internal/kv"
)

// faulty is a database that counts what is written, and fails where it is told to.
type faulty struct {
	kv.Database
	failAt  int   // the write of an Update that fails, from 1; 0: none
	err     error // with this
	failed  atomic.Bool
	updates atomic.Int64
	// failUpdate is the Update that fails as a whole, after its function has run; 0: none.
	failUpdate int64
	writes     atomic.Int64 // of the last Update
}

func (f *faulty) Update(ctx context.Context, scope kv.Scope, fn func(kv.Txn) error) error {
	n := f.updates.Add(1)
	return f.Database.Update(ctx, scope, func(t kv.Txn) error {
		f.writes.Store(0)
		if err := fn(&faultyTxn{Txn: t, f: f}); err != nil {
			return err
		}
		if n == f.failUpdate {
			return f.err
		}
		return nil
	})
}

type faultyTxn struct {
	kv.Txn
	f *faulty
}

func (t *faultyTxn) step() error {
	if n := t.f.writes.Add(1); t.f.failAt > 0 && int(n) == t.f.failAt {
		t.f.failed.Store(true)
		return t.f.err
	}
	return nil
}

func (t *faultyTxn) Set(key, value []byte) error {
	if err := t.step(); err != nil {
		return err
	}
	return t.Txn.Set(key, value)
}

func (t *faultyTxn) Delete(key []byte) error {
	if err := t.step(); err != nil {
		return err
	}
	return t.Txn.Delete(key)
}

func (t *faultyTxn) DeleteRange(start, end []byte) error {
	if err := t.step(); err != nil {
		return err
	}
	return t.Txn.DeleteRange(start, end)
}

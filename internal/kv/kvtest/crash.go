package kvtest

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"tram/internal/kv"
)

// retried: the result is the same when every function runs more than once.
func retried(t *testing.T, s *suite) {
	db := s.open(t)
	if s.retry == nil {
		return
	}
	s.retry(db)
	runs := 0
	for range 5 {
		update(t, db, "a", func(txn kv.Txn) error {
			runs++
			n := uint64(0)
			if v, err := txn.Get([]byte("n")); err == nil {
				n = binary.BigEndian.Uint64(v)
			} else if !errors.Is(err, kv.ErrNotFound) {
				return err
			}
			key := fmt.Appendf(nil, "row/%d", n)
			return errors.Join(txn.Set([]byte("n"), binary.BigEndian.AppendUint64(nil, n+1)),
				txn.Set(key, nil))
		})
	}
	if runs < 10 {
		t.Errorf("the function ran %d times: the hook does not retry", runs)
	}
	view(t, db, "a", func(r kv.Reader) error {
		wantList(t, r, kv.Prefix([]byte("row/")), "row/0=", "row/1=", "row/2=", "row/3=", "row/4=")
		return nil
	})
	err := db.Update(context.Background(), "a", func(txn kv.Txn) error {
		return errors.Join(errWanted, txn.Set([]byte("no"), nil))
	})
	if !errors.Is(err, errWanted) {
		t.Errorf("Update that fails: %v", err)
	}
}

// durable: what was acknowledged before a crash is there after it, whole, and nothing is there in
// part.
func durable(t *testing.T, s *suite) {
	db := s.open(t)
	if s.crash == nil {
		return
	}
	const writers, each = 6, 20
	key := func(w, i int, part string) []byte { return fmt.Appendf(nil, "%d/%04d/%s", w, i, part) }
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				scope := kv.Scope(fmt.Sprint("writer/", w%3))
				update(t, db, scope, func(txn kv.Txn) error {
					return errors.Join(txn.Set(key(w, i, "a"), []byte("x")),
						txn.Set(key(w, i, "b"), make([]byte, 3000)))
				})
			}
		})
	}
	wg.Wait()
	db = s.crash(t, db)
	view(t, db, "", func(r kv.Reader) error {
		for w := range writers {
			for i := range each {
				wantValue(t, r, string(key(w, i, "a")), "x")
				wantValue(t, r, string(key(w, i, "b")), string(make([]byte, 3000)))
			}
		}
		return nil
	})
}

// stageOrder: what was staged is durable once an Update that began later has returned; and of what
// was staged after it, nothing survives that was staged after something that did not.
func stageOrder(t *testing.T, s *suite) {
	db := s.open(t)
	if s.crash == nil {
		return
	}
	ctx := context.Background()
	put := func(key string) {
		t.Helper()
		p := kv.Pair{Key: []byte(key), Value: make([]byte, 2000)}
		if err := db.Stage(ctx, p, kv.Pair{Key: []byte(key + "+"), Value: []byte("with")}); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 10 {
		put(fmt.Sprintf("a%d", i))
	}
	update(t, db, "a", func(txn kv.Txn) error { return txn.Set([]byte("link"), nil) })
	for i := range 10 {
		put(fmt.Sprintf("b%d", i))
	}
	db = s.crash(t, db)
	view(t, db, "", func(r kv.Reader) error {
		wantValue(t, r, "link", "")
		for i := range 10 {
			wantValue(t, r, fmt.Sprintf("a%d", i), string(make([]byte, 2000)))
			wantValue(t, r, fmt.Sprintf("a%d+", i), "with")
		}
		gone := false
		for i := range 10 {
			_, err := r.Get(fmt.Appendf(nil, "b%d", i))
			_, errWith := r.Get(fmt.Appendf(nil, "b%d+", i))
			if (err == nil) != (errWith == nil) {
				t.Errorf("half of Stage %d survived: %v, %v", i, err, errWith)
			}
			if err == nil && gone {
				t.Errorf("Stage %d survived, one before it did not", i)
			}
			gone = gone || err != nil
		}
		return nil
	})
}

// model compares random transactions with a map.
func model(t *testing.T, s *suite) {
	db := s.open(t)
	rapid.Check(t, func(rt *rapid.T) {
		update(t, db, "model", func(txn kv.Txn) error { return txn.DeleteRange(nil, nil) })
		m := &modelState{want: map[string]string{}}
		for range rapid.IntRange(1, 8).Draw(rt, "transactions") {
			before := m.copy()
			fail := rapid.IntRange(0, 4).Draw(rt, "fail") == 0
			steps := rapid.SliceOfN(stepGen, 1, 20).Draw(rt, "steps")
			err := db.Update(context.Background(), "model", func(txn kv.Txn) error {
				m.want = before.copy().want // the function may run again
				for _, st := range steps {
					if err := m.step(txn, st); err != nil {
						return err
					}
				}
				if fail {
					return errWanted
				}
				return nil
			})
			if fail != errors.Is(err, errWanted) || err != nil && !fail {
				rt.Fatalf("Update: %v", err)
			}
			if fail {
				m = before
			}
			if err := db.View(context.Background(), "model", m.same); err != nil {
				rt.Fatalf("View after %v: %v", steps, err)
			}
		}
	})
}

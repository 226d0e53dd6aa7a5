package kvtest

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"tram/internal/kv"
)

func rollback(t *testing.T, s *suite) {
	db := s.open(t)
	fill(t, db, "a", "b")
	err := db.Update(context.Background(), "fill", func(txn kv.Txn) error {
		if err := errors.Join(txn.Set([]byte("a"), []byte("changed")), txn.Delete([]byte("b")),
			txn.Set([]byte("c"), nil), txn.DeleteRange(nil, nil)); err != nil {
			return err
		}
		return errWanted
	})
	if err != errWanted {
		t.Errorf("Update: %v, want the function's own error", err)
	}
	view(t, db, "fill", func(r kv.Reader) error {
		wantList(t, r, kv.Range{}, "a==a", "b==b")
		return nil
	})
}

// panics: a function that panics writes nothing and leaves nothing locked.
func panics(t *testing.T, s *suite) {
	db := s.open(t)
	try := func(run func()) {
		t.Helper()
		defer func() {
			if p := recover(); p != errWanted {
				t.Errorf("recovered %v, want the function's own panic", p)
			}
		}()
		run()
	}
	ctx := context.Background()
	try(func() {
		_ = db.Update(ctx, "a", func(txn kv.Txn) error {
			_ = txn.Set([]byte("k"), []byte("v"))
			panic(errWanted)
		})
	})
	try(func() { _ = db.View(ctx, "a", func(kv.Reader) error { panic(errWanted) }) })
	update(t, db, "a", func(txn kv.Txn) error {
		wantNone(t, txn, "k")
		return txn.Set([]byte("l"), nil)
	})
}

// ended: a Reader and a Txn are of no use after their function.
func ended(t *testing.T, s *suite) {
	db := s.open(t)
	fill(t, db, "a")
	var r kv.Reader
	var txn kv.Txn
	view(t, db, "fill", func(got kv.Reader) error { r = got; return nil })
	update(t, db, "fill", func(got kv.Txn) error { txn = got; return nil })
	for i, err := range []error{
		func() error { _, err := r.Get([]byte("a")); return err }(),
		r.Scan(kv.Range{}, func(_, _ []byte) error { return nil }),
		func() error { _, err := txn.Get([]byte("a")); return err }(),
		txn.Set([]byte("a"), nil), txn.Delete([]byte("a")), txn.DeleteRange(nil, nil),
	} {
		if err == nil {
			t.Errorf("use %d after the end: no error", i)
		}
	}
	view(t, db, "fill", func(r kv.Reader) error {
		wantList(t, r, kv.Range{}, "a==a")
		return nil
	})
}

// snapshot: a View does not see what is committed while it runs, in any scope.
func snapshot(t *testing.T, s *suite) {
	db := s.open(t)
	fill(t, db, "a", "b", "c")
	view(t, db, "fill", func(r kv.Reader) error {
		wantValue(t, r, "a", "=a")
		update(t, db, "fill", func(txn kv.Txn) error {
			return errors.Join(txn.Set([]byte("a"), []byte("new")), txn.Delete([]byte("b")),
				txn.Set([]byte("bb"), nil))
		})
		update(t, db, "other", func(txn kv.Txn) error { return txn.Set([]byte("d"), nil) })
		if err := db.Stage(context.Background(), kv.Pair{Key: []byte("e")}); err != nil {
			return err
		}
		wantValue(t, r, "a", "=a")
		wantValue(t, r, "b", "=b")
		wantNone(t, r, "d")
		wantNone(t, r, "e")
		wantList(t, r, kv.Range{}, "a==a", "b==b", "c==c")
		wantList(t, r, kv.Range{Reverse: true}, "c==c", "b==b", "a==a")
		return nil
	})
	view(t, db, "fill", func(r kv.Reader) error {
		wantList(t, r, kv.Range{}, "a=new", "bb=", "c==c", "d=", "e=")
		return nil
	})
}

// invariant: whoever looks sees whole transactions only.
func invariant(t *testing.T, s *suite) {
	db := s.open(t)
	const accounts, total, moves = 8, 8000, 60
	key := func(i int) []byte { return fmt.Appendf(nil, "account/%d", i) }
	num := func(r kv.Reader, i int) (int64, error) {
		v, err := r.Get(key(i))
		if err != nil {
			return 0, err
		}
		return int64(binary.BigEndian.Uint64(v)), nil
	}
	update(t, db, "bank", func(txn kv.Txn) error {
		for i := range accounts {
			v := binary.BigEndian.AppendUint64(nil, total/accounts)
			if err := txn.Set(key(i), v); err != nil {
				return err
			}
		}
		return nil
	})
	var wg sync.WaitGroup
	for w := range 3 {
		rnd := rand.New(rand.NewPCG(uint64(w), 1))
		wg.Go(func() {
			for range moves {
				from, to, n := rnd.IntN(accounts), rnd.IntN(accounts), rnd.Int64N(50)
				update(t, db, "bank", func(txn kv.Txn) error {
					a, err := num(txn, from)
					if err != nil {
						return err
					}
					if err := txn.Set(key(from), binary.BigEndian.AppendUint64(nil, uint64(a-n))); err != nil {
						return err
					}
					b, err := num(txn, to)
					if err != nil {
						return err
					}
					return txn.Set(key(to), binary.BigEndian.AppendUint64(nil, uint64(b+n)))
				})
			}
		})
		wg.Go(func() {
			for range moves {
				view(t, db, "bank", func(r kv.Reader) error {
					sum := int64(0)
					for i := range accounts {
						n, err := num(r, i)
						if err != nil {
							return err
						}
						sum += n
					}
					if sum != total {
						t.Errorf("a View sees a sum of %d, want %d", sum, total)
					}
					return nil
				})
			}
		})
	}
	wg.Wait()
}

// serialised: Updates of one scope never lose each other's writes.
func serialised(t *testing.T, s *suite) {
	db := s.open(t)
	const writers, each, scopes = 8, 25, 3
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				scope := kv.Scope(fmt.Sprint("counter/", (w+i)%scopes))
				update(t, db, scope, func(txn kv.Txn) error {
					n := uint64(0)
					switch v, err := txn.Get([]byte(scope)); {
					case err == nil:
						n = binary.BigEndian.Uint64(v)
					case !errors.Is(err, kv.ErrNotFound):
						return err
					}
					return txn.Set([]byte(scope), binary.BigEndian.AppendUint64(nil, n+1))
				})
			}
		})
	}
	wg.Wait()
	view(t, db, "", func(r kv.Reader) error {
		sum := uint64(0)
		err := r.Scan(kv.Range{}, func(_, v []byte) error {
			sum += binary.BigEndian.Uint64(v)
			return nil
		})
		if sum != writers*each {
			t.Errorf("%d increments were kept of %d", sum, writers*each)
		}
		return err
	})
}

// parallel: an Update that takes its time holds up nobody in another scope, and no View.
func parallel(t *testing.T, s *suite) {
	db := s.open(t)
	inside, leave := make(chan struct{}), make(chan struct{})
	var once sync.Once
	done := make(chan error, 1)
	go func() {
		done <- db.Update(context.Background(), "slow", func(txn kv.Txn) error {
			if err := txn.Set([]byte("slow"), nil); err != nil {
				return err
			}
			once.Do(func() { close(inside) })
			<-leave
			return nil
		})
	}()
	<-inside
	update(t, db, "quick", func(txn kv.Txn) error { return txn.Set([]byte("quick"), nil) })
	view(t, db, "slow", func(r kv.Reader) error {
		wantList(t, r, kv.Range{}, "quick=")
		return nil
	})
	close(leave)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	view(t, db, "slow", func(r kv.Reader) error {
		wantList(t, r, kv.Range{}, "quick=", "slow=")
		return nil
	})
}

func contexts(t *testing.T, s *suite) {
	db := s.open(t)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	never := func() error { t.Error("the function ran in spite of the context"); return nil }
	for what, err := range map[string]error{
		"View":   db.View(ctx, "a", func(kv.Reader) error { return never() }),
		"Update": db.Update(ctx, "a", func(kv.Txn) error { return never() }),
		"Stage":  db.Stage(ctx, kv.Pair{Key: []byte("k")}),
	} {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s with an ended context: %v", what, err)
		}
	}
	// One that ends while the Update waits for its scope.
	inside, leave := make(chan struct{}), make(chan struct{})
	var once sync.Once
	done := make(chan error, 1)
	go func() {
		done <- db.Update(context.Background(), "a", func(kv.Txn) error {
			once.Do(func() { close(inside) })
			<-leave
			return nil
		})
	}()
	<-inside
	ctx, cancel = context.WithCancel(context.Background())
	waiting := make(chan error, 1)
	go func() {
		waiting <- db.Update(ctx, "a", func(txn kv.Txn) error {
			return errors.Join(never(), txn.Set([]byte("k"), nil))
		})
	}()
	cancel()
	if err := <-waiting; !errors.Is(err, context.Canceled) {
		t.Errorf("Update whose context ended while it waited: %v", err)
	}
	close(leave)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	view(t, db, "a", func(r kv.Reader) error {
		wantList(t, r, kv.Range{})
		return nil
	})
}

func large(t *testing.T, s *suite) {
	db := s.open(t)
	rnd := rand.NewChaCha8([32]byte{1})
	sizes := []int{1 << 10, 64<<10 - 1, 256 << 10, 1 << 20, 5<<20 + 1}
	bodies := map[string][]byte{}
	for _, n := range sizes {
		b := make([]byte, n)
		_, _ = rnd.Read(b)
		bodies[fmt.Sprintf("%09d", n)] = b
	}
	update(t, db, "large", func(txn kv.Txn) error {
		for k, v := range bodies {
			if err := txn.Set([]byte(k), v); err != nil {
				return err
			}
			got, err := txn.Get([]byte(k))
			if err != nil || !bytes.Equal(got, v) {
				t.Errorf("value of %s bytes in its own transaction: %d bytes, %v", k, len(got), err)
			}
		}
		return nil
	})
	view(t, db, "large", func(r kv.Reader) error {
		n := 0
		err := r.Scan(kv.Range{}, func(k, v []byte) error {
			n++
			if !bytes.Equal(v, bodies[string(k)]) {
				t.Errorf("value of %s bytes is not what was written", k)
			}
			return nil
		})
		if n != len(sizes) {
			t.Errorf("%d large values of %d", n, len(sizes))
		}
		return err
	})
}

// wide: one transaction of very many writes.
func wide(t *testing.T, s *suite) {
	db := s.open(t)
	const n = 20000
	update(t, db, "wide", func(txn kv.Txn) error {
		for i := range n {
			if err := txn.Set(fmt.Appendf(nil, "%08d", i), []byte("v")); err != nil {
				return err
			}
		}
		return txn.DeleteRange([]byte("00005000"), []byte("00006000"))
	})
	view(t, db, "wide", func(r kv.Reader) error {
		got := 0
		err := r.Scan(kv.Range{KeysOnly: true}, func(_, _ []byte) error { got++; return nil })
		if got != n-1000 {
			t.Errorf("%d of %d pairs", got, n-1000)
		}
		return err
	})
}

func stage(t *testing.T, s *suite) {
	db := s.open(t)
	ctx := context.Background()
	if err := db.Stage(ctx); err != nil {
		t.Errorf("Stage of nothing: %v", err)
	}
	big := bytes.Repeat([]byte("x"), 256<<10)
	if err := db.Stage(ctx, kv.Pair{Key: []byte("a"), Value: []byte("1")},
		kv.Pair{Key: []byte("b"), Value: big}, kv.Pair{Key: []byte("c")},
		kv.Pair{Key: []byte("a"), Value: []byte("2")}); err != nil {
		t.Fatal(err)
	}
	update(t, db, "a", func(txn kv.Txn) error {
		wantValue(t, txn, "a", "2")
		wantValue(t, txn, "b", string(big))
		wantValue(t, txn, "c", "")
		return txn.Delete([]byte("b"))
	})
	view(t, db, "a", func(r kv.Reader) error {
		wantList(t, r, kv.Range{}, "a=2", "c=")
		return nil
	})
	if st := db.Stats(); st.Staged < 4 || st.Commits < 1 {
		t.Errorf("Stats count %d staged pairs and %d commits, want 4 and 1", st.Staged, st.Commits)
	}
}

func closed(t *testing.T, s *suite) {
	db := s.open(t)
	fill(t, db, "a")
	ctx := context.Background()
	if err := db.Close(); err != nil {
		t.Fatalf("Close: %v", err)
	}
	for what, err := range map[string]error{
		"View":   db.View(ctx, "a", func(kv.Reader) error { return nil }),
		"Update": db.Update(ctx, "a", func(kv.Txn) error { return nil }),
		"Stage":  db.Stage(ctx, kv.Pair{Key: []byte("k")}),
		"Close":  db.Close(),
	} {
		if !errors.Is(err, kv.ErrClosed) {
			t.Errorf("%s after Close: %v, want ErrClosed", what, err)
		}
	}
}

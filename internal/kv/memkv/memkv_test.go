package memkv_test

import (
	"context"
	"errors"
	"testing"

	"tram/internal/kv"
	"tram/internal/kv/kvtest"
	"tram/internal/kv/memkv"
)

func TestConformance(t *testing.T) {
	t.Parallel()
	kvtest.Run(t, func(*testing.T) kv.Database { return memkv.New() },
		kvtest.WithCrash(func(_ testing.TB, db kv.Database) kv.Database {
			return db.(*memkv.DB).CrashKeeping(4)
		}),
		kvtest.WithRetry(func(db kv.Database) { db.(*memkv.DB).SetTwice(true) }))
}

// TestCrash: a crash leaves what was durable and, of what was staged since, what is asked for.
func TestCrash(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	db := memkv.New()
	stage := func(k string) {
		if err := db.Stage(ctx, kv.Pair{Key: []byte(k)}); err != nil {
			t.Fatal(err)
		}
	}
	keys := func(db *memkv.DB) (got string) {
		err := db.View(ctx, "", func(r kv.Reader) error {
			return r.Scan(kv.Range{}, func(k, _ []byte) error { got += string(k); return nil })
		})
		if err != nil {
			t.Error(err)
		}
		return got
	}
	stage("a")
	if err := db.Update(ctx, "s", func(txn kv.Txn) error { return txn.Set([]byte("b"), nil) }); err != nil {
		t.Fatal(err)
	}
	stage("c")
	stage("d")
	crashed := db.Crash()
	stage("e")
	for _, c := range []struct {
		db   *memkv.DB
		want string
	}{
		{db, "abcde"}, {crashed, "ab"}, {db.CrashKeeping(1), "abc"}, {db.CrashKeeping(9), "abcde"},
		{crashed.CrashKeeping(9), "ab"},
	} {
		if got := keys(c.db); got != c.want {
			t.Errorf("keys %s, want %s", got, c.want)
		}
	}
}

// TestFull: a full database takes what frees something, and nothing else.
func TestFull(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	db := memkv.New()
	db.SetFull(true)
	set := func(txn kv.Txn) error { return txn.Set([]byte("k"), nil) }
	for what, err := range map[string]error{
		"Full": db.Full(), "Update": db.Update(ctx, "s", set), "Stage": db.Stage(ctx),
	} {
		if !errors.Is(err, kv.ErrFull) {
			t.Errorf("%s: %v, want ErrFull", what, err)
		}
	}
	if err := db.Update(kv.Freeing(ctx), "s", set); err != nil {
		t.Errorf("Update that frees: %v", err)
	}
	db.SetFull(false)
	if err := errors.Join(db.Full(), db.Update(ctx, "s", set), db.Stage(ctx)); err != nil {
		t.Errorf("with space again: %v", err)
	}
}

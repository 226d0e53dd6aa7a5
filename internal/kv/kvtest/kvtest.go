// Package kvtest answers "does this engine keep the promises of package kv?": one conformance suite
// that every engine runs.
//
// A promise that is not tried here must not be relied on by the rooms above. The suite never sleeps
// and counts on no timing: where two things must overlap, one waits for the other.
package kvtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tram/internal/kv"
)

// Option tells Run what more an engine can be made to do.
type Option func(*suite)

// WithCrash gives the suite a way to pull the plug: crash returns a database with what db had made
// durable, whatever else it has kept. db is not used again.
func WithCrash(crash func(t testing.TB, db kv.Database) kv.Database) Option {
	return func(s *suite) { s.crash = crash }
}

// WithRetry gives the suite a way to make every Update run its function at least twice.
func WithRetry(retry func(db kv.Database)) Option {
	return func(s *suite) { s.retry = retry }
}

// Only restricts the suite to the named parts: for an engine of which each copy is costly.
func Only(names ...string) Option {
	return func(s *suite) { s.only = names }
}

type suite struct {
	only  []string
	open  func(t *testing.T) kv.Database
	crash func(t testing.TB, db kv.Database) kv.Database
	retry func(db kv.Database)
}

// Run runs the suite on databases that open makes, each empty and closed by open's own clean-up.
func Run(t *testing.T, open func(t *testing.T) kv.Database, options ...Option) {
	s := &suite{open: open}
	for _, o := range options {
		o(s)
	}
	for _, c := range []struct {
		name string
		run  func(*testing.T, *suite)
	}{
		{"values", values}, {"arguments", arguments}, {"ownWrites", ownWrites},
		{"ownDeleteRange", ownDeleteRange}, {"scan", scan}, {"prefix", prefix},
		{"scanEnds", scanEnds}, {"scanNested", scanNested}, {"scanWrites", scanWrites},
		{"scanLong", scanLong}, {"rollback", rollback}, {"panics", panics}, {"ended", ended},
		{"snapshot", snapshot}, {"invariant", invariant}, {"serialised", serialised},
		{"parallel", parallel}, {"context", contexts}, {"large", large}, {"wide", wide},
		{"stage", stage}, {"closed", closed}, {"retry", retried}, {"durable", durable},
		{"stageOrder", stageOrder}, {"model", model},
	} {
		if s.only != nil && !slices.Contains(s.only, c.name) {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.run(t, s)
		})
	}
}

var errWanted = errors.New("wanted")

func update(t testing.TB, db kv.Database, scope kv.Scope, fn func(kv.Txn) error) {
	t.Helper()
	if err := db.Update(context.Background(), scope, fn); err != nil {
		t.Fatalf("Update: %v", err)
	}
}

func view(t testing.TB, db kv.Database, scope kv.Scope, fn func(kv.Reader) error) {
	t.Helper()
	if err := db.View(context.Background(), scope, fn); err != nil {
		t.Fatalf("View: %v", err)
	}
}

// fill sets each key to itself with "=" before it.
func fill(t testing.TB, db kv.Database, keys ...string) {
	t.Helper()
	update(t, db, "fill", func(txn kv.Txn) error {
		for _, k := range keys {
			if err := txn.Set([]byte(k), []byte("="+k)); err != nil {
				return err
			}
		}
		return nil
	})
}

// list returns the pairs of a range as "key=value".
func list(r kv.Reader, rng kv.Range) ([]string, error) {
	out := []string{}
	err := r.Scan(rng, func(key, value []byte) error {
		out = append(out, fmt.Sprintf("%s=%s", key, value))
		return nil
	})
	return out, err
}

func wantList(t testing.TB, r kv.Reader, rng kv.Range, want ...string) {
	t.Helper()
	got, err := list(r, rng)
	if err != nil {
		t.Errorf("Scan %+v: %v", rng, err)
		return
	}
	if len(want) == 0 {
		want = []string{}
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("Scan %+v, -want +got:\n%s", rng, d)
	}
}

func wantValue(t testing.TB, r kv.Reader, key, want string) {
	t.Helper()
	got, err := r.Get([]byte(key))
	if err != nil || string(got) != want {
		t.Errorf("Get %q: %q, %v, want %q", key, got, err, want)
	}
}

func wantNone(t testing.TB, r kv.Reader, key string) {
	t.Helper()
	if got, err := r.Get([]byte(key)); !errors.Is(err, kv.ErrNotFound) {
		t.Errorf("Get %q: %q, %v, want ErrNotFound", key, got, err)
	}
}

func values(t *testing.T, s *suite) {
	db := s.open(t)
	err := db.Stage(context.Background(), kv.Pair{Key: []byte("x")}, kv.Pair{Value: []byte("v")})
	if !errors.Is(err, kv.ErrEmptyKey) {
		t.Errorf("Stage of an empty key: %v", err)
	}
	binary := []byte{0, 1, 0xff, 0, '\'', '\\', 0x80}
	update(t, db, "a", func(txn kv.Txn) error {
		if err := txn.Set([]byte{}, nil); !errors.Is(err, kv.ErrEmptyKey) {
			t.Errorf("Set of an empty key: %v", err)
		}
		return errors.Join(txn.Delete(nil), txn.Set([]byte("empty"), nil), txn.Set([]byte("empty2"), []byte{}),
			txn.Set(binary, binary), txn.Set([]byte("gone"), []byte("x")),
			txn.Set([]byte("twice"), []byte("1")), txn.Set([]byte("twice"), []byte("2")),
			txn.Delete([]byte("gone")), txn.Delete([]byte("never")))
	})
	view(t, db, "a", func(r kv.Reader) error {
		for _, k := range []string{"empty", "empty2"} {
			if v, err := r.Get([]byte(k)); err != nil || v == nil || len(v) != 0 {
				t.Errorf("Get %q: %v, %v, want an empty value that is not nil", k, v, err)
			}
		}
		wantValue(t, r, string(binary), string(binary))
		wantValue(t, r, "twice", "2")
		wantNone(t, r, "gone")
		wantNone(t, r, "never")
		wantNone(t, r, "")
		wantNone(t, r, "x")
		peeked := false
		err := kv.Peek(r, []byte("twice"), func(v []byte) error {
			peeked = string(v) == "2"
			return errWanted
		})
		if err != errWanted || !peeked {
			t.Errorf("Peek: called %v, %v, want its callback's error", peeked, err)
		}
		err = kv.Peek(r, []byte("gone"), func([]byte) error { return nil })
		if !errors.Is(err, kv.ErrNotFound) {
			t.Errorf("Peek of a missing key: %v, want ErrNotFound", err)
		}
		return nil
	})
}

// arguments reuses the memory of arguments after each call.
func arguments(t *testing.T, s *suite) {
	db := s.open(t)
	update(t, db, "a", func(txn kv.Txn) error {
		k, v := []byte("k1"), []byte("v1")
		err := txn.Set(k, v)
		copy(k, "k2")
		copy(v, "v2")
		err = errors.Join(err, txn.Set(k, v))
		copy(k, "k3")
		copy(v, "v3")
		err = errors.Join(err, txn.Set(k, v), txn.Delete(k))
		lo, hi := []byte("k2"), []byte("k3")
		err = errors.Join(err, txn.DeleteRange(lo, hi))
		copy(lo, "k0")
		copy(hi, "k9")
		return err
	})
	k, v := []byte("s1"), []byte("v1")
	if err := db.Stage(context.Background(), kv.Pair{Key: k, Value: v}); err != nil {
		t.Fatal(err)
	}
	copy(k, "xx")
	copy(v, "xx")
	view(t, db, "a", func(r kv.Reader) error {
		wantList(t, r, kv.Range{}, "k1=v1", "s1=v1")
		var held [][]byte
		for range 3 {
			a, err := r.Get([]byte("k1"))
			if err != nil {
				return err
			}
			b, err := r.Get([]byte("s1"))
			if err != nil {
				return err
			}
			held = append(held, a, b)
		}
		for i, h := range held {
			if !bytes.Equal(h, []byte("v1")) {
				t.Errorf("value %d changed before the View ended: %q", i, h)
			}
		}
		return nil
	})
}

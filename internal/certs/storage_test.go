package certs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tram/internal/clock"
	"tram/internal/kv"
	"tram/internal/kv/memkv"
)

func newTestStorage() (*storage, *clock.Fake, *memkv.DB) {
	now, db := clock.NewFake(noon), memkv.New()
	db.SetTwice(true)
	return newStorage(db, now), now, db
}

// TestStorage holds the storage to what certmagic.Storage promises.
func TestStorage(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	s, _, _ := newTestStorage()
	if _, err := s.Load(ctx, "none"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Load of nothing: %v", err)
	}
	if _, err := s.List(ctx, "none", true); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("List of nothing: %v", err)
	}
	if _, err := s.Stat(ctx, "none"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Stat of nothing: %v", err)
	}
	if err := s.Delete(ctx, "none"); err != nil {
		t.Errorf("Delete of nothing: %v", err)
	}
	for _, path := range []string{"a/b/1", "a/b/2", "a/bc/3", "a/4", "ab/5", "ä/6"} {
		if err := s.Store(ctx, path, []byte("was "+path)); err != nil {
			t.Fatal(err)
		}
		if err := s.Store(ctx, path, []byte("is "+path)); err != nil {
			t.Fatal(err)
		}
		if got, err := s.Load(ctx, path); err != nil || string(got) != "is "+path {
			t.Errorf("Load(%s) = %q, %v", path, got, err)
		}
	}
	if err := s.Store(ctx, "empty", nil); err != nil {
		t.Fatal(err)
	}
	if got, err := s.Load(ctx, "empty"); err != nil || len(got) != 0 {
		t.Errorf("Load of an empty file = %q, %v", got, err)
	}
	for _, tt := range []struct {
		dir       string
		recursive bool
		want      []string
	}{
		{"a", true, []string{"a/4", "a/b/1", "a/b/2", "a/bc/3"}},
		{"a", false, []string{"a/4", "a/b", "a/bc"}},
		{"a/", false, []string{"a/4", "a/b", "a/bc"}},
		{"a/b", false, []string{"a/b/1", "a/b/2"}},
		{"a/b", true, []string{"a/b/1", "a/b/2"}},
		{"", false, []string{"a", "ab", "empty", "ä"}},
		{"a/4", true, nil},
	} {
		got, err := s.List(ctx, tt.dir, tt.recursive)
		if diff := cmp.Diff(tt.want, got); diff != "" || (err == nil) != (tt.want != nil) {
			t.Errorf("List(%q, %v): %v\n%s", tt.dir, tt.recursive, err, diff)
		}
	}
	info, err := s.Stat(ctx, "a/4")
	if err != nil || info.Key != "a/4" || !info.IsTerminal || info.Size != 6 || !info.Modified.Equal(noon) {
		t.Errorf("Stat of a file = %+v, %v", info, err)
	}
	if info, err := s.Stat(ctx, "a/b"); err != nil || info.IsTerminal {
		t.Errorf("Stat of a directory = %+v, %v", info, err)
	}
	for path, want := range map[string]bool{
		"a": true, "a/b": true, "a/b/1": true, "a/b/": true, "b": false, "a/b/1/x": false, "a/c": false,
	} {
		if got := s.Exists(ctx, path); got != want {
			t.Errorf("Exists(%q) = %v", path, got)
		}
	}
	// Deleting a directory takes what is in it, and nothing that only begins like it.
	if err := s.Delete(ctx, "a/b"); err != nil {
		t.Fatal(err)
	}
	if got, err := s.List(ctx, "a", true); err != nil || !slices.Equal(got, []string{"a/4", "a/bc/3"}) {
		t.Errorf("after Delete: %q, %v", got, err)
	}
	if err := s.Delete(ctx, "a/4"); err != nil || s.Exists(ctx, "a/4") {
		t.Errorf("Delete of a file: %v", err)
	}
	gone, cancel := context.WithCancel(ctx)
	cancel()
	if err := s.Store(gone, "x", nil); !errors.Is(err, context.Canceled) {
		t.Errorf("Store without time: %v", err)
	}
}

func TestStoredValueIsACopy(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	s, _, _ := newTestStorage()
	value := []byte("first")
	if err := s.Store(ctx, "a", value); err != nil {
		t.Fatal(err)
	}
	copy(value, "xxxxx")
	got, err := s.Load(ctx, "a")
	if err != nil || string(got) != "first" {
		t.Fatalf("Load = %q, %v", got, err)
	}
	copy(got, "yyyyy")
	if got, err := s.Load(ctx, "a"); err != nil || string(got) != "first" {
		t.Errorf("Load again = %q, %v", got, err)
	}
}

func TestLocksExclude(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	_, now, db := newTestStorage()
	nodes := []*storage{newStorage(db, now), newStorage(db, now), newStorage(db, now)}
	var inside, turns atomic.Int32
	stop, turned := make(chan struct{}), make(chan struct{})
	var ticking sync.WaitGroup
	// Those who wait look again as time goes by: a few seconds for each turn, so that a holder whom a
	// busy machine does not let run is never taken for dead.
	ticking.Go(func() {
		for moved := 0; ; {
			asleep, armed := now.Armed()
			if asleep > 0 && moved < 4 {
				moved++
				now.Advance(lockPoll)
				continue
			}
			select {
			case <-stop:
				return
			case <-turned:
				moved = 0
			case <-armed:
			}
		}
	})
	var all sync.WaitGroup
	for i := range 12 {
		all.Go(func() {
			s := nodes[i%len(nodes)]
			if err := s.Lock(ctx, "job"); err != nil {
				t.Error(err)
				return
			}
			turned <- struct{}{}
			if inside.Add(1) != 1 {
				t.Error("two hold the lock")
			}
			turns.Add(1)
			if err := s.Store(ctx, fmt.Sprint("by/", i), nil); err != nil {
				t.Error(err)
			}
			inside.Add(-1)
			if err := s.Unlock(ctx, "job"); err != nil {
				t.Error(err)
			}
			turned <- struct{}{}
		})
	}
	all.Wait()
	close(stop)
	ticking.Wait()
	if turns.Load() != 12 {
		t.Errorf("%d turns", turns.Load())
	}
	for _, s := range nodes {
		if len(s.held) != 0 {
			t.Errorf("%d locks are still held", len(s.held))
		}
	}
	if err := nodes[0].Unlock(ctx, "job"); err == nil {
		t.Error("unlocked what was not held")
	}
}

// tick moves the clock by a holder's round and waits until it has said that it lives.
func tick(t *testing.T, now *clock.Fake) {
	t.Helper()
	_, armed := now.Armed()
	now.Advance(lockRenew)
	<-armed
}

func TestLockLivesWithItsHolder(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	a, now, db := newTestStorage()
	b := newStorage(db, now)
	_, armed := now.Armed()
	if err := a.Lock(ctx, "job"); err != nil {
		t.Fatal(err)
	}
	<-armed
	try := func(want bool, when string) {
		t.Helper()
		if ok, err := b.TryLock(ctx, "job"); err != nil || ok != want {
			t.Errorf("%s: taken %v, %v", when, ok, err)
		}
	}
	for range 20 { // ten minutes
		tick(t, now)
		try(false, "while its holder lives")
	}
	if err := a.RenewLockLease(ctx, "job", 1<<60); err != nil {
		t.Error(err)
	}
	if err := a.RenewLockLease(ctx, "other", lockLife); err == nil {
		t.Error("renewed what was not held")
	}
	waiting, cancel := context.WithCancel(ctx)
	cancel()
	if err := b.Lock(waiting, "job"); !errors.Is(err, context.Canceled) {
		t.Errorf("Lock without time: %v", err)
	}
	a.close() // dies
	now.Advance(lockLife - 1)
	try(false, "just before it ends")
	now.Advance(1)
	try(true, "when its holder is dead")
}

// TestSlowHolderIsFenced proves that one who lost its lock without noticing writes nothing over
// what the next holder wrote.
func TestSlowHolderIsFenced(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	a, now, db := newTestStorage()
	b := newStorage(db, now)
	if err := a.Lock(ctx, "job"); err != nil {
		t.Fatal(err)
	}
	a.close() // stands still
	now.Advance(lockLife)
	if ok, err := b.TryLock(ctx, "job"); !ok || err != nil {
		t.Fatal(ok, err)
	}
	if err := b.Store(ctx, "cert", []byte("new")); err != nil {
		t.Fatal(err)
	}
	if err := a.Store(ctx, "cert", []byte("old")); !errors.Is(err, errLockLost) {
		t.Errorf("the slow one stored: %v", err)
	}
	if err := a.Delete(ctx, "cert"); !errors.Is(err, errLockLost) {
		t.Errorf("the slow one deleted: %v", err)
	}
	if err := a.RenewLockLease(ctx, "job", lockLife); !errors.Is(err, errLockLost) {
		t.Errorf("the slow one renewed: %v", err)
	}
	if got, err := a.Load(ctx, "cert"); err != nil || string(got) != "new" {
		t.Errorf("Load = %q, %v", got, err)
	}
	if err := a.Unlock(ctx, "job"); !errors.Is(err, errLockLost) {
		t.Errorf("the slow one unlocked: %v", err)
	}
	if ok, err := a.TryLock(ctx, "job"); ok || err != nil {
		t.Errorf("the next holder's lock was taken: %v, %v", ok, err)
	}
	if err := a.Store(ctx, "other", nil); err != nil {
		t.Errorf("after giving up the lock: %v", err)
	}
	if err := b.Unlock(ctx, "job"); err != nil {
		t.Error(err)
	}
}

func TestLockOfAClockAhead(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	a, now, db := newTestStorage()
	now.Advance(365 * 24 * lockLife)
	if err := a.Lock(ctx, "job"); err != nil {
		t.Fatal(err)
	}
	a.close()
	now.Set(noon)
	if ok, err := newStorage(db, now).TryLock(ctx, "job"); !ok || err != nil {
		t.Errorf("a lock from the future holds: %v, %v", ok, err)
	}
}

func TestDamagedStorage(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	s, _, db := newTestStorage()
	err := db.Update(ctx, scope, func(t kv.Txn) error {
		return errors.Join(t.Set(fileRow("a"), []byte("short")), t.Set(lockRow("l"), []byte("short")))
	})
	if err != nil {
		t.Fatal(err)
	}
	_, loadErr := s.Load(ctx, "a")
	_, statErr := s.Stat(ctx, "a")
	for what, err := range map[string]error{"Load": loadErr, "Stat": statErr, "Lock": s.Lock(ctx, "l")} {
		if !errors.Is(err, kv.ErrCorrupt) || !strings.Contains(err.Error(), " ") {
			t.Errorf("%s = %v", what, err)
		}
	}
}

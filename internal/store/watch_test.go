package store

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"testing"
	"testing/synctest"
)

// told reports whether a watch has something to say, and takes it.
func told(w *Watch) bool {
	select {
	case <-w.C():
		return true
	default:
		return false
	}
}

func TestWatch(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	ctx := context.Background()
	h.inbox()
	w, other := h.store.Account(1).Watch(ctx), h.store.Account(2).Watch(ctx)
	defer w.Close()
	defer other.Close()
	if told(w) {
		t.Error("told of something before anything happened")
	}
	for n := range 5 {
		h.append(mail(n), 1)
	}
	if !told(w) || told(w) {
		t.Error("five changes are not told as one")
	}
	if got := h.changes(0, 0).To; w.ModSeq() != got {
		t.Errorf("ModSeq is %d, the account's %d", w.ModSeq(), got)
	}
	if told(other) || other.ModSeq() != 0 {
		t.Error("another account was told")
	}
	// What fails, and what changes nothing, is not announced.
	failed := errors.New("failed")
	err := h.try(func(tx *Tx) error {
		_, err := tx.Expunge(1, []UID{1})
		return errors.Join(failed, err)
	})
	if !errors.Is(err, failed) || told(w) {
		t.Errorf("%v, and it was told", err)
	}
	h.setFlags(1, FlagChange{Mode: RemoveFlags, Flags: Seen}, 1)
	if told(w) {
		t.Error("told of a change that was none")
	}
	w.Close()
	w.Close()
	h.append(mail(9), 1)
	if told(w) {
		t.Error("told after Close")
	}
}

// TestWatchAfterCommit: nobody may hear of a change before it is durable, or of one that failed.
func TestWatchAfterCommit(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.append(mail(1), 1)
	failed := errors.New("disk failed")
	f := &faulty{Database: h.db, failUpdate: 1, err: failed}
	s, err := Open(context.Background(), Options{DB: f, Blobs: h.blobs, Clock: h.clock})
	h.must(err)
	w := s.Account(1).Watch(context.Background())
	defer w.Close()
	flag := func(tx *Tx) error {
		_, _, err := tx.SetFlags(1, []UID{1}, FlagChange{Flags: Seen})
		if told(w) {
			t.Error("told within the transaction")
		}
		return err
	}
	if err := s.Account(1).Update(context.Background(), flag); !errors.Is(err, failed) || told(w) {
		t.Errorf("%v, and it was told", err)
	}
	if err := s.Account(1).Update(context.Background(), flag); err != nil || !told(w) {
		t.Errorf("%v, and it was not told", err)
	}
}

// TestWatchNodes has two nodes on one database, and a bus between them that loses things.
func TestWatchNodes(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	node, err := Open(context.Background(), Options{DB: h.db, Blobs: h.blobs, Clock: h.clock})
	h.must(err)
	h.inbox()
	w := node.Account(1).Watch(context.Background())
	defer w.Close()
	h.must(node.Poll(context.Background()))
	told(w)

	h.append(mail(1), 1)
	if told(w) {
		t.Error("told without being asked or hinted at")
	}
	h.must(node.Poll(context.Background()))
	if !told(w) || w.ModSeq() != h.changes(0, 0).To {
		t.Error("Poll found nothing")
	}
	h.must(node.Poll(context.Background()))
	if told(w) {
		t.Error("Poll told the same again")
	}
	h.append(mail(2), 1)
	at := h.changes(0, 0).To
	node.Hint(1, at)
	node.Hint(1, at-1) // late
	node.Hint(77, 5)   // of no interest
	if !told(w) || told(w) || w.ModSeq() != at {
		t.Error("a hint was not passed on, or twice")
	}
	h.must(h.store.Remove(context.Background(), 1))
	h.must(node.Poll(context.Background()))
	if !told(w) {
		t.Error("not told that the account is gone")
	}
}

// TestWatchContext ends a watch with its context.
func TestWatchContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &Store{}
		s.hubs.byAccount = map[AccountID]*hub{}
		ctx, cancel := context.WithCancel(context.Background())
		w := s.Account(1).Watch(ctx)
		cancel()
		synctest.Wait()
		if s.hubs.announce(1, 5); told(w) || len(s.hubs.byAccount) != 0 {
			t.Error("the watch outlived its context")
		}
	})
}

// TestWatchIsCheap holds 10,000 idle watches, which must cost neither goroutines nor much memory.
func TestWatchIsCheap(t *testing.T) {
	s := &Store{}
	s.hubs.byAccount = map[AccountID]*hub{}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	const n = 10000
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	goroutines := runtime.NumGoroutine()
	watches := make([]*Watch, n)
	for i := range watches {
		watches[i] = s.Account(AccountID(i/4 + 1)).Watch(ctx)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if more := runtime.NumGoroutine() - goroutines; more > 100 {
		t.Errorf("%d goroutines for %d watches", more, n)
	}
	if each := int64(after.HeapAlloc-before.HeapAlloc) / n; each > 1024 {
		t.Errorf("%d bytes for a watch", each)
	}
	s.hubs.announce(3, 1)
	count := 0
	for _, w := range watches {
		if told(w) {
			count++
		}
		w.Close()
	}
	if count != 4 || len(s.hubs.byAccount) != 0 {
		t.Errorf("%d were told, want 4; %d hubs are left", count, len(s.hubs.byAccount))
	}
}

// TestOnChange: the function is called for what happens between OnChange and Close, and for nothing
// else.
func TestOnChange(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	calls, boxes := 0, 0
	change := func() {
		t.Helper()
		boxes++
		h.update(func(tx *Tx) error {
			_, err := tx.CreateMailbox(fmt.Sprintf("Box %d", boxes), CreateOptions{})
			return err
		})
	}
	change()
	w := h.store.Account(1).OnChange(func() { calls++ })
	change()
	change()
	if calls != 2 {
		t.Errorf("%d calls for two changes", calls)
	}
	w.Close()
	w.Close()
	change()
	if calls != 2 {
		t.Errorf("%d calls, one of them after Close", calls)
	}
}

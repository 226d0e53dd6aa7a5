package store

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"

	"tram/internal/kv"
)

// hubs are the watches of all accounts. An idle watch is a channel and an entry in its account's
// hub: no goroutine, no timer.
type hubs struct {
	mu        sync.Mutex
	byAccount map[AccountID]*hub // those with a watch
}

type hub struct {
	modseq  atomic.Uint64 // the latest that was announced
	watches []*Watch      // guarded by hubs.mu
}

// Watch tells that an account has changed. It is safe for concurrent use.
type Watch struct {
	s    *Store
	id   AccountID
	hub  *hub
	at   int // place in hub.watches
	c    chan struct{}
	call func() // instead of c
	stop func() bool
}

// Watch begins to watch the account, until ctx is done or Close. Begin before the first look at the
// account: what is committed after that is announced.
func (a *Account) Watch(ctx context.Context) *Watch {
	w := &Watch{s: a.s, id: a.id, c: make(chan struct{}, 1)}
	w.begin()
	if ctx.Done() != nil {
		w.stop = context.AfterFunc(ctx, w.Close)
	}
	return w
}

// OnChange is Watch for somebody who waits for other things too: fn is called for each announcement
// until Close, and not after it. fn must return at once, and must not use the store. Such a watch
// costs a session that sleeps no goroutine.
func (a *Account) OnChange(fn func()) *Watch {
	w := &Watch{s: a.s, id: a.id, call: fn}
	w.begin()
	return w
}

func (w *Watch) begin() {
	hs := &w.s.hubs
	hs.mu.Lock()
	defer hs.mu.Unlock()
	w.hub = hs.byAccount[w.id]
	if w.hub == nil {
		w.hub = &hub{}
		hs.byAccount[w.id] = w.hub
	}
	w.at = len(w.hub.watches)
	w.hub.watches = append(w.hub.watches, w)
}

// C returns the channel that has a value when something was announced since the last receive. It is
// never closed. A watch of OnChange has none.
func (w *Watch) C() <-chan struct{} { return w.c }

// ModSeq returns the latest ModSeq that was announced, 0 before the first announcement.
func (w *Watch) ModSeq() ModSeq { return ModSeq(w.hub.modseq.Load()) }

// Close ends the watch. It may be called more than once.
func (w *Watch) Close() {
	if w.stop != nil {
		w.stop()
	}
	hs := &w.s.hubs
	hs.mu.Lock()
	defer hs.mu.Unlock()
	h := w.hub
	if w.at >= len(h.watches) || h.watches[w.at] != w {
		return
	}
	last := len(h.watches) - 1
	h.watches[w.at] = h.watches[last]
	h.watches[w.at].at = w.at
	h.watches[last] = nil
	h.watches = h.watches[:last]
	if last == 0 && hs.byAccount[w.id] == h {
		delete(hs.byAccount, w.id)
	}
}

func (w *Watch) tell() {
	if w.call != nil {
		w.call()
		return
	}
	select {
	case w.c <- struct{}{}:
	default: // it has not yet been told of the last time
	}
}

// announce tells the watches of an account that it is now at m.
func (hs *hubs) announce(id AccountID, m ModSeq) {
	hs.mu.Lock()
	defer hs.mu.Unlock()
	h := hs.byAccount[id]
	if h == nil || h.modseq.Load() >= uint64(m) {
		return
	}
	h.modseq.Store(uint64(m))
	for _, w := range h.watches {
		w.tell()
	}
}

// nudge tells all watches: of what belongs to no account, and changes seldom.
func (hs *hubs) nudge() {
	hs.mu.Lock()
	defer hs.mu.Unlock()
	for _, h := range hs.byAccount {
		for _, w := range h.watches {
			w.tell()
		}
	}
}

// remove tells the watches of a removed account, who will find that it is gone.
func (hs *hubs) remove(id AccountID) {
	hs.mu.Lock()
	defer hs.mu.Unlock()
	if h := hs.byAccount[id]; h != nil {
		for _, w := range h.watches {
			w.tell()
		}
	}
}

func (hs *hubs) close() {
	hs.mu.Lock()
	defer hs.mu.Unlock()
	for _, h := range hs.byAccount {
		h.watches = nil
	}
	clear(hs.byAccount)
}

// watched returns the accounts with a watch.
func (hs *hubs) watched() []AccountID {
	hs.mu.Lock()
	defer hs.mu.Unlock()
	ids := make([]AccountID, 0, len(hs.byAccount))
	for id := range hs.byAccount {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

// Hint says that another node has brought an account to m. A hint that is wrong or late does no
// harm; one that is lost costs the time until the next Poll.
func (s *Store) Hint(id AccountID, m ModSeq) { s.hubs.announce(id, m) }

// Poll looks in the database at every account with a watch and announces what other nodes have
// changed. With one node it is never needed.
func (s *Store) Poll(ctx context.Context) error {
	for _, id := range s.hubs.watched() {
		err := s.db.View(ctx, s.Account(id).scope(), func(r kv.Reader) error {
			tx := s.Account(id).newTx(ctx, r, nil)
			if err := tx.begin(); err != nil {
				return err
			}
			s.hubs.announce(id, tx.row.ModSeq)
			return nil
		})
		switch {
		case errors.Is(err, errUnprovisioned):
		case errors.Is(err, ErrNotFound):
			s.hubs.remove(id)
		case err != nil:
			return wrap(err, "poll accounts")
		}
	}
	return nil
}

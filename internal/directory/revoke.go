package directory

import (
	"context"
	"errors"
	"sync"
)

// watches are the sessions that want to know when they must end.
type watches struct {
	mu sync.Mutex
	of map[AccountID]map[*watch]struct{}
}

type watch struct {
	generation uint64
	fn         func()
}

// OnRevoke calls fn, once and in a goroutine of its own, when sessions of the account must end: it
// was disabled or removed, its rights, its password or an app password changed after a was read.
// A change of this process is told at once, one of another within two seconds (A7). stop makes
// the directory forget fn; a call that has begun is not awaited.
func (d *Directory) OnRevoke(a Account, fn func()) (stop func()) {
	w := &watch{generation: a.Generation, fn: fn}
	ws := &d.watches
	ws.mu.Lock()
	if ws.of == nil {
		ws.of = map[AccountID]map[*watch]struct{}{}
	}
	if ws.of[a.ID] == nil {
		ws.of[a.ID] = map[*watch]struct{}{}
	}
	ws.of[a.ID][w] = struct{}{}
	ws.mu.Unlock()
	// The account may have changed between the log-in and now.
	d.checkWatch(context.Background(), a.ID)
	return func() { ws.remove(a.ID, w) }
}

func (ws *watches) remove(id AccountID, w *watch) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	delete(ws.of[id], w)
	if len(ws.of[id]) == 0 {
		delete(ws.of, id)
	}
}

// revoke tells the sessions of an account, after a change by this process.
func (d *Directory) revoke(id AccountID) { d.checkWatch(context.Background(), id) }

// checkWatches looks at every account with sessions, after a change by another process.
func (d *Directory) checkWatches(ctx context.Context) {
	d.watches.mu.Lock()
	ids := make([]AccountID, 0, len(d.watches.of))
	for id := range d.watches.of {
		ids = append(ids, id)
	}
	d.watches.mu.Unlock()
	for _, id := range ids {
		d.checkWatch(ctx, id)
	}
}

// checkWatch ends the sessions of an account that began before its present generation.
func (d *Directory) checkWatch(ctx context.Context, id AccountID) {
	a, err := d.cache.account(ctx, id)
	if err != nil && !errors.Is(err, ErrNotFound) {
		d.log.Warn("directory: check sessions", "account", uint64(id), "error", err)
		return
	}
	ws := &d.watches
	ws.mu.Lock()
	defer ws.mu.Unlock()
	for w := range ws.of[id] {
		// A removed account has generation 0. An older record than the session's own was read
		// just before the change became visible here, and says nothing.
		if w.generation < a.Generation || a.ID == 0 {
			delete(ws.of[id], w)
			go w.fn()
		}
	}
	if len(ws.of[id]) == 0 {
		delete(ws.of, id)
	}
}

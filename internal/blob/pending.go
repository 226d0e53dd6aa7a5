package blob

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"tram/internal/kv"
)

// Pending is a body that is complete but not yet referred to. Several transactions may link it, for
// several recipients; it is safe for concurrent use. Committed or Discard should end it: until then
// it holds the last chunk in memory.
type Pending struct {
	s      *Store
	ctx    context.Context
	ref    Ref
	staged time.Time // of the candidate record; zero: nothing was staged
	index  int       // of the last chunk

	linked    atomic.Bool  // some transaction has tried to link it
	committed atomic.Bool  // one is known to have done so
	released  atomic.Bool  // the owner's hold on tail is given up
	users     atomic.Int32 // who holds tail: the Pending and its Readers
	tail      *[]byte      // the last chunk's record, nil for an empty body
}

// Ref returns what the body is known by from now on.
func (p *Pending) Ref() Ref { return p.ref }

// Link makes owner refer to the body. It belongs into the transaction that makes the mail visible,
// and writes the last chunk there unless an earlier one is known to have done so. Linking again is
// harmless. It fails with ErrGone when the body took longer than the grace period.
func (p *Pending) Link(txn kv.Txn, owner []byte) error {
	if !p.hold() {
		return p.s.Link(txn, p.ref, owner)
	}
	defer p.release()
	p.linked.Store(true)
	if !p.committed.Load() {
		if err := p.writeTail(txn); err != nil {
			return fmt.Errorf("link blob %s: %w", p.ref.ID, err)
		}
	}
	if err := txn.Set(refKey(p.ref.ID, owner), []byte{refLive}); err != nil {
		return fmt.Errorf("link blob %s: %w", p.ref.ID, err)
	}
	return nil
}

// writeTail writes the last chunk. What was staged must still be there; its candidate record goes,
// for from now on there is a reference.
func (p *Pending) writeTail(txn kv.Txn) error {
	if !p.staged.IsZero() {
		if err := present(txn, p.ref.ID); err != nil {
			return err
		}
		if err := txn.Delete(candidateKey(p.staged, p.ref.ID)); err != nil {
			return err
		}
	}
	if p.tail == nil {
		return nil
	}
	return txn.Set(chunkKey(p.ref.ID, p.index), *p.tail)
}

// Committed says that a transaction in which Link succeeded was committed: the last chunk is in the
// database and its memory is given back.
func (p *Pending) Committed() {
	p.committed.Store(true)
	p.letGo()
}

// Discard gives the body up. What was staged is removed at once if no transaction has tried to link
// it; otherwise it cannot be known whether one succeeded, and Collect decides. After Committed it
// does nothing.
func (p *Pending) Discard() {
	if p.committed.Load() || !p.letGo() {
		return
	}
	if !p.staged.IsZero() && !p.linked.Load() {
		p.s.discard(p.ctx, p.ref.ID, p.staged)
	}
}

// letGo gives up the owner's hold, once, and reports whether this call did.
func (p *Pending) letGo() bool {
	if p.released.Swap(true) {
		return false
	}
	p.release()
	return true
}

// hold keeps tail in memory until release; it reports false when tail is gone already.
func (p *Pending) hold() bool {
	for {
		n := p.users.Load()
		if n == 0 {
			return false
		}
		if p.users.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

func (p *Pending) release() {
	if p.users.Add(-1) == 0 {
		p.s.giveBuffer(p.tail)
	}
}

// Open returns a Reader of the body, whether it is linked already or not.
func (p *Pending) Open(ctx context.Context) *Reader {
	r := p.s.Open(ctx, p.ref)
	if p.hold() {
		r.pending = p
	}
	return r
}

// discard removes a body that was staged and never linked. It costs one sync, and is worth it: who
// sends large messages and breaks them off must not be able to fill the disk for the grace period.
// Should it fail, Collect does the work later.
func (s *Store) discard(ctx context.Context, id ID, staged time.Time) {
	ctx = kv.Freeing(context.WithoutCancel(ctx))
	_ = s.db.Update(ctx, removalScope(id), func(txn kv.Txn) error {
		if _, err := removeAll(txn, chunkPrefix(id)); err != nil {
			return err
		}
		return txn.Delete(candidateKey(staged, id))
	})
}

// present returns ErrGone if the first chunk of id is not in the database.
func present(r kv.Reader, id ID) error {
	found := false
	rng := kv.Prefix(chunkPrefix(id))
	rng.KeysOnly, rng.Limit = true, 1
	err := r.Scan(rng, func(key, _ []byte) error {
		found = true
		return nil
	})
	if err != nil {
		return err
	}
	if !found {
		return ErrGone
	}
	return nil
}

// removalScope spreads removals over a few scopes, so that one does not wait for the sync of
// another.
func removalScope(id ID) kv.Scope {
	return kv.Scope("blob/" + string("0123456789abcdef"[id[15]&15]))
}

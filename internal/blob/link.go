package blob

import (
	"context"
	"fmt"

	"tram/internal/kv"
)

// Link makes owner refer to a body that somebody refers to already: for a copy of mail. It fails
// with ErrGone if the body is not there any more.
func (s *Store) Link(txn kv.Txn, ref Ref, owner []byte) error {
	if ref.Size > 0 {
		if err := present(txn, ref.ID); err != nil {
			return fmt.Errorf("link blob %s: %w", ref.ID, err)
		}
	}
	if err := txn.Set(refKey(ref.ID, owner), []byte{refLive}); err != nil {
		return fmt.Errorf("link blob %s: %w", ref.ID, err)
	}
	return nil
}

// Unlink ends owner's reference. When it was the last one, Collect removes the body after the grace
// period. Unlinking again is harmless.
func (s *Store) Unlink(txn kv.Txn, ref Ref, owner []byte) error {
	now := s.clock.Now()
	err := txn.Set(refKey(ref.ID, owner), deadRef(now))
	if err == nil {
		err = txn.Set(candidateKey(now, ref.ID), nil)
	}
	if err != nil {
		return fmt.Errorf("unlink blob %s: %w", ref.ID, err)
	}
	return nil
}

// Linked reports whether owner refers to the body. It is for consistency checks.
func (s *Store) Linked(r kv.Reader, ref Ref, owner []byte) (bool, error) {
	value, err := r.Get(refKey(ref.ID, owner))
	if err == kv.ErrNotFound {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("read reference to blob %s: %w", ref.ID, err)
	}
	live, _, err := parseRefState(value)
	return live, err
}

// EachLink calls fn for every reference that stands, ordered by body. It is for consistency checks;
// owner is valid until fn returns.
func (s *Store) EachLink(ctx context.Context, fn func(id ID, owner []byte) error) error {
	return s.db.View(ctx, "", func(r kv.Reader) error {
		return r.Scan(kv.Prefix([]byte{space, refSpace}), func(key, value []byte) error {
			live, _, err := parseRefState(value)
			if err != nil || !live {
				return err
			}
			if len(key) < 18 {
				return fmt.Errorf("read reference key %x: %w", key, kv.ErrCorrupt)
			}
			return fn(ID(key[2:18]), key[18:])
		})
	})
}

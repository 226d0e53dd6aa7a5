package blob

import "context"

// Attach returns a Pending of a body that somebody refers to already, for who passes a body on
// without having written it: the queue, to people of this house. Its Link is that of a copy,
// Committed and Discard do nothing.
func (s *Store) Attach(ref Ref) *Pending {
	p := &Pending{s: s, ctx: context.Background(), ref: ref}
	p.committed.Store(true)
	p.released.Store(true)
	return p
}

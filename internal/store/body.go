package store

import (
	"context"
	"fmt"

	"tram/internal/blob"
	"tram/internal/message"
)

// ErrBodyDamaged marks a message whose bytes are not what was stored; it comes from readers of Tx.Open
// and Store.OpenBody.
var ErrBodyDamaged = blob.ErrDamaged

// Body takes a message in while it arrives: stored and parsed in one pass, at most one chunk of it
// in memory. It is how doors write messages without knowing where bytes are kept. It is for one
// goroutine.
type Body struct {
	ctx context.Context
	w   *blob.Writer
	p   *message.Parser
}

// NewBody begins a message. Finish or Abort must end it; ctx bounds the writes to the database.
func (s *Store) NewBody(ctx context.Context) *Body {
	return &Body{ctx: ctx, w: s.blobs.Create(ctx), p: message.NewParser(s.message)}
}

// Write implements io.Writer. Errors are the blob store's, ErrFull among them, and stay.
func (b *Body) Write(p []byte) (int, error) {
	n, err := b.w.Write(p)
	if err != nil {
		return n, fmt.Errorf("store message: %w", err)
	}
	return b.p.Write(p)
}

// Finish ends the message and returns what AppendOptions wants. The Pending must be ended by
// Discard when no Append takes it.
func (b *Body) Finish() (*blob.Pending, *message.Message, error) {
	pending, err := b.w.Finish()
	if err != nil {
		return nil, nil, fmt.Errorf("store message: %w", err)
	}
	m := b.p.Finish()
	if m.EightBitHeader {
		r := pending.Open(b.ctx)
		err = measure(m, r)
		_ = r.Close()
	}
	if err != nil {
		pending.Discard()
		return nil, nil, fmt.Errorf("measure message: %w", err)
	}
	return pending, m, nil
}

// Abort throws the message away; after Finish it does nothing.
func (b *Body) Abort() { b.w.Abort() }

// BodyRef names the bytes of a stored message.
type BodyRef = blob.Ref

// OpenBody returns a reader of a message's bytes that holds no snapshot: it reads each chunk by
// itself, for as long as a slow client takes. A message that is removed meanwhile stays readable
// for the grace period of its blob.
func (s *Store) OpenBody(ctx context.Context, ref blob.Ref) *blob.Reader {
	return s.blobs.Open(ctx, ref)
}

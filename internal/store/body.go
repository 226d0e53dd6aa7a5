package store

import (
	"context"
	"fmt"
	"io"
	"sync"

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

// NewDraft is NewBody for a message that Insert will copy.
func (s *Store) NewDraft(ctx context.Context) *Body {
	b := s.NewBody(ctx)
	b.w.Draft()
	return b
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

// Insert returns a copy of a message that was taken in, with fields put at an offset of its header where
// a field begins: what message.Message.Insert says of them must hold. body stays the caller's. Of a message
// that fits into one chunk nothing touches the database.
func (s *Store) Insert(
	ctx context.Context, body *blob.Pending, m *message.Message, at int, fields []byte,
) (*blob.Pending, *message.Message, error) {
	w := s.blobs.Create(ctx)
	if err := copyWith(w, body.Open(ctx), at, fields); err != nil {
		w.Abort()
		return nil, nil, fmt.Errorf("copy message: %w", err)
	}
	pending, err := w.Finish()
	if err != nil {
		return nil, nil, fmt.Errorf("copy message: %w", err)
	}
	return pending, m.Insert(at, fields), nil
}

// copied are the buffers of copyWith.
var copied = sync.Pool{New: func() any { return new([32 << 10]byte) }}

func copyWith(w io.Writer, r io.ReadCloser, at int, fields []byte) error {
	defer r.Close()
	buf := copied.Get().(*[32 << 10]byte)
	defer copied.Put(buf)
	if at > len(buf) {
		return fmt.Errorf("no field can be put at %d", at)
	}
	if _, err := io.ReadFull(r, buf[:at]); err != nil {
		return err
	}
	for _, b := range [][]byte{buf[:at], fields} {
		if _, err := w.Write(b); err != nil {
			return err
		}
	}
	for {
		n, err := r.Read(buf[:])
		if _, err := w.Write(buf[:n]); err != nil {
			return err
		}
		switch err {
		case nil:
		case io.EOF:
			return nil
		default:
			return err
		}
	}
}

// BodyRef names the bytes of a stored message.
type BodyRef = blob.Ref

// OpenBody returns a reader of a message's bytes that holds no snapshot: it reads each chunk by
// itself, for as long as a slow client takes. A message that is removed meanwhile stays readable
// for the grace period of its blob.
func (s *Store) OpenBody(ctx context.Context, ref blob.Ref) *blob.Reader {
	return s.blobs.Open(ctx, ref)
}

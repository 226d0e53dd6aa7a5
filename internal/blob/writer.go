package blob

import (
	"context"
	"errors"
	"fmt"
	"hash"
	"time"

	"github.com/klauspost/compress/s2"

	"tram/internal/kv"
)

// Writer takes in a body. It holds at most one chunk of it: full chunks are staged in the database
// as the next byte arrives. It is for one goroutine; Finish or Abort must end it.
type Writer struct {
	s    *Store
	ctx  context.Context
	err  error // sticky
	hash hash.Hash

	id     ID
	size   int64
	index  int     // of the chunk in buf
	buf    *[]byte // five bytes for the record's header, then the chunk so far
	staged time.Time
	long   bool // holds a token of Store.long
	draft  bool
}

// longWait is how long a body waits to become a long one. The sender is held back meanwhile, as
// nobody reads what it sends.
const longWait = 20 * time.Second

var errEnded = errors.New("blob writer has ended")

// Create returns a Writer for a new body. ctx bounds the writes to the database.
func (s *Store) Create(ctx context.Context) *Writer {
	w := &Writer{s: s, ctx: ctx, hash: s.takeHash(), buf: s.takeBuffer(smallBuffer)}
	w.id, w.err = s.newID()
	*w.buf = (*w.buf)[:recordHeader]
	return w
}

// Draft says that the body will most likely be read once, to make another of it, and never be stored: one
// that fits into a chunk is not worth compressing. It is as good as any other if it is stored all the same.
func (w *Writer) Draft() { w.draft = true }

// Size is how many bytes have been written.
func (w *Writer) Size() int64 { return w.size }

// Write takes p in. Errors are those of kv.Database.Stage, kv.ErrFull among them, and stay.
func (w *Writer) Write(p []byte) (int, error) {
	if w.err != nil {
		return 0, w.err
	}
	w.hash.Write(p)
	total := len(p)
	for len(p) > 0 {
		held := len(*w.buf) - recordHeader
		if held == chunkSize(w.index) {
			if w.err = w.spill(); w.err != nil {
				return total - len(p), w.err
			}
			continue
		}
		if len(*w.buf) == cap(*w.buf) {
			w.buf = w.s.grow(w.buf)
		}
		n := min(cap(*w.buf)-len(*w.buf), chunkSize(w.index)-held, len(p))
		*w.buf = append(*w.buf, p[:n]...)
		p = p[n:]
		w.size += int64(n)
	}
	return total, nil
}

// spill stages the full chunk. With the first one goes the candidate record that lets Collect find
// the body should nobody ever link it.
func (w *Writer) spill() error {
	if w.index == 0 {
		if err := w.lengthen(); err != nil {
			return err
		}
	}
	record, spare := w.s.encode(w.buf, w.id, w.index)
	pairs := []kv.Pair{{Key: chunkKey(w.id, w.index), Value: *record}}
	if w.staged.IsZero() {
		w.staged = w.s.clock.Now()
		pairs = append(pairs, kv.Pair{Key: candidateKey(w.staged, w.id)})
	}
	err := w.s.db.Stage(w.ctx, pairs...)
	w.s.giveBuffer(spare)
	*record = (*record)[:recordHeader]
	w.buf = record
	w.index++
	if err != nil {
		return fmt.Errorf("stage chunk %d of blob %s: %w", w.index-1, w.id, err)
	}
	return nil
}

// lengthen waits until there is room for one more long body.
func (w *Writer) lengthen() error {
	if w.s.long == nil {
		return nil
	}
	select {
	case w.s.long <- struct{}{}:
		w.long = true
		return nil
	default:
	}
	timer := w.s.clock.NewTimer(longWait)
	defer timer.Stop()
	select {
	case w.s.long <- struct{}{}:
		w.long = true
		return nil
	case <-timer.C():
		return fmt.Errorf("write blob %s: %w", w.id, ErrBusy)
	case <-w.ctx.Done():
		return w.ctx.Err()
	}
}

// encode turns a buffer with room for a header and a plain chunk into the chunk's record, and
// returns the buffer that holds the record and the one that is free now, if any.
func (s *Store) encode(b *[]byte, id ID, index int) (record, spare *[]byte) {
	plain := (*b)[recordHeader:]
	packed := s.takeBuffer(recordHeader + s2.MaxEncodedLen(len(plain)))
	out, form := s.codec.compress((*packed)[:recordHeader], plain)
	if form == flagRaw {
		seal(*b, id, index, flagRaw)
		return b, packed
	}
	*packed = out
	seal(*packed, id, index, form)
	return packed, b
}

// Finish ends the body. What is not staged yet, the last chunk, is kept by the Pending and travels
// in the transactions that link it.
func (w *Writer) Finish() (*Pending, error) {
	if w.err != nil {
		return nil, w.err
	}
	p := &Pending{s: w.s, ctx: w.ctx, ref: Ref{ID: w.id, Size: w.size}, staged: w.staged}
	w.hash.Sum(p.ref.SHA256[:0])
	p.users.Store(1)
	switch {
	case w.size == 0:
	case w.draft && w.index == 0:
		seal(*w.buf, w.id, w.index, flagRaw)
		p.index, p.tail, w.buf = w.index, w.buf, nil
	default:
		record, spare := w.s.encode(w.buf, w.id, w.index)
		w.s.giveBuffer(spare)
		w.buf = nil
		p.index, p.tail = w.index, record
	}
	w.end()
	return p, nil
}

// Abort throws the body away. After Finish it does nothing.
func (w *Writer) Abort() {
	if w.buf == nil && w.hash == nil {
		return
	}
	w.end()
	if !w.staged.IsZero() {
		w.s.discard(w.ctx, w.id, w.staged)
	}
}

func (w *Writer) end() {
	if w.long {
		w.long = false
		<-w.s.long
	}
	w.err = errEnded
	w.s.hashes.Put(w.hash)
	w.hash = nil
	w.s.giveBuffer(w.buf)
	w.buf = nil
}

package blob

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"

	"tram/internal/kv"
)

// Reader reads a body. Each chunk is checked against its CRC-32C whenever it is read, and the whole
// against its SHA-256 before its last bytes are handed out, when this process reads it for the first
// time (see known.go): a body of one chunk in any case, a longer one when it is read from its
// beginning to its end by Read or WriteTo. It is for one goroutine. Close gives its memory back.
type Reader struct {
	s       *Store
	ctx     context.Context
	in      kv.Reader // read here, or in Views of its own if nil
	pending *Pending  // holds the last chunk, or nil
	ref     Ref
	anew    bool // nothing that is known counts

	pos    int64   // of the next Read
	plain  []byte  // the chunk read last, in buf or kept by known; nil: none
	index  int     // which one
	buf    *[]byte // for plain bytes
	hash   hash.Hash
	hashed int   // chunks that hash has seen; -1: not read in order, or not to be summed
	bad    error // the whole is not what was written; sticky for Read and WriteTo
}

var (
	_ io.ReadCloser = (*Reader)(nil)
	_ io.ReaderAt   = (*Reader)(nil)
	_ io.WriterTo   = (*Reader)(nil)
)

// Open returns a Reader that reads each chunk in a View of its own: it may be kept for as long as
// somebody refers to the body.
func (s *Store) Open(ctx context.Context, ref Ref) *Reader {
	return &Reader{s: s, ctx: ctx, ref: ref}
}

// OpenIn returns a Reader that reads in a transaction and ends with it.
func (s *Store) OpenIn(r kv.Reader, ref Ref) *Reader {
	return &Reader{s: s, in: r, ref: ref}
}

// Size is the body's length in bytes.
func (r *Reader) Size() int64 { return r.ref.Size }

// Read implements io.Reader.
func (r *Reader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	plain, err := r.next()
	if err != nil {
		return 0, err
	}
	n := copy(p, plain)
	r.pos += int64(n)
	return n, nil
}

// WriteTo implements io.WriterTo: it writes what has not been read yet, chunk by chunk.
func (r *Reader) WriteTo(w io.Writer) (int64, error) {
	var written int64
	for {
		plain, err := r.next()
		if err == io.EOF {
			return written, nil
		}
		if err != nil {
			return written, err
		}
		n, err := w.Write(plain)
		r.pos += int64(n)
		written += int64(n)
		if err != nil {
			return written, err
		}
	}
}

// next returns what is left of the chunk at pos, or io.EOF.
func (r *Reader) next() ([]byte, error) {
	if r.bad != nil {
		return nil, r.bad
	}
	if r.pos >= r.ref.Size {
		if r.ref.Size == 0 {
			if err := r.sum(0, nil); err != nil {
				return nil, err
			}
		}
		r.release()
		return nil, io.EOF
	}
	index, start := chunkAt(r.pos)
	plain, err := r.load(index, start)
	if err == nil && !r.single() {
		err = r.sum(index, plain)
	}
	if err != nil {
		return nil, err
	}
	return plain[r.pos-start:], nil
}

// single reports whether the body is one chunk: it is compared when that is loaded.
func (r *Reader) single() bool { return 0 < r.ref.Size && r.ref.Size <= firstChunk }

// shares reports whether what is known of stored bodies is true of this one.
func (r *Reader) shares() bool { return !r.anew && r.pending == nil }

// sum hashes the chunks in order, each once, and compares after the last.
func (r *Reader) sum(index int, plain []byte) error {
	if r.hashed < 0 || index < r.hashed {
		return nil
	}
	if r.hash == nil && r.shares() && r.s.known.compared(&r.ref) {
		r.hashed = -1
		return nil
	}
	if index > r.hashed {
		r.endHash(-1)
		return nil
	}
	if r.hash == nil {
		r.hash = r.s.takeHash()
	}
	r.hash.Write(plain)
	r.hashed++
	if last, _ := chunkAt(max(r.ref.Size, 1) - 1); index < last {
		return nil
	}
	var got [32]byte
	r.hash.Sum(got[:0])
	r.endHash(r.hashed)
	switch {
	case got != r.ref.SHA256:
		r.bad = r.damaged(index, 0, errWhole)
	case r.shares():
		r.s.known.remember(&r.ref)
	}
	return r.bad
}

var errWhole = errors.New("SHA-256 of the whole is wrong")

func (r *Reader) endHash(hashed int) {
	if r.hash != nil {
		r.s.hashes.Put(r.hash)
		r.hash = nil
	}
	r.hashed = hashed
}

// ReadAt implements io.ReaderAt, but not for several goroutines at once.
func (r *Reader) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, fmt.Errorf("read blob %s at %d: negative offset", r.ref.ID, off)
	}
	n := 0
	for n < len(p) {
		if off >= r.ref.Size {
			return n, io.EOF
		}
		index, start := chunkAt(off)
		plain, err := r.load(index, start)
		if err != nil {
			return n, err
		}
		c := copy(p[n:], plain[off-start:])
		n += c
		off += int64(c)
	}
	return n, nil
}

// release gives the buffer back.
func (r *Reader) release() {
	r.s.giveBuffer(r.buf)
	r.buf, r.plain = nil, nil
}

// Close gives the Reader's memory back. The Reader may be used on.
func (r *Reader) Close() error {
	r.release()
	if r.hash != nil {
		r.endHash(-1)
	}
	if r.pending != nil {
		r.pending.release()
		r.pending = nil
	}
	return nil
}

// load returns the plain bytes of a chunk, valid until the next load.
func (r *Reader) load(index int, start int64) ([]byte, error) {
	if r.plain != nil && r.index == index {
		return r.plain, nil
	}
	r.plain = nil
	if r.single() && r.shares() {
		if r.plain = r.s.known.body(&r.ref); r.plain != nil {
			r.index = index
			return r.plain, nil
		}
	}
	size := chunkLen(index, start, r.ref.Size)
	if r.buf != nil && cap(*r.buf) < size {
		r.s.giveBuffer(r.buf)
		r.buf = nil
	}
	if r.buf == nil {
		r.buf = r.s.takeBuffer(size)
	}
	err := r.fetch(index, func(record []byte) error {
		return r.open(record, index, start, size)
	})
	switch {
	case err == kv.ErrNotFound:
		err = r.damaged(index, start, errMissing)
	case errors.Is(err, kv.ErrCorrupt):
		// The engine itself cannot read the chunk back: a bad place on the disk costs this body.
		err = r.damaged(index, start, err)
	}
	if err == nil && r.single() {
		err = r.compare(*r.buf)
	}
	if err != nil {
		return nil, err
	}
	r.plain, r.index = *r.buf, index
	return r.plain, nil
}

// compare checks a body of one chunk against its SHA-256 when it is read for the first time, and keeps
// it for who reads it next: somebody's telephone mostly asks for what his computer has just asked for.
func (r *Reader) compare(plain []byte) error {
	shares := r.shares()
	if !shares || !r.s.known.compared(&r.ref) {
		if sha256.Sum256(plain) != r.ref.SHA256 {
			return r.damaged(0, 0, errWhole)
		}
	}
	if shares {
		r.s.known.remember(&r.ref)
		r.s.known.keep(&r.ref, plain)
	}
	return nil
}

// fetch calls fn with the record of a chunk.
func (r *Reader) fetch(index int, fn func(record []byte) error) error {
	if p := r.pending; p != nil && index == p.index && p.tail != nil {
		return fn(*p.tail)
	}
	key := chunkKey(r.ref.ID, index)
	if r.in != nil {
		return kv.Peek(r.in, key, fn)
	}
	return r.s.db.View(r.ctx, "", func(kr kv.Reader) error { return kv.Peek(kr, key, fn) })
}

// open checks a record and puts its plain bytes into buf.
func (r *Reader) open(record []byte, index int, start int64, size int) error {
	if !intact(record, r.ref.ID, index) {
		return r.damaged(index, start, errors.New("checksum is wrong"))
	}
	payload := record[recordHeader:]
	switch record[0] {
	case flagRaw:
		if len(payload) != size {
			return r.damaged(index, start, fmt.Errorf("%d bytes where %d were expected",
				len(payload), size))
		}
		*r.buf = append((*r.buf)[:0], payload...)
		return nil
	case flagZstd, flagS2:
		plain, err := r.s.codec.expand((*r.buf)[:0], payload, record[0], size)
		if err != nil {
			return r.damaged(index, start, err)
		}
		*r.buf = plain
		return nil
	}
	return r.damaged(index, start, fmt.Errorf("unknown form %d", record[0]))
}

func (r *Reader) damaged(index int, start int64, why error) error {
	return fmt.Errorf("read blob %s, chunk %d at offset %d: %w: %w",
		r.ref.ID, index, start, ErrDamaged, why)
}

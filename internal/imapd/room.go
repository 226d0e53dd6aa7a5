package imapd

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"sync/atomic"

	"tram/internal/store"
)

// A client that reads slowly leaves its session with what is made ready for it, for as long as that
// takes: a window of replies and a chunk of a long body. One session holds little, a thousand too much.
// So there is room for a number of full windows, of all sessions together (limits.IMAP.FetchMemory),
// and no person has more than a few. Whoever finds none does not wait, as that would be for somebody
// else's slow telephone: it goes on in small steps, which hold little and cost the processor more, and
// asks again for each window.

const (
	// wideRoom is about what a full window holds at most: the reply buffer, which may have doubled
	// when it grew, and a chunk with what it was unpacked from.
	wideRoom = 1 << 20
	// widePerAccount is how many full windows the sessions of one account have at the same time.
	widePerAccount = 8
	// narrowBytes ends a window for which there was no room, and narrowStep is how much of a long body
	// such a session holds at a time.
	narrowBytes = 16 << 10
	narrowStep  = 64 << 10
)

// room is memory that sessions share.
type room struct{ left atomic.Int64 }

// take takes n bytes if they are there.
func (r *room) take(n int64) bool {
	for {
		left := r.left.Load()
		if left < n {
			return false
		}
		if r.left.CompareAndSwap(left, left-n) {
			return true
		}
	}
}

// widen makes the next window a full one if there is room. narrow ends what it began.
func (w *window) widen() {
	if w.wide {
		return
	}
	mine := &w.s.account.windows
	if mine.Add(1) <= widePerAccount && w.s.srv.room.take(wideRoom) {
		w.wide = true
		return
	}
	mine.Add(-1)
	w.s.slim()
}

// slim changes a reply buffer that others have made large for a small one.
func (s *session) slim() {
	b := s.buf()
	if cap(*b) <= 2*narrowStep {
		return
	}
	small := append(make([]byte, 0, max(len(*b), narrowStep)), *b...)
	s.srv.giveBack(b)
	s.out = &small
}

// narrow gives the room of a full window back, once it is sent.
func (w *window) narrow() {
	if w.wide {
		w.wide = false
		w.s.account.windows.Add(-1)
		w.s.srv.room.left.Add(wideRoom)
	}
}

// limit is the size at which the window is sent.
func (w *window) limit() int {
	if w.wide {
		return windowBytes
	}
	return narrowBytes
}

// open returns a body for a stream of this window. It holds a chunk until it is closed, or a step.
func (w *window) open(ref store.BodyRef) bodyReader {
	body := w.s.srv.o.Store.OpenBody(w.s.ctx, ref)
	if w.wide {
		return body
	}
	return &stepReader{body: body, size: ref.Size}
}

// sendBody writes a whole message, in order and to the end: its hash is checked before its last bytes
// are handed out.
func (w *window) sendBody(to io.Writer, ref store.BodyRef) error {
	if w.wide {
		body := w.s.srv.o.Store.OpenBody(w.s.ctx, ref)
		defer body.Close()
		_, err := body.WriteTo(to)
		return err
	}
	body := w.open(ref)
	defer body.Close()
	check := &checked{to: to, ref: &ref, hash: sha256.New()}
	_, err := io.CopyBuffer(check, io.NewSectionReader(body, 0, ref.Size), make([]byte, narrowStep))
	return err
}

// stepReader reads a body a step at a time and holds no more than that between two calls: a chunk,
// which is larger, is unpacked anew for each.
type stepReader struct {
	body bodyReader
	size int64
	from int64 // where step begins
	step []byte
}

// ReadAt implements io.ReaderAt.
func (r *stepReader) ReadAt(p []byte, off int64) (int, error) {
	done := 0
	for done < len(p) {
		at := off + int64(done)
		if at < r.from || at >= r.from+int64(len(r.step)) {
			if at >= r.size {
				return done, io.EOF
			}
			if err := r.load(at); err != nil {
				return done, err
			}
		}
		done += copy(p[done:], r.step[at-r.from:])
	}
	return done, nil
}

// load reads the step from an offset on, which is before the end.
func (r *stepReader) load(at int64) error {
	n := int(min(narrowStep, r.size-at))
	if cap(r.step) < n {
		r.step = make([]byte, n)
	}
	r.from, r.step = at, r.step[:n]
	n, err := r.body.ReadAt(r.step, at)
	r.step = r.step[:n]
	if n > 0 && errors.Is(err, io.EOF) {
		err = nil
	}
	return errors.Join(err, r.body.Close()) // it may be used on
}

// Close implements io.Closer.
func (r *stepReader) Close() error {
	r.step = nil
	return r.body.Close()
}

// checked hands a message on, and the last of it only if the whole is what was stored.
type checked struct {
	to   io.Writer
	ref  *store.BodyRef
	hash hash.Hash
	n    int64
}

// Write implements io.Writer.
func (c *checked) Write(p []byte) (int, error) {
	c.hash.Write(p)
	if c.n += int64(len(p)); c.n >= c.ref.Size && [32]byte(c.hash.Sum(nil)) != c.ref.SHA256 {
		return 0, fmt.Errorf("send body %s: SHA-256 of the whole is wrong: %w", c.ref.ID, store.ErrBodyDamaged)
	}
	return c.to.Write(p)
}

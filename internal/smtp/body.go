package smtp

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"sync"
	"time"
)

// chunkSize is the largest BDAT chunk that is sent, and with it the largest message that goes out
// in one piece with its commands. Larger ones go by DATA, which needs no buffer.
const chunkSize = 64 << 10

// sendData sends the message by DATA.
func (t *transaction) sendData() error {
	if len(t.pending) == 0 && t.accepted == 0 {
		return nil // without a pipeline, or behind a full one, it is known that nobody wants it
	}
	if err := t.queue("DATA", toData); err != nil {
		return err
	}
	if err := t.flush(); err != nil {
		return err
	}
	switch {
	case t.data.Code != 354 && t.accepted > 0:
		t.conclude(t.data)
		return nil
	case t.data.Code != 354:
		return nil
	case t.accepted == 0:
		// RFC 2920 §3.1: it wants a message for nobody, and gets an empty one.
		_, err := t.c.command(".", t.c.o.Limits.Dot)
		return err
	}
	dot := NewDotWriter(t.c.w)
	_, err := io.Copy(dot, t.body)
	if err == nil {
		err = dot.Close()
	}
	if err == nil {
		err = t.c.w.Flush()
	}
	if err != nil {
		return t.bodyFailed(err, dot.err != nil)
	}
	t.sent = true
	return t.readFinals()
}

// bodyFailed ends a transaction whose message could not be sent whole. The connection is given up:
// there is no other way to leave DATA without sending a truncated message.
func (t *transaction) bodyFailed(err error, network bool) error {
	if !network {
		return t.c.fail(fmt.Errorf("%w: %w", ErrBody, err))
	}
	// A server may refuse a message while it comes and hang up: hear why.
	if t.c.ctx.Err() == nil {
		t.c.conn.SetReadDeadline(time.Now().Add(time.Second))
		reply, rerr := ReadReply(t.c.r, t.c.o.Limits)
		if rerr == nil && reply.Code >= 400 {
			t.conclude(reply)
		}
	}
	return t.c.fail(fmt.Errorf("send message: %w", err))
}

// readFinals reads what the server says to the whole message: one reply, or in LMTP one per
// accepted recipient.
func (t *transaction) readFinals() error {
	want := 1
	if t.c.o.LMTP {
		want = max(t.accepted, 1)
	}
	finals := make([]Reply, 0, want)
	for len(finals) < want {
		reply, err := t.c.read(t.c.o.Limits.Dot)
		if err != nil {
			return err
		}
		if reply.Code/100 == 3 {
			return t.c.fail(fmt.Errorf("%w: %s", ErrReply, reply))
		}
		finals = append(finals, reply)
	}
	t.c.dirty = t.accepted == 0
	t.conclude(finals...)
	return nil
}

// useChunks reports whether the message goes by BDAT: when it must, or when that saves a round trip.
func (t *transaction) useChunks() bool {
	e := &t.c.ext
	small := e.Pipelining && t.m.Size > 0 && t.m.Size <= chunkSize
	return e.Chunking && (t.m.Body == BodyBinary || small)
}

// chunkBuffers holds the buffers of chunks between uses.
var chunkBuffers = sync.Pool{New: func() any {
	b := make([]byte, 0, chunkSize+4<<10)
	return &b
}}

// errRefused ends the copying of a body whose chunk was refused.
var errRefused = errors.New("chunk refused")

// sendChunks sends the message by BDAT, RFC 3030 §2. Line ends are made clean as for DATA, unless
// the body is BINARYMIME, where octets mean themselves.
func (t *transaction) sendChunks() error {
	buf := chunkBuffers.Get().(*[]byte)
	defer chunkBuffers.Put(buf)
	w := &chunkWriter{t: t, buf: (*buf)[:0]}
	defer func() { *buf = w.buf[:0] }()
	err := w.copy(t.body, t.m.Body == BodyBinary)
	switch {
	case errors.Is(err, errRefused):
		if t.accepted > 0 {
			t.conclude(t.chunk)
		}
		return nil
	case err != nil && w.err == nil:
		return t.bodyFailed(err, false)
	case err != nil:
		return err
	}
	return nil
}

// chunkWriter gathers octets into chunks and sends each as it fills.
type chunkWriter struct {
	t   *transaction
	buf []byte
	err error
}

func (w *chunkWriter) copy(body io.Reader, binary bool) error {
	if binary {
		if _, err := io.Copy(w, body); err != nil {
			return err
		}
		return w.send(true)
	}
	lines := &lineWriter{w: w, bol: true}
	if _, err := io.Copy(lines, body); err != nil {
		return err
	}
	if err := lines.finish(); err != nil {
		return err
	}
	return w.send(true)
}

// Write takes octets; it sends a chunk when one is full.
func (w *chunkWriter) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 && w.err == nil {
		if len(w.buf) >= chunkSize {
			w.send(false)
			continue
		}
		k := min(len(p), chunkSize-len(w.buf))
		w.buf = append(w.buf, p[:k]...)
		p = p[k:]
	}
	return n - len(p), w.err
}

// send sends the chunk gathered so far. The last one's reply is the message's.
func (w *chunkWriter) send(last bool) error {
	t := w.t
	if !last || len(t.pending) == 0 || !t.c.ext.Pipelining {
		// There is more to come than a server may be bothered with unasked: hear first whether
		// anybody wants it.
		if w.err = t.flush(); w.err != nil {
			return w.err
		}
		if t.accepted == 0 || t.chunk.Code != 0 {
			w.err = errRefused
			return w.err
		}
	}
	t.c.w.WriteString("BDAT " + strconv.Itoa(len(w.buf)))
	if last {
		t.c.w.WriteString(" LAST")
	}
	t.c.w.Write(crlf)
	t.c.w.Write(w.buf)
	w.buf = w.buf[:0]
	if !last {
		t.pending = append(t.pending, toChunk)
		return nil
	}
	w.err = w.finish()
	return w.err
}

// finish sends everything out and reads all that is owed.
func (w *chunkWriter) finish() error {
	t := w.t
	if err := t.c.w.Flush(); err != nil {
		return t.c.fail(err)
	}
	t.sent = true
	if err := t.flush(); err != nil {
		return err
	}
	if err := t.readFinals(); err != nil {
		return err
	}
	if t.chunk.Code != 0 && t.accepted > 0 {
		t.conclude(t.chunk) // it cannot have taken a message that lacks a chunk
	}
	return nil
}

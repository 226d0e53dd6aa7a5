package imapd

import (
	"bytes"
	"encoding/base64"
	"errors"
	"io"

	"tram/internal/message"
	"tram/internal/store"
)

// errStrayNUL: a message has NUL bytes where they cannot be kept.
var errStrayNUL = &no{"UNKNOWN-CTE", "The message has NUL bytes outside of binary parts"}

// withoutNUL replaces a message that came with NUL bytes by one that has them in base64: BODY[...]
// must not send them (RFC 3516 §4.4 and §6). Only parts that say they are binary are touched.
func (s *session) withoutNUL(o *store.AppendOptions) error {
	src := o.Body.Open(s.ctx)
	defer src.Close()
	body := s.srv.o.Store.NewBody(s.ctx)
	defer body.Abort()
	r := &reencoder{src: src, dst: body}
	r.part(o.Message.Root)
	r.copyTo(o.Message.Size)
	if r.err != nil {
		return r.err
	}
	old := o.Body
	var err error
	if o.Body, o.Message, err = body.Finish(); err != nil {
		o.Body = old
		return err
	}
	old.Discard()
	return nil
}

// reencoder copies a message and turns its binary parts into base64.
type reencoder struct {
	src interface {
		io.ReaderAt
	}
	dst io.Writer
	pos int64
	err error
}

// part goes through the tree in the order of the bytes.
func (r *reencoder) part(p *message.Part) {
	switch {
	case p.Embedded != nil:
		r.header(p, "8bit")
		r.part(p.Embedded.Root)
	case len(p.Parts) > 0:
		r.header(p, "8bit") // RFC 2045 §6.4: a multipart has no encoding of its own
		for _, child := range p.Parts {
			r.part(child)
		}
	case p.Encoding == "binary":
		r.header(p, "base64")
		r.base64(p.Body)
	}
}

// header copies up to a part's body, with another transfer encoding if it says it is binary.
func (r *reencoder) header(p *message.Part, encoding string) {
	if p.Encoding != "binary" || p.Header.Len() == 0 {
		return
	}
	r.copyTo(p.Header.Start)
	if r.err != nil {
		return
	}
	if p.Header.Len() > maxHeader {
		r.err = errStrayNUL
		return
	}
	header := make([]byte, p.Header.Len())
	if _, err := r.src.ReadAt(header, p.Header.Start); err != nil && !errors.Is(err, io.EOF) {
		r.err = err
		return
	}
	rest := header
	for f := range message.Header(header) {
		if f.Is("Content-Transfer-Encoding") {
			r.write([]byte("Content-Transfer-Encoding: " + encoding + "\r\n"))
		} else {
			r.write(f.Raw)
		}
		rest = rest[len(f.Raw):]
	}
	r.write(rest)
	r.pos = p.Header.End
}

// base64 writes a body in lines of 76 characters (RFC 2045 §6.8).
func (r *reencoder) base64(body message.Span) {
	r.copyTo(body.Start)
	const perLine = 57
	in := make([]byte, perLine*500)
	out := make([]byte, 0, 78*500)
	for r.pos < body.End && r.err == nil {
		n := int(min(int64(len(in)), body.End-r.pos))
		if _, err := r.src.ReadAt(in[:n], r.pos); err != nil && !errors.Is(err, io.EOF) {
			r.err = err
			return
		}
		out = out[:0]
		for i := 0; i < n; i += perLine {
			if r.pos > body.Start || i > 0 {
				out = append(out, "\r\n"...)
			}
			out = base64.StdEncoding.AppendEncode(out, in[i:min(i+perLine, n)])
		}
		r.write(out)
		r.pos += int64(n)
	}
}

// copyTo copies up to an offset; what is copied has no NUL.
func (r *reencoder) copyTo(end int64) {
	buf := make([]byte, min(copySize, max(end-r.pos, 0)))
	for r.pos < end && r.err == nil {
		n := int(min(int64(len(buf)), end-r.pos))
		if _, err := r.src.ReadAt(buf[:n], r.pos); err != nil && !errors.Is(err, io.EOF) {
			r.err = err
			return
		}
		if bytes.IndexByte(buf[:n], 0) >= 0 {
			r.err = errStrayNUL
			return
		}
		r.write(buf[:n])
		r.pos += int64(n)
	}
}

// write keeps the first error, so that the walk need not look at each.
func (r *reencoder) write(b []byte) {
	if r.err == nil {
		_, r.err = r.dst.Write(b)
	}
}

package imapd

import (
	"bytes"
	"errors"
	"io"

	"tram/internal/imap"
	"tram/internal/message"
	"tram/internal/store"
)

// errUnknownCTE: a part's transfer encoding is not known, RFC 9051 §6.4.5.
var errUnknownCTE = errors.New("unknown content transfer encoding")

// inlineBinary is the encoded size up to which a part is decoded in memory. A larger one is decoded
// twice, to count and to send, because a literal begins with its length.
const inlineBinary = 64 << 10

// bodyReader is what the store reads message bytes with.
type bodyReader interface {
	io.ReaderAt
	io.Closer
}

// part finds the part of BINARY[...]; nil when there is none. The empty section is the message as it
// is: what RFC 3516 §4.2 would decode in it are its leaves, which have numbers.
func (sec *section) part(m *store.Email) (*message.Part, error) {
	if len(sec.spec.Part) == 0 {
		return &message.Part{Body: message.Span{End: m.Size()}, Encoding: "binary"}, nil
	}
	tree, err := m.Structure()
	if err != nil {
		return nil, err
	}
	p := tree.Part(sec.spec.Part)
	if p == nil {
		return nil, nil
	}
	if !p.KnownEncoding() {
		return nil, errUnknownCTE
	}
	return p, nil
}

// binary writes BINARY[...], RFC 9051 §7.5.2.
func (sec *section) binary(r *row, _ store.Entry, m *store.Email) error {
	r.label(sec.label)
	p, err := sec.part(m)
	if err != nil {
		return err
	}
	if p == nil {
		*r.out = append(*r.out, "NIL"...)
		return nil
	}
	body := r.tx.Open(m)
	defer body.Close()
	if p.Body.Len() > inlineBinary || r.tight(p.Body.Len()) {
		return sec.longBinary(r, m, p, body)
	}
	decoded, err := io.ReadAll(message.Body(body, p))
	if err != nil {
		return readFailed(err)
	}
	from, to := sec.cut(int64(len(decoded)))
	if sec.beyond(from, to) {
		*r.out = append(*r.out, emptyString...)
		return nil
	}
	part := decoded[from:to]
	*r.out = appendBinary(*r.out, int64(len(part)), bytes.IndexByte(part, 0) >= 0)
	*r.out = append(*r.out, part...)
	return nil
}

// appendBinary announces a literal, or a literal8 for data with NUL bytes.
func appendBinary(b []byte, n int64, nul bool) []byte {
	if nul {
		b = append(b, '~')
	}
	return imap.AppendLiteral(b, n)
}

// longBinary counts the decoded bytes and leaves their sending for later.
func (sec *section) longBinary(r *row, m *store.Email, p *message.Part, body bodyReader) error {
	var all counter
	if _, err := io.Copy(&all, message.Body(body, p)); err != nil {
		return readFailed(err)
	}
	from, to := sec.cut(all.n)
	if sec.beyond(from, to) {
		*r.out = append(*r.out, emptyString...)
		return nil
	}
	*r.out = appendBinary(*r.out, to-from, all.nul)
	window, ref := r.w, m.Blob
	r.streams = append(r.streams, stream{at: len(*r.out), copy: func(w io.Writer) error {
		body := window.open(ref)
		defer body.Close()
		decoded := message.Body(body, p)
		if _, err := io.CopyN(io.Discard, decoded, from); err != nil {
			return err
		}
		_, err := io.CopyN(w, decoded, to-from)
		return err
	}})
	return nil
}

// binarySize writes BINARY.SIZE[...].
func (sec *section) binarySize(r *row, _ store.Entry, m *store.Email) error {
	r.label(sec.label)
	p, err := sec.part(m)
	if err != nil {
		return err
	}
	var all counter
	if p != nil {
		body := r.tx.Open(m)
		defer body.Close()
		if _, err := io.Copy(&all, message.Body(body, p)); err != nil {
			return readFailed(err)
		}
	}
	*r.out = imap.AppendNumber(*r.out, all.n)
	return nil
}

// counter counts what is written to it and looks for NUL.
type counter struct {
	n   int64
	nul bool
}

// Write implements io.Writer.
func (c *counter) Write(p []byte) (int, error) {
	c.n += int64(len(p))
	c.nul = c.nul || bytes.IndexByte(p, 0) >= 0
	return len(p), nil
}

package message

import (
	"fmt"
	"io"
)

// Body returns the part's body with its transfer encoding undone (RFC 2045 §6), as a stream: base64
// and quoted-printable, in their tolerant readings. Other encodings, uuencode among them, come as
// they are. r holds the whole message. Errors are those of r.
func Body(r io.ReaderAt, p *Part) io.Reader {
	raw := io.NewSectionReader(r, p.Body.Start, p.Body.Len())
	var dec transferDecoder
	switch p.Encoding {
	case "base64":
		dec = &base64State{}
	case "quoted-printable":
		dec = &qpState{}
	default:
		return raw
	}
	return &decodeReader{src: raw, dec: dec, in: make([]byte, min(p.Body.Len()+1, 16<<10))}
}

// KnownEncoding reports whether Body decodes the part's transfer encoding to what was meant: IMAP
// answers UNKNOWN-CTE to BINARY where it does not (RFC 9051 §6.4.5.2).
func (p *Part) KnownEncoding() bool {
	return identity(p.Encoding) || p.Encoding == "base64" || p.Encoding == "quoted-printable"
}

// transferDecoder is a decoder that takes its input in pieces.
type transferDecoder interface {
	decode(dst, src []byte) []byte
	finish(dst []byte) []byte
}

// decodeReader pulls a stream through a transferDecoder.
type decodeReader struct {
	src io.Reader
	dec transferDecoder
	in  []byte
	out []byte // decoded and not yet read
	buf []byte // what out is cut from
	err error
}

// Read implements io.Reader.
func (d *decodeReader) Read(p []byte) (int, error) {
	for len(d.out) == 0 {
		if d.err != nil {
			return 0, d.err
		}
		d.fill()
	}
	n := copy(p, d.out)
	d.out = d.out[n:]
	return n, nil
}

// fill decodes the next piece. A decoder may well give nothing for it: a piece of line ends.
func (d *decodeReader) fill() {
	n, err := d.src.Read(d.in)
	d.buf = d.dec.decode(d.buf[:0], d.in[:n])
	switch {
	case err == io.EOF:
		d.buf = d.dec.finish(d.buf)
		d.err = io.EOF
	case err != nil:
		d.err = fmt.Errorf("read body: %w", err)
	}
	d.out = d.buf
}

package queue

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"mime/quotedprintable"

	"tram/internal/message"
)

// errNoDowngrade says that a message cannot be brought to 7 bits: its header is not ASCII, or a part
// that may not be encoded (RFC 2045 §6.4) holds octets above 127.
var errNoDowngrade = errors.New("message cannot be converted to 7 bits")

// downgrade writes a message in 7 bits: text becomes quoted-printable, other parts base64, and their
// Content-Transfer-Encoding says so. Everything else stays as it is, octet for octet. A signature of
// somebody else over such a message does not survive (RFC 6376 §5.3); our own is made of what comes out
// here.
type downgrade struct {
	r io.ReaderAt
	m *message.Message
}

// Read is there for io.Reader; a downgrade is written out by WriteTo.
func (d *downgrade) Read([]byte) (int, error) { return 0, errors.ErrUnsupported }

// downgradedSize returns how many octets a message has in 7 bits, or errNoDowngrade.
func downgradedSize(r io.ReaderAt, m *message.Message) (int64, error) {
	return (&downgrade{r: r, m: m}).WriteTo(io.Discard)
}

// WriteTo writes the message.
func (d *downgrade) WriteTo(w io.Writer) (int64, error) {
	c := &converter{r: d.r, w: w}
	if err := c.part(d.m.Root, true); err != nil {
		return c.n, err
	}
	return c.n, c.copyTo(d.m.Size)
}

// converter goes through the parts in the order of their bytes.
type converter struct {
	r   io.ReaderAt
	w   io.Writer
	pos int64 // of the original: how far it was taken
	n   int64 // octets written
}

// Write passes converted octets on.
func (c *converter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}

// copyTo copies the original up to end, and makes sure that it is ASCII.
func (c *converter) copyTo(end int64) error {
	_, err := io.Copy(asciiOnly{c}, io.NewSectionReader(c.r, c.pos, end-c.pos))
	c.pos = end
	return err
}

// asciiOnly refuses what is not.
type asciiOnly struct{ w io.Writer }

// Write implements io.Writer.
func (a asciiOnly) Write(p []byte) (int, error) {
	if !sevenBit(p) {
		return 0, errNoDowngrade
	}
	return a.w.Write(p)
}

func sevenBit(p []byte) bool {
	for _, b := range p {
		if b >= 0x80 || b == 0 {
			return false
		}
	}
	return true
}

// part writes a part up to its end.
func (c *converter) part(p *message.Part, top bool) error {
	composite := len(p.Parts) > 0 || p.Embedded != nil
	encode := ""
	if !composite {
		var err error
		if encode, err = c.encodingFor(p); err != nil {
			return err
		}
	} else if p.Encoding == "8bit" || p.Encoding == "binary" {
		encode = "7bit"
	}
	if encode != "" {
		if err := c.header(p, encode, top); err != nil {
			return err
		}
	}
	for _, child := range p.Parts {
		if err := c.part(child, false); err != nil {
			return err
		}
	}
	if p.Embedded != nil {
		return c.part(p.Embedded.Root, true)
	}
	if encode == "" || composite {
		return c.copyTo(p.Body.End)
	}
	return c.body(p, encode)
}

// encodingFor returns how a leaf must be encoded, or "" if it can stay.
func (c *converter) encodingFor(p *message.Part) (string, error) {
	var probe sevenBits
	_, err := io.Copy(&probe, io.NewSectionReader(c.r, p.Body.Start, p.Body.Len()))
	identity := p.Encoding == "7bit" || p.Encoding == "8bit" || p.Encoding == "binary"
	switch fits := !probe.bad && !probe.cr; {
	case err != nil:
		return "", err
	case fits && (p.Encoding == "8bit" || p.Encoding == "binary"):
		return "7bit", nil
	case fits:
		return "", nil
	case !identity || p.Opaque || p.Type == "multipart" || p.Type == "message":
		// An encoding that promised ASCII, or what may hold other parts.
		return "", errNoDowngrade
	case p.Type == "text":
		return "quoted-printable", nil
	}
	return "base64", nil
}

// sevenBits looks for what 7bit may not hold: octets above 127, NUL, lines over 998 octets
// (RFC 2045 §2.7), CR or LF by themselves.
type sevenBits struct {
	bad  bool
	cr   bool // the last octet was one
	line int
}

// Write implements io.Writer.
func (l *sevenBits) Write(p []byte) (int, error) {
	for _, b := range p {
		switch {
		case b >= 0x80 || b == 0, l.cr != (b == '\n'):
			l.bad = true
		case b == '\n':
			l.line = 0
		default:
			l.line++
		}
		l.cr = b == '\r'
		l.bad = l.bad || l.line > 999
	}
	return len(p), nil
}

// header writes a part's header with another Content-Transfer-Encoding. A message without MIME gets
// it: RFC 1428 §3 names the charset that nobody knows.
func (c *converter) header(p *message.Part, encoding string, top bool) error {
	if p.Header.Len() == 0 && !top {
		return errNoDowngrade
	}
	raw := make([]byte, p.Header.Len())
	if _, err := c.r.ReadAt(raw, p.Header.Start); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if err := c.copyTo(p.Header.Start); err != nil {
		return err
	}
	c.pos = p.Header.End
	var out bytes.Buffer
	mime, typed, size := false, false, 0
	for f := range message.Header(raw) {
		size += len(f.Raw)
		mime = mime || f.Is("MIME-Version")
		typed = typed || f.Is("Content-Type")
		if !f.Is("Content-Transfer-Encoding") {
			out.Write(f.Raw)
		}
	}
	if top && !mime {
		out.WriteString("MIME-Version: 1.0\r\n")
	}
	if top && !typed && encoding == "quoted-printable" {
		out.WriteString("Content-Type: text/plain; charset=unknown-8bit\r\n")
	}
	fmt.Fprintf(&out, "Content-Transfer-Encoding: %s\r\n", encoding)
	out.Write(raw[size:])
	if size == len(raw) {
		out.WriteString("\r\n") // there was no blank line
	}
	_, err := asciiOnly{c}.Write(out.Bytes())
	return err
}

// body writes a leaf's body in another encoding.
func (c *converter) body(p *message.Part, encoding string) error {
	if err := c.copyTo(p.Body.Start); err != nil {
		return err
	}
	c.pos = p.Body.End
	body := io.NewSectionReader(c.r, p.Body.Start, p.Body.Len())
	switch encoding {
	case "quoted-printable":
		w := quotedprintable.NewWriter(c)
		if _, err := io.Copy(w, body); err != nil {
			return err
		}
		return w.Close()
	case "base64":
		lines := &base64Lines{w: c}
		w := base64.NewEncoder(base64.StdEncoding, lines)
		if _, err := io.Copy(w, body); err != nil {
			return err
		}
		return w.Close()
	}
	_, err := io.Copy(asciiOnly{c}, body)
	return err
}

// base64Lines breaks encoded text into lines of 76 octets, RFC 2045 §6.8.
type base64Lines struct {
	w   io.Writer
	col int
}

// Write implements io.Writer.
func (b *base64Lines) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 {
		if b.col == 76 {
			if _, err := io.WriteString(b.w, "\r\n"); err != nil {
				return 0, err
			}
			b.col = 0
		}
		k := min(len(p), 76-b.col)
		if _, err := b.w.Write(p[:k]); err != nil {
			return 0, err
		}
		b.col += k
		p = p[k:]
	}
	return n, nil
}

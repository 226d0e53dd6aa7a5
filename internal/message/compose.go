package message

import (
	"bufio"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"strings"
	"time"
)

var base64Std = base64.StdEncoding

// Draft is a message that the server writes itself: a notice, a report. WriteTo makes valid
// RFC 5322 of it, whatever the values hold.
type Draft struct {
	From       []Address
	Sender     []Address
	ReplyTo    []Address
	To         []Address
	Cc         []Address
	Subject    string
	Date       time.Time
	MessageID  string // see NewMessageID
	InReplyTo  []string
	References []string
	// AutoSubmitted is "auto-generated" or "auto-replied", RFC 3834 §5; "" leaves the field out.
	AutoSubmitted string
	Extra         []Extra

	Content Content
	UTF8    bool      // header fields in UTF-8, RFC 6532, for recipients that take it
	Rand    io.Reader // for boundaries; needed when Content has parts
}

// Extra is another field of a Draft, its value unstructured text.
type Extra struct{ Name, Value string }

// Content is one part of a Draft: a text, a file, a message or a multipart.
type Content struct {
	Type        string // "text/plain", "message/rfc822"; "" is text/plain
	Params      []Param
	Disposition string // "attachment", "inline" or ""
	FileName    string
	ID          string
	Description string
	Language    []string

	Text  string    // of a text part: UTF-8, lines ended by LF or CRLF
	Parts []Content // of a multipart
	// Body is the content of all others. That of a message/* or text/rfc822-headers part is
	// copied with its line ends made CRLF, as these types must not be encoded; else it is base64.
	Body io.Reader
	// EightBit says that Body, where it is copied, holds bytes above 127.
	EightBit bool
}

// WriteTo writes the message. Errors are those of w, Body and Rand, and ErrUnwritable.
func (d *Draft) WriteTo(w io.Writer) (int64, error) {
	c := composer{w: bufio.NewWriter(w), rand: d.Rand, utf8: d.UTF8}
	var f FieldWriter
	f.UTF8 = d.UTF8
	f.Date("Date", d.Date)
	d.addresses(&f)
	f.Text("Subject", d.Subject)
	f.IDs("Message-ID", d.MessageID)
	if len(d.InReplyTo) > 0 {
		f.IDs("In-Reply-To", d.InReplyTo...)
	}
	if len(d.References) > 0 {
		f.IDs("References", d.References...)
	}
	if d.AutoSubmitted != "" {
		f.Words("Auto-Submitted", d.AutoSubmitted)
	}
	for _, x := range d.Extra {
		f.Text(x.Name, x.Value)
	}
	f.Words("MIME-Version", "1.0")
	c.fields(&f)
	c.content(&d.Content)
	if c.last != '\n' {
		c.str("\r\n")
	}
	if c.err == nil {
		c.err = c.w.Flush()
	}
	if c.err != nil {
		return c.n, fmt.Errorf("compose message: %w", c.err)
	}
	return c.n, nil
}

// addresses writes the fields of people; From is written even when it is empty.
func (d *Draft) addresses(f *FieldWriter) {
	f.Addresses("From", d.From...)
	for _, list := range [...]struct {
		name string
		list []Address
	}{{"Sender", d.Sender}, {"Reply-To", d.ReplyTo}, {"To", d.To}, {"Cc", d.Cc}} {
		if len(list.list) > 0 {
			f.Addresses(list.name, list.list...)
		}
	}
}

// composer writes parts; its first error sticks.
type composer struct {
	w    *bufio.Writer
	n    int64
	rand io.Reader
	utf8 bool
	last byte // the last byte written
	err  error
}

// Write counts, and remembers how the message ends.
func (c *composer) Write(b []byte) (int, error) {
	if c.err != nil || len(b) == 0 {
		return 0, c.err
	}
	c.last = b[len(b)-1]
	n, err := c.w.Write(b)
	c.n, c.err = c.n+int64(n), err
	return n, err
}

func (c *composer) str(s string) { c.Write([]byte(s)) }

// fields writes a finished block of fields.
func (c *composer) fields(f *FieldWriter) {
	b, err := f.Bytes()
	if c.err == nil {
		c.err = err
	}
	c.Write(b)
}

// content writes a part's own fields, the blank line and the body.
func (c *composer) content(p *Content) {
	f := FieldWriter{UTF8: c.utf8}
	typ, params := p.Type, p.Params
	if typ == "" {
		typ = "text/plain"
	}
	var boundary, encoding string
	switch {
	case len(p.Parts) > 0:
		boundary = c.boundary()
		params = append(params[:len(params):len(params)], Param{Name: "boundary", Value: boundary})
	case p.Body == nil:
		encoding = textEncoding(p.Text)
		params = append(params[:len(params):len(params)], Param{Name: "charset", Value: "utf-8"})
	case copied(typ) && p.EightBit:
		encoding = "8bit"
	case !copied(typ):
		encoding = "base64"
	}
	f.Params("Content-Type", typ, params...)
	if encoding != "" {
		f.Words("Content-Transfer-Encoding", encoding)
	}
	p.describe(&f)
	c.fields(&f)
	c.str("\r\n")
	switch {
	case boundary != "":
		c.parts(p.Parts, boundary)
	case p.Body == nil:
		writeText(c, p.Text, encoding)
	case encoding == "base64":
		c.copyEncoded(p.Body)
	default:
		c.copyLines(p.Body)
	}
}

// describe writes the fields of a part that are not about its encoding.
func (p *Content) describe(f *FieldWriter) {
	if p.Disposition != "" {
		var params []Param
		if p.FileName != "" {
			params = []Param{{Name: "filename", Value: p.FileName}}
		}
		f.Params("Content-Disposition", p.Disposition, params...)
	}
	if p.ID != "" {
		f.IDs("Content-ID", p.ID)
	}
	if p.Description != "" {
		f.Text("Content-Description", p.Description)
	}
	if len(p.Language) > 0 {
		f.Words("Content-Language", strings.Join(p.Language, ", "))
	}
}

// copied reports whether a part of this type goes out without encoding.
func copied(typ string) bool {
	return strings.HasPrefix(typ, "message/") || typ == "text/rfc822-headers"
}

// boundary makes a boundary that no text holds by chance: 128 random bits, and "=_" which
// quoted-printable cannot contain.
func (c *composer) boundary() string {
	var b [16]byte
	if c.err == nil {
		if c.rand == nil {
			c.err = fmt.Errorf("no randomness for a boundary: %w", ErrUnwritable)
		} else if _, err := io.ReadFull(c.rand, b[:]); err != nil {
			c.err = fmt.Errorf("make boundary: %w", err)
		}
	}
	return "=_" + hex.EncodeToString(b[:])
}

// parts writes a multipart body, RFC 2046 §5.1.1. The line end before each delimiter belongs to it.
func (c *composer) parts(parts []Content, boundary string) {
	for i := range parts {
		c.str("--" + boundary + "\r\n")
		c.content(&parts[i])
		c.str("\r\n")
	}
	c.str("--" + boundary + "--\r\n")
}

// copyEncoded writes base64 in lines of 76.
func (c *composer) copyEncoded(r io.Reader) {
	var raw [57 * 64]byte
	line := make([]byte, 0, 78)
	for c.err == nil {
		n, err := io.ReadFull(r, raw[:])
		for b := raw[:n]; len(b) > 0; b = b[min(len(b), 57):] {
			line = base64Std.AppendEncode(line[:0], b[:min(len(b), 57)])
			c.Write(append(line, '\r', '\n'))
		}
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			return
		}
		if err != nil && c.err == nil {
			c.err = fmt.Errorf("read content: %w", err)
		}
	}
}

// copyLines copies r with every line end made CRLF, and without NUL.
func (c *composer) copyLines(r io.Reader) {
	buf := make([]byte, 16<<10)
	fix := crlfFixer{}
	var out []byte
	for c.err == nil {
		n, err := r.Read(buf)
		out = fix.append(out[:0], buf[:n])
		c.Write(out)
		if err == io.EOF {
			c.Write(fix.finish(nil))
			return
		}
		if err != nil && c.err == nil {
			c.err = fmt.Errorf("read content: %w", err)
		}
	}
}

// crlfFixer makes bare CR and bare LF a CRLF, over pieces of text.
type crlfFixer struct{ cr bool }

// append copies src. A CR waits for the byte after it, which may come in the next piece.
func (f *crlfFixer) append(dst, src []byte) []byte {
	for _, c := range src {
		switch {
		case c == '\n':
			dst = append(dst, '\r', '\n')
		case f.cr:
			dst = append(dst, '\r', '\n')
			fallthrough
		default:
			if c != '\r' && c != 0 {
				dst = append(dst, c)
			}
		}
		f.cr = c == '\r'
	}
	return dst
}

// finish ends the text after a CR that nothing followed.
func (f *crlfFixer) finish(dst []byte) []byte {
	if f.cr {
		dst = append(dst, '\r', '\n')
	}
	return dst
}

package dkim

import (
	"bytes"
	"io"

	"tram/internal/message"
)

// AppendField appends a field in canonical form, RFC 6376 §3.4.1 and §3.4.2, with its line end.
func AppendField(dst []byte, f message.Field, relaxed bool) []byte {
	return append(appendBare(dst, f.Raw, len(f.Raw)-len(f.Body)-1, relaxed), '\r', '\n')
}

// appendBare appends a field without the line end, as the signature's own field enters its hash
// (RFC 6376 §3.7). colon is where the field's colon is.
func appendBare(dst, raw []byte, colon int, relaxed bool) []byte {
	raw = bytes.TrimSuffix(raw, []byte("\n"))
	raw = bytes.TrimSuffix(raw, []byte("\r"))
	if !relaxed {
		return append(dst, raw...)
	}
	dst = appendLower(dst, bytes.TrimRight(raw[:colon], " \t"))
	dst = append(dst, ':')
	start, space := len(dst), false
	for i, c := range raw[colon+1:] {
		switch {
		case c == ' ' || c == '\t':
			space = true
			continue
		case c == '\n' || c == '\r' && i+colon+2 < len(raw) && raw[i+colon+2] == '\n':
			continue // folded here
		}
		if space && len(dst) > start {
			dst = append(dst, ' ')
		}
		space = false
		dst = append(dst, c)
	}
	return dst
}

// canon brings a body that comes in pieces of any size to its canonical form, RFC 6376 §3.4.3 and
// §3.4.4, and writes that to its sinks.
type canon struct {
	relaxed bool
	sinks   []io.Writer

	crlf  int  // line ends that are held back: nothing but those may follow
	cr    bool // the last octet was one: whether it ends a line is known with the next
	space bool // relaxed: white space was held back, for the line may end
	any   bool // something was written

	buf []byte // collects short writes
}

const canonBuffer = 4096

func (c *canon) write(p []byte) {
	if len(p) == 0 {
		return
	}
	if c.relaxed {
		c.writeRelaxed(p)
		return
	}
	if c.cr {
		c.cr = false
		if p[0] == '\n' {
			c.crlf++
			p = p[1:]
		} else {
			c.release()
			c.put('\r')
		}
	}
	cr := len(p) > 0 && p[len(p)-1] == '\r'
	if cr {
		p = p[:len(p)-1]
	}
	ends := 0
	for bytes.HasSuffix(p, crlf) {
		p = p[:len(p)-2]
		ends++
	}
	if len(p) > 0 {
		c.release()
		c.emit(p)
	}
	c.crlf += ends
	c.cr = cr
}

var crlf = []byte("\r\n")

// writeRelaxed takes whole lines at once where nothing in them is to be changed, which is nearly
// always, and goes octet by octet elsewhere.
func (c *canon) writeRelaxed(p []byte) {
	for len(p) > 0 {
		if !c.cr && !c.space {
			if n := plainLine(p); n > 0 {
				c.release()
				c.emit(p[:n])
				c.crlf++
				p = p[n+2:]
				continue
			}
		}
		// Up to the end of the line.
		n := bytes.IndexByte(p, '\n') + 1
		if n == 0 {
			n = len(p)
		}
		for _, b := range p[:n] {
			c.octet(b)
		}
		p = p[n:]
	}
}

// plainLine returns how long the first line of p is, without its end, if that is in p and the relaxed
// form changes nothing in it; else 0, also for an empty line.
func plainLine(p []byte) int {
	n := bytes.IndexByte(p, '\r')
	if n <= 0 || n+1 >= len(p) || p[n+1] != '\n' || p[n-1] == ' ' {
		return 0
	}
	line := p[:n]
	if bytes.IndexByte(line, '\t') >= 0 || bytes.Contains(line, twoSpaces) {
		return 0
	}
	return n
}

var twoSpaces = []byte("  ")

// octet takes one octet in the relaxed form.
func (c *canon) octet(b byte) {
	if c.cr {
		c.cr = false
		if b == '\n' {
			c.space = false // white space at the end of a line is ignored
			c.crlf++
			return
		}
		c.visible('\r')
	}
	switch b {
	case '\r':
		c.cr = true
	case ' ', '\t':
		c.space = true
	default:
		c.visible(b)
	}
}

// visible writes an octet that stays, after what was held back before it.
func (c *canon) visible(b byte) {
	c.release()
	if c.space {
		c.space = false
		c.put(' ')
	}
	c.put(b)
}

// release writes the line ends that were held back.
func (c *canon) release() {
	for ; c.crlf > 0; c.crlf-- {
		c.emit(crlf)
	}
}

func (c *canon) emit(p []byte) {
	c.any = true
	if len(c.buf)+len(p) > canonBuffer {
		c.flush()
	}
	if len(p) >= canonBuffer/2 {
		c.flush()
		c.pass(p)
		return
	}
	c.room()
	c.buf = append(c.buf, p...)
}

func (c *canon) put(b byte) {
	c.any = true
	if len(c.buf) == canonBuffer {
		c.flush()
	}
	c.room()
	c.buf = append(c.buf, b)
}

func (c *canon) room() {
	if c.buf == nil {
		c.buf = make([]byte, 0, canonBuffer)
	}
}

func (c *canon) flush() {
	if len(c.buf) > 0 {
		c.pass(c.buf)
		c.buf = c.buf[:0]
	}
}

// pass gives octets to the hashes, which never fail.
func (c *canon) pass(p []byte) {
	for _, s := range c.sinks {
		_, _ = s.Write(p)
	}
}

// end writes what the end of the body asks for: one line end, which an empty relaxed body has not.
func (c *canon) end() {
	if c.cr {
		c.cr = false
		if c.relaxed {
			c.visible('\r')
		} else {
			c.release()
			c.put('\r')
		}
	}
	if c.any || !c.relaxed {
		c.emit(crlf)
	}
	c.flush()
}

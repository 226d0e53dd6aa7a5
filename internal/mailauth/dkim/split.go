package dkim

import "bytes"

// Splitter takes a message that is to be signed: it keeps the header and hashes the body in the relaxed
// form.
type Splitter struct {
	most   int
	header []byte
	body   bool // the blank line has come
	bodies *Bodies
	sum    *BodyHash
}

// NewSplitter begins a message. Of one whose header is longer than most octets nothing is kept, and it
// cannot be signed.
func NewSplitter(most int) *Splitter {
	p := &Splitter{most: most, bodies: NewBodies()}
	p.sum = p.bodies.Add(true, -1)
	return p
}

// Write implements io.Writer. It never fails.
func (p *Splitter) Write(b []byte) (int, error) {
	if p.body {
		return p.bodies.Write(b)
	}
	from := max(len(p.header)-len(blankLine)+1, 0)
	p.header = append(p.header, b...)
	end := bytes.Index(p.header[from:], blankLine)
	if end < 0 && len(p.header) <= p.most {
		return len(b), nil
	}
	p.body = true
	if end < 0 {
		p.header = nil
		return len(b), nil
	}
	end += from
	_, _ = p.bodies.Write(p.header[end+len(blankLine):])
	p.header = p.header[: end+len("\r\n") : end+len("\r\n")]
	return len(b), nil
}

var blankLine = []byte("\r\n\r\n")

// End returns the header without the blank line, and the hash of the body. A nil header cannot be signed.
func (p *Splitter) End() (header, bodyHash []byte) {
	p.bodies.Close()
	return p.header, p.sum.Sum()
}

package message

import (
	"bytes"

	"tram/internal/limits"
)

// Parser is a push parser: an io.Writer to pour a message into as it arrives, in slices of any
// size, then Finish. It keeps the header of one part at a time and a few kB of the first text.
//
// A line is looked at as a whole in two places only: in a header, and in a body where it begins
// with "--" while a multipart is open. All else is skimmed from line end to line end. A Parser is
// for one goroutine; Reset makes it ready for the next message.
type Parser struct {
	lim limits.Message
	msg *Message

	off       int64 // offset of the next byte to be read
	lineStart int64 // offset of the current line
	lines     int64 // line ends before it
	pairs     int64 // of these, how many were CRLF
	returns   int64 // CRs seen
	eol       int64 // length of the line end before the current line
	last      byte  // the last byte of the block before this one
	ended     bool  // Finish was called: no more bytes come

	inHeader bool
	cut      bool   // the header in hdr was cut at its limit
	budget   int    // bytes of header that may still be kept, all parts together
	hdr      []byte // what was read of the current header
	hold     []byte // the beginning of a line that may be a delimiter, from earlier slices

	stack     []node // the open parts, from the root to the current one
	watch     int    // how many of them wait for delimiters
	matched   int    // the node whose delimiter delimiterAt found, or held
	final     bool   // and whether it was the closing one
	longest   int    // bytes of the longest line that can be a delimiter
	parts     int    // parts created so far
	addresses int    // addresses that may still be kept

	preview preview
	scratch []byte // for the address scanner
}

// block is how much Write looks at between checks: small enough to stay in the processor's cache.
const block = 16 << 10

// linePadding is the white space after a delimiter that is put up with, RFC 2046 §5.1.1.
const linePadding = 256

// headerBudget is how many headers of full length may be kept of one message.
const headerBudget = 4

// NewParser returns a parser that keeps to l.
func NewParser(l limits.Message) *Parser {
	p := &Parser{lim: l}
	p.Reset()
	return p
}

// Parse parses a message that is in memory.
func Parse(b []byte, l limits.Message) *Message {
	p := NewParser(l)
	p.Write(b)
	return p.Finish()
}

// Reset makes p ready for another message. Its buffers are kept; messages it made are not touched.
func (p *Parser) Reset() {
	first := &struct { // what every message has, in one piece
		msg  Message
		root Part
	}{}
	root := &first.root
	first.msg.Root = root
	clear(p.stack)
	*p = Parser{
		lim: p.lim, msg: &first.msg, inHeader: true, parts: 1,
		stack: append(p.stack[:0], node{part: root}), hdr: p.hdr[:0], hold: p.hold[:0],
		longest: 2 + p.lim.Boundary + 2 + linePadding + 2, addresses: p.lim.TotalAddresses,
		budget: headerBudget * p.lim.HeaderBytes, preview: p.preview.reset(),
		scratch: p.scratch,
	}
}

// Write takes the next bytes of the message. It never fails, and does not keep b.
func (p *Parser) Write(b []byte) (int, error) {
	n := len(b)
	for len(b) > 0 {
		blk := b[:min(len(b), block)]
		p.mark(blk)
		p.feed(blk)
		p.noteEnd(blk)
		b = b[len(blk):]
	}
	return n, nil
}

// noteEnd keeps how the message ends so far.
func (p *Parser) noteEnd(b []byte) {
	before := p.last
	if len(b) > 1 {
		before = b[len(b)-2]
	}
	p.last = b[len(b)-1]
	p.msg.OpenEnd = before != '\r' || p.last != '\n'
}

// mark looks for bytes that matter wherever they stand.
func (p *Parser) mark(b []byte) {
	if !p.msg.EightBit && hasHigh(b) {
		p.msg.EightBit = true
	}
	if !p.msg.NUL && bytes.IndexByte(b, 0) >= 0 {
		p.msg.NUL = true
	}
	p.returns += int64(bytes.Count(b, []byte{'\r'}))
}

// feed gives b, piece by piece, to whoever reads what stands there.
func (p *Parser) feed(b []byte) {
	before := p.last // the byte before b, for a line end that is cut in two
	for len(b) > 0 {
		var n int
		switch {
		case len(p.hold) > 0:
			n = p.resume(b)
		case p.inHeader:
			n = p.readHeader(b, before)
		default:
			n = p.readBody(b, before)
		}
		before, b = b[n-1], b[n:]
	}
}

// Finish ends the message and returns what was found in it. Only Reset may follow.
func (p *Parser) Finish() *Message {
	p.ended = true
	if line := p.hold; len(line) > 0 {
		p.hold = p.hold[:0]
		p.feed(line)
	}
	m := p.msg
	m.Size = p.off
	m.LongLine = m.LongLine || p.off-p.lineStart > maxLine
	m.BareCR = p.returns != p.pairs
	m.BareLF = p.lines != p.pairs
	for p.inHeader {
		p.endHeader(p.off)
	}
	for len(p.stack) > 0 {
		p.pop(p.off)
	}
	m.HeaderSize = m.Root.Header.End
	m.Preview = p.preview.text(p.lim.Preview)
	return m
}

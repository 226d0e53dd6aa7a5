package imap

import (
	"fmt"
	"io"
)

// Literal is a literal that is streamed instead of held: a message in APPEND, a body in FETCH.
// Read asks the client for it where that is needed. Close reads the line after it; the decoder
// continues there.
type Literal struct {
	Size    int64
	NonSync bool // the client sends it without being asked (RFC 7888)
	Binary  bool // literal8: may hold NUL bytes (RFC 3516 §4.4)

	d       *Decoder
	left    int64
	started bool
}

// parseLiteral reads "{n}" or "{n+}", which must fill b.
func parseLiteral(b []byte) (size int64, nonSync, ok bool) {
	if len(b) < 3 || b[0] != '{' || b[len(b)-1] != '}' {
		return 0, false, false
	}
	b = b[1 : len(b)-1]
	if b[len(b)-1] == '+' {
		nonSync, b = true, b[:len(b)-1]
	}
	n, used := parseUint(b)
	if used == 0 || used != len(b) || n > 1<<63-1 {
		return 0, false, false
	}
	return int64(n), nonSync, true
}

// AtLiteral reports whether a literal or literal8 is next.
func (d *Decoder) AtLiteral() bool {
	return d.peek() == '{' || d.peek() == '~' && d.pos+1 < len(d.line) && d.line[d.pos+1] == '{'
}

// header consumes a literal's announcement.
func (d *Decoder) header() *Literal {
	if d.err != nil {
		return nil
	}
	l := &Literal{d: d, Binary: d.Try('~')}
	var ok bool
	if l.Size, l.NonSync, ok = parseLiteral(d.line[d.pos:]); !ok {
		d.Fail(errLiteral)
		return nil
	}
	d.pos = len(d.line)
	l.left = l.Size
	if l.NonSync && d.limits.NonSync > 0 && l.Size > int64(d.limits.NonSync) {
		d.refuse(l, &Error{
			Code: "TOOBIG",
			Text: fmt.Sprintf("Non-synchronizing literals are limited to %d bytes here",
				d.limits.NonSync),
		})
		return nil
	}
	return l
}

// refuse records err for a literal that will not be read.
func (d *Decoder) refuse(l *Literal, err *Error) {
	if l.NonSync {
		d.owed = l.Size
	}
	d.Fail(err)
}

// Literal begins a streamed literal of at most limit bytes.
func (d *Decoder) Literal(limit int64) *Literal {
	l := d.header()
	if l == nil {
		return nil
	}
	if l.Size > limit {
		d.refuse(l, &Error{No: true, Code: "TOOBIG", Text: "Literal too long"})
		return nil
	}
	// The text between the messages of one APPEND is bounded for each of them anew.
	d.text = d.limits.Line
	d.lit = l
	return l
}

// Accept asks the client to send the literal, if it waits to be asked.
func (l *Literal) Accept() error {
	if l.started {
		return nil
	}
	l.started = true
	if l.NonSync || l.d.Continue == nil {
		return nil
	}
	if err := l.d.Continue(); err != nil {
		l.d.err = fmt.Errorf("ask for literal: %w", err)
		return l.d.err
	}
	return nil
}

// Read implements io.Reader. It returns ErrCut when the connection ends inside the literal.
func (l *Literal) Read(p []byte) (int, error) {
	if err := l.Accept(); err != nil {
		return 0, err
	}
	if l.left == 0 {
		return 0, io.EOF
	}
	if int64(len(p)) > l.left {
		p = p[:l.left]
	}
	n, err := l.d.src.Read(p)
	l.left -= int64(n)
	if err != nil && l.left > 0 {
		l.d.err = fmt.Errorf("%w: %w", ErrCut, err)
		return n, l.d.err
	}
	return n, nil
}

// Close drops what was not read and makes the line after the literal the decoder's current one.
func (l *Literal) Close() {
	d := l.d
	if d.err != nil {
		return
	}
	if err := l.Accept(); err != nil {
		return
	}
	if _, err := io.Copy(io.Discard, l); err != nil {
		return
	}
	d.lit = nil
	d.readLine()
}

// literal reads a literal into memory.
func (d *Decoder) literal() string {
	l := d.header()
	if l == nil {
		return ""
	}
	if l.Size > int64(d.lits) {
		d.refuse(l, errLiterals)
		return ""
	}
	d.lits -= max(int(l.Size), literalCost)
	d.lit = l
	b := make([]byte, l.Size)
	if _, err := io.ReadFull(l, b); err != nil && l.Size > 0 {
		return ""
	}
	if l.Close(); d.err != nil {
		return ""
	}
	if !l.Binary && hasNUL(b) {
		d.Fail(errNUL) // RFC 9051 §9: CHAR8 excludes NUL
		return ""
	}
	return string(b)
}

// hasNUL looks for what only a literal8 may hold.
func hasNUL(b []byte) bool {
	for _, c := range b {
		if c == 0 {
			return true
		}
	}
	return false
}

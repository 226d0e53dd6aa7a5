package imap

import (
	"errors"
	"fmt"
	"io"

	"tram/internal/limits"
)

// Source is where a decoder's bytes come from; a server's connection is one.
type Source interface {
	// ReadLine returns the next line without its CRLF, at most max bytes. The slice is valid until
	// the next call. With an error the slice is nil, unless the line was complete but malformed.
	ReadLine(max int) ([]byte, error)
	io.Reader
}

// Limits bound one command; sizes are in bytes.
type Limits struct {
	Line     int // text outside of literals
	Literals int // sum of the literals that are held in memory
	NonSync  int // one non-synchronising literal (LITERAL-, RFC 7888 §5); 0: no bound of its own
	Quoted   int // one quoted string
	Depth    int // nested parentheses and search keys
	Ranges   int // of one number set
	Keyword  int // one flag
}

// BeforeLogin returns the limits for a client that is not authenticated.
func BeforeLogin(l limits.IMAP) Limits {
	return Limits{
		Line: l.PreAuthLine, Literals: l.PreAuthLiterals, NonSync: 4096,
		Quoted: min(l.Quoted, l.PreAuthLine), Depth: l.Depth, Ranges: l.Ranges,
		Keyword: l.KeywordBytes,
	}
}

// AfterLogin returns the limits for an authenticated client.
func AfterLogin(l limits.IMAP) Limits {
	return Limits{
		Line: l.Line, Literals: l.Literals, Quoted: l.Quoted, Depth: l.Depth, Ranges: l.Ranges,
		Keyword: l.KeywordBytes,
	}
}

// The decoder reads a command piece by piece: a line, and where the line ends in a literal's
// announcement, the literal and the line after it. Only the present line is at hand, in the source's
// own buffer; what the grammar methods return is copied out of it.

// literalCost is what even an empty literal takes from Limits.Literals, so that a flood of them
// ends.
const literalCost = 16

// maxDrain is how much of a refused non-synchronising literal is read and dropped so that the
// session can go on.
const maxDrain = 100 << 20

// Decoder reads one command after another. The methods named after grammar rules consume what they
// return; at the first error they stop consuming and return zero values, and Err tells why.
type Decoder struct {
	// UTF8 is set once the client enabled UTF8=ACCEPT or IMAP4rev2: mailbox names are UTF-8 then,
	// modified UTF-7 before (RFC 9051 §5.1, RFC 6855 §3).
	UTF8 bool
	// Continue is called when a synchronising literal is wanted: it sends the continuation request
	// and flushes. nil for a decoder of responses.
	Continue func() error

	src    Source
	limits Limits

	line  []byte // the current piece of the command
	pos   int
	text  int // of Limits.Line still unused
	lits  int // of Limits.Literals still unused
	depth int
	lit   *Literal // a streamed literal that has not been closed
	owed  int64    // bytes of a refused non-synchronising literal to drop; -1: none
	err   error
}

// NewDecoder returns a decoder that reads from src.
func NewDecoder(src Source, l Limits) *Decoder { return &Decoder{src: src, limits: l} }

// SetLimits replaces the limits, from the next command on.
func (d *Decoder) SetLimits(l Limits) { d.limits = l }

// Next begins a command: it reads its first line. Its error is the source's, not the client's; a
// malformed line is left to Err.
func (d *Decoder) Next() error {
	d.err, d.lit, d.owed, d.depth = nil, nil, -1, 0
	d.text, d.lits = d.limits.Line, d.limits.Literals
	d.readLine()
	if d.line == nil {
		return d.err
	}
	return nil
}

// Reset drops the line, so that an idle session does not hold on to its buffer.
func (d *Decoder) Reset() { d.line, d.pos, d.lit = nil, 0, nil }

// Err returns the first error of the command. It is an *Error where the client is to blame.
func (d *Decoder) Err() error { return d.err }

// Fail records err unless there is an error already.
func (d *Decoder) Fail(err error) {
	if d.err == nil {
		d.err = err
	}
}

// Bad records a syntax error; use it for what the grammar methods cannot see.
func (d *Decoder) Bad(format string, args ...any) {
	if d.err == nil {
		d.err = &Error{Text: fmt.Sprintf(format, args...)}
	}
}

// readLine makes the next line of the command current.
func (d *Decoder) readLine() {
	line, err := d.src.ReadLine(d.text)
	d.line, d.pos = line, 0
	d.text -= len(line)
	if err == nil {
		if line == nil {
			d.line = []byte{}
		}
		return
	}
	if line == nil {
		d.err = fmt.Errorf("read command: %w", err)
		return
	}
	d.Fail(&Error{Text: "Malformed line: " + err.Error()})
}

// Finish leaves the source at the start of the next command: it drops what was not read of this
// one. A non-synchronising literal is on its way whether it was wanted or not (RFC 7888 §4), so it
// is read and dropped; an *Error with Close says that it is too long for that.
func (d *Decoder) Finish() error {
	if lost(d.err) {
		return d.err
	}
	d.err = nil
	switch l := d.lit; {
	case l != nil && (l.started || l.NonSync):
		d.owed = l.left
	case l == nil && d.owed < 0 && d.pos < len(d.line):
		d.owed = pendingLiteral(d.line[d.pos:])
	}
	d.lit = nil
	for d.owed >= 0 {
		if err := d.drop(); err != nil {
			return err
		}
		d.owed = pendingLiteral(d.line)
	}
	d.pos = len(d.line)
	return nil
}

// drop discards the literal that is owed and reads the line after it.
func (d *Decoder) drop() error {
	if d.owed > maxDrain {
		return errLongEnd
	}
	if _, err := io.CopyN(io.Discard, readOnly{d.src}, d.owed); err != nil {
		return fmt.Errorf("drop literal: %w", err)
	}
	d.text = d.limits.Line
	d.readLine()
	if lost(d.err) {
		return d.err
	}
	d.err = nil
	return nil
}

// readOnly hides a WriterTo: CopyN must not take more than it was told.
type readOnly struct{ io.Reader }

// lost reports whether err means that the source itself failed.
func lost(err error) bool { return err != nil && !answerable(err) }

// answerable reports whether err is a client's mistake that leaves the stream in order.
func answerable(err error) bool {
	var e *Error
	return errors.As(err, &e) && !e.Close
}

// pendingLiteral returns the size of the non-synchronising literal that rest announces at its end,
// -1 when there is none.
func pendingLiteral(rest []byte) int64 {
	for i := len(rest) - 1; i >= 0 && i >= len(rest)-24; i-- {
		if rest[i] != '{' {
			continue
		}
		size, nonSync, ok := parseLiteral(rest[i:])
		if ok && nonSync {
			return size
		}
		return -1
	}
	return -1
}

// peek returns the next byte of the line, 0 at its end or after an error.
func (d *Decoder) peek() byte {
	if d.err != nil || d.pos >= len(d.line) {
		return 0
	}
	return d.line[d.pos]
}

// Peek returns the next byte without consuming it, 0 at the end of the line or after an error.
func (d *Decoder) Peek() byte { return d.peek() }

// Try consumes c if it is next and reports whether it was.
func (d *Decoder) Try(c byte) bool {
	if d.err != nil || d.pos >= len(d.line) || d.line[d.pos] != c {
		return false
	}
	d.pos++
	return true
}

// Expect consumes c.
func (d *Decoder) Expect(c byte) {
	if !d.Try(c) && d.err == nil {
		d.Bad("Expected %q%s", c, d.found())
	}
}

// SP consumes the one space between two arguments.
func (d *Decoder) SP() {
	if d.err == nil && d.pos >= len(d.line) {
		d.err = errEndOfLine
		return
	}
	if !d.Try(' ') && d.err == nil {
		d.Bad("Expected a space%s", d.found())
	}
}

// TrySP consumes a space if it is next and more than white space follows: it tells whether there is
// another argument. Several clients end commands with a space (older K-9, Nokia's).
func (d *Decoder) TrySP() bool {
	if d.peek() != ' ' || d.blank() {
		return false
	}
	d.pos++
	return true
}

// blank reports whether only spaces are left.
func (d *Decoder) blank() bool {
	for _, c := range d.line[d.pos:] {
		if c != ' ' {
			return false
		}
	}
	return true
}

// End expects the end of the command.
func (d *Decoder) End() {
	if d.err != nil {
		return
	}
	if !d.blank() {
		d.Bad("Unexpected argument%s", d.found())
		return
	}
	d.pos = len(d.line)
}

// found describes the position of an error without echoing what the client sent.
func (d *Decoder) found() string {
	if d.pos >= len(d.line) {
		return " before the end of the command"
	}
	return fmt.Sprintf(" at column %d", d.pos+1)
}

// List reads "(" [item *(SP item)] ")", calling item for each.
func (d *Decoder) List(item func()) {
	d.Expect('(')
	if d.Try(')') {
		return
	}
	d.enter()
	for d.err == nil {
		item()
		if d.Try(')') {
			break
		}
		d.SP()
	}
	d.depth--
}

// enter goes one level deeper; every enter is followed by a decrement of depth.
func (d *Decoder) enter() {
	d.depth++
	if d.depth > d.limits.Depth {
		d.Fail(errTooDeep)
	}
}

// PeekLabel returns the name that is next, as the client wrote it, without consuming it; "" when
// none is.
func (d *Decoder) PeekLabel() string {
	pos := d.pos
	label := string(d.run(isLabel))
	d.pos = pos
	return label
}

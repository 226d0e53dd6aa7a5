package smtp

import (
	"bytes"
	"errors"
	"io"
)

// What can be wrong with a message as it comes in. Each is reported after the message was read to
// its real end, so that the connection stays in step. Answer: 550 5.6.11 for the first two, 552 5.3.4
// for the third.
var (
	ErrBareCR   = errors.New("bare CR in the message")
	ErrBareLF   = errors.New("bare LF in the message")
	ErrTooLarge = errors.New("message over the size limit")
)

// Source is what a DataReader takes bytes from; *bufio.Reader is one. The bytes that Peek returns
// are passed on without a copy, so a large buffer makes large writes.
type Source interface {
	Peek(n int) ([]byte, error)
	Buffered() int
	Discard(n int) (int, error)
}

// dataState is where in a line the next octet stands.
type dataState uint8

const (
	lineStart dataState = iota // after CR LF, or at the very start
	inLine
	afterCR    // the CR is withheld until an LF proves it whole
	afterDot   // a line's first octet was a dot, which is withheld
	afterDotCR // and then a CR
	atEnd
)

// DataReader takes the dot-stuffing off a message that comes after DATA, RFC 5321 §4.5.2. It ends
// at CR LF . CR LF and nowhere else; a message with any other use of CR or LF is refused
// (RFC 5321 §2.3.8), because servers that see line ends in it would see another message.
//
// It runs over the input once, passes on whole runs of lines, and allocates nothing.
type DataReader struct {
	src     Source
	limit   int64
	size    int64
	line    int64 // octets of the current line before this Feed
	longest int64
	state   dataState
	err     error // what is wrong with the message
	werr    error // what is wrong with the writer
}

// NewDataReader reads one message from src. What exceeds limit octets is drained and reported as
// ErrTooLarge; limit <= 0 means none. src may be nil if only Feed is used.
func NewDataReader(src Source, limit int64) *DataReader {
	return &DataReader{src: src, limit: limit}
}

// WriteTo writes the message to w and takes it, with its terminator, from the source. It always
// reads to the end of the message unless the source fails. Errors: the source's
// (io.ErrUnexpectedEOF when it just ends), w's, or one of ErrBareCR, ErrBareLF and ErrTooLarge; w
// has then seen a part of the message.
func (d *DataReader) WriteTo(w io.Writer) (int64, error) {
	for {
		if _, err := d.src.Peek(1); err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return d.size, err
		}
		p, err := d.src.Peek(d.src.Buffered())
		if err != nil {
			return d.size, err
		}
		n, done := d.Feed(w, p)
		if _, err := d.src.Discard(n); err != nil {
			return d.size, err
		}
		if done {
			return d.size, d.Err()
		}
	}
}

// Feed takes the next octets of the message from p, writes what they mean to w, and returns how
// many it used: all of p, unless the message ended within it. It is WriteTo for callers that have
// the bytes in hand. After done, Err tells whether the message is whole.
func (d *DataReader) Feed(w io.Writer, p []byte) (n int, done bool) {
	for n < len(p) && d.state != atEnd {
		switch d.state {
		case lineStart:
			if p[n] == '.' {
				d.state = afterDot
				n++
				continue
			}
			n += d.feedLines(w, p[n:])
		case inLine:
			n += d.feedLines(w, p[n:])
		case afterCR:
			if p[n] != '\n' {
				d.fail(ErrBareCR)
				d.state = inLine
				continue
			}
			d.emit(w, crlf)
			d.endLine(0)
			n++
		case afterDot:
			if p[n] == '\r' {
				d.state = afterDotCR
				n++
				continue
			}
			d.state = inLine // the dot was stuffing
		case afterDotCR:
			if p[n] == '\n' {
				d.state = atEnd
				n++
				continue
			}
			d.fail(ErrBareCR)
			d.state = inLine
		}
	}
	return n, d.state == atEnd
}

var crlf = []byte("\r\n")

// feedLines takes octets from the start or the middle of a line until p ends or a line starts with
// a dot, and writes them in one piece. A CR that ends p is withheld.
func (d *DataReader) feedLines(w io.Writer, p []byte) int {
	pos, lines := 0, 0
	for {
		i := bytes.IndexByte(p[pos:], '\n')
		if i < 0 {
			break
		}
		lf := pos + i
		if lf == 0 || p[lf-1] != '\r' {
			// Not a line end: whatever follows, a dot included, is still in this line.
			d.fail(ErrBareLF)
			d.state = inLine
			d.line += int64(i + 1)
			pos = lf + 1
			continue
		}
		d.endLine(int64(i - 1))
		lines++
		if pos = lf + 1; pos < len(p) && p[pos] == '.' {
			break
		}
	}
	used := pos
	if d.state != lineStart || pos == len(p) || p[pos] != '.' {
		used = len(p)
		if pos < used {
			d.state = inLine
			d.line += int64(used - pos)
		}
	}
	run := p[:used]
	if n := len(run); run[n-1] == '\r' {
		run, d.state = run[:n-1], afterCR
		d.line--
	}
	// Every CR left must belong to one of the line ends found.
	if bytes.Count(run, crlf[:1]) != lines {
		d.fail(ErrBareCR)
	}
	d.emit(w, run)
	return used
}

// endLine notes a line's end, n octets after those counted before.
func (d *DataReader) endLine(n int64) {
	d.longest = max(d.longest, d.line+n)
	d.line = 0
	d.state = lineStart
}

// fail keeps the first thing that is wrong with the message.
func (d *DataReader) fail(err error) {
	if d.err == nil {
		d.err = err
	}
}

// emit writes a run, unless it is known that the message will be refused.
func (d *DataReader) emit(w io.Writer, run []byte) {
	if d.err != nil || d.werr != nil || len(run) == 0 {
		return
	}
	if d.limit > 0 && d.size+int64(len(run)) > d.limit {
		d.fail(ErrTooLarge)
		return
	}
	n, err := w.Write(run)
	d.size += int64(n)
	d.werr = err
}

// Err returns the writer's error, or what is wrong with the message so far.
func (d *DataReader) Err() error {
	if d.werr != nil {
		return d.werr
	}
	return d.err
}

// Size returns the octets written so far.
func (d *DataReader) Size() int64 { return d.size }

// Longest returns the length of the longest line so far, in octets without CR LF. RFC 5321
// §4.5.3.1.6 allows 998; what to do with more is for the server to say.
func (d *DataReader) Longest() int64 { return max(d.longest, d.line) }

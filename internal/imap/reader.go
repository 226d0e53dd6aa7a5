package imap

import (
	"bufio"
	"bytes"
	"errors"
	"io"
)

// ErrLine is returned by a reader for a line that is too long or does not end in CRLF.
var ErrLine = errors.New("malformed line")

// reader is a Source on any io.Reader: the client's side of a connection.
type reader struct {
	*bufio.Reader
	long []byte
}

// NewReader returns a Source that reads from r: for tests and tools; servers have their own.
func NewReader(r io.Reader) Source { return newReader(r) }

func newReader(r io.Reader) *reader { return &reader{Reader: bufio.NewReaderSize(r, 32<<10)} }

// ReadLine implements Source.
func (r *reader) ReadLine(max int) ([]byte, error) {
	line, err := r.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		r.long = r.long[:0]
		for errors.Is(err, bufio.ErrBufferFull) && len(r.long) <= max {
			r.long = append(r.long, line...)
			line, err = r.ReadSlice('\n')
		}
		r.long = append(r.long, line...)
		line = r.long
	}
	switch {
	case errors.Is(err, io.EOF) && len(line) > 0:
		return nil, io.ErrUnexpectedEOF
	case err != nil && !errors.Is(err, bufio.ErrBufferFull):
		return nil, err
	case len(line) > max+2 || !bytes.HasSuffix(line, []byte("\r\n")):
		return nil, ErrLine
	}
	return line[:len(line)-2], nil
}

package unpack

import (
	"errors"
	"fmt"
	"io"
)

// ErrTooLong says that one token of a document is longer than is allowed.
var ErrTooLong = errors.New("a text or tag is too long")

// Leash lets a decoder read so much and no more until it comes back with a token: the decoder would
// else collect a text of any length in memory. It is an io.ByteReader, so that a decoder which can
// work by the byte reads nothing ahead.
type Leash struct {
	r    io.Reader
	buf  [4096]byte
	next []byte
	used int
	most int
	err  error // of the reader or of the leash, not io.EOF
}

// NewLeash returns a reader of r that gives at most so many bytes until Reset is called.
func NewLeash(r io.Reader, most int) *Leash { return &Leash{r: r, most: most} }

// Reset lets the whole length be read again.
func (l *Leash) Reset() { l.used = 0 }

// Widen allows for a decoder of another charset in between, which reads ahead.
func (l *Leash) Widen() { l.most += 16 << 10 }

// Err is why reading ended, nil for the end of the document.
func (l *Leash) Err() error { return l.err }

// ReadByte implements io.ByteReader.
func (l *Leash) ReadByte() (byte, error) {
	var b [1]byte
	_, err := io.ReadFull(l, b[:])
	return b[0], err
}

// Read implements io.Reader.
func (l *Leash) Read(p []byte) (int, error) {
	if l.used >= l.most {
		l.err = fmt.Errorf("%w: more than %d bytes", ErrTooLong, l.most)
		return 0, l.err
	}
	for len(l.next) == 0 {
		n, err := l.r.Read(l.buf[:])
		l.next = l.buf[:n]
		if n == 0 && err != nil {
			if err != io.EOF {
				l.err = err
			}
			return 0, err
		}
	}
	n := copy(p[:min(len(p), l.most-l.used)], l.next)
	l.next, l.used = l.next[n:], l.used+n
	return n, nil
}

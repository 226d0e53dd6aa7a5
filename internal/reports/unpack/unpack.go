// Package unpack answers "what is the file inside of this attachment?": gzip, zip or neither, told by
// its first bytes and not by what the sender called it.
//
// It promises that everything is read as a stream: memory does not grow with what is inside, and
// reading ends with an error when more comes out than the limits allow, in bytes or in proportion to
// what went in. Only the local headers of a zip archive are looked at, in the order in which they
// stand, so that an archive is never held in memory to find its directory at the end.
//
// What must never happen: a few kilobytes keep the server busy for minutes or fill its memory.
package unpack

import (
	"bufio"
	"compress/flate"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"tram/internal/limits"
)

// What stops reading. The errors that fn of Each gets from its reader wrap them.
var (
	// ErrTooLarge says that more came out, or went in, than is allowed.
	ErrTooLarge = errors.New("report is too large")
	// ErrRatio says that little went in and very much came out.
	ErrRatio = errors.New("report is packed suspiciously well")
	// ErrDamaged says that the archive is not what it should be.
	ErrDamaged = errors.New("archive is damaged")
)

// free is what may be unpacked before the ratio counts.
const free = 1 << 20

// Each calls fn with every file inside of r, of which the first that fn takes (returns nil for) ends
// the search: a plain file is itself, a gzip file is one file, a zip archive is as many as the limits
// allow. It returns nil when fn took a file, else what went wrong with the last one.
func Each(r io.Reader, l limits.Reports, fn func(io.Reader) error) error {
	in := &counted{r: r, left: l.Packed}
	b := bufio.NewReader(in)
	out := &meter{in: in, limits: l}
	head, err := b.Peek(4)
	if err != nil && len(head) < 2 {
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	switch {
	case head[0] == 0x1f && head[1] == 0x8b:
		z, err := gzip.NewReader(b)
		if err != nil {
			return fmt.Errorf("%w: %w", ErrDamaged, in.or(err))
		}
		return fn(out.of(z))
	case string(head) == localHeader:
		return zipFiles(b, out, fn)
	default:
		return fn(out.of(b))
	}
}

// counted counts what goes in.
type counted struct {
	r    io.Reader
	n    int64
	left int64
	err  error
}

func (c *counted) Read(p []byte) (int, error) {
	if c.left <= 0 {
		// One byte more tells an end from too much.
		var one [1]byte
		if n, err := c.r.Read(one[:]); n == 0 && err != nil {
			return 0, err
		}
		c.err = ErrTooLarge
		return 0, c.err
	}
	n, err := c.r.Read(p[:min(int64(len(p)), c.left)])
	c.n, c.left = c.n+int64(n), c.left-int64(n)
	return n, err
}

// or prefers the reason why nothing more was read to what a decoder made of that.
func (c *counted) or(err error) error {
	if c.err != nil {
		return c.err
	}
	return err
}

// meter counts what comes out, of all files together.
type meter struct {
	in     *counted
	limits limits.Reports
	n      int64
}

func (m *meter) of(r io.Reader) io.Reader { return &metered{m, r} }

type metered struct {
	m *meter
	r io.Reader
}

// Read implements io.Reader.
func (d *metered) Read(p []byte) (int, error) {
	n, err := d.r.Read(p)
	m := d.m
	m.n += int64(n)
	switch {
	case m.n > m.limits.Unpacked:
		return 0, ErrTooLarge
	case m.n > free && m.n/int64(m.limits.Ratio) > m.in.n:
		return 0, ErrRatio
	case err != nil && err != io.EOF:
		err = m.in.or(err)
		if !errors.Is(err, ErrTooLarge) {
			err = fmt.Errorf("%w: %w", ErrDamaged, err)
		}
	}
	return n, err
}

// Signatures of a zip archive's records, PKWARE APPNOTE 4.3.
const (
	localHeader = "PK\x03\x04"
	descriptor  = "PK\x07\x08"
	zipMark     = "PK"
)

// zipEntry is a local file header, APPNOTE 4.3.7.
type zipEntry struct {
	flags, method uint16
	crc           uint32
	packed        int64
	folder        bool
}

// Bits of zipEntry.flags.
const (
	zipEncrypted = 1 << 0
	zipTrailing  = 1 << 3 // checksum and sizes follow the file
)

// zipFiles goes through the files of an archive.
func zipFiles(b *bufio.Reader, out *meter, fn func(io.Reader) error) error {
	last := fmt.Errorf("%w: nothing in it", ErrDamaged)
	for i := 0; ; i++ {
		head, err := b.Peek(4)
		if err != nil || string(head) != localHeader {
			return last
		}
		if i >= out.limits.Files {
			return fmt.Errorf("%w: more than %d files", ErrTooLarge, out.limits.Files)
		}
		e, err := takeEntry(b)
		if err != nil {
			return fmt.Errorf("%w: %w", ErrDamaged, out.in.or(err))
		}
		took, err := zipFile(b, out, e, fn)
		if took || errors.Is(err, ErrTooLarge) || errors.Is(err, ErrRatio) || errors.Is(err, ErrDamaged) {
			return err
		}
		if err != nil {
			last = err
		}
	}
}

func takeEntry(b *bufio.Reader) (zipEntry, error) {
	var h [30]byte
	if _, err := io.ReadFull(b, h[:]); err != nil {
		return zipEntry{}, err
	}
	le := binary.LittleEndian
	e := zipEntry{flags: le.Uint16(h[6:]), method: le.Uint16(h[8:]), crc: le.Uint32(h[14:]),
		packed: int64(le.Uint32(h[18:]))}
	name := make([]byte, le.Uint16(h[26:]))
	if _, err := io.ReadFull(b, name); err != nil {
		return e, err
	}
	e.folder = len(name) > 0 && name[len(name)-1] == '/'
	_, err := b.Discard(int(le.Uint16(h[28:])))
	return e, err
}

// zipFile hands one file over. What fn leaves unread is read to its end, so that the checksum is
// compared and the next file found.
func zipFile(b *bufio.Reader, out *meter, e zipEntry, fn func(io.Reader) error) (took bool, err error) {
	var r io.Reader
	switch {
	case e.flags&zipEncrypted != 0:
		return false, fmt.Errorf("%w: encrypted", ErrDamaged)
	case e.method == 8:
		r = flate.NewReader(b) // reads no byte too many of an io.ByteReader
	case e.method == 0 && e.flags&zipTrailing == 0:
		r = io.LimitReader(b, e.packed)
	default:
		return false, fmt.Errorf("%w: compression method %d", ErrDamaged, e.method)
	}
	sum := crc32.NewIEEE()
	file := io.TeeReader(out.of(r), sum)
	if e.folder {
		err = errFolder
	} else {
		err = fn(file)
	}
	if errors.Is(err, ErrTooLarge) || errors.Is(err, ErrRatio) {
		return false, err
	}
	took = err == nil
	if _, rest := io.Copy(io.Discard, file); rest != nil {
		return false, rest
	}
	if e.flags&zipTrailing != 0 {
		var crc error
		if e.crc, crc = takeDescriptor(b); crc != nil {
			return false, fmt.Errorf("%w: %w", ErrDamaged, out.in.or(crc))
		}
	}
	if sum.Sum32() != e.crc {
		return false, fmt.Errorf("%w: wrong checksum", ErrDamaged)
	}
	return took, err
}

// takeDescriptor reads what follows a file whose size was not known before it, APPNOTE 4.3.9: with or
// without its signature, with sizes of 4 or of 8 bytes. Which of them it is shows where the next
// record begins.
func takeDescriptor(b *bufio.Reader) (crc uint32, err error) {
	head, err := b.Peek(4)
	if err != nil {
		return 0, err
	}
	signed := string(head) == descriptor
	if signed {
		if _, err := b.Discard(4); err != nil {
			return 0, err
		}
	}
	next, err := b.Peek(20 + len(zipMark))
	for _, size := range [...]int{12, 20} {
		if len(next) >= size+len(zipMark) && string(next[size:size+len(zipMark)]) == zipMark {
			_, err := b.Discard(size)
			return binary.LittleEndian.Uint32(next), err
		}
	}
	if err == nil {
		err = errors.New("no next record")
	}
	return 0, err
}

var errFolder = errors.New("archive holds a folder only")

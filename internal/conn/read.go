package conn

import (
	"bytes"
	"errors"
	"io"
	"os"
	"syscall"
	"time"
)

// floodBytes is how far beyond its limit a line may go before the session must end: so much is
// read and dropped, in the one buffer the session has, to keep in step with the client.
const floodBytes = 64 << 10

// directRead is the size from which Read goes past the buffer.
const directRead = smallBuffer

// ReadLine returns the next line without its CRLF. The slice is part of the read buffer and valid
// until the next call that reads.
//
// A line of more than max bytes is dropped: ErrLineTooLong when its end was found, ErrFlood when
// not. A line that ends in a bare LF, or has a CR in its middle, is returned with ErrBareLF or
// ErrBareCR; what to do with it is the protocol's decision. The input's end gives io.EOF between
// lines and io.ErrUnexpectedEOF inside one.
func (c *Conn) ReadLine(max int) ([]byte, error) {
	searched := 0
	for {
		if i := bytes.IndexByte(c.in[c.r+searched:c.w], '\n'); i >= 0 {
			line := c.in[c.r : c.r+searched+i]
			c.r += len(line) + 1
			return strict(line, max)
		}
		searched = c.w - c.r
		if searched > max+1 {
			return nil, c.skipLine()
		}
		if err := c.fill(); err != nil {
			if err == io.EOF && searched > 0 {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
	}
}

// strict takes the CR off a line and finds what is wrong with it.
func strict(line []byte, max int) ([]byte, error) {
	n := len(line) - 1
	if n < 0 || line[n] != '\r' {
		if len(line) > max {
			return nil, ErrLineTooLong
		}
		return line, ErrBareLF
	}
	line = line[:n]
	if len(line) > max {
		return nil, ErrLineTooLong
	}
	if bytes.IndexByte(line, '\r') >= 0 {
		return line, ErrBareCR
	}
	return line, nil
}

// skipLine drops input up to the next LF.
func (c *Conn) skipLine() error {
	for dropped := 0; dropped < floodBytes; {
		if i := bytes.IndexByte(c.in[c.r:c.w], '\n'); i >= 0 {
			c.r += i + 1
			return ErrLineTooLong
		}
		dropped += c.w - c.r
		c.r = c.w
		if err := c.fill(); err != nil {
			return err
		}
	}
	return ErrFlood
}

// Buffered returns the number of bytes that were received and not yet consumed.
func (c *Conn) Buffered() int { return c.w - c.r }

// Peek returns the buffered input, at least one byte: it reads when there is none. The slice is
// valid until the next call that reads; Discard consumes from its front.
func (c *Conn) Peek() ([]byte, error) {
	if c.r == c.w {
		if err := c.fill(); err != nil {
			return nil, err
		}
	}
	return c.in[c.r:c.w], nil
}

// Discard consumes n bytes, at most Buffered().
func (c *Conn) Discard(n int) { c.r = min(c.r+n, c.w) }

// Read implements io.Reader. Large reads with nothing buffered go past the buffer.
func (c *Conn) Read(p []byte) (int, error) {
	if c.r == c.w {
		if len(p) >= directRead {
			return c.readInto(p)
		}
		if err := c.fill(); err != nil {
			return 0, err
		}
	}
	n := copy(p, c.in[c.r:c.w])
	c.r += n
	return n, nil
}

// fill adds at least one byte to the buffer. Pending output goes out first: the client may be
// waiting for it before it says more.
func (c *Conn) fill() error {
	if c.r == c.w && c.rc != nil {
		// Whatever slice an earlier call returned is void now.
		c.releaseIn()
		if err := c.Flush(); err != nil {
			return err
		}
		return c.fillWaiting()
	}
	c.makeRoom()
	n, err := c.readInto(c.in[c.w:])
	c.w += n
	return err
}

// makeRoom moves the buffered bytes to the front, into a larger buffer if they fill this one. Who
// reads on without consuming is bounded by its own limit (ReadLine's max), not here.
func (c *Conn) makeRoom() {
	if c.r == c.w && c.bulk && len(c.in) < largeBuffer {
		c.releaseIn()
	}
	if c.in == nil {
		c.in = borrow(c.class())
	}
	if c.r > 0 {
		c.w = copy(c.in, c.in[c.r:c.w])
		c.r = 0
	}
	if c.w < len(c.in) {
		return
	}
	var larger []byte
	if len(c.in) < largeBuffer {
		larger = borrow(largeBuffer)
	} else {
		larger = make([]byte, 2*len(c.in))
	}
	copy(larger, c.in[:c.w])
	giveBack(c.in)
	c.in = larger
}

// fillWaiting waits for input without holding a buffer and puts it into a borrowed one.
func (c *Conn) fillWaiting() error {
	if c.z != nil {
		return c.inflateWaiting()
	}
	buf, n, err := c.await()
	if err != nil {
		return err
	}
	c.in, c.r, c.w = buf, 0, n
	c.received(n)
	return nil
}

// await waits for input without holding a buffer and returns it in a borrowed one.
func (c *Conn) await() ([]byte, int, error) {
	if err := c.armRead(); err != nil {
		return nil, 0, err
	}
	if c.below != nil {
		return c.awaitTLS()
	}
	if c.rc == nil {
		return c.awaitOne()
	}
	c.got, c.readN, c.readErr = nil, 0, nil
	err := c.rc.Read(c.try)
	if err == nil {
		err = c.readErr
	}
	if err != nil {
		return nil, 0, c.readFailed(err)
	}
	buf := c.got
	c.got = nil
	return buf, c.readN, nil
}

// readReady is called by the poller when the socket may have input: only then is a buffer
// borrowed, and the read is still a single system call.
func (c *Conn) readReady(fd uintptr) bool {
	buf := borrow(c.class())
	for {
		n, err := syscall.Read(int(fd), buf)
		switch {
		case err == syscall.EINTR:
			continue
		case err == syscall.EAGAIN:
			giveBack(buf)
			return false
		case err != nil:
			giveBack(buf)
			c.readErr = os.NewSyscallError("read", err)
		case n == 0:
			giveBack(buf)
			c.readErr = io.EOF
		default:
			c.got, c.readN = buf, n
		}
		return true
	}
}

// awaitTLS waits at the socket, and not in crypto/tls, whose reads stand so deep on the stack that
// an idle session would keep 8 KiB of it instead of 4. What came is handed to crypto/tls through the
// transport; the system calls are the same. Reading a single byte tells whether a record is complete:
// the rest of it lies ready then.
func (c *Conn) awaitTLS() ([]byte, int, error) {
	for {
		c.below.noWait = true
		n, err := c.nc.Read(c.one[:])
		c.below.noWait = false
		switch {
		case n > 0:
			buf := borrow(c.class())
			buf[0] = c.one[0]
			return buf, 1, nil
		case err != nil && !errors.Is(err, errNothing):
			return nil, 0, c.readFailed(err)
		}
		c.got, c.readN, c.readErr = nil, 0, nil
		err = c.peek.Read(c.try)
		if err == nil {
			err = c.readErr
		}
		if errors.Is(err, io.EOF) {
			return c.awaitOne() // crypto/tls knows whether the end is one
		}
		if err != nil {
			return nil, 0, c.readFailed(err)
		}
		c.below.lead, c.below.lent, c.got = c.got[:c.readN], c.got, nil
	}
}

// awaitOne waits in a read of a single byte, for connections without a descriptor: pipes in tests.
func (c *Conn) awaitOne() ([]byte, int, error) {
	for {
		n, err := c.nc.Read(c.one[:])
		if n > 0 {
			buf := borrow(c.class())
			buf[0] = c.one[0]
			return buf, 1, nil
		}
		if err != nil {
			return nil, 0, c.readFailed(err)
		}
	}
}

func (c *Conn) class() int {
	if c.bulk {
		return largeBuffer
	}
	return smallBuffer
}

// readInto reads once into p, after pending output.
func (c *Conn) readInto(p []byte) (int, error) {
	if err := c.Flush(); err != nil {
		return 0, err
	}
	if c.z != nil {
		return c.inflateInto(p)
	}
	if err := c.armRead(); err != nil {
		return 0, err
	}
	n, err := c.nc.Read(p)
	if n > 0 {
		// An error that came with data comes again with the next read.
		c.received(n)
		return n, nil
	}
	if err == nil {
		return 0, nil
	}
	return 0, c.readFailed(err)
}

// received counts n bytes; a read that filled a buffer makes the next one large.
func (c *Conn) received(n int) {
	c.nin += int64(n)
	c.rateBytes += int64(n)
	if n > 1 {
		c.bulk = n >= smallBuffer
	}
}

func (c *Conn) readFailed(err error) error {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		c.armedR = time.Time{}
		return ErrTimeout
	}
	return err
}

// Arrived reports whether the client has sent something that is not consumed yet, buffered or still
// in the kernel, without waiting for it: who talks before the greeting is caught by it. Under TLS
// what crypto/tls has read and not yet handed on does not count.
func (c *Conn) Arrived() bool {
	if c.w > c.r {
		return true
	}
	if c.peek == nil {
		return false
	}
	has := false
	err := c.peek.Read(func(fd uintptr) bool {
		var b [1]byte
		n, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		has = err == nil && n > 0
		return true
	})
	return err == nil && has
}

func (c *Conn) releaseIn() {
	if c.in != nil {
		giveBack(c.in)
		c.in = nil
	}
	c.r, c.w = 0, 0
}

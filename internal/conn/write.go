package conn

import (
	"net"
	"time"
)

// directWrite is the size from which a Write is not copied into the buffer.
const directWrite = 4 << 10

// writePiece bounds one write to the network, so that the stall deadline measures progress and not
// the size of the payload.
const writePiece = 256 << 10

// Write appends p to the output. Output leaves when the session next waits for input, on Flush, and
// when a buffer is full. Large p are written from p itself. After an error every later Write
// returns it too.
func (c *Conn) Write(p []byte) (int, error) {
	if c.werr != nil {
		return 0, c.werr
	}
	if len(p) >= directWrite {
		return len(p), c.writeThrough(p)
	}
	if c.out == nil {
		c.borrowOut(smallBuffer)
	}
	if len(c.out)+len(p) > cap(c.out) {
		if err := c.Flush(); err != nil {
			return 0, err
		}
		// A session that fills a buffer with small writes is listing something: lend it more.
		c.borrowOut(largeBuffer)
	}
	c.out = append(c.out, p...)
	return len(p), nil
}

// WriteString is Write for a string.
func (c *Conn) WriteString(s string) (int, error) {
	if c.werr != nil || len(s) >= directWrite || c.out == nil || len(c.out)+len(s) > cap(c.out) {
		return c.Write([]byte(s))
	}
	c.out = append(c.out, s...)
	return len(s), nil
}

// AvailableBuffer returns an empty slice with the room that is left in the output buffer (512 bytes
// at least), meant to be appended to and handed to the very next Write, as bufio.Writer's is.
func (c *Conn) AvailableBuffer() []byte {
	if c.out == nil {
		c.borrowOut(smallBuffer)
	}
	if cap(c.out)-len(c.out) < 512 {
		// A failed flush is sticky and comes back from the Write that follows.
		if c.Flush() != nil || c.out == nil {
			return nil
		}
	}
	return c.out[len(c.out):]
}

// Flush sends what was written.
func (c *Conn) Flush() error {
	if len(c.out) == 0 || c.werr != nil {
		return c.werr
	}
	err := c.send(c.out)
	c.out = c.out[:0]
	return err
}

// writeThrough sends the pending output and p, in one system call where the socket allows it.
func (c *Conn) writeThrough(p []byte) error {
	if c.tls == nil && !c.Compressing() && len(c.out) > 0 && len(p) <= writePiece {
		if err := c.armWrite(); err != nil {
			return c.failWrite(err)
		}
		pair := net.Buffers{c.out, p}
		n, err := pair.WriteTo(c.nc)
		c.nout += n
		c.out = c.out[:0]
		return c.failWrite(err)
	}
	if err := c.Flush(); err != nil {
		return err
	}
	return c.send(p)
}

// send sends p.
func (c *Conn) send(p []byte) error {
	if c.Compressing() {
		return c.sendDeflated(p, false)
	}
	n, err := c.sendWire(p)
	c.nout += int64(n)
	return c.failWrite(err)
}

// sendWire writes p piece by piece, each with its own deadline.
func (c *Conn) sendWire(p []byte) (sent int, err error) {
	for sent < len(p) {
		if err := c.armWrite(); err != nil {
			return sent, err
		}
		n, err := c.nc.Write(p[sent:][:min(len(p)-sent, writePiece)])
		sent += n
		if err != nil {
			return sent, err
		}
	}
	return sent, nil
}

func (c *Conn) failWrite(err error) error {
	if err != nil {
		c.werr = err
		c.out = c.out[:0]
	}
	return err
}

// armWrite gives the next write Options.WriteStall. It is set anew only when a noticeable part of
// the last setting is gone: a timer per small reply would cost more than the reply.
func (c *Conn) armWrite() error {
	stall := c.server.o.WriteStall
	now := time.Now()
	if c.armedW.Sub(now) > stall-stall/8 {
		return nil
	}
	c.armedW = now.Add(stall)
	return c.nc.SetWriteDeadline(c.armedW)
}

// borrowOut makes c.out an empty buffer of the class.
func (c *Conn) borrowOut(class int) {
	if cap(c.out) >= class {
		return
	}
	c.releaseOut()
	c.out = borrow(class)[:0]
}

func (c *Conn) releaseOut() {
	if c.out != nil {
		giveBack(c.out)
		c.out = nil
	}
}

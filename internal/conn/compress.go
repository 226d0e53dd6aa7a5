package conn

import (
	"io"

	"github.com/klauspost/compress/flate"
)

const (
	// deflatePiece is compressed at once: with what it may grow by it fits into a large buffer.
	deflatePiece = 24 << 10
	// keepSent is how much of what was sent last is kept for the next reply to refer to: with it
	// short replies shrink to 28 % of their size, with none to 90 %, with eight times as much to
	// 27 %. lookBack is how much there is to refer to inside of a long one.
	keepSent = 512
	lookBack = 8 << 10
)

// compression is what a connection holds that compresses, RFC 4978: what was sent last, and the
// window into what was received, which is as long as that. Deflating keeps no state between two
// writes, because a compressor's is some hundred kilobytes.
type compression struct {
	in     inflater
	raw    []byte // borrowed; raw[r:w] came and is not inflated yet
	r, w   int
	silent int // bytes that came since there was output
	sent   []byte
	// ending: output goes as it is, and input too from the edge of the stream.
	ending bool
}

// release gives the buffer of input back if nothing is in it.
func (z *compression) release() {
	if z.r == z.w && z.raw != nil {
		giveBack(z.raw)
		z.raw, z.r, z.w = nil, 0, 0
	}
}

// Compressing reports whether StartCompression was called, and nothing ended it.
func (c *Conn) Compressing() bool { return c.z != nil && !c.z.ending }

// StartCompression sends what was written as it is; from then on both directions are DEFLATE
// streams. All limits count what is inside of them, and so does Traffic. Whatever is written leaves
// in full with each flush, and a byte of input can be read as soon as the bits of it have come.
//
// Input that is buffered came before the client could know: ErrInjected.
func (c *Conn) StartCompression() error {
	if c.Buffered() > 0 || c.z != nil {
		return ErrInjected
	}
	if err := c.Flush(); err != nil {
		return err
	}
	c.z = &compression{}
	return nil
}

// StopCompression sends what was written and ends the stream of output; what is written later goes
// as it is. The client's stream ends with the bytes that were read last, and the flush behind them
// (RFC 8437 §4.1): what comes behind that is read as it is. More in the stream is ErrDeflate, from
// here or from the next read.
func (c *Conn) StopCompression() error {
	z := c.z
	if z == nil || z.ending {
		return nil
	}
	if c.Buffered() > 0 {
		return ErrDeflate
	}
	return c.endStream()
}

// endStream sends what was written and ends the stream of output.
func (c *Conn) endStream() error {
	if c.werr != nil {
		return c.werr
	}
	c.z.ending = true
	err := c.sendDeflated(c.out, true)
	c.out = c.out[:0]
	c.z.sent = nil
	return err
}

// deflated gathers what the compressor puts out.
type deflated struct{ b []byte }

func (d *deflated) Write(p []byte) (int, error) {
	d.b = append(d.b, p...)
	return len(p), nil
}

// sendDeflated compresses p and sends it, with a flush behind it or, with end, the stream's end.
func (c *Conn) sendDeflated(p []byte, end bool) error {
	dict := c.z.sent
	for first := true; first || len(p) > 0; first = false {
		piece := p[:min(len(p), deflatePiece)]
		p = p[len(piece):]
		d := deflated{borrow(largeBuffer)[:0]}
		err := flate.StatelessDeflate(&d, piece, end && len(p) == 0, dict)
		if err == nil {
			_, err = c.sendWire(d.b)
		}
		giveBack(d.b)
		if err != nil {
			return c.failWrite(err)
		}
		c.nout += int64(len(piece))
		c.z.keep(piece)
		dict = piece[max(0, len(piece)-lookBack):]
	}
	return nil
}

// keep remembers the end of what was sent.
func (z *compression) keep(piece []byte) {
	if z.sent == nil {
		z.sent = make([]byte, 0, keepSent)
	}
	if over := len(z.sent) + len(piece) - keepSent; over > 0 {
		z.sent = z.sent[:copy(z.sent, z.sent[min(over, len(z.sent)):])]
	}
	z.sent = append(z.sent, piece[max(0, len(piece)-keepSent):]...)
}

// inflateWaiting is fillWaiting for a connection that compresses: while it waits it holds no buffer
// but the window.
func (c *Conn) inflateWaiting() error {
	for c.z != nil {
		if c.in == nil {
			c.in = borrow(c.class())
		}
		n, err := c.inflate(c.in)
		if n > 0 || err != nil {
			c.r, c.w = 0, n
			return err
		}
		if c.z == nil || c.z.r < c.z.w {
			continue
		}
		c.releaseIn()
		if c.z.raw, c.z.w, err = c.await(); err != nil {
			return err
		}
	}
	c.releaseIn()
	return c.fillWaiting()
}

// inflateInto is readInto for a connection that compresses.
func (c *Conn) inflateInto(p []byte) (int, error) {
	for c.z != nil {
		n, err := c.inflate(p)
		if n > 0 || err != nil {
			return n, err
		}
		if c.z == nil || c.z.r < c.z.w {
			continue
		}
		if err := c.armRead(); err != nil {
			return 0, err
		}
		raw := borrow(c.class())
		n, err = c.nc.Read(raw)
		if n == 0 {
			giveBack(raw)
			if err != nil {
				return 0, c.readFailed(err)
			}
			continue
		}
		c.z.raw, c.z.r, c.z.w = raw, 0, n
	}
	return c.readInto(p)
}

// inflate decodes what has come into p, without waiting. It returns 0 when more is needed, at a
// flush, and when compression has ended here, with c.z nil.
func (c *Conn) inflate(p []byte) (int, error) {
	z := c.z
	if z.ending && z.in.atEdge() {
		return c.passOn(p), nil
	}
	n, used, err := z.in.inflate(p, z.raw[z.r:z.w])
	z.r += used
	z.release()
	if err != nil {
		return 0, err
	}
	if z.silent += used; n > 0 {
		z.silent = 0
	}
	switch {
	case n > 0 && z.ending:
		return 0, ErrDeflate
	case n > 0:
		c.received(n)
		return n, nil
	case z.silent > floodBytes:
		return 0, ErrFlood
	case z.in.state == streamEnd && !z.ending:
		return 0, io.EOF // the client has said its last word
	}
	return 0, nil
}

// passOn copies what came behind the end of the client's stream, and ends compression with the last
// of it.
func (c *Conn) passOn(p []byte) int {
	z := c.z
	n := copy(p, z.raw[z.r:z.w])
	z.r += n
	if z.r == z.w {
		c.endCompression()
	}
	if n > 0 {
		c.received(n)
	}
	return n
}

// endCompression gives back what compression has borrowed.
func (c *Conn) endCompression() {
	if c.z == nil {
		return
	}
	c.z.r = c.z.w
	c.z.release()
	c.z.in.dropCodes()
	c.z = nil
}

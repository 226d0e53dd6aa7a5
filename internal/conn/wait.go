package conn

import "time"

// past is a deadline that is over: setting it wakes a blocked read.
var past = time.Unix(1, 0)

// Wait is the place between two commands: it sends pending output and blocks until there is input.
// While it blocks the connection holds no buffer.
//
// Besides io.EOF, ErrTimeout and network errors it returns ErrDraining when the server shuts down
// and ErrInterrupted after Interrupt, both even when input is buffered: a busy client must not keep
// a server from stopping.
func (c *Conn) Wait() error {
	if err := c.enterWait(); err != nil {
		return err
	}
	if c.w > c.r {
		c.leaveWait()
		return nil
	}
	c.releaseIn()
	err := c.Flush()
	c.releaseOut()
	if err == nil {
		err = c.fillWaiting()
	}
	if stop := c.leaveWait(); stop != nil && err == ErrTimeout {
		return stop
	}
	return err
}

// enterWait declares that the session may be woken.
func (c *Conn) enterWait() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.stopped(); err != nil {
		return err
	}
	c.waiting = true
	return nil
}

// leaveWait ends that, and returns why the wait was cut short, if it was. An interruption that
// lost its race against input stays for the next Wait.
func (c *Conn) leaveWait() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.waiting = false
	if !c.interrupted && !c.server.isDraining() {
		return nil
	}
	// The deadline may be in the past now, whoever won.
	c.armedR = time.Time{}
	if c.w > c.r {
		return nil
	}
	return c.stopped()
}

// stopped reports, under c.mu, what must end a wait, and takes note of an interruption.
func (c *Conn) stopped() error {
	if c.server.isDraining() {
		return ErrDraining
	}
	if c.interrupted {
		c.interrupted = false
		return ErrInterrupted
	}
	return nil
}

// Interrupt makes the running Wait, or else the next one, return ErrInterrupted: for IMAP's IDLE and
// the like. Any goroutine may call it. One that comes together with input is reported by the next
// Wait.
func (c *Conn) Interrupt() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.interrupted = true
	c.wake()
}

// wake, under c.mu, ends a blocked wait.
func (c *Conn) wake() {
	if c.waiting {
		// It fails only on a closed socket, whose read fails as well.
		_ = c.nc.SetReadDeadline(past)
	}
}

// SetIdle bounds each wait for input; 0 means no bound.
func (c *Conn) SetIdle(d time.Duration) { c.idle = d }

// SetDeadline bounds the session's reading as a whole; the zero time means no bound.
func (c *Conn) SetDeadline(t time.Time) { c.deadline = t }

// MinRate asks the client for so many bytes per second from now on, after a time of grace: bytes
// that came early count for later, up to what SetIdle allows. 0 ends it.
func (c *Conn) MinRate(bytesPerSecond int, grace time.Duration) {
	c.rate, c.rateBytes = bytesPerSecond, 0
	c.rateFrom = time.Now().Add(grace)
}

// armRead sets the deadline of the next read to the first of the three. A deadline that is early by
// a small part of the idle time is left as it is: setting timers for each read is not free.
func (c *Conn) armRead() error {
	var want time.Time
	slack := time.Duration(0)
	if c.idle > 0 {
		want = time.Now().Add(c.idle)
		slack = min(c.idle/16, 2*time.Second)
	}
	want = earlier(want, c.deadline)
	if c.rate > 0 {
		earned := time.Duration(float64(c.rateBytes) / float64(c.rate) * float64(time.Second))
		want = earlier(want, c.rateFrom.Add(earned))
	}
	if c.setAlready(want, slack) {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.waiting && (c.interrupted || c.server.isDraining()) {
		want = past
	}
	c.armedR = want
	return c.nc.SetReadDeadline(want)
}

// setAlready reports whether the deadline that is set serves for the one wanted.
func (c *Conn) setAlready(want time.Time, slack time.Duration) bool {
	if want.IsZero() || c.armedR.IsZero() {
		return false
	}
	early := want.Sub(c.armedR)
	return early >= 0 && early <= slack
}

// earlier returns the earlier of two deadlines, of which zero means none.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

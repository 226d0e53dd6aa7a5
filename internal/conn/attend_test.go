package conn

import (
	"context"
	"errors"
	"net"
	"testing"

	"tram/internal/conn/conntest"
)

// TestAttend: work ends soon after its client has left, whatever it left behind, in the clear and
// under TLS; a client that waits in silence, or talks ahead, is not taken for one that left.
func TestAttend(t *testing.T) {
	t.Parallel()
	for name, leave := range map[string]func(c *client){
		"close": func(c *client) { c.Close() },
		"close with input unread": func(c *client) {
			c.send("b more\r\n")
			c.Close()
		},
		"reset": func(c *client) {
			if err := c.Conn.(*net.TCPConn).SetLinger(0); err != nil {
				t.Error(err)
			}
			c.Close()
		},
		"close under TLS": nil,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cause := make(chan error, 1)
			o := Options{Handler: func(ctx context.Context, c *Conn) {
				if c.Wait() != nil {
					return
				}
				if _, err := c.ReadLine(100); err != nil {
					return
				}
				work, stop := c.Attend(ctx)
				defer stop()
				<-work.Done()
				cause <- context.Cause(work)
			}}
			if leave == nil {
				o.TLS, _ = conntest.TLS()
				o.Implicit = true
			}
			_, addr := start(t, o)
			c := dial(t, addr)
			if leave == nil {
				c = c.startTLS()
				leave = func(c *client) { c.Close() }
			}
			c.send("a work\r\n")
			leave(c)
			if err := <-cause; !errors.Is(err, ErrLeft) {
				t.Errorf("the work ended with %v, want ErrLeft", err)
			}
		})
	}
}

// TestAttendStays: the work of a client that is there goes on through several looks, and its input
// is still there afterwards.
func TestAttendStays(t *testing.T) {
	t.Parallel()
	_, addr := start(t, Options{Handler: func(ctx context.Context, c *Conn) {
		if c.Wait() != nil {
			return
		}
		if _, err := c.ReadLine(100); err != nil {
			return
		}
		work, stop := c.Attend(ctx)
		short, cancel := context.WithTimeout(work, 3*attendEvery)
		defer cancel()
		<-short.Done()
		if err := context.Cause(work); err != nil {
			t.Errorf("the work of a client that waits ended with %v", err)
		}
		stop()
		stop()
		if !errors.Is(context.Cause(work), context.Canceled) {
			t.Errorf("after stop the cause is %v", context.Cause(work))
		}
		line, err := c.ReadLine(100)
		if err != nil {
			t.Errorf("reading on: %v", err)
		}
		c.Write(append(line, "\r\n"...))
	}})
	c := dial(t, addr)
	c.send("a work\r\nb more\r\n")
	c.want("b more")
}

// TestAttendEndsWithContext: the given context's end is the work's.
func TestAttendEndsWithContext(t *testing.T) {
	t.Parallel()
	_, addr := start(t, Options{Handler: func(ctx context.Context, c *Conn) {
		ctx, cancel := context.WithCancel(ctx)
		work, stop := c.Attend(ctx)
		defer stop()
		cancel()
		<-work.Done()
		c.WriteString(work.Err().Error() + "\r\n")
	}})
	dial(t, addr).want("context canceled")
}

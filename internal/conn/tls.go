package conn

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"slices"
	"time"

	"tram/internal/metrics"
)

var handshakes = metrics.CounterVec("tls_handshakes_total",
	"TLS handshakes, by listener and how they ended.", "listener", "result")

var (
	errWebClient = errors.New("client speaks HTTP, by its ALPN offer")
	errBusy      = errors.New("too many TLS handshakes at once")
)

// transport is the socket below TLS: what was read of it before TLS began comes first, and a place
// among the handshakes that compute is given back with the server's first flight.
type transport struct {
	net.Conn
	lead      []byte
	lent      []byte // the borrowed buffer that lead lies in, nil when it is nobody's
	noWait    bool   // a read that would wait returns errNothing
	shared    *Shared
	computing bool
}

// nothing is a time-out, after which TLS can be read on.
type nothing struct{}

func (nothing) Error() string   { return "nothing to read yet" }
func (nothing) Timeout() bool   { return true }
func (nothing) Temporary() bool { return true }

var errNothing error = nothing{}

func (t *transport) Read(p []byte) (int, error) {
	if len(t.lead) > 0 {
		n := copy(p, t.lead)
		if t.lead = t.lead[n:]; len(t.lead) == 0 {
			t.lead = nil
			giveBack(t.lent)
			t.lent = nil
		}
		return n, nil
	}
	if t.noWait {
		return 0, errNothing
	}
	return t.Conn.Read(p)
}

func (t *transport) Write(p []byte) (int, error) {
	t.release()
	return t.Conn.Write(p)
}

// acquire waits for a place among the handshakes that compute. A client that sends its hello and
// vanishes holds none, so a flood of them delays others by its cost in CPU and not by its silence.
func (t *transport) acquire() error {
	if t.computing {
		return nil
	}
	select {
	case t.shared.handshakes <- struct{}{}:
		t.computing = true
		return nil
	default: // somebody must end first
	}
	timer := time.NewTimer(busyTime)
	defer timer.Stop()
	select {
	case t.shared.handshakes <- struct{}{}:
		t.computing = true
		return nil
	case <-timer.C:
		return errBusy
	}
}

func (t *transport) release() {
	if t.computing {
		t.computing = false
		<-t.shared.handshakes
	}
}

const busyTime = 5 * time.Second

// hookTLS returns a copy of cfg that queues for CPU between the client's hello and the costly part,
// and that turns away web clients: a browser made to post to a mail port must not get as far as
// having its bytes echoed in an error (the ALPACA attack; RFC 8314 §3 has no ALPN of ours to ask
// for on SMTP).
func hookTLS(cfg *tls.Config, shared *Shared) *tls.Config {
	hooked := cfg.Clone()
	inner := cfg.GetConfigForClient
	// Records grow slowly to make web pages appear early. Mail is read whole.
	hooked.DynamicRecordSizingDisabled = true
	hooked.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		if t, ok := hello.Conn.(*transport); ok {
			if err := t.acquire(); err != nil {
				return nil, err
			}
		}
		chosen := cfg
		if inner != nil {
			c, err := inner(hello)
			if err != nil {
				return nil, err
			}
			if c != nil {
				chosen = c
			}
		}
		if webClient(hello.SupportedProtos, chosen.NextProtos) {
			return nil, errWebClient
		}
		if chosen == cfg {
			return nil, nil // go on with hooked
		}
		return chosen, nil
	}
	return hooked
}

func webClient(offered, ours []string) bool {
	return slices.ContainsFunc(offered, func(p string) bool {
		return (p == "h2" || p == "http/1.1" || p == "http/1.0") && !slices.Contains(ours, p)
	})
}

// CanStartTLS reports whether StartTLS is possible: there is a configuration and no TLS yet.
func (c *Conn) CanStartTLS() bool { return c.server.tls != nil && c.tls == nil && c.z == nil }

// StartTLS sends what was written, which is the reply that says to begin, and shakes hands.
//
// If input is buffered, somebody put plaintext behind the command, in the hope that it is executed
// as if it had come under TLS: StartTLS drops it and the written reply and returns ErrInjected.
// After any error the session must end.
func (c *Conn) StartTLS(ctx context.Context) error {
	if !c.CanStartTLS() {
		return ErrNoTLS
	}
	if c.Buffered() > 0 {
		c.releaseIn()
		c.releaseOut()
		return ErrInjected
	}
	if err := c.Flush(); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return c.handshake()
}

// shake runs the handshake in a goroutine of its own: it needs twice the stack that the rest of an
// idle session gets along with, and a stack that has grown stays (4 KiB less for each session).
func (c *Conn) shake(conn *tls.Conn) error {
	result := make(chan error, 1)
	go func() {
		defer func() {
			if p := recover(); p != nil {
				c.panicked(p)
				result <- fmt.Errorf("shake hands: panic: %v", p)
			}
		}()
		result <- conn.HandshakeContext(context.Background())
	}()
	return <-result
}

// handshake puts TLS over the socket. Input that a PROXY header was read with belongs to it.
func (c *Conn) handshake() error {
	t := &transport{Conn: c.base, shared: c.server.shared}
	if c.w > c.r {
		t.lead = append([]byte(nil), c.in[c.r:c.w]...)
	}
	c.releaseIn()
	if d := c.server.o.Limits.Handshake; d > 0 {
		if err := c.base.SetDeadline(time.Now().Add(d)); err != nil {
			return fmt.Errorf("set TLS deadline: %w", err)
		}
	}
	conn := tls.Server(t, c.server.tls)
	err := c.shake(conn)
	t.release()
	result := "ok"
	if err != nil {
		result = "failed"
	}
	handshakes.WithLabelValues(c.server.o.Name, result).Inc()
	if err != nil {
		return fmt.Errorf("shake hands: %w", err)
	}
	if err := c.base.SetDeadline(time.Time{}); err != nil {
		return fmt.Errorf("lift TLS deadline: %w", err)
	}
	c.tls, c.nc = conn, conn
	c.rc = nil
	if c.peek != nil {
		c.below = t
	}
	c.armedR, c.armedW = time.Time{}, time.Time{}
	return nil
}

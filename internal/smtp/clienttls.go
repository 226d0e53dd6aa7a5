package smtp

import (
	"context"
	"crypto/tls"
	"fmt"
)

// StartTLS secures the connection, RFC 3207, and greets anew: whatever the server said before is
// forgotten. cfg needs a ServerName or InsecureSkipVerify.
//
// The error is a Reply when the server declined (the connection goes on in the clear). After any
// other the connection is closed: ErrInjected, ErrHandshake or a network error.
func (c *Client) StartTLS(ctx context.Context, cfg *tls.Config) error {
	defer c.begin(ctx)()
	reply, err := c.command("STARTTLS", c.o.Limits.Mail)
	switch {
	case err != nil:
		c.conn.Close()
		return fmt.Errorf("STARTTLS: %w", err)
	case reply.Code != 220:
		return fmt.Errorf("STARTTLS: %w", c.refusal(reply))
	}
	// Nothing may stand between the reply and the handshake. Bytes that are still in the network
	// fail the handshake; bytes that came with the reply must not be read after it as if they
	// were protected (RFC 3207 §6).
	if c.r.Buffered() > 0 {
		c.conn.Close()
		return c.fail(ErrInjected)
	}
	if err := c.handshake(cfg); err != nil {
		c.conn.Close()
		return err
	}
	c.buffers()
	if err := c.hello(); err != nil {
		c.conn.Close()
		return c.fail(err)
	}
	return nil
}

// handshake puts TLS onto c.conn.
func (c *Client) handshake(cfg *tls.Config) error {
	ctx, cancel := context.WithTimeout(c.ctx, c.o.Limits.Handshake)
	defer cancel()
	c.deadline(c.o.Limits.Handshake)
	t := tls.Client(c.conn, cfg)
	if err := t.HandshakeContext(ctx); err != nil {
		return c.fail(fmt.Errorf("%w: %w", ErrHandshake, err))
	}
	c.conn, c.tls = t, true
	return nil
}

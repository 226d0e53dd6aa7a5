package dns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/miekg/dns"
)

// maxStrangers bounds the datagrams on a query's socket that do not answer it: somebody guesses.
const maxStrangers = 64

// askNetwork asks a server over UDP, from a fresh socket and so from a port that cannot be
// guessed (RFC 5452 §9.2), or over TCP.
func askNetwork(
	ctx context.Context, m *dns.Msg, server netip.AddrPort, tcp bool,
) (*dns.Msg, error) {
	network := "udp"
	if tcp {
		network = "tcp"
	}
	var dialer net.Dialer
	c, err := dialer.DialContext(ctx, network, server.String())
	if err != nil {
		return nil, err
	}
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { c.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	conn := &dns.Conn{Conn: c, UDPSize: 4096}
	if err := conn.WriteMsg(m); err != nil {
		return nil, fmt.Errorf("send query: %w", ended(ctx, err))
	}
	for range maxStrangers {
		r, err := conn.ReadMsg()
		switch {
		case err != nil && (tcp || r == nil && !errors.Is(err, dns.ErrShortRead)):
			return nil, fmt.Errorf("read answer: %w", ended(ctx, err))
		case err != nil || !matches(m, r):
			if tcp {
				return nil, errors.New("answer is to another question")
			}
		default:
			return r, nil
		}
	}
	return nil, errors.New("too many answers to other questions")
}

// ended says that the time was up rather than how that showed.
func ended(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

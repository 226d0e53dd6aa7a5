package dns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"time"
)

// ErrInside says that all of a host's addresses are of inner networks, or of this machine.
var ErrInside = errors.New("no public address")

// DialAddrs is how many addresses of one host PublicDialer tries: a stranger's DNS must not make this
// server knock at a hundred doors.
const DialAddrs = 4

// PublicDialer connects to hosts that strangers have named. It looks the name up itself and dials the
// very addresses that it has looked at, so that no other answer can come between: never one of this
// machine or of a network behind it.
type PublicDialer struct {
	Resolver Resolver // nil: nobody is reached
	Dialer   interface {
		DialContext(ctx context.Context, network, address string) (net.Conn, error)
	}
	Port int           // in place of the one that is asked for, which a stranger may have named
	Time time.Duration // for all addresses: each has its share
	// AllowPrivate lets inner addresses be dialled, for tests and the demo.
	AllowPrivate bool
}

// DialContext is http.Transport's. It returns the look-up's error, ErrInside or the last dial's error.
func (d *PublicDialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	if d.Resolver == nil {
		return nil, ErrTemporary
	}
	addrs, _, err := d.Resolver.Addrs(ctx, host)
	if err != nil {
		return nil, err
	}
	addrs = slices.DeleteFunc(slices.Clone(addrs), func(a netip.Addr) bool {
		return !d.AllowPrivate && !Public(Plain(a))
	})
	err = fmt.Errorf("%s: %w", host, ErrInside)
	for _, a := range addrs[:min(len(addrs), DialAddrs)] {
		// One that is silent must not take the time of the others.
		one, cancel := context.WithTimeout(ctx, d.Time/DialAddrs)
		var c net.Conn
		c, err = d.Dialer.DialContext(one, network, net.JoinHostPort(a.String(), strconv.Itoa(d.Port)))
		cancel()
		if err == nil {
			return c, nil
		}
	}
	return nil, err
}

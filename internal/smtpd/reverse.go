package smtpd

import (
	"context"
	"net/netip"
	"slices"
	"sync/atomic"

	"tram/internal/dns"
	"tram/internal/smtp"
)

// reverseNames is how many of an address's names are checked: an honest one has one.
const reverseNames = 3

// reverse finds out the client's name in the DNS beside the session, which never waits for it. Names
// are cached by the resolver, and each look-up is bounded there and here.
type reverse struct {
	name   atomic.Pointer[string]
	cancel context.CancelFunc
}

// lookUp begins to ask for the client's name, once in a session, when it has said who it is: a flood
// of connections that say nothing asks nothing.
func (x *session) lookUp() {
	addr := x.c.Remote().Addr()
	if x.o.Resolver == nil || x.reverse != nil || !public(addr) {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), x.o.Limits.DNS.Total)
	r := &reverse{cancel: cancel}
	x.reverse = r
	go func() {
		defer cancel()
		if name := reverseName(ctx, x.o.Resolver, addr); name != "" {
			r.name.Store(&name)
		}
	}()
}

// clientName is the client's name as far as it is known now, "" otherwise.
func (x *session) clientName() string {
	if x.reverse == nil {
		return ""
	}
	if name := x.reverse.name.Load(); name != nil {
		return *name
	}
	return ""
}

// reverseName returns a name of an address that leads back to it, "" when there is none: the owner of
// an address can give it any name he likes (the method is known as iprev).
func reverseName(ctx context.Context, names dns.Resolver, addr netip.Addr) string {
	all, _, err := names.PTR(ctx, addr)
	if err != nil {
		return ""
	}
	for _, name := range all[:min(len(all), reverseNames)] {
		name, err := smtp.ParseDomain(name)
		if err != nil || name[0] == '[' {
			continue
		}
		back, _, err := names.Addrs(ctx, name)
		if err == nil && slices.Contains(back, addr) {
			return name
		}
	}
	return ""
}

// shared is the address space behind providers' translators, RFC 6598 §7.
var shared = netip.MustParsePrefix("100.64.0.0/10")

// public reports whether the world's DNS can know an address.
func public(a netip.Addr) bool {
	return a.IsValid() && a.IsGlobalUnicast() && !a.IsPrivate() && !shared.Contains(a)
}

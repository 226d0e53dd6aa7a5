package dns

import "net/netip"

// Plain returns what an address leads to in the end: an IPv4 one may be wrapped into IPv6.
func Plain(a netip.Addr) netip.Addr {
	if nat64.Contains(a) {
		b := a.As16()
		return netip.AddrFrom4([4]byte(b[12:]))
	}
	return a.Unmap()
}

// nat64 is where gateways have the IPv4 addresses they lead to, RFC 6052 §2.1.
var nat64 = netip.MustParsePrefix("64:ff9b::/96")

// Public reports whether a, as Plain returns it, may be the address of a server of somebody else. It
// is asked before a connection that a stranger's DNS has named: else anybody with a domain could make
// this server talk to what stands behind the firewall.
func Public(a netip.Addr) bool {
	return a.IsGlobalUnicast() && !a.IsPrivate() && !sharedSpace.Contains(a)
}

// sharedSpace is for carriers' inner networks, RFC 6598.
var sharedSpace = netip.MustParsePrefix("100.64.0.0/10")

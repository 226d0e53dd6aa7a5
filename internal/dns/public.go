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
	if !a.IsGlobalUnicast() || a.IsPrivate() || a.Zone() != "" {
		return false
	}
	for _, p := range inner {
		if p.Contains(a) {
			return false
		}
	}
	return true
}

// inner are the blocks beside those that netip knows in which no server of somebody else can stand (IANA's
// registries of special addresses). Those for documentation are left out: they lead nowhere.
var inner = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"),      // this network
	netip.MustParsePrefix("100.64.0.0/10"),  // carriers' inner networks, RFC 6598
	netip.MustParsePrefix("192.0.0.0/24"),   // protocols; some clouds have their metadata here
	netip.MustParsePrefix("198.18.0.0/15"),  // laboratories
	netip.MustParsePrefix("240.0.0.0/4"),    // reserved, and used inside
	netip.MustParsePrefix("::/96"),          // IPv4 in IPv6 of old
	netip.MustParsePrefix("64:ff9b:1::/48"), // gateways to IPv4 of one's own
	netip.MustParsePrefix("100::/64"),       // nowhere
	netip.MustParsePrefix("2001::/32"),      // Teredo: an IPv4 address in disguise
	netip.MustParsePrefix("2002::/16"),      // 6to4: the same
	netip.MustParsePrefix("fec0::/10"),      // sites' inner networks of old
}

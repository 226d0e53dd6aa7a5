package dns

import (
	"net/netip"
	"strconv"
	"strings"
)

// ListName is the name under which a DNS list of addresses has one, RFC 5782 §2.1 and §2.4: its octets
// or, for IPv6, its nibbles, the last one first, in front of the list's own name.
func ListName(addr netip.Addr, list string) string {
	var b strings.Builder
	if addr = addr.Unmap(); addr.Is4() {
		o := addr.As4()
		for i := len(o) - 1; i >= 0; i-- {
			b.WriteString(strconv.Itoa(int(o[i])))
			b.WriteByte('.')
		}
		return b.String() + list
	}
	const hex = "0123456789abcdef"
	o := addr.As16()
	for i := len(o) - 1; i >= 0; i-- {
		b.Write([]byte{hex[o[i]&15], '.', hex[o[i]>>4], '.'})
	}
	return b.String() + list
}

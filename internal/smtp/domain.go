package smtp

import (
	"fmt"
	"net/netip"
	"strings"

	"golang.org/x/net/idna"
)

// profile maps a domain as people type it to A-labels: case, width and the ideographic full stop
// are folded (UTS #46, non-transitional), as RFC 5895 §2 advises for input.
func profile() *idna.Profile { return idna.Lookup }

// ParseDomain brings a domain or an address literal to its canonical form: lower-case A-labels
// without a trailing dot, "[192.0.2.1]" or "[IPv6:2001:db8::1]". Errors wrap ErrAddress or
// ErrTooLong.
func ParseDomain(s string) (string, error) {
	if strings.HasPrefix(s, "[") {
		return parseLiteral(s)
	}
	if !isASCII(s) {
		ascii, err := profile().ToASCII(s)
		if err != nil {
			return "", fmt.Errorf("%w: domain: %w", ErrAddress, err)
		}
		s = ascii
	}
	if len(s) > MaxDomain {
		return "", ErrTooLong
	}
	s = strings.ToLower(s)
	for label := range strings.SplitSeq(s, ".") {
		if !isLabel(label) {
			return "", fmt.Errorf("%w: label %q of the domain", ErrAddress, label)
		}
	}
	return s, nil
}

// isLabel reports whether s is a sub-domain of RFC 5321 §4.1.2: letters, digits and inner hyphens,
// at most 63 (RFC 1035 §2.3.4). s is in lower case.
func isLabel(s string) bool {
	if s == "" || len(s) > 63 || s[0] == '-' || s[len(s)-1] == '-' {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return true
}

// parseLiteral reads an address literal, RFC 5321 §4.1.3. General literals have no registered tag
// but IPv6, and are refused.
func parseLiteral(s string) (string, error) {
	inner, ok := strings.CutSuffix(strings.TrimPrefix(s, "["), "]")
	if !ok {
		return "", fmt.Errorf("%w: address literal does not end", ErrAddress)
	}
	v6 := len(inner) > 5 && strings.EqualFold(inner[:5], "IPv6:")
	if v6 {
		inner = inner[5:]
	}
	ip, err := netip.ParseAddr(inner)
	if err != nil || ip.Is4() == v6 || ip.Zone() != "" {
		return "", fmt.Errorf("%w: address literal", ErrAddress)
	}
	return FormatLiteral(ip), nil
}

// FormatLiteral writes ip as the domain of an address.
func FormatLiteral(ip netip.Addr) string {
	if ip.Is4() {
		return "[" + ip.String() + "]"
	}
	return "[IPv6:" + ip.WithZone("").String() + "]"
}

// LiteralDomain returns the network address of a domain in canonical form, if it is a literal. An
// IPv4 address mapped into IPv6 comes out as IPv4: it must not get past checks by its dress.
func LiteralDomain(domain string) (netip.Addr, bool) {
	inner, ok := strings.CutPrefix(domain, "[")
	if !ok {
		return netip.Addr{}, false
	}
	inner = strings.TrimPrefix(strings.TrimSuffix(inner, "]"), "IPv6:")
	ip, err := netip.ParseAddr(inner)
	return ip.Unmap(), err == nil
}

// UnicodeDomain returns a domain in canonical form as people read it. A name whose Unicode form
// would not lead back to it stays as it is.
func UnicodeDomain(domain string) string {
	if !strings.Contains(domain, "xn--") {
		return domain
	}
	u, err := profile().ToUnicode(domain)
	if err != nil {
		return domain
	}
	if back, err := ParseDomain(u); err != nil || back != domain {
		return domain
	}
	return u
}

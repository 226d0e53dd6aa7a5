package dns

import (
	"net/netip"
	"testing"
)

// TestListName has the examples of RFC 5782 §2.1 and §2.4.
func TestListName(t *testing.T) {
	t.Parallel()
	for addr, want := range map[string]string{
		"192.0.2.99":        "99.2.0.192.bad.example.com",
		"::ffff:192.0.2.99": "99.2.0.192.bad.example.com",
		"2001:db8:1:2:3:4:567:89ab": "b.a.9.8.7.6.5.0.4.0.0.0.3.0.0.0.2.0.0.0.1.0.0.0.8.b.d.0.1.0.0.2." +
			"bad.example.com",
	} {
		if got := ListName(netip.MustParseAddr(addr), "bad.example.com"); got != want {
			t.Errorf("%s: %s, want %s", addr, got, want)
		}
	}
}

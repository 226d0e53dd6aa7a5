package mailauth

import (
	"net/netip"
	"testing"
)

// TestWide: from /15 on (IPv6: /31) a network is more than one organisation's.
func TestWide(t *testing.T) {
	t.Parallel()
	for network, want := range map[string]bool{
		"": false, "192.0.2.1/32": false, "10.1.0.0/16": false, "40.92.0.0/15": true, "0.0.0.0/0": true,
		"2001:db8::/48": false, "2001:db8::/32": false, "2001:db8::/31": true, "::/0": true,
	} {
		s := SPF{Status: Pass}
		if network != "" {
			s.Range = netip.MustParsePrefix(network)
		}
		if s.Wide() != want {
			t.Errorf("%q: %t", network, s.Wide())
		}
		if s.Status = Fail; s.Wide() {
			t.Errorf("%q: a fail is a wide pass", network)
		}
	}
}

// TestOnlyWide is M8: an SPF pass that very many could have vouches for nobody, unless a signature in
// alignment stands beside it, as it does for the large providers whose networks are that large.
func TestOnlyWide(t *testing.T) {
	t.Parallel()
	narrow := SPF{Status: Pass, Domain: "big.test", Range: netip.MustParsePrefix("192.0.2.0/24")}
	wide := SPF{Status: Pass, Domain: "big.test", Range: netip.MustParsePrefix("40.92.0.0/14")}
	signed := func(domain string, s Status) []DKIM { return []DKIM{{Status: s, Domain: domain}} }
	for _, c := range []struct {
		name             string
		r                Results
		passed, onlyWide bool
	}{
		{"narrow", Results{SPF: narrow, DMARC: DMARC{Status: Pass, SPF: true}}, true, false},
		{"wide", Results{SPF: wide, DMARC: DMARC{Status: Pass, SPF: true}}, false, true},
		{"wide, signed", Results{SPF: wide, DKIM: signed("big.test", Pass),
			DMARC: DMARC{Status: Pass, SPF: true, DKIM: true}}, true, false},
		{"wide, signed by another", Results{SPF: wide, DKIM: signed("other.test", Pass),
			DMARC: DMARC{Status: Pass, SPF: true}}, false, true},
		{"signed, SPF of another", Results{SPF: wide, DMARC: DMARC{Status: Pass, DKIM: true}}, true, false},
		{"no policy", Results{SPF: wide, DMARC: DMARC{Status: None}}, false, true},
		{"no policy, signed", Results{SPF: wide, FromDomain: "mail.big.test", DKIM: signed("big.test", Pass),
			DMARC: DMARC{Status: None}}, false, false},
		{"no policy, a broken signature", Results{SPF: wide, FromDomain: "big.test", DKIM: signed("big.test", Fail),
			DMARC: DMARC{Status: None}}, false, true},
		{"no policy, a name that ends alike", Results{SPF: wide, FromDomain: "notbig.test",
			DKIM: signed("big.test", Pass), DMARC: DMARC{Status: None}}, false, true},
		{"a fail", Results{SPF: SPF{Status: Fail, Range: wide.Range}, DMARC: DMARC{Status: Fail}}, false, false},
	} {
		if got := c.r.Passed(); got != c.passed {
			t.Errorf("%s: passed %t", c.name, got)
		}
		if got := c.r.OnlyWide(); got != c.onlyWide {
			t.Errorf("%s: only wide %t", c.name, got)
		}
	}
	if none := (*Results)(nil); none.Passed() || none.OnlyWide() || none.Sender("a@big.test") {
		t.Error("without results somebody vouches")
	}
}

// TestSender: a signed message that is brought again under the path of somebody else of the same domain
// does not make that one its sender, who would get the notices of its failure (P22), and whom somebody may
// have allowed; nor does an SPF pass that very many could have.
func TestSender(t *testing.T) {
	t.Parallel()
	signed := []DKIM{{Status: Fail, Domain: "big.test"}, {Status: Pass, Domain: "big.test"}}
	pass := func(network string) SPF {
		return SPF{Status: Pass, Domain: "big.test", Range: netip.MustParsePrefix(network)}
	}
	helo := pass("192.0.2.0/24")
	helo.Helo = true
	for _, c := range []struct {
		name, address string
		found         Results
		want          bool
	}{
		{"his own", "lan@big.test", Results{From: "Lan@big.test", DKIM: signed}, true},
		{"another's", "nam@big.test", Results{From: "lan@big.test", DKIM: signed}, false},
		{"nobody's", "nam@big.test", Results{DKIM: signed}, false},
		{"signed by the domain above", "lan@x.big.test", Results{From: "lan@x.big.test", DKIM: signed}, false},
		{"broken", "lan@big.test", Results{From: "lan@big.test", DKIM: signed[:1]}, false},
		{"SPF", "nam@big.test", Results{From: "lan@big.test", SPF: pass("192.0.2.0/24")}, true},
		{"SPF of the greeting", "nam@big.test", Results{SPF: helo}, false},
		{"SPF of another", "nam@other.test", Results{SPF: pass("192.0.2.0/24")}, false},
		{"wide SPF", "nam@big.test", Results{From: "lan@big.test", DKIM: signed, SPF: pass("0.0.0.0/1")}, false},
		{"wide SPF, his own", "lan@big.test", Results{From: "lan@big.test", DKIM: signed, SPF: pass("0.0.0.0/1")}, true},
		{"the null path", "", Results{SPF: SPF{Status: Pass}, DKIM: []DKIM{{Status: Pass}}}, false},
	} {
		if got := c.found.Sender(c.address); got != c.want {
			t.Errorf("%s: %t", c.name, got)
		}
	}
}

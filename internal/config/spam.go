package config

import (
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// What a list in the DNS is about.
const (
	ListAddress = "address" // of clients
	ListDomain  = "domain"  // of senders and links
)

// Spam says how mail is judged. Scores of 0 switch their consequence off. Domains and people may have
// thresholds of their own: "tram spam policy".
type Spam struct {
	Enabled    bool    `toml:"enabled"`
	Junk       float64 `toml:"junk"`
	Quarantine float64 `toml:"quarantine"`
	Reject     float64 `toml:"reject"`
	Greylist   bool    `toml:"greylist"`
	// Outgoing is the score from which on what people send is held.
	Outgoing float64 `toml:"outgoing"`
	// Networks is a file that tells whose network an address is in: a table, or, with a name in ".mmdb", a
	// database in MaxMind's format.
	Networks string     `toml:"networks"`
	Lists    []SpamList `toml:"lists"`
}

// SpamList is a list in the DNS, RFC 5782.
type SpamList struct {
	Zone   string             `toml:"zone"`
	Kind   string             `toml:"kind"` // ListAddress or ListDomain
	Test   string             `toml:"test"` // what is always listed; "": as RFC 5782 §5 has it
	Weight float64            `toml:"weight"`
	Codes  map[string]float64 `toml:"codes"` // weights of answers: an address or a network
}

func defaultSpam() Spam {
	return Spam{Enabled: true, Junk: 5, Reject: 15, Greylist: true, Outgoing: 8}
}

// mostScore bounds what a file may set: more than all signs together.
const mostScore = 1000

func (v *validator) spam() {
	s := &v.c.Spam
	for _, f := range []struct {
		key   string
		value float64
	}{{"junk", s.Junk}, {"quarantine", s.Quarantine}, {"reject", s.Reject}, {"outgoing", s.Outgoing}} {
		if f.value < 0 || f.value > mostScore || math.IsNaN(f.value) {
			v.fail("spam."+f.key, "spam.%s: %v is not a score from 0 to %d", f.key, f.value, mostScore)
		}
	}
	if s.Junk > 0 && s.Reject > 0 && s.Reject < s.Junk {
		v.fail("spam.reject", "spam.reject: %v is below spam.junk, %v", s.Reject, s.Junk)
	}
	for i := range s.Lists {
		l := &s.Lists[i]
		where := fmt.Sprintf("spam.lists: entry %d", i+1)
		l.Zone = strings.ToLower(strings.Trim(l.Zone, "."))
		if !validHost(l.Zone) || !strings.Contains(l.Zone, ".") {
			v.fail("spam.lists", `%s: zone %q is not a name such as "list.example.net"`, where, l.Zone)
		}
		if l.Kind == "" {
			l.Kind = ListAddress
		}
		if l.Kind != ListAddress && l.Kind != ListDomain {
			v.fail("spam.lists", "%s: kind %q is neither %s nor %s", where, l.Kind, ListAddress, ListDomain)
		}
		if !(math.Abs(l.Weight) <= mostScore) || l.Weight == 0 && len(l.Codes) == 0 {
			v.fail("spam.lists", "%s: it needs a weight, such as 3", where)
		}
		for code, w := range l.Codes {
			if _, err := ListCode(code); err != nil || !(math.Abs(w) <= mostScore) {
				v.fail("spam.lists", "%s: %q = %v is not an answer such as \"127.0.0.2\" with a weight", where, code, w)
			}
		}
	}
}

// ListCode reads an answer of a list, "127.0.0.2" or "127.0.0.10/31".
func ListCode(s string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(s); err == nil {
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	return netip.ParsePrefix(s)
}

// scored is set for scores.
func scored(key string, value, def float64) string {
	line := key + " = " + score(value)
	if value == def {
		return "#" + line
	}
	return line
}

func score(f float64) string {
	s := strconv.FormatFloat(f, 'f', -1, 64)
	if !strings.Contains(s, ".") {
		s += ".0" // TOML tells integers from floats
	}
	return s
}

// codes writes the inline table of a list.
func codes(m map[string]float64) string {
	var parts []string
	for k, w := range m {
		parts = append(parts, strconv.Quote(k)+" = "+score(w))
	}
	slices.Sort(parts)
	return "{ " + strings.Join(parts, ", ") + " }"
}

// spamDocument explains [spam]. See docs/spam.md.
const spamDocument = `
[spam]
# Mail is judged when it comes in: each sign for or against it has a name and a score, and their sum
# decides. "tram spam explain ID" tells why; see docs/spam.md. Domains and people may have other
# thresholds. 0 switches a consequence off.
{{switched "enabled" .Spam.Enabled true}}
# From here on it goes to the recipient's junk mail; is held until an administrator has looked, "tram
# queue list --state held"; is refused while the sender's server listens.
{{scored "junk" .Spam.Junk 5.0}}
{{scored "quarantine" .Spam.Quarantine 0.0}}
{{scored "reject" .Spam.Reject 15.0}}
# Unknown senders of doubtful mail are asked to come again after some minutes.
{{switched "greylist" .Spam.Greylist true}}
# From this score on what your own people send is held: somebody may have stolen a password.
{{scored "outgoing" .Spam.Outgoing 8.0}}
# A table that tells whose network an address is in: lines of network, tab, number, tab, name; or a database
# in MaxMind's format, as GeoLite2-ASN.mmdb. It is read at the start.
{{set "networks" .Spam.Networks "" "networks.tsv"}}
{{range .Spam.Lists}}
[[spam.lists]]
zone = {{str .Zone}}
kind = {{str .Kind}}
{{set "test" .Test "" "127.0.0.2"}}
weight = {{score .Weight}}
{{if .Codes}}codes = {{codes .Codes}}{{else}}#codes = { "127.0.0.2" = 3.0 }{{end}}
{{else}}
# Lists in the DNS of bad addresses and domains. Mind their terms of use: many are free for small
# servers only, and most want a resolver of your own. A list that fails its test is not asked.
#[[spam.lists]]
#zone = "zen.example.net"
#kind = "address"
#test = "127.0.0.2"
#weight = 3.0
#codes = { "127.0.0.2" = 4.0, "127.0.0.10/31" = 2.0 }
{{end}}`

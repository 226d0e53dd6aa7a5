package content

import (
	"strings"
	"unicode"

	"golang.org/x/net/idna"
	"golang.org/x/net/publicsuffix"
	"golang.org/x/text/unicode/norm"

	"tram/internal/message"
	"tram/internal/spam/sign"
)

// Domains is a set of domains that others might imitate. It is made once and read by many.
type Domains struct {
	list  []domain
	names map[string]bool // registered domains, as A-labels
}

// domain is a name in the forms in which it is compared.
type domain struct {
	full  string // lower-case A-labels
	org   string // the registered domain: example.com.vn of mail.example.com.vn
	label string // its first label, decoded: example
	looks string // what that looks like
	mask  uint32 // the letters in looks
	lead  string // ".example.com.vn.", as it would stand in another's name
	dash  string // "example-com-vn.", likewise
}

// NewDomains makes a set of domain names in any form. Names that are none are left out.
func NewDomains(names ...string) *Domains {
	d := &Domains{names: make(map[string]bool, len(names))}
	for _, n := range names {
		if dom, ok := parseDomain(n); ok && !d.names[dom.org] {
			d.names[dom.org] = true
			d.list = append(d.list, dom)
		}
	}
	return d
}

// parseDomain brings a host's name into the forms in which it is compared.
func parseDomain(name string) (domain, bool) {
	name = asciiName(name)
	org, ok := organisation(name)
	if !ok {
		return domain{}, false
	}
	label, _, _ := strings.Cut(org, ".")
	if strings.HasPrefix(label, "xn--") {
		if u, err := idna.Punycode.ToUnicode(label); err == nil {
			label = u
		}
	}
	d := domain{full: name, org: org, label: label, looks: looks(label)}
	d.mask = letters(d.looks)
	d.lead, d.dash = "."+org+".", strings.ReplaceAll(org, ".", "-")+"."
	return d, true
}

// organisation is the registered domain that a host's name, in A-labels, belongs to.
func organisation(name string) (string, bool) {
	if !strings.Contains(name, ".") || isNumeric(name) {
		return "", false
	}
	org, err := publicsuffix.EffectiveTLDPlusOne(name)
	return org, err == nil
}

// asciiName is a host's name in lower-case A-labels; what cannot be brought into that form stays.
func asciiName(name string) string {
	name = strings.ToLower(strings.Trim(name, "."))
	for i := 0; i < len(name); i++ {
		if name[i] >= 0x80 {
			if a, err := idna.Lookup.ToASCII(name); err == nil {
				return a
			}
			if a, err := idna.Punycode.ToASCII(name); err == nil {
				return a
			}
			break
		}
	}
	return name
}

// pairs are letters, and digits, that are taken for others at a glance. Look-alikes of other scripts are
// message.Skeleton's.
var pairs = strings.NewReplacer("rn", "m", "vv", "w", "cl", "d", "0", "o", "1", "l", "i", "l", "5", "s", "3", "e")

// looks is what a label looks like at a glance: without marks, letters for those they are taken for.
func looks(label string) string {
	return pairs.Replace(plainLetters(message.Skeleton(strings.ToLower(label))))
}

// plainLetters drops marks: đ and ế become d and e.
func plainLetters(s string) string {
	for i := 0; i < len(s); i++ {
		if s[i] >= 0x80 {
			return strings.Map(func(r rune) rune {
				switch {
				case unicode.Is(unicode.Mn, r):
					return -1
				case r == 'đ':
					return 'd'
				case r == 'ł':
					return 'l'
				case r == 'ø':
					return 'o'
				}
				return r
			}, norm.NFD.String(s))
		}
	}
	return s
}

// letters is the set of letters in s, to tell soon what is not alike.
func letters(s string) uint32 {
	var m uint32
	for i := 0; i < len(s); i++ {
		m |= 1 << (s[i] & 31)
	}
	return m
}

// Has reports whether a host belongs to one of the domains.
func (d *Domains) Has(host string) bool {
	if d == nil {
		return false
	}
	dom, ok := parseDomain(host)
	return ok && d.names[dom.org]
}

// imitated finds the domain of the set that h imitates, "" for none.
func (d *Domains) imitated(h domain) string {
	if d == nil || d.names[h.org] {
		return ""
	}
	for i := range d.list {
		if h.imitates(&d.list[i]) {
			return d.list[i].org
		}
	}
	return ""
}

// otherEnding finds the domain of the set whose name h bears with another ending, "" for none. That says
// little: example.net and example.org are often two houses, and both honest.
func (d *Domains) otherEnding(h domain) string {
	if d == nil || d.names[h.org] || len(h.looks) < 5 {
		return ""
	}
	for i := range d.list {
		if h.label == d.list[i].label {
			return d.list[i].org
		}
	}
	return ""
}

// imitates reports whether h could be taken for d.
func (h *domain) imitates(d *domain) bool {
	n := len(d.looks)
	switch {
	case len(h.full) > len(d.org) && (strings.HasPrefix(h.full, d.lead[1:]) ||
		strings.Contains(h.full, d.lead) || strings.Contains(h.full, d.dash)):
		return true // the name leads another's: example.com.evil.net
	case h.label == d.label:
		return false // see otherEnding
	case h.looks == d.looks:
		return n >= 3
	case n < 5 || len(h.label) < 4:
		return false
	case h.dresses(d):
		return true
	}
	most := 1
	if n >= 9 {
		most = 2
	}
	if diff := len(h.looks) - n; diff > most || diff < -most || bits(h.mask^d.mask) > 2*most {
		return false
	}
	return distance(h.looks, d.looks, most) <= most
}

// dress are the words that are put beside a name to make another one of it.
var dress = map[string]bool{
	"secure": true, "security": true, "support": true, "login": true, "signin": true, "account": true, "accounts": true,
	"verify": true, "verification": true, "mail": true, "email": true, "webmail": true, "update": true, "service": true,
	"services": true, "online": true, "pay": true, "payment": true, "payments": true, "auth": true, "admin": true,
	"help": true, "helpdesk": true, "info": true, "team": true, "portal": true, "web": true, "my": true,
	"billing": true,
	"invoice": true, "bank": true, "banking": true, "customer": true, "care": true, "center": true, "office": true,
	"corp": true, "inc": true, "group": true, "hr": true, "it": true, "vn": true, "com": true, "net": true, "id": true,
	"cskh": true, "hotro": true, "khachhang": true, "thanhtoan": true, "xacminh": true, "dangnhap": true, "sso": true,
}

// dresses reports whether h is d's name with such a word: secure-example, example-support, examplelogin.
func (h *domain) dresses(d *domain) bool {
	if strings.Contains(h.label, "-") {
		found, words := false, false
		for piece := range strings.SplitSeq(h.label, "-") {
			if looks(piece) == d.looks {
				found = true
			} else if dress[piece] {
				words = true
			}
		}
		if found && words || strings.ReplaceAll(h.looks, "-", "") == strings.ReplaceAll(d.looks, "-", "") {
			return true
		}
		return false
	}
	if rest, ok := strings.CutPrefix(h.looks, d.looks); ok {
		return dressLooks[rest]
	}
	rest, ok := strings.CutSuffix(h.looks, d.looks)
	return ok && dressLooks[rest]
}

// dressLooks are the words of dress as they look.
var dressLooks = func() map[string]bool {
	m := make(map[string]bool, len(dress))
	for w := range dress {
		m[looks(w)] = true
	}
	return m
}()

func bits(m uint32) int {
	n := 0
	for ; m != 0; m &= m - 1 {
		n++
	}
	return n
}

// distance is how many letters must be changed, added, dropped or swapped with the next to make b of a
// (Damerau's optimal string alignment); more than most is told as most+1. Labels have at most 63 bytes.
func distance(a, b string, most int) int {
	if len(a) > 63 || len(b) > 63 {
		return most + 1
	}
	var rows [3][64]int
	before, last, row := &rows[0], &rows[1], &rows[2]
	for j := range len(b) + 1 {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		best := i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(row[j-1]+1, last[j]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
			best = min(best, row[j])
		}
		if best > most {
			return most + 1
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}

// mostHosts bounds the different hosts of links that are compared with every domain of a set.
const mostHosts = 100

// Compare looks for senders and links of a report that imitate one of the domains in own or known; either
// may be nil. Examine has done so with the domains of its options: this is for those of one account.
func Compare(rep *Report, own, known *Domains) []sign.Sign {
	if own == nil && known == nil {
		return nil
	}
	var signs []sign.Sign
	check := func(host, kind string) {
		dom, ok := parseDomain(host)
		if !ok || own != nil && own.names[dom.org] || known != nil && known.names[dom.org] {
			return
		}
		if of := own.imitated(dom); of != "" {
			signs = addSign(signs, kind+"_LOOKS_OWN", host+" looks like "+of)
		} else if of := own.otherEnding(dom); of != "" {
			signs = addSign(signs, kind+"_OTHER_ENDING", host+" has the name of "+of)
		} else if of := known.imitated(dom); of != "" {
			signs = addSign(signs, kind+"_LOOKS_KNOWN", host+" looks like "+of)
		}
	}
	for _, a := range rep.senders {
		check(a.Host, "SENDER")
	}
	seen := make(map[string]bool, 8)
	for i := range rep.Links {
		if h := rep.Links[i].Host; !seen[h] && len(seen) < mostHosts {
			seen[h] = true
			check(h, "LINK")
		}
	}
	return signs
}

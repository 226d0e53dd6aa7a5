package content

import (
	"net/netip"
	"strconv"
	"strings"

	"golang.org/x/net/publicsuffix"
)

// longestURL is how much of an address is kept.
const longestURL = 1000

// shorteners are the sites that give short names to any address.
var shorteners = map[string]bool{
	"bit.ly": true, "tinyurl.com": true, "t.co": true, "goo.gl": true, "is.gd": true, "ow.ly": true, "buff.ly": true,
	"rebrand.ly": true, "cutt.ly": true, "shorturl.at": true, "rb.gy": true, "t.ly": true, "s.id": true, "v.gd": true,
	"tiny.cc": true, "lnkd.in": true, "bl.ink": true, "soo.gd": true, "clck.ru": true, "u.to": true, "qr.ae": true,
	"adf.ly": true, "short.io": true, "shorten.asia": true, "bom.so": true, "by.com.vn": true, "dub.sh": true,
	"urlz.fr": true, "x.gd": true, "surl.li": true, "linktr.ee": true, "shope.ee": true, "zpr.io": true, "j.mp": true,
	"han.gl": true, "me2.kr": true, "n9.cl": true, "shrtco.de": true, "tny.im": true, "1drv.ms": true, "dwz.cn": true,
}

// target is where an address leads, as a browser has it.
type target struct {
	host    string // lower-case A-labels, or the literal
	user    string
	port    string
	rest    string // path and query
	numeric bool
	escaped bool
}

// link looks at an address and keeps it. shown is what the reader sees instead, "" when it is the address.
func (x *examination) link(raw, shown string) {
	raw = strings.Map(func(r rune) rune { // browsers drop these wherever they stand
		if r == '\t' || r == '\n' || r == '\r' {
			return -1
		}
		return r
	}, strings.TrimFunc(raw, func(r rune) bool { return r <= ' ' }))
	if raw == "" || raw[0] == '#' {
		return
	}
	scheme, after := splitScheme(raw)
	switch scheme {
	case "http", "https", "ftp", "":
	case "javascript", "vbscript", "data":
		if scheme != "data" || !strings.HasPrefix(after, "image/") || strings.HasPrefix(after, "image/svg") {
			x.add("LINK_SCRIPT", scheme+":")
		}
		return
	default: // mailto, tel, cid and all that
		return
	}
	t, ok := readTarget(after, scheme != "")
	if !ok {
		return
	}
	x.keep(Link{URL: clean(raw, longestURL), Host: t.host, Shown: clean(shown, 200)})
	x.judgeTarget(&t)
	x.judgeShown(&t, shown)
}

// keep adds a link to the report while there is room.
func (x *examination) keep(l Link) {
	if len(x.rep.Links) < x.o.Limits.Links {
		x.rep.Links = append(x.rep.Links, l)
	}
}

// splitScheme cuts off the scheme, in lower case; "" when there is none.
func splitScheme(s string) (scheme, rest string) {
	for i := 0; i < len(s) && i < 20; i++ {
		c := s[i]
		switch {
		case c == ':':
			return strings.ToLower(s[:i]), s[i+1:]
		case c|0x20 >= 'a' && c|0x20 <= 'z', i > 0 && (c >= '0' && c <= '9' || c == '+' || c == '-' || c == '.'):
		default:
			return "", s
		}
	}
	return "", s
}

// readTarget takes an address apart the way browsers do: slashes of either kind and number before the host,
// user and password before the last at sign, escapes in the host. Without a scheme it must begin with two
// slashes or with www.
func readTarget(s string, scheme bool) (t target, ok bool) {
	trimmed := strings.TrimLeft(s, "/\\")
	if !scheme && len(s)-len(trimmed) < 2 && !strings.HasPrefix(strings.ToLower(s), "www.") {
		return t, false
	}
	s = trimmed
	end := strings.IndexAny(s, "/\\?#")
	if end < 0 {
		end = len(s)
	}
	auth := s[:end]
	t.rest = s[end:]
	if at := strings.LastIndexByte(auth, '@'); at >= 0 {
		t.user, auth = auth[:at], auth[at+1:]
	}
	if i := strings.LastIndexByte(auth, ':'); i >= 0 && !strings.Contains(auth[i:], "]") {
		auth, t.port = auth[:i], auth[i+1:]
	}
	if strings.Contains(auth, "%") {
		t.escaped, auth = true, percent(auth)
	}
	t.host = asciiName(auth)
	t.numeric = isNumeric(t.host)
	return t, t.host != ""
}

// isNumeric reports whether a host is an address in any of the forms that browsers take: dotted, one
// number, hexadecimal, octal, IPv6 in brackets.
func isNumeric(host string) bool {
	if strings.HasPrefix(host, "[") {
		return true
	}
	last := host[strings.LastIndexByte(host, '.')+1:]
	if last == "" || last[0] < '0' || last[0] > '9' {
		if !strings.Contains(host, ":") {
			return false
		}
	}
	if _, err := netip.ParseAddr(host); err == nil {
		return true
	}
	_, err := strconv.ParseUint(last, 0, 64) // a domain's last label is no number
	return err == nil
}

// judgeTarget notes what is odd about where a link leads.
func (x *examination) judgeTarget(t *target) {
	if t.user != "" {
		x.add("LINK_USER", t.user+"@"+t.host)
	}
	if t.escaped {
		x.add("LINK_ESCAPED", t.host)
	}
	if t.port != "" && t.port != "80" && t.port != "443" {
		x.add("LINK_PORT", t.host+":"+t.port)
	}
	if strings.Contains(t.rest, "%") || strings.Contains(t.rest, "//") {
		if to := redirected(t.rest); to != "" && !sameOrganisation(to, t.host) {
			x.add("LINK_REDIRECTED", t.host+" to "+to)
		}
	}
	if x.hosts[t.host] {
		return
	}
	if x.hosts == nil {
		x.hosts = map[string]bool{}
	}
	if len(x.hosts) < 1000 {
		x.hosts[t.host] = true
	}
	switch {
	case t.numeric:
		x.add("LINK_NUMERIC", t.host)
	case homograph(t.host):
		x.add("LINK_HOMOGRAPH", t.host)
	case shorteners[t.host] || shorteners[strings.TrimPrefix(t.host, "www.")]:
		x.add("LINK_SHORTENED", t.host)
	}
}

// redirected finds the host of an address inside the path or the query of another.
func redirected(rest string) string {
	low := strings.ToLower(rest[:min(len(rest), 2000)])
	for _, mark := range []string{"%3a%2f%2f", "%253a%252f%252f", "://", "=//"} {
		if i := strings.Index(low, mark); i >= 0 {
			host := low[i+len(mark):]
			if end := strings.IndexAny(host, "/?&#%: "); end >= 0 {
				host = host[:end]
			}
			if strings.Contains(host, ".") {
				return asciiName(host)
			}
		}
	}
	return ""
}

// judgeShown compares what the reader sees with where a link leads. Newsletters count clicks and show their
// own sender's address: who that is, is for others to prove.
func (x *examination) judgeShown(t *target, shown string) {
	host := shownHost(shown)
	if host == "" || sameOrganisation(host, t.host) {
		return
	}
	for _, a := range x.m.Envelope.From {
		if sameOrganisation(host, a.Host) {
			return
		}
	}
	x.add("LINK_DIFFERS", host+" leads to "+t.host)
}

// shownHost is the host that a link's text shows, "" when it shows none.
func shownHost(s string) string {
	s = strings.TrimSpace(s)
	if len(s) < 4 || len(s) > 300 || strings.ContainsAny(s, "\n") {
		return ""
	}
	scheme, rest := splitScheme(s)
	if scheme == "http" || scheme == "https" {
		t, _ := readTarget(rest, true)
		host, _, _ := strings.Cut(t.host, " ")
		return host
	}
	if strings.ContainsAny(s, " @") || !strings.Contains(s, ".") {
		return ""
	}
	t, ok := readTarget("//"+s, false)
	if !ok || t.numeric {
		return ""
	}
	if _, icann := publicsuffix.PublicSuffix(t.host); !icann || !strings.Contains(t.host, ".") {
		return ""
	}
	return t.host
}

// linksIn finds the addresses in plain text.
func (x *examination) linksIn(s string) {
	for at := 0; at < len(s); {
		i := strings.IndexAny(s[at:], ":wW")
		if i < 0 {
			return
		}
		i += at
		at = i + 1
		from := -1
		switch {
		case s[i] == ':' && strings.HasPrefix(s[i:], "://"):
			for _, sch := range []string{"https", "http"} {
				if i >= len(sch) && strings.EqualFold(s[i-len(sch):i], sch) {
					from = i - len(sch)
					break
				}
			}
		case len(s)-i > 4 && strings.EqualFold(s[i:i+4], "www.") &&
			(i == 0 || !isWordByte(s[i-1]) && s[i-1] != '/' && s[i-1] != '.'):
			from = i
		}
		if from < 0 {
			continue
		}
		end := strings.IndexAny(s[i:], " \t\r\n<>\"')]}")
		if end < 0 {
			end = len(s) - i
		}
		x.link(strings.TrimRight(s[from:i+end], ".,;!?"), "")
		at = i + max(end, 1)
	}
}

package message

import (
	"strings"

	"golang.org/x/net/idna"
)

// ParseAddressList reads the value of From, To, Cc and their kin (RFC 5322 §3.4 with the obsolete
// forms of §4.4). Anything gives a list: comments, groups, routes, quoted or bare names with dots,
// missing brackets, semicolons between addresses, encoded words with commas in them. Groups are
// marked as RFC 9051 §7.5.2 wants, and their members stand between the marks. At most 1,000 entries
// are read.
func ParseAddressList(raw string) []Address {
	list, _ := parseAddresses(raw, maxAddresses, "")
	return list
}

// maxAddresses is limits.Default().Message.Addresses, for callers that bring no limits.
const maxAddresses = 1000

// Is reports whether a is a mailbox with a local part and a domain.
func (a Address) Is() bool { return a.Group == NoGroup && a.Mailbox != "" && a.Host != "" }

// String is mailbox@host, without the name; host alone never comes without the @.
func (a Address) String() string {
	if a.Host == "" {
		return a.Mailbox
	}
	return a.Mailbox + "@" + a.Host
}

// addressScanner goes once through an address list.
type addressScanner struct {
	s     string
	pos   int
	room  int // entries that may still be appended
	hint  string
	out   []Address
	flaws Flaws
	group bool

	buf []byte // what was collected of the current entry, without quotes and comments
}

// entry is what was seen of the address that is being read.
type entry struct {
	first   int    // where in s the first byte of buf came from
	word    int    // where in buf the current word begins
	before  int    // and the word before it
	at      int    // where in buf the last bare @ is, -1 for none
	quoted  bool   // buf came from quotes, at least in part
	comment string // content of the last comment
	angle   bool   // <...> was seen
	tail    bool   // and nothing before it: the name may follow
	addr    Address
}

// parseAddresses reads the addresses of raw, at most room.
func parseAddresses(raw string, room int, hint string) ([]Address, Flaws) {
	sc := addressScanner{s: unfold(raw), room: room, hint: hint}
	return sc.list()
}

// list appends all that is there to sc.out.
func (sc *addressScanner) list() ([]Address, Flaws) {
	for sc.pos < len(sc.s) {
		sc.entry()
	}
	if sc.group {
		sc.append(Address{Group: GroupEnd})
	}
	return sc.out, sc.flaws
}

// append keeps an entry while there is room. The end of a group is always kept: a list must not be
// left open.
func (sc *addressScanner) append(a Address) {
	if sc.room <= 0 && a.Group != GroupEnd {
		sc.flaws |= FlawAddressLimit
		return
	}
	sc.room--
	sc.out = append(sc.out, a)
}

// entry reads up to the comma, semicolon or colon that ends one address or begins a group.
func (sc *addressScanner) entry() {
	if sc.room <= 0 {
		sc.flaws |= FlawAddressLimit
		sc.pos = len(sc.s)
		return
	}
	sc.buf = sc.buf[:0]
	e := entry{at: -1, first: -1}
	for sc.pos < len(sc.s) {
		c := sc.s[sc.pos]
		switch {
		case c == ',':
			sc.pos++
			sc.finish(&e)
			return
		case c == ';':
			sc.pos++
			sc.finish(&e)
			sc.endGroup()
			return
		case c == ':' && sc.beginsGroup(&e):
			sc.pos++
			return
		case c == '<' && e.angle: // the comma is missing: no address may hide behind another
			sc.flaws |= FlawAddress
			sc.finish(&e)
			return
		case c == '<':
			sc.pos++
			e.tail = len(sc.buf) == 0
			sc.angle(&e)
		default:
			sc.piece(&e, c)
		}
	}
	sc.finish(&e)
}

// beginsGroup handles a colon: after a phrase it begins a group.
func (sc *addressScanner) beginsGroup(e *entry) bool {
	if sc.group || e.angle || e.at >= 0 || len(sc.buf) == 0 {
		return false
	}
	name := strings.TrimRight(string(sc.buf), " ")
	if equalFold(name, "mailto") {
		return true // the colon ends it, nothing is kept
	}
	sc.group = true
	sc.append(Address{Mailbox: decodeWords(name, sc.hint), Group: GroupStart})
	return true
}

// endGroup closes the group that is open, if one is: semicolons are also used as commas.
func (sc *addressScanner) endGroup() {
	if sc.group {
		sc.group = false
		sc.append(Address{Group: GroupEnd})
	}
}

// piece reads one token of a phrase or of an address without brackets.
func (sc *addressScanner) piece(e *entry, c byte) {
	switch {
	case c == '"':
		sc.pos++
		sc.quotedPiece(e)
	case c == '(':
		end := skipComment(sc.s, sc.pos)
		e.comment = trim(strings.TrimSuffix(sc.s[sc.pos+1:end], ")"))
		sc.pos = end
	case isBlank(c):
		sc.pos++
		if n := len(sc.buf); n > 0 && sc.buf[n-1] != ' ' && !sc.inDomain(e) {
			sc.buf = append(sc.buf, ' ')
			e.before, e.word = e.word, n+1
		}
	case c == '@':
		if n := len(sc.buf); n > 0 && sc.buf[n-1] == ' ' && e.word == n {
			sc.buf, e.word = sc.buf[:n-1], e.before // "john @ example.com"
		}
		e.at = len(sc.buf)
		sc.add(e, c)
	case c == '[' && e.at >= 0 && e.at == len(sc.buf)-1:
		rest := sc.s[sc.pos:] // a domain is 255 bytes at most
		end := strings.IndexByte(rest[:min(len(rest), 260)], ']')
		for i := 0; i <= max(end, 0); i++ {
			sc.add(e, sc.s[sc.pos])
		}
	case c == '=' && encodedWordLen(sc.s[sc.pos:]) > 0:
		for n := encodedWordLen(sc.s[sc.pos:]); n > 0; n-- {
			sc.add(e, sc.s[sc.pos])
		}
	case c == '>':
		sc.pos++ // a stray one
	default:
		sc.add(e, c)
	}
}

// inDomain reports whether the white space before pos stands inside a domain, where RFC 5322 §4.4
// had it once: after the @, or beside a dot that comes later.
func (sc *addressScanner) inDomain(e *entry) bool {
	if e.at < 0 || e.word > e.at {
		return false
	}
	for sc.pos < len(sc.s) && isBlank(sc.s[sc.pos]) {
		sc.pos++
	}
	last := sc.buf[len(sc.buf)-1]
	return last == '@' || last == '.' || sc.pos < len(sc.s) && sc.s[sc.pos] == '.'
}

// add takes the byte at pos, which is c, over into buf.
func (sc *addressScanner) add(e *entry, c byte) {
	if e.angle && !e.tail {
		sc.pos++ // junk after <...>
		return
	}
	if e.first < 0 {
		e.first = sc.pos
	}
	sc.buf = append(sc.buf, c)
	sc.pos++
}

// quotedPiece reads the rest of a quoted string in a phrase or a local part, RFC 5322 §3.2.4.
// Spaces in it part no words.
func (sc *addressScanner) quotedPiece(e *entry) {
	for sc.pos < len(sc.s) {
		c := sc.s[sc.pos]
		switch {
		case c == '"':
			sc.pos++
			e.quoted = true
			return
		case c == '\\' && sc.pos+1 < len(sc.s):
			sc.pos++
			c = sc.s[sc.pos]
		}
		sc.add(e, c)
	}
}

// encodedWordLen returns the length of the encoded word that s begins with, 0 if it begins with
// none. The search stops at 998 bytes: a longer one could not have stood on a line.
func encodedWordLen(s string) int {
	if len(s) < 8 || s[1] != '?' {
		return 0
	}
	s = s[:min(len(s), 998)]
	q := strings.IndexByte(s[2:], '?') + 2
	if q < 3 || q+3 >= len(s) || s[q+2] != '?' || strings.IndexByte("qQbB", s[q+1]) < 0 {
		return 0
	}
	end := strings.Index(s[q+3:], "?=")
	if end < 0 || strings.ContainsAny(s[:q+3+end], " \t<>\"") {
		return 0
	}
	return q + 3 + end + 2
}

// angle reads an address in brackets, after the opening one. A missing closing bracket ends it at
// the next comma.
func (sc *addressScanner) angle(e *entry) {
	s, start := sc.s, sc.pos
	for ; sc.pos < len(s) && isAddressByte(s[sc.pos]); sc.pos++ {
	}
	if sc.pos < len(s) && s[sc.pos] == '>' {
		if !e.angle {
			e.addr = splitAddress(s[start:sc.pos], strings.LastIndexByte(s[start:sc.pos], '@'))
		}
		sc.pos++
		e.angle = true
		return
	}
	sc.pos = start
	sc.angleSlow(e)
}

// isAddressByte reports whether c stands in addresses that need no further look.
func isAddressByte(c byte) bool { return isAtom(c) || c == '.' || c == '@' }

// angleSlow reads an address in brackets that has quotes, comments, white space, a literal or a
// route in it.
func (sc *addressScanner) angleSlow(e *entry) {
	s := sc.s
	b := make([]byte, 0, 64)
	at, route, literal := -1, "", false
loop:
	for sc.pos < len(s) {
		c := s[sc.pos]
		switch {
		case c == '>' || (c == ',' || c == ';') && !literal && !leadsRoute(b):
			if c == '>' {
				sc.pos++
			}
			break loop
		case c == '(' && !literal:
			sc.pos = skipComment(s, sc.pos)
			continue
		case c == '"' && !literal:
			sc.pos++
			b = sc.quotedLocal(b)
			continue
		case c == ':' && !literal && leadsRoute(b):
			route, b, at = string(b), b[:0], -1
		case isBlank(c) || c == '<':
		default:
			if c == '@' {
				at = len(b)
			}
			literal = c == '[' && at == len(b)-1 || literal && c != ']'
			b = append(b, c)
		}
		sc.pos++
	}
	if !e.angle {
		e.addr = splitAddress(string(b), at)
		e.addr.Route = route
	}
	e.angle = true
}

// leadsRoute reports whether what was read inside brackets can only be a source route.
func leadsRoute(b []byte) bool { return len(b) > 0 && b[0] == '@' }

// quotedLocal reads a quoted local part inside brackets.
func (sc *addressScanner) quotedLocal(b []byte) []byte {
	for sc.pos < len(sc.s) {
		c := sc.s[sc.pos]
		sc.pos++
		if c == '"' {
			break
		}
		if c == '\\' && sc.pos < len(sc.s) {
			c = sc.s[sc.pos]
			sc.pos++
		}
		b = append(b, c)
	}
	return b
}

// splitAddress cuts s at its last bare @, given its position or -1.
func splitAddress(s string, at int) Address {
	if at < 0 {
		return Address{Mailbox: s}
	}
	return Address{Mailbox: s[:at], Host: s[at+1:]}
}

// finish makes an address of what was collected and appends it.
func (sc *addressScanner) finish(e *entry) {
	for len(sc.buf) > 0 && sc.buf[len(sc.buf)-1] == ' ' {
		sc.buf = sc.buf[:len(sc.buf)-1]
	}
	if !e.angle && len(sc.buf) == 0 {
		return // an empty entry: ",,"
	}
	a, phrase := e.addr, sc.buf
	if !e.angle {
		a, phrase = sc.bare(e)
	}
	a.Mailbox, a.Host = legacyText(a.Mailbox, sc.hint), legacyText(a.Host, sc.hint)
	a.Route = legacyText(a.Route, sc.hint)
	plain := sc.share(e, phrase)
	if plain == "" && e.comment != "" {
		plain = unquotePairs(e.comment) // "john@example.com (John)", RFC 822 style
	}
	if a.Name = trim(decodeWords(plain, sc.hint)); a.Name != plain && isASCII(plain) {
		a.Raw = plain
	}
	if a.Mailbox == "" || a.Host == "" {
		sc.flaws |= FlawAddress
	}
	sc.append(a)
}

// bare finds the address in an entry without brackets: the word with the @ in it, else a single
// word is a local part, else all of it is a name.
func (sc *addressScanner) bare(e *entry) (a Address, phrase []byte) {
	b := sc.buf
	if e.at < 0 {
		if !e.quoted && (e.word == 0 || e.word >= len(b) && e.before == 0) {
			return Address{Mailbox: string(b)}, nil
		}
		return Address{}, b
	}
	start, end := e.wordAround(b)
	a = splitAddress(string(b[start:end]), e.at-start)
	return a, append(b[:start:start], b[end:]...)
}

// wordAround finds the word of b that holds the @. A quoted local part may hold spaces: then the
// word began with it.
func (e *entry) wordAround(b []byte) (start, end int) {
	start, end = e.at, e.at
	switch {
	case e.word <= e.at:
		start = e.word
	case e.before <= e.at:
		start = e.before
	default:
		for start > 0 && b[start-1] != ' ' {
			start--
		}
	}
	for end < len(b) && b[end] != ' ' {
		end++
	}
	return start, end
}

// share returns phrase as a string, as a part of the input where it stands there unchanged.
func (sc *addressScanner) share(e *entry, phrase []byte) string {
	for len(phrase) > 0 && isBlank(phrase[0]) {
		phrase = phrase[1:]
	}
	for len(phrase) > 0 && isBlank(phrase[len(phrase)-1]) {
		phrase = phrase[:len(phrase)-1]
	}
	if n := len(phrase); n > 0 && e.first >= 0 && e.first+n <= len(sc.s) &&
		sc.s[e.first:e.first+n] == string(phrase) {
		return sc.s[e.first : e.first+n]
	}
	return string(phrase)
}

// unquotePairs drops the backslashes of a comment.
func unquotePairs(s string) string {
	if strings.IndexByte(s, '\\') < 0 {
		return s
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) {
			i++
		}
		b = append(b, s[i])
	}
	return string(b)
}

// asciiHost is the domain in its A-label form (RFC 5890), or as it is when it has none.
func asciiHost(host string) string {
	if isASCII(host) {
		return host
	}
	if a, err := idna.Lookup.ToASCII(host); err == nil {
		return a
	}
	return host
}

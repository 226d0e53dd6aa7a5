package words

import (
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"tram/internal/limits"
)

const (
	// longest is the length in bytes of a word that is learnt; of longer ones only their length is.
	longest = 40
	// held is how much of a longer word is kept while it is read.
	held = 4 * longest
	// fewest is how many letters that stand apart are read as one word: "v i a g r a".
	fewest = 4
	// phone is how many digits a number has that is learnt as it stands: telephone and account numbers.
	phone = 8
)

// kind is where a word stands: the same one elsewhere is another.
type kind byte

const (
	inBody kind = iota
	inSubject
	inFrom
	inTo
	inLink
	inFile
	asSign
)

// names are the kinds as people see them before a word.
var names = [...]string{inSubject: "subject:", inFrom: "from:", inTo: "to:", inLink: "link:", inFile: "file:",
	asSign: "sign:", inBody: ""}

// token is a word, a pair of words or another thing that is learnt.
type token struct {
	hash       uint64
	start, end uint32 // in the reader's arena, or aside
	kind       kind
	aside      bool
}

// word is one that was read, for the pairs that it makes with the next.
type word struct {
	hash, bare uint64 // bare is without marks
	start      uint32
	ok         bool
}

// reader makes tokens of texts.
type reader struct {
	key   sipKey
	known *[lettersEnd]letter
	most  int // tokens
	list  []token
	seen  []uint64 // the hashes in list, by their last bits; 0 is empty
	arena []byte   // the words that were read, folded: they and their pairs are parts of it
	aside []byte   // the texts of all other tokens
	taken []uint64 // bits: words of arena that a clue has used

	// Of the tokens those that say something, as they stand and the strongest first.
	found, sorted []clue
	order         []uint64

	kind  kind
	last  word
	start int // of the word that is being read, in arena

	// Of the word that is being read:
	bare    []byte // without marks, if marked
	marked  bool   // it differs from bare
	length  int    // bytes, those that were dropped too
	letters int
	digits  int
	latin   bool // has Latin letters
	alike   bool // has Cyrillic or Greek letters
	compose bool // it takes NFC to write it
	compat  bool // it takes NFKC to write it
	hidden  bool // has characters that are not seen
	stood   bool // has digits or signs between letters that stand for letters
	money   bool // a sign of money stands before it

	apart []byte // letters that stood apart
}

var readers = sync.Pool{New: func() any { return &reader{} }}

// newReader returns a reader that must be given back with free.
func newReader(key sipKey, most int) *reader {
	r := readers.Get().(*reader)
	size := 1024
	for size < 4*most {
		size *= 2
	}
	if len(r.seen) != size {
		r.seen = make([]uint64, size)
	} else {
		clear(r.seen)
	}
	*r = reader{key: key, known: letters(), most: most, seen: r.seen, list: r.list[:0],
		arena: r.arena[:0], aside: r.aside[:0], taken: r.taken[:0], bare: r.bare[:0], apart: r.apart[:0],
		found: r.found[:0], sorted: r.sorted[:0], order: r.order[:0]}
	return r
}

func (r *reader) free() {
	if cap(r.arena) <= 256*limits.KiB {
		readers.Put(r)
	}
}

// read makes tokens of a whole message. What says most in the fewest words comes first, so that a long
// body cannot crowd it out.
func (r *reader) read(t *Text, lim *limits.Words) {
	for _, s := range t.Signs[:min(len(t.Signs), mostThings)] {
		r.thing(asSign, s)
	}
	for _, s := range t.Files[:min(len(t.Files), mostThings)] {
		r.thing(inFile, s)
	}
	r.sender(t.From)
	for _, h := range t.Hosts[:min(len(t.Hosts), mostThings)] {
		r.host(inLink, h)
	}
	r.text(inSubject, clip(t.Subject, lim.Text/16))
	r.text(inBody, clip(t.Subject, lim.Text/16)) // what a subject says may stand in a text elsewhere
	r.text(inTo, clip(t.To, lim.Text/16))
	r.text(inBody, clip(t.Body, lim.Text))
}

// clip shortens s to n bytes.
func clip(s string, n int) string { return s[:min(len(s), n)] }

// sender makes tokens of a From field: the words of the name, the address and its domains.
func (r *reader) sender(from string) {
	from = clip(from, 4*limits.KiB)
	from = strings.TrimSpace(from)
	name, addr := "", from
	if i := strings.LastIndexAny(from, "< "); i >= 0 {
		name, addr = from[:i], strings.TrimSuffix(from[i+1:], ">")
	}
	if i := strings.LastIndexByte(addr, '@'); i >= 0 {
		r.thing(inFrom, addr)
		r.host(inFrom, addr[i+1:])
	} else {
		name = from
	}
	r.text(inFrom, name)
}

// thing makes one token of s as it is, but for case.
func (r *reader) thing(k kind, s string) {
	r.whole(k, strings.ToLower(clip(strings.TrimSpace(s), 4*longest)))
}

// whole makes one token of s.
func (r *reader) whole(k kind, s string) {
	if s == "" {
		return
	}
	start := len(r.aside)
	r.aside = append(r.aside, s...)
	w := r.aside[start:]
	r.emit(token{hash: r.key.sum(byte(k), w), start: uint32(start), end: uint32(len(r.aside)), kind: k, aside: true})
}

// host makes tokens of a host's name, of the domains it is in, and of the last label.
func (r *reader) host(k kind, h string) {
	h = strings.ToLower(strings.Trim(clip(h, 255), ". \t"))
	labels := strings.Count(h, ".") + 1
	if labels == 1 {
		return
	}
	last := h[strings.LastIndexByte(h, '.')+1:]
	if last == "" || last[0] >= '0' && last[0] <= '9' || h[0] == '[' {
		r.whole(k, "an address")
		return
	}
	for n := 0; n < 5 && labels > 1; n++ {
		r.whole(k, h)
		_, h, _ = strings.Cut(h, ".")
		labels--
	}
	r.whole(k, "."+last)
}

// full reports that no more tokens are taken.
func (r *reader) full() bool { return len(r.list) >= r.most }

// emit takes a token unless it was there already.
func (r *reader) emit(t token) {
	if t.hash == 0 || r.full() {
		return
	}
	at := int(t.hash) & (len(r.seen) - 1)
	for r.seen[at] != 0 {
		if r.seen[at] == t.hash {
			return
		}
		at = (at + 1) & (len(r.seen) - 1)
	}
	r.seen[at] = t.hash
	r.list = append(r.list, t)
}

// text makes tokens of the words of s and of their pairs.
func (r *reader) text(k kind, s string) {
	r.kind, r.last = k, word{}
	r.reset()
	for i := 0; i < len(s) && !r.full(); {
		c := s[i]
		if c >= utf8.RuneSelf {
			ch, size := utf8.DecodeRuneInString(s[i:])
			i += size
			r.rune(ch)
			continue
		}
		switch r.known[c].class {
		case latin:
			r.add(c|0x20, true)
			i++
		case digit:
			r.add(c, false)
			i++
		default:
			i += r.separate(s, i)
		}
	}
	r.flush()
	r.join()
}

// reset begins a word.
func (r *reader) reset() {
	r.start = len(r.arena)
	r.bare = r.bare[:0]
	r.length, r.letters, r.digits = 0, 0, 0
	r.marked, r.latin, r.alike = false, false, false
	r.compose, r.compat, r.hidden, r.stood = false, false, false, false
}

// add adds an ASCII letter or digit to the word.
func (r *reader) add(c byte, isLetter bool) {
	if isLetter {
		r.letters++
		r.latin = true
	} else {
		r.digits++
	}
	r.put(rune(c), rune(c))
}

// put adds a character to the word.
func (r *reader) put(low, bare rune) {
	r.length++
	if r.length > held {
		return
	}
	if low != bare && !r.marked {
		r.marked = true
		r.bare = append(r.bare[:0], r.arena[r.start:]...)
	}
	if low < utf8.RuneSelf {
		r.arena = append(r.arena, byte(low))
	} else {
		r.arena = utf8.AppendRune(r.arena, low)
	}
	if r.marked {
		r.bare = utf8.AppendRune(r.bare, bare)
	}
}

// rune takes a character that is not ASCII.
func (r *reader) rune(ch rune) {
	l := letterOf(r.known, ch)
	switch l.class {
	case separator:
		r.flush()
		r.money = ch == '€' || ch == '£' || ch == '¥' || ch == '₫'
		return
	case nothing:
		r.hidden = r.hidden || r.length > 0
		return
	case mark:
		if r.length == 0 {
			return
		}
		r.compose = true
	case compat:
		r.compat = true
		r.letters++
	case digit:
		r.digits++
	case alone:
		r.flush()
		r.letters++
		r.put(l.low, l.bare)
		r.flush()
		return
	case latin:
		r.latin = true
		r.letters++
	case lookalike:
		r.alike = true
		r.letters++
	case other:
		r.letters++
	}
	r.put(l.low, l.bare)
}

// separate takes an ASCII character that is no letter or digit, and returns how many bytes it took.
func (r *reader) separate(s string, i int) int {
	c := s[i]
	if r.length == 0 {
		r.money = c == '$'
		return r.repeated(s, i)
	}
	next := byte(' ')
	if i+1 < len(s) {
		next = s[i+1]
	}
	isLetter, isDigit := r.known[next&0x7f].class == latin || next >= utf8.RuneSelf, next >= '0' && next <= '9'
	switch {
	case c == '\'' && isLetter:
		return 1
	case (c == '.' || c == ',') && isDigit && r.letters == 0:
		return 1 // digits in groups
	case (c == '!' || c == '$' || c == '|') && isLetter && r.letters == r.length:
		r.stood = true
		r.put(rune(c), rune(c))
		return 1
	case c == ':' && strings.HasPrefix(s[i:], "://"):
		r.drop()
		return 3 + r.link(s[i+3:])
	case c == '.' && r.length == 3 && string(r.arena[r.start:]) == "www":
		r.drop()
		return 1 + r.link(s[i+1:])
	case c == '@' && (isLetter || isDigit):
		r.flush()
		return 1 + r.link(s[i+1:])
	case c == '%' && r.letters == 0:
		r.put('%', '%')
	}
	r.flush()
	return 1
}

// drop forgets the word that is being read.
func (r *reader) drop() {
	r.arena = r.arena[:r.start]
	r.reset()
}

// repeated takes exclamation marks and the like outside of words: several of them are a sign.
func (r *reader) repeated(s string, i int) int {
	c, n := s[i], 1
	if c != '!' && c != '?' && c != '$' {
		return 1
	}
	for i+n < len(s) && s[i+n] == c {
		n++
	}
	if n > 1 {
		r.whole(asSign, s[i:i+2])
	}
	return n
}

// link takes the rest of a link or an address behind its scheme or sign: the host becomes tokens, the path
// is left out.
func (r *reader) link(s string) int {
	end := 0
	for end < len(s) && end < 2*limits.KiB && !strings.ContainsRune(" \t\r\n\"'<>()[]{}", rune(s[end])) {
		end++
	}
	host, _, _ := strings.Cut(s[:end], "/")
	host, _, _ = strings.Cut(host, "?")
	if i := strings.LastIndexByte(host, '@'); i >= 0 {
		host = host[i+1:]
		r.whole(asSign, "name in link")
	}
	host, port, _ := strings.Cut(host, ":")
	if port != "" && port != "80" && port != "443" {
		r.whole(asSign, "port in link")
	}
	r.host(inLink, strings.TrimRight(host, ",;!"))
	r.last = word{}
	return end
}

// flush ends the word that is being read.
func (r *reader) flush() {
	if r.length == 0 {
		return
	}
	r.normalise()
	switch w := r.arena[r.start:]; {
	case len(w) == 0:
		r.reset()
		return
	case len(w) > longest:
		r.tooLong(w)
		r.join()
		r.last = word{}
	case r.latin && r.length == 1:
		if len(r.apart) < longest {
			r.apart = append(r.apart, w...)
		}
		if len(w) > 1 { // a word of Vietnamese, as "ở" is; one letter of ASCII is none
			r.word()
			break
		}
		r.arena = r.arena[:r.start]
	default:
		r.join()
		r.word()
	}
	r.money = false
	r.reset()
}

// tooLong makes a token of the length of a word.
func (r *reader) tooLong(w []byte) {
	ch, _ := utf8.DecodeRune(w)
	r.whole(asSign, "long "+string(ch)+string(rune('0'+min(r.length/longest, 9))))
	r.arena = r.arena[:r.start]
}

// normalise writes the word as it is learnt: composed, in one alphabet, numbers by their length.
func (r *reader) normalise() {
	w := r.arena[r.start:]
	switch {
	case r.compat:
		r.rewrite(norm.NFKC.Bytes(w))
		r.whole(asSign, "other forms")
	case r.compose:
		r.rewrite(norm.NFC.Bytes(w))
	}
	if r.hidden {
		r.whole(asSign, "hidden characters")
	}
	if r.latin && r.alike {
		r.disguised()
	}
	if r.stood {
		r.unmask()
	}
	if r.digits > 0 {
		r.number()
	}
}

// rewrite makes the word another one, whose letters are looked at anew.
func (r *reader) rewrite(w []byte) {
	hidden := r.hidden
	w = append([]byte(nil), w...)
	r.drop()
	r.hidden = hidden
	for len(w) > 0 {
		ch, size := utf8.DecodeRune(w)
		w = w[size:]
		l := letterOf(r.known, ch)
		switch l.class {
		case latin:
			r.latin = true
			r.letters++
		case lookalike:
			r.alike = true
			r.letters++
		case digit:
			r.digits++
		case separator, nothing:
			continue
		default:
			r.letters++
		}
		r.put(l.low, l.bare)
	}
}

// disguised makes one alphabet of a word in two.
func (r *reader) disguised() {
	r.whole(asSign, "two alphabets")
	w := string(r.arena[r.start:])
	r.arena = r.arena[:r.start]
	r.marked = false
	for _, ch := range w {
		if l := looks(ch); l != 0 {
			ch = l
		}
		r.arena = utf8.AppendRune(r.arena, ch)
	}
}

// unmask writes a word with the letters that digits and signs in it stand for.
func (r *reader) unmask() {
	r.whole(asSign, "signs for letters")
	for i, c := range r.arena[r.start:] {
		if l := stands(c); l != 0 {
			r.arena[r.start+i] = l
		}
	}
	r.marked = false
}

// number writes a word with digits: numbers by how many digits they have, and words in which digits
// stand for letters with those.
func (r *reader) number() {
	w := r.arena[r.start:]
	lead := 0
	for lead < len(w) && w[lead] >= '0' && w[lead] <= '9' {
		lead++
	}
	switch tail := len(w) - lead; {
	case lead == 0 && r.between(w):
		if 2*r.digits <= r.letters+1 {
			r.unmask()
			return
		}
	case tail <= 1 && lead >= phone:
		r.whole(r.kind, string(w[:lead]))
		tailed := r.tail(w, lead)
		r.arena = append(r.arena[:r.start], '#', byte('0'+min(lead, 99)/10), byte('0'+min(lead, 99)%10))
		r.arena = append(r.arena, tailed...)
		r.marked = false
		return
	case lead > 0 && tail <= 6:
		tailed := r.tail(w, lead)
		r.arena = r.arena[:r.start]
		if r.money {
			r.arena = append(r.arena, '$')
		}
		r.arena = append(r.arena, '#', byte('0'+min(lead, 9)))
		r.arena = append(r.arena, tailed...)
		r.marked = false
		return
	}
	to, in := r.start, false // names of things: each number in them is any
	for _, c := range w {
		was := in
		if in = c >= '0' && c <= '9'; in {
			if was {
				continue
			}
			c = '#'
		}
		r.arena[to] = c
		to++
	}
	r.arena = r.arena[:to]
	r.marked = false
}

// tail is what stands behind the digits of a number, without marks: "đ" and "d" are one currency.
func (r *reader) tail(w []byte, lead int) string {
	if r.marked && len(r.bare) >= lead {
		return string(r.bare[lead:])
	}
	return string(w[lead:])
}

// between reports whether the word has a digit between letters.
func (r *reader) between(w []byte) bool {
	for i := 1; i+1 < len(w); i++ {
		if stands(w[i]) != 0 && w[i] <= '9' && w[i-1] > '9' && w[i+1] > '9' {
			return true
		}
	}
	return false
}

// word makes tokens of the word that was read and of its pair with the one before it. A pair that is
// written with marks counts without them as well: Vietnamese junk often drops them.
func (r *reader) word() {
	w := word{hash: r.key.sum(byte(r.kind), r.arena[r.start:]), start: uint32(r.start), ok: true}
	w.bare = w.hash
	end := uint32(len(r.arena))
	r.arena = append(r.arena, ' ')
	if r.marked {
		w.bare = r.key.sum(byte(r.kind), r.bare)
	}
	r.emit(token{hash: w.hash, start: w.start, end: end, kind: r.kind})
	if p := r.last; p.ok {
		r.emit(token{hash: r.key.pair(p.hash, w.hash), start: p.start, end: end, kind: r.kind})
		if p.bare != p.hash || w.bare != w.hash {
			r.emit(token{hash: r.key.pair(p.bare, w.bare), start: p.start, end: end, kind: r.kind})
		}
	}
	r.last = w
}

// join makes a word of letters that stood apart.
func (r *reader) join() {
	if utf8.RuneCount(r.apart) >= fewest {
		r.whole(asSign, "letters apart")
		r.whole(r.kind, string(r.apart))
	}
	r.apart = r.apart[:0]
}

// shown is a token as people read it, without characters that do not print.
func (r *reader) shown(t token) string {
	from := r.arena
	if t.aside {
		from = r.aside
	}
	return names[t.kind] + strings.Map(func(c rune) rune {
		if c == utf8.RuneError || !unicode.IsPrint(c) {
			return '?'
		}
		return c
	}, string(from[t.start:t.end]))
}

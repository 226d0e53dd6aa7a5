package content

import (
	"errors"
	"io"
	"mime"
	"slices"
	"strings"
	"unicode"

	"golang.org/x/net/idna"
	"golang.org/x/text/unicode/norm"

	"tram/internal/message"
)

// longName is the longest name, in characters, that people have: beyond it a mail program shows the name
// and cuts the address.
const longName = 100

// FoldName brings a person's name into the form that Options.OwnNames is asked for: without case, marks
// and punctuation, look-alike letters made Latin, words in alphabetical order. "" is the name of nobody.
func FoldName(name string) string {
	name = plainLetters(message.Skeleton(strings.ToLower(norm.NFKC.String(name))))
	words := strings.FieldsFunc(strings.Map(func(r rune) rune {
		if isInvisible(r) || isDirection(r) {
			return -1
		}
		return r
	}, name), func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) })
	if len(words) < 2 { // a single word is a first name, or a shop's: too many share it
		return ""
	}
	slices.Sort(words)
	return strings.Join(words, " ")
}

// sender looks at an address that claims to be the sender's.
func (x *examination) sender(a message.Address) {
	if a.Group != message.NoGroup {
		return
	}
	x.rep.senders = append(x.rep.senders, a)
	shown := a.Display()
	x.characters(a, shown)
	name := norm.NFKC.String(a.Name)
	if len(name) > longName && len([]rune(name)) > longName || strings.Contains(name, "        ") {
		x.add("NAME_LONG", clean(name, 100))
	}
	if strings.Contains(name, "=?") || strings.Contains(a.Mailbox+a.Host, "=?") ||
		strings.ContainsAny(name, "<>\r\n") && strings.Contains(name, "@") {
		x.add("NAME_ENCODED", shown)
	}
	own := x.o.Own.Has(a.Host)
	for addr := range addressesIn(name) {
		if !sameOrganisation(addr[strings.LastIndexByte(addr, '@')+1:], a.Host) {
			x.add("NAME_ADDRESS", shown)
		}
	}
	if strings.Contains(a.Mailbox, "@") {
		x.add("NAME_ADDRESS", shown)
	}
	if x.o.Own != nil && !own && a.Is() {
		folded := looksText(name + " " + a.Mailbox)
		for i := range x.o.Own.list {
			if d := &x.o.Own.list[i]; hasWord(folded, d.org) {
				x.add("NAME_OWN_DOMAIN", shown)
			}
		}
	}
	if x.o.OwnNames != nil && !own && a.Is() {
		if folded := FoldName(name); folded != "" && x.o.OwnNames(folded) {
			x.add("NAME_OWN_PERSON", shown)
		}
	}
}

// senderField looks at the From field as it is written: what stands in comments, what an encoded word holds
// that readers of addresses drop, and white space by the line.
func (x *examination) senderField(raw string) {
	if strings.Contains(raw, strings.Repeat(" ", 30)) {
		x.add("NAME_LONG", clean(raw, 100))
	}
	dec := mime.WordDecoder{CharsetReader: func(string, io.Reader) (io.Reader, error) { return nil, errOtherCharset }}
	shown := raw
	if strings.Contains(raw, "=?") {
		if s, err := dec.DecodeHeader(raw); err == nil {
			shown = s
		}
	}
	if strings.ContainsFunc(shown, func(r rune) bool { return unicode.IsControl(r) && r != '\t' }) {
		x.add("NAME_INVISIBLE", shown)
	}
	for addr := range addressesIn(norm.NFKC.String(shown)) {
		host, known := addr[strings.LastIndexByte(addr, '@')+1:], false
		for _, a := range x.m.Envelope.From {
			known = known || sameOrganisation(host, a.Host)
		}
		if !known {
			x.add("NAME_ADDRESS", shown)
		}
	}
	if x.o.Own != nil && len(x.m.Envelope.From) > 0 && !x.o.Own.Has(x.m.Envelope.From[0].Host) {
		for comment := range commentsIn(shown) {
			for i := range x.o.Own.list {
				if hasWord(looksText(comment), x.o.Own.list[i].org) {
					x.add("NAME_OWN_DOMAIN", shown)
				}
			}
		}
	}
}

// errOtherCharset leaves words of other character sets to the message room, which has read them.
var errOtherCharset = errors.New("another character set")

// commentsIn yields what stands in parentheses.
func commentsIn(s string) func(func(string) bool) {
	return func(yield func(string) bool) {
		for {
			_, rest, ok := strings.Cut(s, "(")
			if !ok {
				return
			}
			comment, after, _ := strings.Cut(rest, ")")
			if !yield(comment) {
				return
			}
			s = after
		}
	}
}

// looksText is text for the search of a domain's name in it.
func looksText(s string) string { return plainLetters(message.Skeleton(strings.ToLower(s))) }

// characters looks at what an address is written in.
func (x *examination) characters(a message.Address, shown string) {
	rtl := strings.ContainsFunc(a.Name, func(r rune) bool {
		return unicode.IsLetter(r) &&
			unicode.In(r, unicode.Hebrew, unicode.Arabic, unicode.Syriac, unicode.Thaana, unicode.Nko)
	})
	var last rune
	for _, r := range a.Name {
		switch {
		case isDirection(r) && !(rtl && (r == 0x200e || r == 0x200f || r == 0x61c)):
			x.add("NAME_DIRECTION", shown)
		case r == 0x200c || r == 0x200d: // part of words in Persian and Indian scripts, and of emoji
			if last < 0x590 {
				x.add("NAME_INVISIBLE", shown)
			}
		case unicode.IsControl(r) && r != '\t', isInvisible(r):
			x.add("NAME_INVISIBLE", shown)
		}
		last = r
	}
	if mixedWord(a.Name) != "" {
		x.add("NAME_SCRIPTS", shown)
	}
	for _, r := range a.Mailbox + a.Host {
		if isDirection(r) || isInvisible(r) || unicode.IsControl(r) {
			x.add("NAME_INVISIBLE", shown)
		}
	}
	if homograph(a.Host) {
		x.add("ADDRESS_HOMOGRAPH", a.Host)
	}
}

// homograph reports whether a host's name deceives: message.Address says so of one in Unicode.
func homograph(host string) bool {
	if strings.Contains(host, "xn--") {
		if u, err := idna.Punycode.ToUnicode(strings.ToLower(host)); err == nil {
			host = u
		}
	}
	for i := 0; i < len(host); i++ {
		if host[i] >= 0x80 {
			return message.Address{Mailbox: "x", Host: host}.Tricks()&(message.TrickScript|message.TrickInvisible|
				message.TrickDirection) != 0 || lookalikeLabel(host)
		}
	}
	return false
}

// lookalikeLabel reports whether a label in another script is nothing but look-alikes of Latin letters, of
// which there are more than message knows twins of.
func lookalikeLabel(host string) bool {
	for label := range strings.SplitSeq(host, ".") {
		s := message.Skeleton(strings.ToLower(label))
		if s != strings.ToLower(label) && isASCII(s) {
			return true
		}
	}
	return false
}

func isASCII(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

// mixedWord finds a word that mixes Latin letters with Cyrillic or Greek ones, "" for none. Letters that are
// used as signs (µ, Ω) stand alone or last.
func mixedWord(s string) string {
	if isASCII(s) {
		return ""
	}
	apart := func(r rune) bool { return !unicode.IsLetter(r) && !unicode.Is(unicode.Mn, r) }
	for word := range strings.FieldsFuncSeq(s, apart) {
		latin, other := 0, 0
		for _, r := range word {
			switch {
			case unicode.Is(unicode.Latin, r):
				latin++
			case r == 'µ', r == 'μ', r == 'Ω':
			case unicode.In(r, unicode.Cyrillic, unicode.Greek, unicode.Armenian, unicode.Cherokee):
				other++
			}
		}
		if latin > 0 && other > 0 {
			return word
		}
	}
	return ""
}

// atSigns makes one of all that stands for an at sign.
var atSigns = strings.NewReplacer("＠", "@", "﹫", "@", "(at)", "@", "[at]", "@", " at ", "@")

// addressesIn yields what looks like addresses in a name: a word, an at sign of any kind, a domain.
func addressesIn(s string) func(func(string) bool) {
	return func(yield func(string) bool) {
		s = strings.ToLower(atSigns.Replace(s))
		for {
			i := strings.IndexByte(s, '@')
			if i < 0 {
				return
			}
			host := strings.TrimLeft(s[i+1:], " ")
			end := strings.IndexFunc(host, func(r rune) bool {
				return !unicode.IsLetter(r) && !unicode.IsDigit(r) && r != '.' && r != '-'
			})
			if end < 0 {
				end = len(host)
			}
			h := strings.Trim(host[:end], ".-")
			if dot := strings.LastIndexByte(h, '.'); dot > 0 && len(h)-dot > 2 && !yield("x@"+h) {
				return
			}
			s = s[i+1:]
		}
	}
}

// sameOrganisation reports whether two hosts belong to one registered domain.
func sameOrganisation(a, b string) bool {
	if strings.EqualFold(a, b) {
		return true
	}
	x, okA := organisation(asciiName(a))
	y, okB := organisation(asciiName(b))
	return okA && okB && x == y
}

// hasWord reports whether s holds a domain's name with no letter or digit around it.
func hasWord(s, name string) bool {
	for {
		i := strings.Index(s, name)
		if i < 0 {
			return false
		}
		before, after := s[:i], s[i+len(name):]
		if (before == "" || !isWordByte(before[len(before)-1])) && (after == "" || !isWordByte(after[0])) {
			return true
		}
		s = after
	}
}

func isWordByte(c byte) bool {
	return c|0x20 >= 'a' && c|0x20 <= 'z' || c >= '0' && c <= '9' || c >= 0x80
}

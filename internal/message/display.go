package message

import (
	"strings"
	"unicode"
)

// Tricks is a set of ways in which an address tries to look like another one.
type Tricks uint8

// The tricks.
const (
	// TrickAddressInName: the display name holds an address, and not this one.
	TrickAddressInName Tricks = 1 << iota
	// TrickDirection: characters that turn the direction of what follows.
	TrickDirection
	// TrickInvisible: characters that show nothing, or controls.
	TrickInvisible
	// TrickScript: a label of the domain mixes scripts that look alike, or is made of nothing but
	// letters that look like Latin ones.
	TrickScript
)

// Tricks looks for what could deceive a reader of the address.
func (a Address) Tricks() Tricks {
	var t Tricks
	if strings.ContainsAny(a.Name, "@＠﹫") && !strings.Contains(lower(a.Name), lower(a.String())) {
		t |= TrickAddressInName
	}
	for _, r := range a.Name + a.Mailbox + a.Host {
		switch {
		case r == 0x61c, r >= 0x202a && r <= 0x202e, r >= 0x2066 && r <= 0x2069, r == 0x200e,
			r == 0x200f:
			t |= TrickDirection
		case unicode.IsControl(r) || invisible(r):
			t |= TrickInvisible
		}
	}
	for label := range strings.SplitSeq(a.Host, ".") {
		if deceptive(label) {
			t |= TrickScript
		}
	}
	return t
}

// Display is the address as it may be shown to a person: name and address, the address whole;
// without characters that are invisible or change direction; the domain in its A-label form where
// its letters deceive.
func (a Address) Display() string {
	host := a.Host
	if a.Tricks()&TrickScript != 0 {
		host = asciiHost(host)
	}
	addr := visible(Address{Mailbox: a.Mailbox, Host: host}.String())
	if name := visible(a.Name); name != "" {
		return name + " <" + addr + ">"
	}
	return addr
}

// visible drops what shows nothing or turns the direction, and makes controls spaces.
func visible(s string) string {
	return trim(strings.Map(func(r rune) rune {
		switch {
		case invisible(r):
			return -1
		case unicode.IsControl(r):
			return ' '
		}
		return r
	}, s))
}

// latinTwins are the lower-case letters of other scripts that look like Latin ones.
const latinTwins = "авсԁеһіјӏкмпорԛѕтԝухуѵ" + "αενικορτυχωγ"

// deceptive reports whether a label of a domain could be taken for another: Latin mixed with
// Cyrillic or Greek, or nothing but their twins.
func deceptive(label string) bool {
	if isASCII(label) {
		return false
	}
	latin, other, twins := false, false, true
	for _, r := range strings.ToLower(label) {
		switch {
		case unicode.Is(unicode.Latin, r):
			latin, twins = true, false
		case unicode.In(r, unicode.Cyrillic, unicode.Greek):
			other = true
			twins = twins && strings.ContainsRune(latinTwins, r)
		case unicode.IsLetter(r):
			twins = false
		}
	}
	return other && (latin || twins)
}

package content

import (
	"io"
	"strings"
	"time"

	"tram/internal/message"
)

// What a Date may be off by: clocks that are wrong by a day's zone, mail that waited in a queue or a draft.
const (
	aheadOfTime = 26 * time.Hour
	longAgo     = 14 * 24 * time.Hour
)

// manyRecipients is more than people write to by hand.
const manyRecipients = 60

// Flaws that honest programs do not make: of the header, and of what it says about the parts.
const (
	oddHeader = message.FlawNoColon | message.FlawNameCharacter | message.FlawSpaceBeforeColon |
		message.FlawLateFold | message.FlawBlankFold | message.FlawDoubleField | message.FlawDoubleFrom |
		message.FlawNoFrom
	oddParts = message.FlawDoubleContentType | message.FlawEncodedParam | message.FlawBoundary |
		message.FlawPartLimit | message.FlawHeaderLimit | message.FlawContentType
)

// header looks at the message's own header.
func (x *examination) header() {
	m := x.m
	x.date()
	if m.MessageID == "" {
		x.add("NO_MESSAGE_ID", m.Envelope.MessageID)
	}
	if strings.TrimSpace(m.Subject) == "" {
		x.add("NO_SUBJECT", "")
	} else if n := brokenWords(m.Subject); n > 0 {
		x.add("ZERO_WIDTH", m.Subject)
	}
	if w := mixedWord(m.Subject); w != "" {
		x.add("MIXED_SCRIPTS", w)
	}
	if m.Flaws.Has(oddHeader) {
		x.add("HEADER_ODD", "")
	}
	if m.Flaws.Has(oddParts) {
		x.add("MIME_AMBIGUOUS", "")
	}
	if m.NUL {
		x.add("NUL_BYTES", "")
	}
	x.authors()
	x.fields()
	to := 0
	for _, list := range [][]message.Address{m.Envelope.To, m.Envelope.Cc} {
		for i := range list {
			if list[i].Is() {
				to++
			}
		}
	}
	switch {
	case to == 0:
		x.add("HIDDEN_RECIPIENTS", "")
	case to > manyRecipients:
		x.add("MANY_RECIPIENTS", "")
	}
	x.senders()
}

// mostSenders is how many addresses of a field are looked at.
const mostSenders = 20

// senders looks at everybody whom the message claims to be from.
func (x *examination) senders() {
	e := &x.m.Envelope
	for _, list := range [][]message.Address{e.From, e.Sender, e.ReplyTo} {
		for _, a := range list[:min(len(list), mostSenders)] {
			again := false
			for _, s := range x.rep.senders {
				again = again || s.Name == a.Name && s.Mailbox == a.Mailbox && s.Host == a.Host
			}
			if !again {
				x.sender(a)
			}
		}
	}
}

// authors notes authors of several domains: programs show one of them.
func (x *examination) authors() {
	var first string
	for _, a := range x.m.Envelope.From {
		switch {
		case !a.Is():
		case first == "":
			first = a.Host
		case !sameOrganisation(first, a.Host):
			x.add("FROM_SEVERAL", first+" and "+a.Host)
			return
		}
	}
	if x.m.Flaws.Has(message.FlawDoubleFrom) {
		x.add("FROM_SEVERAL", first)
	}
}

// date compares the Date with the time of arrival.
func (x *examination) date() {
	switch d := x.m.Date; {
	case d.IsZero():
		x.add("NO_DATE", x.m.Envelope.Date)
	case x.o.Now.IsZero():
	case d.After(x.o.Now.Add(aheadOfTime)):
		x.add("DATE_AHEAD", x.m.Envelope.Date)
	case d.Before(x.o.Now.Add(-longAgo)):
		x.add("DATE_LONG_AGO", x.m.Envelope.Date)
	}
}

// head is the header as it came.
func (x *examination) head() []byte {
	if x.m.Header != nil {
		return x.m.Header
	}
	head := make([]byte, min(x.m.HeaderSize, 256<<10)) // of a message that comes from storage
	n, err := x.r.ReadAt(head, 0)
	if err != nil && err != io.EOF {
		return nil
	}
	return head[:n]
}

// fields looks at the fields that must be seen as they are written: From, and those that the way here has
// left. Each Received has a date, none is in the future, and each is newer than the one below it, as far as
// clocks agree.
func (x *examination) fields() {
	var newer time.Time
	n := 0
	for f := range message.Header(x.head()) {
		if f.Is("From") {
			x.senderField(f.Value())
		}
		if !f.Is("Received") {
			continue
		}
		if n++; n > 30 {
			continue
		}
		v := f.Value()
		d, ok := message.ParseDate(strings.TrimSpace(v[strings.LastIndexByte(v, ';')+1:]))
		odd := !ok || !strings.Contains(v, ";") || !x.o.Now.IsZero() && d.After(x.o.Now.Add(aheadOfTime)) ||
			!newer.IsZero() && d.After(newer.Add(aheadOfTime))
		if odd {
			x.add("RECEIVED_ODD", v)
		}
		newer = d
	}
}

// brokenWords counts invisible characters between Latin letters.
func brokenWords(s string) int {
	if isASCII(s) {
		return 0
	}
	n := 0
	var before, gap rune
	for _, r := range s {
		if isInvisible(r) {
			gap = before
			continue
		}
		letter := r < 0x250 && (r|0x20 >= 'a' && r|0x20 <= 'z' || r >= 0xc0) || r >= 0x1e00 && r < 0x1f00
		if letter && gap != 0 {
			n++
		}
		before, gap = 0, 0
		if letter {
			before = r
		}
	}
	return n
}

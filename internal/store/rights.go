package store

import (
	"fmt"
	"strings"
)

// Rights are what somebody may do with a mailbox, RFC 4314 §2.1. Its owner has all of them, always.
type Rights uint16

// The rights, in the order in which they are written.
const (
	RightLookup  Rights = 1 << iota // l: it shows in lists
	RightRead                       // r: SELECT, STATUS, FETCH, SEARCH, COPY from it
	RightSeen                       // s: keep \Seen
	RightWrite                      // w: change flags other than \Seen and \Deleted
	RightInsert                     // i: APPEND and COPY into it
	RightPost                       // p: send mail to its address
	RightCreate                     // k: make mailboxes below it
	RightDelete                     // x: delete it
	RightTrash                      // t: set \Deleted
	RightExpunge                    // e: EXPUNGE
	RightAdmin                      // a: change who has which rights

	// AllRights is what the owner has.
	AllRights = 2*RightAdmin - 1
)

const rightLetters = "lrswipkxtea"

// Of the two ways that RFC 4314 §2.1.1 leaves, c is k here, and d is x, t and e: who may delete what
// is in a mailbox, in the words of RFC 2086, may delete the mailbox.
const (
	rightsOfC = RightCreate
	rightsOfD = RightDelete | RightTrash | RightExpunge
)

// ParseRights reads letters in any order; c and d of RFC 2086 stand for what RFC 4314 §2.1.1 makes of
// them. ErrInvalidRights for every other character.
func ParseRights(s string) (Rights, error) {
	var r Rights
	for i := 0; i < len(s); i++ {
		switch at := strings.IndexByte(rightLetters, s[i]); {
		case at >= 0:
			r |= 1 << at
		case s[i] == 'c':
			r |= rightsOfC
		case s[i] == 'd':
			r |= rightsOfD
		default:
			return 0, fmt.Errorf("rights %q: %w", s, ErrInvalidRights)
		}
	}
	return r, nil
}

// String returns the letters in the order of RFC 4314 §2.1, without those that are obsolete.
func (r Rights) String() string {
	var b strings.Builder
	for i := range len(rightLetters) {
		if r&(1<<i) != 0 {
			b.WriteByte(rightLetters[i])
		}
	}
	return b.String()
}

// Virtual is String with c and d, where any of their rights is there, for clients that know RFC 2086
// only: answers to GETACL and MYRIGHTS must have them (RFC 4314 §2.1.1).
func (r Rights) Virtual() string {
	s := r.String()
	if r&rightsOfC != 0 {
		s += "c"
	}
	if r&rightsOfD != 0 {
		s += "d"
	}
	return s
}

// Has reports whether all of some rights are there.
func (r Rights) Has(all Rights) bool { return r&all == all }

package imapd

import (
	"slices"

	"tram/internal/imap"
	"tram/internal/store"
)

// After ENABLE UIDONLY (RFC 9586) no message number goes either way: mode.uidOnly. Commands with
// message numbers are refused before they are read (dispatch.go), sets of numbers inside of other
// commands where they are compiled (uidRequired), replies begin with the UID (openFetch), and
// removals are told by VANISHED (tellRemoved). EXISTS and RECENT are counts, and stay.

// errUIDRequired refuses message numbers, RFC 9586 §3.
var errUIDRequired = &imap.Error{
	Code: "UIDREQUIRED", Text: "Message numbers are not for use after ENABLE UIDONLY",
}

// numbered reports whether a command without UID before it takes, or answers with, message numbers.
// All those with a UID form do, but for EXPUNGE, whose argument is the mailbox, and for ESEARCH, which
// is about UIDs in any case.
func numbered(name string) bool {
	return uidCommands[name] && name != "EXPUNGE" && name != "ESEARCH"
}

// keepToUIDs refuses a command with message numbers. The new Outlook, "Microsoft Office 365" 15.20 in the
// cloud, ENABLEs all that it is offered and then goes on with FETCH by number; refused, as RFC 9586 §3
// has it, it shows no mail at all. So the mode ends when such a command comes before any command by UID
// and before a removal was told by UID: until then the numbers are what they were. Nobody who understands
// the mode sends one. What a client says of itself must not decide this (RFC 2971 §1).
func (s *session) keepToUIDs(name string) error {
	switch {
	case !s.mode.uidOnly:
	case s.uid:
		s.mode.uidsUsed = true
	case numbered(name) && s.mode.uidsUsed:
		return errUIDRequired
	case numbered(name):
		s.mode.uidOnly = false
	}
	return nil
}

// enableUIDOnly begins the mode. Results that the client has asked to be kept up to date by message
// number (RFC 5267 §4.3) end here, and it is told so.
func (s *session) enableUIDOnly() {
	s.mode.uidOnly = true
	if s.sel == nil {
		return
	}
	s.sel.contexts = slices.DeleteFunc(s.sel.contexts, func(c *searchContext) bool {
		if !c.uid {
			s.noUpdate(c.tag, "Message numbers have ended, search again by UID")
		}
		return !c.uid
	})
}

// uidRequired returns an error where message numbers may not be used any more. "$" is none: it stands
// for messages, however they are numbered.
func (s *session) uidRequired(set imap.NumSet) error {
	if s.mode.uidOnly && !set.Saved {
		return errUIDRequired
	}
	return nil
}

// openFetch begins a FETCH reply about a message up to its opening parenthesis: "* 7 FETCH (", or
// "* 120 UIDFETCH (" with the UID (RFC 9586 §3.3).
func (s *session) openFetch(b []byte, i int, uid store.UID) []byte {
	b = append(b, "* "...)
	if s.mode.uidOnly {
		return append(imap.AppendNumber(b, uid), " UIDFETCH ("...)
	}
	return append(imap.AppendNumber(b, s.sel.seq(i)), " FETCH ("...)
}

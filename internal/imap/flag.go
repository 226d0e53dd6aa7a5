package imap

import "strings"

// The system flags, RFC 9051 §2.3.2.
const (
	FlagSeen     = `\Seen`
	FlagAnswered = `\Answered`
	FlagFlagged  = `\Flagged`
	FlagDeleted  = `\Deleted`
	FlagDraft    = `\Draft`
	FlagRecent   = `\Recent` // IMAP4rev1 only; set by the server alone
	FlagAny      = `\*`      // in PERMANENTFLAGS: new keywords may be made
)

var systemFlags = []string{
	FlagSeen, FlagAnswered, FlagFlagged, FlagDeleted, FlagDraft, FlagRecent,
}

// canonicalFlag returns the usual case of a system flag.
func canonicalFlag(f string) string {
	for _, s := range systemFlags {
		if strings.EqualFold(f, s) {
			return s
		}
	}
	return f
}

// Special-use attributes of mailboxes, RFC 6154 §2.
const (
	UseAll     = `\All`
	UseArchive = `\Archive`
	UseDrafts  = `\Drafts`
	UseFlagged = `\Flagged`
	UseJunk    = `\Junk`
	UseSent    = `\Sent`
	UseTrash   = `\Trash`
)

// Attributes of mailboxes in LIST replies, RFC 9051 §7.3.1.
const (
	AttrNoSelect      = `\Noselect`
	AttrNonExistent   = `\NonExistent`
	AttrNoAccess      = `\NoAccess` // RFC 5465 §5.9
	AttrNoInferiors   = `\Noinferiors`
	AttrHasChildren   = `\HasChildren`
	AttrHasNoChildren = `\HasNoChildren`
	AttrSubscribed    = `\Subscribed`
)

package imapd

import (
	"errors"

	"tram/internal/imap"
	"tram/internal/store"
)

// What is different in another's mailbox that is selected: the rights to it may change at any time, and
// its account has keywords that are nobody else's business.

// rightsNow returns the rights to the selected mailbox, 0 where they cannot change: in one's own.
func (v *view) rightsNow(tx *store.Tx) (store.Rights, error) {
	if v.account.prefix == "" {
		return 0, nil
	}
	rights, err := tx.Rights(v.id)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return 0, errGone
	case err == nil && !rights.Has(store.RightRead):
		return 0, errShut
	}
	return rights, err
}

// tellTheirFlagNames is tellFlagNames for another's mailbox. PERMANENTFLAGS are those that the person
// may change (RFC 4314 §5.1.1); of the keywords those are told that messages have.
func (s *session) tellTheirFlagNames() {
	v := s.sel
	if v.toldFlags == 0 {
		for _, e := range v.list.Entries(0, v.list.Len()) {
			v.toldFlags |= e.Flags
		}
	}
	var names, permanent []string
	for _, f := range systemFlags {
		names = append(names, f.name)
		if v.rights.Has(rightOf(f.bit)) {
			permanent = append(permanent, f.name)
		}
	}
	keywords := v.keywords.AppendNames(nil, v.toldFlags)
	names = append(names, keywords...)
	if v.rights.Has(store.RightWrite) {
		permanent = append(append(permanent, keywords...), imap.FlagAny)
	}
	text := "Permanent flags"
	if v.readOnly {
		permanent, text = nil, "Read-only"
	}
	p := s.buf()
	*p = append(imap.AppendFlags(append(*p, "* FLAGS "...), names), "\r\n* OK [PERMANENTFLAGS "...)
	*p = append(imap.AppendFlags(*p, permanent), "] "...)
	*p = append(append(*p, s.translate(text)...), "\r\n"...)
}

// rightOf is the right that it takes to change a flag, RFC 4314 §4.
func rightOf(flag store.Flags) store.Rights {
	switch flag {
	case store.Seen:
		return store.RightSeen
	case store.Deleted:
		return store.RightTrash
	}
	return store.RightWrite
}

// learnTheirKeywords announces keywords that messages of another's mailbox have got.
func (s *session) learnTheirKeywords(n *news) {
	v := s.sel
	if n.keywords == nil {
		return
	}
	v.keywords = n.keywords
	seen := v.toldFlags
	for _, list := range [][]store.Entry{n.delta.Added, n.delta.Changed} {
		for _, e := range list {
			seen |= e.Flags
		}
	}
	fresh := seen &^ (v.toldFlags | store.SystemFlags | store.Recent | store.MoreKeywords)
	v.toldFlags = seen
	if fresh != 0 {
		s.tellFlagNames()
	}
}

// sameFlags reports whether a message has the flags that it had in an older list.
func sameFlags(old *store.List, e *store.Entry) bool {
	i, ok := old.Find(e.UID)
	return ok && e.Flags&store.MoreKeywords == 0 && old.At(i).Flags == e.Flags
}

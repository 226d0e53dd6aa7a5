package imapd

import (
	"tram/internal/imap"
	"tram/internal/store"
)

// listMetadata writes METADATA for a mailbox of LIST RETURN (METADATA ...), RFC 9590 §3: each entry
// that was asked for, with NIL where the mailbox has none. The grammar bounds how many those are.
func (s *session) listMetadata(tx *store.Tx, n *listed, names []string) error {
	cmd := imap.GetMetadata{Mailbox: n.name, Entries: names, MaxSize: -1}
	r := &metadataReply{s: s, cmd: &cmd, start: len(*s.buf())}
	r.begin(n.name)
	if err := r.mailbox(tx, n.mailbox, names); err != nil {
		*s.buf() = (*s.buf())[:r.start]
		if isAny(err, store.ErrNoPermission, store.ErrNotFound) {
			return nil // RFC 5464 §3.3: annotations take more rights than to be listed
		}
		return err
	}
	r.end()
	return nil
}

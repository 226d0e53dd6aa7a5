package imapd

import (
	"tram/internal/imap"
	"tram/internal/store"
)

// listMetadata writes METADATA for a mailbox of LIST RETURN (METADATA ...), RFC 9590 §3: each entry
// that was asked for, with NIL where the mailbox has none. The grammar bounds how many those are.
func (s *session) listMetadata(tx *store.Tx, m *store.Mailbox, names []string) error {
	cmd := imap.GetMetadata{Mailbox: m.Name, Entries: names, MaxSize: -1}
	r := &metadataReply{s: s, cmd: &cmd, start: len(*s.buf())}
	r.begin(m.Name)
	if err := r.mailbox(tx, m, names); err != nil {
		return err
	}
	r.end()
	return nil
}

package imapd

import "strings"

// enable is ENABLE, RFC 9051 §6.3.1 and RFC 5161. Unknown names are ignored.
func (s *session) enable() error {
	var names []string
	s.dec.SP()
	names = append(names, strings.ToUpper(s.dec.Atom()))
	for s.dec.TrySP() {
		names = append(names, strings.ToUpper(s.dec.Atom()))
	}
	if err := s.args(); err != nil {
		return err
	}
	enabled := ""
	for _, name := range names {
		if s.enableOne(name) {
			enabled += " " + name
		}
	}
	s.untagged("ENABLED%s", enabled)
	return s.tellMetadata() // what is there now is what the client is taken to know
}

// enableOne switches one extension on, for good, and reports whether it is known. That it was on
// already is no reason to leave it out of the reply.
func (s *session) enableOne(name string) bool {
	switch name {
	case "IMAP4REV2":
		s.mode.rev2 = true
		s.acceptUTF8() // RFC 9051 §5.1: names and strings are UTF-8 from now on
	case "UTF8=ACCEPT":
		s.acceptUTF8() // RFC 6855 §4
	case "CONDSTORE":
		s.condstoreAware()
	case "QRESYNC":
		s.condstoreAware() // RFC 7162 §3.2.3
		s.mode.qresync = true
	case "METADATA":
		if s.metadata == nil || s.metadata.only != nil { // RFC 5464 §4.1
			s.metadata = &metadataNews{}
		}
	case "UIDONLY":
		s.enableUIDOnly() // RFC 9586 §3.1
	default:
		return false
	}
	return true
}

// acceptUTF8 makes names and strings UTF-8, both ways.
func (s *session) acceptUTF8() {
	s.mode.utf8 = true
	s.dec.UTF8 = true
}

// condstoreAware notes that the client knows mod-sequences (RFC 7162 §3.1). The first time, it is
// told that of the selected mailbox.
func (s *session) condstoreAware() {
	if s.mode.condstore {
		return
	}
	s.mode.condstore = true
	if s.sel != nil {
		s.untagged("OK [HIGHESTMODSEQ %d] Mod-sequences are on", s.sel.safe)
	}
}

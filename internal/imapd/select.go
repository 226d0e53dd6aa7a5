package imapd

import (
	"tram/internal/imap"
	"tram/internal/store"
)

// Opening a mailbox reads its row and takes its packed list, which other sessions share; it costs the
// same for any size once the list is in memory.

// selectMailbox is SELECT, RFC 9051 §6.3.2.
func (s *session) selectMailbox() error { return s.open(false) }

// examine is EXAMINE, RFC 9051 §6.3.3.
func (s *session) examine() error { return s.open(true) }

// open reads the arguments of SELECT and EXAMINE and opens the mailbox.
func (s *session) open(readOnly bool) error {
	s.dec.SP()
	name := s.dec.Mailbox()
	var resync *resync
	condstore := false
	if s.dec.TrySP() {
		s.dec.List(func() {
			switch s.dec.Label() {
			case "CONDSTORE": // RFC 7162 §3.1.8
				condstore = true
			case "QRESYNC":
				s.dec.SP()
				resync = s.resyncArguments()
			default:
				s.dec.Bad("Unknown SELECT parameter")
			}
		})
	}
	if err := s.args(); err != nil {
		return err
	}
	if resync != nil && !s.mode.qresync {
		return &imap.Error{Text: "QRESYNC needs ENABLE QRESYNC"} // RFC 7162 §3.2.5
	}
	s.deselect(true)
	if condstore {
		s.mode.condstore = true
	}
	return s.runOpen(name, readOnly, resync)
}

// deselect leaves the selected mailbox. SELECT says so (RFC 7162 §3.2.11, RFC 9051 §7.1 CLOSED).
func (s *session) deselect(say bool) {
	if s.sel == nil {
		return
	}
	s.sel = nil
	s.saved = nil // RFC 5182 §2.1
	if say {
		s.untagged("OK [CLOSED] Previous mailbox is closed")
	}
}

// runOpen opens the mailbox in one snapshot, which writes nothing: see recent.go.
func (s *session) runOpen(name string, readOnly bool, resync *resync) error {
	at, err := s.place(name)
	if err != nil {
		return err
	}
	s.attendTo(at.account)
	var m *store.Mailbox
	v := &view{account: at.account, readOnly: readOnly}
	err = at.view(s.ctx, func(tx *store.Tx) (err error) {
		if m, err = s.mailboxToOpen(tx, at.name); err != nil {
			return err
		}
		if v.list, err = tx.List(m.ID); err != nil {
			return err
		}
		v.at = tx.ModSeq()
		v.keywords, err = tx.Keywords()
		return err
	})
	if err != nil {
		return err
	}
	v.rights = m.Rights
	v.id, v.uidValidity, v.safe = m.ID, m.UIDValidity, v.list.HighestModSeq()
	s.sel = v
	s.claimRecent(v, m)
	s.describe(m)
	if resync != nil {
		if err := s.resync(resync); err != nil {
			s.deselect(false)
			return err
		}
	}
	s.code = "READ-WRITE"
	if readOnly || v.rights&changingRights == 0 {
		s.code = "READ-ONLY"
	}
	return nil
}

// changingRights are those without any of which a mailbox is READ-ONLY, RFC 4314 §5.2. The right to
// \Seen is not among them: in another's mailbox that flag is one's own, and not shared.
const changingRights = store.RightInsert | store.RightExpunge | store.RightWrite | store.RightTrash

// mailboxToOpen returns the mailbox with what describe tells of it: its place among the others goes
// into the LIST reply of IMAP4rev2 alone, and is not read for nothing.
func (s *session) mailboxToOpen(tx *store.Tx, name string) (*store.Mailbox, error) {
	if s.mode.rev2 {
		return tx.MailboxByName(name)
	}
	id, _, err := tx.FindMailbox(name)
	if err != nil {
		return nil, err
	}
	return tx.Counts(id)
}

// describe sends the untagged replies of SELECT and EXAMINE.
func (s *session) describe(m *store.Mailbox) {
	v := s.sel
	s.untagged("%d EXISTS", v.count())
	if !s.mode.rev2 {
		s.untagged("%d RECENT", v.recentCount())
		if i := v.firstUnseen(m); i >= 0 && !s.mode.uidOnly {
			s.untagged("OK [UNSEEN %d] First unseen", i+1)
		}
	}
	s.untagged("OK [UIDVALIDITY %d] UIDs valid", m.UIDValidity)
	s.untagged("OK [UIDNEXT %d] Predicted next UID", m.UIDNext)
	s.tellFlagNames()
	// RFC 7162 §3.1.2.1: always, so that a client can resume whenever it learns to.
	s.untagged("OK [HIGHESTMODSEQ %d] Highest", v.safe)
	p := s.buf()
	*p = append(*p, "* OK [MAILBOXID ("...) // RFC 8474 §4.2
	*p = append(v.account.appendID(*p, mailboxPrefix, uint64(m.ID)), ")] Ok\r\n"...)
	if s.mode.rev2 {
		s.listReply(&listed{mailbox: m, name: v.account.called(m.Name)}, "LIST", nil)
	}
}

// firstUnseen returns the index of the first message without \Seen, -1 when there is none.
func (v *view) firstUnseen(m *store.Mailbox) int {
	if m.Unseen == 0 {
		return -1
	}
	for i, e := range v.list.Entries(0, v.list.Len()) {
		if e.Flags&store.Seen == 0 {
			return i
		}
	}
	return -1
}

// closeMailbox is CLOSE, RFC 9051 §6.4.1: EXPUNGE without a word, then UNSELECT. It has no
// HIGHESTMODSEQ (RFC 7162 §3.2.8).
func (s *session) closeMailbox() error {
	if err := s.args(); err != nil {
		return err
	}
	if !s.sel.readOnly && s.sel.may(store.RightExpunge) == nil { // RFC 4314 §4
		if _, err := s.removeDeleted(nil); err != nil {
			return s.gone(err)
		}
	}
	s.deselect(false)
	return nil
}

// unselect is UNSELECT, RFC 9051 §6.4.2 and RFC 3691.
func (s *session) unselect() error {
	if err := s.args(); err != nil {
		return err
	}
	s.deselect(false)
	return nil
}

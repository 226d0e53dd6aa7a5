package imapd

import (
	"tram/internal/imap"
	"tram/internal/store"
)

// statusItem appends an item's value.
type statusItem func(q statusQuestion, m *store.Mailbox, b []byte) ([]byte, error)

// statusQuestion is what items need beside the mailbox. tx is nil where none does.
type statusQuestion struct {
	s  *session
	a  *account // that the mailbox is in
	tx *store.Tx
}

// statusItems is every item of STATUS; an extension adds its line here.
var statusItems = map[string]statusItem{
	"MESSAGES":      number(func(m *store.Mailbox) uint64 { return uint64(m.Messages) }),
	"UIDNEXT":       number(func(m *store.Mailbox) uint64 { return uint64(m.UIDNext) }),
	"UIDVALIDITY":   number(func(m *store.Mailbox) uint64 { return uint64(m.UIDValidity) }),
	"UNSEEN":        number(func(m *store.Mailbox) uint64 { return uint64(m.Unseen) }),
	"DELETED":       number(func(m *store.Mailbox) uint64 { return uint64(m.Deleted) }),
	"SIZE":          number(func(m *store.Mailbox) uint64 { return uint64(m.Size) }), // RFC 8438
	"HIGHESTMODSEQ": number(func(m *store.Mailbox) uint64 { return uint64(m.HighestModSeq) }),
	"RECENT":        statusQuestion.recent, // RFC 3501 §6.3.10
	"MAILBOXID": func(q statusQuestion, m *store.Mailbox, b []byte) ([]byte, error) {
		return append(q.a.appendID(append(b, '('), mailboxPrefix, uint64(m.ID)), ')'), nil
	},
	"APPENDLIMIT": func(q statusQuestion, _ *store.Mailbox, b []byte) ([]byte, error) {
		return imap.AppendNumber(b, q.s.srv.o.Limits.AppendSize), nil // RFC 7889 §3.1
	},
	"DELETED-STORAGE": statusQuestion.deletedStorage,
}

// number is for items that are a counter of the mailbox.
func number(of func(*store.Mailbox) uint64) statusItem {
	return func(_ statusQuestion, m *store.Mailbox, b []byte) ([]byte, error) {
		return imap.AppendNumber(b, of(m)), nil
	}
}

// status is STATUS, RFC 9051 §6.3.11. All but two items are counters of the mailbox's row.
func (s *session) status() error {
	s.dec.SP()
	name := s.dec.Mailbox()
	s.dec.SP()
	items := s.dec.StatusItems()
	s.checkStatus(items)
	if err := s.args(); err != nil {
		return err
	}
	at, err := s.place(name)
	if err != nil {
		return err
	}
	return at.view(s.ctx, func(tx *store.Tx) error {
		m, err := tx.MailboxByName(at.name)
		if err != nil {
			return err
		}
		if err := needs(m.Rights, store.RightRead); err != nil {
			return err
		}
		return statusQuestion{s, at.account, tx}.reply(m, items)
	})
}

// checkStatus refuses unknown items, and takes note of a client that knows mod-sequences.
func (s *session) checkStatus(items []string) {
	for _, item := range items {
		if statusItems[item] == nil {
			s.dec.Bad("Unknown status item")
		}
	}
	for _, item := range items {
		if item == "HIGHESTMODSEQ" && s.dec.Err() == nil {
			s.condstoreAware() // RFC 7162 §3.1
		}
	}
}

// reply writes STATUS, for the command and for LIST RETURN (STATUS).
func (q statusQuestion) reply(m *store.Mailbox, items []string) error {
	s := q.s
	b := append(*s.buf(), "* STATUS "...)
	b = append(imap.AppendMailbox(b, q.a.called(m.Name), s.mode.utf8), " ("...)
	for i, item := range items {
		if i > 0 {
			b = append(b, ' ')
		}
		b = append(append(b, item...), ' ')
		var err error
		if b, err = statusItems[item](q, m, b); err != nil {
			return err
		}
	}
	*s.buf() = append(b, ")\r\n"...)
	return nil
}

// recent counts the messages that no session has heard of.
func (q statusQuestion) recent(m *store.Mailbox, b []byte) ([]byte, error) {
	from := q.a.recent.next(m)
	if from == m.RecentFrom {
		return imap.AppendNumber(b, m.Recent), nil
	}
	list, err := q.tx.List(m.ID)
	if err != nil {
		return b, err
	}
	i, _ := list.Find(from)
	return imap.AppendNumber(b, list.Len()-i), nil
}

// deletedStorage sums the sizes of the messages that EXPUNGE would remove (RFC 9208 §4.1.4).
func (q statusQuestion) deletedStorage(m *store.Mailbox, b []byte) ([]byte, error) {
	sum := int64(0)
	if m.Deleted > 0 {
		list, err := q.tx.List(m.ID)
		if err != nil {
			return b, err
		}
		for _, e := range list.Flagged(store.Deleted) {
			sum += int64(e.Size)
		}
	}
	return imap.AppendNumber(b, sum), nil
}

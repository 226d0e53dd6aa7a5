package imapd

import (
	"cmp"
	"errors"
	"slices"
	"strings"
	"sync"

	"tram/internal/imap"
	"tram/internal/store"
)

// Unsolicited METADATA (RFC 5464 §4.4): a session that enabled it remembers which annotations there
// are and when each was changed, and tells the difference to the newest state where it tells other
// news. That state is one immutable table, shared by all sessions of the account that know the same;
// who only looks whether anything has changed reads a row of the account's and one of its domain's.

// marks are the annotations of an account and its mailboxes, or of a domain, without their values.
type marks struct {
	at    store.ModSeq // of the last change
	list  []mark       // by mailbox and name
	roles [roleCount]store.MailboxID
}

// roleCount is more than there are roles.
const roleCount = 16

// mark is one annotation, of the server where id is 0.
type mark struct {
	id   store.MailboxID
	name string // as it was set
	at   store.ModSeq
}

func (m mark) compare(o mark) int {
	return cmp.Or(cmp.Compare(m.id, o.id), strings.Compare(strings.ToLower(m.name), strings.ToLower(o.name)))
}

// sharedMarks are the newest that a session of the account has read.
type sharedMarks struct {
	mu          sync.Mutex
	own, domain *marks
}

// metadataNews is what a session that enabled METADATA knows. nil marks: it has not looked yet.
type metadataNews struct {
	own, domain *marks
	// only is set when the session has not enabled METADATA, but asked NOTIFY for changes.
	only *wishes
}

// wants reports whether the client is to hear of annotations of a mailbox, or of the server.
func (k *metadataNews) wants(id store.MailboxID, m *store.Mailbox) bool {
	switch {
	case k.only == nil:
		return true
	case id == 0:
		return k.only.others()&serverMetadata != 0 // RFC 5465 §5.7
	}
	return k.only.of(m.Name, m.Subscribed)&mailboxMetadata != 0 // RFC 5465 §5.6
}

// readMarks returns the marks of the account. Those that come of an Update are not shared: it may
// not come about.
func (s *session) readMarks(tx *store.Tx, update bool) (*marks, error) {
	at, err := tx.AnnotationsAt()
	if err != nil {
		return nil, err
	}
	m := &marks{at: at}
	for role := range specialUses {
		m.roles[role] = tx.RoleMailbox(role)
	}
	shared := &s.account.marks
	shared.mu.Lock()
	known := shared.own
	shared.mu.Unlock()
	if known != nil && known.at == at && known.roles == m.roles {
		return known, nil
	}
	err = tx.EachAnnotation(func(id store.MailboxID, a store.Annotation) error {
		m.list = append(m.list, mark{id, a.Name, a.ModSeq})
		return nil
	})
	if err != nil || update {
		return m, err
	}
	shared.mu.Lock()
	shared.own = m
	shared.mu.Unlock()
	return m, nil
}

// readDomainMarks returns the marks of the domain.
func (s *session) readDomainMarks() (m *marks, err error) {
	shared := &s.account.marks
	err = s.srv.o.Store.ViewDomainAnnotations(s.ctx, s.domain, func(a *store.Annotations) error {
		at, err := a.At()
		if err != nil {
			return err
		}
		shared.mu.Lock()
		m = shared.domain
		shared.mu.Unlock()
		if m != nil && m.at == at {
			return nil
		}
		m = &marks{at: at}
		err = a.Each("/shared", func(e store.Annotation) error {
			m.list = append(m.list, mark{0, e.Name, e.ModSeq})
			return nil
		})
		if err == nil {
			shared.mu.Lock()
			shared.domain = m
			shared.mu.Unlock()
		}
		return err
	})
	return m, err
}

// difference returns the annotations that are in one of two tables only, or changed in between.
func difference(old, now *marks) (out []mark) {
	if old == now || old == nil {
		return nil
	}
	a, b := old.list, now.list
	for len(a) > 0 || len(b) > 0 {
		order := 0
		switch {
		case len(a) == 0:
			order = 1
		case len(b) == 0:
			order = -1
		default:
			order = a[0].compare(b[0])
		}
		switch {
		case order < 0:
			out, a = append(out, a[0]), a[1:]
		case order > 0:
			out, b = append(out, b[0]), b[1:]
		default:
			if a[0].at != b[0].at {
				out = append(out, b[0])
			}
			a, b = a[1:], b[1:]
		}
	}
	for role, id := range now.roles {
		was := old.roles[role]
		for _, box := range []store.MailboxID{was, id} {
			if was != id && box != 0 { // RFC 6154 §4: the entry is tied to the role
				out = append(out, mark{id: box, name: entrySpecialUse})
			}
		}
	}
	slices.SortStableFunc(out, mark.compare)
	return slices.CompactFunc(out, func(x, y mark) bool { return x.compare(y) == 0 })
}

// leaveOut leaves out what the session has set itself.
func leaveOut(all []mark, id store.MailboxID, values []imap.EntryValue) []mark {
	return slices.DeleteFunc(all, func(m mark) bool {
		return m.id == id && slices.ContainsFunc(values, func(v imap.EntryValue) bool {
			return strings.EqualFold(v.Name, m.name)
		})
	})
}

// appendMarks appends the METADATA replies for changed annotations: names without values. Those of a
// mailbox that is gone are not told.
func (s *session) appendMarks(dst []byte, tx *store.Tx, all []mark) ([]byte, error) {
	for len(all) > 0 {
		id, n := all[0].id, 1
		for n < len(all) && all[n].id == id {
			n++
		}
		name := ""
		var m *store.Mailbox
		if id != 0 {
			var err error
			m, err = tx.Mailbox(id)
			if errors.Is(err, store.ErrNotFound) {
				all = all[n:]
				continue
			}
			if err != nil {
				return dst, err
			}
			name = m.Name
		}
		if !s.metadata.wants(id, m) {
			all = all[n:]
			continue
		}
		dst = imap.AppendMailbox(append(dst, "* METADATA "...), name, s.mode.utf8)
		for _, m := range all[:n] {
			dst = imap.AppendAString(append(dst, ' '), m.name, false)
		}
		dst = append(dst, "\r\n"...)
		all = all[n:]
	}
	return dst, nil
}

// tellMetadata tells a session that enabled METADATA what others have changed.
func (s *session) tellMetadata() error {
	known := s.metadata
	if known == nil {
		return nil
	}
	var own *marks
	var lines []byte
	err := s.view(func(tx *store.Tx) (err error) {
		if own, err = s.readMarks(tx, false); err != nil {
			return err
		}
		lines, err = s.appendMarks(nil, tx, difference(known.own, own))
		return err
	})
	if err != nil {
		return err
	}
	domain, err := s.readDomainMarks()
	if err != nil {
		return err
	}
	// Those of the server have no mailbox that would have to be read.
	lines, err = s.appendMarks(lines, nil, difference(known.domain, domain))
	known.own, known.domain = own, domain
	*s.buf() = append(*s.buf(), lines...)
	return err
}

// annotating runs a transaction that sets annotations of a mailbox, whose identifier fn returns, or of
// the server. A session that enabled METADATA is told what others have changed, and what came of its
// own change beside what it asked for.
func (s *session) annotating(update func(func(*store.Tx) error) error, values []imap.EntryValue,
	fn func(tx *store.Tx) (store.MailboxID, error)) error {
	known := s.metadata
	if known == nil {
		return update(func(tx *store.Tx) error {
			_, err := fn(tx)
			return err
		})
	}
	var after *marks
	var lines []byte
	err := update(func(tx *store.Tx) error {
		before, err := s.readMarks(tx, true)
		if err != nil {
			return err
		}
		id, err := fn(tx)
		if err != nil {
			return err
		}
		if after, err = s.readMarks(tx, true); err != nil {
			return err
		}
		news := append(difference(known.own, before), leaveOut(difference(before, after), id, values)...)
		slices.SortStableFunc(news, mark.compare)
		lines, err = s.appendMarks(nil, tx, news)
		return err
	})
	if err != nil {
		return err
	}
	known.own = after
	*s.buf() = append(*s.buf(), lines...)
	return nil
}

// skipDomainMetadata takes note of the session's own change of shared annotations of the server.
func (s *session) skipDomainMetadata(values []imap.EntryValue) error {
	known := s.metadata
	if known == nil {
		return nil
	}
	now, err := s.readDomainMarks()
	if err != nil {
		return err
	}
	lines, err := s.appendMarks(nil, nil, leaveOut(difference(known.domain, now), 0, values))
	known.domain = now
	*s.buf() = append(*s.buf(), lines...)
	return err
}

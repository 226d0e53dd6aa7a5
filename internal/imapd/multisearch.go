package imapd

import (
	"slices"
	"strings"

	"tram/internal/imap"
	"tram/internal/store"
)

// MULTISEARCH, RFC 7377: ESEARCH is a search in several mailboxes, which need not be selected, in one
// snapshot of the account. Its replies are about UIDs and say of which mailbox.

// multiSearch is an ESEARCH command.
type multiSearch struct {
	searchCommand
	sources []imap.SearchSource
	others  bool // it is not about the selected mailbox alone
}

// esearch is ESEARCH, RFC 7377 §2. UID before it, as in an example of §2, says nothing new.
func (s *session) esearch() error {
	s.uid = true
	s.dec.SP()
	m := &multiSearch{}
	if s.peekWord() == "IN" {
		s.dec.Label()
		s.dec.SP()
		m.sources = s.dec.SearchSources()
		s.dec.SP()
	}
	var err error
	if m.searchCommand, err = s.searchArguments(); err != nil {
		return s.searchFailed(m.searchCommand, err)
	}
	s.checkMulti(m)
	if err := s.args(); err != nil {
		return err
	}
	return s.runMulti(m)
}

// checkMulti refuses what is about a selected mailbox when it cannot be (RFC 7377 §2.2).
func (s *session) checkMulti(m *multiSearch) {
	m.extended = true
	if m.sources == nil {
		m.sources = []imap.SearchSource{{Filter: "SELECTED"}}
	}
	selected := false
	for _, source := range m.sources {
		selected = selected || source.Filter == "SELECTED"
		m.others = m.others || source.Filter != "SELECTED"
	}
	switch {
	case s.sel == nil && selected:
		s.dec.Bad("No mailbox is selected")
	case s.sel == nil && m.options["UPDATE"]:
		s.dec.Bad("UPDATE needs a selected mailbox")
	case m.others && m.options["SAVE"]:
		s.dec.Bad("SAVE is for the selected mailbox alone")
	case m.options["UPDATE"] && s.sel.context(s.tag) >= 0:
		s.dec.Bad("Tag reuse") // RFC 5267 §4.3
	}
}

// runMulti searches, and answers for each mailbox as soon as it is through. The replies go to memory,
// as a snapshot does not wait for a client.
func (s *session) runMulti(m *multiSearch) error {
	if err := s.expandFilters(&m.key); err != nil {
		return s.searchFailed(m.searchCommand, err)
	}
	modseq := m.key.Uses("MODSEQ")
	if modseq {
		s.condstoreAware()
	}
	may := mayExpunge
	if m.key.Uses("SEQ") {
		may = noExpunge // RFC 7162 §3.2.10.2
	}
	// "$" in the keys is the result before this one; nothing is found where there is no reply.
	var saved []imap.Range
	var context *searchContext
	err := s.inTurn(func(tx *store.Tx) error {
		if s.sel != nil {
			if err := s.searchNews(tx, may); err != nil {
				return err
			}
		}
		boxes, err := s.multiBoxes(tx, m.sources)
		if err != nil || len(boxes) == 0 {
			return err
		}
		c := &compiler{s: s, tx: tx}
		q := store.Query{}
		at := make(map[store.MailboxID]*multiBox, len(boxes))
		for _, b := range boxes {
			c.views = append(c.views, b.view)
			q.Mailboxes = append(q.Mailboxes, b.view.id)
			at[b.view.id] = b
		}
		if q.Filter, err = c.compile(&m.key); err != nil {
			return err
		}
		q.Each = func(list *store.List, hits []store.Hit) error {
			b, f := at[list.Mailbox()], newFound(hits)
			v := *b.view
			v.list = list
			if b.view == s.sel {
				if m.options["SAVE"] {
					saved = v.saveable(m.searchCommand, f.indexes)
				}
				if m.options["UPDATE"] {
					context = s.newContext(m.searchCommand, f.indexes)
					context.source = b.correlators(s.mode.utf8)
				}
			}
			s.multiReply(m, b, &v, f, modseq)
			return nil
		}
		_, err = tx.Query(q)
		return err
	})
	if err != nil {
		return s.searchFailed(m.searchCommand, s.gone(err))
	}
	if m.options["SAVE"] {
		s.saved = saved
	}
	switch {
	case context != nil:
		s.keepContext(context)
	case m.options["UPDATE"]:
		s.noUpdate(s.tag, "The selected mailbox is not searched")
	}
	return nil
}

// multiReply writes the ESEARCH reply of a mailbox, if there is anything to tell (RFC 7377 §2.1).
func (s *session) multiReply(m *multiSearch, b *multiBox, v *view, f *found, modseq bool) {
	if len(f.indexes) == 0 || len(m.options) == 1 && m.options["SAVE"] {
		return
	}
	out := append(*s.buf(), "* ESEARCH (TAG "...)
	out = imap.AppendString(out, s.tag, false)
	out = append(append(out, b.correlators(s.mode.utf8)...), ") UID"...)
	*s.buf() = append(m.appendData(out, v, f, true, modseq), "\r\n"...)
}

// multiBox is a mailbox that ESEARCH looks into.
type multiBox struct {
	view *view // of the session, or one without list
	name string
}

// correlators are those that say which mailbox a reply is about.
func (b *multiBox) correlators(utf8 bool) string {
	out := imap.AppendMailbox([]byte(" MAILBOX "), b.name, utf8)
	return string(imap.AppendNumber(append(out, " UIDVALIDITY "...), b.view.uidValidity))
}

// multiBoxes finds the mailboxes of the sources, each once, in the order of LIST. Names that do not
// exist are left out, as those of mailboxes are that one may not see (RFC 7377 §5).
func (s *session) multiBoxes(tx *store.Tx, sources []imap.SearchSource) ([]*multiBox, error) {
	w, err := s.multiWanted(tx, sources)
	if err != nil {
		return nil, err
	}
	var out []*multiBox
	add := func(m *store.Mailbox) error {
		if limit := s.srv.o.Limits.SearchMailboxes; limit > 0 && len(out) >= limit {
			return &no{"LIMIT", "Too many mailboxes to search at once"} // RFC 7377 §2.4
		}
		out = append(out, s.multiBox(m))
		return nil
	}
	if !w.scan {
		for _, m := range w.named {
			if err := add(m); err != nil {
				return nil, err
			}
		}
		return out, nil
	}
	err = tx.EachMailbox(func(m *store.Mailbox) error {
		if !w.wants(m) {
			return nil
		}
		return add(m)
	})
	return out, err
}

// multiBox makes a view of a mailbox: the session's, if it is the selected one.
func (s *session) multiBox(m *store.Mailbox) *multiBox {
	if s.sel != nil && s.sel.id == m.ID {
		return &multiBox{s.sel, m.Name}
	}
	v := &view{id: m.ID, uidValidity: m.UIDValidity}
	if from := s.account.recent.next(m); !s.mode.rev2 && from < m.UIDNext {
		// What would be \Recent to this session if it were selected (RFC 3501 §2.3.2).
		v.recent = []store.UIDRange{{First: from, Last: m.UIDNext - 1}}
	}
	return &multiBox{v, m.Name}
}

// wanted says which mailboxes the sources of an ESEARCH mean.
type wanted struct {
	scan       bool // they are found by going through all
	all        bool
	subscribed bool
	named      map[store.MailboxID]*store.Mailbox // by themselves
	above      []string                           // names with "/" after them: all below
	parents    []string                           // the same: their children
}

// multiWanted reads the names. INBOXES are all mailboxes, as rules may file mail anywhere (RFC 5465
// §6.3). In a tree of rows there are no loops.
func (s *session) multiWanted(tx *store.Tx, sources []imap.SearchSource) (*wanted, error) {
	w := &wanted{named: map[store.MailboxID]*store.Mailbox{}}
	for _, source := range sources {
		switch source.Filter {
		case "SELECTED":
			m, err := tx.Mailbox(s.sel.id)
			if err != nil {
				return nil, err
			}
			w.named[m.ID] = m
		case "PERSONAL", "INBOXES":
			w.all = true
		case "SUBSCRIBED":
			w.subscribed = true
		}
		for _, name := range source.Names {
			m, err := find(tx, name)
			if err != nil {
				return nil, err
			}
			if m == nil {
				continue
			}
			w.named[m.ID] = m
			switch source.Filter {
			case "SUBTREE":
				w.above = append(w.above, m.Name+"/")
			case "SUBTREE-ONE":
				w.parents = append(w.parents, m.Name+"/")
			}
		}
	}
	w.scan = w.all || w.subscribed || len(w.named) > 1 || len(w.above)+len(w.parents) > 0
	return w, nil
}

// wants reports whether a mailbox is searched.
func (w *wanted) wants(m *store.Mailbox) bool {
	if w.all || w.named[m.ID] != nil || w.subscribed && m.Subscribed {
		return true
	}
	below := func(prefix string) bool { return strings.HasPrefix(m.Name, prefix) }
	return slices.ContainsFunc(w.above, below) ||
		slices.ContainsFunc(w.parents, func(prefix string) bool {
			rest, found := strings.CutPrefix(m.Name, prefix)
			return found && !strings.Contains(rest, "/")
		})
}

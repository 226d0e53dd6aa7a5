package imapd

import (
	"slices"

	"tram/internal/imap"
	"tram/internal/store"
)

// MULTISEARCH, RFC 7377: ESEARCH is a search in several mailboxes, which need not be selected, in one
// snapshot of each account. Which they are is found in multiboxes.go. Its replies are about UIDs and
// say of which mailbox.

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

// runMulti searches account after account, each in one snapshot, and answers for each mailbox as soon as
// it is through. The replies go to memory, as a snapshot does not wait for a client.
func (s *session) runMulti(m *multiSearch) error {
	if err := s.expandFilters(&m.key); err != nil {
		return s.searchFailed(m.searchCommand, err)
	}
	r := &multiRun{s: s, multiSearch: m, modseq: m.key.Uses("MODSEQ"), may: mayExpunge}
	if r.modseq {
		s.condstoreAware()
	}
	if m.key.Uses("SEQ") {
		r.may = noExpunge // RFC 7162 §3.2.10.2
	}
	if err := r.run(); err != nil {
		return s.searchFailed(m.searchCommand, s.gone(err))
	}
	if m.options["SAVE"] {
		s.saved = r.saved
	}
	switch {
	case r.context != nil:
		s.keepContext(r.context)
	case m.options["UPDATE"]:
		s.noUpdate(s.tag, "The selected mailbox is not searched")
	}
	return nil
}

// multiRun is an ESEARCH that runs.
type multiRun struct {
	s *session
	*multiSearch
	modseq bool
	may    expunging
	in     multiPlaces
	before int // mailboxes searched in accounts before this one
	boxes  int // and in this one
	// "$" in the keys is the result before this one; nothing is found where there is no reply.
	saved   []imap.Range
	context *searchContext
}

// run searches all accounts that the sources name.
func (r *multiRun) run() error {
	if err := r.locate(); err != nil {
		return err
	}
	if r.s.sel != nil && !slices.Contains(r.in.accounts, r.s.sel.account) {
		if err := r.s.catchUp(r.may); err != nil {
			return err
		}
	}
	for _, a := range r.in.accounts {
		err := r.s.inTurn(a, func(tx *store.Tx) error { return r.account(tx, a) })
		if err != nil {
			return err
		}
		r.before += r.boxes
	}
	return nil
}

// account searches the mailboxes of one account.
func (r *multiRun) account(tx *store.Tx, a *account) error {
	s, m := r.s, r.multiSearch
	if s.sees(a) {
		if err := s.searchNews(tx, r.may); err != nil {
			return err
		}
	}
	boxes, err := r.multiBoxes(tx, a)
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
				r.saved = v.saveable(m.searchCommand, f.indexes)
			}
			if m.options["UPDATE"] {
				r.context = s.newContext(m.searchCommand, f.indexes)
				r.context.source = b.correlators(s.mode.utf8)
			}
		}
		s.multiReply(m, b, &v, f, r.modseq)
		return nil
	}
	_, err = tx.Query(q)
	return err
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

package imapd

import (
	"slices"
	"strings"

	"tram/internal/imap"
	"tram/internal/store"
)

// multiPlaces is what the sources of an ESEARCH are about.
type multiPlaces struct {
	accounts   []*account
	names      map[string]place // of the sources' names; those that are in no account are left out
	subscribed map[string]bool  // names of others' mailboxes
}

// locate finds the accounts of the sources' names, the own one first.
func (r *multiRun) locate() error {
	s, p := r.s, &r.in
	p.accounts, p.names = []*account{s.account}, map[string]place{}
	for _, source := range r.sources {
		switch {
		case source.Filter == "SELECTED":
			p.add(s.sel.account)
		case source.Filter == "SUBSCRIBED":
			if err := r.locateSubscribed(); err != nil {
				return err
			}
		}
		for _, name := range source.Names {
			if err := r.locateName(name, strings.HasPrefix(source.Filter, "SUBTREE")); err != nil {
				return err
			}
		}
	}
	return nil
}

// add adds an account once.
func (p *multiPlaces) add(a *account) {
	if !slices.Contains(p.accounts, a) {
		p.accounts = append(p.accounts, a)
	}
}

// locateName finds the account of a name; of a tree that stands above accounts, all of them.
func (r *multiRun) locateName(name string, tree bool) error {
	at, err := r.s.place(name)
	switch {
	case isAny(err, store.ErrNotFound):
	case err != nil:
		return err
	default:
		r.in.names[name] = at
		r.in.add(at.account)
	}
	if !tree || !reserved(name) {
		return nil
	}
	all, err := r.s.sharedWith()
	for _, a := range all {
		if strings.HasPrefix(a.prefix, name+"/") {
			r.in.add(a)
		}
	}
	return err
}

// locateSubscribed finds the accounts of others' mailboxes that are subscribed to.
func (r *multiRun) locateSubscribed() error {
	r.in.subscribed = map[string]bool{}
	var names []string
	err := r.s.view(func(tx *store.Tx) (err error) {
		names, err = tx.Subscriptions()
		return err
	})
	if err != nil {
		return err
	}
	for _, name := range names {
		if !inNamespace(name) {
			continue
		}
		r.in.subscribed[name] = true
		at, err := r.s.place(name)
		if isAny(err, store.ErrNotFound) {
			continue
		}
		if err != nil {
			return err
		}
		r.in.add(at.account)
	}
	return nil
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

// multiBoxes finds the mailboxes of an account, each once, in the order of LIST. Names that do not
// exist are left out, as those of mailboxes are that one may not read (RFC 7377 §2.2 and §5).
func (r *multiRun) multiBoxes(tx *store.Tx, a *account) ([]*multiBox, error) {
	s := r.s
	w, err := r.multiWanted(tx, a)
	if err != nil {
		return nil, err
	}
	var out []*multiBox
	add := func(m *store.Mailbox) error {
		if !m.Rights.Has(store.RightRead) {
			return nil
		}
		if limit := s.srv.o.Limits.SearchMailboxes; limit > 0 && r.before+len(out) >= limit {
			return &no{"LIMIT", "Too many mailboxes to search at once"} // RFC 7377 §2.4
		}
		out = append(out, s.multiBox(a, m))
		return nil
	}
	if !w.scan {
		for _, m := range w.named {
			err = add(m)
		}
	} else {
		err = tx.EachMailbox(func(m *store.Mailbox) error {
			if !w.wants(a, m) {
				return nil
			}
			delete(w.named, m.ID)
			return add(m)
		})
		for _, m := range w.named { // by name, without the right to be listed
			if err == nil {
				err = add(m)
			}
		}
	}
	r.boxes = len(out)
	return out, err
}

// multiBox makes a view of a mailbox: the session's, if it is the selected one.
func (s *session) multiBox(a *account, m *store.Mailbox) *multiBox {
	name := a.called(m.Name)
	if s.sees(a) && s.sel.id == m.ID {
		return &multiBox{s.sel, name}
	}
	v := &view{account: a, id: m.ID, uidValidity: m.UIDValidity}
	if from := a.recent.next(m); !s.mode.rev2 && from < m.UIDNext {
		// What would be \Recent to this session if it were selected (RFC 3501 §2.3.2).
		v.recent = []store.UIDRange{{First: from, Last: m.UIDNext - 1}}
	}
	return &multiBox{v, name}
}

// wanted says which mailboxes of an account the sources of an ESEARCH mean.
type wanted struct {
	scan       bool // they are found by going through all
	all        bool
	subscribed bool
	theirs     map[string]bool                    // subscribed names, in another's account
	named      map[store.MailboxID]*store.Mailbox // by themselves
	above      []string                           // names with "/" after them: all below
	parents    []string                           // the same: their children
}

// multiWanted reads the names. INBOXES are all mailboxes, as rules may file mail anywhere (RFC 5465
// §6.3). In a tree of rows there are no loops.
func (r *multiRun) multiWanted(tx *store.Tx, a *account) (*wanted, error) {
	w := &wanted{named: map[store.MailboxID]*store.Mailbox{}}
	for _, source := range r.sources {
		switch source.Filter {
		case "SELECTED":
			if !r.s.sees(a) {
				continue
			}
			m, err := tx.Mailbox(r.s.sel.id)
			if err != nil {
				return nil, err
			}
			w.named[m.ID] = m
		case "PERSONAL", "INBOXES": // RFC 5465 §6.2: of the personal namespace
			w.all = w.all || a == r.s.account
		case "SUBSCRIBED":
			w.subscribed = a == r.s.account
			w.theirs = r.in.subscribed
		}
		for _, name := range source.Names {
			if err := w.name(tx, a, source.Filter, name, r.in.names); err != nil {
				return nil, err
			}
		}
	}
	w.scan = w.all || w.subscribed || len(w.theirs) > 0 || len(w.named) > 1 || len(w.above)+len(w.parents) > 0
	return w, nil
}

// name adds one of the names that a source gives.
func (w *wanted) name(tx *store.Tx, a *account, filter, name string, places map[string]place) error {
	inside := strings.HasPrefix(a.prefix, name+"/") // the name stands above the account
	if at, ok := places[name]; ok && at.account == a {
		m, err := find(tx, at.name)
		if err != nil {
			return err
		}
		if m != nil {
			w.named[m.ID] = m
			inside, name = true, a.called(m.Name)
		}
	}
	switch {
	case inside && filter == "SUBTREE":
		w.above = append(w.above, name+"/")
	case inside && filter == "SUBTREE-ONE":
		w.parents = append(w.parents, name+"/")
	}
	return nil
}

// wants reports whether a mailbox is searched.
func (w *wanted) wants(a *account, m *store.Mailbox) bool {
	name := a.called(m.Name)
	if w.all || w.named[m.ID] != nil || w.subscribed && m.Subscribed || a.prefix != "" && w.theirs[name] {
		return true
	}
	below := func(prefix string) bool { return strings.HasPrefix(name, prefix) }
	return slices.ContainsFunc(w.above, below) ||
		slices.ContainsFunc(w.parents, func(prefix string) bool {
			rest, found := strings.CutPrefix(name, prefix)
			return found && !strings.Contains(rest, "/")
		})
}

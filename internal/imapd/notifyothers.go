package imapd

import (
	"strings"

	"tram/internal/store"
)

// NOTIFY for others' mailboxes. Each of their accounts is watched like the own one. Whether the client
// may hear of a mailbox is asked of the rights that come with each state: "l" and "r" are needed for
// every event (RFC 5465 §5). An account stays watched when the rights to it are taken away, so that it
// is noticed when they come back (RFC 5465 §5.9).

// at returns the watched account, nil if it is none.
func (n *notifying) at(a *account) *watching {
	if n == nil {
		return nil
	}
	if n.account == a {
		return &n.watching
	}
	for _, w := range n.theirs {
		if w.account == a {
			return w
		}
	}
	return nil
}

// events returns the events that are wanted of a mailbox and that the client may hear of.
func (n *notifying) events(w *watching, m *store.Mailbox) events {
	if !m.Rights.Has(store.RightLookup | store.RightRead) {
		return 0
	}
	return n.wanted(w, m.Name, m.Subscribed)
}

// wanted is events whatever the rights are.
func (n *notifying) wanted(w *watching, name string, subscribed bool) events {
	if w.account == n.account {
		return n.of(name, subscribed)
	}
	name = w.account.called(name)
	return n.named(name, n.subscribes(name))
}

// subscribes reports whether the client has subscribed to another's mailbox.
func (n *notifying) subscribes(name string) bool {
	for _, have := range n.known.subscribed {
		if have == name {
			return true
		}
	}
	return false
}

// follow watches the others' accounts that the wishes are about; those that are watched already keep
// what is known of them.
func (s *session) follow(n *notifying) error {
	accounts, err := s.wishedAccounts(n)
	if err != nil {
		return err
	}
	limit := s.srv.o.Limits.NotifyMailboxes - len(n.known.list)
	for _, a := range accounts {
		w := n.at(a)
		if w == nil {
			w = &watching{account: a, watch: a.OnChange(s.c.Interrupt)}
			n.theirs = append(n.theirs, w)
		}
		if w.known == nil {
			if w.known, err = s.lookAt(a, latestState); err != nil {
				return err
			}
		}
		if limit -= len(w.known.list); limit < 0 {
			return errManyBoxes
		}
	}
	return nil
}

// wishedAccounts finds others' accounts by the names in the wishes.
func (s *session) wishedAccounts(n *notifying) ([]*account, error) {
	p := multiPlaces{}
	var names []string
	for name := range n.names {
		names = append(names, name)
	}
	for name := range n.trees {
		names = append(names, name)
	}
	if n.wishes.subscribed != 0 {
		names = append(names, n.known.subscribed...)
	}
	for _, name := range names {
		if !inNamespace(name) {
			continue
		}
		at, err := s.place(name)
		if isAny(err, store.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if at.account != s.account {
			p.add(at.account)
		}
	}
	if !n.aboveAccounts() {
		return p.accounts, nil
	}
	all, err := s.sharedWith()
	for _, a := range all {
		for name := range n.trees {
			if strings.HasPrefix(a.prefix, name+"/") {
				p.add(a)
			}
		}
	}
	return p.accounts, err
}

// aboveAccounts reports whether a tree is wanted that stands above accounts: those in it may become
// more.
func (n *notifying) aboveAccounts() bool {
	for name := range n.trees {
		if !reserved(name) {
			continue
		}
		if owner, found := strings.CutPrefix(name, othersPrefix); !found || !strings.Contains(owner, "/") {
			return true
		}
	}
	return false
}

// farther reports whether the wishes may be about more accounts than before: a subscription changed, or
// somebody else may have begun to share.
func (n *notifying) farther(before *boxes) bool {
	if n.known == nil {
		return false
	}
	off, on := resubscribed(before, n.known)
	return len(off)+len(on) > 0 && n.wishes.subscribed != 0 || n.aboveAccounts()
}

// attend watches the account of the selected mailbox, if that is another's.
func (s *session) attend() {
	if s.sel != nil {
		s.attendTo(s.sel.account)
	}
}

// attendTo begins to watch another's account, before a mailbox of it is looked at; one that is not
// needed any more is left.
func (s *session) attendTo(a *account) {
	n := s.notify
	if n == nil || n.watch == nil || n.selected == 0 {
		return
	}
	kept := n.theirs[:0]
	for _, w := range n.theirs {
		if w.known == nil && w.account != a {
			w.watch.Close()
			continue
		}
		kept = append(kept, w)
	}
	clear(n.theirs[len(kept):])
	n.theirs = kept
	if n.at(a) == nil {
		n.theirs = append(n.theirs, &watching{account: a, watch: a.OnChange(s.c.Interrupt)})
	}
}

// leaveTheirs ends the watches of others' accounts.
func (n *notifying) leaveTheirs() {
	if n == nil {
		return
	}
	for _, w := range n.theirs {
		w.watch.Close()
	}
	n.theirs = nil
}

// tellNoAccess names the mailboxes that the client asked for by name and may list, but not read (RFC
// 5465 §3.1).
func (s *session) tellNoAccess() {
	for _, w := range s.notify.theirs {
		if w.known == nil {
			continue
		}
		for _, m := range w.known.list {
			name := w.account.called(m.Name)
			if !m.Rights.Has(store.RightRead) && s.notify.names[name] != 0 {
				s.listReply(&listed{name: name, noAccess: true}, "LIST", nil)
			}
		}
	}
}

// access tells that the client may hear of a mailbox no more, or again (RFC 5465 §5.9). It reports
// whether that is what happened.
func (o *othersNews) access(p pair) bool {
	const both = store.RightLookup | store.RightRead
	heard := p.old != nil && p.old.Rights.Has(both)
	hears := p.now != nil && p.now.Rights.Has(both)
	switch {
	case heard && !hears:
		if p.now == nil && !o.exists(p.old.ID) {
			return false // it was deleted
		}
		if o.n.wanted(o.w, p.old.Name, false) != 0 {
			o.s.listReply(&listed{name: o.w.account.called(p.old.Name), noAccess: true}, "LIST", nil)
		}
		return true
	case hears && !heard:
		if o.n.wanted(o.w, p.now.Name, false) != 0 {
			o.list(p.now.Name, "")
		}
		return true
	}
	return !heard
}

// exists reports whether there still is a mailbox that the person could see before.
func (o *othersNews) exists(id store.MailboxID) bool {
	a := o.w.account
	err := o.s.srv.o.Store.Account(a.ID()).View(o.s.ctx, func(tx *store.Tx) error {
		_, err := tx.Mailbox(id)
		return err
	})
	return err == nil
}

// resubscribed tells that the client's person has subscribed to another's mailbox, or does no more.
func (o *othersNews) resubscribed(name string) {
	for _, w := range o.n.theirs {
		rest, ok := strings.CutPrefix(name, w.account.prefix)
		if !ok || w.known == nil {
			continue
		}
		for _, m := range w.known.list {
			if m.Name == rest {
				m := *m
				m.Subscribed = o.n.subscribes(name)
				o.s.listReply(&listed{name: name, mailbox: &m}, "LIST", subscribedNow)
			}
		}
	}
}

package imapd

import (
	"strings"

	"tram/internal/store"
)

// LIST goes through others' mailboxes like through one's own, account after account, and shows those
// with the "l" right (RFC 4314 §4). What stands above them is no mailbox: the namespace, the name of
// their owner, and mailboxes without the right, which are as if they did not exist. Such levels are
// shown to a pattern that ends in "%", so that a client can find its way down (RFC 9051 §6.3.9), and
// only while there is something below.

// nextAccount goes on to the next account and reports whether there is one.
func (l *lister) nextAccount() (more bool, err error) {
	if !l.began {
		l.began = true
		if err := l.findOthers(); err != nil {
			return false, err
		}
	}
	if len(l.others) == 0 {
		return false, nil
	}
	l.at, l.others = l.others[0], l.others[1:]
	l.stretch = stretch{}
	l.shallow = !l.patterns.within(l.at.prefix)
	return true, nil
}

// findOthers finds the accounts that the LIST is about beside the own one.
func (l *lister) findOthers() error {
	switch {
	case l.cmd.Selects("SUBSCRIBED"):
		return l.theirNames()
	case l.cmd.Selects("SPECIAL-USE"):
		return nil // the uses are their owners'
	case !l.patterns.levelOrWithin(othersPrefix) && !l.patterns.levelOrWithin(sharedPrefix):
		return nil
	}
	all, err := l.s.sharedWith()
	if err != nil || len(all) == 0 {
		return err
	}
	for _, a := range all {
		if l.patterns.levelOrWithin(a.prefix) {
			l.others = append(l.others, a)
		}
	}
	return l.s.view(func(tx *store.Tx) error {
		for i, root := range namespaceRoots {
			m, err := find(tx, root)
			if err != nil {
				return err
			}
			l.roots[i] = m != nil
		}
		if !l.cmd.Wants("SUBSCRIBED") {
			return nil
		}
		names, err := tx.Subscriptions()
		l.subscriptions = make(map[string]bool, len(names))
		for _, name := range names {
			l.subscriptions[name] = true
		}
		return err
	})
}

// within reports whether names that begin with prefix may match.
func (p *patterns) within(prefix string) bool {
	for _, pattern := range p.as {
		if pattern.Within(prefix) {
			return true
		}
	}
	return false
}

// levelOrWithin reports whether names that begin with prefix, or a level above them, may match.
func (p *patterns) levelOrWithin(prefix string) bool {
	for i := range prefix {
		if prefix[i] == '/' && p.level(prefix[:i]) {
			return true
		}
	}
	return p.within(prefix)
}

// level reports whether a level that is no mailbox is to be shown.
func (p *patterns) level(name string) bool {
	for _, pattern := range p.levels {
		if pattern.Match(name) {
			return true
		}
	}
	return false
}

// passing shows the levels above a mailbox that were not shown for the one before it: in the order of
// a tree, what has been shown is above that one too.
func (l *lister) passing(m *store.Mailbox) {
	name := l.at.called(m.Name)
	passed := l.passed
	l.passed = name
	if len(l.patterns.levels) == 0 {
		return
	}
	for i := range name {
		level := name[:i]
		if name[i] != '/' || passed == level || strings.HasPrefix(passed, name[:i+1]) {
			continue
		}
		if l.patterns.level(level) && !l.own(level) {
			l.s.listReply(&listed{name: level, level: true}, "LIST", l.cmd)
		}
	}
}

// own reports whether a level is one of the own mailboxes.
func (l *lister) own(level string) bool {
	for i, root := range namespaceRoots {
		if level == root {
			return l.roots[i]
		}
	}
	return false
}

// theirNames writes the subscribed names of others' mailboxes, be there such mailboxes or not.
func (l *lister) theirNames() error {
	for _, n := range l.theirs {
		if err := l.theirName(n); err != nil {
			return err
		}
		if l.full() {
			if err := l.flush(); err != nil {
				return err
			}
		}
	}
	return nil
}

// theirName writes one of them.
func (l *lister) theirName(n *listed) error {
	at, err := l.s.place(n.name)
	if isAny(err, store.ErrNotFound) {
		return l.write(nil, n)
	}
	if err != nil {
		return err
	}
	l.at = at.account
	start := len(*l.s.buf())
	return at.view(l.s.ctx, func(tx *store.Tx) error {
		*l.s.buf() = (*l.s.buf())[:start]
		m, err := find(tx, at.name)
		if err != nil {
			return err
		}
		n.mailbox = nil
		if m != nil && m.Rights.Has(store.RightLookup) {
			m.Subscribed = n.meets
			n.mailbox = m
		}
		return l.write(tx, n)
	})
}

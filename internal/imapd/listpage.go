package imapd

import (
	"strings"

	"tram/internal/imap"
	"tram/internal/store"
)

// A LIST may have a hundred thousand replies. It is read and sent page by page, each page from a
// snapshot of its own: memory is bounded, and a slow client holds no snapshot. What others change
// meanwhile must not make a mailbox slip through, or a client would take it for deleted: a mailbox
// that was made or renamed between the pages is listed at the end, maybe for a second time.

// listPage is how much of a LIST is read before it is sent.
const listPage = 64 << 10

// lister runs a LIST, account by account: the own one, then those of which mailboxes are shared (see
// listothers.go).
type lister struct {
	s        *session
	cmd      *imap.ListCommand
	patterns *patterns
	flush    func() error // sends a page

	at      *account   // whose mailboxes are listed now
	others  []*account // those that come after it
	began   bool       // others are known
	roots   [2]bool    // which of namespaceRoots are own mailboxes, too
	theirs  []*listed  // of a list of names: those of others' mailboxes
	passed  string     // the last of others' names that was looked at
	shallow bool       // no name of at matches; it may stand for a level above

	subscriptions map[string]bool // subscribed names, where they matter for others' mailboxes
	stretch
}

// stretch is how far the listing of one account has come.
type stretch struct {
	looked bool         // a page was read
	since  store.ModSeq // of the first page
	after  string       // the last mailbox that was looked at
	names  []*listed    // what is left of a list of names
	late   bool         // names are of mailboxes that came after the first page
}

// pages lists until nothing is left.
func (l *lister) pages() error {
	l.at = l.s.account
	for {
		if err := l.account(); err != nil {
			return err
		}
		if more, err := l.nextAccount(); err != nil || !more {
			return err
		}
	}
}

// account lists the mailboxes of one account.
func (l *lister) account() error {
	for {
		start := len(*l.s.buf())
		next := *l
		more := false
		err := l.at.View(l.s.ctx, func(tx *store.Tx) (err error) {
			*l.s.buf() = (*l.s.buf())[:start]
			next = *l
			more, err = next.page(tx)
			return err
		})
		if err != nil {
			return err
		}
		*l = next
		if !more {
			return nil
		}
		if err := l.flush(); err != nil {
			return err
		}
	}
}

// full reports whether there is enough for a page.
func (l *lister) full() bool { return len(*l.s.buf()) >= listPage }

// page writes one page and reports whether there is more.
func (l *lister) page(tx *store.Tx) (more bool, err error) {
	first := !l.looked
	if first {
		l.looked, l.since = true, tx.ModSeq()
	}
	if l.late {
		return l.writeNames(tx)
	}
	special := l.cmd.Selects("SPECIAL-USE")
	if l.cmd.Selects("SUBSCRIBED") || special && l.cmd.Selects("RECURSIVEMATCH") {
		if first {
			if err := l.gather(tx); err != nil {
				return false, err
			}
		}
		return l.writeNames(tx)
	}
	err = tx.EachMailboxAfter(l.after, func(m *store.Mailbox) error {
		if l.full() {
			more = true
			return store.Stop
		}
		l.after = m.Name
		if l.at.prefix != "" {
			l.passing(m)
		}
		if l.shallow {
			return store.Stop
		}
		if l.meets(m) {
			return l.write(tx, &listed{name: l.at.called(m.Name), mailbox: m, meets: true})
		}
		return nil
	})
	if err != nil || more || tx.ModSeq() == l.since {
		return more, err
	}
	if err := l.latecomers(tx); err != nil {
		return false, err
	}
	return l.writeNames(tx)
}

// meets reports whether a mailbox meets the criteria and matches.
func (l *lister) meets(m *store.Mailbox) bool {
	return (!l.cmd.Selects("SPECIAL-USE") || specialUses[m.Role] != "") && l.patterns.match(l.at.called(m.Name))
}

// latecomers finds what was made, renamed or given a use since the first page.
func (l *lister) latecomers(tx *store.Tx) error {
	l.late = true
	changes, err := tx.Changes(l.since, 0)
	if err != nil {
		return err
	}
	for _, id := range append(changes.Mailboxes.Created, changes.Mailboxes.Updated...) {
		m, err := tx.Mailbox(id)
		if isAny(err, store.ErrNotFound) {
			continue
		}
		if err != nil {
			return err
		}
		l.latecomer(m)
		// Those below a renamed one have another name too.
		below := m.Name + "/"
		err = tx.EachMailboxAfter(m.Name, func(b *store.Mailbox) error {
			if !strings.HasPrefix(b.Name, below) {
				return store.Stop
			}
			l.latecomer(b)
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (l *lister) latecomer(m *store.Mailbox) {
	if l.meets(m) {
		l.names = append(l.names, &listed{name: m.Name, meets: true})
	}
}

// writeNames looks names up and writes them, up to a page.
func (l *lister) writeNames(tx *store.Tx) (more bool, err error) {
	for len(l.names) > 0 && !l.full() {
		n := *l.names[0]
		if n.mailbox, err = find(tx, n.name); err != nil {
			return false, err
		}
		l.names = l.names[1:]
		n.name = l.at.called(n.name)
		if n.mailbox == nil && l.late {
			continue // gone again
		}
		if err := l.write(tx, &n); err != nil {
			return false, err
		}
	}
	return len(l.names) > 0, nil
}

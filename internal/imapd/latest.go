package imapd

import (
	"sync"

	"tram/internal/store"
)

// latest is what the session that woke up first has read, for the others of its account that the
// same announcement wakes: a thousand people who wait in one shared mailbox cost one look into the
// database. It holds nothing that was not on disk when it was read.
type latest struct {
	mu    sync.Mutex
	at    store.ModSeq // of the account; boxes were read in that state
	boxes map[store.MailboxID]news
}

// offer takes note of news that a session has read.
func (l *latest) offer(id store.MailboxID, n *news) {
	if n.keywords == nil {
		return // nothing was new to that session, and little was read
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if n.at < l.at {
		return
	}
	if n.at > l.at || l.boxes == nil {
		l.at, l.boxes = n.at, map[store.MailboxID]news{}
	}
	l.boxes[id] = news{at: n.at, list: n.list, keywords: n.keywords, mailbox: n.mailbox, rights: n.rights}
}

// since returns the news of v's mailbox as another session has read them, in a state that is not
// older than announced, or nil when they must be read: there are none, or not all that it takes to
// tell them to this client.
func (l *latest) since(v *view, announced store.ModSeq) *news {
	l.mu.Lock()
	n, ok := l.boxes[v.id]
	l.mu.Unlock()
	if v.muted != 0 && !v.muting {
		return nil // the list has more to tell than what lies between the two
	}
	if !ok || n.at < announced || n.at <= v.at {
		return nil
	}
	n.delta = n.list.Delta(v.list)
	if len(n.delta.Added) > 0 && n.mailbox == nil {
		return nil
	}
	for _, e := range n.delta.Changed {
		if e.Flags&store.MoreKeywords != 0 {
			return nil
		}
	}
	return &n
}

// hear is catchUp for a session that was woken by watch.
func (s *session) hear(watch *store.Watch, may expunging) error {
	if s.sel != nil && (s.metadata == nil || s.notify != nil) {
		if n := s.sel.account.latest.since(s.sel, watch.ModSeq()); n != nil {
			return s.tell(n, may, nil)
		}
	}
	return s.catchUp(may)
}

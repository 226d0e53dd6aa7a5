package imapd

import (
	"testing"

	"tram/internal/store"
)

// TestLatest: a session takes the news that another has read only when they are all that it needs:
// newer than what it told last, and not older than what it was woken for.
func TestLatest(t *testing.T) {
	t.Parallel()
	h := build(t, options{})
	read := func() (n news) {
		t.Helper()
		err := h.account().View(t.Context(), func(tx *store.Tx) (err error) {
			m, err := tx.MailboxByName("INBOX")
			if err != nil {
				return err
			}
			n.at, n.mailbox = tx.ModSeq(), m
			if n.list, err = tx.List(m.ID); err != nil {
				return err
			}
			n.keywords, err = tx.Keywords()
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	h.fill("INBOX", 1, 2)
	before := read()
	h.fill("INBOX", 3, 2)
	now := read()
	id := now.mailbox.ID
	old := &view{id: id, at: before.at, list: before.list}

	var l latest
	if l.since(old, now.at) != nil {
		t.Error("news out of nothing")
	}
	unread := now
	unread.keywords = nil
	l.offer(id, &unread)
	if l.since(old, now.at) != nil {
		t.Error("news of a session that had read none")
	}
	l.offer(id, &now)
	n := l.since(old, now.at)
	if n == nil || n.list != now.list || len(n.delta.Added) != 2 || n.at != now.at {
		t.Fatalf("news = %+v", n)
	}
	if l.since(old, 0) == nil {
		t.Error("no news for a session that was woken for less")
	}
	for name, n := range map[string]*news{
		"older than announced": l.since(old, now.at+1),
		"told already":         l.since(&view{id: id, at: now.at, list: now.list}, now.at),
		"of another mailbox":   l.since(&view{id: id + 1, at: before.at, list: before.list}, now.at),
		"older than the view":  l.since(&view{id: id, at: now.at + 1, list: now.list}, now.at),
	} {
		if n != nil {
			t.Errorf("news %s: %+v", name, n)
		}
	}
	l.offer(id, &before)
	if n := l.since(old, now.at); n == nil || n.list != now.list {
		t.Error("older news took the place of newer ones")
	}
	bare := now
	bare.at, bare.mailbox = now.at+1, nil
	l.offer(id, &bare)
	if l.since(old, bare.at) != nil {
		t.Error("arrivals are told without the counts they need")
	}
	l.offer(id+1, &bare)
	if l.since(&view{id: id, at: now.at, list: now.list}, bare.at) == nil {
		t.Error("what is read of another mailbox in the same state drives out this one's")
	}
}

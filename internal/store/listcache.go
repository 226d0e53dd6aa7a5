package store

import (
	"container/list"
	"sync"
)

// listCache keeps the latest lists of mailboxes, for all sessions together, up to a number of
// bytes. A list never changes, so that the cache can never be wrong: who asks says which ModSeq he
// sees. A few versions are kept, as sessions look at snapshots of different age.
type listCache struct {
	mu    sync.Mutex
	limit int64
	used  int64
	lru   list.List // of *cachedList, the latest used first
	byBox map[listID]*list.Element
}

type listID struct {
	account AccountID
	mailbox MailboxID
}

type cachedList struct {
	id       listID
	versions []*List // ascending by ModSeq
	bytes    int64
}

const listVersions = 4

func newListCache(limit int64) *listCache {
	return &listCache{limit: limit, byBox: map[listID]*list.Element{}}
}

// get returns the newest list of a mailbox that is not newer than at, or nil.
func (c *listCache) get(id AccountID, m MailboxID, generation uint32, at ModSeq) *List {
	c.mu.Lock()
	defer c.mu.Unlock()
	el := c.byBox[listID{id, m}]
	if el == nil {
		return nil
	}
	c.lru.MoveToFront(el)
	versions := el.Value.(*cachedList).versions
	for i := len(versions) - 1; i >= 0; i-- {
		if l := versions[i]; l.modseq <= at && l.generation == generation {
			return l
		}
	}
	return nil
}

// put offers a list of committed state.
func (c *listCache) put(id AccountID, l *List) {
	c.mu.Lock()
	defer c.mu.Unlock()
	key := listID{id, l.mailbox}
	el := c.byBox[key]
	if el == nil {
		el = c.lru.PushFront(&cachedList{id: key})
		c.byBox[key] = el
	}
	e := el.Value.(*cachedList)
	e.add(l)
	c.used -= e.bytes
	e.bytes = e.versions[len(e.versions)-1].bytes()
	c.used += e.bytes
	c.lru.MoveToFront(el)
	for c.used > c.limit && c.lru.Len() > 1 {
		c.remove(c.lru.Back())
	}
}

// add keeps the versions sorted and few.
func (e *cachedList) add(l *List) {
	i := len(e.versions)
	for i > 0 && older(l, e.versions[i-1]) {
		i--
	}
	if i > 0 && e.versions[i-1].modseq == l.modseq && e.versions[i-1].generation == l.generation {
		return
	}
	versions := make([]*List, 0, listVersions+1)
	versions = append(append(append(versions, e.versions[:i]...), l), e.versions[i:]...)
	if len(versions) > listVersions {
		versions = versions[1:]
	}
	e.versions = versions
}

func older(a, b *List) bool {
	if a.generation != b.generation {
		return a.generation < b.generation
	}
	return a.modseq < b.modseq
}

// drop forgets an account's mailbox.
func (c *listCache) drop(id AccountID, m MailboxID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if el := c.byBox[listID{id, m}]; el != nil {
		c.remove(el)
	}
}

func (c *listCache) remove(el *list.Element) {
	e := el.Value.(*cachedList)
	c.used -= e.bytes
	delete(c.byBox, e.id)
	c.lru.Remove(el)
}

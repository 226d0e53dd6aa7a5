package imapd

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"

	"tram/internal/store"
)

// boxes is what NOTIFY watches of an account's mailboxes, in one state. It never changes: a newer
// state shares with it all that is the same, so that two are compared by pointers, and a session that
// lags behind holds little of its own.
type boxes struct {
	at         store.ModSeq
	list       []*store.Mailbox // by identifier
	subscribed []string         // in the order of the store
}

// sharedBoxes is the newest state that a session of the account has read, for all others: an event
// costs one look into the database however many sessions watch.
type sharedBoxes struct {
	mu  sync.Mutex
	now *boxes
}

// errManyBoxes: the account has more mailboxes than limits.IMAP.NotifyMailboxes.
var errManyBoxes = errors.New("too many mailboxes to watch")

// look returns a state that is not older than announced. latestState asks for the newest.
func (b *sharedBoxes) look(ctx context.Context, a *store.Account, announced store.ModSeq,
	limit int) (*boxes, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.now != nil && b.now.at >= announced && len(b.now.list) <= limit {
		return b.now, nil
	}
	next := b.now
	err := a.View(ctx, func(tx *store.Tx) (err error) {
		_, theirs := a.Person()
		next, err = b.now.read(tx, theirs)
		return err
	})
	if err == nil && len(next.list) > limit {
		err = errManyBoxes
	}
	if err != nil {
		return nil, err
	}
	b.now = next
	return next, nil
}

const latestState = ^store.ModSeq(0)

// changesAtOnce is how many objects a state may be behind to be brought up by the change log: beyond
// it, reading all mailboxes costs less.
const changesAtOnce = 1000

// read returns the transaction's state, as far as it can out of an older one, which may be nil.
func (b *boxes) read(tx *store.Tx, theirs bool) (*boxes, error) {
	if b != nil && b.at == tx.ModSeq() {
		return b, nil
	}
	next := &boxes{at: tx.ModSeq()}
	var err error
	if !theirs { // one's subscriptions are in one's own account
		if next.subscribed, err = tx.Subscriptions(); err != nil {
			return nil, err
		}
	}
	if b != nil && slices.Equal(next.subscribed, b.subscribed) {
		next.subscribed = b.subscribed
	}
	if next.list, err = b.updated(tx, theirs); err != nil {
		return nil, err
	}
	if next.list == nil {
		if next.list, err = b.all(tx); err != nil {
			return nil, err
		}
	}
	return next, nil
}

// updated returns the mailboxes with the counts of those whose messages changed, or nil when more
// than that changed, or nothing is known.
func (b *boxes) updated(tx *store.Tx, theirs bool) ([]*store.Mailbox, error) {
	if b == nil {
		return nil, nil
	}
	if theirs {
		// The changes are of what may be known now: what was taken away is not among them.
		for _, m := range b.list {
			rights, err := tx.Rights(m.ID)
			if err != nil && !errors.Is(err, store.ErrNotFound) {
				return nil, err
			}
			if rights != m.Rights {
				return nil, nil
			}
		}
	}
	c, err := tx.Changes(b.at, changesAtOnce)
	if errors.Is(err, store.ErrTooOld) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	m := &c.Mailboxes
	if c.More || len(m.Created)+len(m.Updated)+len(m.Destroyed) > 0 {
		return nil, nil
	}
	list := slices.Clone(b.list)
	for _, id := range c.Lists {
		i, found := b.find(id)
		if !found {
			return nil, nil
		}
		counts, err := tx.Counts(id)
		if err != nil {
			return nil, err
		}
		old := b.list[i]
		counts.Name, counts.Subscribed, counts.HasChildren = old.Name, old.Subscribed, old.HasChildren
		list[i] = counts
	}
	return list, nil
}

// all reads all mailboxes.
func (b *boxes) all(tx *store.Tx) ([]*store.Mailbox, error) {
	list, err := tx.Mailboxes()
	if err != nil {
		return nil, err
	}
	slices.SortFunc(list, func(a, b *store.Mailbox) int { return cmp.Compare(a.ID, b.ID) })
	for i, m := range list {
		if b == nil {
			break
		}
		if k, found := b.find(m.ID); found && *b.list[k] == *m {
			list[i] = b.list[k]
		}
	}
	return list, nil
}

// find returns the place of a mailbox in the list.
func (b *boxes) find(id store.MailboxID) (i int, found bool) {
	return slices.BinarySearchFunc(b.list, id, func(m *store.Mailbox, id store.MailboxID) int {
		return cmp.Compare(m.ID, id)
	})
}

// pair is a mailbox in two states; one of the two is nil when it came or went.
type pair struct{ old, now *store.Mailbox }

// differences returns the mailboxes that are not the same in two states, by identifier.
func differences(old, now *boxes) []pair {
	var out []pair
	a, b := old.list, now.list
	for len(a) > 0 || len(b) > 0 {
		switch {
		case len(b) == 0 || len(a) > 0 && a[0].ID < b[0].ID:
			out = append(out, pair{old: a[0]})
			a = a[1:]
		case len(a) == 0 || b[0].ID < a[0].ID:
			out = append(out, pair{now: b[0]})
			b = b[1:]
		default:
			if a[0] != b[0] {
				out = append(out, pair{a[0], b[0]})
			}
			a, b = a[1:], b[1:]
		}
	}
	return out
}

// resubscribed returns the names that are on one of two lists of subscriptions only.
func resubscribed(old, now *boxes) (off, on []string) {
	if len(old.subscribed) == len(now.subscribed) &&
		(len(old.subscribed) == 0 || &old.subscribed[0] == &now.subscribed[0]) {
		return nil, nil
	}
	return without(old.subscribed, now.subscribed), without(now.subscribed, old.subscribed)
}

// without returns the names of list that other has not.
func without(list, other []string) []string {
	has := make(map[string]bool, len(other))
	for _, name := range other {
		has[name] = true
	}
	return slices.DeleteFunc(slices.Clone(list), func(name string) bool { return has[name] })
}

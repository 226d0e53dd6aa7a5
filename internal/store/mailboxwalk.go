package store

import (
	"cmp"
	"slices"

	"tram/internal/kv"
)

// A walk through all mailboxes of an account, in the order of Mailboxes, with memory for a page of each
// level only. What it reads for a mailbox is its row, one look at what is below it where there may be
// something, and a look at the subscriptions for each few dozen of them.

const (
	// eachPage is how many names EachMailbox reads at once.
	eachPage = 256
	// aheadNames is how many subscriptions it reads at once.
	aheadNames = 64
	// aheadRows is how many rows it reads at once where they are asked for in the order in which they
	// lie, which is that in which the mailboxes were made, up to aheadGap left out.
	aheadRows = 64
	aheadGap  = 8
)

// EachMailbox calls fn for each mailbox in the order of Mailboxes, with memory for a page of each
// level only. Stop from fn ends it early.
func (tx *Tx) EachMailbox(fn func(*Mailbox) error) error {
	if tx.as != nil {
		return tx.eachVisible(fn)
	}
	if id := tx.row.role(RoleInbox); id != 0 {
		if err := tx.eachBelow(id, inbox, 1, fn); err != nil {
			return stopped(err)
		}
	}
	return stopped(tx.eachChild(0, "", 1, fn))
}

func stopped(err error) error {
	if err == Stop { //nolint:errorlint // only the value itself is the signal
		return nil
	}
	return err
}

// eachBelow calls fn for a mailbox and what is below it.
func (tx *Tx) eachBelow(id MailboxID, name string, depth int, fn func(*Mailbox) error) error {
	row, err := tx.peek(id)
	if err != nil {
		tx.s.log.Error("mailbox cannot be read", "err", err)
		return nil
	}
	m := row.mailbox()
	m.Name = name
	if m.Subscribed, err = tx.subscribedAhead(name); err != nil {
		return err
	}
	var below children
	if row.Height > 0 { // else there is nothing below it
		below = tx.children(id, "")
		if err := below.read(); err != nil {
			return err
		}
	}
	m.HasChildren = len(below.page) > 0
	if err := fn(&m); err != nil || !m.HasChildren || depth > maxDepth {
		return err
	}
	return tx.eachOf(&below, name+separator, depth+1, fn)
}

// peek reads a mailbox row without keeping it in the transaction.
func (tx *Tx) peek(id MailboxID) (mailboxRow, error) {
	if m := tx.mailboxes[id]; m != nil {
		return m.row, nil
	}
	if tx.w == nil {
		if row := tx.ahead.row(tx, id); row != nil {
			return *row, nil
		}
	}
	tx.key = key32(tx.key[:0], tx.id, kindMailbox, uint32(id))
	value, err := tx.r.Get(tx.key)
	if err != nil {
		return mailboxRow{}, wrap(err, "read mailbox")
	}
	return decodeMailbox(id, tx.key, value)
}

func (tx *Tx) eachChild(parent MailboxID, prefix string, depth int,
	fn func(*Mailbox) error) error {
	return tx.eachChildFrom(parent, "", prefix, depth, fn)
}

// eachChildFrom is eachChild for the children from a name on.
func (tx *Tx) eachChildFrom(parent MailboxID, from, prefix string, depth int,
	fn func(*Mailbox) error) error {
	c := tx.children(parent, from)
	if err := c.read(); err != nil {
		return err
	}
	return tx.eachOf(&c, prefix, depth, fn)
}

// eachOf calls fn for children, of which the first page is read, and what is below them.
func (tx *Tx) eachOf(c *children, prefix string, depth int, fn func(*Mailbox) error) error {
	for len(c.page) > 0 {
		for _, e := range c.page {
			if e.id == 0 || c.parent == 0 && e.leaf == inbox {
				continue
			}
			if err := tx.eachBelow(e.id, prefix+e.leaf, depth, fn); err != nil {
				return err
			}
		}
		if err := c.read(); err != nil {
			return err
		}
	}
	return nil
}

// children are the mailboxes right below one, read page by page.
type children struct {
	tx     *Tx
	parent MailboxID
	rest   kv.Range // what is still to be read
	skip   int      // of a key, before the name
	end    bool     // nothing is
	page   []childName
}

// childName is a name row; id is 0 for one that cannot be read.
type childName struct {
	leaf string
	id   MailboxID
}

// children are those of parent from a name on; none is read yet.
func (tx *Tx) children(parent MailboxID, from string) children {
	c := children{tx: tx, parent: parent, rest: kv.Prefix(key32(nil, tx.id, kindName, uint32(parent)))}
	c.skip = len(c.rest.Start)
	c.rest.Start = append(c.rest.Start, from...)
	c.rest.Limit = eachPage
	return c
}

// read reads the next page, an empty one at the end.
func (c *children) read() error {
	c.page = c.page[:0]
	if c.end {
		return nil
	}
	err := c.tx.r.Scan(c.rest, func(key, value []byte) error {
		id, err := decodeName(key, value)
		if err != nil {
			c.tx.s.log.Error("mailbox name cannot be read", "err", err)
		}
		c.page = append(c.page, childName{string(key[c.skip:]), id})
		return nil
	})
	if err != nil {
		return wrap(err, "read mailbox names")
	}
	if c.end = len(c.page) < eachPage; !c.end {
		last := c.page[len(c.page)-1].leaf
		c.rest.Start = append(nameKey(nil, c.tx.id, c.parent, last), 0)
	}
	return nil
}

// ahead is what a walk in a View has read before it was asked for.
type ahead struct {
	names namesAhead
	rows  []mailboxRow // by identifier
	last  MailboxID    // whose row was asked for last
}

// row returns a row that was read ahead, or nil.
func (a *ahead) row(tx *Tx, id MailboxID) *mailboxRow {
	last := a.last
	a.last = id
	for range 2 {
		i, found := slices.BinarySearchFunc(a.rows, id, func(r mailboxRow, id MailboxID) int {
			return cmp.Compare(r.ID, id)
		})
		if found {
			return &a.rows[i]
		}
		if id <= last || id-last > aheadGap {
			return nil
		}
		last = id // read once
		a.rows = a.rows[:0]
		r := kv.Prefix(appendKey(nil, tx.id, kindMailbox))
		skip := len(r.Start)
		r.Start, r.Limit = key32(nil, tx.id, kindMailbox, uint32(id)), aheadRows
		err := tx.r.Scan(r, func(key, value []byte) error {
			n, _, err := kv.TakeUint32(key[skip:])
			if err != nil {
				return err
			}
			row, err := decodeMailbox(MailboxID(n), key, value)
			if err == nil {
				a.rows = append(a.rows, row)
			}
			return nil // who asks for a damaged one reads it alone
		})
		if err != nil {
			return nil
		}
	}
	return nil
}

// namesAhead is a stretch of the subscriptions in the order of their names, from one name to another
// or to the end.
type namesAhead struct {
	read     bool
	from, to string
	end      bool
	names    []string
}

// covers reports whether the stretch tells of a name.
func (a *namesAhead) covers(name string) bool {
	return a.read && name >= a.from && (a.end || name <= a.to)
}

// subscribedAhead is subscribed for a walk, which asks for one name after another.
func (tx *Tx) subscribedAhead(name string) (bool, error) {
	if tx.w != nil {
		return tx.subscribed(name) // the list may change while the walk goes on
	}
	a := &tx.ahead.names
	if !a.covers(name) {
		*a = namesAhead{from: name, names: a.names[:0]}
		prefix := appendKey(nil, tx.id, kindSubscribe)
		r := kv.Prefix(prefix)
		r.Start, r.Limit, r.KeysOnly = subscriptionKey(nil, tx.id, name), aheadNames, true
		err := tx.r.Scan(r, func(key, _ []byte) error {
			a.names = append(a.names, string(key[len(prefix):]))
			return nil
		})
		if err != nil {
			return false, wrap(err, "read subscriptions")
		}
		a.read = true
		if a.end = len(a.names) < aheadNames; !a.end {
			a.to = a.names[len(a.names)-1]
		}
	}
	_, found := slices.BinarySearch(a.names, name)
	return found, nil
}

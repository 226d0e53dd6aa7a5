package store

import "strings"

// EachMailboxAfter is EachMailbox for those that follow a name in its order, whether or not a mailbox
// has that name: for lists that are read page by page, each in a snapshot of its own. "" is before all.
func (tx *Tx) EachMailboxAfter(after string, fn func(*Mailbox) error) error {
	if after == "" {
		return tx.EachMailbox(fn)
	}
	if tx.as != nil {
		return tx.eachVisible(func(m *Mailbox) error {
			if compareNames(m.Name, after) <= 0 {
				return nil
			}
			return fn(m)
		})
	}
	levels := strings.Split(after, separator)
	if levels[0] != inbox {
		return stopped(tx.eachChildAfter(0, "", levels, 1, fn))
	}
	if id := tx.row.role(RoleInbox); id != 0 {
		if err := tx.eachChildAfter(id, inbox+separator, levels[1:], 2, fn); err != nil {
			return stopped(err)
		}
	}
	return stopped(tx.eachChild(0, "", 1, fn))
}

// eachChildAfter calls fn for what is below parent and follows the name that levels end; all of it
// when that name is parent's.
func (tx *Tx) eachChildAfter(parent MailboxID, prefix string, levels []string, depth int,
	fn func(*Mailbox) error) error {
	if len(levels) == 0 {
		return tx.eachChild(parent, prefix, depth, fn)
	}
	if depth > maxDepth {
		return nil
	}
	leaf := levels[0]
	id, err := tx.child(parent, leaf)
	if err != nil && !lost(err) {
		return err
	}
	if id != 0 && err == nil {
		err := tx.eachChildAfter(id, prefix+leaf+separator, levels[1:], depth+1, fn)
		if err != nil {
			return err
		}
	}
	return tx.eachChildFrom(parent, leaf+"\x00", prefix, depth, fn)
}

package store

import (
	"fmt"
	"strings"

	"tram/internal/kv"
)

// RenameMailbox gives a mailbox, and with it all below it, another name; mailboxes above the new
// name are made as needed. It costs the same for any tree. INBOX stays: its messages move to a new
// mailbox, and what is below INBOX stays too (RFC 9051 §6.3.6). Subscriptions stay with the names.
// Errors: ErrExists, ErrInvalidName (also for a name below the mailbox itself), ErrTooMany.
func (tx *Tx) RenameMailbox(id MailboxID, name string) error {
	if tx.w == nil {
		return ErrReadOnly
	}
	m, err := tx.allowed(id, RightDelete)
	if err != nil {
		return err
	}
	levels, err := tx.s.splitName(name)
	if err != nil {
		return err
	}
	old, _, err := tx.fullName(m)
	if err != nil {
		return err
	}
	if tx.as != nil {
		if err := tx.renameAs(id, levels); err != nil {
			return err
		}
	}
	name = strings.Join(levels, separator)
	if name == old {
		return fmt.Errorf("rename mailbox to %q: %w", name, ErrExists)
	}
	if id == tx.row.role(RoleInbox) {
		return tx.renameInbox(id, name)
	}
	parent, found, err := tx.walk(levels)
	if err != nil {
		return err
	}
	if found == len(levels) {
		return fmt.Errorf("rename mailbox to %q: %w", name, ErrExists)
	}
	if strings.HasPrefix(name, old+separator) {
		return fmt.Errorf("rename %q below itself: %w", old, ErrInvalidName)
	}
	if err := tx.checkHeight(m, old, levels); err != nil {
		return err
	}
	for _, leaf := range levels[found : len(levels)-1] {
		p, err := tx.create(parent, leaf)
		if err != nil {
			return err
		}
		parent = p.row.ID
	}
	return tx.relink(m, parent, levels[len(levels)-1])
}

func (tx *Tx) relink(m *mailboxTx, parent MailboxID, leaf string) error {
	if _, err := tx.change(); err != nil {
		return err
	}
	if err := tx.w.Delete(nameKey(nil, tx.id, m.row.Parent, m.row.Leaf)); err != nil {
		return err
	}
	m.row.Parent, m.row.Leaf = parent, leaf
	tx.meta(m)
	if err := tx.raise(m); err != nil {
		return err
	}
	return tx.writeName(parent, leaf, m.row.ID)
}

// renameInbox moves the messages of INBOX into a new mailbox.
func (tx *Tx) renameInbox(id MailboxID, name string) error {
	to, err := tx.CreateMailbox(name, CreateOptions{})
	if err != nil {
		return err
	}
	list, err := tx.List(id)
	if err != nil {
		return err
	}
	uids := make([]UID, 0, list.Len())
	for _, e := range list.Entries(0, list.Len()) {
		uids = append(uids, e.UID)
	}
	if _, err = tx.Move(id, uids, to.ID); err != nil {
		return err
	}
	return tx.copyAnnotations(id, to.ID)
}

// checkHeight holds the names of all mailboxes below m to the limits under its new name. It looks
// at them only when what the row knows of them leaves a doubt.
func (tx *Tx) checkHeight(m *mailboxTx, old string, levels []string) error {
	lim := tx.s.limits
	bytes := len(strings.Join(levels, separator))
	if len(levels)+int(m.row.Height) <= lim.NameDepth && bytes+int(m.row.Below) <= lim.NameBytes {
		return nil
	}
	more := len(levels) - strings.Count(old, separator) - 1
	longer := bytes - len(old)
	return tx.eachBelow(m.row.ID, old, 1, func(b *Mailbox) error {
		if strings.Count(b.Name, separator)+1+more > lim.NameDepth ||
			len(b.Name)+longer > lim.NameBytes {
			return fmt.Errorf("rename %q: a mailbox below it would have too long a name: %w",
				old, ErrInvalidName)
		}
		return nil
	})
}

// DeleteMailbox removes a mailbox with its messages; emails that are in no other mailbox can be
// recovered. Errors: ErrHasChildren, ErrProtected for INBOX and mailboxes with a role.
func (tx *Tx) DeleteMailbox(id MailboxID) error {
	if tx.w == nil {
		return ErrReadOnly
	}
	m, err := tx.allowed(id, RightDelete)
	if err != nil {
		return err
	}
	if m.row.Role != NoRole {
		return fmt.Errorf("delete mailbox %d, which has a role: %w", id, ErrProtected)
	}
	if has, err := tx.hasChildren(id); err != nil {
		return err
	} else if has {
		return fmt.Errorf("delete mailbox %d: %w", id, ErrHasChildren)
	}
	if _, err := tx.change(); err != nil {
		return err
	}
	list, err := tx.list(m)
	if err != nil {
		return err
	}
	tx.calls++
	for _, e := range list.Entries(0, list.Len()) {
		if err := tx.expunge(m, *e); err != nil {
			return err
		}
	}
	return tx.dropMailbox(m)
}

// dropMailbox removes the rows of an emptied mailbox.
func (tx *Tx) dropMailbox(m *mailboxTx) error {
	id := m.row.ID
	m.gone, m.edits = true, nil
	m.what = m.what&mailboxCreated | mailboxDestroyed
	tx.row.Mailboxes--
	for _, prefix := range [][]byte{
		key32(nil, tx.id, kindList, uint32(id)), key32(nil, tx.id, kindVanished, uint32(id)),
	} {
		if err := tx.w.DeleteRange(prefix, kv.PrefixEnd(prefix)); err != nil {
			return err
		}
	}
	if err := tx.dropSharing(m); err != nil {
		return err
	}
	if err := tx.dropAnnotations(id); err != nil {
		return err
	}
	if err := tx.w.Delete(nameKey(nil, tx.id, m.row.Parent, m.row.Leaf)); err != nil {
		return err
	}
	return tx.w.Delete(key32(nil, tx.id, kindMailbox, uint32(id)))
}

package store

import (
	"fmt"
	"slices"
)

// Mailboxes may be shared (RFC 4314): their owner grants rights, and who has some of them comes with a
// handle of Account.As. Every method of such a handle's Tx looks after the rights that it takes, and
// shows \Seen as that person has set it. A Tx of the owner has no visitor: it asks for nothing.

// Person is somebody who looks at what others share. The caller vouches for all of it.
type Person struct {
	Account AccountID
	Domain  string // of that account: what is shared with Anyone is shared with one domain
	// Admin gives all rights in the shared folders of Domain, and none elsewhere.
	Admin bool
}

// As returns a handle on the account for somebody else, who may do there what he has been given the
// rights for. What he may not even look up does not exist for him: ErrNotFound; for the rest there is
// ErrNoPermission. For the owner it is the handle itself.
func (a *Account) As(p Person) *Account {
	if p.Account == a.id {
		return a
	}
	return &Account{s: a.s, id: a.id, as: &p}
}

// Person returns whose handle it is; ok is false for the owner's.
func (a *Account) Person() (p Person, ok bool) {
	if a.as == nil {
		return Person{}, false
	}
	return *a.as, true
}

// visitor is the person of a transaction who is not the owner.
type visitor struct {
	Person
	all    bool                 // an administrator among the shared folders of his domain
	rights map[MailboxID]Rights // those that were looked at
	own    map[MailboxID]*ownTx // \Seen of his own
	// lists says which mailboxes he may look up; nil: not read yet.
	lists map[MailboxID]bool
}

// enter looks whose account it is.
func (v *visitor) enter(row *accountRow) {
	v.all = v.Admin && row.Folders && v.Domain != "" && row.Domain == v.Domain
	v.rights = map[MailboxID]Rights{}
}

// Rights returns what the transaction's person may do with a mailbox, RFC 4314 §3.5: the owner all.
// ErrNotFound where he may do nothing at all.
func (tx *Tx) Rights(id MailboxID) (Rights, error) {
	if _, err := tx.known(id); err != nil {
		return 0, err
	}
	return tx.rightsTo(id)
}

// rightsTo is Rights, 0 for none.
func (tx *Tx) rightsTo(id MailboxID) (Rights, error) {
	if tx.as == nil || tx.as.all {
		return AllRights, nil
	}
	if r, ok := tx.as.rights[id]; ok {
		return r, nil
	}
	m, err := tx.mailbox(id)
	if err != nil {
		return 0, err
	}
	var r Rights
	if m.row.Sharing&sharingACL != 0 {
		acl, err := tx.acl(id)
		if err != nil {
			return 0, err
		}
		r = acl.of(&tx.as.Person)
	}
	tx.as.rights[id] = r
	return r, nil
}

// need returns an error unless the person has all of some rights to a mailbox.
func (tx *Tx) need(id MailboxID, want Rights) error {
	if tx.as == nil {
		return nil
	}
	have, err := tx.rightsTo(id)
	if err != nil {
		return err
	}
	return refuse(id, have, want)
}

// refuse is how the lack of rights looks. Without the right to look it up a mailbox is one that does
// not exist (RFC 4314 §6).
func refuse(id MailboxID, have, want Rights) error {
	switch {
	case have.Has(want):
		return nil
	case have.Has(RightLookup):
		return fmt.Errorf("mailbox %d wants %s of the rights: %w", id, want&^have, ErrNoPermission)
	}
	return fmt.Errorf("read mailbox %d: %w", id, ErrNotFound)
}

// needTop is need for what is done beside the mailboxes at the top.
func (tx *Tx) needTop() error {
	if tx.as == nil || tx.as.all {
		return nil
	}
	return fmt.Errorf("top of account %d: %w", tx.id, ErrNoPermission)
}

// needBelow is need for mailboxes that are made below parent, 0 for the top.
func (tx *Tx) needBelow(parent MailboxID) error {
	if parent == 0 {
		return tx.needTop()
	}
	return tx.need(parent, RightCreate)
}

// ownerOnly returns an error unless the transaction is the owner's.
func (tx *Tx) ownerOnly(what string) error {
	if tx.as == nil {
		return nil
	}
	return fmt.Errorf("%s of account %d: %w", what, tx.id, ErrNoPermission)
}

// known returns a mailbox to which the person has any right.
func (tx *Tx) known(id MailboxID) (*mailboxTx, error) {
	m, err := tx.mailbox(id)
	if err != nil || tx.as == nil {
		return m, err
	}
	r, err := tx.rightsTo(id)
	if err == nil && r == 0 {
		err = refuse(id, 0, AllRights)
	}
	return m, err
}

// allowed is mailbox for those to which the person has all of some rights.
func (tx *Tx) allowed(id MailboxID, want Rights) (*mailboxTx, error) {
	if err := tx.need(id, want); err != nil {
		return nil, err
	}
	return tx.mailbox(id)
}

// readable reports whether the person may read an email in one of its mailboxes.
func (tx *Tx) readable(st *stateRow) (bool, error) {
	if tx.as == nil || tx.as.all {
		return true, nil
	}
	for _, p := range st.Places {
		r, err := tx.rightsTo(p.Mailbox)
		if err != nil && !lost(err) {
			return false, err
		}
		if r.Has(RightRead) {
			return true, nil
		}
	}
	return false, nil
}

// needEmail returns ErrNotFound unless the person may read an email in one of its mailboxes.
func (tx *Tx) needEmail(id EmailID) error {
	if tx.as == nil {
		return nil
	}
	st, err := tx.state(id)
	if err != nil {
		return err
	}
	ok, err := tx.readable(st)
	if err == nil && !ok {
		err = fmt.Errorf("read email %d: %w", id, ErrNotFound)
	}
	return err
}

// visible returns the mailboxes that the person may look up.
func (tx *Tx) visible() (map[MailboxID]bool, error) {
	if tx.as.lists != nil {
		return tx.as.lists, nil
	}
	lists := map[MailboxID]bool{}
	err := tx.eachACL(func(id MailboxID, acl *aclRow) error {
		if acl.of(&tx.as.Person).Has(RightLookup) {
			lists[id] = true
		}
		return nil
	})
	if err == nil {
		tx.as.lists = lists
	}
	return lists, err
}

// eachVisible is EachMailbox for a person who is not the owner: it reads what is shared and no more.
func (tx *Tx) eachVisible(fn func(*Mailbox) error) error {
	all, err := tx.visibleMailboxes()
	if err != nil {
		return err
	}
	for _, m := range all {
		if err := fn(m); err != nil {
			return stopped(err)
		}
	}
	return nil
}

// visibleMailboxes is Mailboxes for a person who is not the owner.
func (tx *Tx) visibleMailboxes() ([]*Mailbox, error) {
	var ids []MailboxID
	var err error
	if tx.as.all {
		ids, err = tx.everyMailbox()
	} else {
		lists, listsErr := tx.visible()
		for id := range lists {
			ids = append(ids, id)
		}
		err = listsErr
	}
	if err != nil {
		return nil, err
	}
	out := make([]*Mailbox, 0, len(ids))
	for _, id := range ids {
		m, err := tx.mailbox(id)
		if err == nil {
			var box *Mailbox
			if box, err = tx.export(m); err == nil {
				out = append(out, box)
			}
		}
		if err != nil {
			if !lost(err) {
				return nil, err
			}
			tx.s.log.Error("mailbox cannot be read", "err", err)
		}
	}
	slices.SortFunc(out, func(a, b *Mailbox) int { return compareNames(a.Name, b.Name) })
	return out, nil
}

// exportTo is export for a person who is not the owner: counts are for those who may read. Special
// uses and subscriptions are the owner's.
func (tx *Tx) exportTo(m *mailboxTx) (*Mailbox, error) {
	out, err := tx.countsTo(m)
	if err != nil {
		return nil, err
	}
	if out.Name, _, err = tx.fullName(m); err != nil {
		return nil, err
	}
	out.HasChildren, err = tx.showsChildren(out.ID)
	return out, err
}

// countsTo is Mailbox.Counts for a person who is not the owner.
func (tx *Tx) countsTo(m *mailboxTx) (*Mailbox, error) {
	rights, err := tx.rightsTo(m.row.ID)
	if err != nil {
		return nil, err
	}
	out := m.row.mailbox()
	out.Rights, out.Role = rights, NoRole
	if !rights.Has(RightRead) {
		out.UIDNext, out.Messages, out.Unseen, out.Deleted, out.Size = 0, 0, 0, 0, 0
		out.RecentFrom, out.Recent, out.HighestModSeq = 0, 0, 0
		return &out, nil
	}
	out.RecentFrom, out.Recent = out.UIDNext, 0 // \Recent is the owner's
	own, err := tx.own(m)
	if err != nil {
		return nil, err
	}
	out.HighestModSeq = max(out.HighestModSeq, own.modseq)
	out.Unseen = out.Messages
	if len(own.blocks) > 0 {
		list, err := tx.list(m)
		if err != nil {
			return nil, err
		}
		out.Unseen = uint32(list.n - own.count(list))
	}
	return &out, nil
}

// showsChildren reports whether the person may look up anything below a mailbox.
func (tx *Tx) showsChildren(id MailboxID) (bool, error) {
	has, err := tx.hasChildren(id)
	if err != nil || !has || tx.as.all {
		return has, err
	}
	lists, err := tx.visible()
	if err != nil {
		return false, err
	}
	for below := range lists {
		m, err := tx.mailbox(below)
		for depth := 0; err == nil && m.row.Parent != 0 && depth < maxDepth; depth++ {
			if m.row.Parent == id {
				return true, nil
			}
			m, err = tx.mailbox(m.row.Parent)
		}
		if err != nil && !lost(err) {
			return false, err
		}
	}
	return false, nil
}

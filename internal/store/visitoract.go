package store

import (
	"fmt"
	"slices"
	"strings"
)

// What a person who is not the owner does, where that is more than a question of one right: flags of
// which he may change some, copies that keep what he may set, names below mailboxes where he may create.

// mayChange returns the flags that rights let somebody change, RFC 4314 §4.
func mayChange(have Rights) Flags {
	var may Flags
	if have.Has(RightSeen) {
		may |= Seen
	}
	if have.Has(RightTrash) {
		may |= Deleted
	}
	if have.Has(RightWrite) {
		may |= ^(Seen | Deleted)
	}
	return may
}

// setFlagsAs is SetFlags for a person who is not the owner. \Seen is his own. Of several flags those
// that he may change are changed, and the others stay: only when he may change none of them it is an
// error (RFC 4314 §4).
func (tx *Tx) setFlagsAs(id MailboxID, uids []UID, c FlagChange) (
	changed []Entry, refused []UID, err error) {
	have, err := tx.rightsTo(id)
	if err != nil {
		return nil, nil, err
	}
	if err := c.restrict(id, have); err != nil {
		return nil, nil, err
	}
	marks := have.Has(RightSeen) && (c.Mode == ReplaceFlags || c.Flags&Seen != 0)
	seen := c.Flags&Seen != 0 && c.Mode != RemoveFlags
	c.Flags &^= Seen
	c.keep |= Seen

	m, list, err := tx.forWriting(id)
	if err != nil {
		return nil, nil, err
	}
	own, err := tx.own(m)
	if err != nil {
		return nil, nil, err
	}
	words, err := tx.keywordSet(c.Keywords, c.Mode != RemoveFlags)
	if err != nil {
		return nil, nil, err
	}
	var marked []UID
	uids = tidy(slices.Clone(uids))
	for i, uid := range uids {
		tx.progress.At(i, len(uids))
		e := list.get(uid)
		if e == nil {
			continue
		}
		was := *e
		own.show(&was)
		if c.Conditional && was.ModSeq > c.UnchangedSince {
			refused = append(refused, uid)
			continue
		}
		now, err := tx.setFlags(m, *e, &c, words)
		if lost(err) {
			tx.s.log.Error("flags cannot be changed", "account", uint64(tx.id), "err", err)
			continue
		}
		if err != nil {
			return nil, nil, err
		}
		mark := marks && (was.Flags&Seen != 0) != seen
		if mark {
			marked = append(marked, uid)
		}
		if mark || now.ModSeq != e.ModSeq {
			changed = append(changed, now)
		}
	}
	if err := tx.markOwn(m, marked, seen); err != nil {
		return nil, nil, err
	}
	if own, err = tx.own(m); err != nil {
		return nil, nil, err
	}
	for i := range changed {
		own.show(&changed[i])
	}
	return changed, refused, nil
}

// restrict takes out of a change what rights do not reach, and returns an error when nothing is left.
func (c *FlagChange) restrict(id MailboxID, have Rights) error {
	may := mayChange(have)
	named := c.Flags & SystemFlags
	write := have.Has(RightWrite)
	if c.Mode == ReplaceFlags {
		if may == 0 {
			return refuse(id, have, RightWrite)
		}
	} else if named&may == 0 && (len(c.Keywords) == 0 || !write) {
		want := RightWrite
		switch {
		case len(c.Keywords) > 0 || named&^(Seen|Deleted) != 0:
		case named&Deleted != 0:
			want = RightTrash
		case named&Seen != 0:
			want = RightSeen
		default:
			want = 0 // nothing is named
		}
		if err := refuse(id, have, want|RightLookup); err != nil {
			return err
		}
	}
	c.Flags &= may
	c.keep = ^may
	if !write {
		c.Keywords, c.keepMore = nil, true
	}
	return nil
}

// appendAs checks that the person may file a message, and leaves out the flags that he may not set
// (RFC 4314 §4, APPEND). own says that he has seen it.
func (tx *Tx) appendAs(o *AppendOptions) (own bool, err error) {
	all := AllRights
	for _, id := range o.Mailboxes {
		have, err := tx.rightsTo(id)
		if err == nil {
			err = refuse(id, have, RightInsert)
		}
		if err != nil {
			return false, err
		}
		all &= have
	}
	may := mayChange(all)
	own = o.Flags&may&Seen != 0
	o.Flags &= may &^ Seen
	if !all.Has(RightWrite) {
		o.Keywords = nil
	}
	return own, nil
}

// copyAs is Copy, and Move, for a person who is not the owner. A copy is an email of its own, on the same
// body: otherwise who may change it there would change it here. A move takes the email itself along, if
// its person may set there all that it has.
func (tx *Tx) copyAs(from MailboxID, uids []UID, to MailboxID, move bool) ([]UIDPair, error) {
	want := RightRead
	if move {
		want |= RightTrash | RightExpunge
	}
	if err := tx.need(from, want); err != nil {
		return nil, err
	}
	if err := tx.need(to, RightInsert); err != nil {
		return nil, err
	}
	have, err := tx.rightsTo(to)
	if err != nil {
		return nil, err
	}
	src, dst, list, err := tx.twoForWriting(from, to)
	if err != nil {
		return nil, err
	}
	own, err := tx.own(src)
	if err != nil {
		return nil, err
	}
	var pairs []UIDPair
	var seen []UID
	uids = tidy(slices.Clone(uids))
	for i, uid := range uids {
		tx.progress.At(i, len(uids))
		e := list.get(uid)
		if e == nil {
			continue
		}
		st, err := tx.state(e.Email)
		if move && lost(err) {
			tx.s.log.Error("message cannot be moved", "account", uint64(tx.id), "err", err)
			continue
		}
		var p place
		switch keeps := mayChange(have) | Seen; {
		case err != nil:
		case move && len(st.Places) == 1 && e.Flags&^keeps == 0:
			p, err = tx.moveEntry(src, dst, *e, st)
		default:
			p, err = tx.copyEntryAs(dst, *e, st, keeps)
			if err == nil && move {
				if err = tx.unplace(src, *e, st); err == nil {
					err = tx.settle(*e, st)
				}
			}
		}
		if err != nil {
			return nil, fmt.Errorf("copy %d of mailbox %d: %w", uid, from, err)
		}
		was := *e
		if own.show(&was); was.Flags&Seen != 0 && have.Has(RightSeen) {
			seen = append(seen, p.UID)
		}
		pairs = append(pairs, UIDPair{uid, p.UID})
	}
	if err := tx.markOwn(dst, seen, true); err != nil || !move {
		return pairs, err
	}
	return pairs, tx.carryOwn(src, dst, pairs)
}

// copyEntryAs makes a new email on the body of another, with those of its flags that are kept.
func (tx *Tx) copyEntryAs(dst *mailboxTx, e Entry, st *stateRow, keeps Flags) (place, error) {
	kept := stateRow{Thread: st.Thread, Flags: st.Flags & keeps}
	if keeps&Answered != 0 {
		kept.More = slices.Clone(st.More)
	}
	e.Flags &= keeps
	return tx.cloneEmail(dst, e, &kept)
}

// createAs checks that the person may make a mailbox: below the nearest that exists (RFC 4314 §4).
func (tx *Tx) createAs(levels []string, o CreateOptions) error {
	parent, _, err := tx.walk(levels[:len(levels)-1])
	if err != nil {
		return err
	}
	if err := tx.needBelow(parent); err != nil {
		return err
	}
	if o.Role != NoRole {
		return tx.ownerOnly("special use of a mailbox")
	}
	if o.Subscribed {
		return tx.ownerOnly("subscriptions")
	}
	return nil
}

// renameAs checks that the person may bring a mailbox to a name.
func (tx *Tx) renameAs(id MailboxID, levels []string) error {
	if id == tx.row.role(RoleInbox) {
		return tx.ownerOnly("INBOX")
	}
	parent, _, err := tx.walk(levels[:len(levels)-1])
	if err != nil {
		return err
	}
	return tx.needBelow(parent)
}

// readableMailboxes returns the mailboxes that the person may read.
func (tx *Tx) readableMailboxes() ([]MailboxID, error) {
	if tx.as == nil || tx.as.all {
		return tx.everyMailbox()
	}
	var ids []MailboxID
	err := tx.eachACL(func(id MailboxID, acl *aclRow) error {
		if acl.of(&tx.as.Person).Has(RightRead) {
			ids = append(ids, id)
		}
		return nil
	})
	return ids, err
}

// stateTo returns of an email's state what the person may know: the places that he may read, and whether
// he has seen it in one of them.
func (tx *Tx) stateTo(id EmailID, row *stateRow) (*stateRow, error) {
	out := *row
	out.More, out.Places = slices.Clone(row.More), nil
	out.Flags &^= Seen
	for _, p := range slices.Clone(row.Places) {
		have, err := tx.rightsTo(p.Mailbox)
		if err != nil && !lost(err) {
			return nil, err
		}
		if !have.Has(RightRead) {
			continue
		}
		m, err := tx.mailbox(p.Mailbox)
		if err != nil {
			return nil, err
		}
		own, err := tx.own(m)
		if err != nil {
			return nil, err
		}
		e := Entry{UID: p.UID, ModSeq: out.ModSeq}
		own.show(&e)
		out.Flags, out.ModSeq = out.Flags|e.Flags&Seen, e.ModSeq
		out.Places = append(out.Places, p)
	}
	if len(out.Places) == 0 {
		return nil, fmt.Errorf("read email %d: %w", id, ErrNotFound)
	}
	return &out, nil
}

// sharedAnnotation reports whether an entry, its name in lower case, is of those that are not private to
// the owner (RFC 5464 §3.2).
func sharedAnnotation(name string) bool { return strings.HasPrefix(name, "/shared/") }

// annotationRights are the rights of which RFC 5464 §3.3 asks one beside RightLookup.
const annotationRights = RightRead | RightSeen | RightWrite | RightInsert | RightPost

// annotationsTo is Annotations for a person who is not the owner.
func (tx *Tx) annotationsTo(id MailboxID) (*Annotations, error) {
	if id == 0 {
		return nil, tx.ownerOnly("annotations")
	}
	have, err := tx.rightsTo(id)
	if err != nil {
		return nil, err
	}
	if have&annotationRights == 0 {
		return nil, refuse(id, have, RightLookup|RightRead)
	}
	if err := refuse(id, have, RightLookup); err != nil {
		return nil, err
	}
	a := tx.annotations(id)
	a.visitor, a.fixed = true, !have.Has(RightWrite)
	return a, nil
}

// annotationShows reports whether the person may read an annotation.
func (tx *Tx) annotationShows(id MailboxID, name string) (bool, error) {
	if id == 0 || !sharedAnnotation(name) {
		return false, nil
	}
	have, err := tx.rightsTo(id)
	if err != nil && !lost(err) {
		return false, err
	}
	return have.Has(RightLookup) && have&annotationRights != 0, nil
}

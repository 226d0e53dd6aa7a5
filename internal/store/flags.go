package store

import (
	"slices"
)

// Flags is what is known of an entry in bits: the system flags, then the account's keywords in the
// order of [KeywordTable]. All but Deleted and Recent belong to the email, and are the same in all
// its mailboxes.
type Flags uint64

// The system flags, RFC 9051 §2.3.2.
const (
	Seen Flags = 1 << iota
	Answered
	Flagged
	Draft
	Deleted // of the entry: the same email elsewhere is not deleted
	Recent  // never stored: doors derive it from Mailbox.RecentFrom, RFC 3501 §2.3.2
	// MoreKeywords says that the email has keywords beyond those with a bit: Tx.ExtraKeywords.
	MoreKeywords

	firstKeywordBit = 7
	keywordBits     = 64 - firstKeywordBit
)

// SystemFlags are the flags that are no keywords and can be stored.
const SystemFlags = Seen | Answered | Flagged | Draft | Deleted

// emailSystemFlags are those of them that belong to the email.
const emailSystemFlags = SystemFlags &^ Deleted

// FlagMode says what FlagChange does with what it names.
type FlagMode uint8

// The modes, RFC 9051 §6.4.6.
const (
	AddFlags     FlagMode = iota // +FLAGS
	RemoveFlags                  // -FLAGS
	ReplaceFlags                 // FLAGS: every other flag and keyword goes
)

// FlagChange is what Tx.SetFlags does.
type FlagChange struct {
	Mode     FlagMode
	Flags    Flags // of SystemFlags; other bits are ignored
	Keywords []string
	// Conditional leaves entries whose ModSeq is above UnchangedSince as they are and reports
	// them as refused (RFC 7162 §3.1.3).
	Conditional    bool
	UnchangedSince ModSeq

	// What is not the person's to change stays: these bits, and with keepMore the keywords without.
	keep     Flags
	keepMore bool
}

// SetFlags changes flags and keywords of entries of a mailbox. It returns the entries that are now
// other than before, with their new ModSeq, in the order of UIDs, and the UIDs that the condition
// held back. UIDs that are not in the mailbox are ignored. Keywords change in all mailboxes of an
// email. An entry whose email is damaged is left as it is.
func (tx *Tx) SetFlags(id MailboxID, uids []UID, c FlagChange) (
	changed []Entry, refused []UID, err error) {
	if tx.as != nil {
		return tx.setFlagsAs(id, uids, c)
	}
	m, list, err := tx.forWriting(id)
	if err != nil {
		return nil, nil, err
	}
	words, err := tx.keywordSet(c.Keywords, c.Mode != RemoveFlags)
	if err != nil {
		return nil, nil, err
	}
	// In the order of UIDs, so that the edits of the list are sorted already.
	uids = tidy(slices.Clone(uids))
	for i, uid := range uids {
		tx.progress.At(i, len(uids))
		e := list.get(uid)
		switch {
		case e == nil:
			continue
		case c.Conditional && e.ModSeq > c.UnchangedSince:
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
		if now.ModSeq != e.ModSeq {
			changed = append(changed, now)
		}
	}
	return changed, refused, nil
}

// forWriting returns a mailbox with its list for changes to its entries.
func (tx *Tx) forWriting(id MailboxID) (*mailboxTx, *List, error) {
	if tx.w == nil {
		return nil, nil, ErrReadOnly
	}
	tx.calls++
	m, err := tx.peer(id)
	if err != nil {
		return nil, nil, err
	}
	return m, m.list, nil
}

// peer returns a mailbox with its list as it was when the present call began: the edits of earlier
// calls are in it, those of this one are not. A call touches an entry once at most.
func (tx *Tx) peer(id MailboxID) (*mailboxTx, error) {
	m, err := tx.mailbox(id)
	if err != nil {
		return nil, err
	}
	if m.flushed != tx.calls || m.list == nil {
		m.flushed = tx.calls
		_, err = tx.list(m)
	}
	return m, err
}

// apply returns what the change makes of the flags and keywords of an email.
func (c *FlagChange) apply(st *stateRow, words keywordSet) (Flags, []uint32) {
	own := c.Flags&emailSystemFlags | words.bits
	switch c.Mode {
	case AddFlags:
		return st.Flags | own, union(st.More, words.more)
	case RemoveFlags:
		more := slices.DeleteFunc(slices.Clone(st.More), func(k uint32) bool {
			return slices.Contains(words.more, k)
		})
		return st.Flags &^ own, more
	default:
		more := words.more
		if c.keepMore {
			more = st.More
		}
		return own&^c.keep | st.Flags&c.keep, slices.Clone(more) // the state row's memory is reused
	}
}

// union returns what is in a or b, in order. It changes neither.
func union(a, b []uint32) []uint32 {
	if len(b) == 0 {
		return a
	}
	out := append(slices.Clone(a), b...)
	slices.Sort(out)
	return slices.Compact(out)
}

// deleted returns what the change makes of the entry's own flag.
func (c *FlagChange) deleted(was Flags) Flags {
	f := c.Flags & Deleted
	if c.keep&Deleted != 0 {
		return was & Deleted
	}
	switch c.Mode {
	case AddFlags:
		return was&Deleted | f
	case RemoveFlags:
		return was & Deleted &^ f
	default:
		return f
	}
}

// setFlags changes one entry, and with it the email's entries elsewhere. It returns the entry as it
// is then.
func (tx *Tx) setFlags(m *mailboxTx, e Entry, c *FlagChange, words keywordSet) (Entry, error) {
	del := c.deleted(e.Flags)
	own := c.Flags&emailSystemFlags | words.bits
	// A flag of the entry alone, or one that is set already, needs no look at the email.
	quick := len(words.more) == 0 && (c.Mode == AddFlags && e.Flags&own == own ||
		c.Mode == RemoveFlags && e.Flags&own == 0)
	if quick && del == e.Flags&Deleted {
		return e, nil
	}
	if quick {
		return tx.putEntry(m, e, e.Flags&^Deleted|del)
	}
	st, err := tx.state(e.Email)
	if err != nil {
		return e, err
	}
	flags, more := c.apply(st, words)
	if flags == st.Flags && slices.Equal(more, st.More) {
		if del == e.Flags&Deleted {
			return e, nil
		}
		return tx.putEntry(m, e, e.Flags&^Deleted|del)
	}
	st.Flags, st.More = flags, more
	return tx.putState(m, e, del, st)
}

// putState writes a changed state row, and its flags into the entry e of m, with del, and those in
// other mailboxes, which keep their own \Deleted.
func (tx *Tx) putState(m *mailboxTx, e Entry, del Flags, st *stateRow) (Entry, error) {
	modseq, err := tx.change()
	if err != nil {
		return e, err
	}
	st.ModSeq = modseq
	flags, places := st.entryFlags(), st.Places
	if err := tx.writeState(e.Email, st); err != nil {
		return e, err
	}
	tx.log.Emails[updated] = append(tx.log.Emails[updated], uint64(e.Email))
	if len(places) > 1 {
		places = slices.Clone(places) // st is reused below
	}
	for _, p := range places {
		if p.Mailbox == m.row.ID {
			continue
		}
		other, err := tx.peer(p.Mailbox)
		if err != nil {
			return e, err
		}
		if there := other.list.get(p.UID); there != nil {
			if _, err := tx.putEntry(other, *there, flags|there.Flags&Deleted); err != nil {
				return e, err
			}
		}
	}
	return tx.putEntry(m, e, flags|del)
}

func (tx *Tx) writeState(id EmailID, st *stateRow) error {
	tx.key = key64(tx.key[:0], tx.id, kindState, uint64(id))
	return tx.set(st.append(tx.value[:0]))
}

// putEntry gives an entry of m new flags and the transaction's ModSeq.
func (tx *Tx) putEntry(m *mailboxTx, e Entry, flags Flags) (Entry, error) {
	modseq, err := tx.change()
	if err != nil {
		return e, err
	}
	// Counted out as it was and in as it is: the counters can never drift from the flags.
	m.row.count(&e, -1)
	e.Flags, e.ModSeq = flags, modseq
	m.row.count(&e, 1)
	m.edits = append(m.edits, edit{Entry: e})
	tx.note(m, &m.changed, e.UID)
	return e, nil
}

package store

import (
	"errors"
	"iter"
	"maps"
	"slices"

	"tram/internal/kv"
)

// ownTx is a person's \Seen of a mailbox within a transaction.
type ownTx struct {
	now     *ownSeen
	touched map[uint32]bool // blocks to be written
}

// ownID names what a person had seen of a mailbox when it had changed last in a transaction.
type ownID struct {
	account AccountID
	mailbox MailboxID
	person  AccountID
	at      ModSeq
}

// ownKept bounds what is kept of it for all people together.
const ownKept = 32 << 20

// own returns what the transaction's person has seen of a mailbox; nil for the owner.
func (tx *Tx) own(m *mailboxTx) (*ownSeen, error) {
	if tx.as == nil {
		return nil, nil
	}
	if o := tx.as.own[m.row.ID]; o != nil {
		return o.now, nil
	}
	now, err := tx.readOwn(m, tx.as.Account)
	if err != nil {
		return nil, err
	}
	if tx.as.own == nil {
		tx.as.own = map[MailboxID]*ownTx{}
	}
	tx.as.own[m.row.ID] = &ownTx{now: now}
	return now, nil
}

// readOwn reads what a person has seen: from memory, when that is what the head row says. What cannot be
// read of it is not seen.
func (tx *Tx) readOwn(m *mailboxTx, person AccountID) (*ownSeen, error) {
	if m.row.Sharing&sharingSeen == 0 {
		return &ownSeen{}, nil
	}
	head := ownHeadKey(nil, tx.id, m.row.ID, person)
	value, err := tx.r.Get(head)
	if errors.Is(err, kv.ErrNotFound) {
		return &ownSeen{}, nil
	}
	var at ModSeq
	if err == nil {
		at, err = decodeOwnHead(head, value)
	}
	if err != nil {
		if err = wrap(err, "read own \\Seen"); !lost(err) {
			return nil, err
		}
		tx.s.log.Error("own \\Seen cannot be read", "account", uint64(tx.id), "err", err)
	}
	key := ownID{tx.id, m.row.ID, person, at}
	if at != 0 {
		if o, ok := tx.s.owns.Get(key); ok {
			return o, nil
		}
	}
	o := &ownSeen{modseq: at}
	err = tx.r.Scan(kv.Prefix(head), func(key, value []byte) error {
		k, err := splitOwnKey(key)
		if err == nil && k.head {
			return nil
		}
		var b *seenBlock
		if err == nil {
			b, err = decodeOwnBlock(key, value, k.number)
		}
		if err != nil {
			tx.s.log.Error("own \\Seen cannot be read", "account", uint64(tx.id), "err", err)
			return nil
		}
		o.blocks = append(o.blocks, b)
		o.modseq = max(o.modseq, b.newest)
		return nil
	})
	if err != nil {
		return nil, wrap(err, "read own \\Seen")
	}
	if tx.w == nil && at != 0 {
		tx.s.owns.Put(key, o, o.bytes())
	}
	return o, nil
}

// view returns a mailbox's list as the transaction's person sees it.
func (tx *Tx) view(m *mailboxTx) (*List, error) {
	list, err := tx.list(m)
	if err != nil || tx.as == nil {
		return list, err
	}
	own, err := tx.own(m)
	if err != nil {
		return nil, err
	}
	return list.as(own), nil
}

// markOwn marks entries of a mailbox as seen by the person, or not; all are other than before. The
// announcement is that of every change; the mailbox's list is, for all others, as it was.
func (tx *Tx) markOwn(m *mailboxTx, uids []UID, seen bool) error {
	if len(uids) == 0 {
		return nil
	}
	if _, err := tx.own(m); err != nil {
		return err
	}
	at, err := tx.change()
	if err != nil {
		return err
	}
	o := tx.as.own[m.row.ID]
	var touched []uint32
	o.now, touched = o.now.with(tidy(slices.Clone(uids)), seen, at, m.list, m.base.UIDNext)
	if o.touched == nil {
		o.touched = map[uint32]bool{}
	}
	for _, n := range touched {
		o.touched[n] = true
	}
	tx.noteOwn(m)
	return nil
}

// noteOwn notes that somebody's \Seen of a mailbox has changed.
func (tx *Tx) noteOwn(m *mailboxTx) {
	m.what |= mailboxOwnSeen
	if m.row.Sharing&sharingSeen == 0 {
		m.row.Sharing |= sharingSeen
		m.dirty = true
	}
}

// maxCarried is of how many people a move takes along what they have seen: with more it would last.
const maxCarried = 500

// carryOwn makes what people have seen of a mailbox seen where it was moved to, whoever moved it; the
// transaction's own person is looked after by copyAs.
func (tx *Tx) carryOwn(src, dst *mailboxTx, pairs []UIDPair) error {
	if src.row.Sharing&sharingSeen == 0 || dst.row.Sharing&sharingACL == 0 || len(pairs) == 0 {
		return nil
	}
	readers, err := tx.readersOf(src.row.ID)
	if err != nil || len(readers) > maxCarried {
		return err
	}
	for _, person := range readers {
		if tx.as != nil && person == tx.as.Account {
			continue
		}
		old, err := tx.readOwn(src, person)
		if err != nil {
			return err
		}
		var seen []UID
		for _, p := range pairs {
			if r := old.block(blockOf(p.From)).run(p.From); r != nil && r.Seen {
				seen = append(seen, p.To)
			}
		}
		if len(seen) == 0 {
			continue
		}
		now, err := tx.readOwn(dst, person)
		if err != nil {
			return err
		}
		next, touched := now.with(tidy(seen), true, tx.row.ModSeq+1, nil, 0)
		if err := tx.writeOwn(dst.row.ID, person, next, slices.Values(touched)); err != nil {
			return err
		}
		tx.noteOwn(dst)
	}
	return nil
}

// readersOf returns who has \Seen of his own in a mailbox.
func (tx *Tx) readersOf(id MailboxID) ([]AccountID, error) {
	var all []AccountID
	r := kv.Prefix(ownSeenKey(nil, tx.id, id))
	r.KeysOnly = true
	err := tx.r.Scan(r, func(key, _ []byte) error {
		if k, err := splitOwnKey(key); err == nil && k.head {
			all = append(all, k.person)
		}
		return nil
	})
	return all, wrap(err, "read own \\Seen")
}

// writeOwn writes some blocks of what a person has seen, and the head.
func (tx *Tx) writeOwn(id MailboxID, person AccountID, o *ownSeen, blocks iter.Seq[uint32]) error {
	for number := range blocks {
		tx.key = ownBlockKey(tx.key[:0], tx.id, id, person, number)
		if err := tx.set(o.block(number).append(tx.value[:0])); err != nil {
			return err
		}
	}
	tx.key = ownHeadKey(tx.key[:0], tx.id, id, person)
	return tx.set(appendOwnHead(tx.value[:0], o.modseq))
}

// finishOwn writes what the person has marked.
func (tx *Tx) finishOwn() error {
	for id, o := range tx.as.own {
		m := tx.mailboxes[id]
		if len(o.touched) == 0 || m == nil || m.gone {
			continue
		}
		if err := tx.writeOwn(id, tx.as.Account, o.now, maps.Keys(o.touched)); err != nil {
			return err
		}
	}
	return nil
}

// committedOwn keeps what the person has marked for who asks next.
func (tx *Tx) committedOwn() {
	for id, o := range tx.as.own {
		if len(o.touched) > 0 {
			tx.s.owns.Put(ownID{tx.id, id, tx.as.Account, o.now.modseq}, o.now, o.now.bytes())
		}
	}
}

// eachReader calls fn for everybody who has \Seen of his own in a mailbox.
func (tx *Tx) eachReader(fn func(MailboxID, AccountID) error) error {
	var last ownRowKey
	r := kv.Prefix(appendKey(nil, tx.id, kindOwnSeen))
	r.KeysOnly = true
	err := tx.r.Scan(r, func(key, _ []byte) error {
		k, err := splitOwnKey(key)
		if err != nil || k.mailbox == last.mailbox && k.person == last.person {
			return nil
		}
		last = k
		return fn(k.mailbox, k.person)
	})
	return wrap(err, "read own \\Seen")
}

// forgetSeen removes what people have seen who are gone.
func (tx *Tx) forgetSeen(gone map[AccountID]bool) error {
	var prefixes [][]byte
	err := tx.eachReader(func(m MailboxID, person AccountID) error {
		if gone[person] {
			prefixes = append(prefixes, ownHeadKey(nil, tx.id, m, person))
		}
		return nil
	})
	for _, prefix := range prefixes {
		if err == nil {
			err = tx.w.DeleteRange(prefix, kv.PrefixEnd(prefix))
		}
	}
	return err
}

// errIdle ends idleMarks.
var errIdle = errors.New("there is something to prune")

// idleMarks reports whether pruneOwn has anything to do.
func (tx *Tx) idleMarks(id MailboxID) (bool, error) {
	any := false
	err := tx.eachMark(id, func(_ []byte, b, now *seenBlock) error {
		if any = true; b != now {
			return errIdle
		}
		return nil
	})
	if err == errIdle { //nolint:errorlint // only the value itself is the signal
		return true, nil
	}
	return !any, err
}

// eachMark calls fn for the blocks of all people in a mailbox, and what is left of each without what the
// mailbox has not any more; nil for none, both for a head row.
func (tx *Tx) eachMark(id MailboxID, fn func(key []byte, b, now *seenBlock) error) error {
	m, err := tx.mailbox(id)
	if err != nil {
		return err
	}
	list, err := tx.list(m)
	if err != nil {
		return err
	}
	err = tx.r.Scan(kv.Prefix(ownSeenKey(nil, tx.id, id)), func(key, value []byte) error {
		k, err := splitOwnKey(key)
		var b, now *seenBlock
		if err == nil && !k.head {
			if b, err = decodeOwnBlock(key, value, k.number); err == nil {
				now = b.prune(list)
			}
		}
		if err != nil {
			return fn(key, nil, nil) // a repair names it
		}
		return fn(key, b, now)
	})
	if err == errIdle { //nolint:errorlint // only the value itself is the signal
		return err
	}
	return wrap(err, "read own \\Seen")
}

// pruneOwn removes what people have seen of what a mailbox has not any more. It changes nothing that
// anybody can see.
func (tx *Tx) pruneOwn(id MailboxID) error {
	any := false
	err := tx.eachMark(id, func(key []byte, b, now *seenBlock) error {
		any = true
		switch {
		case b == now:
			return nil
		case now == nil:
			return tx.w.Delete(key)
		}
		return tx.w.Set(key, seal(key, now.append(nil)))
	})
	if err != nil || any {
		return err
	}
	m, err := tx.mailbox(id)
	if err == nil && m.row.Sharing&sharingSeen != 0 {
		m.row.Sharing &^= sharingSeen
		m.dirty = true
	}
	return err
}

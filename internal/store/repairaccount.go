package store

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"

	"tram/internal/kv"
)

// mender makes the rows of one account again in one transaction. State rows are the truth about
// where an email is and what flags it has, email rows about what it is, mailbox rows about names;
// all else follows. What a state row does not tell any more is taken from the mailboxes' lists.
type mender struct {
	*repairer
	id   AccountID
	tx   *Tx
	w    kv.Txn
	hurt hurt

	fresh  bool   // the account row was lost
	newest ModSeq // the highest that any row has
	at     ModSeq // what the repair has
	boxes  map[MailboxID]*boxMend
	placed map[MailboxID]UID // mailboxes that state rows name, with the highest UID
	gaveUp map[EmailID]bool
	claims []claim
	gone   map[EmailID]Recoverable
	member map[EmailID]ThreadID // of hurt threads

	usage    Usage
	keywords int // numbers in use
	homeless []newPlace
	hidden   []Recoverable
	deeds    []Finding
}

// boxMend is a mailbox: its row, its list as it was, and as it will be.
type boxMend struct {
	row     mailboxRow
	lost    bool // the row could not be read
	old     []Entry
	whole   bool // its rows are in order
	entries []Entry
	taken   map[UID]EmailID // where two emails may want the same; nil: nobody does
}

// claim is an entry of a list: the email's place, as the list has it.
type claim struct {
	email EmailID
	box   MailboxID
	entry Entry
}

// newPlace is an email that is to get a new UID in a mailbox; 0 is the one for what was found.
type newPlace struct {
	email EmailID
	box   MailboxID
}

// recoveredName is the mailbox that emails come to of which nobody knows where they were.
const recoveredName = "Recovered"

func (m *mender) tell(kind, where, format string, args ...any) {
	m.deeds = append(m.deeds,
		Finding{Account: m.id, Kind: kind, Where: where, What: fmt.Sprintf(format, args...)})
}

func (m *mender) run() error {
	m.boxes, m.placed = map[MailboxID]*boxMend{}, map[MailboxID]UID{}
	m.gone, m.member = map[EmailID]Recoverable{}, map[EmailID]ThreadID{}
	m.gaveUp = map[EmailID]bool{}
	for _, step := range []func() error{
		m.begin, m.survey, m.readMailboxes, m.readNames, m.readLists, m.expunged, m.fixTree,
		m.emailRows, m.stateRows, m.unnamed, m.home, m.keywordTable, m.sharing, m.writeLists, m.writeNames,
		m.writeRecoverable, m.writeThreads, m.threadIndex, m.annotations,
		m.smallRows, m.finish,
	} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// begin reads the account row, or begins a new one.
func (m *mender) begin() error {
	key := appendKey(nil, m.id, kindAccount)
	value, err := m.w.Get(key)
	if err == nil {
		m.tx.row, err = decodeAccount(key, value)
		if err != nil {
			err = errors.Join(kv.ErrNotFound, m.keep(key, value))
		}
	}
	if errors.Is(err, kv.ErrNotFound) {
		m.tx.row, m.fresh = accountRow{}, true
		m.tell("account-row", "account row", "is made again; quota and domain are to be set again")
		err = nil
	}
	row := &m.tx.row
	row.NextMailbox, row.NextEmail = max(row.NextMailbox, 1), max(row.NextEmail, 1)
	row.NextThread = max(row.NextThread, 1)
	m.newest = row.ModSeq
	return err
}

// scan goes over the rows of a kind; fn may write.
func (m *mender) scan(kind byte, fn func(key, value []byte) error) error {
	return m.w.Scan(kv.Prefix(appendKey(nil, m.id, kind)), func(key, value []byte) error {
		if err := m.ctx.Err(); err != nil {
			return err
		}
		return fn(key, value)
	})
}

// drop removes a row that is of no use any more, and keeps it aside.
func (m *mender) drop(key, value []byte) error {
	return errors.Join(m.keep(key, value), m.w.Delete(key))
}

func (m *mender) set(key, value []byte) error { return m.w.Set(key, seal(key, value)) }

// survey finds the highest of all numbers that were given out, and what states say of mailboxes.
func (m *mender) survey() error {
	row := &m.tx.row
	var st stateRow
	err := m.scan(kindState, func(key, value []byte) error {
		row.NextEmail = max(row.NextEmail, emailOfKey(key)+1)
		if st.decode(key, value) != nil {
			return nil
		}
		m.seen(st.ModSeq)
		for _, p := range st.Places {
			m.placed[p.Mailbox] = max(m.placed[p.Mailbox], p.UID)
		}
		row.NextThread = max(row.NextThread, st.Thread+1)
		return nil
	})
	for _, kind := range []byte{kindEmail, kindThread, kindChange} {
		if err != nil {
			break
		}
		r := kv.Prefix(appendKey(nil, m.id, kind))
		r.Reverse, r.Limit, r.KeysOnly = true, 1, true
		err = m.w.Scan(r, func(key, _ []byte) error {
			n := uint64(emailOfKey(key))
			switch kind {
			case kindEmail:
				row.NextEmail = max(row.NextEmail, EmailID(n)+1)
			case kindThread:
				row.NextThread = max(row.NextThread, ThreadID(n)+1)
			case kindChange:
				m.seen(ModSeq(n))
			}
			return nil
		})
	}
	for id := range m.lost[m.id] {
		row.NextEmail = max(row.NextEmail, id+1)
	}
	if err == nil {
		err = m.surveyAnnotations()
	}
	if err == nil {
		err = m.surveySharing()
	}
	if err == nil {
		err = m.surveyRemoved()
	}
	return err
}

func (m *mender) surveyRemoved() error {
	err := m.scan(kindRecover, func(key, value []byte) error {
		rec, err := decodeRecoverable(key, value)
		if err == nil {
			m.gone[rec.Email] = rec
			return nil
		}
		return m.keep(key, value)
	})
	for id := range m.hurt.threads {
		if err != nil {
			break
		}
		row, readErr := m.tx.thread(id)
		if readErr != nil {
			if !lost(readErr) {
				err = readErr
			}
			continue
		}
		for _, member := range row.Members {
			m.member[member.Email] = id
		}
	}
	return err
}

// unbelievable is how far beyond the account's own a ModSeq may be and still be one of its.
const unbelievable = 1 << 40

// seen raises the highest ModSeq. One that is out of all reason is not followed: clients could not
// count on from there (RFC 7162 §3.1 bounds it to 63 bits).
func (m *mender) seen(at ModSeq) {
	if at < m.tx.row.ModSeq+unbelievable {
		m.newest = max(m.newest, at)
	}
}

// expunged forgets the history of what was expunged, once its UIDs are known never to come again,
// and the log of changes: clients learn the rest from the lists.
func (m *mender) expunged() error {
	err := m.scan(kindVanished, func(key, value []byte) error {
		n, rest, err := kv.TakeUint32(key[10:])
		if b := m.boxes[MailboxID(n)]; err == nil && b != nil && len(rest) == 8 {
			m.seen(ModSeq(emailOfKey(rest)))
			ranges, err := decodeVanished(key, value)
			if err != nil {
				if err := m.keep(key, value); err != nil {
					return err
				}
			}
			for _, r := range ranges {
				b.row.UIDNext = max(b.row.UIDNext, after(r.Last))
			}
		}
		return m.w.Delete(key)
	})
	if err != nil {
		return err
	}
	m.at = m.newest + 1
	return m.scan(kindChange, func(key, _ []byte) error { return m.w.Delete(key) })
}

// after is the UID after one; there is none after the last.
func after(uid UID) UID { return max(uid, uid+1) }

// keywordTable makes sure that every keyword in use has a name.
func (m *mender) keywordTable() error {
	key := appendKey(nil, m.id, kindKeywords)
	value, err := m.w.Get(key)
	if errors.Is(err, kv.ErrNotFound) {
		value, err = nil, nil
	}
	if err != nil {
		return err
	}
	table := &KeywordTable{}
	if value != nil {
		if table, err = decodeKeywords(key, value); err != nil {
			if err := m.keep(key, value); err != nil {
				return err
			}
			table = &KeywordTable{}
			m.tell("keyword", "keyword table", "its names are lost; those in use are called lost-0 and so on")
		}
	}
	if value == nil && m.keywords == 0 {
		return nil
	}
	table = &KeywordTable{names: slices.Clone(table.names)}
	for i := range max(m.keywords, len(table.names)) {
		if i == len(table.names) {
			table.names = append(table.names, "")
		}
		if checkKeyword(table.names[i]) != nil || table.index(table.names[i]) != i {
			table.names[i] = fmt.Sprintf("lost-%d", i)
		}
	}
	return m.set(key, table.append(nil))
}

// smallRows looks after the rows that stand by themselves.
func (m *mender) smallRows() error {
	err := m.scan(kindDedupe, func(key, value []byte) error {
		if _, _, err := decodeDedupe(key, value); len(value) > 0 && err != nil {
			return m.drop(key, value) // the worst that comes of it is a message twice
		}
		return nil
	})
	if err != nil {
		return err
	}
	err = m.scan(kindSubscribe, func(key, value []byte) error {
		if _, err := unseal(key, value); err != nil {
			return m.set(key, []byte{version1}) // the name is in the key
		}
		return nil
	})
	if err == nil {
		err = m.lineForms()
	}
	for kind := 0; kind < 256 && err == nil; kind++ {
		if _, known := kindNames[byte(kind)]; known && kind != kindDomain && kind != kindShare {
			continue
		}
		err = m.scan(byte(kind), func(key, value []byte) error {
			m.tell("unknown", describeKey(key), "is taken out")
			return m.drop(key, value)
		})
	}
	return err
}

// finish writes mailbox rows and the account row.
func (m *mender) finish() error {
	row := &m.tx.row
	row.Roles, row.Mailboxes = nil, uint32(len(m.boxes))
	for _, id := range slices.Sorted(maps.Keys(m.boxes)) {
		b := m.boxes[id]
		row.setRole(b.row.Role, id)
		b.row.Highest, b.row.ExpungedFloor, b.row.Expunged = m.at, m.at, 0
		b.row.CreatedAt = min(b.row.CreatedAt, m.at)
		b.row.ChangedAt = min(b.row.ChangedAt, m.at)
		if err := m.set(key32(nil, m.id, kindMailbox, uint32(id)), b.row.append(nil)); err != nil {
			return err
		}
	}
	was := row.Usage
	row.Usage, row.ModSeq, row.LogFloor = m.usage, m.at, m.at
	if was != m.usage {
		m.tell("usage", "account row", "%d messages of %d bytes count now, %d of %d did",
			m.usage.Messages, m.usage.Bytes, was.Messages, was.Bytes)
	}
	if row.Limited && row.Domain == "" {
		row.Limited = false
	}
	if row.Domain != "" {
		if err := m.tx.resetGrant(); err != nil && !lost(err) {
			return err
		}
	}
	m.tell("account", "account", "is in order again; mail programs will read its lists anew")
	return m.set(appendKey(nil, m.id, kindAccount), row.append(nil))
}

// writeRecoverable makes the rows of what can be recovered.
func (m *mender) writeRecoverable() error {
	err := m.scan(kindRecover, func(key, _ []byte) error { return m.w.Delete(key) })
	for _, rec := range m.hidden {
		if err != nil {
			return err
		}
		key := recoverKey(nil, m.id, rec.Removed.Unix(), rec.Email)
		err = m.set(key, appendRecoverable(nil, rec.Mailbox, rec.Size))
	}
	return err
}

// claimsOf returns the entries that lists have for an email.
func (m *mender) claimsOf(id EmailID) []claim {
	i, _ := slices.BinarySearchFunc(m.claims, id, func(c claim, id EmailID) int {
		return cmp.Compare(c.email, id)
	})
	n := i
	for n < len(m.claims) && m.claims[n].email == id {
		n++
	}
	return m.claims[i:n]
}

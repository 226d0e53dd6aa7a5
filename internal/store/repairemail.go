package store

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"tram/internal/blob"
	"tram/internal/kv"
	"tram/internal/message"
)

// emailRows goes over the emails that have a row.
func (m *mender) emailRows() error {
	return m.scan(kindEmail, func(key, value []byte) error {
		id := emailOfKey(key)
		st, err := m.stateOf(id)
		if err != nil {
			return err
		}
		var e Email
		if e.decode(key, value) != nil {
			return m.again(id, st, value)
		}
		if m.hurt.emails[id] {
			if err := m.parseAgain(&e, key); err != nil {
				return err
			}
		}
		if m.hurt.links[id] {
			if err := m.s.blobs.Restore(m.w, e.Blob.ID, m.tx.owner(id)); err != nil {
				return err
			}
			m.tell("blob-link", fmt.Sprintf("email %d", id), "its body knows of it again")
		}
		return m.settle(&e, st)
	})
}

// stateOf returns an email's state row, nil when it is lost.
func (m *mender) stateOf(id EmailID) (*stateRow, error) {
	st, err := m.tx.state(id)
	if err == nil {
		return st, nil
	}
	if errors.Is(err, ErrDamaged) {
		key := key64(nil, m.id, kindState, uint64(id))
		if value, getErr := m.w.Get(key); getErr == nil {
			return nil, m.keep(key, value)
		}
	}
	if lost(err) {
		return nil, nil
	}
	return nil, err
}

// parseAgain writes an email's row anew from its body, as far as that can be read.
func (m *mender) parseAgain(e *Email, key []byte) error {
	parsed, err := m.tx.parse(e)
	if errors.Is(err, blob.ErrDamaged) {
		return nil // the row is all that is left of it
	}
	if err != nil {
		return err
	}
	m.hurt.index = true
	m.tell("structure", fmt.Sprintf("email %d", e.ID), "is taken from its body anew")
	if err := m.tx.noteForm(e.ID, lineFormOf(parsed)); err != nil {
		return err
	}
	return m.set(key, m.tx.appendEmail(nil, e.Thread, e.Blob, e.Received, parsed))
}

// stateRows goes over the emails that have no row but a state.
func (m *mender) stateRows() error {
	return m.scan(kindState, func(key, _ []byte) error {
		id := emailOfKey(key)
		_, err := m.w.Get(key64(nil, m.id, kindEmail, uint64(id)))
		if !errors.Is(err, kv.ErrNotFound) {
			return err
		}
		st, err := m.stateOf(id)
		if err != nil {
			return err
		}
		return m.again(id, st, nil)
	})
}

// unnamed goes over the emails of which nothing is left but their bodies.
func (m *mender) unnamed() error {
	for _, id := range slices.Sorted(maps.Keys(m.lost[m.id])) {
		for _, kind := range []byte{kindEmail, kindState} {
			_, err := m.w.Get(key64(nil, m.id, kind, uint64(id)))
			if err == nil {
				break // was dealt with
			}
			if !errors.Is(err, kv.ErrNotFound) {
				return err
			}
			if kind == kindState && !m.gaveUp[id] {
				if err := m.again(id, nil, nil); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// again makes an email's row from its body, or gives the email up. row is what stood there.
func (m *mender) again(id EmailID, st *stateRow, row []byte) error {
	key := key64(nil, m.id, kindEmail, uint64(id))
	if row != nil {
		if err := m.keep(key, row); err != nil {
			return err
		}
	}
	where := m.where(id, st)
	for _, body := range m.lost[m.id][id] {
		e, err := m.fromBody(id, st, body)
		if errors.Is(err, blob.ErrDamaged) || errors.Is(err, kv.ErrCorrupt) {
			continue
		}
		if err != nil {
			return err
		}
		m.hurt.index = true
		m.tell("email-row", where, "is made again from its body")
		return m.settle(e, st)
	}
	m.gaveUp[id] = true
	for _, body := range m.lost[m.id][id] {
		if err := m.s.blobs.Forget(m.w, body, m.tx.owner(id)); err != nil {
			return err
		}
	}
	if st != nil {
		m.hurt.threads[st.Thread] = true
	}
	m.tell("lost", where, "its row is lost and its body is not whole: it is taken out")
	return errors.Join(m.w.Delete(key), m.w.Delete(key64(nil, m.id, kindState, uint64(id))))
}

// where tells people which email it is.
func (m *mender) where(id EmailID, st *stateRow) string {
	where := fmt.Sprintf("email %d", id)
	if st != nil {
		for _, p := range st.Places {
			where += fmt.Sprintf(", UID %d of %s", p.UID, m.path(p.Mailbox))
		}
		return where
	}
	for _, c := range m.claimsOf(id) {
		where += fmt.Sprintf(", UID %d of %s", c.entry.UID, m.path(c.box))
	}
	return where
}

// errTorn is a body that is shorter than its email was.
var errTorn = fmt.Errorf("its last part is missing: %w", blob.ErrDamaged)

// fromBody writes an email row from a body.
func (m *mender) fromBody(id EmailID, st *stateRow, body blob.ID) (*Email, error) {
	p := message.NewParser(m.tx.s.message)
	ref, err := m.s.blobs.Rebuild(m.w, body, p)
	if err != nil {
		return nil, err
	}
	received := body.Time()
	for _, c := range m.claimsOf(id) {
		received = time.Unix(c.entry.Received, 0)
		if c.entry.Size != 0 && int64(c.entry.Size) != ref.Size {
			return nil, errTorn
		}
	}
	if rec, ok := m.gone[id]; ok && rec.Size != 0 && rec.Size != ref.Size {
		return nil, errTorn
	}
	thread := m.member[id]
	if st != nil {
		thread = st.Thread
	}
	if thread == 0 {
		thread = m.tx.row.NextThread
		m.tx.row.NextThread++
	}
	m.hurt.threads[thread] = true
	key := key64(nil, m.id, kindEmail, uint64(id))
	parsed := p.Finish()
	value := seal(key, m.tx.appendEmail(nil, thread, ref, received, parsed))
	if err := m.w.Set(key, value); err != nil {
		return nil, err
	}
	bytes := m.s.blobs.OpenAnew(m.w, ref)
	defer bytes.Close()
	if err := measure(parsed, bytes); err != nil {
		return nil, err
	}
	if err := m.tx.noteForm(id, lineFormOf(parsed)); err != nil {
		return nil, err
	}
	if err := m.s.blobs.Restore(m.w, body, m.tx.owner(id)); err != nil {
		return nil, err
	}
	e := new(Email)
	return e, e.decode(key, value)
}

// settle makes an email's state row right and puts the email into the lists that it names.
func (m *mender) settle(e *Email, st *stateRow) error {
	var was []byte
	if st != nil {
		was = st.append(nil)
	} else {
		st = m.fromLists(e)
	}
	if st.Thread != e.Thread {
		m.hurt.threads[st.Thread], m.hurt.threads[e.Thread] = true, true
		st.Thread = e.Thread
	}
	m.tx.row.NextThread = max(m.tx.row.NextThread, e.Thread+1)
	m.cleanFlags(st)
	m.count(e, st, m.cleanPlaces(e, st))
	if st.ModSeq == 0 || st.ModSeq > m.newest || string(st.append(nil)) != string(was) {
		st.ModSeq = m.at
	}
	for _, p := range st.Places {
		m.enter(e.Blob.Size, e.Received.Unix(), e.ID, st, p)
	}
	key := key64(nil, m.id, kindState, uint64(e.ID))
	value := st.append(nil)
	if string(value) == string(was) {
		return nil
	}
	return m.set(key, value)
}

// cleanPlaces leaves in a state row the places that the email can have, notes those for which it
// gets a new UID, and reports whether the email is in any mailbox at the end.
func (m *mender) cleanPlaces(e *Email, st *stateRow) (lives bool) {
	wanted := st.Places
	st.Places = make([]place, 0, len(wanted))
	homeless := false
	for _, p := range wanted {
		if _, twice := st.in(p.Mailbox); twice || m.boxes[p.Mailbox] == nil {
			continue
		}
		if m.free(e.ID, p) {
			st.Places = append(st.Places, p)
			continue
		}
		m.homeless = append(m.homeless, newPlace{email: e.ID, box: p.Mailbox})
		homeless = true
	}
	if len(st.Places) > 0 || homeless {
		st.Removed, st.Last = 0, 0
		slices.SortFunc(st.Places, func(a, b place) int { return int(a.Mailbox) - int(b.Mailbox) })
		return true
	}
	if st.Removed != 0 {
		return false
	}
	for _, c := range m.claimsOf(e.ID) {
		p := place{Mailbox: c.box, UID: c.entry.UID, Saved: c.entry.Received}
		if _, twice := st.in(c.box); !twice && m.free(e.ID, p) {
			st.Places = append(st.Places, p)
		}
	}
	if len(st.Places) == 0 {
		m.homeless = append(m.homeless, newPlace{email: e.ID})
	}
	return true
}

// fromLists makes a state row of what the lists and the recoverable rows have of an email.
func (m *mender) fromLists(e *Email) *stateRow {
	st := &stateRow{Thread: e.Thread}
	for _, c := range m.claimsOf(e.ID) {
		st.Flags |= c.entry.Flags &^ (Deleted | Recent | MoreKeywords)
		if _, twice := st.in(c.box); !twice {
			st.Places = append(st.Places,
				place{Mailbox: c.box, UID: c.entry.UID, Saved: e.Received.Unix()})
		}
	}
	if rec, ok := m.gone[e.ID]; ok && len(st.Places) == 0 {
		st.Removed, st.Last = rec.Removed.Unix(), rec.Mailbox
	}
	m.hurt.threads[e.Thread] = true
	m.tell("email-state", m.where(e.ID, nil), "its state is made again from the lists")
	return st
}

// cleanFlags takes out what no state row may have, and notes which keywords are in use.
func (m *mender) cleanFlags(st *stateRow) {
	st.Flags &^= Deleted | Recent | MoreKeywords
	slices.Sort(st.More)
	st.More = slices.DeleteFunc(slices.Compact(st.More), func(k uint32) bool {
		return k < keywordBits || int(k) >= m.tx.s.limits.Keywords
	})
	for k := range keywordBits {
		if st.Flags&(1<<(firstKeywordBit+k)) != 0 {
			m.keywords = max(m.keywords, k+1)
		}
	}
	if n := len(st.More); n > 0 {
		m.keywords = max(m.keywords, int(st.More[n-1])+1)
	}
}

// free reports whether an email may have a place: the mailbox is there, and nobody else has the UID
// in it. Whom the list names goes before others.
func (m *mender) free(id EmailID, p place) bool {
	b := m.boxes[p.Mailbox]
	if b == nil || p.UID == 0 || p.UID >= b.row.UIDNext {
		return false
	}
	if old := b.oldEntry(p.UID); old != nil && old.Email != id {
		if other, err := m.placeOf(old.Email, p.Mailbox); err != nil || other == p.UID {
			return false
		}
	}
	if b.taken == nil {
		b.taken = map[UID]EmailID{}
	}
	if other := b.taken[p.UID]; other != 0 && other != id {
		return false
	}
	b.taken[p.UID] = id
	return true
}

// placeOf returns the UID that an email's state row names in a mailbox, 0 for none.
func (m *mender) placeOf(id EmailID, box MailboxID) (UID, error) {
	key := key64(nil, m.id, kindState, uint64(id))
	value, err := m.w.Get(key)
	if errors.Is(err, kv.ErrNotFound) {
		return 0, nil
	}
	var st stateRow
	if err == nil {
		err = st.decode(key, value)
	}
	if errors.Is(err, ErrDamaged) {
		// Its state comes from the list, where it stands under this UID.
		return 0, err
	}
	uid, _ := st.in(box)
	return uid, err
}

// enter puts an email into a list.
func (m *mender) enter(size, received int64, id EmailID, st *stateRow, p place) {
	b := m.boxes[p.Mailbox]
	e := Entry{
		Email: id, UID: p.UID, ModSeq: m.at, Flags: st.entryFlags(), Size: uint32(size),
		Received: received,
	}
	if old := b.oldEntry(p.UID); old != nil && old.Email == id {
		e.Flags |= old.Flags & Deleted
		if old.ModSeq > 0 && old.ModSeq <= m.newest && old.Flags == e.Flags {
			e.ModSeq = old.ModSeq
		}
	}
	b.entries = append(b.entries, e)
}

// count adds an email to the account's usage.
func (m *mender) count(e *Email, st *stateRow, lives bool) {
	if lives {
		m.usage.Bytes += e.Blob.Size
		m.usage.Messages++
		return
	}
	m.usage.RecoverableBytes += e.Blob.Size
	m.usage.RecoverableMessages++
	m.hidden = append(m.hidden, Recoverable{
		Email: e.ID, Size: e.Blob.Size, Removed: time.Unix(st.Removed, 0), Mailbox: st.Last,
	})
}

// home gives the emails that have no place, or one that another has, a new UID.
func (m *mender) home() error {
	for _, h := range m.homeless {
		b := m.boxes[h.box]
		if b == nil {
			b = m.recovered()
		}
		st, err := m.tx.state(h.email)
		if err != nil {
			return err
		}
		var e Email
		if err := m.tx.email(h.email, &e); err != nil {
			return err
		}
		if _, twice := st.in(b.row.ID); twice {
			continue
		}
		p := place{Mailbox: b.row.ID, UID: b.row.UIDNext, Saved: m.tx.clock().Unix()}
		b.row.UIDNext = after(b.row.UIDNext)
		st.Places = append(st.Places, p)
		slices.SortFunc(st.Places, func(x, y place) int { return int(x.Mailbox) - int(y.Mailbox) })
		st.ModSeq, st.Removed, st.Last = m.at, 0, 0
		m.hurt.threads[st.Thread] = true
		m.enter(e.Blob.Size, e.Received.Unix(), h.email, st, p)
		m.tell("place", fmt.Sprintf("email %d", h.email), "is UID %d of %s now", p.UID,
			m.path(b.row.ID))
		if err := m.set(key64(nil, m.id, kindState, uint64(h.email)), st.append(nil)); err != nil {
			return err
		}
	}
	return nil
}

package store

import (
	"errors"
	"maps"
	"slices"

	"tram/internal/message"
)

// writeThreads makes the rows of hurt threads again, from the emails that are in them.
func (m *mender) writeThreads() error {
	delete(m.hurt.threads, 0)
	if len(m.hurt.threads) == 0 {
		return nil
	}
	rows := make(map[ThreadID]*threadRow, len(m.hurt.threads))
	for id := range m.hurt.threads {
		rows[id] = &threadRow{}
	}
	err := m.scan(kindEmail, func(key, value []byte) error {
		var e Email
		if e.decode(key, value) != nil || rows[e.Thread] == nil {
			return nil
		}
		st, err := m.tx.state(e.ID)
		if err != nil {
			return err
		}
		row := rows[e.Thread]
		row.Members = append(row.Members, member{
			Email: e.ID, Hidden: len(st.Places) == 0, Received: e.Received.Unix(),
		})
		hashes := threadHashes(nil, &message.Message{
			MessageID: e.MessageID(), InReplyTo: e.InReplyTo(), References: e.References(),
			BaseSubject: e.BaseSubject(),
		})
		for _, h := range hashes {
			if !slices.Contains(row.Hashes, h) {
				row.Hashes = append(row.Hashes, h)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, id := range slices.Sorted(maps.Keys(rows)) {
		if err := m.writeThread(id, rows[id], rows); err != nil {
			return err
		}
	}
	return nil
}

func (m *mender) writeThread(id ThreadID, row *threadRow, hurt map[ThreadID]*threadRow) error {
	key := key64(nil, m.id, kindThread, uint64(id))
	if len(row.Members) == 0 {
		return m.w.Delete(key)
	}
	hashes := row.Hashes
	row.Hashes = nil
	for _, h := range hashes {
		to, err := m.tx.threadOf(h)
		if err != nil {
			return err
		}
		// What leads to another living thread goes on leading there.
		if to != 0 && to != id && to < m.tx.row.NextThread {
			other, err := m.tx.thread(to)
			if err != nil && !lost(err) {
				return err
			}
			if err == nil && slices.Contains(other.Hashes, h) && (hurt[to] == nil || to < id) {
				continue
			}
		}
		if !slices.Contains(row.Hashes, h) {
			row.Hashes = append(row.Hashes, h)
		}
		if err := m.set(key64(nil, m.id, kindThreadOf, h), appendUint([]byte{version1}, id)); err != nil {
			return err
		}
	}
	m.tx.row.NextThread = max(m.tx.row.NextThread, id+1)
	return m.set(key, row.append(nil))
}

// threadIndex takes out what leads to no thread, or to one that does not know of it.
func (m *mender) threadIndex() error {
	return m.scan(kindThreadOf, func(key, value []byte) error {
		to, err := m.tx.threadOf(uint64(emailOfKey(key)))
		if err != nil {
			return err
		}
		if to != 0 {
			row, err := m.tx.thread(to)
			if err == nil && slices.Contains(row.Hashes, uint64(emailOfKey(key))) {
				return nil
			}
			if err != nil && !errors.Is(err, ErrDamaged) && !lost(err) {
				return err
			}
		}
		return m.w.Delete(key)
	})
}

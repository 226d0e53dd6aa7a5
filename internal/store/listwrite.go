package store

import (
	"slices"

	"tram/internal/kv"
)

// flush writes the edits of a mailbox's list and brings m.list, when it was read, up to date.
func (tx *Tx) flush(m *mailboxTx) error {
	if len(m.edits) == 0 {
		return nil
	}
	edits := normal(m.edits)
	m.edits = nil
	if m.list == nil && m.base.UIDNext <= edits[0].UID {
		edits = slices.DeleteFunc(edits, func(ed edit) bool { return ed.gone })
		return tx.appendTail(m, edits)
	}
	if err := tx.needList(m); err != nil {
		return err
	}
	return tx.applyEdits(m, edits)
}

// appendTail writes new entries without reading more than the last segment.
func (tx *Tx) appendTail(m *mailboxTx, edits []edit) error {
	if len(edits) == 0 {
		return nil
	}
	row := &m.row
	if row.TailFirst == 0 {
		row.TailFirst, row.TailLoose, row.Segments = edits[0].UID, 0, 1
	}
	if int(row.TailLoose)+len(edits) <= looseMax {
		row.TailLoose += uint32(len(edits))
		return tx.writeLoose(m, row.TailFirst, edits)
	}
	chunks, _, err := tx.loader().scan(row, row.TailFirst, 1<<32-1)
	if err != nil {
		return err
	}
	tail := &chunk{first: row.TailFirst}
	if len(chunks) > 0 {
		tail = chunks[len(chunks)-1]
	}
	folded, err := tx.fold(m, tail.first, merge(tail.entries, edits))
	row.Segments += uint32(len(folded) - 1)
	return err
}

// applyEdits writes edits of any kind and makes the new list, which shares with the old one all
// segments without edits.
func (tx *Tx) applyEdits(m *mailboxTx, edits []edit) error {
	old := m.list.chunks
	out := make([]*chunk, 0, len(old)+1+len(edits)/segmentSize)
	done := 0 // chunks of old that are in out
	for len(edits) > 0 {
		c := m.list.chunkOf(edits[0].UID)
		cur := &chunk{first: edits[0].UID}
		if c >= 0 {
			out = append(out, old[done:c]...)
			cur, done = old[c], c+1
		}
		n := len(edits)
		if done < len(old) {
			n, _ = slices.BinarySearchFunc(edits, old[done].first, func(ed edit, uid UID) int {
				return int(ed.UID) - int(uid)
			})
		}
		chunks, err := tx.applyToChunk(m, cur, edits[:n])
		if err != nil {
			return err
		}
		out, edits = append(out, chunks...), edits[n:]
	}
	m.list = newList(&m.row, append(out, old[done:]...))
	n := len(m.list.chunks)
	m.row.TailFirst, m.row.TailLoose, m.row.Segments = 0, 0, uint32(n)
	if n > 0 {
		tail := m.list.chunks[n-1]
		m.row.TailFirst, m.row.TailLoose = tail.first, uint32(tail.loose)
	}
	return nil
}

func (tx *Tx) applyToChunk(m *mailboxTx, c *chunk, edits []edit) ([]*chunk, error) {
	entries := merge(c.entries, edits)
	if c.loose+len(edits) > looseMax || len(entries) == 0 {
		return tx.fold(m, c.first, entries)
	}
	if err := tx.writeLoose(m, c.first, edits); err != nil {
		return nil, err
	}
	return []*chunk{{first: c.first, entries: entries, loose: c.loose + len(edits)}}, nil
}

func (tx *Tx) writeLoose(m *mailboxTx, first UID, edits []edit) error {
	for i := range edits {
		tx.key = listKey(tx.key[:0], tx.id, m.row.ID, first, edits[i].UID)
		if err := tx.set(appendLoose(tx.value[:0], &edits[i])); err != nil {
			return err
		}
	}
	return nil
}

// fold replaces all rows of the segment by bases, cut to segmentSize. It leaves no rows for no
// entries.
func (tx *Tx) fold(m *mailboxTx, first UID, entries []Entry) ([]*chunk, error) {
	if err := tx.clearSegment(m, first, len(entries) == 0); err != nil {
		return nil, err
	}
	var chunks []*chunk
	for len(entries) > 0 {
		n := min(len(entries), segmentSize)
		c := &chunk{first: first, entries: slices.Clip(entries[:n])}
		if err := tx.writeBase(m, c); err != nil {
			return nil, err
		}
		chunks = append(chunks, c)
		if entries = entries[n:]; len(entries) > 0 {
			first = entries[0].UID
		}
	}
	if m.list == nil && len(chunks) > 0 {
		m.row.TailFirst, m.row.TailLoose = chunks[len(chunks)-1].first, 0
	}
	return chunks, nil
}

// clearSegment removes the loose rows of a segment, and with base set also its base. They are few,
// and are removed one by one: range tombstones in numbers make reading slow in log-structured
// engines.
func (tx *Tx) clearSegment(m *mailboxTx, first UID, base bool) error {
	from := UID(1)
	if base {
		from = 0
	}
	return tx.w.Scan(kv.Range{
		Start:    listKey(nil, tx.id, m.row.ID, first, from),
		End:      append(listKey(nil, tx.id, m.row.ID, first, 1<<32-1), 0),
		KeysOnly: true,
	}, func(key, _ []byte) error { return tx.w.Delete(key) })
}

func (tx *Tx) writeBase(m *mailboxTx, c *chunk) error {
	tx.key = listKey(tx.key[:0], tx.id, m.row.ID, c.first, 0)
	return tx.set(appendSegment(tx.value[:0], c))
}

// needList reads the list as it was before this transaction's edits.
func (tx *Tx) needList(m *mailboxTx) error {
	if m.list != nil {
		return nil
	}
	if m.isNew {
		m.list = newList(&m.row, nil)
		return nil
	}
	l, err := tx.loader().list(&m.base)
	if err == nil && l.rebuilt && tx.w != nil {
		m.row.recount(l) // \Deleted flags were lost with the rows
		m.dirty = true
	}
	m.list = l
	return err
}

// compactList writes a list whose segments have grown sparse anew. The list stays the same.
func (tx *Tx) compactList(m *mailboxTx) error {
	if err := tx.needList(m); err != nil {
		return err
	}
	entries := make([]Entry, 0, m.list.n)
	for _, c := range m.list.chunks {
		entries = append(entries, c.entries...)
	}
	prefix := key32(nil, tx.id, kindList, uint32(m.row.ID))
	if err := tx.w.DeleteRange(prefix, kv.PrefixEnd(prefix)); err != nil {
		return err
	}
	m.row.Generation++
	m.row.TailFirst, m.row.TailLoose, m.row.Segments = 0, 0, 0
	m.dirty = true
	if len(entries) == 0 {
		m.list = newList(&m.row, nil)
		return nil
	}
	chunks, err := tx.fold(m, entries[0].UID, entries)
	if err != nil {
		return err
	}
	m.list = newList(&m.row, chunks)
	m.row.TailFirst, m.row.Segments = chunks[len(chunks)-1].first, uint32(len(chunks))
	return nil
}

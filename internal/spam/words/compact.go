package words

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"

	"tram/internal/kv"
)

// leastFresh is how many words of lessons come together at least before they are put into the table.
const leastFresh = 16 << 10

// due reports whether the lessons of an owner should be put into the table: when they are a quarter of
// it, so that over time each word is written a few times only.
func (c *Classifier) due(m *meta) bool {
	return c.always && m.fresh > 0 || m.fresh > max(leastFresh, m.words/4)
}

// compact puts the lessons of an owner into the table, in one transaction, fades what has become too
// much, and forgets which messages were learnt longest ago.
func (c *Classifier) compact(ctx context.Context, owner Owner) error {
	return c.db.Update(ctx, scope, func(txn kv.Txn) error {
		t, m, err := c.current(txn, owner)
		if err != nil || t == nil {
			return err
		}
		defer t.mu.RUnlock()
		if !c.due(&m) {
			return nil // another has done it
		}
		all := t.merged()
		var lost []uint64 // words that leave, of which the account was a witness
		drop := func(e entry) bool {
			if e.who > 0 && owner != Shared {
				lost = append(lost, e.hash)
			}
			return true
		}
		if max(m.junk, m.good) >= int64(c.limits.Learnt) {
			m.junk, m.good, m.faded = m.junk/2, m.good/2, m.faded+1
			all = slices.DeleteFunc(all, func(e entry) bool { return e.junk < 2 && e.good < 2 && drop(e) })
			for i := range all {
				all[i].junk, all[i].good = all[i].junk/2, all[i].good/2
			}
		}
		all = c.prune(all, owner, drop)
		if err := c.writeTable(txn, owner, all); err != nil {
			return err
		}
		if err := c.tidyLessons(txn, owner, m.merged, m.seq); err != nil {
			return err
		}
		m.merged, m.fresh, m.words = m.seq, 0, int64(len(all))
		if err := m.write(txn, owner); err != nil {
			return err
		}
		return c.noWitness(txn, lost)
	})
}

// prune lets go of words when there are too many: those that were seldom learnt, or long ago.
func (c *Classifier) prune(all []entry, owner Owner, drop func(entry) bool) []entry {
	limit := c.limits.Account
	if owner == Shared {
		limit = c.limits.Shared
	}
	if len(all) <= limit {
		return all
	}
	today, fade := int(c.day()), max(c.limits.Fade.Hours()/24, 1)
	worth := func(e entry) float64 {
		age := float64(max(today-int(e.day), 0))
		return math.Log2(float64(e.junk)+float64(e.good)+1) - age/fade
	}
	ranks := make([]float64, len(all))
	for i, e := range all {
		ranks[i] = worth(e)
	}
	slices.Sort(ranks)
	excess := len(all) - limit*7/8 // some more than must, or it would be due again at once
	least := ranks[excess]
	same := 0 // of those at the border, how many still have to leave
	for i := excess - 1; i >= 0 && ranks[i] == least; i-- {
		same++
	}
	return slices.DeleteFunc(all, func(e entry) bool {
		w := worth(e)
		if w == least && same > 0 {
			same--
			return drop(e)
		}
		return w < least && drop(e)
	})
}

// writeTable replaces the rows of a table.
func (c *Classifier) writeTable(txn kv.Txn, owner Owner, all []entry) error {
	rows := rowKey(tableRow, owner)
	if err := txn.DeleteRange(rows, kv.PrefixEnd(rows)); err != nil {
		return err
	}
	var row []byte
	for n := uint32(0); len(all) > 0; n++ {
		some := all[:min(len(all), tableEntries)]
		all = all[len(some):]
		row = binary.LittleEndian.AppendUint16(append(row[:0], version), uint16(len(some)))
		before := uint64(0)
		for _, e := range some {
			row = appendEntry(row, before, e)
			before = e.hash
		}
		if err := txn.Set(kv.AppendUint32(rowKey(tableRow, owner), n), row); err != nil {
			return err
		}
	}
	return nil
}

// tidyLessons removes lessons that nobody has to read any more: those behind merged that were taken back
// or have no id, and the oldest above the limit.
func (c *Classifier) tidyLessons(txn kv.Txn, owner Owner, merged, seq uint64) error {
	var gone []uint64
	from, to := lessonKey(owner, merged+1), lessonKey(owner, seq+1)
	err := txn.Scan(kv.Range{Start: from, End: to}, func(key, value []byte) error {
		l, err := readLesson(value)
		if err != nil {
			return err
		}
		if l.id == 0 {
			gone = append(gone, binary.BigEndian.Uint64(key[len(key)-8:]))
		}
		if l.of != 0 {
			gone = append(gone, l.of)
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, n := range gone {
		if err := txn.Delete(lessonKey(owner, n)); err != nil {
			return err
		}
	}
	return c.forgetOldest(txn, owner)
}

// forgetOldest lets the oldest lessons above the limit go; what was learnt from them stays.
func (c *Classifier) forgetOldest(txn kv.Txn, owner Owner) error {
	var kept [][]byte
	err := txn.Scan(kv.Range{Start: rowKey(lessonRow, owner), End: kv.PrefixEnd(rowKey(lessonRow, owner)),
		KeysOnly: true}, func(key, _ []byte) error {
		kept = append(kept, slices.Clone(key))
		return nil
	})
	if err != nil {
		return err
	}
	for _, key := range kept[:max(len(kept)-c.limits.Lessons, 0)] {
		value, err := txn.Get(key)
		if err != nil {
			return err
		}
		l, err := readLesson(value)
		if err != nil {
			return err
		}
		if err := errors.Join(txn.Delete(key), txn.Delete(idKey(owner, l.id))); err != nil {
			return err
		}
	}
	return nil
}

// noWitness tells the shared table that an account is no longer a witness of words.
func (c *Classifier) noWitness(txn kv.Txn, words []uint64) error {
	if len(words) == 0 {
		return nil
	}
	m, err := readMeta(txn, Shared)
	if err != nil || m.seq == 0 {
		return err
	}
	s := student{c: c, txn: txn}
	for len(words) > 0 {
		some := words[:min(len(words), tableEntries)]
		words = words[len(some):]
		l := lesson{back: true, only: true, faded: m.faded, day: c.day(), words: some,
			who: make([]byte, (len(some)+7)/8)}
		for i := range l.who {
			l.who[i] = 0xff
		}
		if _, err := s.write(Shared, &m, &l); err != nil {
			return err
		}
	}
	return m.write(txn, Shared)
}

// Remove forgets all that an owner has learnt, and takes back what can be told of it from what counts for
// all: when an account is removed. For Shared it forgets what all have taught together.
func (c *Classifier) Remove(ctx context.Context, owner Owner) error {
	err := c.db.Update(ctx, scope, func(txn kv.Txn) error {
		if owner != Shared {
			if err := c.withdrawAll(txn, owner); err != nil {
				return err
			}
		}
		for _, row := range []byte{metaRow, tableRow, lessonRow, idRow} {
			rows := rowKey(row, owner)
			if err := txn.DeleteRange(rows, kv.PrefixEnd(rows)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("remove learnt words: %w", err)
	}
	c.tables.drop(owner)
	return nil
}

// withdrawAll takes back all lessons of an account that count for all and are remembered, and then what
// the account is still a witness of.
func (c *Classifier) withdrawAll(txn kv.Txn, owner Owner) error {
	t, m, err := c.current(txn, owner)
	if err != nil || t == nil {
		return err
	}
	defer t.mu.RUnlock()
	s := &student{c: c, txn: txn, owner: owner, own: m, table: t, who: map[uint64]int32{}}
	if s.shared, err = readMeta(txn, Shared); err != nil || s.shared.seq == 0 {
		return err
	}
	var ids []uint64
	err = txn.Scan(kv.Prefix(rowKey(idRow, owner)), func(key, _ []byte) error {
		ids = append(ids, binary.BigEndian.Uint64(key[len(key)-8:]))
		return nil
	})
	if err != nil {
		return err
	}
	for _, id := range ids {
		if _, err := s.forget(id); err != nil {
			return err
		}
	}
	if err := s.shared.write(txn, Shared); err != nil {
		return err
	}
	var left []uint64
	for _, e := range t.merged() {
		if s.whoOf(e.hash) > 0 {
			left = append(left, e.hash)
		}
	}
	return c.noWitness(txn, left)
}

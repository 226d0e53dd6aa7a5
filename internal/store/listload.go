package store

import (
	"errors"
	"slices"

	"tram/internal/kv"
)

// Limits of the incremental way to a newer list; beyond them reading all of it is cheaper.
const (
	refreshRows  = 4096 // change rows read
	refreshChunk = 8    // rows of one segment read one by one
)

// loader reads lists of one account in one snapshot.
type loader struct {
	s  *Store
	r  kv.Reader
	id AccountID
}

// list returns the list of a mailbox as the snapshot has it: the cached one when it is of the
// snapshot's ModSeq, an older one brought up to date, or one read from its rows.
func (ld loader) list(m *mailboxRow) (*List, error) {
	cached := ld.s.lists.get(ld.id, m.ID, m.Generation, m.Highest)
	if cached != nil && cached.modseq == m.Highest {
		return cached, nil
	}
	if m.Messages == 0 {
		return newList(m, nil), nil
	}
	var l *List
	var err error
	if cached != nil && uint64(m.Highest-cached.modseq) < refreshRows+uint64(cached.n)/16 {
		l, err = ld.refresh(m, cached)
	}
	if l == nil && err == nil {
		var chunks []*chunk
		var rebuilt bool
		if chunks, rebuilt, err = ld.scan(m, 0, 1<<32-1); err == nil {
			l = newList(m, chunks)
			l.rebuilt = rebuilt
		}
	}
	if err != nil {
		return nil, err
	}
	ld.s.lists.put(ld.id, l)
	return l, nil
}

// scan reads the segments whose first UID is from first to last. Segments with damaged rows are
// rebuilt from the emails' state rows, which is then reported.
func (ld loader) scan(m *mailboxRow, first, last UID) (chunks []*chunk, rebuilt bool, err error) {
	var sr segmentReader
	err = ld.r.Scan(kv.Range{
		Start: listKey(nil, ld.id, m.ID, first, 0),
		End:   append(listKey(nil, ld.id, m.ID, last, 1<<32-1), 0),
	}, sr.row)
	if err != nil {
		return nil, false, wrap(err, "read list")
	}
	sr.end()
	if rebuilt = len(sr.broken) > 0; rebuilt {
		ld.s.log.Error("rebuilding damaged mailbox list", "account", uint64(ld.id),
			"mailbox", uint32(m.ID), "err", sr.err)
		if err := ld.rebuild(m, &sr); err != nil {
			return nil, false, err
		}
	}
	return sr.chunks, rebuilt, nil
}

// refresh returns the list of the snapshot made from old, an earlier one, or nil when there is no
// cheap way. The change log tells which UIDs were touched; what became of each stands in its loose
// row, or, when that has been folded, in its segment.
func (ld loader) refresh(m *mailboxRow, old *List) (*List, error) {
	touched, err := ld.touched(m, old)
	if err != nil || touched == nil || len(old.chunks) == 0 {
		return nil, err
	}
	out := make([]*chunk, 0, len(old.chunks)+1)
	rebuilt := old.rebuilt
	for i, c := range old.chunks {
		next := UID(1<<32 - 1)
		if i+1 < len(old.chunks) {
			next = old.chunks[i+1].first - 1
		}
		n, _ := slices.BinarySearch(touched, next)
		if n < len(touched) && touched[n] == next {
			n++
		}
		if n == 0 {
			out = append(out, c)
			continue
		}
		chunks, again, err := ld.refreshChunk(m, c, next, touched[:n])
		if err != nil {
			return nil, err
		}
		out, touched, rebuilt = append(out, chunks...), touched[n:], rebuilt || again
	}
	l := newList(m, out)
	l.rebuilt = rebuilt
	return l, nil
}

// touched returns the UIDs that the change log names after old, sorted, or nil when it does not
// reach back so far, or names so many that reading all is cheaper.
func (ld loader) touched(m *mailboxRow, old *List) ([]UID, error) {
	uids := []UID{}
	next, most := old.modseq+1, refreshRows+old.n/4
	err := ld.r.Scan(kv.Range{
		Start: key64(nil, ld.id, kindChange, uint64(next)),
		End:   key64(nil, ld.id, kindChange, uint64(m.Highest)+1),
	}, func(key, value []byte) error {
		at, row, err := decodeChange(key, value)
		if err != nil {
			return err
		}
		if at != next {
			return kv.Stop
		}
		if l := row.list(m.ID); l != nil {
			for _, ranges := range [][]UIDRange{l.Added, l.Changed, l.Removed} {
				uids = expand(uids, ranges, most)
			}
		}
		if len(uids) >= most {
			return kv.Stop
		}
		next++
		return nil
	})
	if errors.Is(err, ErrDamaged) || err == nil && next != m.Highest+1 {
		return nil, nil // pruned or damaged: the rows themselves tell
	}
	slices.Sort(uids)
	return slices.Compact(uids), wrap(err, "read changes")
}

// expand appends the UIDs of ranges until there are most.
func expand(uids []UID, ranges []UIDRange, most int) []UID {
	for _, r := range ranges {
		for uid := r.First; len(uids) < most; uid++ {
			uids = append(uids, uid)
			if uid == r.Last {
				break
			}
		}
	}
	return uids
}

// refreshChunk returns what became of c, whose UIDs go up to last.
func (ld loader) refreshChunk(m *mailboxRow, c *chunk, last UID, touched []UID) (
	chunks []*chunk, rebuilt bool, err error) {
	if len(touched) > refreshChunk {
		return ld.scan(m, c.first, last)
	}
	edits := make([]edit, 0, len(touched))
	key := make([]byte, 0, 32)
	for _, uid := range touched {
		key = listKey(key[:0], ld.id, m.ID, c.first, uid)
		value, err := ld.r.Get(key)
		if err == nil {
			var ed edit
			if ed, err = decodeLoose(key, value, uid); err == nil {
				edits = append(edits, ed)
				continue
			}
		}
		if errors.Is(err, kv.ErrNotFound) || errors.Is(err, ErrDamaged) {
			return ld.scan(m, c.first, last)
		}
		return nil, false, wrap(err, "read list")
	}
	return []*chunk{{
		first: c.first, entries: merge(c.entries, edits), loose: c.loose + len(edits),
	}}, false, nil
}

// rebuild puts the broken segments right from the state and email rows, which hold all of an entry
// but \Deleted. A list must never be shorter than the mailbox: clients would take the missing for
// expunged.
func (ld loader) rebuild(m *mailboxRow, sr *segmentReader) error {
	found := make([][]Entry, len(sr.chunks))
	broken := make([]bool, len(sr.chunks))
	l := &List{chunks: sr.chunks}
	for _, first := range sr.broken {
		broken[l.chunkOf(first)] = true
	}
	var st stateRow
	err := ld.r.Scan(kv.Prefix(appendKey(nil, ld.id, kindState)), func(key, value []byte) error {
		if err := st.decode(key, value); err != nil {
			return nil // its entry, if it had one here, cannot be known
		}
		uid, here := st.in(m.ID)
		c := l.chunkOf(uid)
		if !here || c < 0 || !broken[c] {
			return nil
		}
		id, _, err := kv.TakeUint64(key[10:])
		if err != nil {
			return err
		}
		e := Entry{UID: uid, Email: EmailID(id), ModSeq: st.ModSeq, Flags: st.entryFlags()}
		if i, ok := sr.chunks[c].find(uid); ok {
			was := sr.chunks[c].entries[i]
			e.Flags |= was.Flags & Deleted
			e.ModSeq = max(e.ModSeq, was.ModSeq)
			e.Size, e.Received = was.Size, was.Received
		} else if err := ld.fillEntry(&e); err != nil {
			return err
		}
		found[c] = append(found[c], e)
		return nil
	})
	if err != nil {
		return wrap(err, "rebuild list")
	}
	for c := range sr.chunks {
		if broken[c] {
			slices.SortFunc(found[c], func(a, b Entry) int { return int(a.UID) - int(b.UID) })
			sr.chunks[c].entries = found[c]
			sr.chunks[c].loose = looseMax // the next change writes the base anew
		}
	}
	return nil
}

// fillEntry takes from the email row what the state row does not have.
func (ld loader) fillEntry(e *Entry) error {
	key := key64(nil, ld.id, kindEmail, uint64(e.Email))
	value, err := ld.r.Get(key)
	if errors.Is(err, kv.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	var row Email
	if err := row.decode(key, value); err != nil {
		return nil // listed without size and date rather than not at all
	}
	e.Size, e.Received = uint32(row.Blob.Size), row.Received.Unix()
	return nil
}

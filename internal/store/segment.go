package store

import (
	"cmp"
	"slices"

	"tram/internal/kv"
)

// The hot list of a mailbox is cut into segments of up to segmentSize entries. A segment is named
// by its first UID: it holds the entries from there to the next segment. Its base row (slot 0) is
//
//	n { uid email(signed) modseq(signed) flags size received(signed) }
//
// where uid, email, modseq and received are differences to the entry before (the first: to the
// segment's first UID, and to 0). What changed since the base was written stands in loose rows,
// slot = UID, which are
//
//	email modseq flags size received(signed)
//
// or, for an entry that is gone, nothing but version and checksum. When more than looseMax loose
// rows would stand in a segment, they are folded into its base in the same transaction. So a new
// message writes some thirty bytes, and a list is read in one scan.
const (
	segmentSize = 512
	looseMax    = 64
)

// chunk is a segment in memory. It never changes once a List has it.
type chunk struct {
	first   UID
	entries []Entry
	loose   int // at least the number of loose rows

	// What newList finds out of the entries, so that who looks for few of them skips the rest.
	newest ModSeq // the highest of them; 0: not looked at yet
	flags  Flags  // that any of them has
}

// sum looks at the entries, once.
func (c *chunk) sum() {
	if c.newest > 0 {
		return
	}
	var newest ModSeq
	for i := range c.entries {
		newest = max(newest, c.entries[i].ModSeq)
		c.flags |= c.entries[i].Flags
	}
	if newest > 0 {
		c.newest = newest
	}
}

func (c *chunk) last() UID {
	if len(c.entries) == 0 {
		return 0
	}
	return c.entries[len(c.entries)-1].UID
}

// find returns the place of uid among the entries.
func (c *chunk) find(uid UID) (int, bool) {
	return slices.BinarySearchFunc(c.entries, uid, func(e Entry, uid UID) int {
		return cmp.Compare(e.UID, uid)
	})
}

// edit is a new state of an entry of a list.
type edit struct {
	Entry
	gone bool
}

// merge returns entries with edits applied; both are in the order of UIDs.
func merge(entries []Entry, edits []edit) []Entry {
	out := make([]Entry, 0, len(entries)+len(edits))
	for _, ed := range edits {
		i := 0
		if len(entries) > 0 && entries[len(entries)-1].UID < ed.UID {
			i = len(entries)
		} else {
			i, _ = slices.BinarySearchFunc(entries, ed.UID, func(e Entry, uid UID) int {
				return cmp.Compare(e.UID, uid)
			})
		}
		out = append(out, entries[:i]...)
		if i < len(entries) && entries[i].UID == ed.UID {
			i++
		}
		entries = entries[i:]
		if !ed.gone {
			out = append(out, ed.Entry)
		}
	}
	return append(out, entries...)
}

// normal puts edits in the order of UIDs and keeps the last of each.
func normal(edits []edit) []edit {
	if !slices.IsSortedFunc(edits, byUID) {
		slices.SortStableFunc(edits, byUID)
	}
	out := edits[:0]
	for _, ed := range edits {
		if n := len(out); n > 0 && out[n-1].UID == ed.UID {
			out[n-1] = ed
			continue
		}
		out = append(out, ed)
	}
	return out
}

func byUID(a, b edit) int { return cmp.Compare(a.UID, b.UID) }

func appendSegment(dst []byte, c *chunk) []byte {
	dst = appendUint(append(dst, version1), uint64(len(c.entries)))
	prev := Entry{UID: c.first}
	for i := range c.entries {
		e := &c.entries[i]
		dst = appendUint(dst, e.UID-prev.UID)
		dst = appendInt(dst, int64(e.Email-prev.Email))
		dst = appendInt(dst, int64(e.ModSeq-prev.ModSeq))
		dst = appendUint(appendUint(dst, e.Flags), e.Size)
		dst = appendInt(dst, e.Received-prev.Received)
		prev = *e
	}
	return dst
}

func decodeSegment(key, value []byte, first UID) ([]Entry, error) {
	d, err := unseal(key, value)
	if err != nil {
		return nil, err
	}
	entries := make([]Entry, d.count(6))
	prev := Entry{UID: first}
	for i := range entries {
		e := &entries[i]
		uid := uint64(prev.UID) + d.uint()
		if uid > 1<<32-1 || i > 0 && uid <= uint64(prev.UID) {
			d.fail()
			break
		}
		e.UID = UID(uid)
		e.Email = prev.Email + EmailID(d.int())
		e.ModSeq = prev.ModSeq + ModSeq(d.int())
		e.Flags, e.Size = Flags(d.uint()), d.uint32()
		e.Received = prev.Received + d.int()
		prev = *e
	}
	return entries, d.done(key)
}

func appendLoose(dst []byte, ed *edit) []byte {
	dst = append(dst, version1)
	if ed.gone {
		return dst
	}
	dst = appendUint(appendUint(appendUint(dst, ed.Email), ed.ModSeq), ed.Flags)
	return appendInt(appendUint(dst, ed.Size), ed.Received)
}

func decodeLoose(key, value []byte, uid UID) (edit, error) {
	d, err := unseal(key, value)
	if err != nil {
		return edit{}, err
	}
	ed := edit{Entry: Entry{UID: uid}}
	if len(d.b) == 0 {
		ed.gone = true
		return ed, nil
	}
	ed.Email, ed.ModSeq, ed.Flags = EmailID(d.uint()), ModSeq(d.uint()), Flags(d.uint())
	ed.Size, ed.Received = d.uint32(), d.int()
	return ed, d.done(key)
}

// segmentReader turns a scan over list rows into chunks.
type segmentReader struct {
	chunks []*chunk
	cur    *chunk
	edits  []edit
	// broken are the segments with a row that could not be read, and the first error.
	broken []UID
	err    error
}

// row takes the next row of the scan. Damage is noted, not returned: the neighbours are wanted.
func (s *segmentReader) row(key, value []byte) error {
	first, slot, err := splitListKey(key)
	if err != nil {
		return err
	}
	if s.cur == nil || s.cur.first != first {
		s.end()
		s.cur = &chunk{first: first}
	}
	if slot == 0 {
		s.cur.entries, err = decodeSegment(key, value, first)
	} else {
		var ed edit
		if ed, err = decodeLoose(key, value, slot); err == nil {
			s.edits = append(s.edits, ed)
		}
	}
	if err != nil {
		if s.err == nil {
			s.err = err
		}
		if n := len(s.broken); n == 0 || s.broken[n-1] != first {
			s.broken = append(s.broken, first)
		}
	}
	return nil
}

// end closes the segment that is being read.
func (s *segmentReader) end() {
	if s.cur == nil {
		return
	}
	if len(s.edits) > 0 {
		s.cur.entries = merge(s.cur.entries, s.edits)
		s.cur.loose = len(s.edits)
	}
	s.chunks = append(s.chunks, s.cur)
	s.cur, s.edits = nil, s.edits[:0]
}

func splitListKey(key []byte) (first, slot UID, err error) {
	const head = 1 + 8 + 1 + 4
	if len(key) != head+8 {
		return 0, 0, damaged(key, "key of the wrong length")
	}
	f, rest, _ := kv.TakeUint32(key[head:])
	s, _, _ := kv.TakeUint32(rest)
	return UID(f), UID(s), nil
}

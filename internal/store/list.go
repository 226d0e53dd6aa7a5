package store

import (
	"cmp"
	"iter"
	"slices"
)

// Entry is a message of a mailbox as its hot list has it: 40 bytes.
type Entry struct {
	Email    EmailID
	ModSeq   ModSeq // of the last change of its flags, or of its arrival
	Flags    Flags
	Received int64 // INTERNALDATE, seconds since 1970
	UID      UID
	Size     uint32 // RFC822.SIZE in bytes
}

// List is the entries of a mailbox in the order of their UIDs, at one moment. It never changes and
// is shared between sessions; it stays valid after the transaction.
type List struct {
	mailbox    MailboxID
	modseq     ModSeq
	generation uint32
	uidNext    UID
	// chunks are shared with older and newer lists of the mailbox, but for those that changed.
	chunks []*chunk
	starts []int // starts[i] is the index of the first entry of chunks[i]
	n      int
	// own is what the person has seen whom the list is shown to, who is not the mailbox's owner.
	own *ownSeen
	// rebuilt says that damaged rows were made up for, see loader.rebuild.
	rebuilt bool
}

// newList takes over chunks; those without entries are left out.
func newList(m *mailboxRow, chunks []*chunk) *List {
	l := &List{
		mailbox: m.ID, modseq: m.Highest, generation: m.Generation, uidNext: m.UIDNext,
	}
	l.chunks = slices.DeleteFunc(chunks, func(c *chunk) bool { return len(c.entries) == 0 })
	l.starts = make([]int, len(l.chunks))
	for i, c := range l.chunks {
		c.sum()
		l.starts[i] = l.n
		l.n += len(c.entries)
	}
	return l
}

// Mailbox returns the mailbox the list is of.
func (l *List) Mailbox() MailboxID { return l.mailbox }

// Len returns the number of entries.
func (l *List) Len() int { return l.n }

// HighestModSeq is that of the mailbox when the list was true.
func (l *List) HighestModSeq() ModSeq { return l.modseq }

// UIDNext is that of the mailbox when the list was true.
func (l *List) UIDNext() UID { return l.uidNext }

// At returns the entry with index i, from 0 to Len()-1: its message sequence number is i+1.
func (l *List) At(i int) Entry {
	c := l.chunkAt(i)
	e := l.chunks[c].entries[i-l.starts[c]]
	l.own.show(&e)
	return e
}

// chunkAt returns the chunk that has the entry with index i.
func (l *List) chunkAt(i int) int {
	c, found := slices.BinarySearch(l.starts, i)
	if !found {
		c--
	}
	return c
}

// chunkOf returns the chunk that has, had or would have the entry with a UID: the last whose first
// UID is not above it, -1 when there is none.
func (l *List) chunkOf(uid UID) int {
	c, found := slices.BinarySearchFunc(l.chunks, uid, func(c *chunk, uid UID) int {
		return cmp.Compare(c.first, uid)
	})
	if !found {
		c--
	}
	return c
}

// Find returns the index of the entry with a UID. Without such an entry ok is false and i the index
// of the next one, which may be Len().
func (l *List) Find(uid UID) (i int, ok bool) {
	c := l.chunkOf(uid)
	if c < 0 {
		return 0, false
	}
	i, ok = l.chunks[c].find(uid)
	return l.starts[c] + i, ok
}

// get returns the entry with a UID, or nil.
func (l *List) get(uid UID) *Entry {
	if c := l.chunkOf(uid); c >= 0 {
		if i, ok := l.chunks[c].find(uid); ok {
			return &l.chunks[c].entries[i]
		}
	}
	return nil
}

// Entries iterates over the entries with index from up to and without to. They must not be changed, and
// are valid until the next.
func (l *List) Entries(from, to int) iter.Seq2[int, *Entry] {
	if l.own != nil {
		return l.some(from, to, func(*chunk) bool { return true }, func(*Entry) bool { return true })
	}
	return func(yield func(int, *Entry) bool) {
		from, to := max(from, 0), min(to, l.n)
		if from >= to {
			return
		}
		for c := l.chunkAt(from); from < to; c++ {
			entries := l.chunks[c].entries
			for k := from - l.starts[c]; k < len(entries) && from < to; k++ {
				if !yield(from, &entries[k]) {
					return
				}
				from++
			}
		}
	}
}

// Changed is Entries for those that came or changed after a ModSeq. Its cost follows the segments of
// the list and what changed, not the length of the list.
func (l *List) Changed(since ModSeq, from, to int) iter.Seq2[int, *Entry] {
	return l.some(from, to, func(c *chunk) bool {
		return c.newest > since || l.own != nil && l.own.newest(c.first, c.last()) > since
	}, func(e *Entry) bool { return e.ModSeq > since })
}

// Flagged is Entries for those that have any of some flags, at the cost of Changed.
func (l *List) Flagged(any Flags) iter.Seq2[int, *Entry] {
	return l.some(0, l.n, func(c *chunk) bool {
		return c.flags&any != 0 || any&Seen != 0 && l.own != nil && l.own.newest(c.first, c.last()) > 0
	}, func(e *Entry) bool { return e.Flags&any != 0 })
}

// some is Entries without the chunks and the entries that are not wanted.
func (l *List) some(from, to int, inChunk func(*chunk) bool, want func(*Entry) bool,
) iter.Seq2[int, *Entry] {
	return func(yield func(int, *Entry) bool) {
		from, to := max(from, 0), min(to, l.n)
		if from >= to {
			return
		}
		var own *Entry
		if l.own != nil {
			own = new(Entry)
		}
		for c := l.chunkAt(from); c < len(l.chunks) && l.starts[c] < to; c++ {
			if !inChunk(l.chunks[c]) {
				continue
			}
			entries, start := l.chunks[c].entries, l.starts[c]
			for k := max(from-start, 0); k < min(len(entries), to-start); k++ {
				e := &entries[k]
				if own != nil {
					*own = *e
					l.own.show(own)
					e = own
				}
				if want(e) && !yield(start+k, e) {
					return
				}
			}
		}
	}
}

// among is Entries for those with UIDs in ascending ranges, all for nil.
func (l *List) among(ranges []UIDRange) iter.Seq2[int, *Entry] {
	if ranges == nil {
		return l.Entries(0, l.n)
	}
	return func(yield func(int, *Entry) bool) {
		for _, r := range ranges {
			from, _ := l.Find(r.First)
			to, found := l.Find(r.Last)
			if found {
				to++
			}
			for i, e := range l.Entries(from, to) {
				if !yield(i, e) {
					return
				}
			}
		}
	}
}

// UIDs returns the UIDs of the list as ranges in ascending order.
func (l *List) UIDs() []UIDRange {
	var out []UIDRange
	for _, e := range l.Entries(0, l.n) {
		out = appendUID(out, e.UID)
	}
	return out
}

// appendUID adds uid, which is above all in ranges.
func appendUID(ranges []UIDRange, uid UID) []UIDRange {
	if n := len(ranges); n > 0 && ranges[n-1].Last+1 == uid {
		ranges[n-1].Last = uid
		return ranges
	}
	return append(ranges, UIDRange{uid, uid})
}

// Delta is what happened between two lists of one mailbox, each in the order of UIDs.
type Delta struct {
	Added   []Entry
	Changed []Entry // the new state
	Removed []Entry // the last state
}

// Delta returns what has changed since old, an earlier list of the same mailbox or nil for an empty
// one. It costs a pointer comparison for each 512 entries, and beyond that what changed.
func (l *List) Delta(old *List) Delta {
	var d Delta
	if old == nil {
		old = &List{}
	}
	a, b := cursor{l: old}, cursor{l: l}
	for {
		for a.whole() && b.whole() && a.chunk() == b.chunk() && a.l.alike(b.l, a.chunk()) {
			a.c++
			b.c++
		}
		x, y := a.entry(), b.entry()
		switch {
		case x == nil && y == nil:
			return d
		case y == nil || x != nil && x.UID < y.UID:
			d.Removed = append(d.Removed, *x)
			a.next()
		case x == nil || y.UID < x.UID:
			d.Added = append(d.Added, *y)
			b.next()
		default:
			if x.ModSeq != y.ModSeq || x.Flags != y.Flags {
				d.Changed = append(d.Changed, *y)
			}
			a.next()
			b.next()
		}
	}
}

// alike reports whether two lists show a chunk that they share as the same.
func (l *List) alike(other *List, c *chunk) bool {
	return l.own == other.own || l.own.same(other.own, c.first, c.last())
}

// cursor walks over a list.
type cursor struct {
	l    *List
	c, i int
	own  Entry // the one it stands at, as a person sees it who is not the owner
}

func (c *cursor) chunk() *chunk { return c.l.chunks[c.c] }

// whole reports whether the cursor stands at the beginning of a chunk.
func (c *cursor) whole() bool { return c.i == 0 && c.c < len(c.l.chunks) }

func (c *cursor) entry() *Entry {
	if c.c >= len(c.l.chunks) {
		return nil
	}
	e := &c.chunk().entries[c.i]
	if c.l.own != nil {
		c.own = *e
		c.l.own.show(&c.own)
		return &c.own
	}
	return e
}

func (c *cursor) next() {
	if c.i++; c.i == len(c.chunk().entries) {
		c.c, c.i = c.c+1, 0
	}
}

// bytes is about what the list takes in memory, by itself.
func (l *List) bytes() int64 { return 128 + int64(len(l.chunks))*64 + int64(l.n)*40 }

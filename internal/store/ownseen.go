package store

import (
	"cmp"
	"slices"
	"sync"
)

// In a mailbox that is shared, \Seen belongs to the person: the owner's is the email's, as in every
// mailbox; everybody else has his own, of the mailbox's UIDs. It lies in blocks of UIDs, as runs that are
// seen or not since a ModSeq. A List that is shown to him has it laid over what it shares with all others:
// its entries have his \Seen, and the ModSeq at which that changed where it is higher than their own.

// ownSeen is what one person has seen of a mailbox, at one moment. It never changes. Nil is the owner's,
// who needs none.
type ownSeen struct {
	modseq ModSeq       // of the last change
	blocks []*seenBlock // by number
}

// seenBlock is what a person has seen among ownBlock UIDs. It never changes once an ownSeen has it.
type seenBlock struct {
	number uint32 // first UID / ownBlock
	newest ModSeq // the highest of the runs
	runs   []seenRun
}

// seenRun is UIDs, some of which may be gone, that were marked in one transaction, or nearly.
type seenRun struct {
	UIDRange
	ModSeq ModSeq
	Seen   bool
}

const (
	ownBlock = 4096
	// ownRuns is above how many runs of a block the ModSeqs of the older half are made one.
	ownRuns = 512
)

func blockOf(uid UID) uint32 { return uint32(uid) / ownBlock }

// block returns the block with a number, or nil.
func (o *ownSeen) block(number uint32) *seenBlock {
	i, found := slices.BinarySearchFunc(o.blocks, number, func(b *seenBlock, n uint32) int {
		return cmp.Compare(b.number, n)
	})
	if !found {
		return nil
	}
	return o.blocks[i]
}

// run returns what is known of a UID, or nil.
func (b *seenBlock) run(uid UID) *seenRun {
	if b == nil {
		return nil
	}
	i, found := slices.BinarySearchFunc(b.runs, uid, func(r seenRun, uid UID) int {
		return cmp.Compare(r.Last, uid)
	})
	if !found && (i == len(b.runs) || b.runs[i].First > uid) {
		return nil
	}
	return &b.runs[i]
}

// show makes of an entry what the person sees of it.
func (o *ownSeen) show(e *Entry) {
	if o == nil {
		return
	}
	e.Flags &^= Seen
	if r := o.block(blockOf(e.UID)).run(e.UID); r != nil {
		e.ModSeq = max(e.ModSeq, r.ModSeq)
		if r.Seen {
			e.Flags |= Seen
		}
	}
}

// among returns the blocks of the UIDs from first to last.
func (o *ownSeen) among(first, last UID) []*seenBlock {
	from, _ := slices.BinarySearchFunc(o.blocks, blockOf(first), func(b *seenBlock, n uint32) int {
		return cmp.Compare(b.number, n)
	})
	to := from
	for to < len(o.blocks) && o.blocks[to].number <= blockOf(last) {
		to++
	}
	return o.blocks[from:to]
}

// newest returns a ModSeq that no change among the UIDs from first to last is above.
func (o *ownSeen) newest(first, last UID) ModSeq {
	var at ModSeq
	for _, b := range o.among(first, last) {
		at = max(at, b.newest)
	}
	return at
}

// same reports whether two know the same of the UIDs from first to last.
func (o *ownSeen) same(p *ownSeen, first, last UID) bool {
	if o == p || o == nil || p == nil {
		return o == p
	}
	return slices.EqualFunc(o.among(first, last), p.among(first, last), func(a, b *seenBlock) bool {
		return a == b || a.number == b.number && slices.Equal(a.runs, b.runs)
	})
}

// count returns how many entries of a list are seen.
func (o *ownSeen) count(l *List) int {
	n := 0
	for _, b := range o.blocks {
		for i := range b.runs {
			if r := &b.runs[i]; r.Seen {
				n += l.countIn(r.UIDRange)
			}
		}
	}
	return n
}

// countIn returns how many entries have UIDs of a range.
func (l *List) countIn(r UIDRange) int {
	from, _ := l.Find(r.First)
	to, found := l.Find(r.Last)
	if found {
		to++
	}
	return to - from
}

// bytes is about what it takes in memory.
func (o *ownSeen) bytes() int64 {
	n := int64(64)
	for _, b := range o.blocks {
		n += 64 + int64(len(b.runs))*24
	}
	return n
}

// with returns what is known when some UIDs, in ascending order, are marked in a transaction, and the
// numbers of the blocks that are other than before. Of those below upTo the list knows which are there: in
// blocks that are changed the others are dropped.
func (o *ownSeen) with(uids []UID, seen bool, at ModSeq, list *List, upTo UID) (*ownSeen, []uint32) {
	next := &ownSeen{modseq: at, blocks: slices.Clone(o.blocks)}
	var touched []uint32
	for len(uids) > 0 {
		number, n := blockOf(uids[0]), 1
		for n < len(uids) && blockOf(uids[n]) == number {
			n++
		}
		i, found := slices.BinarySearchFunc(next.blocks, number, func(b *seenBlock, n uint32) int {
			return cmp.Compare(b.number, n)
		})
		marks := marksPool.Get().(*seenMarks)
		clear(marks[:])
		if found {
			marks.take(next.blocks[i])
		}
		if list != nil {
			marks.drop(number, list, upTo)
		}
		for _, uid := range uids[:n] {
			marks[uid%ownBlock] = seenMark{at, markKnown, seen}
		}
		if !found {
			next.blocks = slices.Insert(next.blocks, i, nil)
		}
		next.blocks[i] = marks.block(number)
		marksPool.Put(marks)
		touched, uids = append(touched, number), uids[n:]
	}
	return next, touched
}

// seenMarks is a block of UIDs, one by one: 64 KiB, which are used again.
type seenMarks [ownBlock]seenMark

var marksPool = sync.Pool{New: func() any { return new(seenMarks) }}

type seenMark struct {
	modseq ModSeq
	state  byte
	seen   bool
}

// What is known of a UID.
const (
	markNone  byte = iota // it may be there, and was never marked
	markGone              // it is there no more, and may be in any run
	markKnown             // modseq and seen are what was marked
)

// take reads the runs of a block.
func (m *seenMarks) take(b *seenBlock) {
	for _, r := range b.runs {
		for i := r.First % ownBlock; i <= r.Last%ownBlock; i++ {
			m[i] = seenMark{r.ModSeq, markKnown, r.Seen}
		}
	}
}

// drop forgets the UIDs below upTo that are not in a list.
func (m *seenMarks) drop(number uint32, list *List, upTo UID) {
	uid := UID(number * ownBlock)
	gone := func(until UID) {
		for ; uid < until && uid < upTo && blockOf(uid) == number; uid++ {
			m[uid%ownBlock] = seenMark{state: markGone}
		}
	}
	from, _ := list.Find(uid)
	for _, e := range list.Entries(from, list.n) {
		if gone(e.UID); blockOf(e.UID) != number {
			return
		}
		uid = e.UID + 1
	}
	gone(1<<32 - 1)
}

// block makes runs of the marks.
func (m *seenMarks) block(number uint32) *seenBlock {
	b := &seenBlock{number: number}
	apart := true // from the run before
	for i := range m {
		uid := UID(number*ownBlock) + UID(i)
		n := len(b.runs)
		switch {
		case m[i].state == markNone:
			apart = true
			continue
		case m[i].state == markGone:
			continue
		case !apart && b.runs[n-1].ModSeq == m[i].modseq && b.runs[n-1].Seen == m[i].seen:
			b.runs[n-1].Last = uid
		default:
			b.runs = append(b.runs, seenRun{UIDRange{uid, uid}, m[i].modseq, m[i].seen})
		}
		apart = false
	}
	b.settle()
	return b
}

// settle notes the newest, and keeps the runs of a block few: where they are many, the older half is
// given one ModSeq, the highest of them. Who was told of it is not told again.
func (b *seenBlock) settle() {
	if len(b.runs) > ownRuns {
		all := make([]ModSeq, len(b.runs))
		for i := range b.runs {
			all[i] = b.runs[i].ModSeq
		}
		slices.Sort(all)
		middle := all[len(all)/2]
		kept := b.runs[:0]
		for _, r := range b.runs {
			r.ModSeq = max(r.ModSeq, middle)
			n := len(kept)
			if n > 0 && kept[n-1].Last+1 == r.First && kept[n-1].ModSeq == r.ModSeq && kept[n-1].Seen == r.Seen {
				kept[n-1].Last = r.Last
				continue
			}
			kept = append(kept, r)
		}
		b.runs = kept
	}
	b.newest = 0
	for i := range b.runs {
		b.newest = max(b.newest, b.runs[i].ModSeq)
	}
}

// prune returns the block without what a list has not any more, nil for nothing that is left, and itself
// when it stays as it is.
func (b *seenBlock) prune(list *List) *seenBlock {
	kept := make([]seenRun, 0, len(b.runs))
	for _, r := range b.runs {
		if list.countIn(r.UIDRange) > 0 {
			kept = append(kept, r)
		}
	}
	switch len(kept) {
	case 0:
		return nil
	case len(b.runs):
		return b
	}
	out := &seenBlock{number: b.number, runs: kept}
	out.settle()
	return out
}

// as returns the list as a person sees it, who has o of his own.
func (l *List) as(o *ownSeen) *List {
	v := *l
	v.own, v.modseq = o, max(l.modseq, o.modseq)
	return &v
}

package imapd

import (
	"tram/internal/imap"
	"tram/internal/store"
)

// Quick resynchronisation rests on two things of the store's: each entry of a list has the
// mod-sequence of its last change, so that one pass over the list finds what changed; and removals
// are remembered with theirs. The latter is pruned. A client from before that is told of all UIDs it
// may know that are not there, which is as true, and longer.

// resync is the QRESYNC parameter of SELECT and EXAMINE, RFC 7162 §3.2.5.
type resync struct {
	uidValidity uint32
	since       store.ModSeq
	known       []imap.Range // nil: all
	seqs, uids  []imap.Range // sequence match data, in step
}

// resyncArguments reads the parenthesised arguments.
func (s *session) resyncArguments() *resync {
	d := s.dec
	r := &resync{}
	d.Expect('(')
	r.uidValidity = d.NonZero()
	d.SP()
	if r.since = store.ModSeq(d.Number64()); r.since == 0 {
		d.Bad("A mod-sequence is not 0")
	}
	more := d.Try(' ')
	if more && d.Peek() != '(' {
		r.known = imap.MergeRanges(d.KnownSet())
		more = d.Try(' ')
	}
	if more {
		if s.mode.uidOnly {
			d.Fail(errUIDRequired) // RFC 9586 §3: the match data are message numbers
		}
		d.Expect('(')
		r.seqs = d.KnownSet()
		d.SP()
		r.uids = d.KnownSet()
		d.Expect(')')
		if imap.CountNums(r.seqs) != imap.CountNums(r.uids) || !ascending(r.seqs) ||
			!ascending(r.uids) {
			d.Bad("Sequence match data is not in step")
		}
	}
	d.Expect(')')
	return r
}

// ascending reports whether a set is written in ascending order (RFC 7162 §3.2.5.2).
func ascending(rs []imap.Range) bool {
	last := uint32(0)
	for _, r := range rs {
		if r.Start <= last || r.Stop < r.Start {
			return false
		}
		last = r.Stop
	}
	return true
}

// resync tells a client that knew the mailbox once what happened since: removals first, then flags.
// With another UIDVALIDITY nothing it knows holds any more, and it can see that for itself.
func (s *session) resync(r *resync) error {
	v := s.sel
	if r.uidValidity != v.uidValidity {
		return nil
	}
	known := r.known
	if known == nil && v.list.UIDNext() > 1 {
		known = []imap.Range{{Start: 1, Stop: uint32(v.list.UIDNext()) - 1}}
	}
	if err := s.vanishedEarlier(r.since, known, r.matched(v)); err != nil {
		return err
	}
	s.uid = true // the replies are those of UID FETCH (§3.2.5.1)
	plan := &fetchPlan{
		items: []fetchItem{(*row).flagList}, flags: true, modseq: true, changed: r.since,
	}
	return (&window{s: s, plan: plan}).run(v.spansOfUIDs(known))
}

// matched returns the highest UID up to which client and server agree on numbers: it has heard of
// every removal up to there (RFC 7162 §3.2.5.2).
func (r *resync) matched(v *view) store.UID {
	best := store.UID(0)
	next := pairs(r.seqs, r.uids)
	for seq, uid, ok := next(); ok; seq, uid, ok = next() {
		if int(seq) > v.list.Len() || v.list.At(int(seq)-1).UID != store.UID(uid) {
			break
		}
		best = store.UID(uid)
	}
	return best
}

// pairs walks over two sets of the same size in step.
func pairs(a, b []imap.Range) func() (x, y uint32, ok bool) {
	var i, j int
	var di, dj uint32
	return func() (x, y uint32, ok bool) {
		if i >= len(a) || j >= len(b) {
			return 0, 0, false
		}
		x, y = a[i].Start+di, b[j].Start+dj
		if di++; a[i].Start+di > a[i].Stop {
			i, di = i+1, 0
		}
		if dj++; b[j].Start+dj > b[j].Stop {
			j, dj = j+1, 0
		}
		return x, y, true
	}
}

// vanishedEarlier sends VANISHED (EARLIER) for the UIDs among ranges that were removed after since.
// Where the history does not go back that far, it names every UID that is not there (RFC 7162
// §3.2.6), but for those up to matched.
func (s *session) vanishedEarlier(since store.ModSeq, ranges []imap.Range, matched store.UID) error {
	v := s.sel
	within := make([]store.UIDRange, 0, len(ranges))
	for _, r := range ranges {
		within = append(within, store.UIDRange{First: store.UID(r.Start), Last: store.UID(r.Stop)})
	}
	var gone []store.UIDRange
	var complete bool
	err := s.viewSelected(func(tx *store.Tx) (err error) {
		gone, complete, err = tx.Vanished(v.id, since, within)
		return err
	})
	if err != nil {
		return err
	}
	if complete {
		matched = 0
	}
	out := v.absent(gone, uint32(matched))
	if len(out) == 0 {
		return nil
	}
	p := s.buf()
	*p = append(*p, "* VANISHED (EARLIER) "...)
	*p = append(imap.AppendSet(*p, out), "\r\n"...)
	return s.spill()
}

// absent returns the UIDs above matched that the view does not have: a removal that happened after
// the view was taken is told when the view moves on.
func (v *view) absent(gone []store.UIDRange, matched uint32) []imap.Range {
	var out []imap.Range
	for _, g := range gone {
		r := imap.Range{Start: max(uint32(g.First), matched+1), Stop: uint32(g.Last)}
		if r.Start <= r.Stop {
			out = append(out, v.holes(r)...)
		}
	}
	return imap.MergeRanges(out)
}

// holes returns what is left of a range of UIDs without those of the view's list.
func (v *view) holes(r imap.Range) []imap.Range {
	var out []imap.Range
	from, _ := v.list.Find(store.UID(r.Start))
	next := r.Start
	for _, e := range v.list.Entries(from, v.list.Len()) {
		if uint32(e.UID) > r.Stop {
			break
		}
		if uint32(e.UID) > next {
			out = append(out, imap.Range{Start: next, Stop: uint32(e.UID) - 1})
		}
		next = uint32(e.UID) + 1
	}
	if next <= r.Stop {
		out = append(out, imap.Range{Start: next, Stop: r.Stop})
	}
	return out
}

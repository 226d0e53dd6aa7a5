package imapd

import (
	"context"
	"slices"
	"time"

	"tram/internal/imap"
	"tram/internal/store"
)

// How contexts are kept up to date (RFC 5267 §4.3). What is removed leaves the results at once, before
// the client hears of the EXPUNGE. What came or changed is noted, and looked at when the command is
// done, in a snapshot of its own: only these messages are searched, in the list that the client knows.

const (
	// timedEvery is how often a context with OLDER or YOUNGER looks at all messages (RFC 5032 §2).
	timedEvery = time.Minute
	// fewAdded is up to how many messages find their places in a sorted result one by one.
	fewAdded = 32
)

// touched are the UIDs that contexts have to look at.
type touched struct{ added, changed []imap.Range }

// touch takes note of messages that came or changed.
func (v *view) touch(d *store.Delta) {
	if len(v.contexts) == 0 {
		return
	}
	v.touched.added = appendUIDs(v.touched.added, d.Added)
	v.touched.changed = appendUIDs(v.touched.changed, d.Changed)
}

func appendUIDs(rs []imap.Range, entries []store.Entry) []imap.Range {
	set := imap.SetBuilder{}
	for _, e := range entries {
		set.Add(uint32(e.UID))
	}
	return append(rs, set.Ranges...)
}

// removeFromContexts tells that messages left the mailbox, while their numbers are still those of
// ghosts (RFC 5267 §4.3.4).
func (s *session) removeFromContexts(removed []store.Entry) {
	v := s.sel
	for _, c := range v.contexts {
		var gone imap.SetBuilder
		for _, e := range removed {
			if imap.ContainsNum(c.members, uint32(e.UID)) {
				gone.Add(uint32(e.UID))
			}
		}
		if len(gone.Ranges) == 0 {
			continue
		}
		b := c.begin(*s.buf())
		b = c.remove(b, gone.Ranges, func(uid store.UID) uint32 {
			k, _ := slices.BinarySearchFunc(v.ghosts, uid, compareUID)
			return v.ghostSeq(k)
		})
		*s.buf() = append(b, "\r\n"...)
	}
}

// begin writes the beginning of an ESEARCH reply about the context.
func (c *searchContext) begin(b []byte) []byte {
	b = append(imap.AppendString(append(b, "* ESEARCH (TAG "...), c.tag, false), c.source...)
	b = append(b, ')')
	if c.uid {
		b = append(b, " UID"...)
	}
	return b
}

// name is what the client calls a message of the context; seq is asked if that is a number.
func (c *searchContext) name(uid store.UID, seq func(store.UID) uint32) uint32 {
	if c.uid {
		return uint32(uid)
	}
	return seq(uid)
}

// remove takes members out of the result and writes REMOVEFROM. Sorted ones go from the last to the
// first, so that each position is one that the client knows.
func (c *searchContext) remove(b []byte, gone []imap.Range, seq func(store.UID) uint32) []byte {
	b = append(b, " REMOVEFROM ("...)
	c.members = subtract(c.members, gone)
	if c.sort == nil {
		var set imap.SetBuilder
		eachUID(gone, func(uid store.UID) { set.Add(c.name(uid, seq)) })
		return append(imap.AppendSet(append(b, "0 "...), set.Ranges), ')')
	}
	for _, r := range slices.Backward(c.runs(c.order, gone)) {
		b = c.appendRun(b, r, c.order, seq)
	}
	c.order = slices.DeleteFunc(c.order, func(uid store.UID) bool {
		return imap.ContainsNum(gone, uint32(uid))
	})
	b[len(b)-1] = ')'
	return b
}

// add puts members into the result and writes ADDTO; order is the new order of a sorted result. A
// position is one of the new order, for what comes before it is in its place by then.
func (c *searchContext) add(b []byte, added []imap.Range, order []store.UID,
	seq func(store.UID) uint32) []byte {
	b = append(b, " ADDTO ("...)
	c.members = imap.MergeRanges(slices.Concat(c.members, added))
	if c.sort == nil {
		var set imap.SetBuilder
		eachUID(added, func(uid store.UID) { set.Add(c.name(uid, seq)) })
		return append(imap.AppendSet(append(b, "0 "...), set.Ranges), ')')
	}
	for _, r := range c.runs(order, added) {
		b = c.appendRun(b, r, order, seq)
	}
	c.order = order
	b[len(b)-1] = ')'
	return b
}

// runs finds the stretches of order whose UIDs are all among ranges.
func (c *searchContext) runs(order []store.UID, ranges []imap.Range) []span {
	var out []span
	for i, uid := range order {
		if !imap.ContainsNum(ranges, uint32(uid)) {
			continue
		}
		if n := len(out); n > 0 && out[n-1].to == i {
			out[n-1].to++
		} else {
			out = append(out, span{i, i + 1})
		}
	}
	return out
}

// appendRun writes a position, the messages of a run in their order, and a space.
func (c *searchContext) appendRun(b []byte, r span, order []store.UID,
	seq func(store.UID) uint32) []byte {
	var set imap.OrderBuilder
	for _, uid := range order[r.from:r.to] {
		set.Add(c.name(uid, seq))
	}
	b = append(imap.AppendNumber(b, r.from+1), ' ')
	return append(imap.AppendSet(b, set.Ranges), ' ')
}

// eachUID calls fn for all numbers in ranges, which name messages only.
func eachUID(ranges []imap.Range, fn func(store.UID)) {
	for _, r := range ranges {
		for n := uint64(r.Start); n <= uint64(r.Stop); n++ {
			fn(store.UID(n))
		}
	}
}

// subtract returns merged ranges without the numbers of others.
func subtract(rs, without []imap.Range) []imap.Range {
	var out []imap.Range
	for _, r := range rs {
		for len(without) > 0 && without[0].Stop < r.Start {
			without = without[1:]
		}
		for k := 0; k < len(without) && without[k].Start <= r.Stop; k++ {
			if w := without[k]; w.Start > r.Start {
				out = append(out, imap.Range{Start: r.Start, Stop: w.Start - 1})
			}
			if r.Start = without[k].Stop + 1; r.Start == 0 || r.Start > r.Stop {
				r.Start, r.Stop = 1, 0
				break
			}
		}
		if r.Start <= r.Stop {
			out = append(out, r)
		}
	}
	return out
}

// updateContexts tells what changed in the results, at the end of a command or while the session
// waits in IDLE.
func (s *session) updateContexts() {
	v := s.sel
	if v == nil || len(v.contexts) == 0 || s.ended {
		return
	}
	now, t := s.srv.o.Clock.Now(), v.touched
	v.touched = touched{}
	work := make([][]imap.Range, len(v.contexts))
	busy := false
	for i, c := range v.contexts {
		work[i] = c.affected(t, now)
		busy = busy || len(work[i]) > 0
	}
	if !busy {
		return
	}
	ctx, cancel := context.WithTimeout(s.ctx, s.srv.o.Limits.SearchTime)
	defer cancel()
	start := len(*s.buf())
	err := v.account.View(ctx, func(tx *store.Tx) error {
		for i, c := range v.contexts {
			if len(work[i]) == 0 {
				continue
			}
			if err := s.updateContext(tx, c, work[i], t.added); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil {
		err = s.fetchForContexts(start)
	}
	if err != nil {
		s.giveUpContexts(err)
		return
	}
	s.boundContexts()
}

// affected returns the UIDs that the context has to look at.
func (c *searchContext) affected(t touched, now time.Time) []imap.Range {
	switch {
	case c.timed && now.Sub(c.checked) >= timedEvery:
		c.checked = now
		return []imap.Range{{Start: 1, Stop: 1<<32 - 1}}
	case c.fixed:
		return imap.MergeRanges(slices.Clone(t.added))
	}
	return imap.MergeRanges(slices.Concat(t.added, t.changed))
}

// giveUpContexts ends all updates: the client must not believe in results that may be wrong.
func (s *session) giveUpContexts(err error) {
	if s.ctx.Err() != nil {
		return
	}
	s.srv.o.Logger.Warn("imap contexts given up", "account", s.user, "error", err)
	for _, c := range s.sel.contexts {
		s.noUpdate(c.tag, "The search took too long or failed, search again")
	}
	s.sel.contexts = nil
}

// updateContext searches some messages again and tells the difference. arrived are the UIDs of those
// that are new.
func (s *session) updateContext(tx *store.Tx, c *searchContext, among, arrived []imap.Range) error {
	v := s.sel
	spans := v.spansOfUIDs(among)
	uids := v.uidRanges(spans)
	if len(uids) == 0 {
		return nil
	}
	filter, err := (&compiler{s: s, tx: tx, among: spans}).compile(&c.key)
	if err != nil {
		return err
	}
	result, err := tx.Query(store.Query{In: v.list, Among: uids, Filter: filter})
	if err != nil {
		return err
	}
	var hold, added, gone imap.SetBuilder
	for _, h := range result.Hits {
		hold.Add(uint32(h.Entry.UID))
		if !imap.ContainsNum(c.members, uint32(h.Entry.UID)) {
			added.Add(uint32(h.Entry.UID))
		}
	}
	for _, sp := range spans {
		for _, e := range v.list.Entries(sp.from, sp.to) {
			uid := uint32(e.UID)
			if imap.ContainsNum(c.members, uid) && !imap.ContainsNum(hold.Ranges, uid) {
				gone.Add(uid)
			}
		}
	}
	if len(gone.Ranges) == 0 && len(added.Ranges) == 0 {
		return nil
	}
	order, err := s.reorder(tx, c, gone.Ranges, added.Ranges)
	if err != nil {
		return err
	}
	seq := func(uid store.UID) uint32 {
		i, _ := v.list.Find(uid)
		return v.seq(i)
	}
	b := c.begin(*s.buf())
	if len(gone.Ranges) > 0 {
		b = c.remove(b, gone.Ranges, seq)
	}
	if len(added.Ranges) > 0 {
		c.wish(added.Ranges, arrived)
		b = c.add(b, added.Ranges, order, seq)
	}
	*s.buf() = append(b, "\r\n"...)
	return nil
}

// reorder returns the order of a sorted result after a change. Few new messages look for their places
// between the others, which costs the rows of some seventeen of them in a hundred thousand; with many
// the whole result is sorted again.
func (s *session) reorder(tx *store.Tx, c *searchContext, gone, added []imap.Range) (
	[]store.UID, error) {
	if c.sort == nil {
		return nil, nil
	}
	order := slices.Clone(c.order)
	order = slices.DeleteFunc(order, func(uid store.UID) bool {
		return imap.ContainsNum(gone, uint32(uid))
	})
	if n := imap.CountNums(added); n == 0 {
		return order, nil
	} else if n > fewAdded || len(order) <= fewAdded {
		all := slices.Concat(subtract(c.members, gone), added)
		return s.sorted(tx, c, imap.MergeRanges(all))
	}
	sorted, err := s.sorted(tx, c, added)
	if err != nil {
		return nil, err
	}
	for _, uid := range sorted {
		var failed error
		at, _ := slices.BinarySearchFunc(order, uid, func(have, uid store.UID) int {
			before, err := s.before(tx, c, have, uid)
			if err != nil {
				failed = err
			}
			if before {
				return -1
			}
			return 1
		})
		if failed != nil {
			return nil, failed
		}
		order = slices.Insert(order, at, uid)
	}
	return order, nil
}

// before reports whether the message a comes before b in the context's order.
func (s *session) before(tx *store.Tx, c *searchContext, a, b store.UID) (bool, error) {
	both := imap.MergeRanges([]imap.Range{
		{Start: uint32(a), Stop: uint32(a)}, {Start: uint32(b), Stop: uint32(b)},
	})
	uids, err := s.sorted(tx, c, both)
	return len(uids) > 0 && uids[0] == a, err
}

// sorted returns messages of the view in the context's order.
func (s *session) sorted(tx *store.Tx, c *searchContext, uids []imap.Range) ([]store.UID, error) {
	v := s.sel
	result, err := tx.Query(store.Query{
		In: v.list, Among: v.uidRanges(v.spansOfUIDs(uids)), Sort: c.sort,
	})
	out := make([]store.UID, len(result.Hits))
	for i, h := range result.Hits {
		out[i] = h.Entry.UID
	}
	return out, err
}

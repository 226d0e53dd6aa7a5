package imapd

import (
	"slices"

	"tram/internal/imap"
)

// SEARCH and SORT with RETURN (UPDATE (items)), RFC 5465 §7: items are fetched, unasked, of each new
// message that comes into a result. The FETCH replies stand between EXISTS and ESEARCH; a message that
// comes into the result because its flags changed has none. They set no \Seen.

// updateItems reads the items after UPDATE. UID stands in each reply, so that it is no item.
func (cmd *searchCommand) updateItems(s *session) {
	items := s.dec.UpdateItems()
	if items == nil {
		return
	}
	uid := s.uid
	s.uid = true
	cmd.fetch = s.fetchPlan(items)
	s.uid = uid
}

// wish takes note of the messages whose items the client wants, of those that were added to a result.
func (c *searchContext) wish(added, arrived []imap.Range) {
	if c.fetch != nil {
		c.fetchNow = subtract(added, subtract(added, imap.MergeRanges(slices.Clone(arrived))))
	}
}

// fetchForContexts writes the FETCH replies of all results before what was written of them from start
// on in the reply buffer.
func (s *session) fetchForContexts(start int) error {
	v := s.sel
	if !slices.ContainsFunc(v.contexts, func(c *searchContext) bool { return c.fetchNow != nil }) {
		return nil
	}
	told := slices.Clone((*s.buf())[start:])
	*s.buf() = (*s.buf())[:start]
	uid := s.uid
	s.uid = true // a reply that is not part of a command names its message by UID too
	var err error
	for _, c := range v.contexts {
		if spans := v.spansOfUIDs(c.fetchNow); err == nil && len(spans) > 0 {
			plan := *c.fetch
			plan.modseq = plan.modseq || s.mode.condstore // RFC 7162 §3.2.4
			err = (&window{s: s, plan: &plan, downwards: true}).run(spans)
		}
		c.fetchNow = nil
	}
	s.uid = uid
	*s.buf() = append(*s.buf(), told...)
	return err
}

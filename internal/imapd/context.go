package imapd

import (
	"cmp"
	"math"
	"slices"
	"time"

	"tram/internal/imap"
	"tram/internal/store"
)

// CONTEXT=SEARCH and CONTEXT=SORT, RFC 5267: a search whose result the client is kept informed of. A
// context holds the search program and what was told of its result, by UID; contextupdate.go compares
// that with what holds after each command. The hint CONTEXT changes nothing here: a search costs the
// same the second time.

// searchContext is one search with RETURN (UPDATE).
type searchContext struct {
	tag string // of the command: the client knows the context by it
	uid bool   // it is told of by UID
	// source are the correlators of an ESEARCH command besides TAG (RFC 7377 §2.1).
	source string
	key    imap.SearchKey
	sort   []store.Comparator // of SORT
	// fixed: no key asks for what can change in a message; timed: a key depends on the clock.
	fixed, timed bool
	byScore      bool         // the order depends on scores, which are not kept
	fetch        *fetchPlan   // what to tell of a new message, nil: nothing
	fetchNow     []imap.Range // UIDs of new messages to tell of, while a context is updated
	checked      time.Time    // when all messages were last looked at, for a timed one

	members []imap.Range // UIDs of the result as the client knows it
	order   []store.UID  // the same in the order of SORT
}

// fixedKeys are the keys whose answer for a message never changes, once message numbers are UIDs.
var fixedKeys = map[string]bool{
	"ALL": true, "AND": true, "OR": true, "NOT": true, "UID": true, "UIDAFTER": true,
	"UIDBEFORE": true, "LARGER": true, "SMALLER": true,
	"EMAILID": true, "THREADID": true, "FROM": true, "TO": true, "CC": true, "BCC": true,
	"SUBJECT": true, "BODY": true, "TEXT": true, "HEADER": true, "BEFORE": true, "ON": true,
	"SINCE": true, "SENTBEFORE": true, "SENTON": true, "SENTSINCE": true,
}

func isFixed(k *imap.SearchKey) bool {
	for i := range k.Keys {
		if !isFixed(&k.Keys[i]) {
			return false
		}
	}
	return fixedKeys[k.Name]
}

// context returns the index of the context with a tag, -1 when there is none.
func (v *view) context(tag string) int {
	return slices.IndexFunc(v.contexts, func(c *searchContext) bool { return c.tag == tag })
}

// newContext makes the context of a command that was just answered from the view.
func (s *session) newContext(cmd searchCommand, indexes []int) *searchContext {
	v := s.sel
	c := &searchContext{
		tag: s.tag, uid: s.uid, sort: cmd.sort, members: v.uidSet(indexes),
		timed:   cmd.key.Uses("OLDER") || cmd.key.Uses("YOUNGER"),
		checked: s.srv.o.Clock.Now(), byScore: cmd.byRelevance(), fetch: cmd.fetch,
	}
	c.key = s.freeze(cmd.key)
	c.fixed = isFixed(&c.key)
	if cmd.sort != nil {
		c.order = make([]store.UID, len(indexes))
		for k, i := range indexes {
			c.order[k] = v.list.At(i).UID
		}
	}
	return c
}

// freeze gives message numbers, "*" and "$" in a search program the meaning that they have now, for
// ever (RFC 5267 §4.3). Only a range of UIDs up to "*" stays open, for the messages to come.
func (s *session) freeze(k imap.SearchKey) imap.SearchKey {
	v := s.sel
	var uids []imap.Range
	switch {
	case (k.Name == "SEQ" || k.Name == "UID") && k.Set.Saved:
		uids = s.saved
	case k.Name == "SEQ":
		spans, _ := v.spansOfSeqs(v.numbered(k.Set))
		for _, r := range v.uidRanges(spans) {
			uids = append(uids, imap.Range{Start: uint32(r.First), Stop: uint32(r.Last)})
		}
	case k.Name == "UID":
		uids = k.Set.Resolve(v.largestUID())
		for _, r := range k.Set.Ranges {
			if (r.Start == 0) != (r.Stop == 0) {
				from := min(max(r.Start, r.Stop), max(v.largestUID(), 1))
				uids = append(uids, imap.Range{Start: from, Stop: math.MaxUint32})
			}
		}
		uids = imap.MergeRanges(uids)
	default:
		keys := make([]imap.SearchKey, len(k.Keys))
		for i := range k.Keys {
			keys[i] = s.freeze(k.Keys[i])
		}
		k.Keys = keys
		return k
	}
	if len(uids) == 0 {
		return imap.SearchKey{Name: "OR"} // of nothing: false
	}
	return imap.SearchKey{Name: "UID", Set: imap.NumSet{Ranges: slices.Clone(uids)}}
}

// keepContext begins to tell updates, unless there are too many contexts.
func (s *session) keepContext(c *searchContext) {
	v := s.sel
	limit := s.srv.o.Limits.Contexts
	if c.byScore {
		s.noUpdate(c.tag, "Not for an order by relevancy")
		return
	}
	if limit > 0 && len(v.contexts) >= limit {
		s.noUpdate(c.tag, "Too many contexts")
		return
	}
	v.contexts = append(v.contexts, c)
	s.boundContexts()
}

// noUpdate says that a context is not kept up to date (RFC 5267 §4.3.1).
func (s *session) noUpdate(tag, why string) {
	p := s.buf()
	*p = append(imap.AppendString(append(*p, "* NO [NOUPDATE "...), tag, false), "] "...)
	*p = append(append(*p, s.translate(why)...), "\r\n"...)
}

// boundContexts gives up the largest contexts when they hold too much together. One that is not
// sorted may always stay: each client may have one (RFC 5267 §4.3.1).
func (s *session) boundContexts() {
	v, limit := s.sel, s.srv.o.Limits.ContextMessages
	for limit > 0 {
		sum, largest := 0, 0
		for i, c := range v.contexts {
			sum += c.size()
			if c.size() > v.contexts[largest].size() {
				largest = i
			}
		}
		if sum <= limit || len(v.contexts) == 1 && v.contexts[0].sort == nil {
			return
		}
		s.noUpdate(v.contexts[largest].tag, "Contexts with too many messages")
		v.contexts = slices.Delete(v.contexts, largest, largest+1)
	}
}

// size is what a context holds, in units of four bytes.
func (c *searchContext) size() int { return 2*len(c.members) + len(c.order) }

// cancelUpdate is CANCELUPDATE, RFC 5267 §4.3.5.
func (s *session) cancelUpdate() error {
	s.dec.SP()
	tags := []string{s.dec.AString()}
	for s.dec.TrySP() {
		tags = append(tags, s.dec.AString())
	}
	if err := s.args(); err != nil {
		return err
	}
	unknown := false
	for _, tag := range tags {
		if i := s.sel.context(tag); i >= 0 {
			s.sel.contexts = slices.Delete(s.sel.contexts, i, i+1)
		} else {
			unknown = true
		}
	}
	if unknown {
		return &no{"", "No updates were told for such a tag"}
	}
	return nil
}

// compareUID orders by UID, for binary searches.
func compareUID(g ghost, uid store.UID) int { return cmp.Compare(g.uid, uid) }

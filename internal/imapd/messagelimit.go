package imapd

import (
	"errors"
	"fmt"
	"strings"

	"tram/internal/imap"
	"tram/internal/store"
)

// MESSAGELIMIT and SAVELIMIT, RFC 9738: how many messages one command may be about. What STORE, COPY,
// MOVE and UID EXPUNGE change is one transaction, which is in memory until it is written; hence
// limits.imap.command_messages, which they keep to. FETCH, SEARCH, SORT and THREAD only read. A client
// that knows nothing of the extension takes the part of an answer for the whole, and a program that
// keeps a copy would remove the rest of it: these commands are cut at a higher limit, which RFC 9738
// §4.2 advises, and which no mailbox is known to reach. EXPUNGE, CLOSE and STATUS have no limit (§3.1).

// readLeniency is how many times the limit commands go that only read.
const readLeniency = 10

// readOnlyCommands are the commands that change at most \Seen.
var readOnlyCommands = map[string]bool{"FETCH": true, "SEARCH": true, "SORT": true, "THREAD": true}

// messageLimit is how many messages the running command may be about, 0 without a limit.
func (s *session) messageLimit() int {
	n := s.srv.o.Limits.CommandMessages
	if readOnlyCommands[s.name] {
		n *= readLeniency
	}
	return n
}

// saveLimit is how many messages one APPEND may bring, 0 for any number. A COPY of more is done as long
// as the limit for commands allows it: programs ask for it that know nothing of SAVELIMIT.
func (s *session) saveLimit() int {
	limits := &s.srv.o.Limits
	if n := limits.CommandMessages; n > 0 && (n < limits.AppendMessages || limits.AppendMessages == 0) {
		return n
	}
	return limits.AppendMessages
}

// messageLimits are the capabilities, each with a space before it (RFC 9738 §5).
func (s *session) messageLimits() string {
	var b strings.Builder
	if n := s.srv.o.Limits.CommandMessages; n > 0 {
		fmt.Fprintf(&b, " MESSAGELIMIT=%d", n)
	}
	if n := s.saveLimit(); n > 0 {
		fmt.Fprintf(&b, " SAVELIMIT=%d", n)
	}
	return b.String()
}

// tooManyToSave refuses an APPEND of too many messages; nothing of it is stored, so there is no UID
// to name.
func (s *session) tooManyToSave() error {
	return s.overLimit(s.saveLimit(), 0, "Too many messages in one APPEND")
}

// overLimit refuses a command of which nothing was done; lowest is the last UID that it would have come
// to, 0 where that is not known.
func (s *session) overLimit(limit int, lowest store.UID, text string) error {
	code := fmt.Sprintf("MESSAGELIMIT %d", limit)
	if lowest > 0 {
		code += fmt.Sprintf(" %d", lowest)
	}
	return &no{code, text}
}

// lowestWithin returns the index of the first of the messages in spans that the command may be about,
// if they are more than it may: those with the highest UIDs are dealt with (RFC 9738 §3.1).
func (s *session) lowestWithin(spans []span) (index int, over bool) {
	limit := s.messageLimit()
	if limit == 0 || s.sel.list.Len() <= limit {
		return 0, false
	}
	left := limit
	for k := len(spans) - 1; k >= 0; k-- {
		if size := spans[k].to - spans[k].from; size < left {
			left -= size
		} else {
			return spans[k].to - left, k > 0 || size > left
		}
	}
	return 0, false
}

// within leaves of the numbers of a command those that it may be about, and takes note of the lowest
// UID among them if there are others.
func (s *session) within(nums numbers) numbers {
	s.cut = 0
	spans, _ := s.sel.spans(nums)
	index, over := s.lowestWithin(spans)
	if !over {
		return nums
	}
	s.cut = s.sel.list.At(index).UID
	return numbers{ranges: from(nums.ranges, s.sel.number(index, nums.uid)), uid: nums.uid}
}

// from leaves the numbers from n on of merged ranges.
func from(ranges []imap.Range, n uint32) []imap.Range {
	var out []imap.Range
	for _, r := range ranges {
		if r.Stop >= n {
			out = append(out, imap.Range{Start: max(r.Start, n), Stop: r.Stop})
		}
	}
	return out
}

// copyLimit refuses a COPY of more messages than may be: it is atomic (RFC 9738 §3.1).
func (s *session) copyLimit(nums numbers) error {
	spans, _ := s.sel.spans(nums)
	index, over := s.lowestWithin(spans)
	if !over {
		return nil
	}
	return s.overLimit(s.messageLimit(), s.sel.list.At(index).UID, "Too many messages to copy at once")
}

// partialLimit refuses a FETCH with PARTIAL for a range of more messages than it may be about, whether
// there are so many or not (RFC 9738 §3.1).
func (s *session) partialLimit(r *imap.PartialRange) error {
	limit := s.messageLimit()
	if r == nil || limit == 0 || max(r.First, r.Last)-min(r.First, r.Last) < int64(limit) {
		return nil
	}
	return s.overLimit(limit, 0, "Too many messages in this range")
}

// expungeLimit leaves the UIDs that a UID EXPUNGE may remove.
func (s *session) expungeLimit(uids []store.UID) []store.UID {
	s.cut = 0
	limit := s.messageLimit()
	if limit == 0 || len(uids) <= limit {
		return uids
	}
	uids = uids[len(uids)-limit:]
	s.cut = uids[0]
	return uids
}

// searchLimit leaves of a search the messages that may be looked at; it counts those that are looked
// at, not those that match (RFC 9738 §3.1). An order or threads of a part would be wrong: §3.3.
func (s *session) searchLimit(cmd *searchCommand, filter store.Filter) (store.Filter, error) {
	s.cut = 0
	v := s.sel
	if limit := s.messageLimit(); limit == 0 || v.list.Len() <= limit {
		return filter, nil
	}
	spans := v.spansOfUIDs(s.candidates(&cmd.key))
	index, over := s.lowestWithin(spans)
	switch {
	case !over:
		return filter, nil
	case cmd.sort != nil || cmd.thread != "":
		return nil, s.overLimit(s.messageLimit(), 0, "Too many messages, search fewer UIDs")
	}
	s.cut = v.list.At(index).UID
	kept := []store.UIDRange{{First: s.cut, Last: store.UID(v.largestUID())}}
	return store.And{store.UIDsIn{v.id: kept}, filter}, nil
}

// candidates are the UIDs that a search program can match, as far as it names messages on its top
// level.
func (s *session) candidates(k *imap.SearchKey) []imap.Range {
	v := s.sel
	all := []imap.Range{{Start: 1, Stop: 1<<32 - 1}}
	switch {
	case k.Name == "AND":
		left := all
		for i := range k.Keys {
			left = subtract(left, subtract(all, s.candidates(&k.Keys[i])))
		}
		return left
	case (k.Name == "SEQ" || k.Name == "UID") && k.Set.Saved:
		return s.saved
	case k.Name == "SEQ":
		spans, _ := v.spansOfSeqs(v.numbered(k.Set))
		var set []imap.Range
		for _, r := range v.uidRanges(spans) {
			set = append(set, imap.Range{Start: uint32(r.First), Stop: uint32(r.Last)})
		}
		return set
	case k.Name == "UID":
		return k.Set.Resolve(v.largestUID())
	case k.Name == "UIDAFTER":
		return subtract(all, []imap.Range{{Start: 1, Stop: uint32(k.Number)}})
	case k.Name == "UIDBEFORE":
		return subtract(all, []imap.Range{{Start: uint32(k.Number), Stop: 1<<32 - 1}})
	}
	return all
}

// tellCut tells of a command that came to a part of its messages only: in its OK, or before a reply
// that has a response code of its own already (RFC 9738 §3.1).
func (s *session) tellCut(err error) {
	if s.cut == 0 {
		return
	}
	code := fmt.Sprintf("MESSAGELIMIT %d %d", s.messageLimit(), s.cut)
	s.cut = 0
	const text = "Done from this UID on, repeat for the others"
	var refused *no
	switch {
	case err == nil && s.code == "":
		s.code, s.text = code, text
	case err == nil || errors.As(err, &refused) && doneInPart(refused.code):
		s.untagged("NO %s%s", "["+code+"] ", s.translate(text))
	}
}

// doneInPart reports whether a refusal is of some of the messages, while others were served.
func doneInPart(code string) bool {
	return code == "EXPUNGEISSUED" || code == "UNKNOWN-CTE" || strings.HasPrefix(code, "MODIFIED ")
}

// uidAfter and uidBefore are RFC 9738 §3.2.
func (c *compiler) uidAfter(k *imap.SearchKey) (store.Filter, error) {
	return c.uidsBetween(k.Number+1, 1<<32-1)
}

func (c *compiler) uidBefore(k *imap.SearchKey) (store.Filter, error) {
	return c.uidsBetween(1, k.Number-1)
}

func (c *compiler) uidsBetween(first, last uint64) (store.Filter, error) {
	if first > last || first > 1<<32-1 {
		return store.Or{}, nil
	}
	return c.each(func(*view) ([]store.UIDRange, error) {
		return []store.UIDRange{{First: store.UID(first), Last: store.UID(last)}}, nil
	})
}

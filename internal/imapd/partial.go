package imapd

import "tram/internal/imap"

// PARTIAL, RFC 9394: a part of what SEARCH or SORT found, or of the messages that UID FETCH names.

// appendPartial writes the return data of PARTIAL: the range as it was asked for and what is in it.
func (cmd searchCommand) appendPartial(b []byte, v *view, indexes []int, uid bool) []byte {
	b = append(cmd.partial.Append(append(b, " PARTIAL ("...)), ' ')
	from, to := cmd.partial.Of(len(indexes))
	if from == to {
		return append(b, "NIL)"...)
	}
	return append(imap.AppendSet(b, v.numberSet(cmd, indexes[from:to], uid)), ')')
}

// part leaves of the numbers of a command those of the messages that PARTIAL names, all without it
// (RFC 9394 §3.3). CHANGEDSINCE looks at what is left (§3.4).
func (v *view) part(n numbers, r *imap.PartialRange) numbers {
	if r == nil {
		return n
	}
	spans, _ := v.spans(n)
	total := 0
	for _, sp := range spans {
		total += sp.to - sp.from
	}
	from, to := r.Of(total)
	out := numbers{uid: true}
	for _, sp := range spans {
		size := sp.to - sp.from
		if lo, hi := max(from, 0), min(to, size); lo < hi {
			out.ranges = append(out.ranges, imap.Range{
				Start: uint32(v.list.At(sp.from + lo).UID),
				Stop:  uint32(v.list.At(sp.from + hi - 1).UID),
			})
		}
		from, to = from-size, to-size
	}
	return out
}

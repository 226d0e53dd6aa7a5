package imap

import (
	"slices"
	"strconv"
)

// Range is an inclusive range of message numbers or UIDs; 0 stands for "*".
type Range struct{ Start, Stop uint32 }

// NumSet is a sequence-set as the client wrote it, RFC 9051 §9.
type NumSet struct {
	Ranges []Range
	Saved  bool // "$", the saved search result (RFC 5182)
}

// NumSet reads a sequence-set.
func (d *Decoder) NumSet() NumSet {
	if d.Try('$') {
		return NumSet{Saved: true}
	}
	var s NumSet
	for d.err == nil {
		r := Range{Start: d.seqNumber()}
		r.Stop = r.Start
		if d.Try(':') {
			r.Stop = d.seqNumber()
		}
		if len(s.Ranges) >= d.limits.Ranges {
			d.Fail(errTooMany)
			break
		}
		s.Ranges = append(s.Ranges, r)
		if !d.Try(',') {
			break
		}
	}
	if d.err != nil {
		return NumSet{}
	}
	return s
}

// seqNumber reads a number above 0, or "*" as 0.
func (d *Decoder) seqNumber() uint32 {
	if d.Try('*') {
		return 0
	}
	return d.NonZero()
}

// KnownSet reads a sequence-set in which "*" and "$" are not allowed (RFC 7162 §7, known-uids).
func (d *Decoder) KnownSet() []Range {
	s := d.NumSet()
	if s.Saved || slices.ContainsFunc(s.Ranges, func(r Range) bool {
		return r.Start == 0 || r.Stop == 0
	}) {
		d.Bad("Neither * nor $ is allowed in this set")
		return nil
	}
	return s.Ranges
}

// ParseNumSet parses a set from a string, for tests and clients.
func ParseNumSet(s string) (NumSet, bool) {
	d := Decoder{line: []byte(s), limits: Limits{Ranges: len(s) + 1}}
	set := d.NumSet()
	return set, d.err == nil && d.pos == len(s)
}

// Resolve returns the set's ranges in ascending order, merged, with largest in the place of "*".
// With largest 0 (an empty mailbox) a range that names "*" is left out. Thunderbird and classic Outlook
// ask for "n:*" from the next UID on, where nothing is: they are given the last message, as RFC 9051 §9
// has it, and know that.
func (s NumSet) Resolve(largest uint32) []Range {
	out := make([]Range, 0, len(s.Ranges))
	for _, r := range s.Ranges {
		if largest == 0 && (r.Start == 0 || r.Stop == 0) {
			continue
		}
		if r.Start == 0 {
			r.Start = largest
		}
		if r.Stop == 0 {
			r.Stop = largest
		}
		if r.Start > r.Stop {
			r.Start, r.Stop = r.Stop, r.Start
		}
		out = append(out, r)
	}
	return MergeRanges(out)
}

// MergeRanges sorts ranges that name no "*" and joins those that touch, in place.
func MergeRanges(rs []Range) []Range {
	slices.SortFunc(rs, func(a, b Range) int {
		switch {
		case a.Start < b.Start:
			return -1
		case a.Start > b.Start:
			return 1
		}
		return 0
	})
	n := 0
	for _, r := range rs {
		if n > 0 && (r.Start <= rs[n-1].Stop || r.Start == rs[n-1].Stop+1) {
			rs[n-1].Stop = max(rs[n-1].Stop, r.Stop)
			continue
		}
		rs[n] = r
		n++
	}
	return rs[:n]
}

// ContainsNum reports whether merged ranges hold n.
func ContainsNum(rs []Range, n uint32) bool {
	i, found := slices.BinarySearchFunc(rs, n, func(r Range, n uint32) int {
		switch {
		case r.Start < n:
			return -1
		case r.Start > n:
			return 1
		}
		return 0
	})
	return found || i > 0 && n <= rs[i-1].Stop
}

// CountNums returns how many numbers merged ranges hold.
func CountNums(rs []Range) uint64 {
	var n uint64
	for _, r := range rs {
		n += uint64(r.Stop-r.Start) + 1
	}
	return n
}

// SetBuilder gathers ascending numbers into ranges.
type SetBuilder struct{ Ranges []Range }

// Add appends n, which must not be smaller than the numbers before it.
func (b *SetBuilder) Add(n uint32) {
	if last := len(b.Ranges) - 1; last >= 0 && n <= b.Ranges[last].Stop+1 {
		b.Ranges[last].Stop = max(n, b.Ranges[last].Stop)
		return
	}
	b.Ranges = append(b.Ranges, Range{n, n})
}

// AppendSet writes ranges as a sequence-set.
func AppendSet(dst []byte, rs []Range) []byte {
	for i, r := range rs {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendSeq(dst, r.Start)
		if r.Stop != r.Start {
			dst = appendSeq(append(dst, ':'), r.Stop)
		}
	}
	return dst
}

func appendSeq(dst []byte, n uint32) []byte {
	if n == 0 {
		return append(dst, '*')
	}
	return strconv.AppendUint(dst, uint64(n), 10)
}

// String returns the set as it is written.
func (s NumSet) String() string {
	if s.Saved {
		return "$"
	}
	return string(AppendSet(nil, s.Ranges))
}

package store

import (
	"cmp"
	"slices"
)

// UIDRange is the UIDs from First to Last, both inclusive.
type UIDRange struct{ First, Last UID }

// normalRanges returns ranges in ascending order, joined where they touch. Empty ones are dropped.
func normalRanges(ranges []UIDRange) []UIDRange {
	sorted := slices.SortedFunc(slices.Values(ranges), func(a, b UIDRange) int {
		return cmp.Compare(a.First, b.First)
	})
	out := sorted[:0]
	for _, r := range sorted {
		if r.First > r.Last {
			continue
		}
		if n := len(out); n > 0 && uint64(r.First) <= uint64(out[n-1].Last)+1 {
			out[n-1].Last = max(out[n-1].Last, r.Last)
			continue
		}
		out = append(out, r)
	}
	return out
}

// intersect returns the UIDs that are in both; a and b are normal.
func intersect(a, b []UIDRange) []UIDRange {
	var out []UIDRange
	for len(a) > 0 && len(b) > 0 {
		first, last := max(a[0].First, b[0].First), min(a[0].Last, b[0].Last)
		if first <= last {
			out = append(out, UIDRange{first, last})
		}
		if a[0].Last < b[0].Last {
			a = a[1:]
		} else {
			b = b[1:]
		}
	}
	return out
}

// subtract returns the UIDs of a that are not in b; a and b are normal.
func subtract(a, b []UIDRange) []UIDRange {
	var out []UIDRange
	for _, r := range a {
		first := uint64(r.First)
		for len(b) > 0 && b[0].Last < r.First {
			b = b[1:]
		}
		for i := 0; i < len(b) && b[i].First <= r.Last; i++ {
			if uint64(b[i].First) > first {
				out = append(out, UIDRange{UID(first), b[i].First - 1})
			}
			first = uint64(b[i].Last) + 1
		}
		if first <= uint64(r.Last) {
			out = append(out, UIDRange{UID(first), r.Last})
		}
	}
	return out
}

// inRanges reports whether uid is in normal ranges.
func inRanges(ranges []UIDRange, uid UID) bool {
	i, found := slices.BinarySearchFunc(ranges, uid, func(r UIDRange, uid UID) int {
		return cmp.Compare(r.First, uid)
	})
	return found || i > 0 && ranges[i-1].Last >= uid
}

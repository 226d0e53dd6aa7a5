package imap

import "strconv"

// SortKey is one level of the order that SORT asks for, RFC 5256 §3.
type SortKey struct {
	Name    string // one of sortKeys
	Reverse bool
}

// sortKeys names every key of SORT. An extension adds its key here.
var sortKeys = map[string]bool{
	"ARRIVAL": true, "CC": true, "DATE": true, "FROM": true, "SIZE": true, "SUBJECT": true,
	"TO":          true,
	"DISPLAYFROM": true, "DISPLAYTO": true, // RFC 5957 §4
	"RELEVANCY": true, // RFC 6203 §6
}

// SortKeys reads the parenthesised list of sort criteria. A key that comes again changes nothing and
// is left out, so that there are never more levels than kinds of keys.
func (d *Decoder) SortKeys() []SortKey {
	var keys []SortKey
	seen := map[string]bool{}
	d.List(func() {
		k := SortKey{Name: d.Label()}
		if k.Name == "REVERSE" {
			d.SP()
			k.Reverse, k.Name = true, d.Label()
		}
		if !sortKeys[k.Name] {
			d.Bad("Unknown sort criterion")
		}
		if !seen[k.Name] && d.err == nil {
			seen[k.Name] = true
			keys = append(keys, k)
		}
	})
	if len(keys) == 0 {
		d.Bad("Expected a sort criterion")
	}
	return keys
}

// PartialRange is a part of a result: its first and last place, counted from 1, or with both below zero
// from the end (RFC 9394 §4, partial-range). Either may be the greater.
type PartialRange struct{ First, Last int64 }

// PartialRange reads a partial-range.
func (d *Decoder) PartialRange() PartialRange {
	var r PartialRange
	back := d.Try('-')
	r.First = int64(d.NonZero())
	d.Expect(':')
	if back {
		d.Expect('-')
	}
	r.Last = int64(d.NonZero())
	if back {
		r.First, r.Last = -r.First, -r.Last
	}
	return r
}

// Of returns which of n results the range names: those with index from up to and without to.
func (r PartialRange) Of(n int) (from, to int) {
	lo, hi := min(r.First, r.Last), max(r.First, r.Last)
	if r.First < 0 {
		lo, hi = lo+int64(n)+1, hi+int64(n)+1
	}
	lo, hi = max(lo, 1), min(hi, int64(n))
	if lo > hi {
		return 0, 0
	}
	return int(lo) - 1, int(hi)
}

// Append writes the range as the client wrote it.
func (r PartialRange) Append(dst []byte) []byte {
	dst = append(strconv.AppendInt(dst, r.First, 10), ':')
	return strconv.AppendInt(dst, r.Last, 10)
}

// OrderBuilder gathers numbers in any order into a sequence-set that keeps it: only what follows
// upwards, one by one, becomes a range (RFC 5267 §3.2).
type OrderBuilder struct{ Ranges []Range }

// Add appends n.
func (b *OrderBuilder) Add(n uint32) {
	if last := len(b.Ranges) - 1; last >= 0 && n == b.Ranges[last].Stop+1 {
		b.Ranges[last].Stop = n
		return
	}
	b.Ranges = append(b.Ranges, Range{n, n})
}

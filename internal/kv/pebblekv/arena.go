package pebblekv

import "sync"

// arena holds copies of values until a transaction ends. Holding what Pebble returned would hold a
// few kilobytes of iterator with every value.
type arena struct{ block *[]byte }

const arenaBlock = 16 << 10

var arenaPool = sync.Pool{New: func() any {
	b := make([]byte, 0, arenaBlock)
	return &b
}}

// add returns a copy of v, never nil. Nobody can append to it without copying.
func (a *arena) add(v []byte) []byte {
	n := len(v)
	if n > arenaBlock/4 {
		return append(make([]byte, 0, n), v...)
	}
	if a.block == nil || arenaBlock-len(*a.block) < n {
		a.block = arenaPool.Get().(*[]byte) // a full block stays with the values in it
	}
	from := len(*a.block)
	*a.block = append(*a.block, v...)
	return (*a.block)[from : from+n : from+n]
}

// release makes the last block free for the next transaction.
func (a *arena) release() {
	if a.block != nil {
		*a.block = (*a.block)[:0]
		arenaPool.Put(a.block)
		a.block = nil
	}
}

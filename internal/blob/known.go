package blob

import (
	"encoding/binary"
	"math/bits"
	"sync/atomic"

	"tram/internal/kv"
)

// known is what this process has found out about bodies by reading them: which ones have been
// compared with their SHA-256, and the plain bytes of short ones that are read again and again. A
// body never changes and its ID is never reused, so none of it can become wrong.
//
// What the comparison is for: the CRC-32C of a chunk, which covers its place too and is checked at
// each read, and the checksum of the engine's block under it, checked whenever the block comes from
// the disk, find what a disk does to bytes. The SHA-256 finds what happened before them: a codec
// that packed or unpacks wrongly, memory that failed while the message came in, chunks that belong
// together and are not all there. That cannot change between two reads of one process, so one
// comparison finds it; Verify, which the deep check uses, compares every time.
type known struct {
	// pages are made when they are first needed: a process that reads little pays for little.
	pages  [knownPages]atomic.Pointer[[knownPage]atomic.Uint64]
	bodies *kv.Cache[ID, knownBody]
}

const (
	knownPages = 128
	knownPage  = 1024 // so that the last 131,072 bodies are known, at 8 bytes each
	// knownBytes bounds the bodies that are kept, all of one chunk.
	knownBytes = 64 << 20
	// knownRow is about what a kept body takes beside its bytes.
	knownRow = 160
)

type knownBody struct {
	plain []byte
	sum   [32]byte
}

func newKnown() *known { return &known{bodies: kv.NewCache[ID, knownBody](knownBytes)} }

// mark returns the place of ref and the number that stands there when ref is known. The number is
// as good as random: that of another body at the same place would have to agree in all 64 bits.
func mark(ref *Ref) (place, tag uint64) {
	const odd = 0x9E3779B97F4A7C15
	tag = uint64(ref.Size)
	mix := func(b []byte) {
		for ; len(b) >= 8; b = b[8:] {
			tag = bits.RotateLeft64(tag*odd, 29) ^ binary.BigEndian.Uint64(b)
		}
	}
	mix(ref.ID[:])
	mix(ref.SHA256[:])
	return tag * odd >> (64 - 17), max(tag, 1) // an empty place has 0
}

// compared reports whether the body was compared with its SHA-256, as far as is remembered.
func (k *known) compared(ref *Ref) bool {
	place, tag := mark(ref)
	page := k.pages[place/knownPage].Load()
	return page != nil && page[place%knownPage].Load() == tag
}

// remember takes note that the body is the one that ref means.
func (k *known) remember(ref *Ref) {
	place, tag := mark(ref)
	p := &k.pages[place/knownPage]
	page := p.Load()
	if page == nil {
		if page = new([knownPage]atomic.Uint64); !p.CompareAndSwap(nil, page) {
			page = p.Load()
		}
	}
	page[place%knownPage].Store(tag)
}

// body returns the bytes of a kept body, or nil. They must not be changed.
func (k *known) body(ref *Ref) []byte {
	b, ok := k.bodies.Get(ref.ID)
	if !ok || b.sum != ref.SHA256 || int64(len(b.plain)) != ref.Size {
		return nil
	}
	return b.plain
}

// keep keeps a copy of a body for who reads it next.
func (k *known) keep(ref *Ref, plain []byte) {
	b := knownBody{plain: append(make([]byte, 0, len(plain)), plain...), sum: ref.SHA256}
	k.bodies.Put(ref.ID, b, int64(len(plain))+knownRow)
}

// Rest gives the memory of bodies back that nobody has read for a while. It is to be called every
// few minutes.
func (s *Store) Rest() { s.known.bodies.Age() }

// CacheBytes is what bodies take that are kept in memory for who reads them next.
func (s *Store) CacheBytes() int64 { return s.known.bodies.Bytes() }

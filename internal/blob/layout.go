package blob

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"time"

	"tram/internal/kv"
)

// On disk, all in key space 'b':
//
//	'b' 'c' ID(16) index(4)    chunk: flag(1) crc(4) payload
//	'b' 'r' ID(16) owner       reference: 01 while the owner refers to the body,
//	                           else 00 and the time of the Unlink (8)
//	'b' 'g' time(8) ID(16)     candidate for removal, no value: the body may be unreferenced since time
//
// Numbers are big endian, times milliseconds since 1970. Chunk 0 holds the first 32 KiB of the
// body, each later one 256 KiB, the last what is left; an empty body has none. flag 0: payload is
// the bytes themselves; 1: they are a zstd frame; 2: they are a block of S2, the extension of
// Snappy. crc is the CRC-32C of the chunk's key, its flag and its payload, so that a chunk in a
// wrong place is found as well.
const (
	space          = 'b'
	chunkSpace     = 'c'
	refSpace       = 'r'
	candidateSpace = 'g'

	firstChunk = 32 << 10  // header and text of most mail: one read
	laterChunk = 256 << 10 // a 40 MB attachment has 160 of them

	flagRaw  = 0
	flagZstd = 1
	flagS2   = 2

	recordHeader = 5 // flag and crc
	chunkKeySize = 2 + 16 + 4
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func chunkKey(id ID, index int) []byte {
	k := make([]byte, 0, chunkKeySize)
	k = append(append(k, space, chunkSpace), id[:]...)
	return binary.BigEndian.AppendUint32(k, uint32(index))
}

// chunkPrefix is the beginning of the keys of all chunks of id.
func chunkPrefix(id ID) []byte { return append([]byte{space, chunkSpace}, id[:]...) }

func refKey(id ID, owner []byte) []byte {
	k := make([]byte, 0, 2+16+len(owner))
	k = append(append(k, space, refSpace), id[:]...)
	return append(k, owner...)
}

func candidateKey(t time.Time, id ID) []byte {
	k := make([]byte, 0, 2+8+16)
	k = append(k, space, candidateSpace)
	k = binary.BigEndian.AppendUint64(k, uint64(t.UnixMilli()))
	return append(k, id[:]...)
}

func parseCandidate(key []byte) (t time.Time, id ID, err error) {
	if len(key) != 2+8+16 {
		return t, id, fmt.Errorf("read candidate key %x: %w", key, kv.ErrCorrupt)
	}
	copy(id[:], key[10:])
	return time.UnixMilli(int64(binary.BigEndian.Uint64(key[2:]))), id, nil
}

const refLive = 1

// deadRef is the value of a reference that was taken away at t.
func deadRef(t time.Time) []byte {
	return binary.BigEndian.AppendUint64([]byte{0}, uint64(t.UnixMilli()))
}

// parseRefState returns whether a reference stands and, if not, since when.
func parseRefState(value []byte) (live bool, since time.Time, err error) {
	switch {
	case len(value) == 1 && value[0] == refLive:
		return true, since, nil
	case len(value) == 9 && value[0] == 0:
		return false, time.UnixMilli(int64(binary.BigEndian.Uint64(value[1:]))), nil
	}
	return false, since, fmt.Errorf("read reference state %x: %w", value, kv.ErrCorrupt)
}

// chunkSize is how many bytes chunk index holds when it is full.
func chunkSize(index int) int {
	if index == 0 {
		return firstChunk
	}
	return laterChunk
}

// chunkAt returns which chunk holds the byte at off and where that chunk begins.
func chunkAt(off int64) (index int, start int64) {
	if off < firstChunk {
		return 0, 0
	}
	n := (off - firstChunk) / laterChunk
	return int(n) + 1, firstChunk + n*laterChunk
}

// chunkLen is how many bytes of a body of the given size are in the chunk that begins at start.
func chunkLen(index int, start, size int64) int {
	return int(min(int64(chunkSize(index)), size-start))
}

// seal writes flag and checksum into the first five bytes of a chunk record whose payload stands.
func seal(record []byte, id ID, index int, flag byte) {
	record[0] = flag
	binary.BigEndian.PutUint32(record[1:], chunkSum(record, id, index))
}

// intact reports whether a chunk record belongs to this place and is what was written.
func intact(record []byte, id ID, index int) bool {
	return len(record) >= recordHeader &&
		binary.BigEndian.Uint32(record[1:]) == chunkSum(record, id, index)
}

func chunkSum(record []byte, id ID, index int) uint32 {
	var place [chunkKeySize + 1]byte
	place[0], place[1] = space, chunkSpace
	copy(place[2:], id[:])
	binary.BigEndian.PutUint32(place[18:], uint32(index))
	place[chunkKeySize] = record[0]
	return crc32.Update(crc32.Checksum(place[:], castagnoli), castagnoli, record[recordHeader:])
}

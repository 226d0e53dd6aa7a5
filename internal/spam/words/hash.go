package words

import (
	"encoding/binary"
	"math/bits"
)

// sipKey is the secret by which words become numbers. Without it nobody can tell which word a stored
// number stands for, nor make words that meet in one number.
type sipKey struct{ k0, k1 uint64 }

// newKey reads a key from 16 bytes.
func newKey(b [16]byte) sipKey {
	return sipKey{binary.LittleEndian.Uint64(b[:8]), binary.LittleEndian.Uint64(b[8:])}
}

// sum is SipHash-1-3 of b, begun with a kind, so that the same word in a subject is another word.
func (k sipKey) sum(kind byte, b []byte) uint64 {
	v0, v1 := k.k0^0x736f6d6570736575, k.k1^0x646f72616e646f6d
	v2, v3 := k.k0^0x6c7967656e657261, k.k1^0x7465646279746573^uint64(kind)<<32
	round := func(m uint64) {
		v3 ^= m
		v0 += v1
		v1 = bits.RotateLeft64(v1, 13) ^ v0
		v0 = bits.RotateLeft64(v0, 32)
		v2 += v3
		v3 = bits.RotateLeft64(v3, 16) ^ v2
		v0 += v3
		v3 = bits.RotateLeft64(v3, 21) ^ v0
		v2 += v1
		v1 = bits.RotateLeft64(v1, 17) ^ v2
		v2 = bits.RotateLeft64(v2, 32)
		v0 ^= m
	}
	n := len(b)
	for len(b) >= 8 {
		round(binary.LittleEndian.Uint64(b))
		b = b[8:]
	}
	last := uint64(n) << 56
	for i, c := range b {
		last |= uint64(c) << (8 * i)
	}
	round(last)
	v2 ^= 0xff
	round(0)
	round(0)
	round(0)
	return v0 ^ v1 ^ v2 ^ v3
}

// pair makes one number of two words in their order. The numbers of the words are secret, so that one
// multiplication is enough.
func (k sipKey) pair(first, second uint64) uint64 {
	hi, lo := bits.Mul64(first^k.k0, second^k.k1)
	return hi ^ lo
}

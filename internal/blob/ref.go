package blob

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"time"

	"tram/internal/kv"
)

// ID names a body: the time of its creation in milliseconds since 1970 (6 bytes, big endian), then
// 10 random bytes. Bodies of one time lie together on disk.
type ID [16]byte

// String returns the ID in hexadecimal.
func (id ID) String() string { return hex.EncodeToString(id[:]) }

// Time returns when the body was created.
func (id ID) Time() time.Time {
	var b [8]byte
	copy(b[2:], id[:6])
	return time.UnixMilli(int64(binary.BigEndian.Uint64(b[:])))
}

// Ref is all that is needed to read a body. Whoever refers to a body keeps its Ref.
type Ref struct {
	ID     ID
	Size   int64 // bytes
	SHA256 [32]byte
}

// RefSize is the length of a Ref's stored form.
const RefSize = 56

// AppendBinary appends the stored form: ID (16 bytes), Size (8, big endian), SHA256 (32).
func (r Ref) AppendBinary(dst []byte) []byte {
	dst = append(dst, r.ID[:]...)
	dst = binary.BigEndian.AppendUint64(dst, uint64(r.Size))
	return append(dst, r.SHA256[:]...)
}

// ParseRef reads what AppendBinary wrote. Any other length, or a negative size, is kv.ErrCorrupt.
func ParseRef(b []byte) (Ref, error) {
	var r Ref
	if len(b) != RefSize {
		return r, fmt.Errorf("read blob reference of %d bytes: %w", len(b), kv.ErrCorrupt)
	}
	copy(r.ID[:], b)
	r.Size = int64(binary.BigEndian.Uint64(b[16:]))
	copy(r.SHA256[:], b[24:])
	if r.Size < 0 {
		return Ref{}, fmt.Errorf("read blob reference of size %d: %w", r.Size, kv.ErrCorrupt)
	}
	return r, nil
}

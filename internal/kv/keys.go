package kv

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

// The functions below build keys whose byte order is the order of what they hold. Each Append
// function has a Take function that reads the field back and returns what follows it.
//
//	uint64, uint32   big endian, 8 and 4 bytes
//	string, []byte   each 00 as 00 ff, then the terminator 00 01: "a" < "a\x00" < "aa" whatever follows

const (
	escapeByte = 0x00
	escaped00  = 0xff
	terminator = 0x01
)

// AppendUint64 appends v in 8 bytes.
func AppendUint64(dst []byte, v uint64) []byte { return binary.BigEndian.AppendUint64(dst, v) }

// AppendUint32 appends v in 4 bytes.
func AppendUint32(dst []byte, v uint32) []byte { return binary.BigEndian.AppendUint32(dst, v) }

// AppendString appends s escaped and terminated, so that no other string's form is a prefix of it.
func AppendString(dst []byte, s string) []byte {
	for i := 0; i < len(s); i++ {
		dst = append(dst, s[i])
		if s[i] == escapeByte {
			dst = append(dst, escaped00)
		}
	}
	return append(dst, escapeByte, terminator)
}

// AppendBytes appends b in the form of AppendString.
func AppendBytes(dst, b []byte) []byte {
	for _, c := range b {
		dst = append(dst, c)
		if c == escapeByte {
			dst = append(dst, escaped00)
		}
	}
	return append(dst, escapeByte, terminator)
}

// TakeUint64 reads what AppendUint64 wrote and returns the rest of b. A short b is ErrCorrupt.
func TakeUint64(b []byte) (v uint64, rest []byte, err error) {
	if len(b) < 8 {
		return 0, nil, shortKey("8-byte number", b)
	}
	return binary.BigEndian.Uint64(b), b[8:], nil
}

// TakeUint32 reads what AppendUint32 wrote and returns the rest of b. A short b is ErrCorrupt.
func TakeUint32(b []byte) (v uint32, rest []byte, err error) {
	if len(b) < 4 {
		return 0, nil, shortKey("4-byte number", b)
	}
	return binary.BigEndian.Uint32(b), b[4:], nil
}

// TakeString reads what AppendString wrote and returns the rest of b. A string without its
// terminator, or with an escape that is not defined, is ErrCorrupt.
func TakeString(b []byte) (s string, rest []byte, err error) {
	v, rest, err := TakeBytes(b)
	return string(v), rest, err
}

// TakeBytes reads what AppendBytes or AppendString wrote and returns the rest of b. The value may
// share b's memory.
func TakeBytes(b []byte) (v, rest []byte, err error) {
	i := bytes.IndexByte(b, escapeByte)
	if i >= 0 && i+1 < len(b) && b[i+1] == terminator {
		return b[:i:i], b[i+2:], nil
	}
	var out []byte
	for from := b; ; {
		i := bytes.IndexByte(from, escapeByte)
		if i < 0 || i+1 >= len(from) {
			return nil, nil, shortKey("string", b)
		}
		out = append(out, from[:i]...)
		switch from[i+1] {
		case terminator:
			return out, from[i+2:], nil
		case escaped00:
			out = append(out, escapeByte)
		default:
			return nil, nil, shortKey("string", b)
		}
		from = from[i+2:]
	}
}

func shortKey(want string, b []byte) error {
	return fmt.Errorf("read %s of key %x: %w", want, b, ErrCorrupt)
}

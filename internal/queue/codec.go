package queue

import (
	"encoding/binary"
	"fmt"
	"math"
	"time"

	"tram/internal/kv"
)

// encoder appends the fields of a stored row: unsigned and zigzag varints, strings with their
// length before them.
type encoder struct{ b []byte }

func (e *encoder) byte(v byte)      { e.b = append(e.b, v) }
func (e *encoder) uint(v uint64)    { e.b = binary.AppendUvarint(e.b, v) }
func (e *encoder) int(v int64)      { e.b = binary.AppendVarint(e.b, v) }
func (e *encoder) time(v time.Time) { e.int(unixSeconds(v)) }
func (e *encoder) string(v string)  { e.uint(uint64(len(v))); e.b = append(e.b, v...) }
func (e *encoder) bits(v ...bool) {
	var n uint64
	for i, bit := range v {
		if bit {
			n |= 1 << i
		}
	}
	e.uint(n)
}

// decoder reads what an encoder wrote. Its error is sticky; after one, everything reads as zero.
type decoder struct {
	b   []byte
	err error
}

func (d *decoder) fail(what string) {
	if d.err == nil {
		d.err = fmt.Errorf("queue row, %s with %d octets left: %w", what, len(d.b), kv.ErrCorrupt)
	}
	d.b = nil
}

func (d *decoder) byte() byte {
	if len(d.b) == 0 {
		d.fail("octet")
		return 0
	}
	v := d.b[0]
	d.b = d.b[1:]
	return v
}

func (d *decoder) uint() uint64 {
	v, n := binary.Uvarint(d.b)
	if n <= 0 {
		d.fail("number")
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) int() int64 {
	v, n := binary.Varint(d.b)
	if n <= 0 {
		d.fail("number")
		return 0
	}
	d.b = d.b[n:]
	return v
}

// small reads a number that fits an int32.
func (d *decoder) small() int {
	v := d.uint()
	if v > math.MaxInt32 {
		d.fail("number too large")
		return 0
	}
	return int(v)
}

func (d *decoder) time() time.Time { return fromUnix(d.int()) }

func (d *decoder) string() string { return string(d.bytes(d.uint())) }

func (d *decoder) bytes(n uint64) []byte {
	if n > uint64(len(d.b)) {
		d.fail("string")
		return nil
	}
	v := d.b[:n]
	d.b = d.b[n:]
	return v
}

// count reads how many things follow, each of at least one octet.
func (d *decoder) count() int {
	n := d.uint()
	if n > uint64(len(d.b)) {
		d.fail("count")
		return 0
	}
	return int(n)
}

func (d *decoder) version() {
	if v := d.byte(); d.err == nil && v != version {
		d.err = fmt.Errorf("queue row of version %d: %w", v, kv.ErrCorrupt)
		d.b = nil
	}
}

// done returns the first error; what is left over is one.
func (d *decoder) done() error {
	if d.err == nil && len(d.b) > 0 {
		d.fail("end")
	}
	return d.err
}

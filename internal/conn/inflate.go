package conn

import (
	"errors"
	"math/bits"
	"sync"
)

// ErrDeflate: what came is not a DEFLATE stream, or not where one was to end. The session must end.
var ErrDeflate = errors.New("malformed DEFLATE data")

// windowSize is how far back a DEFLATE stream may refer, RFC 1951 §2.
const windowSize = 32 << 10

// inflater decodes a DEFLATE stream (RFC 1951) that never ends and is flushed now and then. It gives
// out every byte as soon as the bits of it are there: whether the other side ends a command with
// zlib's Z_SYNC_FLUSH, Z_PARTIAL_FLUSH or Z_BLOCK is all the same. The inflaters of the standard
// library and its kin wait for the flush to end on a byte, or for a full window.
//
// Between two calls it holds what was said so far, up to windowSize, and inside of a block whose
// codes are not the fixed ones its tables.
type inflater struct {
	bits  uint64 // the next bits of the stream, from the lowest
	nbits uint
	state inflateState
	final bool // the block is the last one
	empty bool // the block has given nothing yet
	// edge: the stream stands behind a flush or behind its end. Between here and the next byte
	// of the input there is nothing but filling.
	edge   bool
	stored int // bytes left in a stored block
	length int // bytes left of a match
	dist   int // how far back it lies
	codes  *codes

	window []byte // the last output, a ring once it is full
	pos    int    // where the ring begins
}

type inflateState uint8

const (
	blockHead inflateState = iota
	storedHead
	storedBody
	codesHead
	codesBody
	streamEnd
)

// codes are the two Huffman codes of a block.
type codes struct {
	lit, dist huffman
	reading   codeReader
}

var codesPool = sync.Pool{New: func() any { return new(codes) }}

// fixedCodes are those of RFC 1951 §3.2.6.
var fixedCodes = sync.OnceValue(func() *codes {
	var lengths [320]uint8
	for i := range 288 {
		switch {
		case i < 144:
			lengths[i] = 8
		case i < 256:
			lengths[i] = 9
		case i < 280:
			lengths[i] = 7
		default:
			lengths[i] = 8
		}
	}
	for i := range 32 {
		lengths[288+i] = 5
	}
	c := new(codes)
	c.lit.build(lengths[:288])
	c.dist.build(lengths[288:])
	return c
})

// inflate decodes src into dst and returns how much of both it used. It comes back when dst is full,
// when src is used up, and at each edge: behind a flush, and at the stream's end. Bits of src that
// are not enough for anything yet are kept and count as used. ErrDeflate.
func (z *inflater) inflate(dst, src []byte) (n, used int, err error) {
	if len(dst) == 0 {
		return 0, 0, nil
	}
	z.edge = z.edge && len(src) == 0
	for err == nil && !z.edge && n < len(dst) {
		used += z.refill(src[used:])
		var wrote int
		var more bool
		switch z.state {
		case blockHead:
			more, err = z.head()
		case storedHead:
			more, err = z.storedHead()
		case storedBody:
			var took int
			wrote, took = z.copyStored(dst[n:], src[used:])
			used += took
			more = wrote == 0 && z.state == storedBody
		case codesHead:
			more, err = z.readCodes()
		case codesBody:
			wrote, more, err = z.decode(dst, n)
		case streamEnd:
			z.edge = true
		}
		n += wrote
		if more && used == len(src) {
			break
		}
	}
	if z.edge || n == len(dst) {
		// Whole bytes that were not needed go back: behind an edge they may be of another kind.
		back := min(int(z.nbits/8), used)
		used -= back
		z.nbits -= uint(back) * 8
		z.bits &= 1<<z.nbits - 1
	}
	z.remember(dst[:n])
	return n, used, err
}

// refill takes whole bytes as long as there is room for them.
func (z *inflater) refill(src []byte) (took int) {
	for z.nbits <= 56 && took < len(src) {
		z.bits |= uint64(src[took]) << z.nbits
		z.nbits += 8
		took++
	}
	return took
}

// take removes n bits, which must be there.
func (z *inflater) take(n uint) int {
	v := int(z.bits & (1<<n - 1))
	z.bits >>= n
	z.nbits -= n
	return v
}

// head begins a block. more asks for more input.
func (z *inflater) head() (more bool, err error) {
	if z.nbits < 3 {
		return true, nil
	}
	z.final = z.take(1) == 1
	z.empty = true
	switch z.take(2) {
	case 0:
		z.take(z.nbits % 8)
		z.state = storedHead
	case 1:
		z.codes, z.state = fixedCodes(), codesBody
	case 2:
		z.codes, z.state = codesPool.Get().(*codes), codesHead
		z.codes.reading = codeReader{}
	default:
		return false, ErrDeflate
	}
	return false, nil
}

// storedHead reads the length of a stored block. An empty one is a flush.
func (z *inflater) storedHead() (more bool, err error) {
	if z.nbits < 32 {
		return true, nil
	}
	z.stored = z.take(16)
	if z.take(16) != z.stored^0xffff {
		return false, ErrDeflate
	}
	z.empty = z.stored == 0
	if z.stored > 0 {
		z.state = storedBody
		return false, nil
	}
	z.endBlock()
	return false, nil
}

// copyStored copies from the bytes that were read ahead, and then from src.
func (z *inflater) copyStored(dst, src []byte) (wrote, took int) {
	dst = dst[:min(len(dst), z.stored)]
	for wrote < len(dst) && z.nbits >= 8 {
		dst[wrote] = byte(z.take(8))
		wrote++
	}
	took = copy(dst[wrote:], src)
	wrote += took
	z.stored -= wrote
	if z.stored == 0 {
		z.endBlock()
	}
	return wrote, took
}

// endBlock goes on behind a block. That an empty one is the sign of a flush is zlib's custom:
// Z_SYNC_FLUSH ends in an empty stored block, Z_PARTIAL_FLUSH in an empty one with fixed codes.
func (z *inflater) endBlock() {
	z.dropCodes()
	z.state = blockHead
	z.edge = z.empty
	if z.final {
		z.state, z.edge = streamEnd, true
	}
}

// atEdge reports whether the other side may have ended its stream with the last byte of the input.
// Z_PARTIAL_FLUSH leaves it inside of an empty block, of whose last bits only some make up a byte.
func (z *inflater) atEdge() bool {
	return z.edge || z.state == codesBody && z.empty && !z.final && z.codes == fixedCodes()
}

func (z *inflater) dropCodes() {
	if z.codes != nil && z.codes != fixedCodes() {
		codesPool.Put(z.codes)
	}
	z.codes = nil
}

// The lengths and distances of RFC 1951 §3.2.5: the smallest of each symbol, and its further bits.
var (
	lengthBase = [29]uint16{3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15, 17, 19, 23, 27, 31, 35, 43, 51, 59,
		67, 83, 99, 115, 131, 163, 195, 227, 258}
	lengthBits = [29]uint8{0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4,
		5, 5, 5, 5, 0}
	distBase = [30]uint16{1, 2, 3, 4, 5, 7, 9, 13, 17, 25, 33, 49, 65, 97, 129, 193, 257, 385, 513,
		769, 1025, 1537, 2049, 3073, 4097, 6145, 8193, 12289, 16385, 24577}
	distBits = [30]uint8{0, 0, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 8, 9, 9, 10, 10,
		11, 11, 12, 12, 13, 13}
)

const endOfBlock = 256

// decode decodes symbols into dst[n:] until dst is full, the block ends or the bits run out. One
// round of refilling is enough for one symbol, with the distance that belongs to it.
func (z *inflater) decode(dst []byte, n int) (wrote int, more bool, err error) {
	start := n
	for n < len(dst) {
		if z.length > 0 {
			n += z.copyMatch(dst, n)
			continue
		}
		if z.nbits < 48 && n > start {
			return n - start, false, nil // refill first
		}
		bits, nbits := z.bits, z.nbits
		sym := z.symbol(&z.codes.lit)
		switch {
		case sym == tooShort:
			return n - start, true, nil
		case sym < 0:
			return 0, false, ErrDeflate
		case sym < endOfBlock:
			dst[n] = byte(sym)
			n++
			z.empty = false
			continue
		case sym == endOfBlock:
			z.endBlock()
			return n - start, false, nil
		}
		switch err := z.match(sym - endOfBlock - 1); {
		case err == errTooShort: // the whole symbol again, when there is more
			z.bits, z.nbits = bits, nbits
			return n - start, true, nil
		case err != nil:
			return 0, false, err
		}
		if z.dist > n+len(z.window) {
			return 0, false, ErrDeflate
		}
		z.empty = false
	}
	return n - start, false, nil
}

// errTooShort: the bits of a match are not all there. It stays in this file.
var errTooShort = errors.New("too few bits")

// match reads the rest of a match's length and its distance.
func (z *inflater) match(sym int) error {
	if sym >= len(lengthBase) {
		return ErrDeflate
	}
	extra := uint(lengthBits[sym])
	if z.nbits < extra {
		return errTooShort
	}
	length := int(lengthBase[sym]) + z.take(extra)
	sym = z.symbol(&z.codes.dist)
	switch {
	case sym == tooShort:
		return errTooShort
	case sym < 0 || sym >= len(distBase):
		return ErrDeflate
	}
	if extra = uint(distBits[sym]); z.nbits < extra {
		return errTooShort
	}
	z.dist = int(distBase[sym]) + z.take(extra)
	z.length = length
	return nil
}

// copyMatch copies as much of a match as fits behind dst[:n].
func (z *inflater) copyMatch(dst []byte, n int) int {
	from := n
	for n < len(dst) && z.length > 0 && z.dist > n {
		dst[n] = z.back(z.dist - n)
		n++
		z.length--
	}
	for n < len(dst) && z.length > 0 { // a match may reach into itself
		k := min(z.length, len(dst)-n, z.dist)
		copy(dst[n:n+k], dst[n-z.dist:])
		n += k
		z.length -= k
	}
	return n - from
}

// back returns the byte that lies so far back in the window.
func (z *inflater) back(dist int) byte {
	i := z.pos + len(z.window) - dist
	if i >= len(z.window) {
		i -= len(z.window)
	}
	return z.window[i]
}

// remember adds output to the window, which takes no more room than there was output.
func (z *inflater) remember(p []byte) {
	if len(p) >= windowSize {
		p = p[len(p)-windowSize:]
		z.window, z.pos = z.window[:0], 0
	}
	if room := min(windowSize-len(z.window), len(p)); room > 0 {
		if need := len(z.window) + room; need > cap(z.window) {
			larger := make([]byte, len(z.window), min(windowSize, max(256, need+need/4)))
			copy(larger, z.window)
			z.window = larger
		}
		z.window = append(z.window, p[:room]...)
		p = p[room:]
	}
	for len(p) > 0 {
		k := copy(z.window[z.pos:], p)
		z.pos = (z.pos + k) % windowSize
		p = p[k:]
	}
}

// fastBits is the length of codes that are found in one step.
const fastBits = 9

// huffman decodes one prefix code.
type huffman struct {
	fast    [1 << fastBits]uint16 // symbol<<4 | length, 0 for longer codes
	count   [16]uint16            // codes of each length
	symbols [288]uint16           // in the order of their codes
}

// build makes the code with these lengths, and reports whether there is one: all bit patterns must
// mean something, but for the code of a single symbol, or of none (zlib accepts just that, too).
func (h *huffman) build(lengths []uint8) bool {
	*h = huffman{}
	for _, l := range lengths {
		h.count[l]++
	}
	used := len(lengths) - int(h.count[0])
	h.count[0] = 0
	left := 1
	var offset, code [17]int
	for l := 1; l <= 15; l++ {
		left = left<<1 - int(h.count[l])
		if left < 0 {
			return false
		}
		offset[l+1] = offset[l] + int(h.count[l])
		code[l+1] = (code[l] + int(h.count[l])) << 1
	}
	if left > 0 && (used > 1 || used == 1 && h.count[1] != 1) {
		return false
	}
	for sym, l := range lengths {
		if l == 0 {
			continue
		}
		h.symbols[offset[l]] = uint16(sym)
		offset[l]++
		if l <= fastBits {
			reversed := int(bits.Reverse16(uint16(code[l])) >> (16 - l))
			for i := reversed; i < len(h.fast); i += 1 << l {
				h.fast[i] = uint16(sym)<<4 | uint16(l)
			}
		}
		code[l]++
	}
	return true
}

// What symbol returns instead of one.
const (
	tooShort  = -1 // the code is not all there
	noneAtAll = -2 // no code begins so
)

// symbol reads one symbol.
func (z *inflater) symbol(h *huffman) int {
	if e := h.fast[z.bits&(1<<fastBits-1)]; e != 0 {
		if uint(e&15) > z.nbits {
			return tooShort
		}
		z.take(uint(e & 15))
		return int(e >> 4)
	}
	code, first, index := 0, 0, 0
	for l := uint(1); l <= 15; l++ {
		if l > z.nbits {
			return tooShort
		}
		code |= int(z.bits>>(l-1)) & 1
		count := int(h.count[l])
		if code-count < first {
			z.take(l)
			return int(h.symbols[index+code-first])
		}
		index += count
		first = (first + count) << 1
		code <<= 1
	}
	return noneAtAll
}

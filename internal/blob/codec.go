package blob

import (
	"fmt"
	"slices"

	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
)

// codec compresses chunks where it pays. It is safe for concurrent use; its encoders and decoders
// are made when they are first needed, one for each processor at most.
//
// What pays was measured on the mail of public test corpora, in CPU time of one core:
//
//	chunk             S2                      zstd, fastest level
//	1.4 kB of mail    to 71 % in   2.4 µs     to 56 % in  16 µs
//	3 kB of mail      to 57 % in   5.0 µs     to 44 % in  22 µs
//	10 kB of mail     to 43 % in  15 µs       to 34 % in  59 µs
//	24 kB of mail     to 27 % in  27 µs       to 21 % in  92 µs
//	32 kB of HTML     to 21 % in  37 µs       to 14 % in  90 µs
//	256 kB base64     none in 18 µs           none in 52 µs; entropy coding alone: to 76 % in 459 µs
//
// A byte saved here is saved in the log, in memory, in the value file and in the backup; it saves
// hardly any CPU time. So chunks below zstdFrom, which most mail is and somebody waits for, take
// S2, and zstd has the long ones that compress well, where space counts, or are seen through at
// once. Entropy coding of base64 costs more than it saves. Reading back takes a third of the time
// of writing.
type codec struct {
	enc *zstd.Encoder
	dec *zstd.Decoder
}

const (
	// compressFrom is the length below which a chunk is not worth a try.
	compressFrom = 1 << 10
	// zstdFrom is the length from which zstd is tried, not S2.
	zstdFrom = 64 << 10
	// worth is the share of a chunk, in 1/8, that compression must save to be kept.
	worth = 1
)

func newCodec() *codec {
	// The options are constants: they cannot be refused.
	enc, _ := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest),
		zstd.WithEncoderCRC(false), zstd.WithWindowSize(laterChunk),
		zstd.WithLowerEncoderMem(true), zstd.WithSingleSegment(true))
	dec, _ := zstd.NewReader(nil, zstd.WithDecoderConcurrency(0), zstd.WithDecoderLowmem(true),
		zstd.WithDecoderMaxMemory(laterChunk), zstd.WithDecoderMaxWindow(laterChunk))
	return &codec{enc: enc, dec: dec}
}

// compress appends plain to dst in compressed form and returns the form, or flagRaw and dst as it
// was when that would not save an eighth.
func (c *codec) compress(dst, plain []byte) ([]byte, byte) {
	if len(plain) < compressFrom || looksRandom(plain) {
		return dst, flagRaw
	}
	var out []byte
	form := byte(flagS2)
	if len(plain) < zstdFrom {
		room := slices.Grow(dst, s2.MaxEncodedLen(len(plain)))
		packed := s2.Encode(room[len(dst):cap(room)], plain)
		out = room[:len(dst)+len(packed)]
	} else {
		form = flagZstd
		out = c.enc.EncodeAll(plain, dst)
	}
	if len(out)-len(dst) > len(plain)-len(plain)*worth/8 {
		return dst, flagRaw
	}
	return out, form
}

// expand appends what compress made to dst, which must have room for size bytes. Any other size is
// an error.
func (c *codec) expand(dst, packed []byte, form byte, size int) ([]byte, error) {
	var plain []byte
	var err error
	if form == flagS2 {
		// The length is asked first: memory is not taken on the word of a damaged chunk.
		if n, err := s2.DecodedLen(packed); err != nil || n != size {
			return dst, fmt.Errorf("decompress chunk: %d bytes where %d were expected", n, size)
		}
		plain, err = s2.Decode(dst[len(dst):cap(dst)], packed)
	} else if plain, err = c.dec.DecodeAll(packed, dst[len(dst):]); err == nil && len(plain) != size {
		err = fmt.Errorf("%d bytes where %d were expected", len(plain), size)
	}
	if err != nil {
		return dst, fmt.Errorf("decompress chunk: %w", err)
	}
	return plain, nil
}

// plainSize is how many bytes an intact chunk record holds when it is opened, most at most. A form
// that does not tell is left to its decoder, which refuses what does not fit.
func plainSize(record []byte, most int) int {
	n, payload := most, record[recordHeader:]
	switch record[0] {
	case flagRaw:
		n = len(payload)
	case flagS2:
		if size, err := s2.DecodedLen(payload); err == nil {
			n = size
		}
	case flagZstd:
		var h zstd.Header
		if h.Decode(payload) == nil && h.HasFCS {
			n = int(min(h.FrameContentSize, uint64(most)))
		}
	}
	return min(n, most)
}

// looksRandom reports whether b is not worth compressing, by how often two bytes out of a sample of
// 1,024 are equal: 1 in 256 in random data, 1 in 64 in base64, 1 in 16 in text.
func looksRandom(b []byte) bool {
	const runs, run = 8, 128
	if len(b) < 4*runs*run {
		return false
	}
	var count [256]int
	for i := range runs {
		from := (len(b) - run) / (runs - 1) * i
		for _, c := range b[from : from+run] {
			count[c]++
		}
	}
	pairs := 0
	for _, n := range count {
		pairs += n * (n - 1)
	}
	return pairs*160 < runs*run*(runs*run-1)
}

package conn

import "sync"

// Two sizes of buffers are lent. The small one takes a pipelined group of commands or a small
// message in one read; the large one is borrowed by sessions that fill the small one.
const (
	smallBuffer = 8 << 10
	largeBuffer = 32 << 10
)

var (
	smallPool = sync.Pool{New: func() any { return new([smallBuffer]byte) }}
	largePool = sync.Pool{New: func() any { return new([largeBuffer]byte) }}
)

// borrow returns a buffer of the class, which is smallBuffer or largeBuffer, at its full length.
func borrow(class int) []byte {
	if class == largeBuffer {
		return largePool.Get().(*[largeBuffer]byte)[:]
	}
	return smallPool.Get().(*[smallBuffer]byte)[:]
}

// giveBack returns a borrowed buffer; buffers of other sizes are left to the collector.
func giveBack(b []byte) {
	switch cap(b) {
	case smallBuffer:
		smallPool.Put((*[smallBuffer]byte)(b[:smallBuffer]))
	case largeBuffer:
		largePool.Put((*[largeBuffer]byte)(b[:largeBuffer]))
	}
}

package blob

// Buffers of chunk records come in three sizes, so that a connection that sends its message one
// byte at a time holds 4 KiB and not a whole chunk.
const (
	smallBuffer = 4 << 10
	// What did not shrink while it was compressed fits, too.
	mediumBuffer = recordHeader + firstChunk + firstChunk/6 + 64
	largeBuffer  = recordHeader + laterChunk + laterChunk/6 + 64
)

func newBuffer(size int) func() any {
	return func() any {
		b := make([]byte, size)
		return &b
	}
}

// takeBuffer returns an empty buffer for at least n bytes.
func (s *Store) takeBuffer(n int) *[]byte {
	var b *[]byte
	switch {
	case n <= smallBuffer:
		b = s.small.Get().(*[]byte)
	case n <= mediumBuffer:
		b = s.medium.Get().(*[]byte)
	default:
		b = s.large.Get().(*[]byte)
	}
	*b = (*b)[:0]
	return b
}

// giveBuffer takes a buffer of takeBuffer back; nil is nothing.
func (s *Store) giveBuffer(b *[]byte) {
	if b == nil {
		return
	}
	switch cap(*b) {
	case smallBuffer:
		s.small.Put(b)
	case mediumBuffer:
		s.medium.Put(b)
	case largeBuffer:
		s.large.Put(b)
	}
}

// grow returns a buffer with the bytes of b and room for more, and takes b back.
func (s *Store) grow(b *[]byte) *[]byte {
	bigger := s.takeBuffer(cap(*b) + 1)
	*bigger = append(*bigger, *b...)
	s.giveBuffer(b)
	return bigger
}

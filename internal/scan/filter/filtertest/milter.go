package filtertest

import (
	"encoding/binary"
	"io"
	"net"
)

// Milter is a milter of version 6 that lets everything pass and answers the end of a message with packets, each a
// letter and its data.
func Milter(end ...string) func(net.Conn) {
	return func(c net.Conn) {
		for {
			var head [5]byte
			if _, err := io.ReadFull(c, head[:]); err != nil {
				return
			}
			if _, err := io.CopyN(io.Discard, c, int64(binary.BigEndian.Uint32(head[:]))-1); err != nil {
				return
			}
			answers := []string{"c"}
			switch head[4] {
			case 'O':
				answers = []string{"O\x00\x00\x00\x06\x00\x00\x00\x21\x00\x00\x00\x00"}
			case 'A', 'D': // they have no answer
				answers = nil
			case 'E':
				answers = end
			case 'Q':
				return
			}
			for _, a := range answers {
				if _, err := c.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(a))), a...)); err != nil {
					return
				}
			}
		}
	}
}

package filtertest

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"strings"
)

// Clamd is a small clamd. It knows one virus, the word EICAR, and takes streams up to most bytes.
func Clamd(most int) func(net.Conn) {
	return func(c net.Conn) {
		in := bufio.NewReader(c)
		number := 0
		for {
			cmd, err := in.ReadString(0)
			if err != nil {
				return
			}
			switch cmd {
			case "zIDSESSION\x00":
			case "zPING\x00":
				_, _ = io.WriteString(c, "PONG\x00")
			case "zVERSION\x00":
				_, _ = io.WriteString(c, "ClamAV 1.4.6/27000/Sun\x00")
			case "zEND\x00":
				return
			case "zINSTREAM\x00":
				number++
				text, ok := ReadStream(in, most)
				if !ok {
					_, _ = io.WriteString(c, "INSTREAM size limit exceeded. ERROR\x00")
					return
				}
				fmt.Fprintf(c, "%d: stream: %s\x00", number, verdict(text))
			default:
				_, _ = io.WriteString(c, "UNKNOWN COMMAND\x00")
			}
		}
	}
}

// ReadStream reads the chunks of INSTREAM; false: they are more than most bytes, or cut short.
func ReadStream(in *bufio.Reader, most int) (string, bool) {
	var text strings.Builder
	for {
		var head [4]byte
		if _, err := io.ReadFull(in, head[:]); err != nil {
			return "", false
		}
		n := int64(binary.BigEndian.Uint32(head[:]))
		if n == 0 {
			return text.String(), true
		}
		if text.Len()+int(n) > most {
			return "", false
		}
		if _, err := io.CopyN(&text, in, n); err != nil {
			return "", false
		}
	}
}

// verdict is the answer to a whole stream.
func verdict(text string) string {
	if strings.Contains(text, "EICAR") {
		return "Eicar-Test FOUND"
	}
	return "OK"
}

package milter

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
)

// What we send: commands.
const (
	cmdAbort     = 'A'
	cmdBody      = 'B'
	cmdConnect   = 'C'
	cmdMacro     = 'D'
	cmdBodyEnd   = 'E'
	cmdHelo      = 'H'
	cmdHeader    = 'L'
	cmdMail      = 'M'
	cmdHeaderEnd = 'N'
	cmdOptions   = 'O'
	cmdQuit      = 'Q'
	cmdRcpt      = 'R'
	cmdData      = 'T'
)

// What milters answer.
const (
	ansAddHeader    = 'h'
	ansInsertHeader = 'i'
	ansQuarantine   = 'q'
	ansAccept       = 'a'
	ansContinue     = 'c'
	ansDiscard      = 'd'
	ansConnFail     = 'f'
	ansProgress     = 'p'
	ansReject       = 'r'
	ansSkip         = 's'
	ansTempFail     = 't'
	ansReplyCode    = 'y'
	ansShutdown     = '4'
)

// What a milter may ask to do. Those that would change the stored bytes besides adding fields on top are
// not offered: see the package's comment.
const (
	actAddHeaders = 0x01
	actQuarantine = 0x20

	offered = actAddHeaders | actQuarantine
)

// What a milter may ask not to be sent (no…), and not to be waited for (noReply…): no answer comes then. Only
// milters of version 6 know the latter.
const (
	noConnect   = 0x1
	noHelo      = 0x2
	noMail      = 0x4
	noRcpt      = 0x8
	noBody      = 0x10
	noHeaders   = 0x20
	noHeaderEnd = 0x40
	noReplyHdr  = 0x80
	noData      = 0x200
	canSkip     = 0x400
	noReplyConn = 0x1000
	noReplyHelo = 0x2000
	noReplyMail = 0x4000
	noReplyRcpt = 0x8000
	noReplyData = 0x10000
	noReplyEnd  = 0x40000
	noReplyBody = 0x80000
	leadSpace   = 0x100000

	// What we can leave out: all that the protocol knows but commands that do not exist (0x100 and 0x20000,
	// which are never sent) and refused recipients (0x800: there are none after DATA).
	omittable = noConnect | noHelo | noMail | noRcpt | noBody | noHeaders | noHeaderEnd | noReplyHdr |
		0x100 | noData | canSkip | noReplyConn | noReplyHelo | noReplyMail | noReplyRcpt | noReplyData |
		0x20000 | noReplyEnd | noReplyBody | leadSpace
)

const (
	version    = 6
	minVersion = 2
	hasData    = 4 // the version that brought cmdData
	bodyChunk  = 65535
)

// ErrProtocol is wrapped by errors about a milter that does not keep to the protocol.
var ErrProtocol = errors.New("milter: unexpected answer")

// wire sends and reads packets: a length of four bytes, a letter, data.
type wire struct {
	conn  net.Conn
	in    *bufio.Reader
	out   *bufio.Writer
	most  int  // bytes of a packet
	heard bool // a packet came
}

// newWire makes one of a connection. The buffer for writing is larger, as a header is many small packets.
func newWire(c net.Conn, most int) *wire {
	return &wire{conn: c, in: bufio.NewReaderSize(c, 4<<10), out: bufio.NewWriterSize(c, 32<<10), most: most}
}

// put buffers a packet; next sends it. So a stage is one write, and those that are not answered go with the
// next that is.
func (w *wire) put(cmd byte, parts ...[]byte) error {
	n := 1
	for _, p := range parts {
		n += len(p)
	}
	var head [5]byte
	binary.BigEndian.PutUint32(head[:], uint32(n))
	head[4] = cmd
	_, err := w.out.Write(head[:])
	for _, p := range parts {
		if err == nil {
			_, err = w.out.Write(p)
		}
	}
	return err
}

// next sends what is buffered and reads a packet.
func (w *wire) next() (byte, []byte, error) {
	if err := w.out.Flush(); err != nil {
		return 0, nil, err
	}
	var head [4]byte
	if _, err := io.ReadFull(w.in, head[:]); err != nil {
		return 0, nil, err
	}
	// The length is believed only as far as the limit: memory is taken for it before a byte has come.
	n := binary.BigEndian.Uint32(head[:])
	if n == 0 || uint64(n) > uint64(w.most) {
		return 0, nil, fmt.Errorf("%w: a packet of %d bytes", ErrProtocol, n)
	}
	data := make([]byte, n)
	if _, err := io.ReadFull(w.in, data); err != nil {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return 0, nil, err
	}
	w.heard = true
	return data[0], data[1:], nil
}

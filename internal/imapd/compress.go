package imapd

import (
	"errors"

	"tram/internal/conn"
	"tram/internal/imap"
)

// compress is COMPRESS, RFC 4978 §3. All limits count what is inside of the stream, and between two
// commands a session that compresses holds its window and no more, see conn.StartCompression.
//
// What a stranger puts into a mailbox is compressed together with other people's mail, and who sees
// the lengths of encrypted replies could learn from them, as with compression inside of TLS. It takes
// a client that fetches the same secret again and again, with the stranger's guess next to it; mail
// programs do not, and the choice is theirs.
func (s *session) compress() error {
	s.dec.SP()
	algorithm := s.dec.Label()
	if err := s.args(); err != nil {
		return err
	}
	switch {
	case algorithm != "DEFLATE":
		return &imap.Error{Text: "Unknown compression algorithm"}
	case s.c.Compressing():
		// RFC 4978 §3 has both, a BAD for a second COMPRESS and this for "another layer".
		return &no{"COMPRESSIONACTIVE", "DEFLATE is active already"}
	case s.c.Buffered() > 0:
		// "The client MUST NOT send any further commands until it has seen the result": what is
		// here already would be read as if it were compressed.
		return &imap.Error{Text: "Nothing may follow COMPRESS before its reply"}
	}
	s.tagged("OK", "", "DEFLATE active")
	s.give()
	if err := s.c.StartCompression(); err != nil {
		if errors.Is(err, conn.ErrInjected) {
			s.end("input behind COMPRESS")
		} else {
			s.end("write failed")
		}
		return err
	}
	return errReplied
}

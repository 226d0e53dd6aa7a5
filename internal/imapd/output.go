package imapd

import (
	"fmt"

	"tram/internal/imap"
)

const (
	// outputBuffer is the capacity of a fresh reply buffer, and keepBuffer the largest that is
	// kept for others.
	outputBuffer = 4 << 10
	keepBuffer   = 512 << 10
	// sendAt is how much is gathered before it is written to the connection.
	sendAt = 64 << 10
)

// borrow returns an empty buffer with room for n bytes.
func (s *Server) borrow(n int) *[]byte {
	b, ok := s.buffers.Get().(*[]byte)
	if !ok {
		b = new([]byte)
	}
	if cap(*b) < n {
		*b = make([]byte, 0, max(n, outputBuffer))
	}
	*b = (*b)[:0]
	return b
}

// giveBack ends the use of a buffer.
func (s *Server) giveBack(b *[]byte) {
	if cap(*b) <= keepBuffer {
		s.buffers.Put(b)
	}
}

// buf returns the reply buffer, borrowing one.
func (s *session) buf() *[]byte {
	if s.out == nil {
		s.out = s.srv.borrow(outputBuffer)
	}
	return s.out
}

// printf appends to the replies; arguments must be clean, see imap.AppendText.
func (s *session) printf(format string, args ...any) {
	p := s.buf()
	*p = fmt.Appendf(*p, format, args...)
}

// untagged appends an untagged reply.
func (s *session) untagged(format string, args ...any) {
	p := s.buf()
	*p = append(*p, "* "...)
	*p = fmt.Appendf(*p, s.translateFormat(format), args...)
	*p = append(*p, "\r\n"...)
}

// tagged appends the tagged reply of the running command.
func (s *session) tagged(status, code, text string) {
	p := s.buf()
	b := append(*p, s.tag...)
	b = append(append(b, ' '), status...)
	if code != "" {
		b = append(append(append(b, " ["...), code...), ']')
	}
	b = append(b, ' ')
	if s.lang == nil {
		b = imap.AppendText(b, text)
	} else { // the texts of the tables are clean
		b = append(b, s.translate(string(imap.AppendText(nil, text)))...)
	}
	*p = append(b, "\r\n"...)
}

// spill writes the replies out once they are many. It may block on a slow client and is therefore
// never called inside of a transaction.
func (s *session) spill() error {
	if s.hold || s.out == nil || len(*s.out) < sendAt {
		return nil
	}
	return s.write()
}

// write hands the replies to the connection.
func (s *session) write() error {
	if s.out == nil || len(*s.out) == 0 {
		return nil
	}
	_, err := s.c.Write(*s.out)
	*s.out = (*s.out)[:0]
	return err
}

// give writes the replies and gives the buffer back: an idle session holds none.
func (s *session) give() {
	if s.out == nil {
		return
	}
	if err := s.write(); err != nil {
		s.end("write failed")
	}
	s.srv.giveBack(s.out)
	s.out = nil
}

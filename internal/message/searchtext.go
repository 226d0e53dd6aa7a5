package message

import (
	"errors"
	"fmt"
	"io"
	"sync"

	"tram/internal/limits"
)

// searchChunk is about how much SearchText hands over at a time.
const searchChunk = 16 << 10

// errEnough ends SearchText when the limit is reached.
var errEnough = errors.New("limit of the search text reached")

// SearchText gives fn the text by which the message is searched, in pieces, as valid UTF-8: the
// decoded values of all header fields, those of embedded messages too, the names of files, and the
// text parts with HTML made plain. At most limit bytes are given. Pieces end where Fold may cut,
// between words where there are words; fn must not keep them. r holds the whole message. The error
// is fn's or r's.
func SearchText(r io.ReaderAt, m *Message, limit int64, fn func(chunk []byte) error) error {
	s := searchTexts.Get().(*searchText)
	defer s.release()
	s.r, s.left, s.fn, s.hint = r, limit, fn, m.Root.Param("charset")
	err := s.header(m.Root.Header)
	if err == nil {
		err = s.part(m.Root)
	}
	if err == nil {
		err = s.flush(true)
	}
	if errors.Is(err, errEnough) {
		return nil
	}
	return err
}

// searchText collects text and hands it over in pieces.
type searchText struct {
	r    io.ReaderAt
	left int64
	fn   func([]byte) error
	hint string
	buf  []byte
	in   []byte
}

// searchTexts lends the buffers of searchText.
var searchTexts = sync.Pool{New: func() any { return &searchText{in: make([]byte, 8<<10)} }}

// release gives the buffers to the next message, but for ones that have grown beyond the usual.
func (s *searchText) release() {
	if cap(s.buf) <= 4*searchChunk {
		*s = searchText{buf: s.buf[:0], in: s.in}
		searchTexts.Put(s)
	}
}

// add takes text, and flushes when enough has come together.
func (s *searchText) add(b []byte) error {
	s.buf = append(s.buf, b...)
	if len(s.buf) < searchChunk {
		return nil
	}
	return s.flush(false)
}

// line takes a value that stands by itself.
func (s *searchText) line(text string) error {
	if text == "" {
		return nil
	}
	s.buf = append(s.buf, text...)
	return s.add([]byte{'\n'})
}

// flush hands over what was collected: all of it, or up to a place where words are not cut.
func (s *searchText) flush(all bool) error {
	n := len(s.buf)
	if !all {
		n = wordBoundary(s.buf)
	}
	if n == 0 {
		return nil
	}
	chunk := s.buf[:n]
	if int64(n) > s.left {
		chunk = trimPartial(chunk[:s.left])
	}
	s.left -= int64(len(chunk))
	if err := s.fn(chunk); err != nil {
		return err
	}
	if len(chunk) < n || s.left == 0 {
		return errEnough
	}
	s.buf = append(s.buf[:0], s.buf[n:]...)
	return nil
}

// wordBoundary finds where to cut b: after the last white space of its second half, else where Fold
// may cut, else nowhere.
func wordBoundary(b []byte) int {
	for i := len(b) - 1; i > len(b)/2; i-- {
		if isBlank(b[i-1]) && b[i] < 0x80 {
			return i
		}
	}
	return FoldBoundary(b)
}

// header adds the values of a header block, as much of it as a parser would have kept.
func (s *searchText) header(span Span) error {
	n := min(span.Len(), int64(limits.Default().Message.HeaderBytes))
	if n <= 0 {
		return nil
	}
	hdr := make([]byte, n)
	if got, err := s.r.ReadAt(hdr, span.Start); got < len(hdr) && err != nil && err != io.EOF {
		return fmt.Errorf("read header: %w", err)
	} else {
		hdr = hdr[:got]
	}
	for f := range Header(hdr) {
		if err := s.line(decodeWords(string(f.Body), s.hint)); err != nil {
			return err
		}
	}
	return nil
}

// part adds the text of a part and of what is in it.
func (s *searchText) part(p *Part) error {
	if err := s.line(DecodeHeader(p.Description)); err != nil {
		return err
	}
	if err := s.line(p.FileName()); err != nil {
		return err
	}
	if e := p.Embedded; e != nil {
		if err := s.header(e.Root.Header); err != nil {
			return err
		}
		return s.part(e.Root)
	}
	for _, c := range p.Parts {
		if err := s.part(c); err != nil {
			return err
		}
	}
	if !p.hasText() {
		return nil
	}
	return s.text(Text(s.r, p))
}

// hasText reports whether the part's body is words: a text, or a report for machines that people
// search, too.
func (p *Part) hasText() bool {
	if p.Parts != nil || p.Embedded != nil || p.Opaque {
		return false
	}
	return p.Type == "text" || p.Type == "message"
}

// text adds a whole text, and a blank line so that no phrase runs on into the next part.
func (s *searchText) text(r io.Reader) error {
	for {
		n, err := r.Read(s.in)
		if n > 0 {
			if err := s.add(s.in[:n]); err != nil {
				return err
			}
		}
		if err == io.EOF {
			return s.line("\n")
		}
		if err != nil {
			return fmt.Errorf("read text: %w", err)
		}
	}
}

package popd

import (
	"fmt"
	"io"
	"strconv"
	"strings"

	"tram/internal/message"
	"tram/internal/smtp"
	"tram/internal/store"
)

// retr is RETR, RFC 1939 §5.
func (s *session) retr(args string) error {
	i, e, err := s.drop.get(strings.TrimSpace(args))
	if err != nil {
		return err
	}
	if err := s.send(e, -1); err != nil {
		return err
	}
	s.drop.sent(i)
	return nil
}

// top is TOP, RFC 1939 §7: the header, the blank line and so many lines of the body.
func (s *session) top(args string) error {
	number, count, ok := strings.Cut(strings.TrimSpace(args), " ")
	lines, err := strconv.Atoi(strings.TrimSpace(count))
	if !ok || err != nil || lines < 0 {
		return errArguments
	}
	_, e, err := s.drop.get(number)
	if err != nil {
		return err
	}
	return s.send(e, lines)
}

// send writes a message, all of it or with so many lines of its body. Once the first byte is out
// there is no way to say that the rest cannot be read: the connection ends then.
func (s *session) send(e store.Entry, lines int) error {
	m, err := s.letter(e)
	if err != nil {
		return err
	}
	defer m.body.Close()
	s.ok("%d octets", s.drop.size(&e))
	dots := smtp.NewExactDotWriter(s.c)
	var w io.Writer = dots
	if lines >= 0 {
		w = &topWriter{w: dots, lines: lines} // RFC 6858 §4: lines of the surrogate, if it is one
	}
	if m.parts != nil {
		err = message.Surrogate(w, m.body, m.parts)
	} else {
		_, err = m.body.WriteTo(w)
	}
	if err == io.EOF {
		err = nil // TOP has enough
	}
	if err == nil {
		err = dots.Close()
	}
	switch {
	case err == nil:
		return nil
	case s.c.Flush() != nil: // it was the writing that failed
		s.end("disconnected")
		return errGone
	}
	s.end("stored message not readable")
	_ = s.c.Close()
	return fmt.Errorf("send message: %w", err)
}

// letter is what is needed to send a message: its bytes, which are read when they are wanted, and its
// structure if it is sent as its surrogate.
type letter struct {
	body interface {
		io.ReaderAt
		io.WriterTo
		io.Closer
	}
	parts *message.Message
}

// letter reads the message's row alone, which is mostly in memory: what can change is not sent.
func (s *session) letter(e store.Entry) (m letter, err error) {
	take := func(row *store.Email) (err error) {
		if s.drop.asSurrogate(&e) {
			m.parts, err = row.Structure()
		}
		m.body = s.srv.o.Store.OpenBody(s.ctx, row.Blob)
		return err
	}
	err = s.account.View(s.ctx, func(tx *store.Tx) error {
		found := false
		err := tx.EachHit([]store.Entry{e}, func(_ int, row *store.Email) error {
			if found = row != nil; !found {
				return nil
			}
			return take(row)
		})
		if err != nil || found {
			return err
		}
		row, err := tx.Email(e.Email)
		if err != nil {
			return err
		}
		return take(row)
	})
	return m, err
}

// topWriter passes on a message's header, the empty line behind it and so many lines of the body, and
// returns io.EOF then. A line ends in LF, with or without CR: so does what the client counts.
type topWriter struct {
	w     io.Writer
	lines int

	body bool // the empty line has passed
	full bool // the current line has something beside CR
}

// Write implements io.Writer.
func (t *topWriter) Write(p []byte) (int, error) {
	for i, c := range p {
		if c != '\n' {
			t.full = t.full || c != '\r'
			continue
		}
		switch {
		case t.body:
			t.lines--
		case !t.full:
			t.body = true
		}
		t.full = false
		if t.body && t.lines <= 0 {
			if n, err := t.w.Write(p[:i+1]); err != nil {
				return n, err
			}
			return i + 1, io.EOF
		}
	}
	return t.w.Write(p)
}

package popd

import (
	"fmt"
	"io"
	"strconv"
	"strings"

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
	ref := store.Email{}.Blob
	if err := s.account.View(s.ctx, func(tx *store.Tx) error {
		// The row alone, which is mostly in memory: what can change of the message is not sent.
		found := false
		err := tx.EachHit([]store.Entry{e}, func(_ int, row *store.Email) error {
			if found = row != nil; found {
				ref = row.Blob
			}
			return nil
		})
		if err == nil && !found {
			row, why := tx.Email(e.Email)
			if why != nil {
				return why
			}
			ref = row.Blob
		}
		return err
	}); err != nil {
		return err
	}
	body := s.srv.o.Store.OpenBody(s.ctx, ref)
	defer body.Close()
	s.ok("%d octets", s.drop.size(&e))
	dots := smtp.NewExactDotWriter(s.c)
	var w io.Writer = dots
	if lines >= 0 {
		w = &topWriter{w: dots, lines: lines}
	}
	_, err := body.WriteTo(w)
	if err == io.EOF {
		err = nil // TOP has enough
	}
	if err == nil {
		err = dots.Close()
	}
	if err != nil {
		s.end("stored message not readable")
		_ = s.c.Close()
		return fmt.Errorf("send message: %w", err)
	}
	return nil
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

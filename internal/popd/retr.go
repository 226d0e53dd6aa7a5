package popd

import (
	"bytes"
	"fmt"
	"io"
	"strconv"
	"strings"

	"tram/internal/store"
)

// retr is RETR, RFC 1939 §5.
func (s *session) retr(args string) error {
	_, e, err := s.drop.get(strings.TrimSpace(args))
	if err != nil {
		return err
	}
	return s.send(e, -1)
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
	var m *store.Email
	if err := s.account.View(s.ctx, func(tx *store.Tx) error {
		var err error
		m, err = tx.Email(e.Email)
		return err
	}); err != nil {
		return err
	}
	body := s.srv.o.Store.OpenBody(s.ctx, m.Blob)
	defer body.Close()
	s.ok("%d octets", e.Size)
	w := &dotWriter{w: s.c, lines: lines}
	_, err := body.WriteTo(w)
	if err == io.EOF {
		err = nil // TOP has enough
	}
	if err == nil {
		err = w.close()
	}
	if err != nil {
		s.end("stored message not readable")
		_ = s.c.Close()
		return fmt.Errorf("send message: %w", err)
	}
	return nil
}

// dotWriter writes a message as a multi-line reply, RFC 1939 §3: a dot at the beginning of a line is
// doubled. The bytes are the message's own otherwise. With lines not negative it stops after so many
// lines behind the first empty one, by returning io.EOF.
type dotWriter struct {
	w     io.Writer
	lines int

	last  [2]byte // what came before, 0 at the beginning
	begun bool
	body  bool // the empty line has passed
	empty bool // the current line has nothing yet but perhaps CR
}

var dotDot = []byte("..")

// Write implements io.Writer.
func (d *dotWriter) Write(p []byte) (int, error) {
	total := len(p)
	if total == 0 {
		return 0, nil
	}
	if !d.begun {
		d.begun, d.empty, d.last[1] = true, true, '\n'
	}
	if d.lines >= 0 {
		return total, d.some(p)
	}
	return total, d.stuff(p)
}

// stuff writes p with its dots doubled.
func (d *dotWriter) stuff(p []byte) error {
	if len(p) == 0 {
		return nil
	}
	start := 0
	if d.last[1] == '\n' && p[0] == '.' {
		if _, err := d.w.Write(dotDot[:1]); err != nil {
			return err
		}
	}
	for from := 0; ; {
		i := bytes.Index(p[from:], []byte("\n."))
		if i < 0 {
			break
		}
		from += i + 2
		if _, err := d.w.Write(p[start:from]); err != nil {
			return err
		}
		start = from - 1 // the dot once more
	}
	if len(p) > 1 {
		d.last[0] = p[len(p)-2]
	} else {
		d.last[0] = d.last[1]
	}
	d.last[1] = p[len(p)-1]
	_, err := d.w.Write(p[start:])
	return err
}

// some is stuff for TOP.
func (d *dotWriter) some(p []byte) error {
	for i, c := range p {
		if c != '\n' {
			d.empty = d.empty && c == '\r'
			continue
		}
		switch {
		case !d.body && d.empty:
			d.body = true
		case d.body:
			d.lines--
		}
		d.empty = true
		if d.body && d.lines <= 0 {
			if err := d.stuff(p[:i+1]); err != nil {
				return err
			}
			return io.EOF
		}
	}
	return d.stuff(p)
}

// close writes the end of the reply, behind the end of the last line.
func (d *dotWriter) close() error {
	end := "\r\n.\r\n"
	if d.begun && d.last == [2]byte{'\r', '\n'} {
		end = ".\r\n"
	}
	_, err := io.WriteString(d.w, end)
	return err
}

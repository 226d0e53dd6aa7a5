package wire

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"strings"
	"time"
)

// POP3 is a session, logged in. Commands go one at a time.
type POP3 struct {
	c   net.Conn
	t   Target
	r   *bufio.Reader
	buf []byte // the last multi-line reply
}

// DialPOP3 connects and logs in.
func DialPOP3(t Target, user, password string) (*POP3, error) {
	c, err := t.dial()
	if err != nil {
		return nil, err
	}
	p := &POP3{c: c, t: t, r: bufio.NewReaderSize(c, 64<<10)}
	if _, err = p.line(); err == nil {
		if _, err = p.Do("USER " + user); err == nil {
			_, err = p.Do("PASS " + password)
		}
	}
	if err != nil {
		c.Close()
		return nil, err
	}
	return p, nil
}

// Close ends the connection.
func (p *POP3) Close() error { return p.c.Close() }

// line reads a status line, which must be positive.
func (p *POP3) line() (string, error) {
	if err := p.c.SetDeadline(time.Now().Add(p.t.timeout())); err != nil {
		return "", err
	}
	s, err := p.r.ReadString('\n')
	if err == nil && !strings.HasPrefix(s, "+OK") {
		err = fmt.Errorf("answered %q", s)
	}
	return strings.TrimRight(s, "\r\n"), err
}

// Do sends a command and returns the first line of its reply.
func (p *POP3) Do(command string) (string, error) {
	if _, err := io.WriteString(p.c, command+"\r\n"); err != nil {
		return "", err
	}
	s, err := p.line()
	if err != nil {
		verb, _, _ := strings.Cut(command, " ")
		err = fmt.Errorf("%s: %w", verb, err)
	}
	return s, err
}

var endOfReply = []byte("\r\n.\r\n")

// Multi sends a command and returns what follows the first line, without the last one, dots still
// doubled. It is valid until the next call.
func (p *POP3) Multi(command string) ([]byte, error) {
	if _, err := p.Do(command); err != nil {
		return nil, err
	}
	// The line end of the status line stands before what may be the last line at once.
	p.buf = append(p.buf[:0], "\r\n"...)
	for !bytes.HasSuffix(p.buf, endOfReply) {
		if p.r.Buffered() == 0 {
			if _, err := p.r.Peek(1); err != nil {
				return nil, err
			}
		}
		b, _ := p.r.Peek(p.r.Buffered())
		p.buf = append(p.buf, b...)
		p.r.Discard(len(b))
	}
	return p.buf[2 : len(p.buf)-len(".\r\n")], nil
}

// Retr fetches a message and returns its octets, doubled dots counted once.
func (p *POP3) Retr(n int) (int, error) {
	b, err := p.Multi(fmt.Sprintf("RETR %d", n))
	doubled := bytes.Count(b, []byte("\n.."))
	if bytes.HasPrefix(b, []byte("..")) {
		doubled++
	}
	return len(b) - doubled, err
}

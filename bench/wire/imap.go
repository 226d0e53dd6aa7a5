package wire

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"
)

// IMAP is a session that reads.
type IMAP struct {
	t    Target
	conn net.Conn
	r    *bufio.Reader
	tag  int
	// Caps is the capability list after log-in, with a space before and after each word.
	Caps string
	lits [][]byte // of the response being read; the memory is used again for the next
	buf  []byte
}

// Response is one untagged or continuation response: its text with each literal left as {n}, and
// the literals. Both are valid until the next is read.
type Response struct {
	Text     []byte
	Literals [][]byte
}

// Failure is a tagged NO or BAD.
type Failure struct{ Text string }

func (f *Failure) Error() string { return "imap: " + f.Text }

// DialIMAP connects and logs in when user is not empty.
func DialIMAP(t Target, user, password string) (*IMAP, error) {
	conn, err := t.dial()
	if err != nil {
		return nil, err
	}
	c := &IMAP{t: t, conn: conn, r: bufio.NewReaderSize(conn, 64<<10)}
	if err := c.open(user, password); err != nil {
		c.conn.Close()
		return nil, err
	}
	return c, nil
}

func (c *IMAP) open(user, password string) error {
	c.deadline()
	greeting, err := c.read()
	if err != nil {
		return err
	}
	if !bytes.HasPrefix(greeting.Text, []byte("* OK")) {
		return &Failure{Text: string(greeting.Text)}
	}
	if c.t.Security == StartTLS {
		if err := c.Do(nil, "STARTTLS"); err != nil {
			return err
		}
		c.conn = tls.Client(c.conn, c.t.config())
		c.r.Reset(c.conn)
	}
	if user == "" {
		return nil
	}
	if err := c.Do(nil, fmt.Sprintf("LOGIN %q %q", user, password)); err != nil {
		return err
	}
	return c.Do(func(r Response) {
		if rest, ok := bytes.CutPrefix(r.Text, []byte("* CAPABILITY")); ok {
			c.Caps = string(bytes.ToUpper(rest)) + " "
		}
	}, "CAPABILITY")
}

func (c *IMAP) deadline() { c.conn.SetDeadline(time.Now().Add(c.t.timeout())) }

// Has reports whether the server announced a capability.
func (c *IMAP) Has(capability string) bool {
	return strings.Contains(c.Caps, " "+capability+" ")
}

func (c *IMAP) read() (Response, error) {
	c.buf, c.lits = c.buf[:0], c.lits[:0]
	for {
		line, err := c.r.ReadSlice('\n')
		for err == bufio.ErrBufferFull {
			c.buf = append(c.buf, line...)
			line, err = c.r.ReadSlice('\n')
		}
		if err != nil {
			return Response{}, err
		}
		c.buf = append(c.buf, bytes.TrimRight(line, "\r\n")...)
		n, ok := literalSize(c.buf)
		if !ok {
			return Response{Text: c.buf, Literals: c.lits}, nil
		}
		lit := make([]byte, n)
		if _, err := io.ReadFull(c.r, lit); err != nil {
			return Response{}, err
		}
		c.lits = append(c.lits, lit)
	}
}

func literalSize(line []byte) (int, bool) {
	if len(line) == 0 || line[len(line)-1] != '}' {
		return 0, false
	}
	open := bytes.LastIndexByte(line, '{')
	if open < 0 {
		return 0, false
	}
	n, err := strconv.Atoi(string(line[open+1 : len(line)-1]))
	return n, err == nil
}

// Send writes a command and returns its tag.
func (c *IMAP) Send(command string) (string, error) {
	c.deadline()
	c.tag++
	tag := "a" + strconv.Itoa(c.tag)
	_, err := io.WriteString(c.conn, tag+" "+command+"\r\n")
	return tag, err
}

// Wait reads up to the tagged reply; each untagged response goes to fn.
func (c *IMAP) Wait(tag string, fn func(Response)) (string, error) {
	for {
		r, err := c.read()
		if err != nil {
			return "", err
		}
		rest, ok := bytes.CutPrefix(r.Text, []byte(tag+" "))
		switch {
		case ok && bytes.HasPrefix(rest, []byte("OK")):
			return string(rest), nil
		case ok:
			return "", &Failure{Text: string(rest)}
		case fn != nil:
			fn(r)
		}
	}
}

// Do sends a command and waits for its end.
func (c *IMAP) Do(fn func(Response), command string) error {
	tag, err := c.Send(command)
	if err != nil {
		return err
	}
	_, err = c.Wait(tag, fn)
	return err
}

// Append stores messages in one command (several with MULTIAPPEND) and returns the tagged reply.
// A connection that broke after the last byte gives Unknown.
func (c *IMAP) Append(mailbox, flags string, msgs ...[]byte) (Ack, string, error) {
	c.deadline()
	c.tag++
	tag := "a" + strconv.Itoa(c.tag)
	head := fmt.Sprintf("%s APPEND %q", tag, mailbox)
	for _, msg := range msgs {
		plus := c.Has("LITERAL+") || c.Has("LITERAL-") && len(msg) <= 4096
		if plus {
			head += fmt.Sprintf(" %s {%d+}\r\n", flags, len(msg))
			bufs := net.Buffers{[]byte(head), msg}
			if _, err := bufs.WriteTo(c.conn); err != nil {
				return Refused, "", err
			}
		} else {
			head += fmt.Sprintf(" %s {%d}\r\n", flags, len(msg))
			if _, err := io.WriteString(c.conn, head); err != nil {
				return Refused, "", err
			}
			if err := c.continuation(tag); err != nil {
				return Refused, "", err
			}
			if _, err := c.conn.Write(msg); err != nil {
				return Refused, "", err
			}
		}
		head = ""
	}
	if _, err := io.WriteString(c.conn, "\r\n"); err != nil {
		return Unknown, "", err
	}
	text, err := c.Wait(tag, nil)
	if _, refused := err.(*Failure); refused {
		return Refused, "", err
	}
	if err != nil {
		return Unknown, "", err
	}
	return Acked, text, nil
}

func (c *IMAP) continuation(tag string) error {
	for {
		r, err := c.read()
		if err != nil {
			return err
		}
		if bytes.HasPrefix(r.Text, []byte("+")) {
			return nil
		}
		if bytes.HasPrefix(r.Text, []byte(tag+" ")) {
			return &Failure{Text: string(r.Text)}
		}
	}
}

// Box is what SELECT told.
type Box struct{ Exists, UIDNext, UIDValidity, ModSeq int }

// Select opens a mailbox; params such as " (CONDSTORE)" follow its name.
func (c *IMAP) Select(mailbox, params string) (Box, error) {
	var b Box
	err := c.Do(func(r Response) {
		if bytes.HasSuffix(r.Text, []byte(" EXISTS")) {
			b.Exists = Number(r.Text, "* ")
		}
		b.UIDNext = max(b.UIDNext, Number(r.Text, "[UIDNEXT "))
		b.UIDValidity = max(b.UIDValidity, Number(r.Text, "[UIDVALIDITY "))
		b.ModSeq = max(b.ModSeq, Number(r.Text, "[HIGHESTMODSEQ "))
	}, fmt.Sprintf("SELECT %q%s", mailbox, params))
	return b, err
}

// Idle sends IDLE and waits for the continuation.
func (c *IMAP) Idle() (string, error) {
	tag, err := c.Send("IDLE")
	if err != nil {
		return "", err
	}
	return tag, c.continuation(tag)
}

// Next reads one response, for what arrives during IDLE.
func (c *IMAP) Next(timeout time.Duration) (Response, error) {
	c.conn.SetDeadline(time.Now().Add(timeout))
	return c.read()
}

// Done ends an IDLE.
func (c *IMAP) Done(tag string) error {
	c.deadline()
	if _, err := io.WriteString(c.conn, "DONE\r\n"); err != nil {
		return err
	}
	_, err := c.Wait(tag, nil)
	return err
}

// Logout ends the session.
func (c *IMAP) Logout() {
	c.Do(nil, "LOGOUT")
	c.conn.Close()
}

// Close ends the connection without a word.
func (c *IMAP) Close() { c.conn.Close() }

// Number is the decimal number after a word, 0 when there is none.
func Number(text []byte, after string) int {
	i := bytes.Index(text, []byte(after))
	if i < 0 {
		return 0
	}
	n := 0
	for _, b := range text[i+len(after):] {
		if b < '0' || b > '9' {
			break
		}
		n = n*10 + int(b-'0')
	}
	return n
}

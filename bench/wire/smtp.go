package wire

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"
)

// SMTP is a session that sends.
type SMTP struct {
	t    Target
	conn net.Conn
	r    *bufio.Reader
	ext  string // the EHLO reply
}

// Reply is an SMTP reply that was not the one hoped for.
type Reply struct {
	Code int
	Text string
}

func (r *Reply) Error() string { return r.Text }

// DialSMTP connects, greets, and logs in when user is not empty.
func DialSMTP(t Target, user, password string) (*SMTP, error) {
	conn, err := t.dial()
	if err != nil {
		return nil, err
	}
	s := &SMTP{t: t, conn: conn, r: bufio.NewReaderSize(conn, 2048)}
	if err := s.open(user, password); err != nil {
		s.conn.Close()
		return nil, err
	}
	return s, nil
}

func (s *SMTP) open(user, password string) error {
	s.deadline()
	if _, err := s.expect('2'); err != nil {
		return err
	}
	var err error
	if s.ext, err = s.Command('2', "EHLO load.test"); err != nil {
		return err
	}
	if s.t.Security == StartTLS {
		if _, err := s.Command('2', "STARTTLS"); err != nil {
			return err
		}
		s.conn = tls.Client(s.conn, s.t.config())
		s.r.Reset(s.conn)
		if s.ext, err = s.Command('2', "EHLO load.test"); err != nil {
			return err
		}
	}
	if user == "" {
		return nil
	}
	plain := base64.StdEncoding.EncodeToString([]byte("\x00" + user + "\x00" + password))
	_, err = s.Command('2', "AUTH PLAIN "+plain)
	return err
}

func (s *SMTP) deadline() { s.conn.SetDeadline(time.Now().Add(s.t.timeout())) }

func (s *SMTP) expect(class byte) (string, error) {
	var all strings.Builder
	for {
		line, err := s.r.ReadString('\n')
		if err != nil {
			return "", err
		}
		all.WriteString(line)
		if len(line) < 4 || line[3] == '-' {
			continue
		}
		if line[0] != class {
			code, _ := strconv.Atoi(line[:3])
			return all.String(), &Reply{Code: code, Text: strings.TrimSpace(line)}
		}
		return all.String(), nil
	}
}

// Command sends a line and reads its reply, which must be of the class.
func (s *SMTP) Command(class byte, line string) (string, error) {
	s.deadline()
	if _, err := io.WriteString(s.conn, line+"\r\n"); err != nil {
		return "", err
	}
	return s.expect(class)
}

// Ack is what became of a message.
type Ack int

// The outcomes: only Acked binds the server, and only Unknown leaves open whether it has the
// message (the connection broke between the final dot and the reply).
const (
	Refused Ack = iota
	Acked
	Unknown
)

// Send hands over one message; stuffed is its DATA form, the final dot included (see Stuff). took
// is the time from the last byte to the reply.
func (s *SMTP) Send(from, to string, stuffed []byte) (ack Ack, took time.Duration, err error) {
	s.deadline()
	envelope := "MAIL FROM:<" + from + "> BODY=8BITMIME\r\nRCPT TO:<" + to + ">\r\nDATA\r\n"
	if strings.Contains(s.ext, "PIPELINING") {
		if _, err := io.WriteString(s.conn, envelope); err != nil {
			return Refused, 0, err
		}
		var first error
		for _, class := range []byte("223") {
			if _, err := s.expect(class); err != nil && first == nil {
				first = err
			}
		}
		if first != nil {
			return Refused, 0, first
		}
	} else {
		for i, line := range strings.Split(strings.TrimSuffix(envelope, "\r\n"), "\r\n") {
			if _, err := s.Command("223"[i], line); err != nil {
				return Refused, 0, err
			}
		}
	}
	if _, err := s.conn.Write(stuffed); err != nil {
		return Unknown, 0, err // the dot may have left
	}
	start := time.Now()
	if _, err := s.expect('2'); err != nil {
		if _, refused := err.(*Reply); refused {
			return Refused, 0, err
		}
		return Unknown, 0, err
	}
	return Acked, time.Since(start), nil
}

// Quit ends the session.
func (s *SMTP) Quit() {
	s.Command('2', "QUIT")
	s.conn.Close()
}

// Close ends the connection without a word.
func (s *SMTP) Close() { s.conn.Close() }

// Stuff returns msg, whose lines end in CRLF, as DATA carries it (RFC 5321 §4.5.2).
func Stuff(msg []byte) []byte {
	out := make([]byte, 0, len(msg)+64)
	if len(msg) > 0 && msg[0] == '.' {
		out = append(out, '.')
	}
	for {
		i := bytes.Index(msg, []byte("\n."))
		if i < 0 {
			break
		}
		out = append(append(out, msg[:i+2]...), '.')
		msg = msg[i+2:]
	}
	out = append(out, msg...)
	if !bytes.HasSuffix(out, []byte("\r\n")) {
		out = append(out, "\r\n"...)
	}
	return append(out, ".\r\n"...)
}

// String names the outcome.
func (a Ack) String() string {
	switch a {
	case Acked:
		return "acked"
	case Unknown:
		return "unknown"
	case Refused:
		return "refused"
	}
	return fmt.Sprintf("Ack(%d)", int(a))
}

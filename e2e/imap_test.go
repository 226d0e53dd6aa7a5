package e2e

import (
	"crypto/tls"
	"crypto/x509"
	"os"
	"strings"
	"testing"

	"bufio"
	"fmt"
	"io"
	"strconv"
	"time"
)

// imapConn is the least that reads mail over IMAP: enough to see what is there, independent of the
// server's own code.
type imapConn struct {
	t    testing.TB
	conn *tls.Conn
	r    *bufio.Reader
	tag  int
}

func (s *server) tlsConfig() *tls.Config {
	s.t.Helper()
	pem, err := os.ReadFile(s.ca())
	if err != nil {
		s.t.Fatal(err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		s.t.Fatal("ca.pem holds no certificate")
	}
	return &tls.Config{RootCAs: pool, ServerName: "localhost"}
}

// imap logs user in over implicit TLS.
func (s *server) imap(user string) *imapConn {
	s.t.Helper()
	return s.imapAs(user, password)
}

// imapAs is imap for an account that has a password of its own.
func (s *server) imapAs(user, secret string) *imapConn {
	s.t.Helper()
	conn, err := tls.Dial("tcp", s.addr(993), s.tlsConfig())
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { conn.Close() })
	c := &imapConn{t: s.t, conn: conn, r: bufio.NewReader(conn)}
	c.line()
	c.cmd("LOGIN %s %s", user, secret)
	return c
}

func (c *imapConn) line() string {
	c.t.Helper()
	c.conn.SetDeadline(time.Now().Add(time.Minute))
	line, err := c.r.ReadString('\n')
	if err != nil {
		c.t.Fatalf("imap: read: %v (after %q)", err, line)
	}
	return strings.TrimSuffix(line, "\r\n")
}

// cmd sends a command and returns its untagged replies, literals in place; it fails the test
// unless the command ends with OK.
func (c *imapConn) cmd(format string, args ...any) string {
	c.t.Helper()
	c.tag++
	tag := fmt.Sprintf("e%d", c.tag)
	fmt.Fprintf(c.conn, "%s %s\r\n", tag, fmt.Sprintf(format, args...))
	var b strings.Builder
	for {
		line := c.line()
		if rest, ok := strings.CutPrefix(line, tag+" "); ok {
			if !strings.HasPrefix(rest, "OK") {
				c.t.Fatalf("imap: %s: %s", fmt.Sprintf(format, args...), rest)
			}
			return b.String()
		}
		b.WriteString(line)
		if n, ok := literal(line); ok {
			lit := make([]byte, n)
			if _, err := io.ReadFull(c.r, lit); err != nil {
				c.t.Fatal(err)
			}
			b.Write(lit)
		} else {
			b.WriteByte('\n')
		}
	}
}

func literal(line string) (int, bool) {
	open := strings.LastIndexByte(line, '{')
	if open < 0 || !strings.HasSuffix(line, "}") {
		return 0, false
	}
	n, err := strconv.Atoi(line[open+1 : len(line)-1])
	return n, err == nil
}

// count is how many messages stand in the mailbox.
func (c *imapConn) count(mailbox string) int {
	c.t.Helper()
	out := c.cmd("STATUS %q (MESSAGES)", mailbox)
	_, rest, ok := strings.Cut(out, "MESSAGES ")
	if !ok {
		c.t.Fatalf("imap: no MESSAGES in %q", out)
	}
	n, err := strconv.Atoi(strings.TrimRight(rest, ")\n"))
	if err != nil {
		c.t.Fatal(err)
	}
	return n
}

// body is the whole of message seq of the selected mailbox.
func (c *imapConn) body(seq int) string {
	c.t.Helper()
	out := c.cmd("FETCH %d BODY.PEEK[]", seq)
	start := strings.IndexByte(out, '}')
	open := strings.LastIndexByte(out[:start], '{')
	n, err := strconv.Atoi(out[open+1 : start])
	if err != nil {
		c.t.Fatal(err)
	}
	return out[start+1 : start+1+n]
}

// waitFor waits until the mailbox of user holds n messages.
func (s *server) waitFor(user, mailbox string, n int) *imapConn {
	s.t.Helper()
	c := s.imap(user)
	eventually(s.t, fmt.Sprintf("%s of %s holds %d", mailbox, user, n), func() bool {
		return c.count(mailbox) >= n
	})
	if got := c.count(mailbox); got != n {
		s.t.Fatalf("%s of %s holds %d messages, want %d", mailbox, user, got, n)
	}
	c.cmd("SELECT %q", mailbox)
	return c
}

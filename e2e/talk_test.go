package e2e

import (
	"bufio"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// talk is a line protocol spoken by hand, so that a test can say what no client would.
type talk struct {
	t    testing.TB
	conn net.Conn
	r    *bufio.Reader
}

// talk connects to a standard port, with TLS on those where it comes first, and reads the greeting.
func (s *server) talk(port int) *talk {
	s.t.Helper()
	return s.talkFor(s.t, port)
}

// talkFor is talk for a subtest.
func (s *server) talkFor(t testing.TB, port int) *talk {
	t.Helper()
	conn, err := net.Dial("tcp", s.addr(port))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if port == 465 || port == 993 {
		conn = tls.Client(conn, s.tlsConfig())
	}
	c := &talk{t: t, conn: conn, r: bufio.NewReader(conn)}
	c.line()
	return c
}

// starttls is the session after STARTTLS was answered.
func (c *talk) starttls(config *tls.Config) {
	c.conn = tls.Client(c.conn, config)
	c.r = bufio.NewReader(c.conn)
}

// send writes raw bytes. That the other side has hung up shows when its answer is read.
func (c *talk) send(raw string) {
	c.conn.SetDeadline(time.Now().Add(2 * time.Minute))
	_, _ = io.WriteString(c.conn, raw)
}

// read is line for a connection that may have ended.
func (c *talk) read() (string, error) {
	c.conn.SetDeadline(time.Now().Add(2 * time.Minute))
	line, err := c.r.ReadString('\n')
	return strings.TrimRight(line, "\r\n"), err
}

func (c *talk) line() string {
	c.t.Helper()
	line, err := c.read()
	if err != nil {
		c.t.Fatalf("read: %v (after %q)", err, line)
	}
	return line
}

// reply reads an SMTP reply to its last line and returns that.
func (c *talk) reply() string {
	c.t.Helper()
	for {
		if line := c.line(); len(line) < 4 || line[3] != '-' {
			return line
		}
	}
}

// smtp sends a command line and checks the reply's beginning.
func (c *talk) smtp(command, want string) {
	c.t.Helper()
	c.send(command + "\r\n")
	if got := c.reply(); !strings.HasPrefix(got, want) {
		c.t.Errorf("%.80q was answered %q, want %s", command, got, want)
	}
}

// imap sends a command and returns the tagged reply without its tag, the untagged ones before it.
func (c *talk) imap(command string) string {
	c.t.Helper()
	c.send("t " + command + "\r\n")
	return c.tagged("t")
}

func (c *talk) tagged(tag string) string {
	c.t.Helper()
	var b strings.Builder
	for {
		line := c.line()
		if rest, ok := strings.CutPrefix(line, tag+" "); ok {
			return b.String() + rest
		}
		b.WriteString(line + "\n")
	}
}

// open goes from the greeting to the answer to DATA.
func (c *talk) open(from, to string) {
	c.t.Helper()
	c.smtp("EHLO client.test", "250")
	c.smtp("MAIL FROM:<"+from+">", "250")
	c.smtp("RCPT TO:<"+to+">", "250")
	c.smtp("DATA", "354")
}

// plain is the initial response of SASL PLAIN.
func plain(user, secret string) string {
	return base64.StdEncoding.EncodeToString([]byte("\x00" + user + "\x00" + secret))
}

// letter is a small message with CRLF line ends whose Message-ID holds name.
func letter(from, to, name string) string {
	return fmt.Sprintf("From: %s\r\nTo: %s\r\nSubject: %s\r\nMessage-ID: <%s@load.test>\r\n\r\nHello.\r\n",
		from, to, name, name)
}

// newTalk speaks over conn, from a goroutine of the test.
func newTalk(t testing.TB, conn net.Conn) *talk {
	return &talk{t: t, conn: conn, r: bufio.NewReader(conn)}
}

// until reads on to a line that begins with one of the words; what was read when the connection
// ended is the answer too.
func (c *talk) until(begins ...string) string {
	for {
		line, err := c.read()
		for _, b := range begins {
			if strings.HasPrefix(line, b) {
				return line
			}
		}
		if err != nil {
			return fmt.Sprintf("%s (%v)", line, err)
		}
	}
}

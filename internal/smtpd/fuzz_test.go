package smtpd

import (
	"bytes"
	"io"
	"log/slog"
	"net"
	"regexp"
	"strings"
	"testing"
	"time"

	"tram/internal/conn"
)

// tape is a connection whose input is given, in pieces, and whose output is kept.
type tape struct {
	net.Conn
	in   []byte
	step int
	out  bytes.Buffer
}

func (s *tape) Read(p []byte) (int, error) {
	if len(s.in) == 0 {
		return 0, io.EOF
	}
	n := copy(p[:min(len(p), s.step)], s.in)
	s.in = s.in[n:]
	return n, nil
}

func (s *tape) Write(p []byte) (int, error)      { return s.out.Write(p) }
func (s *tape) Close() error                     { return nil }
func (s *tape) RemoteAddr() net.Addr             { return &net.UnixAddr{} }
func (s *tape) LocalAddr() net.Addr              { return &net.UnixAddr{} }
func (s *tape) SetDeadline(time.Time) error      { return nil }
func (s *tape) SetReadDeadline(time.Time) error  { return nil }
func (s *tape) SetWriteDeadline(time.Time) error { return nil }

// oneReplyLine is RFC 5321 §4.2: code, separator, printable text.
var oneReplyLine = regexp.MustCompile(`^[2-5][0-5][0-9][ -][ -~]*$`)

// FuzzSession feeds any bytes, in any cut: no panic, nothing but well-formed replies, no more of
// them than lines came in, and a message in storage for each 250 that says so and no other.
func FuzzSession(f *testing.F) {
	h := newHouse(f)
	h.limits.SMTP.MessageSize = 2000
	const open = "EHLO a\r\n"
	for _, s := range []string{
		"MAIL FROM:<a@elsewhere.test>\r\nRCPT TO:<alice@example.test>\r\nDATA\r\n",
		"MAIL FROM:<>\r\nRCPT TO:<bob@example.test>\r\nBDAT 5\r\na: b\nBDAT 3 LAST\r\nabc",
		"MAIL FROM:<> BODY=BINARYMIME SMTPUTF8\r\nRCPT TO:<alice@example.test>\r\nBDAT 2 LAST\r\n\x00\n",
		"BDAT 99999999999999999999\r\nRSET\r\n", "VRFY x\r\nHELP\r\nNOOP\r\nQUIT\r\n",
		"STARTTLS\r\nRSET\r\n", "AUTH PLAIN\r\n=\r\n*\r\n", "GET / HTTP/1.1\r\n\r\n", "\r\n\n\r",
	} {
		f.Add([]byte(open+s), 1, 0)
		f.Add([]byte(open+s), 1000, 1)
		f.Add([]byte(strings.Replace(open, "E", "L", 1)+s), 7, 2)
	}
	f.Fuzz(func(t *testing.T, in []byte, step, mode int) {
		h.t = t
		var panics bytes.Buffer
		o := Options{
			Mode: []Mode{MX, Submission, LMTP}[uint(mode)%3], Hostname: "mx.example.test",
			Directory: h.dir, Deliver: h.deliver, Queue: h.queue,
			Limits: h.limits,
		}
		s := &tape{in: in, step: max(1, step&0xffff)}
		before := h.stored()
		conn.New(conn.Options{
			Handler: New(o).Handle,
			Logger:  slog.New(slog.NewTextHandler(&panics, nil)),
		}).ServeConn(s)
		if panics.Len() > 0 {
			t.Fatal(panics.String())
		}
		accepted := 0
		out := s.out.String()
		if !strings.HasSuffix(out, "\r\n") {
			t.Fatalf("output ends in %q", out)
		}
		for line := range strings.SplitSeq(strings.TrimSuffix(out, "\r\n"), "\r\n") {
			if !oneReplyLine.MatchString(line) {
				t.Fatalf("reply %q", line)
			}
			if strings.HasPrefix(line, "250 2.0.0 Ok: delivered") {
				accepted++
			}
		}
		if n := strings.Count(out, "\r\n"); n > 30*(2+bytes.Count(in, []byte("\n"))) {
			t.Fatalf("%d lines of output", n)
		}
		if got := h.stored() - before; got > accepted {
			t.Fatalf("%d messages stored, %d acknowledged", got, accepted)
		}
	})
}

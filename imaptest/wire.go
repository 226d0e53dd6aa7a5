package imaptest

import (
	"bufio"
	"compress/flate"
	"fmt"
	"io"
	"net"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// wire is one connection, line by line.
type wire struct {
	net.Conn
	r       *bufio.Reader
	out     io.Writer
	tags    int
	prefix  string // of its tags
	patient time.Duration
	count   int // messages in the mailbox that is open, as far as told
}

func newWire(nc net.Conn, n int, patient time.Duration) *wire {
	return &wire{Conn: nc, r: bufio.NewReader(nc), out: nc, prefix: fmt.Sprintf("c%d.", n+1), patient: patient}
}

// Write sends bytes, compressed or not.
func (w *wire) Write(p []byte) (int, error) { return w.out.Write(p) }

// compress turns compression on, RFC 4978: what follows the OK is deflated both ways.
func (w *wire) compress() error {
	if _, err := w.do("COMPRESS DEFLATE"); err != nil {
		return err
	}
	deflate, err := flate.NewWriter(w.Conn, flate.DefaultCompression)
	if err != nil {
		return err
	}
	w.r, w.out = bufio.NewReader(flate.NewReader(w.r)), flushed{deflate}
	return nil
}

// flushed deflates, and keeps nothing back.
type flushed struct{ *flate.Writer }

func (f flushed) Write(p []byte) (int, error) {
	n, err := f.Writer.Write(p)
	if err != nil {
		return n, err
	}
	return n, f.Flush()
}

func (w *wire) tag() string {
	w.tags++
	return w.prefix + strconv.Itoa(w.tags)
}

var literalEnd = regexp.MustCompile(`\{(\d+)(\+?)\}\r\n$`)

// read returns one reply, the literals in it in place.
func (w *wire) read() (string, error) {
	if err := w.SetDeadline(time.Now().Add(w.patient)); err != nil {
		return "", err
	}
	var b strings.Builder
	for {
		l, err := w.r.ReadString('\n')
		if err != nil {
			return b.String() + l, err
		}
		b.WriteString(l)
		m := literalEnd.FindStringSubmatch(l)
		if m == nil {
			return strings.TrimSuffix(b.String(), "\r\n"), nil
		}
		n, err := strconv.Atoi(m[1])
		if err != nil {
			return b.String(), err
		}
		if _, err := io.CopyN(&b, w.r, int64(n)); err != nil {
			return b.String(), err
		}
	}
}

var literalInside = regexp.MustCompile(`\{(\d+)(\+?)\}\r\n`)

// write sends a command. Each literal waits until the server asks for it; other replies that come
// meanwhile go to told, which says false when they end the command.
func (w *wire) write(text string, told func(reply string) bool) error {
	if err := w.SetDeadline(time.Now().Add(w.patient)); err != nil {
		return err
	}
	for {
		m := literalInside.FindStringSubmatchIndex(text)
		if m == nil {
			break
		}
		n, err := strconv.Atoi(text[m[2]:m[3]])
		if err != nil || len(text) < m[1]+n {
			return fmt.Errorf("broken literal in %.100q", text)
		}
		if _, err := io.WriteString(w, text[:m[1]]); err != nil {
			return err
		}
		for {
			reply, err := w.read()
			if err != nil {
				return fmt.Errorf("wait to send a literal: %w", err)
			}
			if strings.HasPrefix(reply, "+") {
				break
			}
			if !told(reply) {
				return nil
			}
		}
		if _, err := io.WriteString(w, text[m[1]:m[1]+n]); err != nil {
			return err
		}
		text = text[m[1]+n:]
	}
	_, err := io.WriteString(w, text+"\r\n")
	return err
}

// do runs a command of the runner's own, which must succeed, and returns the untagged replies.
func (w *wire) do(text string) ([]string, error) {
	tag := w.tag()
	var replies []string
	var last string
	take := func(reply string) bool {
		w.note(reply)
		if rest, ok := strings.CutPrefix(reply, tag+" "); ok {
			last = rest
			return false
		}
		replies = append(replies, reply)
		return true
	}
	err := w.write(tag+" "+text, take)
	for err == nil && last == "" {
		var reply string
		if reply, err = w.read(); err == nil {
			take(reply)
		}
	}
	if err == nil && !strings.HasPrefix(strings.ToUpper(last), "OK") {
		err = fmt.Errorf("answered %q", last)
	}
	if err != nil {
		return nil, fmt.Errorf("%.100q: %w", text, err)
	}
	return replies, nil
}

var sizeReply = regexp.MustCompile(`(?i)^\* (\d+) (EXISTS|EXPUNGE)\b`)

// note keeps count of the messages in the mailbox.
func (w *wire) note(reply string) (expunged int) {
	m := sizeReply.FindStringSubmatch(reply)
	if m == nil {
		return 0
	}
	n, err := strconv.Atoi(m[1])
	if err != nil {
		return 0
	}
	if strings.EqualFold(m[2], "EXISTS") {
		w.count = n
		return 0
	}
	w.count--
	return n
}

// Package clamd answers "does ClamAV's daemon know this as a virus?": streams go to clamd by INSTREAM
// in one session, over a unix socket or TCP.
//
// It promises that Clean is said only where clamd said OK to all that was sent. What must never happen:
// a broken connection, half an answer or an answer to another stream counts as clean.
package clamd

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"tram/internal/scan/filter"
)

// Kind is what clamd says of a stream.
type Kind int

// The kinds.
const (
	Clean       Kind = iota
	Infected         // a signature matched
	Suspect          // one of its heuristics, or an unwanted program: no virus for certain
	Encrypted        // it cannot look inside
	Unscannable      // a bomb, or larger than it takes
)

// Result is an answer. Name is the signature's, or what clamd says in words.
type Result struct {
	Kind Kind
	Name string
}

// ErrProtocol is wrapped by errors about answers that make no sense.
var ErrProtocol = errors.New("clamd: unexpected answer")

// Client asks one clamd. It holds no connections between calls.
type Client struct {
	address filter.Address
	answer  int
}

// New returns a Client of the clamd at address; answer is the most bytes that an answer may have.
func New(address filter.Address, answer int) *Client {
	return &Client{address: address, answer: max(answer, 1<<10)}
}

// Version asks who is there.
func (c *Client) Version(ctx context.Context) (string, error) {
	s, err := c.open(ctx)
	if err != nil {
		return "", err
	}
	defer s.close()
	if _, err := io.WriteString(s.conn, "zVERSION\x00"); err != nil {
		return "", s.failed(err)
	}
	answer, err := s.next()
	return filter.Clean(answer), err
}

// Ping asks whether clamd answers at all.
func (c *Client) Ping(ctx context.Context) error {
	s, err := c.open(ctx)
	if err != nil {
		return err
	}
	defer s.close()
	if _, err := io.WriteString(s.conn, "zPING\x00"); err != nil {
		return s.failed(err)
	}
	answer, err := s.next()
	if err == nil && answer != "PONG" {
		err = fmt.Errorf("%w: %q to PING", ErrProtocol, filter.Clean(answer))
	}
	return err
}

// Scanner is one round of streams that belong together. End must be called.
type Scanner struct {
	c   *Client
	ctx context.Context
	s   *session // nil: not connected
}

// Begin returns a Scanner whose work ends when ctx is done.
func (c *Client) Begin(ctx context.Context) *Scanner { return &Scanner{c: c, ctx: ctx} }

// Scan sends one stream. After an error no later one is worth sending.
func (s *Scanner) Scan(r io.Reader) (Result, error) {
	if s.s == nil {
		var err error
		// Only now: a message that cannot be read needs no connection.
		if s.s, err = s.c.open(s.ctx); err != nil {
			return Result{}, err
		}
		if _, err := io.WriteString(s.s.conn, "zIDSESSION\x00"); err != nil {
			return Result{}, s.s.failed(err)
		}
	}
	result, err := s.s.stream(r)
	if err != nil || s.s.over {
		s.End()
	}
	return result, err
}

// End ends the session.
func (s *Scanner) End() {
	if s.s == nil {
		return
	}
	if !s.s.over {
		// Politeness: the connection is closed in any case.
		_, _ = io.WriteString(s.s.conn, "zEND\x00")
	}
	s.s.close()
	s.s = nil
}

// session is a connection. Its answers are read beside what is written, as clamd answers a stream that is
// too large in the middle of it and goes.
type session struct {
	ctx     context.Context
	conn    net.Conn
	release func() bool
	answers chan string
	broken  chan struct{} // closed when no more answers come, because of why
	why     error
	sent    int
	over    bool // clamd has said good-bye
}

func (c *Client) open(ctx context.Context) (*session, error) {
	conn, err := c.address.Dial(ctx)
	if err != nil {
		return nil, fmt.Errorf("clamd: %w", filter.Cause(ctx, err))
	}
	// There is at most one answer to wait for; the rest of the room is for what comes unasked, see read.
	s := &session{ctx: ctx, conn: conn, answers: make(chan string, 4), broken: make(chan struct{})}
	s.release = filter.Bind(ctx, conn)
	go s.read(c.answer)
	return s, nil
}

func (s *session) close() {
	s.release()
	_ = s.conn.Close() // nothing depends on it
}

// read hands on answers, each of which ends with NUL.
func (s *session) read(most int) {
	defer func() {
		close(s.broken)
		// Who sends and is not read any more may wait for us to read: what is being written to him ends.
		_ = s.conn.SetDeadline(time.Unix(1, 0))
	}()
	in := bufio.NewReaderSize(s.conn, 512)
	var line []byte
	for {
		part, err := in.ReadSlice(0)
		line = append(line, part...)
		switch {
		case len(line) > most:
			s.why = fmt.Errorf("%w: longer than %d bytes", ErrProtocol, most)
			return
		case err == bufio.ErrBufferFull:
			continue
		case err != nil && len(line) > 0:
			s.why = fmt.Errorf("%w: cut short: %w", ErrProtocol, err)
			return
		case err != nil:
			s.why = err
			return
		}
		select {
		case s.answers <- string(line[:len(line)-1]):
		default: // more answers than questions
			s.why = fmt.Errorf("%w: an answer that nobody asked for", ErrProtocol)
			return
		}
		line = line[:0]
	}
}

// failed names the reason of a failure.
func (s *session) failed(err error) error {
	return fmt.Errorf("clamd: %w", filter.Cause(s.ctx, err))
}

// next waits for an answer.
func (s *session) next() (string, error) {
	select {
	case a := <-s.answers:
		return a, nil
	case <-s.broken:
		// Both may be ready: clamd says what is wrong, and goes.
	}
	select {
	case a := <-s.answers: // it came before the end
		return a, nil
	default:
		return "", s.failed(s.why)
	}
}

// block is what goes in one chunk.
const block = 64 << 10

var blocks = sync.Pool{New: func() any { return new([4 + block]byte) }}

// stream sends one stream in chunks, each behind its length, and reads what clamd says of it.
func (s *session) stream(r io.Reader) (Result, error) {
	s.sent++
	if _, err := io.WriteString(s.conn, "zINSTREAM\x00"); err != nil {
		return s.early(err)
	}
	buf := blocks.Get().(*[4 + block]byte)
	defer blocks.Put(buf)
	for {
		n, err := io.ReadFull(r, buf[4:])
		if n > 0 {
			binary.BigEndian.PutUint32(buf[:], uint32(n))
			if _, err := s.conn.Write(buf[:4+n]); err != nil {
				return s.early(err)
			}
		}
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			break
		}
		if err != nil {
			return Result{}, fmt.Errorf("read message: %w", err)
		}
		if len(s.answers) > 0 {
			// It has made up its mind: to send it the rest would only cost time.
			return s.early(nil)
		}
	}
	// A chunk of no bytes ends the stream. Were the connection closed instead, clamd would scan the part.
	if _, err := s.conn.Write(make([]byte, 4)); err != nil {
		return s.early(err)
	}
	answer, err := s.next()
	if err != nil {
		return Result{}, err
	}
	return s.parse(answer, true)
}

// early is for an answer that came before the stream was sent, which can only be a refusal; written is
// what writing failed with.
func (s *session) early(written error) (Result, error) {
	answer, err := s.next()
	if err != nil {
		return Result{}, errors.Join(err, written)
	}
	return s.parse(answer, false)
}

// parse reads "1: stream: OK", "1: stream: NAME FOUND" or "... ERROR". Without the number of the stream
// only an error is believed, and before the stream was whole nothing else.
func (s *session) parse(answer string, whole bool) (Result, error) {
	number, rest, numbered := strings.Cut(answer, ": ")
	if n, err := strconv.Atoi(number); !numbered || err != nil {
		numbered, rest = false, answer
	} else if n != s.sent {
		return Result{}, fmt.Errorf("%w: to stream %d instead of %d", ErrProtocol, n, s.sent)
	}
	what, failed := strings.CutSuffix(rest, " ERROR")
	if failed {
		s.over = true
		return failure(what)
	}
	// From here on only what is certain is believed: the number of this stream, after the whole of it.
	what, ours := strings.CutPrefix(rest, "stream: ")
	if !ours || !numbered || !whole {
		return Result{}, fmt.Errorf("%w: %q", ErrProtocol, filter.Clean(answer))
	}
	if what == "OK" {
		return Result{}, nil
	}
	name, found := strings.CutSuffix(what, " FOUND")
	if !found || name == "" || strings.ContainsAny(name, " \t\r\n") {
		return Result{}, fmt.Errorf("%w: %q", ErrProtocol, filter.Clean(answer))
	}
	return Result{Kind: kindOf(name), Name: filter.Clean(name)}, nil
}

// unscannable are the errors that are about the message and not about clamd: coming again helps nobody.
var unscannable = []string{
	"size limit exceeded", "Time limit reached", "time limit reached", "CL_EMAXREC", "CL_EMAXSIZE",
	"CL_EMAXFILES", "limit exceeded",
}

// failure tells what is wrong with the message from what is wrong with clamd.
func failure(what string) (Result, error) {
	what = filter.Clean(strings.TrimSuffix(strings.TrimPrefix(what, "stream: "), "."))
	for _, u := range unscannable {
		if strings.Contains(what, u) {
			return Result{Kind: Unscannable, Name: what}, nil
		}
	}
	return Result{}, fmt.Errorf("clamd: it says %q", what)
}

// kinds sorts names by how they begin: clamd finds more than viruses, as its operator wished.
var kinds = []struct {
	prefix string
	kind   Kind
}{
	{"Heuristics.Limits.Exceeded", Unscannable},
	{"Heuristics.Encrypted", Encrypted},
	{"Heuristics.Phishing", Suspect},
	{"Heuristics.OLE2.ContainsMacros", Suspect},
	{"Heuristics.Structured", Suspect},
	{"Heuristics.Broken", Suspect},
	{"Heuristics.Safebrowsing", Suspect},
	{"PUA.", Suspect},
}

// kindOf takes what it does not know for a virus: a name that is missing above costs a message, not a house.
func kindOf(name string) Kind {
	for _, k := range kinds {
		if strings.HasPrefix(name, k.prefix) {
			return k.kind
		}
	}
	return Infected
}

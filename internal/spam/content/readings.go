package content

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"iter"
	"strconv"

	"tram/internal/limits"
	"tram/internal/message"
)

// Reading is one way in which a program may read the message or a part of it, as a stream of bytes.
type Reading struct {
	Name string // what it is, for a trace: "message", "part 1.2", "part 2, base64 up to the first padding"
	Open func() io.Reader
}

// ErrTooManyReadings ends Readings: the message can be read in more ways than the limits allow, so nobody
// can say what a reader would see.
var ErrTooManyReadings = errors.New("the message can be read in too many ways")

// Readings yields every way in which another program may read the message, each once: the whole message
// as it is, every part decoded, and, where anything is ambiguous, what more and less tolerant programs
// make of it. A scanner that sees them all has seen what any reader will. It ends at an error, which is
// r's or ErrTooManyReadings.
//
// A message is plain when its header fields, boundaries and encodings leave no choice; nearly all are, and
// cost one look at each line. An ambiguous one is taken apart without belief in its header: at every line
// that could be a boundary, from every line where a body could begin, by every decoder.
func Readings(r io.ReaderAt, m *message.Message, o Options) iter.Seq2[Reading, error] {
	if o.Limits == (limits.Content{}) {
		o.Limits = limits.Default().Content
	}
	return func(yield func(Reading, error) bool) {
		s := &readings{r: r, m: m, lim: o.Limits, yield: yield, left: readingBytes(&o.Limits, m.Size),
			seen: sums{}, apart: sums{}, buf: make([]byte, min(32<<10, m.Size+1))}
		if err := s.all(); err != nil && !errors.Is(err, errStopped) {
			yield(Reading{}, err)
		}
	}
}

// readingBytes is how much may be read of a message in all ways together. A small message that takes much
// work is made to do so.
func readingBytes(l *limits.Content, size int64) int64 {
	const anyway = 8 << 20
	return min(l.ReadingBytes, anyway+l.ReadingTimes*size)
}

// errStopped says that the consumer wants no more.
var errStopped = errors.New("stopped")

// readings is one run of Readings.
type readings struct {
	r              io.ReaderAt
	m              *message.Message
	lim            limits.Content
	yield          func(Reading, error) bool
	seen           sums  // of what was yielded
	apart          sums  // of what was taken apart after it had been decoded
	left           int64 // bytes that may still be read
	base64, quoted bool  // the encodings are named somewhere

	doubt bool // the message is ambiguous: nothing its header says is believed
	many  bool // a text holds more files than are taken out of one
	buf   []byte
}

// sums is a set of contents.
type sums map[[sha256.Size]byte]bool

// add reports whether b is new.
func (s sums) add(b []byte) bool {
	sum := sha256.Sum256(b)
	is := !s[sum]
	s[sum] = true
	return is
}

// all yields what there is: the sure readings first.
func (s *readings) all() error {
	err := s.offer("message", func() io.Reader { return io.NewSectionReader(s.r, 0, s.m.Size) })
	if err != nil {
		return err
	}
	if err := s.part("", s.m.Root); err != nil {
		return err
	}
	doubt, err := s.doubtful()
	if err != nil || !doubt {
		return err
	}
	s.doubt = true
	b, err := s.load(message.Span{End: s.m.Size})
	if err != nil {
		return err
	}
	return s.takeApart("message", b, 0)
}

// offer yields a reading if it says anything new.
func (s *readings) offer(name string, open func() io.Reader) error {
	h := sha256.New()
	var n int64
	for r := open(); n <= s.left; {
		k, err := r.Read(s.buf)
		h.Write(s.buf[:k])
		n += int64(k)
		if err == io.EOF {
			break
		}
		if err != nil {
			return fmt.Errorf("read message: %w", err)
		}
	}
	return s.give(name, n, [sha256.Size]byte(h.Sum(nil)), open)
}

// offerBytes is offer for what is in memory.
func (s *readings) offerBytes(name string, b []byte) error {
	return s.give(name, int64(len(b)), sha256.Sum256(b), func() io.Reader { return bytes.NewReader(b) })
}

// give yields a reading of n bytes unless its like was yielded.
func (s *readings) give(name string, n int64, sum [sha256.Size]byte, open func() io.Reader) error {
	if s.left -= n; s.left < 0 {
		return ErrTooManyReadings
	}
	if n == 0 || s.seen[sum] {
		return nil
	}
	if len(s.seen) >= s.lim.Readings {
		return ErrTooManyReadings
	}
	s.seen[sum] = true
	if !s.yield(Reading{Name: name, Open: open}, nil) {
		return errStopped
	}
	return nil
}

// load reads a run of the message into memory.
func (s *readings) load(span message.Span) ([]byte, error) {
	if s.left -= span.Len(); s.left < 0 {
		return nil, ErrTooManyReadings
	}
	b := make([]byte, span.Len())
	if _, err := io.ReadFull(io.NewSectionReader(s.r, span.Start, span.Len()), b); err != nil {
		return nil, fmt.Errorf("read message: %w", err)
	}
	return b, nil
}

// part yields a part as the header has it and, where its body does not keep to its encoding, in the other
// ways. number is the part's in IMAP's way, "" for the message.
func (s *readings) part(number string, p *message.Part) error {
	name := "body"
	if number != "" {
		name = "part " + number
		number += "."
	}
	if p.Embedded != nil {
		return s.part(number+"1", p.Embedded.Root)
	}
	for i, c := range p.Parts {
		if err := s.part(number+strconv.Itoa(i+1), c); err != nil {
			return err
		}
	}
	if p.Parts != nil {
		return nil
	}
	if err := s.offer(name, func() io.Reader { return message.Body(s.r, p) }); err != nil {
		return err
	}
	clean, err := s.keepsTo(p)
	if err != nil || clean {
		return err
	}
	b, err := s.load(p.Body)
	if err != nil {
		return err
	}
	said := p.Encoding != "7bit" && p.Encoding != "8bit" && p.Encoding != "binary"
	s.base64, s.quoted = s.base64 || said, s.quoted || said
	if err := s.variants(name, b, 0, ways{all: said, amid: true}); err != nil {
		return err
	}
	if !bytes.Contains(lower(b), []byte(announced)) {
		return nil
	}
	s.named(b)
	return s.entity(name, b, 0, 0, nil) // it may begin with a header that another program sees
}

// keepsTo reports whether a part's body is nothing but what its encoding allows, and no text that holds
// files in an encoding of their own.
func (s *readings) keepsTo(p *message.Part) (bool, error) {
	raw := io.NewSectionReader(s.r, p.Body.Start, p.Body.Len())
	var c checker
	switch p.Encoding {
	case "base64":
		c = &base64Check{}
	case "quoted-printable":
		c = &qpCheck{}
	case "7bit", "8bit", "binary":
		c = &lineCheck{}
	default:
		return false, nil
	}
	for {
		n, err := raw.Read(s.buf)
		if !c.check(s.buf[:n]) {
			return false, nil
		}
		switch {
		case err == io.EOF:
			return c.end(), nil
		case err != nil:
			return false, fmt.Errorf("read message: %w", err)
		}
	}
}

// checker sees a body in pieces and reports false as soon as programs may differ about it.
type checker interface {
	check(b []byte) bool
	end() bool
}

// Classes of bytes in base64.
const (
	b64Char = 1 + iota
	b64Pad
	b64Line
)

// b64Class tells the bytes of base64 apart; all others are 0.
var b64Class = func() (t [256]byte) {
	for _, c := range []byte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/") {
		t[c] = b64Char
	}
	t['='], t['\r'], t['\n'] = b64Pad, b64Line, b64Line
	return t
}()

// base64Check wants nothing but the alphabet and line ends, in lines of whole groups of four, with padding at
// the end only.
type base64Check struct {
	n, pads int
	ragged  bool // a line ended within a group
}

func (c *base64Check) check(b []byte) bool {
	for _, x := range b {
		switch b64Class[x] {
		case b64Char:
			if c.pads > 0 || c.ragged {
				return false
			}
			c.n++
		case b64Pad:
			c.pads++
		case b64Line:
			c.ragged = c.ragged || (c.n+c.pads)%4 != 0
		case 0:
			return false
		}
	}
	return true
}

func (c *base64Check) end() bool { return (c.n+c.pads)%4 == 0 && c.pads < 3 }

// qpCheck wants escapes of two capital digits and soft line breaks without white space. What it holds may
// begin with a boundary's dashes or a uuencoded file only as text would: lineCheck looks at the lines.
type qpCheck struct {
	esc   []byte
	lines lineCheck
}

func (c *qpCheck) check(b []byte) bool {
	if !c.lines.check(b) {
		return false
	}
	for _, x := range b {
		if len(c.esc) == 0 {
			if x == '=' {
				c.esc = append(c.esc, x)
			}
			continue
		}
		hex := x >= '0' && x <= '9' || x >= 'A' && x <= 'F'
		switch {
		case len(c.esc) == 1 && (hex || x == '\r'):
			c.esc = append(c.esc, x)
		case len(c.esc) == 1 && x == '\n',
			len(c.esc) == 2 && c.esc[1] == '\r' && x == '\n',
			len(c.esc) == 2 && c.esc[1] != '\r' && hex:
			c.esc = c.esc[:0]
		default:
			return false
		}
	}
	return true
}

func (c *qpCheck) end() bool { return len(c.esc) == 0 && c.lines.end() }

// lineCheck looks for files inside text: lines of base64, uuencoded ones, and fields that announce them.
type lineCheck struct{ line []byte }

// fileLine is the shortest line of base64 that is taken for one. Shorter ones are words and numbers.
const fileLine = 24

func (c *lineCheck) check(b []byte) bool {
	for len(b) > 0 {
		i := bytes.IndexByte(b, '\n')
		if i < 0 {
			if len(c.line) < 1000 {
				c.line = append(c.line, b...)
			}
			return true
		}
		line := b[:i]
		if len(c.line) > 0 {
			c.line = append(c.line, line...)
			line = c.line
		}
		if isFileLine(line) {
			return false
		}
		c.line, b = c.line[:0], b[i+1:]
	}
	return true
}

func (c *lineCheck) end() bool { return !isFileLine(c.line) }

// announced is the field that begins what may be a part.
const announced = "content-transfer-encoding"

// isFileLine reports whether a line of text looks like one of an encoded file.
func isFileLine(line []byte) bool {
	if len(line) < 9 {
		return false
	}
	if isUUBegin(line) || len(line) > len(announced) && bytes.EqualFold(line[:len(announced)], []byte(announced)) {
		return true
	}
	line = bytes.TrimSpace(line)
	return len(line) >= fileLine && isBase64Line(line)
}

// isBase64Line reports whether line is base64 in whole groups, padded anywhere. A word of one letter over
// and over, as a ruler in a text is, is none.
func isBase64Line(line []byte) bool {
	same := true
	for _, x := range line {
		switch b64Class[x] {
		case b64Char, b64Pad:
			same = same && x == line[0]
		default:
			return false
		}
	}
	return !same && len(line)%4 == 0
}

// ambiguous are the flaws that make programs differ about a message's parts.
const ambiguous = message.FlawDoubleContentType | message.FlawContentType | message.FlawDoubleParam |
	message.FlawEncodedParam | message.FlawEncoding | message.FlawBoundary | message.FlawUnclosed |
	message.FlawPartLimit | message.FlawHeaderLimit | message.FlawLateFold | message.FlawBlankFold |
	message.FlawNoColon | message.FlawNameCharacter | message.FlawSpaceBeforeColon

// doubtful reports whether the message's parts can be seen differently.
func (s *readings) doubtful() (bool, error) {
	if s.m.Flaws.Has(ambiguous) || s.m.BareCR || s.m.NUL {
		return true, nil
	}
	var boundaries []string
	delimiters := 0
	doubt := false
	var fail error
	s.m.Root.Walk(func(p *message.Part) {
		if doubt || fail != nil {
			return
		}
		doubt = p.Opaque || p.Type == "message" && p.Embedded == nil && p.Subtype == "partial"
		if p.Type == "multipart" {
			bd := p.Param("boundary")
			boundaries = append(boundaries, bd)
			delimiters += len(p.Parts) + 1
			var odd bool
			if odd, fail = s.oddGaps(p); odd {
				doubt = true
			}
		}
		if n := p.Header.Len(); n > 0 && !doubt && fail == nil {
			hdr := make([]byte, min(n, int64(limits.Default().Message.HeaderBytes)))
			if _, err := io.ReadFull(io.NewSectionReader(s.r, p.Header.Start, n), hdr); err != nil {
				fail = fmt.Errorf("read message: %w", err)
				return
			}
			doubt = !plainHeader(hdr)
		}
	})
	if fail != nil || doubt || len(boundaries) == 0 {
		return doubt, fail
	}
	n, err := s.countDelimiters(boundaries)
	return n != delimiters, err
}

// widestGap is how much text before the first and after the last part of a multipart is usual. Programs
// that miss the boundary show it.
const widestGap = 300

// oddGaps reports whether a multipart has more beside its parts than usual, or what could be a part.
func (s *readings) oddGaps(p *message.Part) (bool, error) {
	first, last := p.Parts[0], p.Parts[len(p.Parts)-1]
	for _, gap := range []message.Span{
		{Start: p.Body.Start, End: first.Header.Start}, {Start: last.Body.End, End: p.Body.End},
	} {
		if gap.Len() > widestGap {
			return true, nil
		}
		b, err := s.load(gap)
		if err != nil {
			return false, err
		}
		var c lineCheck
		if bytes.Contains(lower(b), []byte("content-")) || !c.check(b) || !c.end() {
			return true, nil
		}
	}
	return false, nil
}

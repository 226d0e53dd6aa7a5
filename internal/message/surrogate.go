package message

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"
)

// A surrogate is what a program that cannot read UTF-8 in headers is given in the place of a message
// that has it there: the simplified downgrade of RFC 6858, made when the message is read. Headers
// alone are changed, those of parts and of messages inside too; bodies go out as they are. What a
// reader needs is kept in an older form, and what has none is left out.

// SurrogateForm is the number of the form that Surrogate writes. A change of a single octet of what
// it writes is a new form, for sizes are remembered with the number.
const SurrogateForm = 1

// surrogateHeader is the longest header that is taken apart; in a longer one each byte above 127
// becomes a question mark.
const surrogateHeader = 256 << 10

// unreachable is the address that stands for one that needs UTF-8. It must never be somebody's, so
// its domain is one that nobody can have (RFC 6858 §2.1).
var unreachable = Address{Mailbox: "invalid", Host: "internationalized-address.invalid"}

// Surrogate writes the surrogate of the message m, whose bytes are in r.
func Surrogate(w io.Writer, r io.ReaderAt, m *Message) error {
	s := surrogate{r: r, w: w}
	s.message(m)
	return s.err
}

// SurrogateGrowth returns by how many octets the surrogate of m is longer than m as it lies there, a
// line end counted that a line protocol must add. Only headers are read.
func SurrogateGrowth(r io.ReaderAt, m *Message) (int64, error) {
	s := surrogate{r: r}
	s.message(m)
	open := m.OpenEnd
	if s.anew == m.Size && m.Size > 0 {
		open = s.open // the message is nothing but headers
	}
	if open {
		s.n += int64(len("\r\n"))
	}
	return s.n - m.Size, s.err
}

// surrogate goes through the headers of a message in the order of its bytes.
type surrogate struct {
	r io.ReaderAt
	w io.Writer // nil: octets are only counted

	pos  int64 // of the original: how far it was taken
	n    int64 // octets of the surrogate so far
	anew int64 // of the original: where the last header ends that was written anew
	open bool  // that header does not end in CR LF
	err  error // the first one; nothing is done after it
}

func (s *surrogate) message(m *Message) {
	s.part(m.Root)
	s.copyTo(m.Size)
}

func (s *surrogate) part(p *Part) {
	s.header(p)
	for _, child := range p.Parts {
		s.part(child)
	}
	if p.Embedded != nil {
		s.part(p.Embedded.Root)
	}
}

// copyTo passes the original on, up to end.
func (s *surrogate) copyTo(end int64) {
	if s.err != nil || end <= s.pos {
		return
	}
	s.n += end - s.pos
	if s.w != nil {
		_, s.err = io.Copy(s.w, io.NewSectionReader(s.r, s.pos, end-s.pos))
	}
	s.pos = end
}

// header writes the header of a part, if it cannot stay as it is.
func (s *surrogate) header(p *Part) {
	if s.err != nil || p.Header.Len() == 0 {
		return
	}
	s.copyTo(p.Header.Start)
	if p.Header.Len() > surrogateHeader {
		s.longHeader(p.Header)
		return
	}
	raw := make([]byte, p.Header.Len())
	n, err := s.r.ReadAt(raw, p.Header.Start)
	if err != nil && (!errors.Is(err, io.EOF) || n < len(raw)) {
		s.err = err
		return
	}
	if !hasHigh(raw) && !isGlobal(p) {
		return
	}
	d := downgrader{part: p, hint: headerCharset(raw, maxParams)}
	rest := 0
	for f := range Header(raw) {
		d.field(f)
		rest += len(f.Raw)
	}
	d.out = append(d.out, raw[rest:]...) // the blank line
	if len(d.out) == 0 {
		d.out = append(d.out, "\r\n"...) // it was not there, and nothing else is left
	}
	s.n += int64(len(d.out))
	s.pos, s.anew, s.open = p.Header.End, p.Header.End, !bytes.HasSuffix(d.out, []byte("\r\n"))
	if s.w != nil && s.err == nil {
		_, s.err = s.w.Write(d.out)
	}
}

// longHeader writes a header that is too long to be taken apart, in as many octets as it has.
func (s *surrogate) longHeader(h Span) {
	w := s.w
	if w != nil {
		s.w = questionMarks{w}
	}
	s.copyTo(h.End)
	s.w = w
}

// questionMarks puts one in the place of each byte above 127.
type questionMarks struct{ w io.Writer }

// Write implements io.Writer.
func (q questionMarks) Write(p []byte) (int, error) {
	if !hasHigh(p) {
		return q.w.Write(p)
	}
	b := make([]byte, len(p))
	for i, c := range p {
		if b[i] = c; c >= 0x80 {
			b[i] = '?'
		}
	}
	return q.w.Write(b)
}

// downgrader writes the fields of one header.
type downgrader struct {
	part *Part
	hint string // charset for 8-bit text that is not UTF-8
	out  []byte
}

// field writes a field: as it is, in an older form, or not at all (RFC 6858 §2.4).
func (d *downgrader) field(f Field) {
	if !hasHigh(f.Raw) && !(isGlobal(d.part) && f.Is("Content-Type")) {
		d.out = append(d.out, f.Raw...)
		return
	}
	if f.Name == nil {
		return
	}
	var w FieldWriter
	d.downgrade(&w, string(f.Name), lower(string(f.Name)), string(f.Body))
	if b, err := w.Bytes(); err == nil && isASCII(string(b)) {
		d.out = append(d.out, b...)
	}
}

// isGlobal reports whether a part holds a message under the type that whoever reads no UTF-8 does not
// know (RFC 6532 §3.7).
func isGlobal(p *Part) bool { return p.Embedded != nil && p.Subtype == "global" }

// downgrade writes a field that has bytes above 127.
func (d *downgrader) downgrade(w *FieldWriter, name, lowerName, body string) {
	switch lowerName {
	case "subject", "content-description": // RFC 6858 §2.3
		w.Text(name, decodeWords(body, d.hint))
	case "return-path":
		w.Words(name, "<"+unreachable.String()+">") // RFC 5321 §4.4: a path, without a name
	case "bcc", "cc", "from", "reply-to", "sender", "to", "resent-bcc", "resent-cc", "resent-from",
		"resent-sender", "resent-to":
		list, _ := parseAddresses(body, maxAddresses, d.hint)
		for i := range list {
			list[i] = readable(list[i])
		}
		if len(list) == 0 {
			w.fail(name)
		}
		w.Addresses(name, list...)
	case "content-type":
		ct := parseContentType(body, maxParams, d.hint)
		if isGlobal(d.part) {
			ct.subtype = "rfc822"
		}
		w.Params(name, ct.typ+"/"+ct.subtype, writable(ct.params)...)
	case "content-disposition":
		sc := paramScanner{s: unfold(body)}
		sc.skipSpace()
		value := lower(sc.token())
		raw, _ := sc.params(nil, maxParams)
		params, _ := joinParams(raw, d.hint)
		w.Params(name, value, writable(params)...)
	case "content-transfer-encoding":
		w.Words(name, d.part.Encoding)
	default:
		if body = withoutComments(unfold(body)); trim(body) == "" {
			w.fail(name)
		}
		w.Words(name, body)
	}
}

// readable gives an address that cannot be written without UTF-8 the form that RFC 6858 §2.1 wants:
// people read in its name whose it is, and no program can send anything there. One that has only a
// domain of other letters stays what it is, for domains have an ASCII form.
func readable(a Address) Address {
	var try FieldWriter
	try.address(a, "")
	if a.Group != NoGroup || try.err == nil {
		return a
	}
	name := a.String()
	if a.Name != "" {
		name = a.Name + " (" + name + ")"
	}
	return Address{Name: name, Mailbox: unreachable.Mailbox, Host: unreachable.Host}
}

// writable leaves out the parameters whose names are none. RFC 6858 §2.2 has all of them left out
// that need UTF-8; RFC 2231 can write their values, and the names of files are worth it.
func writable(params []Param) []Param {
	return slices.DeleteFunc(params, func(p Param) bool {
		var try FieldWriter
		try.Params("X", "x", p)
		return try.err != nil
	})
}

// withoutComments takes out of a structured field what no program reads: the names of time zones
// and hosts, in a local language now and then.
func withoutComments(s string) string {
	if isASCII(s) || !strings.Contains(s, "(") {
		return s
	}
	b := make([]byte, 0, len(s))
	for pos, quoted := 0, false; pos < len(s); {
		switch c := s[pos]; {
		case c == '\\' && quoted && pos+1 < len(s):
			b = append(b, c, s[pos+1])
			pos += 2
			continue
		case c == '"':
			quoted = !quoted
		case c == '(' && !quoted:
			b = append(b, ' ')
			pos = skipComment(s, pos)
			continue
		}
		b = append(b, s[pos])
		pos++
	}
	return string(b)
}

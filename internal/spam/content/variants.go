package content

import (
	"bytes"
	"io"
	"iter"
	"strings"

	"tram/internal/message"
)

// deepest is how often what was decoded is taken for a message in turn.
const deepest = 3

// variants yields a body as it is and by every decoder, whatever its header says of it. What comes out may
// be a message or a multipart, which RFC 2045 §6.4 forbids and some programs look into.
func (s *readings) variants(name string, body []byte, depth int, w ways) error {
	for v := range s.decodings(body, w) {
		if err := s.offerBytes(name+v.name, v.b); err != nil {
			return err
		}
		if v.name == "" || depth >= deepest || !v.packed && (!s.doubt || depth > 0) {
			continue
		}
		// Where quoted-printable hid no field, what it decodes to has the parts of what it was.
		if n := parts(v.b); n > 0 && (v.packed || n != parts(body)) && s.apart.add(v.b) {
			if err := s.takeApart(name+v.name, v.b, depth+1); err != nil {
				return err
			}
		}
	}
	if s.many {
		return ErrTooManyReadings
	}
	return nil
}

// named notes which encodings b names, in any place and form: no program undoes one that is not named. A field
// that is written in encoded words may name any.
func (s *readings) named(b []byte) {
	low := lower(b)
	any := bytes.Contains(low, []byte("=?")) && bytes.Contains(low, []byte(announced))
	s.base64 = s.base64 || any || bytes.Contains(low, []byte("base64")) || bytes.Contains(low, []byte("base-64"))
	s.quoted = s.quoted || any || bytes.Contains(low, []byte("quoted"))
}

// parts counts the lines at the beginning of b by which decoded bytes have the look of messages or of parts,
// whose own encoding is to be undone in turn.
func parts(b []byte) int {
	low := lower(b[:min(len(b), 64<<10)])
	n := bytes.Count(low, []byte("\ncontent-t"))
	if bytes.HasPrefix(low, []byte("content-t")) {
		n++
	}
	return n
}

// decoding is a body by one of the decoders.
type decoding struct {
	name   string
	b      []byte
	packed bool // not readable as it was: quoted-printable leaves most of a text as it is
}

// decodings gives a body by every decoder that makes something of it. Decoders that cannot differ about it
// are not asked one after the other: most of the work on a hostile message would be to find that out.
func (s *readings) decodings(body []byte, w ways) iter.Seq[decoding] {
	return func(yield func(decoding) bool) {
		if !yield(decoding{b: body}) {
			return
		}
		d := unclean
		if c := (base64Check{}); c.check(body) && c.end() {
			d = 0
		} else if w.all && s.base64 {
			d = disputesIn(body)
		}
		if w.all && s.base64 || d == 0 {
			// Where nothing is in dispute, it is a file even without a word about its encoding.
			if b := decode64(body, 0); len(b) > 0 && !yield(decoding{", base64", b, true}) {
				return
			}
			if d == 0 {
				return // they all agree
			}
			for _, v := range variants64 {
				if d&v.about == 0 {
					continue
				}
				if b := v.decode(body); len(b) > 0 && !yield(decoding{v.name, b, true}) {
					return
				}
			}
		}
		if w.all && s.quoted && bytes.IndexByte(body, '=') >= 0 {
			if b := undo("quoted-printable", body); len(b) > 0 && !yield(decoding{", quoted-printable", b, false}) {
				return
			}
			if b := looseQP(body); len(b) > 0 && !yield(decoding{", loose quoted-printable", b, false}) {
				return
			}
		}
		if !w.amid {
			return
		}
		pure, runs := pureLines64(body)
		if len(pure) > 0 && !yield(decoding{", base64 lines without others", pure, true}) {
			return
		}
		for _, b := range runs[:min(len(runs), mostRuns)] {
			if !yield(decoding{", a run of base64 lines", b, true}) {
				return
			}
		}
		files := uuBlocks(body, mostFiles+1)
		for _, u := range files[:min(len(files), mostFiles)] {
			if !yield(decoding{", uuencoded " + clean(u.name, 50), u.b, true}) {
				return
			}
		}
		s.many = s.many || len(runs) > mostRuns || len(files) > mostFiles
	}
}

// ways says which decoders are asked.
type ways struct {
	all  bool // those of whole bodies: else there may be a header before it
	amid bool // those that find their data amid other lines
}

// dispute is what decoders of base64 differ about.
type dispute uint8

const (
	padInside  dispute = 1 << iota // data after padding
	junkInside                     // data after what is neither of the alphabet nor white space
	urlInside                      // - or _
	lineInside                     // a line that ends within a group
	unclean                        // anything else that is not as it should be
)

// disputesIn finds what decoders may differ about in b, which is not clean.
func disputesIn(b []byte) (d dispute) {
	var pad, junk, ragged bool
	n := 0
	for _, c := range b {
		if values64[c] >= 0 {
			if n++; pad {
				d |= padInside
			}
			if junk {
				d |= junkInside
			}
			if ragged {
				d |= lineInside
			}
			continue
		}
		switch {
		case c == '=':
			pad, n = true, 0
		case c == '\n':
			ragged = ragged || n%4 != 0
		case c == '-' || c == '_':
			d |= urlInside
			junk = true
		case c > ' ':
			junk = true
		}
	}
	return d | unclean
}

// variants64 are the ways in which programs decode base64 that is not clean, each with what it differs
// about from decoding everything that can be.
var variants64 = []struct {
	name   string
	about  dispute
	decode func([]byte) []byte
}{
	{", base64 up to the first padding", padInside, func(b []byte) []byte { return decode64(b, stopAtPad) }},
	{", base64 up to the first other character", junkInside,
		func(b []byte) []byte { return decode64(b, stopAtJunk) }},
	{", base64 without its padding", padInside, func(b []byte) []byte { return decode64(b, skipPad) }},
	{", base64 of a URL", urlInside, func(b []byte) []byte { return decode64(b, urlAlphabet) }},
	{", base64 line by line", lineInside, lines64},
}

// undo is what the message room makes of an encoding: the tolerant way.
func undo(encoding string, b []byte) []byte {
	p := &message.Part{Encoding: encoding, Body: message.Span{End: int64(len(b))}}
	out, err := io.ReadAll(message.Body(bytes.NewReader(b), p))
	if err != nil {
		return nil // a reader of memory does not fail
	}
	return out
}

// way is how a decoder of base64 treats what should not be there.
type way uint8

const (
	stopAtPad   way = 1 << iota // a padding ends it
	stopAtJunk                  // a byte outside of the alphabet does, other than white space
	skipPad                     // padding is junk
	urlAlphabet                 // - and _ count
)

// decode64 decodes base64 in one of the ways.
func decode64(b []byte, w way) []byte { return append64(make([]byte, 0, len(b)*3/4+3), b, w) }

// append64 appends what b decodes to: four characters at a time while they come undisturbed.
func append64(out, b []byte, w way) []byte {
	values := &values64
	if w&urlAlphabet != 0 {
		values = &values64URL
	}
	bits, n := uint32(0), 0
	end := func() {
		if n == 2 {
			out = append(out, byte(bits>>4))
		} else if n == 3 {
			out = append(out, byte(bits>>10), byte(bits>>2))
		}
		bits, n = 0, 0
	}
	for i := 0; i < len(b); i++ {
		for n == 0 && i+4 <= len(b) {
			v0, v1, v2, v3 := values[b[i]], values[b[i+1]], values[b[i+2]], values[b[i+3]]
			if v0|v1|v2|v3 < 0 {
				break
			}
			u := uint32(v0)<<18 | uint32(v1)<<12 | uint32(v2)<<6 | uint32(v3)
			out = append(out, byte(u>>16), byte(u>>8), byte(u))
			i += 4
		}
		if i == len(b) {
			break
		}
		c := b[i]
		v := values[c]
		if v < 0 {
			if c == '=' && w&skipPad == 0 {
				end()
				if w&stopAtPad != 0 {
					return out
				}
			}
			if w&stopAtJunk != 0 && c != '=' && c > ' ' {
				break
			}
			continue
		}
		if bits, n = bits<<6|uint32(v), n+1; n == 4 {
			out = append(out, byte(bits>>16), byte(bits>>8), byte(bits))
			bits, n = 0, 0
		}
	}
	end()
	return out
}

// values64 are the values of the characters of base64, -1 for all others. values64URL knows those of RFC
// 4648 §5, too.
var values64, values64URL = func() (std, url [256]int8) {
	for i := range std {
		std[i] = -1
	}
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
	for i, c := range []byte(alphabet) {
		std[c] = int8(i)
	}
	url = std
	url['-'], url['_'] = 62, 63
	return std, url
}()

// lines64 decodes each line by itself.
func lines64(b []byte) []byte {
	out := make([]byte, 0, len(b)*3/4+3)
	for line := range bytes.Lines(b) {
		out = append64(out, line, 0)
	}
	return out
}

// mostRuns and mostFiles are how many runs of base64 lines, and how many uuencoded files, are taken out of one
// text. A text with more has too many readings: what is passed over in silence is where a virus would be.
const (
	mostRuns  = 256
	mostFiles = 64
)

// pureLines64 decodes the lines that are base64 and nothing else: as one, so that junk in lines of its own
// goes, and each run of them by itself, where that is something else: a file amid a text. A run of words
// alone is a list.
func pureLines64(b []byte) (whole []byte, runs [][]byte) {
	var pure []byte
	var spans [][2]int // of runs in pure
	begun, all, long := 0, 0, false
	flush := func() {
		if len(pure) > begun {
			if all++; long && len(spans) <= mostRuns {
				spans = append(spans, [2]int{begun, len(pure)})
			}
		}
		begun, long = len(pure), false
	}
	for line := range bytes.Lines(b) {
		if line = bytes.TrimSpace(line); isBase64Word(line) {
			pure, long = append(pure, line...), long || len(line) >= fileLine
		} else {
			flush()
		}
	}
	flush()
	if all > 1 {
		for _, r := range spans {
			runs = append(runs, decode64(pure[r[0]:r[1]], 0))
		}
	}
	return decode64(pure, 0), runs
}

// isBase64Word reports whether line has nothing but base64, in groups or not.
func isBase64Word(line []byte) bool {
	for _, c := range line {
		if b64Class[c] != b64Char && b64Class[c] != b64Pad {
			return false
		}
	}
	return len(line) > 0
}

// looseQP decodes quoted-printable as loosely as anybody: escapes in small letters, an equals sign before
// any line end or nothing dropped, underscores as spaces in no case.
func looseQP(b []byte) []byte {
	if bytes.IndexByte(b, '=') < 0 {
		return nil
	}
	out := make([]byte, 0, len(b))
	for i := 0; i < len(b); i++ {
		if b[i] != '=' {
			out = append(out, b[i])
			continue
		}
		rest := b[i+1:]
		skip := 0
		for skip < len(rest) && (rest[skip] == ' ' || rest[skip] == '\t') {
			skip++
		}
		switch {
		case len(rest) >= 2 && isHex(rest[0]) && isHex(rest[1]):
			out = append(out, unhex(rest[0])<<4|unhex(rest[1]))
			i += 2
		case bytes.HasPrefix(rest[skip:], []byte("\r\n")):
			i += skip + 2
		case skip < len(rest) && (rest[skip] == '\n' || rest[skip] == '\r'):
			i += skip + 1
		}
	}
	return out
}

func isHex(c byte) bool { return c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'f' }

func unhex(c byte) byte {
	if c <= '9' {
		return c - '0'
	}
	return c | 0x20 - 'a' + 10
}

// uuFile is a file that stands in a text, uuencoded.
type uuFile struct {
	name string
	b    []byte
}

// isUUBegin reports whether a line begins a uuencoded file: "begin 644 name".
func isUUBegin(line []byte) bool {
	if !bytes.HasPrefix(line, []byte("begin ")) && !bytes.HasPrefix(line, []byte("begin-base64 ")) {
		return false
	}
	f := bytes.Fields(line)
	if len(f) < 3 || len(f[1]) < 3 || len(f[1]) > 4 {
		return false
	}
	for _, c := range f[1] {
		if c < '0' || c > '7' {
			return false
		}
	}
	return true
}

// uuBlocks finds the uuencoded files of a text, at most most.
func uuBlocks(b []byte, most int) []uuFile {
	if !bytes.Contains(b, []byte("begin")) {
		return nil
	}
	var all []uuFile
	open, b64 := false, false
	for line := range bytes.Lines(b) {
		line = bytes.TrimRight(line, "\r\n")
		if isUUBegin(bytes.TrimLeft(line, " \t")) {
			if len(all) == most {
				return all
			}
			b64 = bytes.Contains(line, []byte("-base64"))
			f := strings.SplitN(strings.TrimSpace(string(line)), " ", 3)
			all = append(all, uuFile{name: f[len(f)-1]})
			open = true
			continue
		}
		if !open {
			continue
		}
		f := &all[len(all)-1]
		switch {
		case string(line) == "end", string(line) == "====":
			open = false
		case b64:
			f.b = append64(f.b, line, 0)
		default:
			f.b = appendUU(f.b, line)
		}
	}
	return all
}

// appendUU decodes a line: how many bytes it holds, then groups of four characters.
func appendUU(dst, line []byte) []byte {
	if len(line) < 2 {
		return dst
	}
	n := int(line[0]-' ') & 0x3f
	line = line[1:]
	for i := 0; i < len(line) && n > 0; i += 4 {
		var v uint32
		for j := range 4 {
			v <<= 6
			if i+j < len(line) {
				v |= uint32(line[i+j]-' ') & 0x3f
			}
		}
		for j := 0; j < 3 && n > 0; j, n = j+1, n-1 {
			dst = append(dst, byte(v>>(16-8*j)))
		}
	}
	return dst
}

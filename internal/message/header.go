package message

import (
	"bytes"
	"iter"
)

// Field is one field of a header block, as slices of it.
type Field struct {
	Name []byte // as written, without white space before the colon; nil for a line without colon
	Raw  []byte // the whole field, folding and line end included
	Body []byte // what follows the colon, folding and line end included
}

// Is reports whether the field has the given name, without regard to case.
func (f Field) Is(name string) bool { return f.Name != nil && equalFold(f.Name, name) }

// Value is the body on one line, without white space around it; bytes are otherwise as written.
func (f Field) Value() string { return trim(unfold(string(f.Body))) }

// fieldPos says where a field of a block is: where its name ends, where its body begins, and
// where the next field begins. colon is -1 when the line has none.
type fieldPos struct{ start, nameEnd, colon, end int }

// nextField reads the field at b[pos:]. ok is false at the end of the block and at the blank line.
func nextField(b []byte, pos int) (f fieldPos, ok bool) {
	if pos >= len(b) || b[pos] == '\n' || b[pos] == '\r' && pos+1 < len(b) && b[pos+1] == '\n' {
		return fieldPos{}, false
	}
	f = fieldPos{start: pos, colon: -1, end: pos}
	for {
		i := bytes.IndexByte(b[f.end:], '\n')
		if i < 0 {
			f.end = len(b)
			break
		}
		f.end += i + 1
		if f.end >= len(b) || !isWSP(b[f.end]) {
			break
		}
	}
	line := b[pos:f.end]
	if eol := bytes.IndexByte(line, '\n'); eol >= 0 {
		line = line[:eol]
	}
	f.colon = bytes.IndexByte(line, ':')
	if f.colon < 0 || isWSP(line[0]) {
		f.colon = -1
		return f, true
	}
	f.colon += pos
	f.nameEnd = f.colon
	for f.nameEnd > pos && isWSP(b[f.nameEnd-1]) {
		f.nameEnd--
	}
	return f, true
}

// in cuts the field out of the block it was found in.
func (f fieldPos) in(b []byte) Field {
	if f.colon < 0 {
		return Field{Raw: b[f.start:f.end], Body: b[f.start:f.end]}
	}
	return Field{
		Name: b[f.start:f.nameEnd:f.nameEnd], Raw: b[f.start:f.end:f.end],
		Body: b[f.colon+1 : f.end : f.end],
	}
}

// Header iterates over the fields of a header block, in order, up to the blank line or the end.
// The slices are parts of b. A line that is no field comes with a nil Name.
func Header(b []byte) iter.Seq[Field] {
	return func(yield func(Field) bool) {
		for pos := 0; ; {
			f, ok := nextField(b, pos)
			if !ok || !yield(f.in(b)) {
				return
			}
			pos = f.end
		}
	}
}

// HeaderField finds the first field called name.
func HeaderField(b []byte, name string) (Field, bool) {
	for f := range Header(b) {
		if f.Is(name) {
			return f, true
		}
	}
	return Field{}, false
}

// Unfold appends a field's body to dst on one line: line ends removed (RFC 5322 §2.2.3), white
// space around it trimmed, a bare CR made a space, NUL dropped.
func Unfold(dst, body []byte) []byte {
	for len(body) > 0 && isBlank(body[0]) {
		body = body[1:]
	}
	for len(body) > 0 && isBlank(body[len(body)-1]) {
		body = body[:len(body)-1]
	}
	return appendUnfolded(dst, body)
}

// AppendHeaderFields appends the fields of header that are called one of names (without regard to
// case), or with not set those that are not, in their order and as written, then the blank line:
// HEADER.FIELDS and HEADER.FIELDS.NOT of RFC 9051 §6.4.5. The blank line is left out when header
// has none (RFC 9051 §7.5.2: a message that has no body and no blank line).
func AppendHeaderFields(dst, header []byte, names []string, not bool) []byte {
	pos := 0
	for {
		f, ok := nextField(header, pos)
		if !ok {
			break
		}
		pos = f.end
		if named(f.in(header), names) != not {
			dst = append(dst, header[f.start:f.end]...)
		}
	}
	return append(dst, header[pos:]...)
}

// named reports whether f is called one of names.
func named(f Field, names []string) bool {
	for _, n := range names {
		if f.Is(n) {
			return true
		}
	}
	return false
}

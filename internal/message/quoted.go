package message

// longestBlank is how much white space is held back until it is known whether a line ends after
// it; RFC 2045 §6.7 allows lines of 76 characters.
const longestBlank = 998

// qpState decodes quoted-printable that comes in pieces, RFC 2045 §6.7: white space before a line
// end is dropped, a soft break may have white space after its equals sign, and what is no valid
// escape stays as it is.
type qpState struct {
	blank []byte // white space that may turn out to end a line
	esc   []byte // an escape that is not complete: "=", "=A", "= \t"
}

// decode appends what src decodes to.
func (q *qpState) decode(dst, src []byte) []byte {
	for i := 0; i < len(src); {
		if len(q.esc) > 0 {
			var took bool
			if dst, took = q.escape(dst, src[i]); took {
				i++
			}
			continue
		}
		if c := src[i]; qpPlain[c] {
			if len(q.blank) > 0 {
				dst = q.flush(dst)
			}
			dst = append(dst, c)
			for i++; i < len(src) && qpPlain[src[i]]; i++ {
				dst = append(dst, src[i])
			}
			continue
		}
		switch c := src[i]; c {
		case '=':
			if len(q.blank) > 0 {
				dst = q.flush(dst)
			}
			if n := wholeEscape(src[i:]); n > 0 {
				if src[i+1] != '\r' {
					dst = append(dst, byte(unhex(src[i+1])<<4|unhex(src[i+2])))
				}
				i += n
				continue
			}
			q.esc = append(q.esc, c)
		case '\r', '\n':
			q.blank = q.blank[:0]
			dst = append(dst, c)
		default:
			if len(q.blank) == 0 && i+1 < len(src) && qpPlain[src[i+1]] {
				dst = append(dst, c, src[i+1])
				i += 2
				continue
			}
			if len(q.blank) >= longestBlank {
				dst = q.flush(dst)
			}
			q.blank = append(q.blank, c)
		}
		i++
	}
	return dst
}

// wholeEscape returns 3 if s begins with a whole escape or a plain soft break, else 0.
func wholeEscape(s []byte) int {
	if len(s) >= 3 && (unhex(s[1]) >= 0 && unhex(s[2]) >= 0 || s[1] == '\r' && s[2] == '\n') {
		return 3
	}
	return 0
}

// qpPlain marks the bytes that stand for themselves wherever they are.
var qpPlain = qpPlainTable()

// qpPlainTable fills qpPlain.
func qpPlainTable() (t [256]bool) {
	for i := range t {
		t[i] = i != '=' && i != ' ' && i != '\t' && i != '\r' && i != '\n'
	}
	return t
}

// flush writes white space that turned out to stand inside a line.
func (q *qpState) flush(dst []byte) []byte {
	dst = append(dst, q.blank...)
	q.blank = q.blank[:0]
	return dst
}

// escape goes on with an escape at c; took is false when c is not part of it.
func (q *qpState) escape(dst []byte, c byte) (_ []byte, took bool) {
	last := q.esc[len(q.esc)-1]
	switch {
	case c == '\n' && !q.halfHex():
		q.esc = q.esc[:0] // a soft line break
		return dst, true
	case len(q.esc) == 1 && unhex(c) >= 0:
		q.esc = append(q.esc, c)
		return dst, true
	case q.halfHex() && unhex(c) >= 0:
		q.esc = q.esc[:0]
		return append(dst, byte(unhex(last)<<4|unhex(c))), true
	case (isWSP(c) || c == '\r') && !q.halfHex() && len(q.esc) < longestBlank:
		q.esc = append(q.esc, c)
		return dst, true
	}
	dst = append(dst, q.esc...)
	q.esc = q.esc[:0]
	return dst, false
}

// halfHex reports whether the escape is "=" with one digit.
func (q *qpState) halfHex() bool { return len(q.esc) == 2 && unhex(q.esc[1]) >= 0 }

// finish appends what an escape that was cut off holds. White space at the very end goes.
func (q *qpState) finish(dst []byte) []byte {
	if q.halfHex() {
		dst = append(dst, q.esc...)
	}
	q.esc, q.blank = q.esc[:0], q.blank[:0]
	return dst
}

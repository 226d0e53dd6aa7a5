package message

import (
	"encoding/binary"
	"strings"
	"unicode/utf8"
)

// hasHigh reports whether b holds a byte above 127. It reads four words at a time: bodies pass
// through here at the speed of memory.
func hasHigh(b []byte) bool {
	const high = 0x8080808080808080
	for len(b) >= 32 {
		w := binary.LittleEndian.Uint64(b) | binary.LittleEndian.Uint64(b[8:]) |
			binary.LittleEndian.Uint64(b[16:]) | binary.LittleEndian.Uint64(b[24:])
		if w&high != 0 {
			return true
		}
		b = b[32:]
	}
	for _, c := range b {
		if c >= utf8.RuneSelf {
			return true
		}
	}
	return false
}

// isASCII reports whether s has no byte above 127.
func isASCII(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// isWSP is the white space that a folded line begins with, RFC 5322 §2.2.3.
func isWSP(c byte) bool { return c == ' ' || c == '\t' }

// isBlank reports whether c is white space of a header: line ends are, once unfolded.
func isBlank(c byte) bool { return c == ' ' || c == '\t' || c == '\r' || c == '\n' }

// trim cuts white space and line ends off both ends of s.
func trim(s string) string {
	for len(s) > 0 && isBlank(s[0]) {
		s = s[1:]
	}
	for len(s) > 0 && isBlank(s[len(s)-1]) {
		s = s[:len(s)-1]
	}
	return s
}

// lower is strings.ToLower for ASCII only: other bytes stay as they are.
func lower(s string) string {
	i := 0
	for i < len(s) && (s[i] < 'A' || s[i] > 'Z') {
		i++
	}
	if i == len(s) {
		return s
	}
	b := []byte(s)
	for ; i < len(b); i++ {
		b[i] = lowerByte(b[i])
	}
	return string(b)
}

// lowerByte makes an ASCII capital small.
func lowerByte(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}

// equalFold compares ASCII letters without case.
func equalFold[A, B string | []byte](a A, b B) bool {
	if len(a) != len(b) {
		return false
	}
	for i := 0; i < len(a); i++ {
		if lowerByte(a[i]) != lowerByte(b[i]) {
			return false
		}
	}
	return true
}

// hasPrefixFold is strings.HasPrefix without case; prefix must be lower case.
func hasPrefixFold(s, prefix string) bool {
	return len(s) >= len(prefix) && equalFold(s[:len(prefix)], prefix)
}

// The classes of bytes that grammars are made of.
const (
	classAtom  = 1 << iota // atext of RFC 5322 §3.2.3, and bytes above 127 (RFC 6532 §3.2)
	classToken             // token of RFC 2045 §5.1
)

var classes = classTable()

// classTable fills classes.
func classTable() (t [256]byte) {
	for i := range t {
		c := byte(i)
		alnum := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || isDigit(c)
		if alnum || c >= utf8.RuneSelf || strings.IndexByte("!#$%&'*+-/=?^_`{|}~", c) >= 0 {
			t[i] |= classAtom
		}
		if c > ' ' && c < 0x7f && strings.IndexByte(`()<>@,;:\"/[]?=`, c) < 0 {
			t[i] |= classToken
		}
	}
	return t
}

func isAtom(c byte) bool  { return classes[c]&classAtom != 0 }
func isToken(c byte) bool { return classes[c]&classToken != 0 }

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// unhex returns the value of a hexadecimal digit, or -1.
func unhex(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'A' <= c && c <= 'F':
		return int(c-'A') + 10
	case 'a' <= c && c <= 'f':
		return int(c-'a') + 10
	}
	return -1
}

// unfold joins a folded field body: each line end goes, the white space after it stays
// (RFC 5322 §2.2.3). A bare CR becomes a space, so that nothing grows together that it kept apart
// for some reader. NUL goes, as no protocol can carry it further.
func unfold(s string) string {
	if strings.IndexByte(s, '\n') < 0 && strings.IndexByte(s, '\r') < 0 &&
		strings.IndexByte(s, 0) < 0 {
		return s
	}
	return string(appendUnfolded(make([]byte, 0, len(s)), s))
}

// appendUnfolded is unfold into a buffer.
func appendUnfolded[T string | []byte](dst []byte, s T) []byte {
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '\r' && (i+1 == len(s) || s[i+1] != '\n'):
			dst = append(dst, ' ')
		case c != '\r' && c != '\n' && c != 0:
			dst = append(dst, c)
		}
	}
	return dst
}

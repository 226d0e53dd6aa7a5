package smtp

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxReplyLine is the longest reply line in octets with its CRLF, RFC 5321 §4.5.3.1.5.
const maxReplyLine = 512

// Enhanced is an enhanced status code, RFC 3463 §2: class, subject, detail. The zero value means
// that there is none.
type Enhanced [3]int

// String returns "class.subject.detail", or "" for the zero value.
func (e Enhanced) String() string {
	if e == (Enhanced{}) {
		return ""
	}
	return strconv.Itoa(e[0]) + "." + strconv.Itoa(e[1]) + "." + strconv.Itoa(e[2])
}

// ParseEnhanced reads a status code from the start of s; rest is what follows it and one space. ok
// is false when s does not start with one.
func ParseEnhanced(s string) (e Enhanced, rest string, ok bool) {
	word, rest, _ := strings.Cut(s, " ")
	parts := strings.Split(word, ".")
	if len(parts) != 3 || len(word) > len("5.999.999") {
		return Enhanced{}, s, false
	}
	for i, p := range parts {
		n, err := strconv.ParseUint(p, 10, 16)
		if err != nil || len(p) > 3 || len(p) > 1 && p[0] == '0' {
			return Enhanced{}, s, false
		}
		e[i] = int(n)
	}
	if e[0] != 2 && e[0] != 4 && e[0] != 5 {
		return Enhanced{}, s, false
	}
	return e, rest, true
}

// Reply is what a server says: one code for all lines. Lines hold the text without code, enhanced
// code and line ends. It is also the error of the parsers of this package: what to answer.
type Reply struct {
	Code     int
	Enhanced Enhanced
	Lines    []string
}

// NewReply makes a Reply of one text, which may hold several lines separated by "\n".
func NewReply(code int, e Enhanced, text string) Reply {
	return Reply{Code: code, Enhanced: e, Lines: strings.Split(text, "\n")}
}

// OK reports a 2xx reply.
func (r Reply) OK() bool { return r.Code/100 == 2 }

// Temporary reports a 4xx reply: the same may succeed later.
func (r Reply) Temporary() bool { return r.Code/100 == 4 }

// Permanent reports a 5xx reply.
func (r Reply) Permanent() bool { return r.Code/100 == 5 }

// Text returns the lines joined with spaces.
func (r Reply) Text() string { return strings.Join(r.Lines, " ") }

// Error returns the reply on one line: "550 5.1.1 No such user".
func (r Reply) Error() string { return r.String() }

// String returns the reply on one line, as DSNs and logs show it.
func (r Reply) String() string {
	s := strconv.Itoa(r.Code)
	if r.Enhanced != (Enhanced{}) {
		s += " " + r.Enhanced.String()
	}
	if t := r.Text(); t != "" {
		s += " " + t
	}
	return s
}

// AppendWire appends the reply as it goes on the wire, every line with code and enhanced code
// (RFC 2034 §4). Control characters become "?", and a line is cut at the 512 octets that RFC 5321
// §4.5.3.1.5 allows: whatever text went in, exactly one reply comes out.
func (r Reply) AppendWire(dst []byte) []byte {
	if len(r.Lines) == 0 {
		return r.appendLine(dst, ' ', "")
	}
	for i, line := range r.Lines {
		sep := byte('-')
		if i == len(r.Lines)-1 {
			sep = ' '
		}
		dst = r.appendLine(dst, sep, line)
	}
	return dst
}

func (r Reply) appendLine(dst []byte, sep byte, text string) []byte {
	start := len(dst)
	dst = strconv.AppendInt(dst, int64(r.Code), 10)
	dst = append(dst, sep)
	if e := r.Enhanced; e != (Enhanced{}) {
		dst = strconv.AppendInt(dst, int64(e[0]), 10)
		dst = strconv.AppendInt(append(dst, '.'), int64(e[1]), 10)
		dst = strconv.AppendInt(append(dst, '.'), int64(e[2]), 10)
		dst = append(dst, ' ')
	}
	for _, c := range text {
		if unicode.IsControl(c) || c == utf8.RuneError {
			c = '?'
		}
		if len(dst)-start+utf8.RuneLen(c)+2 > maxReplyLine {
			break
		}
		dst = utf8.AppendRune(dst, c)
	}
	return append(dst, '\r', '\n')
}

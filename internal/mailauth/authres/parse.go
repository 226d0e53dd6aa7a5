package authres

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"tram/internal/mailauth"
)

// ErrSyntax is wrapped by the errors of Parse.
var ErrSyntax = errors.New("malformed authentication results")

// Bounds on a stranger's field.
const (
	maxResults = 100
	maxProps   = 50
	maxDepth   = 50 // of comments in comments
)

// Parse reads the value of an Authentication-Results field, folded or not, RFC 8601 §2.2. Values that
// are not in the standard are kept as they are, in lower case. Errors wrap ErrSyntax; what was read
// before the mistake is returned with them.
func Parse(value string) (Field, error) {
	s := &scanner{s: value}
	f := Field{Version: 1}
	f.ID = s.word("/")
	if f.ID == "" {
		return f, s.fail("no authserv-id")
	}
	if n, ok := s.version(); ok {
		f.Version = n
	}
	s.skip()
	for s.more() && s.err == nil {
		if !s.take(';') {
			return f, s.fail("no semicolon before a result")
		}
		s.skip()
		if !s.more() {
			break // one semicolon too many: many write so
		}
		if len(f.Results) == maxResults {
			return f, s.fail("too many results")
		}
		r, none := s.result()
		if s.err != nil {
			return f, s.err
		}
		if !none {
			f.Results = append(f.Results, r)
		}
	}
	return f, s.err
}

// scanner reads the grammar's pieces, with white space and comments between them wherever it lets them.
type scanner struct {
	s   string
	at  int
	err error
}

func (s *scanner) fail(what string) error {
	if s.err == nil {
		s.err = fmt.Errorf("%w: %s at octet %d", ErrSyntax, what, s.at)
	}
	return s.err
}

func (s *scanner) more() bool { return s.at < len(s.s) }

func (s *scanner) take(c byte) bool {
	s.skip()
	if s.more() && s.s[s.at] == c {
		s.at++
		return true
	}
	return false
}

// skip passes white space and comments, RFC 5322 §3.2.2.
func (s *scanner) skip() {
	for s.more() {
		switch s.s[s.at] {
		case ' ', '\t', '\r', '\n':
			s.at++
		case '(':
			if !s.comment() {
				return
			}
		default:
			return
		}
	}
}

func (s *scanner) comment() bool {
	depth := 0
	for s.more() {
		c := s.s[s.at]
		s.at++
		switch c {
		case '\\':
			s.at = min(s.at+1, len(s.s))
		case '(':
			if depth++; depth > maxDepth {
				s.fail("comments too deep")
				return false
			}
		case ')':
			if depth--; depth == 0 {
				return true
			}
		}
	}
	s.fail("comment does not end")
	return false
}

// word reads a quoted string, or what stands up to white space, a comment, a semicolon, or one of stop.
func (s *scanner) word(stop string) string {
	s.skip()
	if s.more() && s.s[s.at] == '"' {
		local := s.quoted()
		if s.more() && s.s[s.at] == '@' {
			return local + s.word(stop) // an address
		}
		return local
	}
	start := s.at
	for s.more() {
		c := s.s[s.at]
		if c <= ' ' || c == ';' || c == '(' || c == 0x7f || strings.IndexByte(stop, c) >= 0 {
			break
		}
		if c == '"' { // a local part in quotes, before its domain
			s.quoted()
			continue
		}
		s.at++
	}
	return s.s[start:s.at]
}

func (s *scanner) quoted() string {
	var b strings.Builder
	for s.at++; s.more(); s.at++ {
		switch c := s.s[s.at]; c {
		case '"':
			s.at++
			return b.String()
		case '\\':
			if s.at++; s.more() {
				b.WriteByte(s.s[s.at])
			}
		case '\r', '\n':
		default:
			b.WriteByte(c)
		}
	}
	s.at = len(s.s)
	s.fail("quoted string does not end")
	return ""
}

// version reads an optional number.
func (s *scanner) version() (int, bool) {
	s.skip()
	start := s.at
	for s.more() && s.s[s.at] >= '0' && s.s[s.at] <= '9' {
		s.at++
	}
	n, err := strconv.Atoi(s.s[start:s.at])
	return n, err == nil
}

// result reads what stands between two semicolons; none is the word "none" alone.
func (s *scanner) result() (r Result, none bool) {
	r.Version = 1
	r.Method = strings.ToLower(s.word("/="))
	if s.take('/') {
		n, ok := s.version()
		if !ok {
			s.fail("no number after the slash")
		}
		r.Version = n
	}
	if !s.take('=') {
		s.skip()
		if r.Method == "none" && (!s.more() || s.s[s.at] == ';') {
			return r, true
		}
		s.fail("no result")
		return r, false
	}
	r.Value = mailauth.Status(strings.ToLower(s.word("")))
	if r.Method == "" || r.Value == "" {
		s.fail("no result")
	}
	for s.err == nil {
		s.skip()
		if !s.more() || s.s[s.at] == ';' {
			break
		}
		s.property(&r)
	}
	return r, false
}

// property reads reason=… or type.name=…
func (s *scanner) property(r *Result) {
	name := strings.ToLower(s.word("=."))
	if s.take('=') {
		if name != "reason" {
			s.fail("a property without a type")
			return
		}
		r.Reason = s.word("")
		return
	}
	if name == "" || !s.take('.') {
		s.fail("no property")
		return
	}
	p := Prop{Type: name, Name: strings.ToLower(s.word("="))}
	if p.Name == "" || !s.take('=') {
		s.fail("no value of a property")
		return
	}
	p.Value = s.word("")
	if len(r.Props) == maxProps {
		s.fail("too many properties")
		return
	}
	r.Props = append(r.Props, p)
}
